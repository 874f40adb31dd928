//! Whether a group and what is below it may charge ahead, and how many pockets do.
//!
//! # Orderings
//!
//! Edge `ahead↔forbid`, Dekker's argument. Who fills a pocket counts it at each level, passes the light
//! barrier and looks whether it is forbidden at any. Who forbids stores that, passes the heavy barrier and
//! looks at the count. The barriers are totally ordered: either the filler sees that it is forbidden, and
//! fills nothing, or the other sees the count, and its drain comes to the pocket by the list's lock, under
//! which the filler looked.
//!
//! # Tests
//!
//! `tests/loom_pocket.rs`.

use crate::{
    pocket::{FENCED, heavy_for},
    sync::{AtomicU32, AtomicU64, Ordering, light, light_fenced, skip},
};

/// One level's part in the stock of those at it and below.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Pockets that are filled, here and below, and those about to be.
    ahead: AtomicU64,
    /// How many reasons there are against any.
    forbidden: AtomicU32,
    /// For how many attempts to charge ahead, here and below, there is a rest.
    rest: AtomicU32,
}

/// How many attempts to charge ahead go by after room had to be called in: where there is none, or hardly any, it
/// would only be called in again.
const REST: u32 = 1024;

impl Gate {
    pub(crate) fn new() -> Self {
        Self { ahead: AtomicU64::new(0), forbidden: AtomicU32::new(0), rest: AtomicU32::new(0) }
    }

    /// Counts a pocket that is about to be filled; [`look_ahead`] is to follow, once for all levels.
    pub(crate) fn enter(&self) {
        // Ordering: Relaxed (edge ahead↔forbid): ordered before the look by the barrier.
        self.ahead.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a pocket less.
    pub(crate) fn leave(&self) {
        // Ordering: Relaxed: a level is passed over a little later, at worst.
        self.ahead.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns whether no pocket is filled, here or below.
    pub(crate) fn is_empty(&self) -> bool {
        // Ordering: Relaxed (edge ahead↔forbid): ordered after what forbids by the barrier. A drain without
        // one may pass over who is in the middle of a charge.
        self.ahead.load(Ordering::Relaxed) == 0
    }

    /// Gives a reason against any pocket, here and below; a drain is to follow.
    pub(crate) fn forbid(&self, key: u64) {
        // Ordering: Relaxed (edge ahead↔forbid): ordered before the look at the count by the barrier.
        self.forbidden.fetch_add(1, Ordering::Relaxed);
        if !skip("gate_heavy") {
            heavy_for(key);
        }
    }

    /// Takes a reason back.
    pub(crate) fn allow(&self) {
        // Ordering: Relaxed: stock is allowed a little later, at worst.
        self.forbidden.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns whether there is a reason; decides where it comes after [`look_ahead`].
    pub(crate) fn is_forbidden(&self) -> bool {
        // Ordering: Relaxed (edge ahead↔forbid): ordered after the count by the barrier.
        self.forbidden.load(Ordering::Relaxed) > 0
    }
}

impl Gate {
    /// Has nobody charge ahead, here and below, for a while: room had to be called in for a charge.
    pub(crate) fn rest(&self) {
        // Ordering: Relaxed, here and below: it is about speed, and may count some attempts once.
        self.rest.store(REST, Ordering::Relaxed);
    }

    /// Returns whether there is a rest, and counts an attempt.
    pub(crate) fn is_resting(&self) -> bool {
        let left = self.rest.load(Ordering::Relaxed);
        if left > 0 {
            self.rest.store(left - 1, Ordering::Relaxed);
        }
        left > 0
    }
}

/// Comes between the count at the levels and the look whether any of them forbids it.
pub(crate) fn look_ahead(key: u64) {
    if skip("gate_light") {
        return;
    }
    if key & FENCED == 0 {
        light();
    } else {
        light_fenced();
    }
}
