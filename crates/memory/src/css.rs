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
    pub fn charge_forced(&self, bytes: u64) -> u64 {
        let bytes = bytes.min(MOST);
        stock::force(self.node.answering(), bytes);
        bytes
    }

    /// Gives back `bytes` that were charged.
    ///
    /// # Panics
    ///
    /// In a build with debug assertions, the first time that a counter comes below zero: more was given back
    /// than charged. Otherwise it is 0 then, which the event `underflow` counts.
    #[inline]
    pub fn uncharge(&self, bytes: u64) {
        stock::uncharge(self.key, &self.node, bytes);
    }

    /// Returns how much is charged, in bytes: to the group and all below it, what is charged ahead included.
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
    /// and owners are asked to spill. How far that got is what [`current`](Self::current) says.
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
    /// or dropped.
    pub fn reserve(&self) -> Reservation {
        Reservation::of(Arc::clone(&self.account), self.key)
    }

    /// Makes an empty reservation that several threads may grow and shrink at the same time.
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
