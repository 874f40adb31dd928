//! What only the operating system can tell or do, where it can.

use std::{
    fs,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

/// What the machine was, and what it was busy with, while figures were taken.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Conditions {
    /// The processor's model.
    pub processor: String,
    /// Processors this process may use.
    pub processors: usize,
    /// The kernel's release.
    pub kernel: String,
    /// The load average of the last minute, at the end.
    pub load: f64,
    /// How much of the processors other processes had, in per cent.
    pub others_percent: f64,
    /// How much of the processors the hypervisor gave to others, in per cent.
    pub steal_percent: f64,
}

/// What the processors were busy with while [`Watch::during`] ran things.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    all: Ticks,
    own: u64,
}

/// Clock ticks of all processors.
#[derive(Clone, Copy, Debug, Default)]
struct Ticks {
    busy: u64,
    idle: u64,
    stolen: u64,
}

impl Watch {
    /// Runs `work` and adds what the processors did meanwhile.
    pub fn during<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let (all, own) = (Ticks::now(), own_ticks());
        let result = work();
        let now = Ticks::now();
        self.all.busy += now.busy - all.busy;
        self.all.idle += now.idle - all.idle;
        self.all.stolen += now.stolen - all.stolen;
        self.own += own_ticks() - own;
        result
    }

    /// Returns how much of the processors other processes had, in per cent.
    #[must_use]
    pub fn others_percent(&self) -> f64 {
        self.percent(self.all.busy.saturating_sub(self.own))
    }

    /// Returns the conditions, of now and of what was watched.
    #[must_use]
    pub fn conditions(&self) -> Conditions {
        let load = read("/proc/loadavg");
        Conditions {
            processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or("unknown").to_owned(),
            processors: processors(),
            kernel: kernel(),
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default(),
            others_percent: self.others_percent(),
            steal_percent: self.percent(self.all.stolen),
        }
    }

    fn percent(&self, ticks: u64) -> f64 {
        let Ticks { busy, idle, stolen } = self.all;
        100.0 * ticks as f64 / (busy + idle + stolen).max(1) as f64
    }
}

/// Waits until other processes leave the processors alone, at most for `patience`; returns whether
/// they do.
pub fn wait_until_quiet(patience: Duration) -> bool {
    let start = Instant::now();
    loop {
        let mut watch = Watch::default();
        watch.during(|| thread::sleep(LOOK));
        if watch.others_percent() <= QUIET_PERCENT {
            return true;
        }
        if start.elapsed() >= patience {
            return false;
        }
    }
}

/// How long a look at the processors takes, and what others may have of them meanwhile.
const LOOK: Duration = Duration::from_millis(300);
const QUIET_PERCENT: f64 = 3.0;

impl Ticks {
    fn now() -> Self {
        let stat = read("/proc/stat");
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = first.split(' ').filter_map(|field| field.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal
        match ticks[..] {
            [user, nice, system, idle, waiting, interrupt, soft, stolen, ..] => {
                Self { busy: user + nice + system + interrupt + soft, idle: idle + waiting, stolen }
            }
            _ => Self::default(),
        }
    }
}

/// Returns the ticks that this process and the children it waited for have used.
fn own_ticks() -> u64 {
    let stat = read("/proc/self/stat");
    // Behind the name, which may hold anything, `utime` to `cstime` are fields 14 to 17 of `stat`.
    let (_, fields) = stat.rsplit_once(") ").unwrap_or_default();
    fields.split(' ').skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Returns how many processors this process may use.
#[must_use]
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Returns the resident memory of this process, in bytes.
#[must_use]
pub fn resident() -> usize {
    let statm = read("/proc/self/statm");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("resident memory is known on Linux only") * page_size()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(": ")?.1.trim())
}

#[cfg(target_os = "linux")]
fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(target_os = "linux")]
fn page_size() -> usize {
    rustix::param::page_size()
}

/// Calls `membarrier`, private expedited; returns whether the kernel has it.
#[cfg(target_os = "linux")]
pub fn membarrier() -> bool {
    use rustix::thread::{MembarrierCommand::PrivateExpedited, membarrier};
    membarrier(PrivateExpedited).is_ok()
}

/// Announces that [`membarrier`] will be called; returns whether the kernel has it.
#[cfg(target_os = "linux")]
pub fn register_membarrier() -> bool {
    use rustix::thread::{MembarrierCommand::RegisterPrivateExpedited, membarrier};
    membarrier(RegisterPrivateExpedited).is_ok()
}

/// Returns the processor time that the calling thread has had.
#[cfg(target_os = "linux")]
#[must_use]
pub fn thread_time() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a thread's time is not negative")
}

/// Runs `work` with the calling thread on processor `number` only, where that can be had.
///
/// Threads started meanwhile stay there, until they are pinned elsewhere.
#[cfg(target_os = "linux")]
pub fn pinned<R>(number: usize, work: impl FnOnce() -> R) -> R {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    // Asked once, before anything is pinned: a thread that a pinned one starts is pinned as well.
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    let Ok(before) = sched_getaffinity(None) else { return work() };
    let allowed =
        ALLOWED.get_or_init(|| (0..CpuSet::MAX_CPU).filter(|cpu| before.is_set(*cpu)).collect());
    let mut only = CpuSet::new();
    only.set(allowed[number % allowed.len()]);
    sched_setaffinity(None, &only).ok();
    let result = work();
    sched_setaffinity(None, &before).ok();
    result
}

#[cfg(not(target_os = "linux"))]
fn kernel() -> String {
    std::env::consts::OS.to_owned()
}

#[cfg(not(target_os = "linux"))]
fn page_size() -> usize {
    4096
}

/// Does nothing: there is no `membarrier` here.
#[cfg(not(target_os = "linux"))]
pub fn membarrier() -> bool {
    false
}

/// Does nothing: there is no `membarrier` here.
#[cfg(not(target_os = "linux"))]
pub fn register_membarrier() -> bool {
    false
}

/// Returns the time since the first call: threads have no clock here.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn thread_time() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// Runs `work`; threads cannot be pinned here.
#[cfg(not(target_os = "linux"))]
pub fn pinned<R>(_number: usize, work: impl FnOnce() -> R) -> R {
    work()
}
