//! One controller's map from group index to css id.
//!
//! A group without a css of its own has that of the nearest group above which has one.
//!
//! Slots lie in segments of doubling size, made at first use and shared by every world that has the
//! column, so a column never moves and a slot is written in place.
//!
//! # Orderings
//!
//! Edge `column`: a slot is stored with Release after its css is complete, and loaded with Acquire.
//! Edge `place`: a task's place is stored with Release after the group's slot is filled, and a slot
//! is cleared after the task's place has changed; [`Column::resolve`] relies on both.
//!
//! # Tests
//!
//! `tests/loom_world.rs`.

use std::sync::OnceLock;

use crate::{
    css::cells::CssId,
    sync::{AtomicU32, Ordering, order},
};
#[cfg(not(loom))]
use crate::{
    rebind::shape::Images,
    sync::{Arc, Mutex},
};

/// Slots in the first segment.
const FIRST: usize = if cfg!(loom) { 2 } else { 32 };
/// Segments; together they hold more than 2^24 slots.
const SEGMENTS: usize = 20;
/// The group index of a hierarchy's root.
pub(crate) const ROOT: u32 = 0;

/// The css ids of one controller on one hierarchy, by group index.
#[derive(Debug)]
pub(crate) struct Column {
    /// The mark of the controller whose css these are; no other of the process has it.
    pub(crate) controller: u64,
    /// The hierarchy's index; see [`Hierarchies`](crate::hierarchy).
    pub(crate) hierarchy: u32,
    segments: [OnceLock<Box<[AtomicU32]>>; SEGMENTS],
    /// Where css have come from that still name the group they were shown by before; written under the
    /// structural lock.
    #[cfg(not(loom))]
    movers: Mutex<Option<Arc<Images>>>,
}

impl Column {
    /// Returns a column in which no group has a css.
    pub(crate) fn empty(controller: u64, hierarchy: u32) -> Self {
        Self {
            controller,
            hierarchy,
            segments: [const { OnceLock::new() }; SEGMENTS],
            #[cfg(not(loom))]
            movers: Mutex::new(None),
        }
    }

    /// Returns a column that says the same.
    pub(crate) fn duplicate(&self) -> Self {
        let copy = Self::empty(self.controller, self.hierarchy);
        for (index, segment) in self.segments.iter().enumerate() {
            let Some(slots) = segment.get() else { continue };
            // Ordering: Relaxed: written under the structural lock, which the caller holds; published with
            // the column.
            let slots = slots.iter().map(|slot| AtomicU32::new(slot.load(Ordering::Relaxed)));
            copy.segments[index].get_or_init(|| slots.collect());
        }
        copy
    }

    /// Returns where css have come from that still name their former group.
    #[cfg(not(loom))]
    pub(crate) fn movers(&self) -> Option<Arc<Images>> {
        self.movers.lock().clone()
    }

    /// Sets or clears the same; callers hold the structural lock.
    #[cfg(not(loom))]
    pub(crate) fn set_movers(&self, movers: Option<Arc<Images>>) {
        let before = std::mem::replace(&mut *self.movers.lock(), movers);
        drop(before);
    }

    /// Returns a column in which only the root group has a css.
    #[cfg(test)]
    pub(crate) fn new(controller: u64, hierarchy: u32, root: CssId) -> Self {
        let column = Self::empty(controller, hierarchy);
        column.set(ROOT, Some(root));
        column
    }

    /// Returns the css of the group at `index`, if it has one.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<CssId> {
        let (segment, offset) = locate(index);
        let slot = self.segments[segment].get()?.get(offset)?;
        // Ordering: Acquire (edge column): whoever sees the id sees its css.
        match slot.load(order("column_load", Ordering::Acquire)) {
            0 => None,
            id => Some(CssId(id)),
        }
    }

    /// Sets or clears the css of the group at `index`; callers hold the structural lock.
    pub(crate) fn set(&self, index: u32, css: Option<CssId>) {
        let (segment, offset) = locate(index);
        let slots = self.segments[segment].get_or_init(|| empty(FIRST << segment));
        // Ordering: Release (edge column): the css is complete, or the task's place has moved on.
        slots[offset].store(css.map_or(0, CssId::get), order("column_store", Ordering::Release));
    }

    /// Returns the css where `place` points.
    ///
    /// Lock-free: repeats only when the place changed in between. An empty slot under a place that
    /// stands still means that this column is of an older world than the place's group; its readers
    /// resolve to the root, as they did when the world was current.
    #[inline]
    pub(crate) fn resolve(&self, place: impl Fn() -> u32) -> Option<CssId> {
        let mut index = place();
        loop {
            if let Some(id) = self.get(index) {
                return Some(id);
            }
            let now = place();
            if now == index {
                return self.get(ROOT);
            }
            index = now;
        }
    }
}

/// Where a task sits in one hierarchy: a group index; the root at first.
#[derive(Debug)]
pub(crate) struct Place(AtomicU32);

impl Place {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(ROOT))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(ROOT))
    }

    #[inline]
    pub(crate) fn get(&self) -> u32 {
        // Ordering: Acquire (edge place): who sees the place sees the group's slot filled.
        self.0.load(order("place_load", Ordering::Acquire))
    }

    /// Moves the place; callers hold the structural lock.
    pub(crate) fn set(&self, index: u32) {
        // Ordering: Release (edge place): the slots of the group at `index` were filled before.
        self.0.store(index, order("place_store", Ordering::Release));
    }
}

/// Returns the segment of `index`, and its offset there.
#[inline]
fn locate(index: u32) -> (usize, usize) {
    // Segments of doubling size, put one behind the other after a gap as long as the first: each begins
    // at a power of two.
    let position = index as usize + FIRST;
    let begin = position.ilog2();
    ((begin - FIRST.ilog2()) as usize, position ^ 1 << begin)
}

fn empty(length: usize) -> Box<[AtomicU32]> {
    (0..length).map(|_| AtomicU32::new(0)).collect()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_a_slot_of_its_own() {
        let mut expected = (0, 0);
        for index in 0..10_000 {
            assert_eq!(locate(index), expected, "index {index}");
            expected.1 += 1;
            if expected.1 == FIRST << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert!(locate((1 << 24) - 1).0 < SEGMENTS);
    }

    #[test]
    fn a_stale_column_resolves_to_the_root() {
        let column = Column::new(1, 0, CssId(7));
        assert_eq!(column.resolve(|| 500), Some(CssId(7)));
        column.set(500, Some(CssId(8)));
        assert_eq!(column.resolve(|| 500), Some(CssId(8)));
    }
}
