//! Small blocks allocated and freed, with whatever allocator the process has.

use std::hint::black_box;

use fief_alloc::{Ambient, is_installed, stats};

use crate::{pair::Pair, race};

/// The size of a block.
const BYTES: usize = 64;
/// Pairs in a batch.
const PAIRS: u32 = 20_000;

/// A block allocated and freed.
#[derive(Debug)]
struct Block;

impl Pair for Block {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            drop(black_box(Vec::<u8>::with_capacity(black_box(BYTES))));
        }
    }
}

/// Returns the nanoseconds of a pair in this process, which has the plain allocator.
#[must_use]
pub fn plain() -> f64 {
    assert!(!is_installed(), "the allocator is the plain one");
    race::nanoseconds(&[&Block], PAIRS)
}

/// Returns the nanoseconds of a pair of a thread that is in a group, in this process, whose allocator
/// attributes blocks.
#[must_use]
pub fn hooked() -> f64 {
    assert!(is_installed(), "the allocator attributes blocks");
    let group = Ambient::new().expect("there are records for all");
    let time = group.run(|| race::nanoseconds(&[&Block], PAIRS));
    black_box(stats());
    time
}
