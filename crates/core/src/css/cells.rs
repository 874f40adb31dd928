//! Where counts live: headers by css id, and a block of cells for every thread slot.
//!
//! Both are *type-stable*: made at first use, from the system allocator, and never given back.
//! An operation that was overtaken by the release of its css may therefore still look at its
//! header and its cell; `css/refcount.rs` says why it then changes nothing.
//!
//! A thread owns at most one slot. A slot that a thread leaves keeps its counts, and the next owner
//! goes on with them: only sums mean anything. Ids come lowest first and lately freed first, so
//! that the css of one group, made together, share cache lines.
//!
//! # Orderings
//!
//! Edge `slot`: the slot mutex passes a cell from owner to owner. Edges `block` and `chunk`: a slot's
//! block, and a block's chunk, are published with Release and read with Acquire by whoever captures.
//! That a kill finds every cell it must find is edge `op↔switch`: what leads to a cell is stored before
//! its count is.
//!
//! # Tests
//!
//! `tests/loom_slots.rs`.

#[cfg(not(loom))]
use crate::sync::MutexGuard;
#[cfg(not(loom))]
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

use crate::{
    css::header::Header,
    sync::{AtomicPtr, AtomicU32, AtomicU64, Mutex, Ordering, order, skip},
};

/// Css ids in a process; 0 is never one.
pub(crate) const IDS: usize = if cfg!(loom) { 4 } else { 1 << 24 };
/// Threads that count in cells of their own at one time; more are correct, but slower.
pub(crate) const SLOTS: usize = if cfg!(loom) { 2 } else { 4096 };
/// Cells in a chunk, and headers in a segment.
const CHUNK: usize = if cfg!(loom) { 2 } else { 256 };
const CHUNKS: usize = IDS / CHUNK;

/// The id of a css: process-wide, reused only a grace period after its css was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct CssId(pub(crate) u32);

impl CssId {
    /// Returns the id as a number, from 1 to 2^24 − 1.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    #[inline(always)]
    const fn chunk(self) -> usize {
        (self.0 as usize / CHUNK) % CHUNKS
    }

    #[inline(always)]
    const fn offset(self) -> usize {
        self.0 as usize % CHUNK
    }
}

/// One thread slot's share of one css's count.
#[derive(Debug)]
pub(crate) struct Cell {
    /// References got minus references put by the slot's owners, wrapping. Written by the owner.
    pub(crate) count: AtomicU64,
    /// How much of `count` the header holds already. Written by compare-exchange on slow paths.
    pub(crate) accounted: AtomicU64,
}

/// # Invariants
///
/// All bits zero is a valid value of this type and of every type it holds.
#[derive(Debug)]
struct Chunk {
    cells: [Cell; CHUNK],
}

/// The cells of one thread slot.
///
/// # Invariants
///
/// 1. A chunk pointer is null or points to a chunk that lives for ever.
/// 2. All bits zero is a valid value.
#[derive(Debug)]
pub(crate) struct Block {
    chunks: [AtomicPtr<Chunk>; CHUNKS],
    /// The number of the slot.
    slot: AtomicU32,
}

/// # Invariants
///
/// All bits zero is a valid value of this type and of every type it holds.
#[derive(Debug)]
struct Segment {
    headers: [Header; CHUNK],
    /// Which slots have a chunk for these ids: what a kill has to look at.
    marks: [AtomicU64; SLOTS.div_ceil(64)],
}

/// Every header, slot and id there is: one per process, or one per loom model.
///
/// # Invariants
///
/// Pointers are null or point to values that live for ever.
#[derive(Debug)]
pub(crate) struct Domain {
    segments: [AtomicPtr<Segment>; CHUNKS],
    blocks: [AtomicPtr<Block>; SLOTS],
    /// Slots that have a block.
    slots_made: AtomicU32,
    slots: Mutex<Stack<SLOTS>>,
    ids: Mutex<Ids>,
}

/// Memory for a header, a block or a chunk could not be had, or every id is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

/// Numbers below `N` that were taken before and are free, latest on top.
#[derive(Debug)]
pub(crate) struct Stack<const N: usize> {
    free: [u16; N],
    len: usize,
    /// Numbers below this were taken at least once.
    high_water: usize,
}

