//! The highest usage since somebody asked: each reader has a beginning of its own.
//!
//! All readers of a group share one word, the highest usage since the last of them began anew. Who begins
//! anew hands what the word says to the others, and starts the word again. So a charge compares its usage
//! with one word, whatever the number of readers; while none has begun anew the word is above every usage.
//!
//! 1. A charge changes the counter, passes the light barrier, and raises the word if that is lower.
//! 2. Who begins anew, under the lock of the readers, takes the word and makes it 0, passes the heavy
//!    barrier, and raises the word to the usage that it finds.
//!
//! # Orderings
//!
//! Edge `charge↔reset`, Dekker's argument. If the light barrier comes first, the usage that the reset finds has
//! the charge, unless that is given back by then and so is not of its time. If the heavy one comes first,
//! the charge sees the word at 0 or what others have raised it to since.
//!
//! A charge that overlaps with a reset may count as after it.
//!
//! After what `memory.peak` does in Linux for each open file; not its code.
//!
//! # Tests
//!
//! `tests/loom_peak.rs`; `tests/peak.rs`.

#[cfg(not(loom))]
mod reader;

#[cfg(not(loom))]
pub use self::reader::PeakReader;
use crate::{
    pocket::heavy_for,
    sync::{Arc, AtomicU64, Mutex, Ordering, skip},
};

/// What charges tell to the readers of one group.
#[derive(Debug)]
pub(crate) struct Peaks {
    /// The highest usage since the last reset; [`NOBODY`] while nobody asks.
    since: AtomicU64,
}

/// For each reader that has begun anew, the highest usage from then to the last reset of another.
#[derive(Debug, Default)]
pub(crate) struct Readers(Mutex<Vec<Arc<AtomicU64>>>);

const NOBODY: u64 = u64::MAX;

impl Peaks {
    pub(crate) fn new() -> Self {
        Self { since: AtomicU64::new(NOBODY) }
    }

    /// Sees that a charge made the usage `usage`; the light barrier came between.
    pub(crate) fn note(&self, usage: u64) {
        // Ordering: Relaxed (edge charge↔reset): ordered after the charge by the barrier.
        if usage > self.since.load(Ordering::Relaxed) {
            self.since.fetch_max(usage, Ordering::Relaxed);
        }
    }

    /// Begins anew for `reader`; `usage` finds how much is in use, `key` says which barrier.
    pub(crate) fn reset(
        &self,
        readers: &Readers,
        reader: &Arc<AtomicU64>,
        key: u64,
        usage: impl FnOnce() -> u64,
    ) {
        let mut readers = readers.0.lock();
        // Ordering: Relaxed (edge charge↔reset): ordered before the look at the usage by the barrier.
        let before = self.since.swap(0, Ordering::Relaxed);
        if !skip("peak_reset_barrier") {
            heavy_for(key);
        }
        // Ordering: Relaxed, here and below: what readers share is under the lock.
        self.since.fetch_max(usage(), Ordering::Relaxed);
        if before == NOBODY {
            readers.push(Arc::clone(reader));
            return;
        }
        for other in readers.iter().filter(|_| !skip("peak_handed_on")) {
            other.fetch_max(before, Ordering::Relaxed);
        }
        if !readers.iter().any(|other| Arc::ptr_eq(other, reader)) {
            readers.push(Arc::clone(reader));
        }
        reader.store(0, Ordering::Relaxed);
    }

    /// Returns the highest usage since `reader` began anew.
    pub(crate) fn read(&self, readers: &Readers, reader: &AtomicU64) -> u64 {
        let _readers = readers.0.lock();
        // Ordering: Relaxed, both: under the lock.
        reader.load(Ordering::Relaxed).max(self.since.load(Ordering::Relaxed))
    }

    /// Forgets a reader.
    pub(crate) fn leave(&self, readers: &Readers, reader: &Arc<AtomicU64>) {
        let mut readers = readers.0.lock();
        readers.retain(|other| !Arc::ptr_eq(other, reader));
        if readers.is_empty() {
            // Ordering: Relaxed: nobody looks at it.
            self.since.store(NOBODY, Ordering::Relaxed);
        }
    }
}
