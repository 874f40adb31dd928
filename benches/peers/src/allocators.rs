//! Allocators called directly: 64 bytes allocated and freed, none of them the process's own.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
};

use benches::pair::Pair;
use cap::Cap;
use fief_alloc::{Ambient, GroupAlloc, RecordError};

use crate::pools::{BYTES, FAR};

/// The block that is allocated.
const BLOCK: Layout = Layout::new::<[u8; BYTES]>();

/// An allocator.
#[derive(Debug)]
pub struct Allocator<A>(pub A);

/// Returns `cap` around the system's allocator.
#[must_use]
pub fn capped() -> Allocator<Cap<System>> {
    Allocator(Cap::new(System, FAR))
}

/// Returns fief's allocator around the system's; blocks of `MIN` bytes on are attributed.
///
/// # Errors
///
/// If there is no place for a group to attribute to.
pub fn attributing<const MIN: usize>() -> Result<Attributing<MIN>, RecordError> {
    Ok(Attributing { ambient: Ambient::new()?, allocator: Allocator(GroupAlloc::wrapping(System)) })
}

/// fief's allocator, and the group that its blocks belong to.
#[derive(Debug)]
pub struct Attributing<const MIN: usize> {
    ambient: Ambient,
    allocator: Allocator<GroupAlloc<System, MIN>>,
}

impl<const MIN: usize> Pair for Attributing<MIN> {
    fn run(&self, pairs: u64) {
        self.ambient.run(|| self.allocator.run(pairs));
    }
}

impl<A: GlobalAlloc + Sync> Pair for Allocator<A> {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            // SAFETY: the block has a size.
            let block = black_box(unsafe { self.0.alloc(black_box(BLOCK)) });
            assert!(!block.is_null(), "the limit is far");
            // SAFETY: allocated above, by the same allocator and with the same layout.
            unsafe { self.0.dealloc(block, black_box(BLOCK)) };
        }
    }
}
