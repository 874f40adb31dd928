//! Where threads count: a block of 64 cells for each thread, each with a group's record in it.
//!
//! A cell has what the owner of the block allocated and freed for one record since it last added that
//! to the record. The two only grow, and are written by the owner alone with plain loads and stores;
//! others read them. The place of a record's cell follows from its address, and two records can want
//! the same: then the cell is *flushed*, added to the record in it, and the other moves in. It is
//! flushed, too, when what it has of its record's bytes exceeds [`BATCH`] either way, and when the
//! thread ends.
//!
//! Blocks come from the system allocator and live for ever. One whose thread has ended is taken by the
//! next that begins.
//!
//! # When is a record spent
//!
//! Nothing that is not spent may be taken for it, or a record would be handed to another group while
//! blocks name it. What was *freed* is added up first and never too high, what was *allocated* is added
//! up afterwards and never too low; if they are equal, there is no block. For suppose there is
//! one. Its allocation is seen: it happened before the record was retired, or it is a `realloc`, whose
//! new size is counted before its old one is freed, and is seen if that free is. Its free is not
//! there to be seen. Every other free that is seen has its allocation seen, as the block went from one to the
//! other. So what is seen allocated exceeds what is seen freed.
//!
//! Too high, what was freed could become in three ways: a cell is read beside the record to which it was
//! just added; it is read while another record moves in; and it is read after that. All are moves, and a cell has a number
//! that is odd while one is under way and goes up with each, so the reader notices and
//! gives up for this time. Allocations may be seen twice: that is too high, as it should be.
//!
//! # Figures
//!
//! A figure is to be exact when nobody counts for its record. Even then cells of it are flushed, as
//! others move in, and by threads that are interrupted in the middle: what such a cell has may be in the record already, and no
//! word says so. So who reads a cell of the record that is under way *waits* for its owner, at most
//! [`LONGEST_WAIT`]. Cells of other records do not matter, whatever happens to them.
//!
//! What the record has is read before the cells and afterwards. Its sums only grow: if they are the
//! same, nothing was added in between, so nothing was missed; and what had been added before is in none
//! of the cells that were read, or their numbers would have shown it.
//!
//! An owner that is not heard of, as it was left behind by a fork, is waited for once. Nobody waits in a
//! signal handler that interrupts a count, as that may be the flush it would wait for.
//!
//! # Orderings
//!
//! Edge `cell`: owners store with Release, readers load with Acquire. Who sees a free sees the
//! allocation that happened before it; who sees a cell emptied sees what was in it in the record, and
//! the number of the move. Edge `record`: a flush adds with Release, readers load with Acquire, for the same.
//! Edge `block`: blocks are pushed on a list with Release, and the list is walked with Acquire. Edge
//! `owner`: a block is left with Release and taken with Acquire.
//!
//! # Tests
//!
//! `tests/loom_block.rs`, below, and all in `tests/`.

#[cfg(not(loom))]
use std::alloc::{GlobalAlloc, Layout, System};
use std::{ptr, time::Duration};

use crate::{
    record::Record,
    sync::{self, AtomicPtr, AtomicU32, AtomicU64, Ordering, constructor, order, skip},
};

/// Cells in a block.
const CELLS: usize = if cfg!(loom) { 1 } else { 64 };

/// What a cell may have of a record's bytes, either way, before it is flushed: 64 KiB.
pub(crate) const BATCH: u64 = if cfg!(loom) { 4 } else { 64 << 10 };

/// How often a figure is read while its record is flushed to.
const READS: usize = 16;

/// How long a figure waits for a thread that was interrupted while it flushed.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// A thread's share of what one record counts.
#[derive(Debug)]
struct Cell {
    /// Whose it is; null before its first.
    record: AtomicPtr<Record>,
    /// Bytes allocated since the last flush.
    allocated: AtomicU64,
    /// Bytes freed since the last flush.
    freed: AtomicU64,
}

/// What a thread counts in; written by the thread that owns it alone.
///
/// # Invariants
///
/// 1. A record pointer in a cell is null or points to a record that lives for ever.
/// 2. All bits zero is a valid value.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Block {
    untagged: Untagged,
    /// How often each cell was flushed, twice; odd while it is.
    moves: [AtomicU32; CELLS],
    /// The block that was made before.
    next: AtomicPtr<Self>,
    /// 1 while a thread owns it, else 0.
    taken: AtomicU64,
    /// The move that somebody has waited for in vain: its cell's place, and its number.
    given_up: AtomicU64,
    cells: [Cell; CELLS],
}

