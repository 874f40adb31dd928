//! What a thread has of a node: room that it may use without asking, and counts of what it used.
//!
//! A *lease* is a number of operations and bytes that were charged to every limit above ahead of time. The
//! owner takes from it by an exchange of one word; who needs it back, under the device's lock, [sweeps](Cell::sweep)
//! it by another. Counts are written by the owner alone.
//!
//! # Invariants
//!
//! 1. A token is in the tree, in a lease, or used; each exchange moves it from one to the other.
//! 2. A lease is given out under the device's lock, into a cell that is in the device's list of leased cells.
//!    What is swept is given back to the tree, under the same lock.
//! 3. The count of a cell is written by its thread only, until the cell is retired; what is read is at most
//!    as old as the last operation that the reader knows of.
//!
//! Cells are never freed, so that a thread can have at hand where they are: what one thread has left
//! is [taken](Cell::reuse) by the next. There are as many as threads had at the same time, 64 bytes each.
//!
//! # Tests
//!
//! `tests/loom_lease.rs`; `tests/stress.rs`, `tests/model.rs`.

use crate::{
    op::Kind,
    sync::{AtomicU64, Mutex, Ordering, skip},
    tree::{Direction, Lease},
};

/// Nothing above limits the direction: operations are counted, and that is all.
const FREE: u64 = 1 << 63;

/// Where the operations are; bytes are below.
const OPS: u32 = 32;

/// The bytes of a lease.
const BYTES: u64 = Lease::BYTES_MAX as u64;

/// One thread's part of a node.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Cell {
    leases: [AtomicU64; 2],
    bytes: [AtomicU64; 2],
    ops: [AtomicU64; 2],
    /// In which of the device's lists it is; under the device's lock.
    lists: AtomicU64,
}

/// A list of cells that a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    /// Those with leases.
    Leased = 1,
    /// Those that only count.
    Free = 2,
}

/// What came of taking from a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing limits it.
    Free,
    /// From the lease.
    Leased,
    /// There is not enough.
    Short,
}

/// What a cell counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) bytes: [u64; 2],
    pub(crate) ops: [u64; 2],
}

/// Cells that nobody has.
#[cfg(not(loom))]
static SPARE: Mutex<Vec<&'static Cell>> = Mutex::new(Vec::new());

#[cfg(loom)]
loom::lazy_static! {
    static ref SPARE: Mutex<Vec<&'static Cell>> = Mutex::new(Vec::new());
}

