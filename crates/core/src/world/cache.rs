//! Caches: a thread's own way to the current world, without a locked instruction.
//!
//! A [`Cache`] has a [`Slot`] in which its thread says that it is inside a lookup, and nothing else. A
//! lookup takes the world from one word, [`Door::current`], which every publication changes: so a
//! cache is never out of date, and an owner who is not inside a lookup keeps no world from being
//! freed, however long it is parked. A publisher passes the heavy barrier and then looks at each slot;
//! only a lookup that it finds under way is waited for, by whoever looks at the grace period
//! ([`Laggards`]). Nobody waits inside a lookup, and nothing of the publisher's is freed there.
//!
//! Where the light barrier is not free (see [`Barrier`](crate::Barrier)) a cache has no slot, and
//! takes a guard for each lookup: the fence would cost as much. So has one that was made in a forked
//! child. A lookup inside another, as by an allocator that resolves a css, takes a guard, too.
//!
//! After userspace RCU with `membarrier` (liburcu's memb flavour), with a number in place of its phase.
//!
//! # Invariants
//!
//! 1. A slot is stored to by the cache that has it alone, on the cache's thread: odd from the
//!    beginning of a lookup to its end, even otherwise, greater each time.
//! 2. [`Door::current`] is the current world, or null while that is replaced.
//! 3. A world is freed after it was replaced, the heavy barrier was passed, and each slot that was then
//!    found odd was seen to have another number.
//! 4. A slot is in the list before its cache's first lookup.
//!
//! # Orderings
//!
//! Edge `pin↔replace`, Dekker's argument. A lookup stores its slot, passes the light barrier, loads
//! `current`; a publisher stores `current`, passes the heavy barrier, loads the slots. If the light one
//! comes first, the publisher finds the slot odd, or the lookup over. If the heavy one comes first, the
//! lookup does not see the old world. A cache that is listed only after the publisher looked was listed
//! under the same lock, and does not see the old world either.
//!
//! Edge `leave`: what a lookup read happens before its world is freed, and before the garbage of that
//! grace period is handed back. Every store to a slot is Release, not only the one at a lookup's end: a
//! publisher may miss that one, and see the next lookup's beginning.
//!
//! Edge `publish`: what the publisher did before happens before what a lookup does that sees the new
//! world. `current` is null from before the swap until after it. So who has seen the new world, by a
//! guard or because it was told, never gets an older one by a cache, nor the other way round.
//!
//! # Tests
//!
//! `tests/loom_cache.rs`.

use std::{fmt, marker::PhantomData, ptr};

use crate::{
    sync::{Arc, AtomicPtr, AtomicU64, Mutex, Ordering, barrier, order, skip},
    world::{World, publish::Views},
};

/// What a lookup through a cache says of itself.
#[derive(Debug)]
#[repr(align(128))] // one owner stores to it, in a hurry
pub(crate) struct Slot(AtomicU64);

/// Where lookups through caches get the world.
#[derive(Debug)]
pub(crate) struct Door {
    current: Current,
    slots: Mutex<Vec<Arc<Slot>>>,
}

/// The current world, on a line of its own: what stands beside it is stored to.
#[derive(Debug)]
#[repr(align(128))]
struct Current(AtomicPtr<World>);

/// The lookups that were under way when a world was replaced, and the number of each.
#[derive(Debug, Default)]
pub(crate) struct Laggards(Vec<(Arc<Slot>, u64)>);

/// A lookup under way: the world stays.
#[derive(Debug)]
pub(crate) struct Pin<'c> {
    _lookup: Lookup<'c>,
    world: &'c World,
}

/// The number of a lookup under way, in its slot until this is dropped.
#[derive(Debug)]
struct Lookup<'c> {
    slot: &'c Slot,
    number: u64,
}

