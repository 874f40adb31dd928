//! One worker that the caller drives: for tests, and for programs that bring their own thread.

use std::{fmt, task::Waker, time::Duration};

use fief_core::Cgroup;

use crate::{
    error::GroupError,
    group::Group,
    pool::Pool,
    worker::{Driver, Runner, Turn},
};

/// A worker without a thread: it runs when, and where, it is told to. From
/// [`PoolBuilder::manual`](crate::PoolBuilder::manual).
///
/// With a clock that jobs advance themselves, everything that happens is the same every time. Dropping it shuts the
/// controller's workers down, as dropping a [`Pool`] does.
pub struct Manual {
    // Before the pool: its seat is empty when that shuts down.
    runner: Runner,
    pool: Pool,
}

/// What came of a [`Manual::turn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Turned {
    /// It ran a slice.
    Ran,
    /// There was nothing to run. If a quota holds something back, it can be run in so long.
    Idle(Option<Duration>),
    /// It is shut down.
    Ended,
}

impl Manual {
    pub(crate) fn new(pool: Pool) -> Self {
        let driver = Driver::Task(Waker::noop().clone());
        Self { runner: Runner::new(&pool.shared().sched, driver, || false), pool }
    }

    /// Makes a member of `cgroup`: [`Group::new`].
    ///
    /// # Errors
    ///
    /// As [`Group::new`].
    pub fn group(&self, cgroup: &Cgroup) -> Result<Group, GroupError> {
        self.pool.group(cgroup)
    }

    /// Runs one slice of the group that is next, on the calling thread, if there is something to run.
    ///
    /// # Concurrency
    ///
    /// Takes as long as the polls of a slice.
    pub fn turn(&mut self) -> Turned {
        match self.runner.turn() {
            Turn::Ran => {
                self.runner.settle(); // nobody knows when the next turn is
                Turned::Ran
            }
            Turn::End => Turned::Ended,
            Turn::Sleep(until) => {
                self.runner.slept();
                let now = self.pool.shared().sched.time.now();
                Turned::Idle(until.map(|until| Duration::from_nanos(until.saturating_sub(now))))
            }
        }
    }

    /// Runs slices until there is nothing to run; returns how many.
    ///
    /// Jobs that always wake themselves make it go on for ever.
    pub fn run_until_idle(&mut self) -> u64 {
        let mut slices = 0;
        while self.turn() == Turned::Ran {
            slices += 1;
        }
        slices
    }

    /// Sets what is woken when there is something to run again, or there is nothing more to come.
    ///
    /// It is woken on whatever thread spawns, wakes or thaws, once for each time that [`turn`](Self::turn) found nothing.
    pub fn set_waker(&self, waker: &Waker) {
        self.runner.worker.set_driver(Driver::Task(waker.clone()));
    }

    /// Cancels all jobs of all members; see [`Pool::shutdown`].
    pub fn shutdown(&self) {
        self.pool.shutdown();
    }
}

impl fmt::Debug for Manual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manual").field("worker", &self.runner.worker).finish_non_exhaustive()
    }
}
