//! `GroupAlloc`: the allocator, and the trailer that says whose a block is.
//!
//! A block of `MIN` bytes or more is asked for with room for one pointer behind it, the *trailer*:
//! the record of the group that was current on the allocating thread. So a free finds the right
//! owner on any thread and in any scope, and nothing is ever guessed. The trailer stands behind the
//! user's bytes, at no particular alignment: the block's own alignment stays as asked, and so does
//! the block's address.
//!
//! | | tagged before | not tagged before |
//! |---|---|---|
//! | `realloc` to `MIN` or more | stays its owner's; the trailer is written anew behind the new end | becomes the current group's |
//! | `realloc` to less | its owner's no more | stays untagged |
//!
//! # What the hook never does
//!
//! It takes no lock, blocks on nothing, logs nothing, allocates nothing through itself, and cannot
//! panic or unwind: its arithmetic wraps or is checked, its one index is masked. A request whose
//! trailer would not fit below `isize::MAX` gets null, as the allocator below would answer.
//!
//! # Tests
//!
//! `tests/sizes.rs`, `tests/chaos.rs`.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fmt, ptr,
};

use crate::{local, record::Record};

/// A global allocator that attributes blocks of `MIN` bytes and more to the group that is current.
///
/// ```
/// use fief_alloc::GroupAlloc;
///
/// #[global_allocator]
/// static ALLOCATOR: GroupAlloc = GroupAlloc::new();
///
/// assert!(fief_alloc::is_installed());
/// ```
///
/// `A` serves the memory: [`System`] unless another is named, as in
/// `GroupAlloc::<Other>::wrapping(Other)`. `MIN` is 1,024 bytes by default; with 0 or 1 every block is
/// tagged. Smaller blocks are only counted in sum, see [`stats`](crate::stats). A tagged block takes
/// one pointer more, which lifts a power of two into its allocator's next size class; that is what
/// `MIN` is for.
///
/// # Concurrency
///
/// Allocating and freeing add to a word of the calling thread. Once in 64 KiB of a group, or when two
/// groups' records fall into the same of a thread's 64 places, that word is added to the group's record by
/// atomic adds: lock-free. A thread's first block takes a place to count in, 2 KiB from the system
/// allocator, and registers a thread-local destructor. It may be called in a signal handler wherever `A`
/// may.
pub struct GroupAlloc<A = System, const MIN: usize = 1024> {
    inner: A,
}

impl GroupAlloc {
    /// Returns the allocator above [`System`], with the default `MIN`.
    #[must_use]
    pub const fn new() -> Self {
        Self { inner: System }
    }
}

impl<A, const MIN: usize> GroupAlloc<A, MIN> {
    /// Returns the allocator above `inner`.
    #[must_use]
    pub const fn wrapping(inner: A) -> Self {
        Self { inner }
    }
}

impl Default for GroupAlloc {
    fn default() -> Self {
        Self::new()
    }
}

impl<A, const MIN: usize> fmt::Debug for GroupAlloc<A, MIN> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupAlloc").field("min", &MIN).finish_non_exhaustive()
    }
}

/// What stands behind a tagged block: its owner.
type Trailer = &'static Record;

const TRAILER: usize = size_of::<Trailer>();

/// Returns the layout of `size` bytes and a trailer behind them, if there can be such a block.
#[inline(always)]
fn with_trailer(size: usize, align: usize) -> Option<Layout> {
    // A valid layout has at most this many bytes.
    let most = (isize::MAX.cast_unsigned() + 1).wrapping_sub(align);
    if size > most.wrapping_sub(TRAILER) || most < TRAILER {
        return None;
    }
    // SAFETY: `align` is of a layout, so a power of two; `size + TRAILER`, rounded up to it, does not
    // exceed `isize::MAX`, as checked.
    Some(unsafe { Layout::from_size_align_unchecked(size + TRAILER, align) })
}

/// Writes the owner behind a block.
///
/// # Safety
///
/// `block` is good for writes of `size` and a trailer's bytes.
#[inline(always)]
unsafe fn tag(block: *mut u8, size: usize, owner: Trailer) {
    // SAFETY: by this function's contract; no alignment is asked for.
    unsafe { block.wrapping_add(size).cast::<Trailer>().write_unaligned(owner) }
}

/// Reads the owner behind a block.
///
/// # Safety
///
/// `block` was tagged with `size`, and nobody has written behind its `size` bytes since.
#[inline(always)]
unsafe fn owner(block: *mut u8, size: usize) -> Trailer {
    // SAFETY: by this function's contract the trailer is as `tag` wrote it.
    unsafe { block.wrapping_add(size).cast::<Trailer>().read_unaligned() }
}

impl<A: GlobalAlloc, const MIN: usize> GroupAlloc<A, MIN> {
    /// Allocates through `get`: a tagged block if it is large enough.
    ///
    /// # Safety
    ///
    /// `get` returns null or a block of the layout it is given.
    #[inline(always)]
    unsafe fn obtain(&self, layout: Layout, get: impl FnOnce(Layout) -> *mut u8) -> *mut u8 {
        let size = layout.size();
        if size < MIN {
            let block = get(layout);
            if !block.is_null() && !local::try_allocated_untagged(size) {
                local::allocated_untagged(size);
            }
            return block;
        }
        let Some(whole) = with_trailer(size, layout.align()) else { return ptr::null_mut() };
        let block = get(whole);
        if !block.is_null() {
            let current = local::current();
            // SAFETY: a block of `whole`.
            unsafe { tag(block, size, current) };
            if !local::try_allocated(current, size) {
                local::allocated(current, size);
            }
        }
        block
    }

