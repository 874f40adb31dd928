//! What a thread has: the group it is in, and the block it counts in.
//!
//! Both are words without a destructor, so that the allocator reaches them at any time, in the
//! destructors of other thread-locals too. A thread takes a block when it first counts; a thread-local
//! of its own, [`Leaver`], gives it back, and from then on the thread counts in the records.
//!
//! While a thread counts it has *taken* the block out of its word, which says null then. So a
//! signal handler that allocates in the middle finds none, as does an allocation that comes from making
//! the block, and counts in the record: nothing is lost, and nothing waits.
//!
//! # Tests
//!
//! `tests/threads.rs`, `tests/signal.rs`, `tests/fork.rs`.

use std::{hint, ptr};

use crate::{
    block::{Block, Blocks, Untagged},
    record::{ORPHAN, Record},
    sync::{AtomicPtr, AtomicU8, Ordering, compiler_fence},
};

/// Every thread's block.
pub(crate) static BLOCKS: Blocks = Blocks::new();

/// What threads without a block counted of blocks of memory without a trailer.
pub(crate) static UNTAGGED: Untagged = Untagged::new();

/// What a thread has; for itself and for signal handlers that interrupt it.
///
/// # Invariants
///
/// `block` is null or points to a block that lives for ever, `current` to a record that does.
#[derive(Debug)]
struct Local {
    /// What it counts in; null while it does, and when it has none.
    block: AtomicPtr<Block>,
    current: AtomicPtr<Record>,
    /// A [`Stage`].
    stage: AtomicU8,
}

/// How far a thread is, for when its word says null.
///
/// As numbers: `FRESH` has not counted yet, `JOINING` is about to take a block, `COUNTING` has one,
/// `GONE` had one or can have none. `PROBING` asks whether the allocator comes by, `PROBED` knows.
struct Stage;

impl Stage {
    const FRESH: u8 = 0;
    const JOINING: u8 = 1;
    const COUNTING: u8 = 2;
    const GONE: u8 = 3;
    const PROBING: u8 = 4;
    const PROBED: u8 = 5;
}

/// Gives the thread's block back when the thread ends.
#[derive(Debug)]
struct Leaver;

thread_local! {
    static LOCAL: Local = const { Local::new() };
    static LEAVER: Leaver = const { Leaver };
}

impl Local {
    const fn new() -> Self {
        Self {
            block: AtomicPtr::new(ptr::null_mut()),
            current: AtomicPtr::new((&raw const ORPHAN).cast_mut()),
            stage: AtomicU8::new(Stage::FRESH),
        }
    }

    // Ordering: Relaxed, all here: one thread and its signal handlers; the fences are for those.

    /// Takes the block out, if it is there.
    #[inline(always)]
    fn take(&self) -> Option<&'static Block> {
        let block = self.block.load(Ordering::Relaxed);
        // SAFETY: the type's invariant.
        let block = unsafe { block.as_ref::<'static>() }?;
        self.block.store(ptr::null_mut(), Ordering::Relaxed);
        // What follows is done with the block out.
        compiler_fence(Ordering::SeqCst);
        Some(block)
    }

    /// Puts the block back.
    #[inline(always)]
    fn put_back(&self, block: &'static Block) {
        compiler_fence(Ordering::SeqCst);
        // INVARIANT: a `&'static Block`.
        self.block.store(ptr::from_ref(block).cast_mut(), Ordering::Relaxed);
    }

    /// Returns a block for a thread that has just begun; `None` if it is to count elsewhere.
    fn take_first(&self) -> Option<&'static Block> {
        match self.stage.load(Ordering::Relaxed) {
            Stage::FRESH => self.join(),
            Stage::PROBING => {
                self.stage.store(Stage::PROBED, Ordering::Relaxed);
                None
            }
            _ => None,
        }
    }

    /// Takes a block for the thread. What this allocates is counted in records.
    fn join(&self) -> Option<&'static Block> {
        self.stage.store(Stage::JOINING, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        // Registers the destructor. The thread may be past its destructors: then it has none.
        if LEAVER.try_with(|_| ()).is_err() {
            self.stage.store(Stage::GONE, Ordering::Relaxed);
            return None;
        }
        let block = BLOCKS.take();
        compiler_fence(Ordering::SeqCst);
        // Without memory it asks again at its next count.
        let stage = if block.is_some() { Stage::COUNTING } else { Stage::FRESH };
        self.stage.store(stage, Ordering::Relaxed);
        block
    }

    fn leave(&self) {
        self.stage.store(Stage::GONE, Ordering::Relaxed);
        if let Some(block) = self.take() {
            BLOCKS.leave(block);
        }
    }
}

