//! A handle by which work is given to a group.

use std::{
    fmt,
    time::{Duration, Instant},
};

use fief_core::{Cgroup, Controller, CssRef, Task};

use crate::{
    css::CpuCss,
    error::{EnterError, GroupError, ScopeError, SpawnError},
    job::join::JoinHandle,
    lease::{self, Lease},
    member::Member,
    scope::{self, Scope},
    subsystem::Cpu,
    sync::Arc,
    wrap::Wrapped,
};

/// Runs futures and closures for a group: a task of the registry, and what is spawned by it.
///
/// Clones are the same member. Its jobs are charged to the group where [its task](Self::task) sits, and follow
/// it when it is moved, or the controller is bound, rebound or unbound; they stop while the group is frozen,
/// and are cancelled when it is [killed](Cgroup::kill). The membership ends with the last clone and the last job.
#[derive(Clone)]
pub struct Group {
    pub(crate) member: Arc<Member>,
}

impl Group {
    /// Makes a member of `cgroup`, named as the group; everywhere else it is at the root.
    ///
    /// # Errors
    ///
    /// Refuses a removed group, one of another registry, and a controller that is unregistered; and what the
    /// controllers' hooks refuse.
    pub fn new(cpu: &Controller<Cpu>, cgroup: &Cgroup) -> Result<Self, GroupError> {
        let foreign = || GroupError::ForeignGroup { cgroup: cgroup.path() };
        if cpu.root().is_none() {
            return Err(foreign());
        }
        let task = cgroup.create_task(&cgroup.name())?;
        let member = Member::new(cpu, task).map_err(|_| foreign())?;
        Ok(Self { member })
    }

    /// Makes a task a member, wherever it is. Its [cancel](Task::on_cancel) and [freeze](Task::on_freeze)
    /// callbacks are replaced.
    ///
    /// # Errors
    ///
    /// Refuses a task of another registry than the controller's, and a controller that is unregistered.
    pub fn of(cpu: &Controller<Cpu>, task: Task) -> Result<Self, GroupError> {
        let member = Member::new(cpu, task);
        let member = member.map_err(|task| GroupError::Foreign { task: task.name().to_owned() })?;
        Ok(Self { member })
    }

    /// Makes another member, where this one is in every hierarchy.
    ///
    /// # Errors
    ///
    /// As [`Task::spawn`].
    pub fn fork(&self, name: &str) -> Result<Self, GroupError> {
        Self::of(&self.member.controller, self.member.task.spawn(name)?)
    }

    /// Makes another member, in `cgroups`, and where this one is in every other hierarchy.
    ///
    /// # Errors
    ///
    /// As [`Task::spawn_into`].
    pub fn fork_into(&self, name: &str, cgroups: &[&Cgroup]) -> Result<Self, GroupError> {
        Self::of(&self.member.controller, self.member.task.spawn_into(name, cgroups)?)
    }

