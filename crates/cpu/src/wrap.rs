//! Futures of a group that somebody else polls.
//!
//! Between the future and the executor's waker stands the [claim](crate::claim): what wakes the future has the claim
//! wait for a slot, and only when that is granted, the executor is told to poll. So the order in which the executor runs
//! those that it was told of is of no account while groups compete. A poll without a grant asks for one, if the future
//! was woken, and else does nothing.
//!
//! Where a slot is free and nobody waits, the executor is told at once, and the poll finds the slot itself: one grant and
//! one wake-up then cost two short locks each.

use std::{
    fmt, panic,
    pin::Pin,
    task::{Context, Poll, Wake, Waker},
};

use crate::{
    caught::{caught, drop_caught},
    claim::{Claim, Flag, Grant, Kind},
    here,
    member::Member,
    meter, polls,
    stand::{Begin, Pause},
    sync::Arc,
};

/// A future that runs for a group, whoever polls it: see [`Group::wrap`](crate::Group::wrap).
#[must_use = "futures do nothing unless they are polled"]
pub struct Wrapped<F> {
    /// `None` when it was ready, or has panicked.
    future: Option<Pin<Box<F>>>,
    claim: Arc<Claim>,
    waker: Waker,
    /// What it has run for its grant so far, in nanoseconds.
    cpu: u64,
    /// Its work is the member's: the membership lasts as long.
    member: Arc<Member>,
}

impl<F> Wrapped<F> {
    pub(crate) fn new(member: &Arc<Member>, future: F) -> Self {
        let sched = &member.shared.sched;
        let claim = Claim::new(member.queue(), sched, Flag::new(), Kind::Wrapped);
        let waker = Waker::from(Arc::clone(&claim));
        let member = Arc::clone(member);
        Self { future: Some(Box::pin(future)), claim, waker, cpu: 0, member }
    }

    /// Asks for a grant; `Pending` if the executor is to come again.
    fn begin(&mut self, context: &Context<'_>) -> Poll<Option<Grant>> {
        if self.member.shared.is_inherited() {
            return Poll::Ready(None);
        }
        let claim = &self.claim;
        // A worker has a slot: with a second one, all might have to wait for each other.
        let grant = match claim.stand.begin_as(context.waker(), here::is_worker()) {
            Begin::Run(grant) => grant,
            Begin::Look => match claim.seize(None) {
                Some(grant) => grant,
                None => {
                    self.wait(context);
                    return Poll::Pending;
                }
            },
            Begin::Wait => return Poll::Pending,
            Begin::Free => return Poll::Ready(None),
        };
        claim.came();
        Poll::Ready(Some(grant))
    }

    /// Has the claim, which is held, wait in its queue.
    fn wait(&self, context: &Context<'_>) {
        if self.claim.stand.wait() {
            self.claim.push();
        } else {
            // It was killed: it runs without a grant.
            context.waker().wake_by_ref();
        }
        // What was run before left a slot, perhaps.
        self.claim.sched.dispatch();
    }

    /// Ends a poll that did not end the future.
    fn pause(&mut self, grant: Grant, cpu: u64, context: &Context<'_>) {
        self.cpu += cpu;
        let claim = &self.claim;
        let is_over = claim.sched.time.now() >= grant.over() || claim.flag.is_hurried();
        let grant = if is_over && claim.stand.is_woken() {
            let cpu = std::mem::take(&mut self.cpu);
            let Some(grant) = claim.seize(Some((grant, cpu))) else {
                return self.wait(context);
            };
            grant
        } else {
            grant
        };
        match claim.stand.pause(grant) {
            Pause::End(grant, waiter) => {
                grant.end(std::mem::take(&mut self.cpu));
                waiter.into_iter().for_each(Waker::wake);
            }
            Pause::Again(waiter) => waiter.into_iter().for_each(Waker::wake),
        }
    }
}

impl<F: Future> Future for Wrapped<F> {
    type Output = F::Output;

    /// Polls the future, if it was woken and it is the group's turn; else the executor is told when it is.
    ///
    /// # Panics
    ///
    /// As the future does; and if it was ready before, or has panicked.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        assert!(this.future.is_some(), "a wrapped future is polled after it was ready");
        let Poll::Ready(grant) = this.begin(context) else { return Poll::Pending };
        let begun = this.claim.sched.time.now();
        let is_own = grant.is_some() || !this.member.shared.is_inherited();
        let mut own = Context::from_waker(if is_own { &this.waker } else { context.waker() });
        let result = caught(|| this.future.as_mut().map(|future| future.as_mut().poll(&mut own)));
        let result = match result {
            Ok(Some(Poll::Ready(output))) => Ok(Some(output)),
            Ok(_) => Ok(None),
            Err(payload) => Err(payload),
        };
        let result = match result {
            Ok(None) => Ok(None),
            // It is dropped on its group's time.
            ended => drop_caught(this.future.take()).and(ended),
        };
        let wall = this.claim.sched.time.now().saturating_sub(begun);
        let cpu = meter::charge(&this.claim.sched.time, wall);
        let is_long = wall >= this.claim.sched.polls.threshold;
        let long = grant.as_ref().filter(|_| is_long).and_then(Grant::leaf);
        let result = match (result, grant) {
            (Ok(None), grant) => {
                if let Some(grant) = grant {
                    this.pause(grant, cpu, context);
                }
                Ok(Poll::Pending)
            }
            (ended, grant) => {
                let cpu = cpu + std::mem::take(&mut this.cpu);
                if let Some(grant) = grant {
                    grant.end(cpu);
                }
                ended.map(|output| output.map_or(Poll::Pending, Poll::Ready))
            }
        };
        if let Some(leaf) = long {
            polls::tell(&leaf, &this.claim.queue, wall);
        }
        result.unwrap_or_else(|payload| panic::resume_unwind(payload))
    }
}

/// What wakes the future makes its claim wait.
impl Wake for Claim {
    fn wake(self: Arc<Self>) {
        Self::wake(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        Self::wake(self);
    }
}

impl<F> Drop for Wrapped<F> {
    fn drop(&mut self) {
        // The future first: what its drop wakes finds the claim still there.
        let dropped = drop_caught(self.future.take());
        if !self.member.shared.is_inherited() {
            self.claim.leave(self.cpu);
        }
        if let Err(payload) = dropped
            && !crate::sync::thread::panicking()
        {
            panic::resume_unwind(payload);
        }
    }
}

impl<F> fmt::Debug for Wrapped<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wrapped").field("claim", &self.claim).finish_non_exhaustive()
    }
}
