//! Figures of the whole process: what is attributed, and what is not.

use crate::{
    block::Gross,
    local::{self, BLOCKS, UNTAGGED},
    record::{ALL, ORPHAN},
};

/// What the allocator has seen, as of about one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AllocStats {
    /// Bytes in blocks that belong to a group, whether it has handles or not.
    pub attributed: u64,
    /// Bytes in tagged blocks that belong to none: whoever allocated them was in none.
    pub orphan: u64,
    /// Blocks smaller than the allocator's `MIN` that were ever allocated.
    pub untagged_allocated_blocks: u64,
    /// Bytes in them.
    pub untagged_allocated: u64,
    /// Blocks of those that were freed.
    pub untagged_freed_blocks: u64,
    /// Bytes in them.
    pub untagged_freed: u64,
    /// Groups with a handle.
    pub groups: usize,
    /// Records that were ever made, 128 bytes each: they are used again, and never given back.
    pub records: usize,
    /// Places to count in that were ever made for threads, 2 KiB each: they are used again, too.
    pub threads: usize,
}

impl AllocStats {
    /// Returns the bytes in blocks without a trailer: figures of about one moment, not below 0.
    #[must_use]
    pub fn untagged(&self) -> u64 {
        self.untagged_allocated.saturating_sub(self.untagged_freed)
    }
}

/// Returns the figures.
///
/// Exact if nobody allocates or frees meanwhile. Takes no lock; costs some loads for each record and thread,
/// and waits as [`Ambient::live`](crate::Ambient::live) does.
#[must_use]
pub fn stats() -> AllocStats {
    let mut stats = AllocStats { orphan: BLOCKS.totals(&ORPHAN).live(), ..AllocStats::default() };
    for record in ALL.iter() {
        stats.attributed += BLOCKS.totals(record).live();
        stats.groups += usize::from(record.is_held());
        stats.records += 1;
    }
    for untagged in BLOCKS.iter().map(|block| block.untagged()).chain([&UNTAGGED]) {
        // The frees first, so that there are not more of them.
        add(&untagged.freed, &mut stats.untagged_freed_blocks, &mut stats.untagged_freed);
        let allocated = &mut stats.untagged_allocated;
        add(&untagged.allocated, &mut stats.untagged_allocated_blocks, allocated);
    }
    stats.threads = BLOCKS.iter().count();
    stats
}

fn add(gross: &Gross, blocks: &mut u64, bytes: &mut u64) {
    let more = gross.read();
    *blocks = blocks.wrapping_add(more.0);
    *bytes = bytes.wrapping_add(more.1);
}

/// Returns whether a [`GroupAlloc`](crate::GroupAlloc) is this process's global allocator.
///
/// A crate that sets one, and is then not linked, leaves the system's in place without a word; so ask
/// once, where figures matter. Allocates and frees a few bytes.
#[must_use]
pub fn is_installed() -> bool {
    local::is_installed()
}
