//! Claims: those outside of the pool who wait for a slot, and run with one.
//!
//! A claim lies in its member's queue like a job. Whoever takes it from there, a worker or somebody who
//! [dispatches](crate::sched::Sched::dispatch) because no worker is free to, passes it a slot and the slice that it had: a
//! [`Grant`]. While it waits in vain for its owner to come, or runs, the slot is its own; when it ends, the
//! slice is settled and the slot goes to who is next.
//!
//! # Invariants
//!
//! 1. A grant ends once, and then its slot is free, its slice settled, and its queue told: dropping it does all
//!    of that. Where it was going, who had it and what panicked meanwhile does not matter.
//! 2. A claim that is gone lies in a queue until somebody comes across it, or more than half of the queue is gone.

use std::{fmt, task::Waker};

use crate::{
    caught::{caught, discard},
    leaf::Leaf,
    queue::Queue,
    sched::{Sched, Slice},
    stand::{Left, Stand, Woken},
    sync::{Arc, AtomicU32, Ordering, skip},
};

/// Somebody outside of the pool who waits for a slot, or has one.
pub(crate) struct Claim {
    pub(crate) queue: Arc<Queue>,
    pub(crate) sched: Arc<Sched>,
    pub(crate) flag: Arc<Flag>,
    pub(crate) stand: Stand<Grant>,
    pub(crate) kind: Kind,
    /// Its place in the queue's list.
    key: usize,
    /// How often in a row it did not come for a grant.
    missed: AtomicU32,
}

/// Who has a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A thread, which waits for it.
    Lease,
    /// A job that waits inside itself, on a worker.
    Job,
    /// A future that somebody else polls.
    Wrapped,
}

/// The right to run, until the slice is over.
#[derive(Debug)]
#[must_use = "dropping it ends it"]
pub(crate) struct Grant(Option<(Slice, Arc<Queue>)>);

/// Whether who runs is to do something else than run on.
#[derive(Debug)]
pub(crate) struct Flag(AtomicU32);

/// How long after the end of its slice a grant is taken back at first, in nanoseconds.
const GRACE: u64 = 200_000;

/// Somebody else is ahead, or the slice is over.
const HURRIED: u32 = 1;
/// Nobody watches whether the slice is over.
const UNWATCHED: u32 = 2;
/// There is no slice.
const IDLE: u32 = 4;

impl Claim {
    pub(crate) fn new(
        queue: &Arc<Queue>,
        sched: &Arc<Sched>,
        flag: Arc<Flag>,
        kind: Kind,
    ) -> Arc<Self> {
        queue.enlist(|key| {
            Arc::new(Self {
                queue: Arc::clone(queue),
                sched: Arc::clone(sched),
                flag,
                stand: Stand::new(),
                kind,
                key,
                missed: AtomicU32::new(0),
            })
        })
    }

    /// Finds a slot at once, if nobody waits for one. What was run before is settled, and its slot kept if so,
    /// else free: then the caller queues the claim, and [dispatches](Sched::dispatch).
    pub(crate) fn seize(self: &Arc<Self>, done: Option<(Grant, u64)>) -> Option<Grant> {
        self.queue.seize(self, done)
    }

    /// Has it wait in its queue; it is waiting already.
    pub(crate) fn push(self: &Arc<Self>) {
        self.queue.push_claim(self);
    }

    /// Gives it a grant, and tells its owner; the grant, if nobody waits any more.
    pub(crate) fn grant(&self, grant: Grant) -> Result<(), Grant> {
        let waiter = self.stand.grant(grant)?;
        if let Some(waiter) = waiter
            && let Err(payload) = caught(|| waiter.wake())
        {
            discard(payload);
        }
        Ok(())
    }

    /// Has it run, as soon as there is a slot for it.
    pub(crate) fn wake(self: &Arc<Self>) {
        match self.stand.wake(|| self.sched.is_calm()) {
            Woken::Nothing => {}
            Woken::Queue => self.push(),
            Woken::Tell(waiter) => waiter.wake(),
        }
    }

    /// Notes that its owner came for a grant.
    pub(crate) fn came(&self) {
        // Ordering: Relaxed, and below: a count for the ticker's patience.
        if self.missed.load(Ordering::Relaxed) != 0 {
            self.missed.store(0, Ordering::Relaxed);
        }
    }

