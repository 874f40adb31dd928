//! Leases: threads of somebody else's that run for a group.
//!
//! A thread that enters a group waits for a slot like everything else, and then runs until it looks up in a
//! checkpoint, waits in [`blocking`](Lease::blocking), or drops its lease. It looks at one flag, which is
//! raised by who is ahead of it, and by the ticker when its slice is over.

use std::{
    cell::RefCell,
    fmt, panic,
    rc::Rc,
    task::{Wake, Waker},
    time::Duration,
};

use crate::{
    caught::caught,
    claim::{Claim, Flag, Grant, Kind},
    error::EnterError,
    here::{self, Killed, NoYield},
    member::Member,
    meter::Meter,
    stand::Begin,
    sync::{
        Arc,
        thread::{self, Thread},
    },
};

/// The right of the calling thread to run for a group, on one of the controller's CPUs. Dropping it gives it
/// back.
///
/// What the thread does meanwhile is charged to the group, also if nobody looks up; but the CPU is taken from
/// it only in [`checkpoint`](Self::checkpoint) and [`blocking`](Self::blocking).
///
/// A killed group's leases end at the next checkpoint; a frozen one's wait there until it is thawed. They
/// need no workers: when a pool is shut down, they go on.
#[must_use = "dropping it gives the CPU back"]
pub struct Lease {
    flag: Arc<Flag>,
    tenure: Rc<Tenure>,
}

/// What a thread has while it has a lease.
pub(crate) struct Tenure {
    pub(crate) flag: Arc<Flag>,
    claim: Arc<Claim>,
    waker: Waker,
    run: RefCell<Run>,
    /// The lease is the member's work: the membership lasts as long.
    member: Arc<Member>,
}

struct Run {
    grant: Option<Grant>,
    meter: Meter,
    begun: u64,
}

impl Lease {
    pub(crate) fn enter(member: &Arc<Member>, patience: Patience<'_>) -> Result<Self, EnterError> {
        if member.shared.is_inherited() {
            return Err(EnterError::Forked);
        }
        if here::current().is_some() {
            return Err(EnterError::Nested);
        }
        let (sched, flag) = (&member.shared.sched, Flag::new());
        let claim = Claim::new(member.queue(), sched, Arc::clone(&flag), Kind::Lease);
        let waker = Parker::waker();
        let held = claim.stand.begin(&waker);
        debug_assert!(matches!(held, Begin::Look), "a new claim is woken");
        let run = Run { grant: None, meter: Meter::new(&sched.time), begun: 0 };
        let tenure = Rc::new(Tenure {
            flag: Arc::clone(&flag),
            claim,
            waker,
            run: RefCell::new(run),
            member: Arc::clone(member),
        });
        let lease = Self { flag, tenure };
        lease.tenure.go_on(None, patience)?;
        here::set_lease(&lease.tenure);
        Ok(lease)
    }

    /// Lets others run, if it is their turn.
    ///
    /// To be called about every 10 to 100 µs, where no lock is held that others need ([`Self::no_yield`]).
    ///
    /// # Concurrency
    ///
    /// Wait-free if it is nobody else's turn: one load. Else it waits until the group's turn comes again.
    ///
    /// # Errors
    ///
    /// [`Killed`] if the group was killed: the lease is over, and what the thread does is not charged any more.
    #[inline]
    #[doc(alias = "cond_resched")]
    pub fn checkpoint(&self) -> Result<(), Killed> {
        if self.flag.is_up() { self.tenure.checkpoint_slow() } else { Ok(()) }
    }

    /// Runs something that waits: for a lock, a file, or another thread. Meanwhile others have the slot; after
    /// that it waits for its turn.
    ///
    /// While a [guard](Self::no_yield) lives it just calls `wait`. In `wait` the thread has no lease: it may
    /// enter another group.
    ///
    /// # Panics
    ///
    /// As `wait` does; the lease then has no slot until the next checkpoint.
    pub fn blocking<R>(&self, wait: impl FnOnce() -> R) -> R {
        if here::may_yield() { self.tenure.blocking(wait) } else { wait() }
    }

    /// Has checkpoints of this thread not wait while the guard lives: [`no_yield`](crate::no_yield()).
    pub fn no_yield(&self) -> NoYield {
        here::no_yield()
    }

