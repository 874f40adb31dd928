//! A member: a task of the registry, whose jobs run for the group where it sits.
//!
//! Its jobs follow it: when it is moved, or the controller is bound elsewhere, the `attach` hook
//! [re-points](Member::follow) it, and what waits goes along. What runs is charged where it was begun, until its
//! slice is over.
//!
//! It holds a reference to its css, so that a node in which something waits has a leaf.

use std::fmt;

use fief_core::{Controller, CssRef, Task};
use slab::Slab;

use crate::{
    claim::Kind,
    css::CpuCss,
    error::SpawnError,
    job::{self, AbortHandle, Home, Runnable, join::JoinHandle},
    queue::{Owner, Queue},
    sched::Standing,
    shared::Shared,
    subsystem::Cpu,
    sync::{Arc, Mutex, Weak},
};

/// A task whose jobs run for its group.
pub(crate) struct Member {
    pub(crate) controller: Controller<Cpu>,
    pub(crate) shared: Arc<Shared>,
    queue: Arc<Queue>,
    /// Where it is; changed together with where its queue is.
    css: Mutex<CssRef<CpuCss>>,
    /// Those that have not ended.
    jobs: Mutex<Slab<AbortHandle>>,
    /// Held while the core is told whether it has stopped, so that what is said last is what is so.
    saying: Mutex<()>,
    pub(crate) task: Task,
}

impl Member {
    /// Makes a task a member, at the css where it is.
    pub(crate) fn new(controller: &Controller<Cpu>, task: Task) -> Result<Arc<Self>, Task> {
        let shared = Arc::clone(controller.subsystem().shared());
        let Some(css) = task.css(controller) else { return Err(task) };
        let member = Arc::new_cyclic(|member: &Weak<Self>| Self {
            controller: controller.clone(),
            queue: Queue::new(Arc::clone(&css.leaf), owner(member), task.id(), task.name()),
            css: Mutex::new(css),
            jobs: Mutex::new(Slab::new()),
            saying: Mutex::new(()),
            task,
            shared,
        });
        let weak = Arc::downgrade(&member);
        member.shared.members.lock().insert(member.task.id(), Weak::clone(&weak));
        // It may have been moved before it could be found.
        member.look_again();
        let weak_too = Weak::clone(&weak);
        member.task.on_cancel(move || {
            if let Some(member) = weak.upgrade() {
                member.cancel();
            }
        });
        member.task.on_freeze(move |is_asked| {
            if let Some(member) = weak_too.upgrade() {
                member.freeze(is_asked);
            }
        });
        Ok(member)
    }

    fn look_again(&self) {
        let mut place = self.css.lock();
        let Some(css) = self.task.css(&self.controller) else { return };
        self.queue.move_to(&css.leaf);
        let former = std::mem::replace(&mut *place, css);
        drop(place);
        drop(former);
    }

    /// Goes where its task is now.
    pub(crate) fn follow(&self, css: CssRef<CpuCss>) {
        let mut place = self.css.lock();
        self.queue.move_to(&css.leaf);
        let former = std::mem::replace(&mut *place, css);
        drop(place);
        drop(former);
    }

    /// Returns where it is.
    pub(crate) fn css(&self) -> CssRef<CpuCss> {
        self.css.lock().clone()
    }

    /// Has a future run here.
    pub(crate) fn spawn<F>(self: &Arc<Self>, future: F) -> Result<JoinHandle<F::Output>, SpawnError>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.add(|member, key| job::future(member, key, future))
    }

    /// Has a closure run here.
    pub(crate) fn spawn_fn<T: Send + 'static>(
        self: &Arc<Self>,
        closure: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, SpawnError> {
        self.add(|member, key| job::closure(member, key, closure))
    }

    fn add<T>(
        self: &Arc<Self>,
        make: impl FnOnce(Arc<Self>, usize) -> (Runnable, JoinHandle<T>),
    ) -> Result<JoinHandle<T>, SpawnError> {
        self.check()?;
        let mut jobs = self.jobs.lock();
        let entry = jobs.vacant_entry();
        let (runnable, handle) = make(Arc::clone(self), entry.key());
        entry.insert(handle.abort_handle());
        drop(jobs);
        self.push(runnable);
        Ok(handle)
    }

    pub(crate) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Returns why nothing can be spawned, if that is so.
    pub(crate) fn check(&self) -> Result<(), SpawnError> {
        if self.shared.is_inherited() {
            return Err(SpawnError::Forked);
        }
        match self.shared.sched.standing() {
            Standing::Unstaffed => Err(SpawnError::NoWorkers),
            Standing::Closing | Standing::Closed => Err(SpawnError::ShutDown),
            Standing::Open if self.queue.is_closed() => Err(SpawnError::ShutDown),
            Standing::Open => Ok(()),
        }
    }

    /// Ends all claims, and all jobs: those that wait, here, so that neither a quota nor a freeze keeps them; those that
    /// run, when their poll is over, or when they look.
    fn cancel(&self) {
        self.abort();
        let waiting = self.queue.take_if(Runnable::is_aborted);
        waiting.into_iter().for_each(Runnable::cancel);
        self.queue.claimants().iter().for_each(|claim| claim.kill());
        self.shared.sched.alert();
    }

    /// Aborts all jobs; those that look find that they are to end.
    fn abort(&self) {
        self.queue.note_kill();
        let jobs: Vec<_> = self.jobs.lock().iter().map(|(_, job)| job.clone()).collect();
        jobs.iter().for_each(AbortHandle::abort);
    }

    /// Ends all jobs: those that wait, here; those that run, when their poll is over. Others' threads and futures go on.
    pub(crate) fn close(&self) {
        self.queue.close().into_iter().for_each(Runnable::cancel);
        self.abort();
        let claimants = self.queue.claimants();
        let jobs = claimants.iter().filter(|claim| claim.kind == Kind::Job);
        jobs.for_each(|claim| claim.kill());
        self.shared.sched.alert();
    }

    /// Stops, or goes on.
    fn freeze(&self, is_asked: bool) {
        if is_asked {
            self.queue.set_frozen(true).make();
            self.shared.sched.alert();
            self.stopped();
            return;
        }
        let saying = self.saying.lock();
        self.task.set_frozen(false);
        // Before somebody else finds that it has stopped still, and says so.
        let call = self.queue.set_frozen(false);
        drop(saying);
        call.make();
    }
}

/// Returns a member as its queue's owner.
fn owner(member: &Weak<Member>) -> Weak<dyn Owner> {
    let owner: Weak<Member> = Weak::clone(member);
    owner
}

impl Owner for Member {
    fn stopped(&self) {
        let _saying = self.saying.lock();
        if self.queue.has_stopped() {
            self.task.set_frozen(true);
        }
    }
}

impl Home for Member {
    fn push(self: &Arc<Self>, job: Runnable) {
        self.queue.push([job], false).into_iter().for_each(Runnable::cancel);
    }

    fn give_back(self: &Arc<Self>, job: Runnable) {
        self.queue.push([job], true).into_iter().for_each(Runnable::cancel);
    }

    fn done(&self, key: usize) {
        let job = self.jobs.lock().try_remove(key);
        drop(job);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if !self.shared.is_inherited() {
            // Claims that are gone may lie there yet, and keep the queue.
            drop(self.queue.clear());
            self.shared.members.lock().remove(&self.task.id());
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("task", &self.task).finish_non_exhaustive()
    }
}
