//! The workers of a controller: on threads of their own, or on somebody's runtime.

use std::{fmt, ops::RangeInclusive};

use fief_core::{Cgroup, Controller};

#[cfg(feature = "tokio")]
use crate::attach::{self, Tasks};
use crate::{
    crew::{Crew, Nice},
    error::{GroupError, StartError},
    group::Group,
    manual::Manual,
    sched::Standing,
    shared::Shared,
    subsystem::Cpu,
    sync::{Arc, AtomicBool, Ordering, thread},
    trace::event,
};

/// What workers beside a rescue lane are nicer than the thread that starts them.
const NICER: i32 = 5;

/// The nice values that there are.
const NICE: RangeInclusive<i32> = -20..=19;

/// The most workers of a pool: so many slices can the tree tell apart.
const WORKERS_MAX: usize = 65_536;

/// The workers of a controller. Dropping it [shuts down](Self::shutdown).
pub struct Pool {
    controller: Controller<Cpu>,
    crew: Arc<Crew>,
    is_down: AtomicBool,
    /// Those of ours that are tasks of somebody's runtime.
    #[cfg(feature = "tokio")]
    tasks: Tasks,
}

/// How the workers of a controller are to be.
#[derive(Clone, Debug)]
#[must_use]
pub struct PoolBuilder {
    controller: Controller<Cpu>,
    workers: usize,
    /// What the threads' nice value is to be, if it was said.
    nice: Option<i32>,
    name: String,
    /// What the rescue lane may use, in percent of a CPU, if it was said.
    share: Option<u32>,
    ground: Ground,
}

/// What the workers run on.
#[derive(Clone, Debug)]
pub(crate) enum Ground {
    /// Threads of our own.
    Threads,
    /// Threads of our own, inside a runtime.
    #[cfg(feature = "tokio")]
    Attached(tokio::runtime::Handle),
    /// A runtime's threads.
    #[cfg(feature = "tokio")]
    Runners(tokio::runtime::Handle),
}

impl Pool {
    /// Returns the settings of new workers: threads, as many as the controller has CPUs, without a rescue
    /// lane, at the nice value of the thread that starts them.
    pub fn builder(cpu: &Controller<Cpu>) -> PoolBuilder {
        PoolBuilder {
            workers: cpu.subsystem().shared().cpus as usize,
            controller: cpu.clone(),
            nice: None,
            name: "fief-cpu".to_owned(),
            share: None,
            ground: Ground::Threads,
        }
    }

    /// Makes a member of `cgroup`: [`Group::new`].
    ///
    /// # Errors
    ///
    /// As [`Group::new`].
    pub fn group(&self, cgroup: &Cgroup) -> Result<Group, GroupError> {
        Group::new(&self.controller, cgroup)
    }

    /// Ends the workers, and cancels all jobs of all members. Polls that are going on are waited for.
    ///
    /// What the jobs' futures do as they are dropped, they do on the workers and on the calling thread. On a
    /// worker itself it does not wait. The second call does nothing. The members there are cannot spawn any more, though
    /// they may go on with leases and wrapped futures; a later pool of the controller has members of its own.
    ///
    /// It blocks the calling thread until the polls are over: on a thread of a runtime, no longer than the
    /// longest poll, as it waits for no task to be run there.
    pub fn shutdown(&self) {
        let shared = &self.crew.shared;
        if shared.is_inherited() {
            // The threads are not there to be waited for, nor to be let go of.
            self.crew.threads.lock().drain(..).for_each(std::mem::forget);
            #[cfg(feature = "tokio")]
            self.tasks.forget();
            return;
        }
        // Ordering: Relaxed: it only says who does it.
        if self.is_down.swap(true, Ordering::Relaxed) {
            return;
        }
        if self.is_in_charge() {
            shared.sched.set_standing(Standing::Closing);
            shared.close_members();
        }
        shared.sched.others(usize::MAX).iter().for_each(|worker| worker.wake());
        let threads = std::mem::take(&mut *self.crew.threads.lock());
        event!("pool_shut_down", workers = threads.len());
        let own = thread::current().id();
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != own) {
            // Workers catch what they run.
            thread.join().unwrap_or_default();
        }
        #[cfg(feature = "tokio")]
        self.tasks.retire();
        // What workers had taken was given back to closed queues, and so cancelled.
        if self.is_in_charge() {
            shared.close_members();
            // Only now: the workers of another pool would not let those go that are waited for here.
            shared.sched.set_standing(Standing::Closed);
        }
    }

    /// Returns whether the jobs are still this pool's: not if its runtime went, and the pool with it.
    #[cfg(feature = "tokio")]
    fn is_in_charge(&self) -> bool {
        !self.tasks.are_lost()
    }

    /// Returns whether the jobs are still this pool's: always.
    #[cfg(not(feature = "tokio"))]
    fn is_in_charge(&self) -> bool {
        true
    }
}

impl PoolBuilder {
    /// Sets how many workers there are, 1 to 65,536; of those beyond the controller's CPUs some always wait.
    pub fn workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// Sets the workers' nice value, -20 to 19; a process without privileges cannot go below its own.
    ///
    /// Default: that of the thread which starts the pool, and 5 more with a rescue lane or on a runtime's
    /// handle, so that the kernel prefers who is in a hurry. Has an effect on Linux only.
    pub fn nice(self, nice: i32) -> Self {
        Self { nice: Some(nice), ..self }
    }

