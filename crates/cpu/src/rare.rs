//! What most groups never need: counts of rare events, the histogram of long polls, pressure.
//!
//! Made when it is first needed. An event is counted at its group and at all above it, at once: it is rare, so
//! that costs nothing that matters, and no group that goes takes counts along.

use std::fmt;

use crate::{
    foreign::Pressure,
    leaf::Leaf,
    polls::Record,
    sync::{AtomicU64, Mutex, OnceLock, Ordering},
};

/// What happens rarely.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A poll took long.
    LongPoll,
    /// A slice was run out of turn.
    Rescue,
}

const KINDS: usize = 2;

/// What most groups never need.
#[derive(Default)]
pub(crate) struct Rare {
    /// By kind: here, and here and below.
    counts: [[AtomicU64; 2]; KINDS],
    /// The long polls of the group and all below it.
    pub(crate) polls: Mutex<Option<Box<Record>>>,
    /// Used under the scheduler's lock alone.
    pub(crate) pressure: OnceLock<Box<Pressure>>,
}

impl Leaf {
    pub(crate) fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    /// Counts an event, here and above.
    pub(crate) fn note(&self, kind: Kind) {
        for (above, level) in self.levels().enumerate() {
            let [own, total] = &level.rare().counts[kind as usize];
            // Ordering: Relaxed: counts.
            total.fetch_add(1, Ordering::Relaxed);
            if above == 0 {
                own.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Returns how often something happened here, and here and below.
    pub(crate) fn count(&self, kind: Kind) -> [u64; 2] {
        let Some(rare) = self.rare.get() else { return [0; 2] };
        let [own, total] = &rare.counts[kind as usize];
        // Ordering: Relaxed: counts; each is of some moment.
        let own = own.load(Ordering::Relaxed);
        [own, total.load(Ordering::Relaxed).max(own)]
    }
}

impl fmt::Debug for Rare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rare").field("counts", &self.counts).finish_non_exhaustive()
    }
}