    /// Returns whether the group was killed since the thread entered it.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.tenure.claim.stand.is_killed()
    }
}

impl Tenure {
    #[cold]
    #[inline(never)]
    pub(crate) fn checkpoint_slow(&self) -> Result<(), Killed> {
        if self.claim.stand.is_killed() {
            self.stop();
            return Err(Killed);
        }
        self.flag.lower();
        if !here::may_yield() {
            self.flag.raise();
            return Ok(());
        }
        let done = self.done();
        self.go_on(done, &for_ever).map_err(|_| Killed)
    }

    pub(crate) fn blocking<R>(&self, wait: impl FnOnce() -> R) -> R {
        self.stop();
        let result = caught(|| here::outside(wait));
        match result {
            Ok(result) => {
                // If it was killed, the next checkpoint says so.
                let _killed = self.go_on(None, &for_ever);
                result
            }
            Err(payload) => panic::resume_unwind(payload),
        }
    }

    /// Runs on, when it is the turn of the claim, which is held.
    fn go_on(&self, done: Option<(Grant, u64)>, patience: Patience<'_>) -> Result<(), EnterError> {
        let claim = &self.claim;
        if claim.stand.is_killed() {
            // It waits no longer, for good, and is not to be queued again.
            self.flag.idle();
            if let Some((grant, cpu)) = done {
                grant.end(cpu);
            }
            return Err(EnterError::Killed);
        }
        let at_once = claim.seize(done);
        let has_waited = at_once.is_none();
        let grant = at_once.or_else(|| wait(claim, &self.waker, patience));
        let Some(grant) = grant else {
            self.flag.idle();
            let is_killed = claim.stand.is_killed();
            return Err(if is_killed { EnterError::Killed } else { EnterError::TimedOut });
        };
        let mut run = self.run.borrow_mut();
        if has_waited {
            run.meter.skip();
        }
        (run.grant, run.begun) = (Some(grant), claim.sched.time.now());
        self.flag.resume();
        Ok(())
    }

    /// Gives the slot back.
    fn stop(&self) {
        self.flag.idle();
        if let Some((grant, cpu)) = self.done() {
            grant.end(cpu);
        }
    }

    /// Takes what it has, and what to charge for it.
    fn done(&self) -> Option<(Grant, u64)> {
        let mut run = self.run.borrow_mut();
        let grant = run.grant.take()?;
        let wall = self.claim.sched.time.now().saturating_sub(run.begun);
        let cpu = run.meter.lap(wall);
        Some((grant, cpu))
    }
}

/// How long to wait still, asked whenever the thread is unparked; `None` for ever, and zero not at all.
pub(crate) type Patience<'a> = &'a dyn Fn() -> Option<Duration>;

/// Waits as long as it takes.
pub(crate) fn for_ever() -> Option<Duration> {
    None
}

/// Waits on the calling thread until the claim, which is held and found no slot, is granted one; `None` if it is
/// killed, or loses patience.
pub(crate) fn wait(claim: &Arc<Claim>, waker: &Waker, patience: Patience<'_>) -> Option<Grant> {
    claim.stand.set_waiter(waker.clone());
    let is_waiting = claim.stand.wait();
    if is_waiting {
        claim.push();
    }
    // What was run before left a slot, perhaps.
    claim.sched.dispatch();
    if !is_waiting {
        return None;
    }
    loop {
        if let Some(grant) = claim.stand.take() {
            return Some(grant);
        }
        if claim.stand.is_killed() {
            return None;
        }
        match patience() {
            Some(Duration::ZERO) => return None,
            Some(rest) => thread::park_timeout(rest),
            None => thread::park(),
        }
    }
}

/// Unparks a thread.
pub(crate) struct Parker(Thread);

impl Parker {
    /// Returns a waker that unparks the calling thread.
    pub(crate) fn waker() -> Waker {
        Waker::from(Arc::new(Self(thread::current())))
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        here::forget_lease(&self.tenure);
        if self.tenure.member.shared.is_inherited() {
            // Who else has something there is not here to give it back.
            let grant = self.tenure.run.borrow_mut().grant.take();
            drop(grant.and_then(Grant::into_parts));
            return;
        }
        self.tenure.stop();
        self.tenure.claim.leave(0);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("claim", &self.tenure.claim).finish()
    }
}
