//! Which group a css counts for: asked by a `try_get` that finds it counting exactly, and idle.
//!
//! A css moves from group to group as its controller is rebound (`rebind.rs`). Its home is changed in four
//! steps, under the structural lock:
//!
//! 1. It counts in cells, and the groups that it leaves and comes to rest (`cgroup/arm.rs`).
//! 2. That is published, and every reader that was there before is waited for.
//! 3. Its home is set.
//! 4. It counts exactly if its new group is armed.
//!
//! # Orderings
//!
//! Edge `home`: whoever finds a css exact and idle, and then passes an acquire fence, finds the group it
//! counts for. The home is stored before the css is made exact, by an add to its value; what finds it idle
//! is of that add's release sequence. It is not changed under such a finder: whoever found the css exact
//! before step 1 is waited for in step 2, and whoever came after step 2 sees step 1 (edge publish), so what
//! finds the css idle is of step 4.
//!
//! # Tests
//!
//! `tests/loom_rebind.rs`.

use crate::sync::{Arc, AtomicPtr, Ordering};

/// A pointer to the group that a css counts for, whose owner is elsewhere.
#[derive(Debug)]
pub(crate) struct Home<G>(AtomicPtr<G>);

impl<G> Home<G> {
    pub(crate) fn new(group: &Arc<G>) -> Self {
        Self(AtomicPtr::new(Arc::as_ptr(group).cast_mut()))
    }

    /// Changes the group; callers hold the structural lock, and nobody looks at the one before, as said
    /// above.
    pub(crate) fn set(&self, group: &Arc<G>) {
        // Ordering: Relaxed: before the css is made exact, which is Release (edge home).
        self.0.store(Arc::as_ptr(group).cast_mut(), Ordering::Relaxed);
    }

    /// Returns the group, for who has passed the fence of edge home or holds the structural lock.
    pub(crate) fn get(&self) -> *const G {
        // Ordering: Relaxed: after the fence (edge home); or written under the structural lock.
        self.0.load(Ordering::Relaxed).cast_const()
    }
}
