//! The mark of a victim, which goes as its last byte does.
//!
//! # Orderings
//!
//! Edge `killed↔zero`, Dekker's argument. Who marks a group passes the heavy barrier, and looks whether its usage
//! is zero; who makes it zero passes the light barrier ([`look`](crate::line::look)), and takes the mark away.
//! The barriers are totally ordered: one of them sees what the other did. So no group without usage stays
//! marked.
//!
//! # Tests
//!
//! `tests/loom_wait.rs`; `tests/victims.rs`.

use crate::{
    pocket::heavy_for,
    sync::{AtomicBool, Ordering, skip},
};

/// Whether a group is a victim.
#[derive(Debug)]
pub(crate) struct Mark(AtomicBool);

impl Mark {
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    pub(crate) fn is_set(&self) -> bool {
        // Ordering: Relaxed: whoever must see it is called, under a lock, after it was set.
        self.0.load(Ordering::Relaxed)
    }

    /// Marks the group with `key`, unless its usage is zero.
    pub(crate) fn set(&self, key: u64, usage: impl FnOnce() -> u64) {
        // Ordering: Relaxed (edge killed↔zero): ordered before the look at the usage by the barrier.
        self.0.store(true, Ordering::Relaxed);
        if !skip("mark_heavy") {
            heavy_for(key);
        }
        if usage() == 0 {
            self.clear();
        }
    }

    /// Takes the mark away; where that is because the usage is zero, after [`look`](crate::line::look).
    pub(crate) fn clear(&self) {
        // Ordering: Relaxed, both (edge killed↔zero): ordered after the change of the usage by the barrier.
        if self.0.load(Ordering::Relaxed) {
            self.0.store(false, Ordering::Relaxed);
        }
    }
}