/// Blocks of memory that carry no trailer, in sum.
#[derive(Debug)]
pub(crate) struct Untagged {
    pub(crate) allocated: Gross,
    pub(crate) freed: Gross,
}

/// How many blocks, and how many bytes in them.
#[derive(Debug)]
pub(crate) struct Gross {
    blocks: AtomicU64,
    bytes: AtomicU64,
}

/// Every block there is, latest first.
///
/// # Invariants
///
/// The head, and each block's `next`, is null or points to a block that lives for ever.
#[derive(Debug)]
pub(crate) struct Blocks {
    head: AtomicPtr<Block>,
    /// Blocks given back, and blocks taken again: whether a search can find anything.
    left: AtomicU64,
    taken: AtomicU64,
}

/// What a record has counted in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) allocated: u64,
    pub(crate) freed: u64,
}

impl Totals {
    /// Returns the bytes that are there: none when more are seen freed than allocated.
    pub(crate) fn live(self) -> u64 {
        let net = self.allocated.wrapping_sub(self.freed);
        if net.cast_signed() < 0 { 0 } else { net }
    }
}

/// Adds to a word of which the caller is the only writer.
#[inline(always)]
fn add_own(word: &AtomicU64, amount: u64) -> u64 {
    // Ordering: Relaxed: only this thread writes.
    let sum = word.load(Ordering::Relaxed).wrapping_add(amount);
    // Ordering: Release (edge cell).
    word.store(sum, order("cell_count", Ordering::Release));
    sum
}

impl Gross {
    constructor!(Self { blocks: AtomicU64::new(0), bytes: AtomicU64::new(0) });

    /// Counts one block; the caller is the only writer. Returns true.
    #[inline(always)]
    pub(crate) fn add_own(&self, bytes: u64) -> bool {
        add_own(&self.bytes, bytes);
        add_own(&self.blocks, 1);
        true
    }