/// A thread's own way to look css up: as [`Task::css`](crate::Task::css), for a quarter of the price.
///
/// Made by [`Registry::cache`](crate::Registry::cache), for the thread that makes it (it is not `Send`);
/// meant to be kept, in a worker or a `thread_local!`. It finds what a guard taken at that moment
/// would find, and never anything older. It keeps nothing alive, neither css nor registry, and delays
/// nothing while its thread does something else: only a lookup that is under way counts as a reader.
///
/// # Concurrency
///
/// A lookup is a few loads and stores, none of them locked, on lines that no other thread stores to. It
/// takes a guard instead, and costs what [`Task::css`](crate::Task::css) costs, with
/// [`Barrier::Fence`](crate::Barrier::Fence), where the kernel has no `membarrier`, when the cache was
/// made in a forked child, for some tens of nanoseconds around each change of where a controller is
/// bound, and where a css is just being removed. While a registry has caches, each publication (such a
/// change, and each pass of the reclaimer that has something to free) passes a `membarrier`.
///
/// Structural calls are allowed to a thread that has one, and lookups are allowed in hooks and in a
/// forked child.
#[doc(alias = "rcu_read_lock")]
pub struct Cache {
    slot: Option<Arc<Slot>>,
    views: Arc<Views>,
    _not_send: PhantomData<*const ()>,
}

impl Slot {
    fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Returns the number; what was read in the lookups before it happened before.
    fn number(&self) -> u64 {
        // Ordering: Acquire (edge leave): what a lookup that is over read, it read before.
        self.0.load(order("cache_look", Ordering::Acquire))
    }
}

impl Door {
    /// Returns a door to `world`, which the caller makes current.
    pub(crate) fn new(world: &Arc<World>) -> Self {
        Self { current: Current(AtomicPtr::new(pointer(world))), slots: Mutex::new(Vec::new()) }
    }

    /// Sends lookups another way until [`Door::open`]; callers hold the structural lock.
    pub(crate) fn shut(&self) {
        if !skip("cache_shut") {
            // Ordering: Relaxed: comes before the swap that follows, which releases it (edge publish).
            self.current.0.store(ptr::null_mut(), Ordering::Relaxed);
        }
    }

    /// Makes `world`, which is current by now, what lookups get; callers hold the structural lock.
    ///
    /// `world` lives until it is replaced in turn, and as the module's invariant 3 says.
    pub(crate) fn open(&self, world: *mut World) {
        // Ordering: Release (edge publish): the world is complete, and all it stands for done.
        self.current.0.store(world, order("cache_open", Ordering::Release));
    }

    /// Returns the lookups that may be using a world older than the current one.
    ///
    /// Costs a heavy barrier if there are caches, and nothing worth mentioning otherwise.
    pub(crate) fn laggards(&self) -> Laggards {
        let mut slots = self.slots.lock();
        slots.retain_mut(|slot| Arc::get_mut(slot).is_none()); // else its cache is gone
        if slots.is_empty() {
            return Laggards::default();
        }
        if !skip("cache_heavy") {
            // There are slots only where the light barrier is free.
            barrier::heavy(true);
        }
        let numbered = slots.iter().map(|slot| (slot, slot.number()));
        let under_way = numbered.filter(|(_, number)| number % 2 == 1);
        Laggards(under_way.map(|(slot, number)| (Arc::clone(slot), number)).collect())
    }

    /// Returns a slot that publishers look at from now on.
    fn list(&self) -> Arc<Slot> {
        let slot = Arc::new(Slot::new());
        let mut slots = self.slots.lock();
        slots.retain_mut(|slot| Arc::get_mut(slot).is_none());
        slots.push(Arc::clone(&slot));
        slot
    }
}

/// The address of a world that an `Arc` keeps.
pub(crate) fn pointer(world: &Arc<World>) -> *mut World {
    ptr::from_ref::<World>(world).cast_mut()
}

impl Laggards {
    /// Returns whether every one of the lookups is over. Waits for nobody.
    pub(crate) fn are_gone(&mut self) -> bool {
        self.0.retain(|(slot, number)| slot.number() == *number && !skip("cache_waits"));
        self.0.is_empty()
    }
}

impl Cache {
    /// Returns a cache with a slot, where `is_asymmetric` says that it is worth one.
    pub(crate) fn new(views: &Arc<Views>, is_asymmetric: bool) -> Self {
        let slot = is_asymmetric.then(|| views.door().list());
        Self { slot, views: Arc::clone(views), _not_send: PhantomData }
    }

