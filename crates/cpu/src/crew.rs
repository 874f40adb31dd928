//! The threads of a pool: workers, spare ones for those that wait inside a job, and the rescue lane.

use std::{
    io,
    sync::mpsc,
    task::Waker,
    time::{Duration, Instant},
};

use fief_core::Controller;

#[cfg(feature = "tokio")]
use crate::attach;
use crate::{
    error::StartError,
    pool::Ground,
    sched::{Staff, Standing},
    shared::Shared,
    subsystem::Cpu,
    sync::{
        Arc, Mutex,
        thread::{self, JoinHandle},
    },
    worker::{Driver, Runner, Turn},
};

/// The nicest value there is.
#[cfg(all(target_os = "linux", not(fief_portable)))]
const NICEST: i32 = 19;

/// How long a spare worker sleeps before it ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// The threads of a pool.
pub(crate) struct Crew {
    pub(crate) shared: Arc<Shared>,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
    /// By which those that are started hear that they may begin, or, dropped, that they end.
    gates: Mutex<Vec<mpsc::SyncSender<()>>>,
    /// By which the rescue lane's thread gets what it drives, and what the lane may use.
    lane: Mutex<Option<(mpsc::SyncSender<Runner>, u32)>>,
    pub(crate) ground: Ground,
    pub(crate) nice: Nice,
    pub(crate) name: String,
}

/// What a thread's nice value is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Nice {
    /// That of the thread which starts it.
    Same,
    /// So much more, as far as there is more.
    More(i32),
    /// That.
    Exactly(i32),
}

/// How long a worker stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Term {
    /// As long as the pool.
    Regular,
    /// Until it was not needed for [`PATIENCE`].
    Spare,
}

impl Crew {
    pub(crate) fn new(
        controller: &Controller<Cpu>,
        ground: Ground,
        nice: Nice,
        name: String,
    ) -> Arc<Self> {
        let shared = Arc::clone(controller.subsystem().shared());
        let (threads, gates, lane) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { shared, threads, gates, lane, ground, nice, name })
    }

    /// Starts the threads there are, of the workers and the rescue lane; they wait for [`begin`](Self::begin).
    pub(crate) fn employ_all(&self, workers: usize, share: u32) -> Result<(), StartError> {
        let (workers, share) = match &self.ground {
            Ground::Threads => (workers, share),
            #[cfg(feature = "tokio")]
            Ground::Attached(_) => (workers, 0),
            #[cfg(feature = "tokio")]
            Ground::Runners(_) => (0, 0),
        };
        for number in 1..=workers {
            let ground = self.ground.clone();
            let work = move |shared: &Arc<Shared>| work(&ground, shared, Term::Regular);
            let started = self.employ(format!("{}-{number}", self.name), self.nice, work);
            let is_nice =
                started.map_err(|source| StartError::Thread { number, workers, source })?;
            let nice = if let Nice::Exactly(nice) = self.nice { nice } else { 0 };
            is_nice.map_err(|source| StartError::Nice { number, workers, nice, source })?;
        }
        if share > 0 { self.employ_rescuer(share) } else { Ok(()) }
    }

    /// Has those that were started begin; or has them end, and waits for it.
    pub(crate) fn begin(&self, is_open: bool) {
        let gates = std::mem::take(&mut *self.gates.lock());
        let lane = self.lane.lock().take();
        if is_open {
            if let Some((thread, share)) = lane {
                // The lane is open when the pool is: nobody waits in vain for having come in between.
                let driver = Driver::Task(Waker::noop().clone());
                let runner = Runner::rescuer(&self.shared.sched, driver, || false, share);
                drop(thread.send(runner));
            }
            // Who is not there to hear it has panicked, which threads that wait do not.
            gates.iter().for_each(|gate| gate.send(()).unwrap_or_default());
            return;
        }
        drop((gates, lane));
        let threads = std::mem::take(&mut *self.threads.lock());
        threads.into_iter().for_each(|thread| thread.join().unwrap_or_default());
    }

    /// Starts the rescue lane on a thread, which may use `share` percent of a CPU.
    fn employ_rescuer(&self, share: u32) -> Result<(), StartError> {
        let (give, given) = mpsc::sync_channel::<Runner>(1);
        *self.lane.lock() = Some((give, share));
        let work = move |shared: &Arc<Shared>| {
            let Ok(mut runner) = given.recv() else { return };
            runner.worker.set_driver(Driver::Thread(thread::current()));
            runner.slept(); // it was another thread's
            drive(shared, &mut runner, Term::Regular);
        };
        let started = self.employ(format!("{}-rescue", self.name), Nice::Same, work);
        started.and_then(|is_nice| is_nice).map_err(|source| StartError::Rescuer { source })
    }

    /// Starts a thread; says whether it could, and then, whether it has its nice value: it ends if not.
    fn employ(
        &self,
        name: String,
        nice: Nice,
        work: impl FnOnce(&Arc<Shared>) + Send + 'static,
    ) -> io::Result<io::Result<()>> {
        let shared = Arc::clone(&self.shared);
        let (tell, told) = mpsc::sync_channel(1);
        let (gate, may_begin) = mpsc::sync_channel(1);
        let live = move || {
            let is_nice = set_nice(nice);
            let is_ready = is_nice.is_ok();
            if tell.send(is_nice).is_ok() && is_ready && may_begin.recv().is_ok() {
                work(&shared);
            }
        };
        let thread = thread::Builder::new().name(name).spawn(live)?;
        self.threads.lock().push(thread);
        self.gates.lock().push(gate);
        Ok(told.recv().unwrap_or(Ok(())))
    }
}