/// Ids that were taken before and are free, linked through their headers, latest first.
#[derive(Debug)]
pub(crate) struct Ids {
    /// The first free one; 0 when there is none.
    free: u32,
    /// The highest that was ever taken.
    last: u32,
}

/// Every lock of a domain.
#[cfg(not(loom))]
pub(crate) type Locks<'d> = (MutexGuard<'d, Ids>, MutexGuard<'d, Stack<SLOTS>>);

impl Block {
    /// Returns the cell for `id`, if this block has its chunk.
    #[inline(always)]
    pub(crate) fn cell(&self, id: CssId) -> Option<&Cell> {
        // Ordering: Acquire (edge chunk): a capturing thread sees the chunk initialised; for the
        // owner it costs nothing.
        let chunk = self.chunks[id.chunk()].load(order("chunk_load", Ordering::Acquire));
        // SAFETY: by invariant 1 the pointer is null or good for ever.
        let chunk = unsafe { chunk.as_ref() }?;
        Some(&chunk.cells[id.offset()])
    }

    /// Returns the number of the slot.
    #[inline(always)]
    pub(crate) fn slot(&self) -> usize {
        // Ordering: Relaxed: set before the slot was first taken, and not again.
        self.slot.load(Ordering::Relaxed) as usize
    }

    fn make_chunk(&self, id: CssId) -> Option<()> {
        let chunk = Chunk::allocate()?;
        // INVARIANT: 1 because `allocate` gives a value that lives for ever.
        // Ordering: Release (edge chunk): whoever sees the pointer sees zeroed cells.
        self.chunks[id.chunk()].store(chunk, order("chunk_store", Ordering::Release));
        Some(())
    }
}