    /// Sets how the workers' threads are called, `fief-cpu` unless it was set; each has its number in addition.
    /// The system may cut names short: Linux after 15 bytes.
    pub fn thread_name(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Has a rescue lane, which may use `share` percent of one CPU, 1 to 100; 0 is none.
    ///
    /// The lane is one more who runs, at the nice value of the thread that starts the pool: a thread, or a task
    /// of the runtime to which the pool is attached. It serves a group that begins to wait while all
    /// workers are inside polls, for 50 µs at a time, if the group has a [latency
    /// setting](crate::CpuCss::set_latency) or would be next anyway, and is not idle. What it uses is
    /// charged to the group; [`nr_rescues`](crate::CpuStats::nr_rescues) counts it. It saves what it does not use for
    /// 20 ms.
    ///
    /// Default: 10 % if the pool is attached to a runtime by its handle, none else. For runners it helps only if the
    /// runtime has more threads than runners.
    pub fn rescue(self, share: u32) -> Self {
        Self { share: Some(share), ..self }
    }

    /// Has no rescue lane.
    pub fn without_rescue(self) -> Self {
        self.rescue(0)
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn on(self, ground: Ground) -> Self {
        Self { ground, ..self }
    }

    /// Starts the workers.
    ///
    /// # Errors
    ///
    /// Refuses to start none, or more when there are some, and what cannot be set; and what the system refuses. Then all
    /// is as it was.
    pub fn start(self) -> Result<Pool, StartError> {
        let share = self.share();
        self.check(share)?;
        let (workers, nice) = (self.workers, self.nice_value());
        let crew = Crew::new(&self.controller, self.ground, nice, self.name);
        // The threads wait until all are there: an error has let nobody spawn what would be cancelled.
        let pool = crew.employ_all(workers, share).and_then(|()| {
            let pool = Pool::open(self.controller, Arc::clone(&crew))?;
            let staff = Arc::downgrade(&crew);
            crew.shared.sched.set_staff(staff);
            Ok(pool)
        });
        crew.begin(pool.is_ok());
        let pool = pool?;
        #[cfg(feature = "tokio")]
        pool.send(workers, share);
        event!("pool_started", workers);
        Ok(pool)
    }

    /// Refuses what cannot be.
    fn check(&self, share: u32) -> Result<(), StartError> {
        let Self { workers, name, .. } = self;
        if *workers == 0 {
            return Err(StartError::NoWorkers);
        }
        if *workers > WORKERS_MAX {
            return Err(StartError::TooManyWorkers { workers: *workers, most: WORKERS_MAX });
        }
        if share > 100 {
            return Err(StartError::Share { share });
        }
        if name.contains('\0') {
            return Err(StartError::ThreadName { name: name.clone() });
        }
        #[cfg(feature = "tokio")]
        attach::check(&self.ground, self.nice)?;
        match self.nice {
            Some(nice) if !NICE.contains(&nice) => Err(StartError::NiceRange { nice }),
            _ => check_standing(&self.controller),
        }
    }

    /// Makes one worker that the caller drives, and starts no thread: the settings are of no account.
    ///
    /// # Errors
    ///
    /// Refuses if there are workers, or the controller is unregistered.
    pub fn manual(self) -> Result<Manual, StartError> {
        check_standing(&self.controller)?;
        let crew = Crew::new(&self.controller, Ground::Threads, Nice::Same, self.name);
        let pool = Pool::open(self.controller, crew)?;
        event!("pool_started", workers = 0);
        Ok(Manual::new(pool))
    }

    /// Returns what the rescue lane may use, in percent.
    fn share(&self) -> u32 {
        self.share.unwrap_or(match self.ground {
            Ground::Threads => 0,
            #[cfg(feature = "tokio")]
            Ground::Attached(_) => crate::rescue::SHARE,
            #[cfg(feature = "tokio")]
            Ground::Runners(_) => 0,
        })
    }

    /// Returns the workers' nice value.
    fn nice_value(&self) -> Nice {
        match (self.nice, &self.ground) {
            (Some(nice), _) => Nice::Exactly(nice),
            (None, Ground::Threads) if self.share() == 0 => Nice::Same,
            (None, _) => Nice::More(NICER),
        }
    }
}

impl Pool {
    fn open(controller: Controller<Cpu>, crew: Arc<Crew>) -> Result<Self, StartError> {
        if !crew.shared.sched.open() {
            return Err(StartError::Started);
        }
        Ok(Self {
            controller,
            crew,
            is_down: AtomicBool::new(false),
            #[cfg(feature = "tokio")]
            tasks: Tasks::default(),
        })
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.crew.shared
    }

    /// Starts what of the pool is on a runtime.
    #[cfg(feature = "tokio")]
    fn send(&self, workers: usize, share: u32) {
        let shared = &self.crew.shared;
        if let Ground::Runners(handle) = &self.crew.ground {
            self.tasks.send_runners(shared, handle, workers);
        }
        if let Ground::Attached(handle) | Ground::Runners(handle) = &self.crew.ground
            && share > 0
        {
            self.tasks.send_rescuer(shared, handle, share);
        }
    }
}

/// Refuses a controller that can have no workers, or has some.
fn check_standing(controller: &Controller<Cpu>) -> Result<(), StartError> {
    let shared = controller.subsystem().shared();
    if shared.is_inherited() {
        return Err(StartError::Forked);
    }
    if controller.root().is_none() {
        return Err(StartError::Unregistered);
    }
    match shared.sched.standing() {
        Standing::Open | Standing::Closing => Err(StartError::Started),
        Standing::Unstaffed | Standing::Closed => Ok(()),
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("threads", &self.crew.threads.lock().len())
            .finish_non_exhaustive()
    }
}
