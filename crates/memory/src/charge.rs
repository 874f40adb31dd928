//! Charges that may wait, and those that may not, by what else they may do.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    chain::{MOST, Why},
    css::MemoryCss,
    error::ChargeError,
    stock,
    sync::{Arc, thread},
    wait::{
        Charging, Sleeper,
        seam::{Depth, is_reclaiming, reclaim},
    },
};

/// What a charge may do when there is no room; none of these waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Charge {
    /// It is refused; what [`MemoryCss::try_charge`] does.
    NoWait,
    /// Reclaimers are asked for what they can give at once, on the calling thread; then it is refused.
    Reclaim,
    /// It is charged all the same; what [`MemoryCss::charge_forced`] does.
    Force,
}

/// A charge that waits for room; from [`MemoryCss::charge`].
///
/// # Cancel safety
///
/// The future charges by itself, in the poll that returns `Ready(Ok(()))`. Dropped before that, in whatever
/// state, nothing is charged; whoever waits behind is called in its stead.
#[must_use = "futures do nothing unless polled"]
pub struct ChargeFuture<'a> {
    charging: Charging,
    css: PhantomData<&'a MemoryCss>,
}

/// How often reclaim is asked for a charge, although others took what it freed.
const TRIES: u32 = 16;

impl MemoryCss {
    /// Charges `bytes` to the group and all above it, and waits for room if there is none.
    ///
    /// It waits at the group whose limit refuses, in a line that is in the order in which charges began to wait.
    /// Those that fit pass those before them that do not; once 16 have passed the one at the front, nobody
    /// does, and [`try_charge`](Self::try_charge) is refused there, until it has its room. A future that
    /// is called and not polled for 20 to 40 ms lets others pass, and keeps its place.
    ///
    /// While somebody waits nothing is charged ahead below that group. Without a deadline it waits until there is
    /// room, or the group is removed, or a [victim](crate::VictimPolicy).
    ///
    /// # Concurrency
    ///
    /// Needs no runtime. A poll never blocks: it takes short locks, and may run reclaimers. The waker is called
    /// by whoever gives room back, under no lock; where that is inside a structural call, by the keeper.
    ///
    /// # Errors
    ///
    /// [`Over`](ChargeError::Over) at once if it is more than a limit, whatever is in use. Else
    /// [`DeadlinePassed`](ChargeError::DeadlinePassed), [`Killed`](ChargeError::Killed), [`Removed`](ChargeError::Removed),
    /// [`TooLarge`](ChargeError::TooLarge). Nothing is charged then. In the child of a fork, and inside a reclaimer,
    /// it does not wait, and is refused as `try_charge` is.
    ///
    /// # Panics
    ///
    /// The future, if it is polled after it was ready.
    pub fn charge(&self, bytes: u64) -> ChargeFuture<'_> {
        let charging = Charging::new(Arc::clone(&self.node), bytes, None);
        ChargeFuture { charging, css: PhantomData }
    }

    /// Charges `bytes` as [`charge`](Self::charge) does, and blocks the thread while it waits.
    ///
    /// With a `timeout`, for that long by the controller's clock, and some milliseconds more; of 0 it does not
    /// wait. [`charge`](Self::charge) says for how long without.
    ///
    /// Do not call it with a lock held that those need who hold memory, or reclaimers, or callbacks of
    /// victims; nor from inside a subsystem's hook: nobody could give anything back.
    ///
    /// # Errors
    ///
    /// As [`charge`](Self::charge).
    pub fn charge_blocking(
        &self,
        bytes: u64,
        timeout: Option<Duration>,
    ) -> Result<(), ChargeError> {
        let deadline = timeout.map(|timeout| Charging::after(&self.node, timeout));
        Charging::new(Arc::clone(&self.node), bytes, deadline).block()
    }

    /// Charges `bytes` to the group and all above it without waiting; `how` says what is done for it.
    ///
    /// # Errors
    ///
    /// As [`try_charge`](Self::try_charge); nothing is charged. With [`Charge::Force`], only
    /// [`TooLarge`](ChargeError::TooLarge).
    pub fn charge_with(&self, bytes: u64, how: Charge) -> Result<(), ChargeError> {
        match how {
            Charge::NoWait => self.try_charge(bytes),
            Charge::Reclaim => self.charge_reclaiming(bytes),
            Charge::Force => {
                if bytes > MOST {
                    let cgroup = self.node.path();
                    return Err(ChargeError::TooLarge { cgroup, asked: bytes });
                }
                self.charge_forced(bytes);
                Ok(())
            }
        }
    }

    fn charge_reclaiming(&self, bytes: u64) -> Result<(), ChargeError> {
        let mut tries = 0;
        loop {
            let refused = match stock::charge(self.key, &self.node, bytes) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            let can_fit = self.node.levels().all(|level| level.counter.max().allows(bytes));
            let may_reclaim = refused.why == Why::Max && can_fit && !is_reclaiming();
            tries += 1;
            if !may_reclaim || tries > TRIES {
                return Err(ChargeError::noted(refused, bytes));
            }
            let lacking = bytes.saturating_sub(refused.node.headroom());
            if lacking == 0 {
                continue;
            }
            let outcome = reclaim(&refused.node, &self.node, lacking, Depth::Evict);
            if outcome.freed == 0 && !outcome.is_busy {
                return Err(ChargeError::noted(refused, bytes));
            }
            if outcome.freed == 0 {
                thread::yield_now(); // to who runs what we found running
            }
        }
    }
}

impl ChargeFuture<'_> {
    /// Gives up at `deadline`, a time of the controller's clock.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.charging.set_deadline(deadline);
        self
    }

    /// Gives up after `timeout` by the controller's clock, from now on.
    pub fn within(mut self, timeout: Duration) -> Self {
        let deadline = Charging::after(self.charging.payer(), timeout);
        self.charging.set_deadline(deadline);
        self
    }
}

impl Future for ChargeFuture<'_> {
    type Output = Result<(), ChargeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.charging.is_done(), "a charge is polled after it was ready");
        self.charging.step(&Sleeper::Task(context.waker().clone()))
    }
}

impl fmt::Debug for ChargeFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChargeFuture").field("charging", &self.charging).finish()
    }
}
