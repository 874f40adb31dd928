//! A group's memory: what is charged there and below, and what may be.

use fief_core::Limit;

use crate::{
    account::Account,
    chain::{MOST, Refused},
    error::ChargeError,
    events::{Events, Kind},
    forced::ForcedCharge,
    node::{NONE, Node},
    reclaim::{self, Goal, Pass},
    reservation::{Reservation, shared::SharedReservation},
    stock::{self, drain},
    sync::{Arc, Ordering},
    trace::event,
};

/// A group's memory; had from a css, which derefs to it.
#[derive(Debug)]
#[doc(alias = "mem_cgroup")]
pub struct MemoryCss {
    pub(crate) key: u64,
    pub(crate) node: Arc<Node>,
    /// Leads to whatever answers for what is charged here once the group is gone.
    pub(crate) account: Arc<Account>,
}

impl MemoryCss {
    pub(crate) fn of(node: Arc<Node>) -> Self {
        Self { key: node.key, account: Account::of(&node), node }
    }

    /// Charges `bytes` to the group and all above it, if all have room.
    ///
    /// Who charges by hand uncharges by hand, [here](Self::uncharge). It does not wait, and may pass those who
    /// do: 16 times, then it is refused where somebody [waits](Self::charge) at the front for more than there is.
    ///
    /// 0 bytes are always granted, and more than 2^47 never.
    ///
    /// # Concurrency
    ///
    /// Wait-free from what the thread has charged ahead: two stores and three loads. Else an exchange at each
    /// level, lock-free; and where one refuses, what others have charged ahead below it is called in first, as
    /// [`drain`](Self::drain) does. It runs no user's code, but for the wakers of those who wait.
    ///
    /// # Errors
    ///
    /// See [`ChargeError`]; nothing is charged.
    #[inline]
    pub fn try_charge(&self, bytes: u64) -> Result<(), ChargeError> {
        stock::charge(self.key, &self.node, bytes).map_err(|refused| refuse_slowly(refused, bytes))
    }

    /// Charges `bytes` to the group and all above it, whatever their limits, and returns how much that is: all,
    /// but for what is beyond 2^47.
    ///
    /// For what is there already and can only be counted. What exceeds a limit is counted in the group's events,
    /// and nobody is charged there until it is given back. Of a removed group it is the parent that is charged.
    ///
    /// # Concurrency
    ///
    /// An exchange at each level, lock-free. Above a max, what others have charged ahead is called in, as
    /// [`drain`](Self::drain) does.
    pub fn charge_forced(&self, bytes: u64) -> u64 {
        let bytes = bytes.min(MOST);
        stock::force(self.node.answering(), bytes);
        bytes
    }

    /// Gives back `bytes` that were charged. Of a removed group it is the parent that gets them.
    ///
    /// To give back more than was charged is a bug of the caller's, which is seen once a counter would come below
    /// zero: it is 0 then, and the group and all above it are [tainted](Self::is_tainted). Until then it takes from
    /// what others of the group have charged; a [`Reservation`] cannot do that.
    ///
    /// # Concurrency
    ///
    /// Wait-free into what the thread has charged ahead; else a subtraction at each level, and the wakers of those
    /// for whom there is room now, under no lock.
    ///
    /// # Panics
    ///
    /// In a build with debug assertions, the first time that a counter would come below zero. Others count
    /// the event `underflow`.
    #[inline]
    pub fn uncharge(&self, bytes: u64) {
        stock::uncharge(self.key, &self.node, bytes);
    }

    /// Returns how much is charged, in bytes: to the group and all below it, what is charged ahead included.
    ///
    /// One load. See [`usage_exact`](Self::usage_exact) for what is in use.
    #[must_use]
    #[doc(alias = "memory.current")]
    pub fn current(&self) -> u64 {
        self.node.counter.current()
    }

    /// Returns the most that may be charged; the default is [`Limit::Max`].
    #[must_use]
    #[doc(alias = "memory.max")]
    pub fn max(&self) -> Limit {
        self.node.counter.max()
    }

    /// Sets the most that may be charged, in bytes, and returns how much was when it took effect.
    ///
    /// What is charged stays charged. If that is more than the new max, the group grows no more from then on. After
    /// that reclaimers are run on this thread, benign and by eviction, as far as is needed and protection allows;
    /// and owners are asked to spill. How far that got is what [`current`](Self::current) says. Nobody is made a victim
    /// for it, as the kernel does. A number above 2^63 − 2 is no limit.
    ///
    /// # Concurrency
    ///
    /// A new max costs the heavy side of an asymmetric fence; one below the usage also a
    /// [`drain`](Self::drain), and the time of the reclaimers.
    pub fn set_max(&self, max: Limit) -> u64 {
        let found = self.node.counter.set_max(max);
        event!("set_limit", file = "memory.max", value = %max, cgroup = %self.node.path());
        self.node.note_max(max);
        if max.allows(found) {
            return found;
        }
        drain::drain(&self.node); // so that nobody grows by what is charged ahead
        let current = self.node.counter.current();
        if !max.allows(current) {
            Events::note(&self.node, Kind::MaxLoweredOver);
            reclaim::run(&self.node, None, Goal::WithinMax, Pass::Spill);
        }
        current
    }

    /// Returns the bound above which charges are throttled; the default is [`Limit::Max`].
    #[must_use]
    #[doc(alias = "memory.high")]
    pub fn high(&self) -> Limit {
        // Ordering: Relaxed: a setting.
        match self.node.high.load(Ordering::Relaxed) {
            NONE => Limit::Max,
            high => Limit::At(high),
        }
    }

    /// Makes an empty reservation: whatever it is grown to is charged to this group, until it is given back
    /// or dropped. While it is empty it keeps the group from no removal.
    pub fn reserve(&self) -> Reservation {
        Reservation::of(Arc::clone(&self.account), self.key)
    }

    /// Makes an empty reservation that several threads may grow and shrink at the same time; as
    /// [`reserve`](Self::reserve) otherwise.
    pub fn reserve_shared(&self) -> SharedReservation {
        SharedReservation::of(Arc::clone(&self.account), self.key)
    }

    /// Returns a charge of nothing, to follow what is in use already. See [`ForcedCharge`].
    #[must_use]
    pub fn forced(&self) -> ForcedCharge {
        ForcedCharge::new(&self.account)
    }
}

/// Keeps the making of errors out of the code of those whose charge is taken.
#[cold]
#[inline(never)]
fn refuse_slowly(refused: Refused, bytes: u64) -> ChargeError {
    ChargeError::noted(refused, bytes)
}