impl Drop for Leaver {
    fn drop(&mut self) {
        LOCAL.with(Local::leave);
    }
}

// The quick half of each pair is inlined into the allocator and calls nothing, so that no registers are
// saved for it. `LocalKey::with` is inlined around as little as this.

/// Counts in the thread's block, if it is there, by a step that may refuse.
#[inline(always)]
fn quickly(step: impl FnOnce(&Block) -> bool) -> bool {
    let Some(block) = LOCAL.with(Local::take) else { return false };
    let is_done = step(block);
    LOCAL.with(|local| local.put_back(block));
    is_done
}

/// Counts in the thread's block, or elsewhere if it is to have none.
fn count(in_block: impl FnOnce(&Block), elsewhere: impl FnOnce()) {
    LOCAL.with(|local| match local.take().or_else(|| local.take_first()) {
        Some(block) => {
            in_block(block);
            local.put_back(block);
        }
        None => elsewhere(),
    });
}

/// Counts a block allocated for a record; returns false, and counts nothing, where that is not done quickly.
#[inline(always)]
pub(crate) fn try_allocated(record: &'static Record, size: usize) -> bool {
    quickly(|block| block.try_allocated(record, size as u64))
}

/// Counts a block allocated for a record.
#[cold]
#[inline(never)]
pub(crate) fn allocated(record: &'static Record, size: usize) {
    count(|block| block.allocated(record, size as u64), || record.add(size as u64, 0));
}

/// Counts a block freed for a record; returns false, and counts nothing, where that is not done quickly.
#[inline(always)]
pub(crate) fn try_freed(record: &'static Record, size: usize) -> bool {
    quickly(|block| block.try_freed(record, size as u64))
}

/// Counts a block freed for a record.
#[cold]
#[inline(never)]
pub(crate) fn freed(record: &'static Record, size: usize) {
    count(|block| block.freed(record, size as u64), || record.add(0, size as u64));
}

/// Counts a block allocated without a trailer; returns false, and counts nothing, where that is not
/// done quickly.
#[inline(always)]
pub(crate) fn try_allocated_untagged(size: usize) -> bool {
    quickly(|block| block.untagged().allocated.add_own(size as u64))
}

/// Counts a block allocated without a trailer.
#[cold]
#[inline(never)]
pub(crate) fn allocated_untagged(size: usize) {
    let count_own = |block: &Block| {
        block.untagged().allocated.add_own(size as u64);
    };
    count(count_own, || UNTAGGED.allocated.add(size as u64));
}

/// Counts a block freed without a trailer; returns false, and counts nothing, where that is not done
/// quickly.
#[inline(always)]
pub(crate) fn try_freed_untagged(size: usize) -> bool {
    quickly(|block| block.untagged().freed.add_own(size as u64))
}

/// Counts a block freed without a trailer.
#[cold]
#[inline(never)]
pub(crate) fn freed_untagged(size: usize) {
    let count_own = |block: &Block| {
        block.untagged().freed.add_own(size as u64);
    };
    count(count_own, || UNTAGGED.freed.add(size as u64));
}

/// Returns the record of the group that the thread is in.
#[inline(always)]
pub(crate) fn current() -> &'static Record {
    // The bare pointer: `with` would look whether a reference is null. Ordering: Relaxed: as above.
    let current = LOCAL.with(|local| local.current.load(Ordering::Relaxed));
    // SAFETY: the type's invariant.
    unsafe { &*current }
}

/// Has the thread be in another group; returns the record of the one it was in.
#[inline(always)]
pub(crate) fn replace(record: &'static Record) -> &'static Record {
    let before = current();
    // INVARIANT: a `&'static Record`. Ordering: Relaxed: as above.
    LOCAL.with(|local| local.current.store(ptr::from_ref(record).cast_mut(), Ordering::Relaxed));
    before
}

/// Returns whether the thread counts: who asks is a signal handler then, and has interrupted it.
pub(crate) fn is_counting() -> bool {
    LOCAL.with(|local| {
        // Ordering: Relaxed, twice: as above.
        let is_out = local.block.load(Ordering::Relaxed).is_null();
        is_out && local.stage.load(Ordering::Relaxed) == Stage::COUNTING
    })
}

/// Returns whether an allocation on this thread comes by here.
pub(crate) fn is_installed() -> bool {
    LOCAL.with(|local| {
        let block = local.take();
        let stage = local.stage.swap(Stage::PROBING, Ordering::Relaxed);
        drop(hint::black_box(Box::new(hint::black_box(0_u64))));
        let is_seen = local.stage.swap(stage, Ordering::Relaxed) == Stage::PROBED;
        if let Some(block) = block {
            local.put_back(block);
        }
        is_seen
    })
}