impl Domain {
    /// Returns an empty domain that lives for ever, apart from the process's.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn new_for_test() -> &'static Self {
        // SAFETY: by the type's invariant all zeros is valid.
        let domain = unsafe { allocate_zeroed::<Self>() };
        // SAFETY: just allocated, and never freed.
        unsafe { domain.as_ref() }.expect("memory")
    }

    /// Returns the header of `id`, which [`Domain::take_ids`] gave out.
    #[inline]
    pub(crate) fn header(&self, id: CssId) -> Option<&'static Header> {
        Some(&self.segment(id)?.headers[id.offset()])
    }

    #[inline]
    fn segment(&self, id: CssId) -> Option<&'static Segment> {
        // Ordering: Relaxed: made before the id was first handed out, and whoever has an id was
        // handed it.
        let segment = self.segments[id.chunk()].load(Ordering::Relaxed);
        // SAFETY: by the invariant the pointer is null or good for ever.
        unsafe { segment.as_ref::<'static>() }
    }

    /// Returns the cell for `id` in `block`, making its chunk if need be; `None` when memory is out.
    ///
    /// Called by the owner of the slot only.
    pub(crate) fn cell<'b>(&self, block: &'b Block, id: CssId) -> Option<&'b Cell> {
        if block.cell(id).is_none() {
            let slot = block.slot();
            if !skip("slot_mark") {
                // Ordering: Relaxed (edge op↔switch): comes before the count is stored, so whoever must
                // see the count sees the mark.
                self.segment(id)?.marks[slot / 64].fetch_or(1 << (slot % 64), Ordering::Relaxed);
            }
            block.make_chunk(id)?;
        }
        block.cell(id)
    }

    /// Takes every lock of the domain.
    #[cfg(not(loom))]
    pub(crate) fn lock_all(&self) -> Locks<'_> {
        (self.ids.lock(), self.slots.lock())
    }

    /// Takes `count` ids whose headers exist, next to each other where that is possible.
    pub(crate) fn take_ids(&self, count: usize) -> Result<Vec<CssId>, Exhausted> {
        // Before the lock, which a fork waits for: the allocator may have such locks of its own.
        let mut taken = Vec::with_capacity(count);
        let mut ids = self.ids.lock();
        while taken.len() < count {
            match self.take_id(&mut ids) {
                Some(id) => taken.push(id),
                None => {
                    taken.into_iter().rev().for_each(|id| self.link_id(&mut ids, id));
                    return Err(Exhausted);
                }
            }
        }
        Ok(taken)
    }

    /// Gives an id back, a grace period after the css that had it was released.
    pub(crate) fn give_back_id(&self, id: CssId) {
        self.link_id(&mut self.ids.lock(), id);
    }

    fn take_id(&self, ids: &mut Ids) -> Option<CssId> {
        if ids.free == 0 {
            let id = CssId(ids.last + 1);
            let exists = (id.0 as usize) < IDS && self.make_header(id);
            return exists.then(|| {
                ids.last = id.0;
                id
            });
        }
        let id = CssId(ids.free);
        // Ordering: Relaxed: written under the id mutex, which the caller holds.
        ids.free = self.header(id)?.next.load(Ordering::Relaxed);
        Some(id)
    }

    fn link_id(&self, ids: &mut Ids, id: CssId) {
        if let Some(header) = self.header(id) {
            // Ordering: Relaxed: read under the id mutex, which the caller holds.
            header.next.store(ids.free, Ordering::Relaxed);
            ids.free = id.0;
        }
    }

    /// Returns whether some thread has the slot mutex at this moment.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn slots_are_locked(&self) -> bool {
        self.slots.is_locked()
    }

    /// Yields an id of every chunk that holds one in use, or once did.
    #[cfg(not(loom))]
    pub(crate) fn ids_in_use(&self) -> impl Iterator<Item = CssId> {
        let last = self.ids.lock().last;
        (0..=last).step_by(CHUNK).filter(move |_| last > 0).map(CssId)
    }

    /// Takes a slot for the calling thread; `None` when all are taken or memory is out.
    pub(crate) fn take_slot(&self) -> Option<(usize, &'static Block)> {
        let mut slots = self.slots.lock();
        let slot = slots.take()?;
        // Ordering: Relaxed (edge slot): written under the slot mutex.
        let mut block = self.blocks[slot].load(Ordering::Relaxed);
        if block.is_null() {
            let Some(new) = Block::allocate() else {
                slots.give_back(slot);
                return None;
            };
            block = new;
            // SAFETY: just allocated, and never freed.
            let number = unsafe { &(*block).slot };
            // Ordering: Relaxed: published with the block.
            number.store(u32::try_from(slot).expect("few slots"), Ordering::Relaxed);
            // Ordering: Release (edge block): whoever sees the pointer sees an empty block.
            self.blocks[slot].store(block, order("block_store", Ordering::Release));
            // Ordering: Relaxed (edge op↔switch): comes before the slot's first count is stored.
            if !skip("slots_made") {
                self.slots_made.fetch_max(number.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            }
        }
        // SAFETY: by the invariant a block that is not null is good for ever.
        Some((slot, unsafe { &*block }))
    }

    /// Gives a slot back with the counts that are in it.
    pub(crate) fn give_back_slot(&self, slot: usize) {
        self.slots.lock().give_back(slot);
    }

    /// Shows `look` the cell of `id` in every slot that has one, as of the caller's heavy barrier.
    ///
    /// A cell that is missed belongs to an operation that passes its light barrier later (edge
    /// op↔switch): mark, block and chunk are all stored before the count.
    pub(crate) fn for_each_cell(&self, id: CssId, mut look: impl FnMut(&Cell)) {
        // Ordering: Relaxed (edge op↔switch), as all loads here that name no edge of their own.
        let words = (self.slots_made.load(Ordering::Relaxed) as usize).div_ceil(64);
        let Some(segment) = self.segment(id) else { return };
        for (word, mark) in segment.marks[..words].iter().enumerate() {
            let mut slots = mark.load(Ordering::Relaxed);
            while slots != 0 {
                let slot = word * 64 + slots.trailing_zeros() as usize;
                slots &= slots - 1;
                if let Some(cell) = self.block(slot).and_then(|block| block.cell(id)) {
                    look(cell);
                }
            }
        }
    }

    fn block(&self, slot: usize) -> Option<&'static Block> {
        // Ordering: Acquire (edge block): we see the block's chunk pointers.
        let block = self.blocks[slot].load(order("block_load", Ordering::Acquire));
        // SAFETY: by the invariant the pointer is null or good for ever.
        unsafe { block.as_ref::<'static>() }
    }

    fn make_header(&self, id: CssId) -> bool {
        if self.header(id).is_none() {
            let Some(segment) = Segment::allocate() else { return false };
            // Ordering: Relaxed: callers hold the id mutex, and hand the id out afterwards.
            self.segments[id.chunk()].store(segment, Ordering::Relaxed);
        }
        true
    }
}