    /// Returns how long after the end of a slice a grant waits for its owner, in nanoseconds: twice as long each time that
    /// it was in vain, so that an owner that always is late runs at last.
    pub(crate) fn grace(&self) -> u64 {
        match self.kind {
            Kind::Lease | Kind::Job => 0,
            Kind::Wrapped => GRACE << self.missed.load(Ordering::Relaxed).min(9),
        }
    }

    /// Takes the grant that its owner did not come for; a thread that waits does come.
    pub(crate) fn revoke(&self) {
        if self.kind != Kind::Wrapped {
            return;
        }
        if let Some(grant) = self.stand.revoke() {
            self.missed.fetch_add(1, Ordering::Relaxed);
            grant.end(0);
        }
    }

    /// Has it wait no longer, for good.
    pub(crate) fn kill(&self) {
        let waiter = self.settle(self.stand.kill(), 0);
        self.flag.raise();
        if let Err(payload) = caught(|| waiter.into_iter().for_each(Waker::wake)) {
            discard(payload);
        }
    }

    /// Ends it, as its owner is dropped; a grant that came goes on to who is next, and `cpu` is charged to it.
    pub(crate) fn leave(&self, cpu: u64) {
        let waiter = self.settle(self.stand.leave(), cpu);
        self.queue.delist(self.key);
        discard(waiter);
    }

    fn settle(&self, left: Left<Grant>, cpu: u64) -> Option<Waker> {
        let Left { grant, was_waiting, waiter } = left;
        if was_waiting {
            self.queue.forget();
        }
        if let Some(grant) = grant {
            grant.end(cpu);
        }
        waiter
    }
}

impl Grant {
    pub(crate) fn new(slice: Slice, queue: Arc<Queue>) -> Self {
        Self(Some((slice, queue)))
    }

    /// Returns when its slice is over.
    pub(crate) fn over(&self) -> u64 {
        self.0.as_ref().map_or(0, |(slice, _)| slice.end)
    }

    /// Returns whose slice it is.
    pub(crate) fn leaf(&self) -> Option<Arc<Leaf>> {
        self.0.as_ref().map(|(slice, _)| Arc::clone(&slice.leaf))
    }

    /// Settles its slice, and gives the slot to who is next.
    pub(crate) fn end(mut self, cpu: u64) {
        self.finish(cpu);
    }

    /// Takes it apart; the caller ends the slice, and releases the queue.
    pub(crate) fn into_parts(mut self) -> Option<(Slice, Arc<Queue>)> {
        self.0.take()
    }

    fn finish(&mut self, cpu: u64) {
        let Some((slice, queue)) = self.0.take() else { return };
        let sched = Arc::clone(&slice.leaf.sched);
        sched.end(slice, cpu);
        queue.release();
        if !skip("grant_dispatches") {
            sched.dispatch();
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.finish(0);
    }
}

impl Flag {
    /// Makes the flag of somebody who has no slice.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU32::new(IDLE)))
    }

    /// Has who runs look up.
    pub(crate) fn raise(&self) {
        // Ordering: Relaxed, here and below: who sees it looks at what it is about under locks, and who does not see it
        // yet, soon does. It is lowered before one looks.
        self.0.fetch_or(HURRIED, Ordering::Relaxed);
    }

    /// Whether there is something to do at a checkpoint.
    #[inline(always)]
    pub(crate) fn is_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn is_hurried(&self) -> bool {
        self.0.load(Ordering::Relaxed) & HURRIED != 0
    }

    /// Notes that there is a slice, and somebody watches for its end.
    pub(crate) fn lower(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// The same; returns whether there was something to look at.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(0, Ordering::Relaxed) & HURRIED != 0
    }

    /// Notes that there is a slice, whose end nobody watches for.
    pub(crate) fn unwatched(&self) {
        self.0.store(UNWATCHED, Ordering::Relaxed);
    }

    /// Notes that there is a slice again; if something came up meanwhile, it is to be looked at.
    pub(crate) fn resume(&self) {
        self.0.fetch_and(!IDLE, Ordering::Relaxed);
    }

    /// Notes that there is no slice.
    pub(crate) fn idle(&self) {
        self.0.store(IDLE, Ordering::Relaxed);
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("is_waiting", &self.stand.is_waiting())
            .finish_non_exhaustive()
    }
}
