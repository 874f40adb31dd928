//! Publication of worlds, and the grace periods that follow: the only user of arc-swap.
//!
//! There is one [`Views`] a registry, and no other arc-swap in the crate. A swap pays every debt of
//! its readers before it returns, so from then on the old world's strong count is exact: one for
//! whoever keeps it, and one for each guard. A grace period is over when the kept reference is the
//! only one *and* every older world's is: garbage is handed back first in, first out.
//!
//! # Orderings
//!
//! Edge `publish`: what the publisher did before the swap happens before what a reader does under a
//! guard taken after it. Edge `grace`: what a reader did under its guard happens before the garbage
//! is handed back (`Arc::get_mut` acquires what the guards' drops released).
//!
//! # Tests
//!
//! `tests/loom_world.rs`; there the slot is a mutex, as loom cannot look into arc-swap. That a swap
//! leaves an exact count is pinned by the test below.

use std::collections::VecDeque;

use crate::{
    sync::{Arc, skip},
    world::World,
};

/// The current world.
#[derive(Debug)]
pub(crate) struct Views {
    #[cfg(not(loom))]
    slot: arc_swap::ArcSwap<World>,
    #[cfg(loom)]
    slot: crate::sync::Mutex<Arc<World>>,
}

/// A world that cannot be given up while this is held.
#[cfg(not(loom))]
pub(crate) type View = arc_swap::Guard<Arc<World>>;
#[cfg(loom)]
pub(crate) type View = Arc<World>;

/// Old worlds that may have readers, and the garbage that waits for them; oldest first.
#[derive(Debug)]
pub(crate) struct Graces<G> {
    open: VecDeque<(Arc<World>, Vec<G>)>,
    opened: u64,
    closed: u64,
}

#[cfg(not(loom))]
impl Views {
    pub(crate) fn new(world: World) -> Self {
        Self { slot: arc_swap::ArcSwap::from_pointee(world) }
    }

    /// Takes the current world; wait-free but for a very rare retry, about 10 ns.
    #[inline]
    pub(crate) fn load(&self) -> View {
        self.slot.load()
    }

    /// Makes `world` current and returns the one before; callers hold the structural lock.
    pub(crate) fn swap(&self, world: World) -> Arc<World> {
        self.slot.swap(Arc::new(world))
    }
}

#[cfg(loom)]
impl Views {
    pub(crate) fn new(world: World) -> Self {
        Self { slot: crate::sync::Mutex::new(Arc::new(world)) }
    }

    pub(crate) fn load(&self) -> View {
        Arc::clone(&self.slot.lock())
    }

    pub(crate) fn swap(&self, world: World) -> Arc<World> {
        std::mem::replace(&mut *self.slot.lock(), Arc::new(world))
    }
}

impl<G> Graces<G> {
    pub(crate) const fn new() -> Self {
        Self { open: VecDeque::new(), opened: 0, closed: 0 }
    }

    /// Opens a grace period for the readers of `old`; returns its number, from 1.
    pub(crate) fn open(&mut self, old: Arc<World>, garbage: Vec<G>) -> u64 {
        self.open.push_back((old, garbage));
        self.opened += 1;
        self.opened
    }

    /// Closes every grace period that is over and returns its garbage, oldest first.
    ///
    /// Waits for nobody.
    pub(crate) fn close(&mut self) -> Vec<G> {
        let mut garbage = Vec::new();
        while let Some((world, _)) = self.open.front_mut() {
            // Acquire (edge grace): by `Arc::get_mut`.
            if Arc::get_mut(world).is_none() && !skip("grace_waits") {
                break;
            }
            garbage.extend(self.open.pop_front().into_iter().flat_map(|(_, garbage)| garbage));
            self.closed += 1;
        }
        garbage
    }

    /// Closes the oldest grace periods that are over and have no garbage.
    ///
    /// So that publications alone, which wake nobody, keep no world but those with readers.
    pub(crate) fn close_idle(&mut self) {
        while self.open.front_mut().is_some_and(|(world, garbage)| {
            // Acquire (edge grace): by `Arc::get_mut`.
            garbage.is_empty() && Arc::get_mut(world).is_some()
        }) {
            self.open.pop_front();
            self.closed += 1;
        }
    }

    /// Takes everything out, readers or not: for who leaks it.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (Arc<World>, Vec<G>)> {
        self.open.drain(..)
    }

    /// Returns whether the grace period of that number is over.
    pub(crate) fn is_closed(&self, number: u64) -> bool {
        self.closed >= number
    }

    /// Returns whether any grace period is open.
    pub(crate) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_swap_leaves_a_count_of_the_guards_alone() {
        let views = Views::new(World::default());
        // More than arc-swap's eight fast slots, so that the slow ones are pinned too.
        let guards: Vec<View> = (0..20).map(|_| views.load()).collect();
        let old = views.swap(World::default());
        assert_eq!(Arc::strong_count(&old), 21);
        drop(guards);
        assert_eq!(Arc::strong_count(&old), 1);
    }

    #[test]
    fn an_older_reader_keeps_younger_garbage() {
        let views = Views::new(World::default());
        let mut graces = Graces::new();
        let reader = views.load();
        graces.open(views.swap(World::default()), vec!["first"]);
        let second = graces.open(views.swap(World::default()), vec!["second"]);

        assert_eq!(graces.close(), Vec::<&str>::new());
        assert!(!graces.is_closed(second));
        drop(reader);
        assert_eq!(graces.close(), ["first", "second"]);
        assert!(graces.is_closed(second) && !graces.is_open());
    }
}