impl<const N: usize> Stack<N> {
    fn take(&mut self) -> Option<usize> {
        if self.len > 0 {
            self.len -= 1;
            return Some(self.free[self.len].into());
        }
        let fresh = self.high_water;
        (fresh < N).then(|| {
            self.high_water += 1;
            fresh
        })
    }

    fn give_back(&mut self, number: usize) {
        self.free[self.len] = u16::try_from(number).expect("slots are numbered below 2^16");
        self.len += 1;
    }
}

/// Makes a value of all zeros that lives for ever, or null.
///
/// From the system allocator: the global one may be a controller's, and count through us.
///
/// # Safety
///
/// All bits zero must be a valid `T`.
#[cfg(not(loom))]
unsafe fn allocate_zeroed<T>() -> *mut T {
    let layout = Layout::new::<T>();
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the layout has a size, by the assertion.
    let made = unsafe { System.alloc_zeroed(layout) };
    if !made.is_null() && layout.size() >= LARGE {
        // SAFETY: just allocated, of that size, and all zeros.
        unsafe { give_up_pages(made, layout.size()) };
    }
    made.cast()
}

/// A value of this size, a block, has few pages that are ever used.
#[cfg(not(loom))]
const LARGE: usize = 1 << 16;

/// Makes memory of all zeros take no pages until it is written to.
///
/// What the allocator had back from others it has cleared, every page of it.
///
/// # Safety
///
/// The `size` bytes from `start` are the caller's alone, from the system allocator, and zero.
#[cfg(all(target_os = "linux", not(loom), not(fief_portable)))]
unsafe fn give_up_pages(start: *mut u8, size: usize) {
    use rustix::mm::{Advice, madvise};
    // The largest there are: to ask takes more than it gains.
    const PAGE: usize = if cfg!(target_arch = "x86_64") { 1 << 12 } else { 1 << 16 };
    let skipped = start.align_offset(PAGE);
    let whole = size.saturating_sub(skipped) / PAGE * PAGE;
    let first = start.wrapping_add(skipped).cast();
    // SAFETY: whole pages of the caller's; the allocator's are private and anonymous, which read as
    // zeros afterwards, as before. Refused, they stay as they are.
    unsafe { madvise(first, whole, Advice::LinuxDontNeed) }.ok();
}

#[cfg(all(any(not(target_os = "linux"), fief_portable), not(loom)))]
unsafe fn give_up_pages(_start: *mut u8, _size: usize) {}

macro_rules! allocate {
    ($type:ty, $loom:expr) => {
        impl $type {
            /// Makes one that lives for ever; `None` when memory is out.
            #[cfg(not(loom))]
            fn allocate() -> Option<*mut Self> {
                #[cfg(test)]
                if tests::is_out_of_memory() {
                    return None;
                }
                // SAFETY: by the type's invariant all zeros is valid.
                let made = unsafe { allocate_zeroed::<Self>() };
                (!made.is_null()).then_some(made)
            }

            #[cfg(loom)]
            fn allocate() -> Option<*mut Self> {
                Some(ptr::from_mut(Box::leak(Box::new($loom))))
            }
        }
    };
}

allocate!(Chunk, Self { cells: std::array::from_fn(|_| Cell::new()) });
allocate!(Segment, {
    let headers = std::array::from_fn(|_| Header::default());
    Self { headers, marks: std::array::from_fn(|_| AtomicU64::new(0)) }
});
allocate!(Block, Self::new());

#[cfg(not(loom))]
impl Block {
    /// Returns a block without chunks.
    pub(crate) const fn new() -> Self {
        let chunks = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];
        Self { chunks, slot: AtomicU32::new(0) }
    }
}

#[cfg(not(loom))]
impl Domain {
    /// Returns an empty domain.
    pub(crate) const fn new() -> Self {
        Self {
            segments: [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS],
            blocks: [const { AtomicPtr::new(ptr::null_mut()) }; SLOTS],
            slots_made: AtomicU32::new(0),
            slots: Mutex::new(Stack { free: [0; SLOTS], len: 0, high_water: 0 }),
            ids: Mutex::new(Ids { free: 0, last: 0 }),
        }
    }
}