    /// Counts one block beside others who do.
    pub(crate) fn add(&self, bytes: u64) {
        // Ordering: Relaxed, twice: a figure.
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.blocks.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns blocks and bytes.
    pub(crate) fn read(&self) -> (u64, u64) {
        // Ordering: Relaxed, twice: a figure.
        (self.blocks.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl Untagged {
    constructor!(Self { allocated: Gross::new(), freed: Gross::new() });
}

impl Cell {
    /// Returns whether it has more than a batch of its record's bytes.
    #[inline(always)]
    fn is_full(allocated: u64, freed: u64) -> bool {
        allocated.wrapping_sub(freed).wrapping_add(BATCH) > 2 * BATCH
    }

    #[inline(always)]
    fn is_of(&self, record: &Record, ordering: Ordering) -> bool {
        ptr::eq(self.record.load(ordering), record)
    }

    /// Reads a record's share, at one moment if that can be had soon; none if it has no share here.
    fn read(&self, record: &Record) -> Totals {
        let mut seen = Totals::default();
        for _ in 0..8 {
            // Ordering: Acquire (edge cell), all four: who finds it empty, or another's, finds what was
            // here in the record.
            let freed = self.freed.load(order("figure_load", Ordering::Acquire));
            let allocated = self.allocated.load(order("figure_load", Ordering::Acquire));
            if !self.is_of(record, order("figure_load", Ordering::Acquire)) {
                return Totals::default();
            }
            let net = allocated.wrapping_sub(freed).cast_signed();
            let net = net.clamp(-BATCH.cast_signed(), BATCH.cast_signed());
            seen = Totals { allocated: freed.wrapping_add_signed(net), freed };
            if self.freed.load(Ordering::Acquire) == freed {
                break;
            }
        }
        seen
    }
}

impl Block {
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        let cell = || Cell {
            record: AtomicPtr::new(ptr::null_mut()),
            allocated: AtomicU64::new(0),
            freed: AtomicU64::new(0),
        };
        Self {
            untagged: Untagged::new(),
            moves: std::array::from_fn(|_| AtomicU32::new(0)),
            next: AtomicPtr::new(ptr::null_mut()),
            taken: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
            cells: std::array::from_fn(|_| cell()),
        }
    }

    pub(crate) fn untagged(&self) -> &Untagged {
        &self.untagged
    }

    #[inline(always)]
    #[cfg_attr(loom, expect(clippy::modulo_one, reason = "models have one"))]
    fn cell(&self, record: &Record) -> &Cell {
        &self.cells[record.number() % CELLS]
    }

    /// How often the cell was flushed that `record` shares with others.
    #[cfg_attr(loom, expect(clippy::modulo_one, reason = "models have one"))]
    fn moves_of(&self, record: &Record) -> &AtomicU32 {
        &self.moves[record.number() % CELLS]
    }

    /// Returns what a record has here; and whether it had that at one moment, at which it was not flushed.
    fn share(&self, record: &Record) -> (Totals, bool) {
        // Ordering: Acquire (edge cell): the cell as of that move.
        let moves = self.moves_of(record).load(order("figure_moves", Ordering::Acquire));
        let share = self.cell(record).read(record);
        // Ordering: Relaxed: ordered behind the loads of the cell.
        let is_still = self.moves_of(record).load(Ordering::Relaxed) == moves;
        // Without a share there is nothing that could be seen twice.
        let is_settled = share == Totals::default() || (moves.is_multiple_of(2) && is_still);
        if !is_settled && is_still {
            self.wait(record, moves);
        }
        (share, is_settled || skip("figure_settled"))
    }

    /// Waits until the move of the record's cell is over that is under way, for some time.
    fn wait(&self, record: &Record, moves: u32) {
        let number = self.moves_of(record);
        let place = ptr::from_ref(number).addr() % size_of_val(&self.moves);
        let this = (place as u64) << u32::BITS | u64::from(moves);
        // Ordering: Relaxed, all: only when to look again.
        let is_over = || number.load(Ordering::Relaxed) != moves;
        if self.given_up.load(Ordering::Relaxed) != this && !sync::wait(LONGEST_WAIT, is_over) {
            self.given_up.store(this, Ordering::Relaxed);
        }
    }

    /// Counts bytes allocated for a record, if its cell is here and has room; for the block's owner alone.
    #[inline(always)]
    pub(crate) fn try_allocated(&self, record: &'static Record, bytes: u64) -> bool {
        let cell = self.cell(record);
        // Ordering: Relaxed, all loads: our own.
        let allocated = cell.allocated.load(Ordering::Relaxed).wrapping_add(bytes);
        let is_full = Cell::is_full(allocated, cell.freed.load(Ordering::Relaxed));
        let is_quick = cell.is_of(record, Ordering::Relaxed) && !is_full;
        if is_quick {
            // Ordering: Release (edge cell).
            cell.allocated.store(allocated, order("cell_count", Ordering::Release));
        }
        is_quick
    }

    /// Counts bytes freed for a record, if its cell is here and has room; for the block's owner alone.
    #[inline(always)]
    pub(crate) fn try_freed(&self, record: &'static Record, bytes: u64) -> bool {
        let cell = self.cell(record);
        // Ordering: Relaxed, all loads: our own.
        let freed = cell.freed.load(Ordering::Relaxed).wrapping_add(bytes);
        let is_full = Cell::is_full(cell.allocated.load(Ordering::Relaxed), freed);
        let is_quick = cell.is_of(record, Ordering::Relaxed) && !is_full;
        if is_quick {
            // Ordering: Release (edge cell).
            cell.freed.store(freed, order("cell_count", Ordering::Release));
        }
        is_quick
    }

    /// Counts bytes allocated for a record; for the block's owner alone.
    pub(crate) fn allocated(&self, record: &'static Record, bytes: u64) {
        let cell = self.cell_of(record);
        let allocated = add_own(&cell.allocated, bytes);
        // Ordering: Relaxed: our own.
        if Cell::is_full(allocated, cell.freed.load(Ordering::Relaxed)) {
            self.flush(cell, record);
        }
    }

    /// Counts bytes freed for a record; for the block's owner alone.
    pub(crate) fn freed(&self, record: &'static Record, bytes: u64) {
        let cell = self.cell_of(record);
        let freed = add_own(&cell.freed, bytes);
        // Ordering: Relaxed: our own.
        if Cell::is_full(cell.allocated.load(Ordering::Relaxed), freed) {
            self.flush(cell, record);
        }
    }

    /// Returns the cell with `record` in it.
    fn cell_of(&self, record: &'static Record) -> &Cell {
        let cell = self.cell(record);
        // Ordering: Relaxed: our own.
        if !cell.is_of(record, Ordering::Relaxed) {
            self.flush(cell, record);
        }
        cell
    }

    /// Adds all that is in the cells to their records; for the block's owner alone.
    pub(crate) fn flush_all(&self) {
        for cell in &self.cells {
            // Ordering: Relaxed: our own.
            let record = cell.record.load(Ordering::Relaxed);
            // SAFETY: invariant 1.
            if let Some(record) = unsafe { record.as_ref() } {
                self.flush(cell, record);
            }
        }
    }

    /// Adds what is in a cell to the record in it, and has `record` in it from then on.
    fn flush(&self, cell: &Cell, record: &'static Record) {
        // Ordering: Relaxed, all loads here: our own.
        let number = self.moves_of(record);
        let moves = number.load(Ordering::Relaxed);
        if !skip("move_begins") {
            // Ordering: Relaxed: seen by whoever sees one of the stores below (edge cell).
            number.store(moves.wrapping_add(1), Ordering::Relaxed);
        }
        let present = cell.record.load(Ordering::Relaxed);
        let allocated = cell.allocated.load(Ordering::Relaxed);
        let freed = cell.freed.load(Ordering::Relaxed);
        // SAFETY: invariant 1.
        if let Some(present) = unsafe { present.as_ref() } {
            present.add(allocated, freed);
        }
        // Ordering: Release (edge cell): who sees it emptied sees the record and the number.
        cell.allocated.store(0, Ordering::Release);
        cell.freed.store(0, Ordering::Release);
        // INVARIANT: 1, as a `&'static Record`.
        cell.record.store(ptr::from_ref(record).cast_mut(), Ordering::Release);
        if !skip("move_ends") {
            // Ordering: Release (edge cell): who sees the number sees the move made.
            number.store(moves.wrapping_add(2), order("move_ends_late", Ordering::Release));
        }
    }

    /// Returns what is freed for a record here and not in it; `None` if a cell was moved meanwhile.
    fn freed_at_most(&self, record: &Record) -> Option<u64> {
        // Ordering: Acquire (edge cell): the cells as of that move.
        let moves = self.moves_of(record).load(order("moves_load", Ordering::Acquire));
        let cell = self.cell(record);
        // Ordering: Acquire (edge cell), twice: what happened before a free, and the number of the
        // move that emptied or refilled it.
        let is_here = cell.is_of(record, order("cell_load", Ordering::Acquire));
        let freed = cell.freed.load(order("cell_load", Ordering::Acquire));
        // Ordering: Relaxed: ordered behind the loads above.
        let is_still = self.moves_of(record).load(Ordering::Relaxed) == moves;
        let is_still = skip("moves_looked_at") || (moves.is_multiple_of(2) && is_still);
        is_still.then_some(if is_here { freed } else { 0 })
    }

    /// Returns what is allocated for a record here and not in it, or more.
    fn allocated_at_least(&self, record: &Record) -> u64 {
        let cell = self.cell(record);
        // Ordering: Acquire (edge cell), twice: who finds it empty, or another's, finds what was here in the
        // record. The bytes first: those of another record are too many, not too few.
        let allocated = cell.allocated.load(order("cell_load", Ordering::Acquire));
        if cell.is_of(record, order("cell_load", Ordering::Acquire)) { allocated } else { 0 }
    }
}

impl Blocks {
    constructor!(Self {
        head: AtomicPtr::new(ptr::null_mut()),
        left: AtomicU64::new(0),
        taken: AtomicU64::new(0),
    });

    fn head(&self) -> Option<&'static Block> {
        // Ordering: Acquire (edge block).
        let head = self.head.load(Ordering::Acquire);
        // SAFETY: the type's invariant.
        unsafe { head.as_ref::<'static>() }
    }

    /// Returns every block, owned or not.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'static Block> {
        std::iter::successors(self.head(), |block| {
            // Ordering: Acquire (edge block), though it was set before the block was pushed.
            let next = block.next.load(Ordering::Acquire);
            // SAFETY: the type's invariant.
            unsafe { next.as_ref::<'static>() }
        })
    }

    /// Returns a block for the calling thread to own; `None` if memory is out.
    #[cfg(not(loom))]
    pub(crate) fn take(&self) -> Option<&'static Block> {
        self.take_left().or_else(|| self.make())
    }

    /// Takes a block that another thread has left.
    pub(crate) fn take_left(&self) -> Option<&'static Block> {
        // Ordering: Relaxed, twice: a hint; a block that is missed stays for the next.
        if self.left.load(Ordering::Relaxed) == self.taken.load(Ordering::Relaxed) {
            return None;
        }
        let take = |block: &&Block| {
            // Ordering: Acquire (edge owner): the counts that the last owner left. Relaxed: not ours.
            let (taken, failed) = (order("owner_take", Ordering::Acquire), Ordering::Relaxed);
            block.taken.compare_exchange(0, 1, taken, failed).is_ok()
        };
        let block = self.iter().find(take)?;
        // Ordering: Relaxed: a hint.
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(block)
    }

    /// Makes a block that lives for ever, owned by the caller.
    #[cfg(not(loom))]
    fn make(&self) -> Option<&'static Block> {
        const { assert!(size_of::<Block>() > 0) };
        // SAFETY: the layout has a size, by the assertion.
        let made = unsafe { System.alloc_zeroed(Layout::new::<Block>()) }.cast::<Block>();
        // SAFETY: null, or a block of zeros, valid by invariant 2, that is never freed.
        let block = unsafe { made.as_ref::<'static>() }?;
        self.push(block);
        Some(block)
    }

    /// Adds a block to the list, owned by the caller.
    pub(crate) fn push(&self, block: &'static Block) {
        // Ordering: Relaxed: published below.
        block.taken.store(1, Ordering::Relaxed);
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            block.next.store(head, Ordering::Relaxed);
            let new = ptr::from_ref(block).cast_mut();
            // Ordering: Release (edge block): who walks the list sees the block's `next` and zeros.
            // Blocks before it were published by the same head, which the exchange goes on from.
            let (pushed, failed) = (Ordering::Release, Ordering::Relaxed);
            match self.head.compare_exchange_weak(head, new, pushed, failed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Gives a block back for the next thread, with what it has counted in sum.
    pub(crate) fn leave(&self, block: &Block) {
        block.flush_all();
        // Ordering: Release (edge owner).
        block.taken.store(0, order("owner_leave", Ordering::Release));
        // Ordering: Relaxed: a hint.
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns what a record has counted, as of about now; exact when nobody counts for it.
    ///
    /// See the module's "Figures".
    pub(crate) fn totals(&self, record: &Record) -> Totals {
        let mut totals = Totals::default();
        for _ in 0..READS {
            let flushed = record.flushed();
            let mut is_exact = true;
            totals = self.iter().fold(flushed, |sum, block| {
                let (share, is_settled) = block.share(record);
                is_exact &= is_settled;
                Totals {
                    allocated: sum.allocated.wrapping_add(share.allocated),
                    freed: sum.freed.wrapping_add(share.freed),
                }
            });
            if is_exact && (record.flushed() == flushed || skip("figure_flushed")) {
                break;
            }
        }
        totals
    }

    /// Returns what a record has counted in all if there is no block of it left, and nobody
    /// allocates for it any more. `None` says nothing.
    pub(crate) fn spent(&self, record: &Record) -> Option<u64> {
        let mut freed = record.freed();
        for block in self.iter() {
            freed = freed.wrapping_add(block.freed_at_most(record)?);
        }
        let cells = self.iter().map(|block| block.allocated_at_least(record));
        let cells = cells.fold(0, u64::wrapping_add);
        let allocated = cells.wrapping_add(record.allocated());
        (allocated == freed).then_some(freed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Instant;

    use super::*;

    /// A fork leaves threads behind in the middle of a flush: they are waited for, but once.
    #[test]
    fn a_flush_that_never_ends_is_waited_for_once() {
        static OWN: Blocks = Blocks::new();
        let block = OWN.take().expect("memory");
        let [record, other, ..] = Record::make() else { unreachable!("memory") };
        block.allocated(record, 5);
        block.moves_of(record).fetch_add(1, Ordering::Relaxed);
        let timed = |record| {
            let start = Instant::now();
            (OWN.totals(record).live(), start.elapsed() >= LONGEST_WAIT)
        };
        assert_eq!(timed(other), (0, false), "nothing of it is under way");
        assert_eq!(timed(record), (5, true));
        assert_eq!(timed(record), (5, false));
        // The next one is another.
        block.moves_of(record).fetch_add(2, Ordering::Relaxed);
        assert_eq!(timed(record), (5, true));
        block.moves_of(record).fetch_add(1, Ordering::Relaxed);
        assert_eq!(timed(record), (5, false));
    }
}
