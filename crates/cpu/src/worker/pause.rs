//! A worker that waits inside a job: it gives its slot away, and claims another like a thread of somebody else's.

use std::{mem, panic, task::Waker};

use super::{Part, Worker};
use crate::{
    caught::caught,
    claim::{Claim, Grant, Kind},
    here::{self, Killed},
    lease::{self, Parker},
    stand::Begin,
    sync::{Arc, Ordering},
};

impl Worker {
    /// Lets others run, if it is their turn.
    pub(crate) fn checkpoint_slow(self: &Arc<Self>) -> Result<(), Killed> {
        let is_hurried = self.flag.take();
        let stint = self.stint.lock();
        let Some(slice) = &stint.slice else {
            drop(stint);
            self.flag.idle();
            return Err(Killed);
        };
        // Ordering: Relaxed: set by this thread.
        let current = self.current.load(Ordering::Relaxed) as usize;
        let own = stint.taken.get(current);
        if own.is_none_or(|(queue, kills)| queue.kills() != *kills) {
            drop(stint);
            self.flag.raise();
            return Err(Killed);
        }
        if !is_hurried {
            // The first look in this slice: from here on somebody says when it is over.
            let call = self.sched.watch(slice);
            drop(stint);
            call.make();
            return Ok(());
        }
        drop(stint);
        if self.part == Part::Rescuer || !here::may_yield() {
            self.flag.raise();
            return Ok(());
        }
        let Some(own) = self.make_claim() else { return Err(Killed) };
        let grant = match own.claim.seize(Some((own.grant, own.cpu))) {
            Some(grant) => Some(grant),
            None => {
                self.sched.absent();
                let grant = lease::wait(&own.claim, &Parker::waker(), &lease::for_ever);
                self.sched.present();
                grant
            }
        };
        self.resume(&own.claim, grant, own.kills)
    }

    /// Runs something that waits.
    pub(crate) fn blocking<R>(self: &Arc<Self>, wait: impl FnOnce() -> R) -> R {
        if self.part == Part::Rescuer {
            return here::outside(wait); // it has no slot to give away
        }
        let Some(own) = self.make_claim() else { return here::outside(wait) };
        self.sched.absent();
        own.grant.end(own.cpu);
        let result = caught(|| here::outside(wait));
        // After a panic the job is over: it needs no slot.
        let grant = match &result {
            Ok(_) => lease::wait(&own.claim, &Parker::waker(), &lease::for_ever),
            Err(_) => None,
        };
        self.sched.present();
        // If it was killed, the next checkpoint says so.
        let _killed = self.resume(&own.claim, grant, own.kills);
        result.unwrap_or_else(|payload| panic::resume_unwind(payload))
    }

    /// Makes a claim of what the worker has; what else it took is given back.
    fn make_claim(self: &Arc<Self>) -> Option<Own> {
        let now = self.sched.time.now();
        let mut stint = self.stint.lock();
        let slice = stint.slice.take()?;
        let wall = now.saturating_sub(stint.begun);
        let cpu = stint.meter.lap(wall);
        let mut taken = mem::take(&mut stint.taken);
        drop(stint);
        // Ordering: Relaxed, both: used by this thread only.
        let current = self.current.load(Ordering::Relaxed) as usize;
        self.has_moved.store(true, Ordering::Relaxed);
        let (queue, kills) = taken.swap_remove(current);
        self.give_back();
        taken.into_iter().for_each(|(queue, _)| queue.release());
        let claim = Claim::new(&queue, &self.sched, Arc::clone(&self.flag), Kind::Job);
        let held = claim.stand.begin(Waker::noop());
        debug_assert!(matches!(held, Begin::Look), "a new claim is woken");
        if queue.kills() != kills {
            claim.kill(); // who killed the job may have looked for claims before there was this one
        }
        self.sched.pass_on(self, &slice, &claim).make();
        Some(Own { claim, grant: Grant::new(slice, queue), cpu, kills })
    }

    /// Goes on with a grant, if there is one.
    fn resume(&self, claim: &Claim, grant: Option<Grant>, kills: u32) -> Result<(), Killed> {
        claim.leave(0);
        let Some((slice, queue)) = grant.and_then(Grant::into_parts) else {
            self.flag.idle();
            return Err(Killed);
        };
        self.sched.take_over(self, &slice);
        let now = self.sched.time.now();
        let mut stint = self.stint.lock();
        stint.taken.push((queue, kills));
        (stint.slice, stint.begun) = (Some(slice), now);
        stint.meter.skip();
        // Ordering: Relaxed: used by this thread only.
        self.current.store(0, Ordering::Relaxed);
        self.flag.resume();
        Ok(())
    }
}

/// What a worker has, as a claim's.
struct Own {
    claim: Arc<Claim>,
    grant: Grant,
    cpu: u64,
    /// How often the job's queue had been killed when the job was taken.
    kills: u32,
}