    /// Has a future run for the group.
    ///
    /// What [`JoinHandle`] says of dropping and aborting is what tokio does.
    ///
    /// # Concurrency
    ///
    /// Allocates the job, and takes the short locks of the member, and of its group if nothing waits there.
    ///
    /// # Errors
    ///
    /// Refused if the controller never had workers, or they were shut down.
    pub fn spawn<F>(&self, future: F) -> Result<JoinHandle<F::Output>, SpawnError>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.member.spawn(future)
    }

    /// Has a closure run for the group, on a worker.
    ///
    /// One that takes longer than 100 µs should call [`checkpoint`](crate::checkpoint) now and then, and wait
    /// for others in [`blocking`](crate::blocking) only. When it has begun it runs to its end.
    ///
    /// # Concurrency
    ///
    /// As [`Self::spawn`].
    ///
    /// # Errors
    ///
    /// As [`Self::spawn`].
    pub fn spawn_fn<T: Send + 'static>(
        &self,
        closure: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, SpawnError> {
        self.member.spawn_fn(closure)
    }

    /// Has the calling thread run for the group, as soon as it is the group's turn.
    ///
    /// It takes one of the controller's CPUs, like a worker of a [`Pool`](crate::Pool); but there need be none.
    ///
    /// # Errors
    ///
    /// If the group is killed meanwhile, and on a thread that runs for a group already: a worker, or one
    /// with a lease.
    pub fn enter(&self) -> Result<Lease, EnterError> {
        Lease::enter(&self.member, &lease::for_ever)
    }

    /// Has the calling thread run for the group, if its turn comes in time.
    ///
    /// # Errors
    ///
    /// As [`Self::enter`]; and if it has not come after `timeout` by the machine's clock.
    pub fn enter_timeout(&self, timeout: Duration) -> Result<Lease, EnterError> {
        let until = Instant::now().checked_add(timeout);
        let rest = || until.map(|until| until.saturating_duration_since(Instant::now()));
        Lease::enter(&self.member, &rest)
    }

    /// Has closures run for the group that borrow from the caller, and waits for them.
    ///
    /// ```
    /// # fn run(group: &fief_cpu::Group) -> Result<(), fief_cpu::ScopeError> {
    /// let mut sums = [0; 2];
    /// let numbers: Vec<u64> = (0..1000).collect();
    /// let (left, right) = numbers.split_at(500);
    /// let [a, b] = &mut sums;
    /// group.scope(|scope| {
    ///     scope.spawn(|| *a = left.iter().sum());
    ///     scope.spawn(|| *b = right.iter().sum());
    /// })?;
    /// assert_eq!(sums.iter().sum::<u64>(), 499_500);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The calling thread runs closures that have not begun, by the right that it has: as a worker, or with a lease, of
    /// whatever group; where it has none it enters this one. So it makes progress without free workers, and without any; a
    /// scope may stand in a job, and in another scope.
    ///
    /// # Errors
    ///
    /// If closures panicked, or were cancelled before they began, as the group was killed or the pool shut down. All are gone
    /// then as well.
    ///
    /// # Panics
    ///
    /// As `body` does, when all closures are gone.
    pub fn scope<'env, R>(
        &self,
        body: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
    ) -> Result<R, ScopeError> {
        scope::run(&self.member, body)
    }

    /// Has a future run for the group though somebody else polls it: any executor, on any thread.
    ///
    /// Its polls are charged to the group, wait while the group is behind others or its quota is used up or it is
    /// frozen, and take a CPU of the controller's like everything else. It needs no workers, and goes on when they
    /// are shut down. When it is [killed](fief_core::Cgroup::kill) with its group, it is let go: nobody but its owner can
    /// end it, so it is polled from then on as if it were not wrapped.
    ///
    /// Polled by a job, on a worker, it runs by the right of the job, and is charged where that is: it needs no CPU
    /// beside the worker's.
    ///
    /// Polls for which the future was not woken through the waker that it was given do nothing, as in other
    /// combinators that poll only what was woken. A poll that was granted and does not come, since the task waits for
    /// something else, loses its turn when others wait; it gets another one when it comes.
    ///
    /// # Concurrency
    ///
    /// Allocates a place for the future and one for the claim. A poll takes short locks; if nobody else waits, three.
    ///
    /// # Examples
    ///
    /// For a library that spawns through a trait of its own, as servers do:
    ///
    /// ```
    /// use fief_cpu::Group;
    ///
    /// # trait Executor<F> {
    /// #     fn execute(&self, future: F);
    /// # }
    /// # fn spawn_somewhere(future: impl Future<Output = ()> + Send + 'static) { drop(future) }
    /// struct OfTenant(Group);
    ///
    /// impl<F: Future<Output = ()> + Send + 'static> Executor<F> for OfTenant {
    ///     fn execute(&self, future: F) {
    ///         spawn_somewhere(self.0.wrap(future)); // tokio::spawn, perhaps
    ///     }
    /// }
    /// ```
    pub fn wrap<F: Future>(&self, future: F) -> Wrapped<F> {
        Wrapped::new(&self.member, future)
    }

    /// Returns the task, by which the member is moved, and its css of other controllers found.
    #[must_use]
    pub fn task(&self) -> &Task {
        &self.member.task
    }

    /// Returns the css where the member is.
    #[must_use]
    pub fn css(&self) -> CssRef<CpuCss> {
        self.member.css()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.member.queue().len();
        let mut f = f.debug_struct("Group");
        f.field("task", &self.member.task).field("waiting", &waiting).finish()
    }
}