    /// Gives a block back after counting it in a function call; apart, so that the quick way has none.
    ///
    /// # Safety
    ///
    /// That of [`GlobalAlloc::dealloc`] of the inner allocator.
    #[cold]
    #[inline(never)]
    unsafe fn free_slowly(&self, block: *mut u8, layout: Layout, count: impl FnOnce()) {
        count();
        // SAFETY: the caller's promise.
        unsafe { self.inner.dealloc(block, layout) }
    }

    /// Resizes a tagged block.
    ///
    /// # Safety
    ///
    /// That of [`GlobalAlloc::realloc`], and `layout` is of `MIN` bytes or more.
    #[inline]
    unsafe fn resize_tagged(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // Both are layouts: the block exists; the new size's is asked for below only if there is one.
        let Some(whole) = with_trailer(size, align) else { return ptr::null_mut() };
        let new_whole = if new_size < MIN {
            new_size
        } else {
            let Some(new_whole) = with_trailer(new_size, align) else { return ptr::null_mut() };
            new_whole.size()
        };
        // SAFETY: a block of `MIN` bytes or more was tagged when it got its size.
        let owner = unsafe { owner(block, size) };
        // SAFETY: `whole` is what the block was allocated with; `new_whole` has a layout with this
        // alignment, by the check above or by the caller's promise, and is not zero.
        let resized = unsafe { self.inner.realloc(block, whole, new_whole) };
        if resized.is_null() {
            return resized; // nothing has changed, the trailer included
        }
        if new_size < MIN {
            local::freed(owner, size);
            local::allocated_untagged(new_size);
        } else {
            // SAFETY: the block has `new_size` bytes and a trailer's.
            unsafe { tag(resized, new_size, owner) };
            // The new size first: whoever sees the old one go must see what it lives on in.
            local::allocated(owner, new_size);
            local::freed(owner, size);
        }
        resized
    }

    /// Resizes a block that is not tagged.
    ///
    /// # Safety
    ///
    /// That of [`GlobalAlloc::realloc`], and `layout` is of less than `MIN` bytes.
    #[inline]
    unsafe fn resize_untagged(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let new_whole = if new_size < MIN {
            new_size
        } else {
            let Some(whole) = with_trailer(new_size, layout.align()) else {
                return ptr::null_mut();
            };
            whole.size()
        };
        // SAFETY: the caller's promise, with a size that has a layout by the check above.
        let resized = unsafe { self.inner.realloc(block, layout, new_whole) };
        if resized.is_null() {
            return resized;
        }
        if new_size < MIN {
            local::allocated_untagged(new_size);
        } else {
            let current = local::current();
            // SAFETY: the block has `new_size` bytes and a trailer's.
            unsafe { tag(resized, new_size, current) };
            local::allocated(current, new_size);
        }
        local::freed_untagged(layout.size());
        resized
    }
}

// SAFETY: every block is one of the inner allocator's, of the layout asked for or of one that is
// longer by a trailer; which of them it is follows from its size alone, so it is given back with the
// layout it was allocated with. Nothing here unwinds.
unsafe impl<A: GlobalAlloc, const MIN: usize> GlobalAlloc for GroupAlloc<A, MIN> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let get = |layout| {
            // SAFETY: the caller's promise: the size is not zero.
            unsafe { self.inner.alloc(layout) }
        };
        // SAFETY: `get` is an allocator's.
        unsafe { self.obtain(layout, get) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let get = |layout| {
            // SAFETY: the caller's promise: the size is not zero.
            unsafe { self.inner.alloc_zeroed(layout) }
        };
        // SAFETY: `get` is an allocator's.
        unsafe { self.obtain(layout, get) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let size = layout.size();
        if size < MIN {
            if !local::try_freed_untagged(size) {
                // SAFETY: the caller's promise.
                return unsafe { self.free_slowly(block, layout, || local::freed_untagged(size)) };
            }
            // SAFETY: the caller's promise.
            return unsafe { self.inner.dealloc(block, layout) };
        }
        // SAFETY: a block of `MIN` bytes or more was tagged when it got its size.
        let owner = unsafe { owner(block, size) };
        // SAFETY: the size with a trailer has a layout, as it had when the block was allocated.
        let whole = unsafe { Layout::from_size_align_unchecked(size + TRAILER, layout.align()) };
        if !local::try_freed(owner, size) {
            // SAFETY: what the block was allocated with.
            return unsafe { self.free_slowly(block, whole, || local::freed(owner, size)) };
        }
        // SAFETY: what the block was allocated with.
        unsafe { self.inner.dealloc(block, whole) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if layout.size() < MIN {
            // SAFETY: the caller's promise.
            unsafe { self.resize_untagged(block, layout, new_size) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.resize_tagged(block, layout, new_size) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailer_is_refused_where_it_does_not_fit() {
        for shift in 0..isize::BITS - 1 {
            let align = 1_usize << shift;
            let most = isize::MAX.cast_unsigned() + 1 - align;
            let Some(last) = most.checked_sub(TRAILER) else {
                assert_eq!(with_trailer(0, align), None);
                continue;
            };
            for size in [0, 1, last - last.min(1), last] {
                let expected = Layout::from_size_align(size + TRAILER, align).ok();
                assert!(expected.is_some());
                assert_eq!(with_trailer(size, align), expected);
            }
            for size in [last + 1, most, usize::MAX] {
                assert_eq!(with_trailer(size, align), None, "{size} {align}");
            }
        }
    }
}