    /// Begins a lookup; `None` where it has to take a guard.
    #[inline(always)]
    pub(crate) fn enter(&self) -> Option<Pin<'_>> {
        let slot = self.slot.as_deref()?;
        // Ordering: Relaxed: nobody else stores to it.
        let before = slot.0.load(Ordering::Relaxed);
        if before % 2 == 1 {
            return None; // inside another lookup of this cache
        }
        let number = before.wrapping_add(1);
        // Ordering: Release (edge leave): a publisher may miss the end of the lookup before. The
        // barrier below is what edge pin↔replace needs.
        slot.0.store(number, order("cache_enter", Ordering::Release));
        let lookup = Lookup { slot, number };
        if !skip("cache_light") {
            barrier::light();
        }
        // Ordering: Acquire (edge publish): who sees a world sees all that was done before it.
        let current = self.views.door().current.0.load(order("cache_load", Ordering::Acquire));
        // SAFETY: by invariant 2 it is null, or was current after we said that we are in a lookup; by
        // invariant 3 it is not freed before `lookup` is dropped (edge pin↔replace).
        let world = unsafe { current.as_ref() }?;
        Some(Pin { _lookup: lookup, world })
    }

    #[inline]
    pub(crate) fn views(&self) -> &Arc<Views> {
        &self.views
    }
}

impl Pin<'_> {
    #[inline]
    pub(crate) fn world(&self) -> &World {
        self.world
    }
}

impl Drop for Lookup<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // Ordering: Release (edge leave): what was read comes before whatever frees it.
        let over = self.number.wrapping_add(1);
        self.slot.0.store(over, order("cache_leave", Ordering::Release));
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("has_slot", &self.slot.is_some()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{sync::thread, world::publish::Graces};

    /// A cache, with a slot where there is `membarrier`.
    fn scene() -> (Arc<Views>, Cache, Graces<u32>) {
        let views = Arc::new(Views::new(World::default()));
        let cache = Cache::new(&views, barrier::Barrier::Auto.is_asymmetric());
        (views, cache, Graces::new())
    }

    #[test]
    fn a_lookup_under_way_is_waited_for_and_a_parked_cache_is_not() {
        let (views, cache, mut graces) = scene();
        let Some(pin) = cache.enter() else { return };
        let old = pointer_of(&pin);
        let first = graces.open(views.swap(World::default()), vec![1]);
        let second = graces.open(views.swap(World::default()), vec![2]);
        assert_eq!(graces.close(), Vec::<u32>::new());
        assert_eq!(pointer_of(&pin), old, "the world stays what it was");
        drop(pin);
        assert_eq!(graces.close(), [1, 2]);
        assert!(graces.is_closed(first) && graces.is_closed(second));
        graces.open(views.swap(World::default()), vec![3]);
        assert_eq!(graces.close(), [3], "the cache is parked");
    }

    #[test]
    fn a_later_lookup_is_not_waited_for() {
        let (views, cache, mut graces) = scene();
        let Some(pin) = cache.enter() else { return };
        graces.open(views.swap(World::default()), vec![1]);
        drop(pin);
        let later = cache.enter();
        assert!(later.is_some());
        assert_eq!(graces.close(), [1]);
        graces.open(views.swap(World::default()), vec![2]);
        assert!(graces.close().is_empty());
        drop(later);
        drop(cache);
        assert_eq!(graces.close(), [2]);
    }

    #[test]
    fn a_lookup_inside_another_takes_a_guard() {
        let (_, cache, _) = scene();
        let outer = cache.enter();
        assert!(cache.enter().is_none());
        drop(outer);
        assert_eq!(cache.enter().is_some(), cache.slot.is_some());
    }

    #[test]
    fn slots_of_caches_that_are_gone_are_forgotten() {
        let (views, cache, _) = scene();
        for _ in 0..10 {
            drop(Cache::new(&views, cache.slot.is_some()));
        }
        let (there, has_slot) = (Arc::clone(&views), cache.slot.is_some());
        let other = thread::spawn(move || drop(Cache::new(&there, has_slot)));
        other.join().expect("no panic");
        drop(views.door().laggards());
        assert_eq!(views.door().slots.lock().len(), usize::from(cache.slot.is_some()));
    }

    #[test]
    fn a_slot_has_its_lines_to_itself() {
        assert_eq!((size_of::<Slot>(), align_of::<Slot>()), (128, 128));
        assert_eq!((size_of::<Current>(), align_of::<Current>()), (128, 128));
    }

    fn pointer_of(pin: &Pin<'_>) -> *const World {
        pin.world()
    }
}
