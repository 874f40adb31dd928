//! The kernel's `page_counter` in its plainest form: one atomic add a level, then a look at the limit.

use std::{
    hint::black_box,
    sync::atomic::{AtomicUsize, Ordering},
};

use benches::pair::Pair;

use crate::pools::{BYTES, FAR};

/// Counters from a group to its root, a cache line or two each.
#[derive(Debug)]
pub struct Walk(Vec<Level>);

#[derive(Debug)]
#[repr(align(128))]
struct Level {
    usage: AtomicUsize,
    max: usize,
}

impl Walk {
    /// Makes a chain of so many levels.
    #[must_use]
    pub fn new(levels: usize) -> Self {
        Self((0..levels).map(|_| Level { usage: AtomicUsize::new(0), max: FAR }).collect())
    }

    fn try_charge(&self, bytes: usize) -> bool {
        for (charged, level) in self.0.iter().enumerate() {
            // Ordering: Relaxed: a figure that guards nothing else.
            let before = level.usage.fetch_add(bytes, Ordering::Relaxed);
            if before.saturating_add(bytes) > level.max {
                uncharge(&self.0[..=charged], bytes);
                return false;
            }
        }
        true
    }
}

fn uncharge(levels: &[Level], bytes: usize) {
    for level in levels {
        // Ordering: Relaxed: as in `try_charge`.
        level.usage.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Pair for Walk {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            let walk = black_box(self);
            assert!(walk.try_charge(BYTES), "the limit is far");
            uncharge(&walk.0, BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_charge_leaves_nothing_behind() {
        let walk = Walk::new(3);
        assert!(walk.try_charge(FAR) && !walk.try_charge(1));
        assert!(walk.0.iter().all(|level| level.usage.load(Ordering::Relaxed) == FAR));
    }
}