impl Cell {
    /// Returns a cell with nothing in it.
    pub(crate) fn reuse() -> &'static Self {
        if let Some(spare) = SPARE.lock().pop() {
            return spare;
        }
        Box::leak(Box::default())
    }

    /// Leaves it to others. It is in no list any more, and no thread has it.
    pub(crate) fn leave(&'static self) {
        let words = self.leases.iter().chain(&self.bytes).chain(&self.ops);
        // Ordering: Relaxed: who has it next comes by the lock.
        if !skip("cell_leaves_nothing") {
            words.chain([&self.lists]).for_each(|word| word.store(0, Ordering::Relaxed));
        }
        SPARE.lock().push(self);
    }

    /// Takes room for an operation, and counts it; by the owner alone.
    #[inline]
    pub(crate) fn take(&self, kind: Kind, op_bytes: u64) -> Taken {
        if kind == Kind::Discard {
            return Taken::Short; // counted apart
        }
        let at = kind.direction() as usize;
        let lease = &self.leases[at];
        // Ordering: Relaxed: the word says all there is to know.
        let mut word = lease.load(Ordering::Relaxed);
        while word & FREE == 0 {
            let (ops, bytes) = (word >> OPS, word & BYTES);
            if ops == 0 || bytes < op_bytes {
                return Taken::Short;
            }
            let left = word - (1 << OPS) - op_bytes;
            if skip("cell_takes_at_once") {
                lease.store(left, Ordering::Relaxed);
                self.count(at, 1, op_bytes);
                return Taken::Leased;
            }
            // Ordering: Relaxed: as above; what was charged for it lies behind the device's lock.
            match lease.compare_exchange_weak(word, left, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    self.count(at, 1, op_bytes);
                    return Taken::Leased;
                }
                Err(now) => word = now,
            }
        }
        self.count(at, 1, op_bytes);
        Taken::Free
    }

    /// Counts operations, or what is to be taken from what was counted; by the owner alone.
    #[inline]
    pub(crate) fn count(&self, at: usize, ops: u64, bytes: u64) {
        // Ordering: Relaxed: one thread writes; sums are of any moment.
        let of = |word: &AtomicU64, more| {
            word.store(word.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
        };
        of(&self.ops[at], ops);
        of(&self.bytes[at], bytes);
    }

    /// Puts room in; under the device's lock.
    pub(crate) fn put(&self, direction: Direction, lease: Lease) {
        let ops = u64::from(lease.ops.min(Lease::OPS_MAX));
        // Ordering: Relaxed: see `take`. Nothing is lost: who puts has swept before, and the owner only takes.
        self.leases[direction as usize]
            .store(ops << OPS | u64::from(lease.bytes), Ordering::Relaxed);
    }

    /// Has operations of a direction only be counted from now on; under the device's lock.
    pub(crate) fn set_free(&self, direction: Direction) {
        // Ordering: Relaxed: as above.
        self.leases[direction as usize].store(FREE, Ordering::Relaxed);
    }

    /// Takes all room out; under the device's lock. Who takes after that finds none.
    pub(crate) fn sweep(&self, direction: Direction) -> Lease {
        let lease = &self.leases[direction as usize];
        let word = if skip("cell_sweeps_at_once") {
            let word = lease.load(Ordering::Relaxed);
            lease.store(0, Ordering::Relaxed);
            word
        } else {
            // Ordering: Relaxed: as above.
            lease.swap(0, Ordering::Relaxed)
        };
        if word & FREE != 0 {
            return Lease::default();
        }
        let narrow = |part: u64| u32::try_from(part).unwrap_or(u32::MAX);
        Lease { ops: narrow(word >> OPS), bytes: narrow(word & BYTES) }
    }

    /// As [`sweep`](Self::sweep), but what only counts goes on to.
    pub(crate) fn sweep_lease(&self, direction: Direction) -> Lease {
        // Ordering: Relaxed: the device's lock is held, under which alone that changes.
        let is_free = self.leases[direction as usize].load(Ordering::Relaxed) & FREE != 0;
        if is_free { Lease::default() } else { self.sweep(direction) }
    }

    /// Notes that it is in a list; returns whether it was not. Under the device's lock.
    pub(crate) fn list(&self, list: List) -> bool {
        let lists = self.lists.load(Ordering::Relaxed);
        // Ordering: Relaxed: the device's lock is held.
        self.lists.store(lists | list as u64, Ordering::Relaxed);
        lists & list as u64 == 0
    }

    /// Notes that it is not in a list; returns whether it was. Under the device's lock.
    pub(crate) fn unlist(&self, list: List) -> bool {
        let lists = self.lists.load(Ordering::Relaxed);
        // Ordering: Relaxed: the device's lock is held.
        self.lists.store(lists & !(list as u64), Ordering::Relaxed);
        lists & list as u64 != 0
    }

    /// Returns what it has counted.
    pub(crate) fn counts(&self) -> Counts {
        // Ordering: Relaxed: sums are of any moment; of a cell that is folded, the owner does it, or is gone.
        let of = |words: &[AtomicU64; 2]| words.each_ref().map(|word| word.load(Ordering::Relaxed));
        Counts { bytes: of(&self.bytes), ops: of(&self.ops) }
    }
}

impl Counts {
    pub(crate) fn plus(self, other: Self) -> Self {
        let sum = |a: [u64; 2], b: [u64; 2]| [a[0].wrapping_add(b[0]), a[1].wrapping_add(b[1])];
        Self { bytes: sum(self.bytes, other.bytes), ops: sum(self.ops, other.ops) }
    }
}
