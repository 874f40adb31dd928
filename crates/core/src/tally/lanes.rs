//! The words of one tally: a lane for each thread slot that ever counted there, and a shared one.
//!
//! Lanes are found by slot in tables that double in size, and made when a slot first counts: a tally that
//! two threads count in has two lanes and two tables of pointers. They live as long as the tally.

use std::array;

use crate::{
    css::{cells::SLOTS, thread},
    sync::{AtomicU64, OnceLock, Ordering},
};

/// What is counted in one tally.
pub(super) struct Lanes<const N: usize> {
    /// Table `k` is for slots from 2^k − 1 on, and has 2^k places.
    tables: [OnceLock<Table<N>>; TABLES],
    /// Where threads without a slot count.
    shared: OnceLock<Box<Lane<N>>>,
}

type Table<const N: usize> = Box<[OnceLock<Box<Lane<N>>>]>;

/// Words of one thread slot, wrapping.
///
/// # Invariants
///
/// 1. Only the owner of the slot writes them; slots change hands through the slot mutex. The shared lane
///    is written by read-modify-writes only.
/// 2. They only grow.
#[repr(align(64))] // threads write them, each its own
struct Lane<const N: usize>([AtomicU64; N]);

/// As many as have a place for every slot.
const TABLES: usize = SLOTS.ilog2() as usize + 1;

impl<const N: usize> Lanes<N> {
    pub(super) fn new() -> Self {
        Self { tables: array::from_fn(|_| OnceLock::new()), shared: OnceLock::new() }
    }

    #[inline]
    pub(super) fn add(&self, kind: usize, count: u64) {
        match thread::slot() {
            Some(slot) => self.lane(slot).bump(kind, count),
            None => self.add_shared(kind, count),
        }
    }

    /// Adds up every lane.
    pub(super) fn sum(&self) -> [u64; N] {
        let tables = self.tables.iter().filter_map(OnceLock::get);
        let lanes = tables.flatten().filter_map(OnceLock::get);
        let lanes = lanes.chain(self.shared.get());
        lanes.fold([0; N], |mut sum, lane| {
            for (sum, word) in sum.iter_mut().zip(&lane.0) {
                // Ordering: Relaxed: a statistic, which coherence keeps from going backwards.
                *sum = sum.wrapping_add(word.load(Ordering::Relaxed));
            }
            sum
        })
    }

    #[inline]
    fn lane(&self, slot: usize) -> &Lane<N> {
        let table = (slot + 1).ilog2();
        let place = slot + 1 - (1 << table);
        let made = self.tables[table as usize].get().and_then(|table| table[place].get());
        match made {
            Some(lane) => lane,
            None => self.make_lane(table as usize, place),
        }
    }

    #[cold]
    #[inline(never)]
    fn make_lane(&self, table: usize, place: usize) -> &Lane<N> {
        let table = self.tables[table]
            .get_or_init(|| (0..1_usize << table).map(|_| OnceLock::new()).collect());
        table[place].get_or_init(Lane::boxed)
    }

    #[cold]
    #[inline(never)]
    fn add_shared(&self, kind: usize, count: u64) {
        let lane = self.shared.get_or_init(Lane::boxed);
        // Ordering: Relaxed: a statistic.
        lane.0[kind].fetch_add(count, Ordering::Relaxed);
    }
}

impl<const N: usize> Lane<N> {
    fn boxed() -> Box<Self> {
        Box::new(Self(array::from_fn(|_| AtomicU64::new(0))))
    }

    /// Adds, wrapping; owner of the slot only.
    #[inline(always)]
    fn bump(&self, kind: usize, count: u64) {
        let word = &self.0[kind];
        // Ordering: Relaxed, both (edge slot): only we write (invariant 1), and what a former owner of the
        // slot wrote we see by the slot mutex.
        word.store(word.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_lane_of_its_own() {
        let lanes = Lanes::<1>::new();
        let slots = [0, 1, 2, 3, 62, 63, 64, SLOTS - 2, SLOTS - 1];
        for (count, slot) in (0..).zip(slots) {
            lanes.lane(slot).bump(0, 1 << count);
        }
        for (count, slot) in (0..).zip(slots) {
            assert_eq!(lanes.lane(slot).0[0].load(Ordering::Relaxed), 1 << count);
        }
        assert_eq!(lanes.sum(), [(1 << slots.len()) - 1]);
    }

    #[test]
    fn threads_without_a_slot_share_a_lane() {
        let lanes = Lanes::<2>::new();
        lanes.add_shared(1, 3);
        lanes.add_shared(1, 4);
        lanes.lane(0).bump(1, 5);
        assert_eq!(lanes.sum(), [0, 12]);
    }
}
