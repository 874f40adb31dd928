//! Where a scenario ran, and what else went on there.

use std::{env, fs, time::Duration};

use serde::Serialize;

use super::{sampler::Sample, world::World};

/// The machine, as figures have to be told with it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// The processor's model, where it can be told.
    pub(crate) processor: Option<String>,
    pub(crate) cpus: usize,
    pub(crate) kernel: String,
    /// What was run, as it was typed but for the path of the binary.
    pub(crate) command: String,
    /// The load average of the minute before.
    pub(crate) load: Option<f64>,
    /// Of the machine's CPU time, what other processes had, and what it was not given itself, in percent.
    pub(crate) elsewhere: Option<f64>,
    /// Of that, what it was not given itself.
    pub(crate) steal: Option<f64>,
    /// Whether the file is read and written past the page cache.
    pub(crate) is_direct: bool,
    /// What is wrong with it as a place to measure: a build without optimization.
    pub(crate) is_debug_build: bool,
}

/// CPU time of all processes since the machine started, as the kernel tells it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Busy {
    /// With what was stolen.
    pub(crate) all: Duration,
    /// What the machine wanted and was not given.
    pub(crate) stolen: Duration,
}

impl Machine {
    /// This machine, from the first sample to the last.
    pub(crate) fn this(world: &World, samples: &[Sample]) -> Self {
        let name = rustix::system::uname();
        let words = env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
        Self {
            processor: processor(),
            cpus: world.cpus,
            kernel: format!(
                "{} {}",
                name.sysname().to_string_lossy(),
                name.release().to_string_lossy()
            ),
            command: ["fief".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" "),
            load: samples.first().and_then(|first| first.load),
            elsewhere: share(world, samples, |sample| sample.others),
            steal: share(world, samples, |sample| sample.stolen),
            is_direct: world.drive.is_direct(),
            is_debug_build: cfg!(debug_assertions),
        }
    }

    /// What others had, in words.
    pub(crate) fn others(&self) -> Option<String> {
        let load = self.load.map_or(String::new(), |load| format!(" (load before: {load:.2})"));
        let steal =
            self.steal.map_or(String::new(), |steal| format!(", of which {steal:.1} stolen"));
        self.elsewhere.map(|had| format!("others had {had:.1} % of the CPU time{steal}{load}"))
    }
}

/// How much of the machine's CPU time something had, in percent.
fn share(
    world: &World,
    samples: &[Sample],
    figure: impl Fn(&Sample) -> Option<Duration>,
) -> Option<f64> {
    let (first, last) = samples.first().zip(samples.last())?;
    let all = world.cpus as f64 * (last.at - first.at).as_secs_f64();
    let had = figure(last)?.saturating_sub(figure(first)?).as_secs_f64();
    (all > 0.0).then(|| had / all * 100.0)
}

impl Busy {
    /// What the kernel tells; `None` where it does not.
    pub(crate) fn now() -> Option<Self> {
        /// In a second: what the kernel shows is in these, on every machine.
        const TICKS: u64 = 100;
        let text = fs::read_to_string("/proc/stat").ok()?;
        let line = text.lines().next()?.strip_prefix("cpu ")?;
        let mut numbers = line.split_whitespace().map_while(|word| word.parse::<u64>().ok());
        let [user, nice, system, _idle, _iowait, irq, softirq, steal] =
            [(); 8].map(|()| numbers.next());
        let time = |ticks: u64| Duration::from_millis(ticks * (1000 / TICKS));
        let all = user? + nice? + system? + irq? + softirq? + steal?;
        Some(Self { all: time(all), stolen: time(steal?) })
    }
}

/// The load average of the last minute.
pub(crate) fn load() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_machine_has_been_busy() {
        let busy = Busy::now().unwrap();
        assert!(busy.all > Duration::ZERO && busy.stolen <= busy.all);
        assert!(load().unwrap() >= 0.0);
    }
}