impl Staff for Crew {
    fn hire(&self) -> bool {
        let (shared, nice, ground) = (Arc::clone(&self.shared), self.nice, self.ground.clone());
        let live = move || {
            // The workers' own threads may; if this one may not, it still is better than none.
            set_nice(nice).unwrap_or_default();
            work(&ground, &shared, Term::Spare);
        };
        let builder = thread::Builder::new().name(format!("{}-spare", self.name));
        let mut threads = self.threads.lock();
        if self.shared.sched.standing() != Standing::Open {
            return false; // nobody would wait for it
        }
        let Ok(thread) = builder.spawn(live) else { return false };
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        true
    }
}

/// The life of a worker with a thread of its own.
fn work(ground: &Ground, shared: &Arc<Shared>, term: Term) {
    match ground {
        Ground::Threads => {
            let driver = Driver::Thread(thread::current());
            drive(shared, &mut Runner::new(&shared.sched, driver, || false), term);
        }
        #[cfg(feature = "tokio")]
        Ground::Attached(handle) | Ground::Runners(handle) => attach::work(handle, shared, term),
    }
}

/// Has a runner work on the calling thread until the end.
fn drive(shared: &Shared, runner: &mut Runner, term: Term) {
    loop {
        let turn = runner.turn();
        if rest(shared, runner, turn, term) {
            return;
        }
    }
}

/// Sleeps if there is nothing to do; returns whether the worker ends.
pub(crate) fn rest(shared: &Shared, runner: &mut Runner, turn: Turn, term: Term) -> bool {
    match (turn, term) {
        (Turn::Ran, _) => return false,
        (Turn::End, Term::Regular) => return true,
        (Turn::End, Term::Spare) => {
            shared.sched.leave_spare();
            return true;
        }
        (Turn::Sleep(Some(until)), _) => thread::park_timeout(time_until(shared, until)),
        (Turn::Sleep(None), Term::Regular) => thread::park(),
        (Turn::Sleep(None), Term::Spare) => {
            let begun = Instant::now();
            thread::park_timeout(PATIENCE);
            if begun.elapsed() >= PATIENCE && shared.sched.dismiss(&runner.worker) {
                return true;
            }
        }
    }
    runner.slept();
    false
}

/// Returns how long to sleep until then.
fn time_until(shared: &Shared, until: u64) -> Duration {
    let time = until.saturating_sub(shared.sched.time.now());
    // A clock that is advanced by hand says nothing of how long to sleep.
    Duration::from_nanos(if shared.sched.time.is_machine() { time } else { 1_000_000 })
}

/// Sets the nice value of the calling thread.
#[cfg(all(target_os = "linux", not(fief_portable)))]
fn set_nice(nice: Nice) -> io::Result<()> {
    use rustix::process::{getpriority_process, setpriority_process};
    let thread = Some(rustix::thread::gettid());
    let nice = match nice {
        Nice::Same => return Ok(()),
        Nice::More(nice) => getpriority_process(thread)?.saturating_add(nice).min(NICEST),
        Nice::Exactly(nice) => nice,
    };
    Ok(setpriority_process(thread, nice)?)
}

/// Sets the nice value of the calling thread: not possible here.
#[cfg(not(all(target_os = "linux", not(fief_portable))))]
fn set_nice(nice: Nice) -> io::Result<()> {
    let (Nice::Same | Nice::More(_) | Nice::Exactly(_)) = nice;
    Ok(())
}