#[cfg(loom)]
impl Cell {
    fn new() -> Self {
        Self { count: AtomicU64::new(0), accounted: AtomicU64::new(0) }
    }
}

#[cfg(loom)]
impl Block {
    fn new() -> Self {
        let chunks = std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut()));
        Self { chunks, slot: AtomicU32::new(0) }
    }
}

#[cfg(loom)]
impl Domain {
    pub(crate) fn new() -> Self {
        Self {
            segments: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            blocks: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            slots_made: AtomicU32::new(0),
            slots: Mutex::new(Stack { free: [0; SLOTS], len: 0, high_water: 0 }),
            ids: Mutex::new(Ids { free: 0, last: 0 }),
        }
    }
}

#[cfg(all(test, not(loom)))]
pub(crate) mod tests {
    use std::cell::Cell as StdCell;

    use super::*;
    use crate::{
        css::{
            header::Counting,
            refcount::{self, Want},
            switch,
        },
        sync::barrier::Barrier,
    };

    thread_local! {
        static OUT_OF_MEMORY: StdCell<bool> = const { StdCell::new(false) };
    }

    /// Returns whether the calling thread is to get no more headers, blocks and chunks.
    pub(super) fn is_out_of_memory() -> bool {
        OUT_OF_MEMORY.get()
    }

    /// Runs `test` with no memory for headers, blocks and chunks on the calling thread.
    pub(crate) fn without_memory<R>(test: impl FnOnce() -> R) -> R {
        OUT_OF_MEMORY.set(true);
        let result = test();
        OUT_OF_MEMORY.set(false);
        result
    }

    #[test]
    fn no_id_is_lost_when_headers_cannot_be_made() {
        let domain = Domain::new_for_test();
        let first: Vec<CssId> = domain.take_ids(CHUNK - 3).expect("one segment");
        // Two ids are left in the segment; four are wanted.
        assert_eq!(without_memory(|| domain.take_ids(4)), Err(Exhausted));
        let next = domain.take_ids(4).expect("memory again");
        assert_eq!(next[0].get(), first[CHUNK - 4].get() + 1, "those given back come first");
        let mut all: Vec<CssId> = first.into_iter().chain(next).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), CHUNK + 1);
    }

    #[test]
    fn no_slot_is_lost_when_a_block_cannot_be_made() {
        let domain = Domain::new_for_test();
        assert!(without_memory(|| domain.take_slot()).is_none());
        let (slot, _) = domain.take_slot().expect("memory again");
        assert_eq!(slot, 0);
    }

    #[test]
    fn a_thread_without_cells_counts_in_the_header() {
        let domain = Domain::new_for_test();
        let id = domain.take_ids(1).expect("memory")[0];
        let header = domain.header(id).expect("just taken");
        header.init(Counting::spread(Barrier::Auto.is_asymmetric()));
        let (_, block) = domain.take_slot().expect("memory");
        assert!(without_memory(|| domain.cell(block, id)).is_none());
        assert!(
            refcount::try_get_slow(None, header, Want::Online, || panic!("never exact"))
                .is_reference
        );
        // Dropped through a cell that came later.
        assert!(!refcount::put_slow(domain.cell(block, id), header));
        switch::kill(domain, &[(id, header)], |_| panic!("the base is counted"));
        assert!(refcount::put_slow(None, header));
    }

    #[test]
    fn ids_end_at_their_capacity_and_come_back() {
        let domain = Domain::new_for_test();
        domain.ids.lock().last = u32::try_from(IDS - 2).expect("below 2^24");
        let last = domain.take_ids(1).expect("one is left");
        assert_eq!(domain.take_ids(1), Err(Exhausted));
        domain.give_back_id(last[0]);
        assert_eq!(domain.take_ids(1), Ok(last));
    }

    #[test]
    fn slots_end_at_their_capacity_and_come_back() {
        let domain = Domain::new_for_test();
        let slots: Vec<usize> =
            (0..SLOTS).map(|_| domain.take_slot().expect("one of 4,096").0).collect();
        assert!(domain.take_slot().is_none());
        domain.give_back_slot(slots[7]);
        assert_eq!(domain.take_slot().map(|(slot, _)| slot), Some(7));
    }
}
