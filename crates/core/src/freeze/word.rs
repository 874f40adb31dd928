//! Whether a group is frozen: one word, so that the answer is of one moment.
//!
//! It holds whether a freeze is requested of the group, whether one is in effect, and how many run: direct
//! members that have not said that they stopped, and children where any runs. Who makes a count zero, or
//! no longer zero, goes on with the parent.
//!
//! # Orderings
//!
//! Edge `frozen`: a member that says that it has stopped takes itself off with Release, and who looks at
//! the group loads with Acquire; every change is a read-modify-write, so what all members did before is
//! seen. From a group to its parent it is passed on by `Engine::moves`, under which counts change.
//!
//! # Tests
//!
//! `tests/loom_freeze.rs`.

use crate::sync::{AtomicU32, Ordering, order};

const IN_EFFECT: u32 = 1 << 31;
const REQUESTED: u32 = 1 << 30;
const RUNNING: u32 = REQUESTED - 1;

/// How one group stands with freezing.
#[derive(Debug)]
pub(crate) struct Word(AtomicU32);

/// What a change of a count comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    /// The count became zero, or no longer is.
    pub(crate) is_edge: bool,
    /// Because of that the group is frozen now, or no longer is.
    pub(crate) is_seen: bool,
}

impl Word {
    /// Returns the word of a group where nobody runs.
    pub(crate) fn new(is_in_effect: bool) -> Self {
        Self(AtomicU32::new(if is_in_effect { IN_EFFECT } else { 0 }))
    }

    /// Returns whether a freeze is requested of this very group.
    pub(crate) fn is_requested(&self) -> bool {
        // Ordering: Relaxed: decided on under the structural lock, read as a setting.
        self.0.load(Ordering::Relaxed) & REQUESTED != 0
    }

    /// Returns whether a freeze is requested of this group or one above.
    pub(crate) fn is_in_effect(&self) -> bool {
        // Ordering: Relaxed: as above.
        self.0.load(Ordering::Relaxed) & IN_EFFECT != 0
    }

    /// Returns whether a freeze is in effect, and nobody runs.
    pub(crate) fn is_frozen(&self) -> bool {
        // Ordering: Acquire (edge frozen): what members did before they stopped is seen.
        let word = self.0.load(order("frozen_load", Ordering::Acquire));
        word & (IN_EFFECT | RUNNING) == IN_EFFECT
    }

    /// Callers hold the structural lock.
    pub(crate) fn set_requested(&self, is_requested: bool) {
        self.set(REQUESTED, is_requested);
    }

    /// Callers hold the structural lock.
    pub(crate) fn set_in_effect(&self, is_in_effect: bool) {
        self.set(IN_EFFECT, is_in_effect);
    }

    fn set(&self, bit: u32, is_set: bool) {
        // Ordering: Relaxed: tells nothing of members; passes on what they released (edge frozen).
        if is_set {
            self.0.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.0.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Counts one more that runs; callers hold the lock of moves.
    pub(crate) fn add(&self) -> Edge {
        // Ordering: Relaxed: nobody acts on what runs.
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        Edge::of(before, before & RUNNING == 0)
    }

    /// Counts one less that runs; callers hold the lock of moves.
    pub(crate) fn sub(&self) -> Edge {
        // Ordering: Release (edge frozen): the member did its last before.
        let before = self.0.fetch_sub(1, order("frozen_sub", Ordering::Release));
        debug_assert!(before & RUNNING > 0, "one that runs was counted");
        Edge::of(before, before & RUNNING == 1)
    }
}

impl Edge {
    fn of(before: u32, is_edge: bool) -> Self {
        Self { is_edge, is_seen: is_edge && before & IN_EFFECT != 0 }
    }
}
