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
//! Edge `slot`: the slot mutex passes a cell from owner to owner, and makes a slot taken after a
//! kill looked at the slots see that kill. Edge `chunk`: a block's chunk is published with Release
//! by the slot's owner and read with Acquire by whoever captures.
//!
//! # Tests
//!
//! `tests/loom_slots.rs`.

#[cfg(not(loom))]
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

use crate::{
    css::refcount::Header,
    sync::{AtomicPtr, AtomicU64, Mutex, Ordering, order},
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
}

/// # Invariants
///
/// All bits zero is a valid value of this type and of every type it holds.
#[derive(Debug)]
struct Segment {
    headers: [Header; CHUNK],
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
    slots: Mutex<Stack<SLOTS>>,
    ids: Mutex<Ids>,
}

/// Memory for a header, a block or a chunk could not be had, or every id is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

/// Numbers below `N` that were taken before and are free, latest on top.
#[derive(Debug)]
struct Stack<const N: usize> {
    free: [u16; N],
    len: usize,
    /// Numbers below this were taken at least once.
    high_water: usize,
}

#[derive(Debug)]
struct Ids {
    free: Vec<u32>,
    last: u32,
}

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

    /// Returns the cell for `id`, making its chunk if need be; `None` when memory is out.
    ///
    /// Called by the owner of the slot only.
    pub(crate) fn cell_or_make(&self, id: CssId) -> Option<&Cell> {
        if self.cell(id).is_none() {
            let chunk = Chunk::allocate()?;
            // INVARIANT: 1 because `allocate` gives a value that lives for ever.
            // Ordering: Release (edge chunk): whoever sees the pointer sees zeroed cells.
            self.chunks[id.chunk()].store(chunk, order("chunk_store", Ordering::Release));
        }
        self.cell(id)
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
    pub(crate) fn header(&self, id: CssId) -> Option<&'static Header> {
        // Ordering: Relaxed: made before the id was first handed out, and whoever has an id was
        // handed it.
        let segment = self.segments[id.chunk()].load(Ordering::Relaxed);
        // SAFETY: by the invariant the pointer is null or good for ever.
        let segment = unsafe { segment.as_ref::<'static>() }?;
        Some(&segment.headers[id.offset()])
    }

    /// Takes `count` ids whose headers exist, next to each other where that is possible.
    pub(crate) fn take_ids(&self, count: usize) -> Result<Vec<CssId>, Exhausted> {
        let mut ids = self.ids.lock();
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            match ids.take().filter(|id| self.make_header(*id)) {
                Some(id) => taken.push(id),
                None => {
                    ids.free.extend(taken.iter().rev().map(|id| id.0));
                    return Err(Exhausted);
                }
            }
        }
        Ok(taken)
    }

    /// Gives an id back, a grace period after the css that had it was released.
    pub(crate) fn give_back_id(&self, id: CssId) {
        self.ids.lock().free.push(id.0);
    }

    /// Yields an id of every chunk that holds one in use, or once did.
    #[cfg(not(loom))]
    pub(crate) fn ids_in_use(&self) -> impl Iterator<Item = CssId> {
        let last = self.ids.lock().last;
        (0..=last).step_by(CHUNK).map(CssId)
    }

    /// Takes a slot for the calling thread; `None` when all are taken or memory is out.
    pub(crate) fn take_slot(&self) -> Option<(usize, &'static Block)> {
        let mut slots = self.slots.lock();
        let slot = slots.take()?;
        // Ordering: Relaxed (edge slot): written and read under the slot mutex.
        let mut block = self.blocks[slot].load(Ordering::Relaxed);
        if block.is_null() {
            let Some(new) = Block::allocate() else {
                slots.give_back(slot);
                return None;
            };
            block = new;
            // Ordering: Relaxed (edge slot): as above.
            self.blocks[slot].store(block, Ordering::Relaxed);
        }
        // SAFETY: by the invariant a block that is not null is good for ever.
        Some((slot, unsafe { &*block }))
    }

    /// Gives a slot back with the counts that are in it.
    pub(crate) fn give_back_slot(&self, slot: usize) {
        self.slots.lock().give_back(slot);
    }

    /// Returns how many slots were ever taken at one time: what a kill has to look at.
    pub(crate) fn slots_high_water(&self) -> usize {
        self.slots.lock().high_water
    }

    /// Yields every block that a thread may have counted in, as of this call.
    ///
    /// A slot taken later belongs to a thread that sees what the caller did before (edge `slot`).
    pub(crate) fn blocks(&self) -> impl Iterator<Item = &'static Block> + Clone {
        let count = if crate::sync::skip("slot_high_water") { 0 } else { self.slots_high_water() };
        self.blocks[..count].iter().filter_map(|block| {
            // Ordering: Relaxed (edge slot): `slots_high_water` locked the mutex under which every
            // block below the mark was stored.
            // SAFETY: by the invariant the pointer is null or good for ever.
            unsafe { block.load(Ordering::Relaxed).as_ref::<'static>() }
        })
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

impl Ids {
    fn take(&mut self) -> Option<CssId> {
        let id = self.free.pop().or_else(|| {
            let fresh = self.last + 1;
            ((fresh as usize) < IDS).then(|| {
                self.last = fresh;
                fresh
            })
        })?;
        Some(CssId(id))
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
    unsafe { System.alloc_zeroed(layout) }.cast()
}

macro_rules! allocate {
    ($type:ty, $loom:expr) => {
        impl $type {
            /// Makes one that lives for ever; `None` when memory is out.
            #[cfg(not(loom))]
            fn allocate() -> Option<*mut Self> {
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
allocate!(Segment, Self { headers: std::array::from_fn(|_| Header::default()) });
allocate!(Block, Self::new());

#[cfg(not(loom))]
impl Block {
    /// Returns a block without chunks.
    pub(crate) const fn new() -> Self {
        Self { chunks: [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS] }
    }
}

#[cfg(not(loom))]
impl Domain {
    /// Returns an empty domain.
    pub(crate) const fn new() -> Self {
        Self {
            segments: [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS],
            blocks: [const { AtomicPtr::new(ptr::null_mut()) }; SLOTS],
            slots: Mutex::new(Stack { free: [0; SLOTS], len: 0, high_water: 0 }),
            ids: Mutex::new(Ids { free: Vec::new(), last: 0 }),
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
        Self { chunks: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())) }
    }
}

#[cfg(loom)]
impl Domain {
    pub(crate) fn new() -> Self {
        Self {
            segments: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            blocks: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            slots: Mutex::new(Stack { free: [0; SLOTS], len: 0, high_water: 0 }),
            ids: Mutex::new(Ids { free: Vec::new(), last: 0 }),
        }
    }
}
