//! Publication of worlds, and the grace periods that follow: the only user of arc-swap.
//!
//! There is one [`Views`] a registry, and no other arc-swap in the crate. A swap pays every debt of
//! its readers before it returns, so from then on the old world's strong count is exact: one for
//! whoever keeps it, and one for each guard. A grace period is over when the kept reference is the
//! only one, the lookups by caches that were under way are over (`world/cache.rs`), *and* the same
//! holds for every older world: garbage is handed back first in, first out.
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
    world::{
        World,
        cache::{self, Door, Laggards},
    },
};

/// The current world.
#[derive(Debug)]
pub(crate) struct Views {
    slot: Slot,
    /// Where caches get the same world.
    door: Door,
}

#[cfg(not(loom))]
type Slot = arc_swap::ArcSwap<World>;

/// What stands for the arc-swap in a model.
#[cfg(loom)]
#[derive(Debug)]
struct Slot(crate::sync::Mutex<Arc<World>>);

/// A world that was replaced, and who may still be using it.
#[derive(Debug)]
pub(crate) struct Replaced {
    world: Arc<World>,
    /// Those who came by a cache; guards are in the strong count.
    laggards: Laggards,
}

/// A grace period: the readers of one world, and what waits for them.
#[derive(Debug)]
pub(crate) struct Grace<G> {
    replaced: Replaced,
    garbage: Vec<G>,
}

/// A world that cannot be given up while this is held.
#[cfg(not(loom))]
pub(crate) type View = arc_swap::Guard<Arc<World>>;
#[cfg(loom)]
pub(crate) type View = Arc<World>;

/// Old worlds that may have readers, and the garbage that waits for them; oldest first.
#[derive(Debug)]
pub(crate) struct Graces<G> {
    open: VecDeque<Grace<G>>,
    opened: u64,
    closed: u64,
    /// Worlds that are over: a mutant may end one too early, and then a model is to say so.
    #[cfg(loom)]
    over: Vec<Grace<G>>,
}

impl Views {
    pub(crate) fn new(world: World) -> Self {
        let world = Arc::new(world);
        let door = Door::new(&world);
        Self { slot: Slot::new(world), door }
    }

    /// Takes the current world; wait-free but for a very rare retry, about 10 ns.
    #[inline]
    pub(crate) fn load(&self) -> View {
        self.slot.load()
    }

    /// Makes `world` current and returns the one before; callers hold the structural lock.
    pub(crate) fn swap(&self, world: impl Into<Arc<World>>) -> Replaced {
        let world = world.into();
        let current = cache::pointer(&world);
        self.door.shut();
        let world = self.slot.swap(world);
        self.door.open(current);
        Replaced { world, laggards: self.door.laggards() }
    }

    #[inline]
    pub(crate) fn door(&self) -> &Door {
        &self.door
    }
}

#[cfg(loom)]
impl Slot {
    fn new(world: Arc<World>) -> Self {
        Self(crate::sync::Mutex::new(world))
    }

    fn load(&self) -> View {
        Arc::clone(&self.0.lock())
    }

    fn swap(&self, world: Arc<World>) -> Arc<World> {
        std::mem::replace(&mut *self.0.lock(), world)
    }
}

impl Replaced {
    /// Returns whether nobody uses it any more. Waits for nobody.
    fn is_over(&mut self) -> bool {
        // First those who came by a cache: they have no part in the count.
        // Acquire (edge grace): by `Arc::get_mut`.
        self.laggards.are_gone() && (Arc::get_mut(&mut self.world).is_some() || skip("grace_waits"))
    }
}

impl<G> Graces<G> {
    pub(crate) const fn new() -> Self {
        Self {
            open: VecDeque::new(),
            opened: 0,
            closed: 0,
            #[cfg(loom)]
            over: Vec::new(),
        }
    }

    /// Opens a grace period for the readers of what was replaced; returns its number, from 1.
    pub(crate) fn open(&mut self, replaced: Replaced, garbage: Vec<G>) -> u64 {
        self.open.push_back(Grace { replaced, garbage });
        self.opened += 1;
        self.opened
    }

    /// Closes every grace period that is over and returns its garbage, oldest first.
    ///
    /// Waits for nobody.
    pub(crate) fn close(&mut self) -> Vec<G> {
        let mut garbage = Vec::new();
        while self.open.front_mut().is_some_and(|grace| grace.replaced.is_over()) {
            garbage.append(&mut self.close_front());
        }
        garbage
    }

    /// Closes the oldest grace periods that are over and have no garbage.
    ///
    /// So that publications alone, which wake nobody, keep no world but those with readers.
    pub(crate) fn close_idle(&mut self) {
        let is_over = |grace: &mut Grace<G>| grace.garbage.is_empty() && grace.replaced.is_over();
        while self.open.front_mut().is_some_and(is_over) {
            self.close_front();
        }
    }

    fn close_front(&mut self) -> Vec<G> {
        let Some(mut grace) = self.open.pop_front() else { return Vec::new() };
        self.closed += 1;
        let garbage = std::mem::take(&mut grace.garbage);
        #[cfg(loom)]
        self.over.push(grace);
        garbage
    }

    /// Takes everything out, readers or not: for who leaks it.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Grace<G>> {
        self.open.drain(..)
    }

    /// Returns whether the grace period of that number is over.
    pub(crate) fn is_closed(&self, number: u64) -> bool {
        self.closed >= number || skip("readers_awaited")
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
        assert_eq!(Arc::strong_count(&old.world), 21);
        drop(guards);
        assert_eq!(Arc::strong_count(&old.world), 1);
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
