//! The threads of a pool: workers, spare ones for those that wait inside a job, and the rescue lane.

use std::{
    io,
    sync::mpsc,
    task::Waker,
    time::{Duration, Instant},
};

#[cfg(feature = "tokio")]
use crate::attach;
use crate::{
    error::StartError,
    pool::Ground,
    sched::{Staff, Standing},
    shared::Shared,
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
    /// Starts the workers' threads.
    pub(crate) fn employ_all(&self, workers: usize) -> Result<(), StartError> {
        for number in 1..=workers {
            let ground = self.ground.clone();
            let work = move |shared: &Arc<Shared>| work(&ground, shared, Term::Regular);
            let started = self.employ(format!("{}-{number}", self.name), self.nice, work);
            let is_nice =
                started.map_err(|source| StartError::Thread { number, workers, source })?;
            let nice = if let Nice::Exactly(nice) = self.nice { nice } else { 0 };
            is_nice.map_err(|source| StartError::Nice { number, workers, nice, source })?;
        }
        Ok(())
    }

    /// Starts the rescue lane on a thread, which may use `share` percent of a CPU.
    pub(crate) fn employ_rescuer(&self, share: u32) -> Result<(), StartError> {
        // It is open when the pool is: nobody is in line a second time for having been missed.
        let driver = Driver::Task(Waker::noop().clone());
        let mut runner = Runner::rescuer(&self.shared.sched, driver, || false, share);
        let work = move |shared: &Arc<Shared>| {
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
        let live = move || {
            let is_nice = set_nice(nice);
            let is_ready = is_nice.is_ok();
            if tell.send(is_nice).is_ok() && is_ready {
                work(&shared);
            }
        };
        let thread = thread::Builder::new().name(name).spawn(live)?;
        self.threads.lock().push(thread);
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
