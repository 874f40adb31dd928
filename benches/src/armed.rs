//! References to a css whose group is armed: every get and put is an add to one shared word.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use fief_core::{Css, CssRef};

use crate::{
    forest::{Forest, manual},
    pair::Pair,
    statistic::median,
};

/// Holds that are taken, and then let go of, together: 16 KiB, well inside a first-level cache.
const HANDFUL: u32 = 2048;
/// Handfuls of a figure.
const HANDFULS: usize = 41;

/// Returns the nanoseconds of one clone, and of one drop that is not the last.
///
/// Medians of handfuls. The holds lie in a row, so that nothing but them is loaded and stored; the
/// caller's own is there all the while.
pub fn clone_and_drop<T: Clone>(one: &T) -> [f64; 2] {
    let mut hand = Vec::with_capacity(HANDFUL as usize);
    let mut times: [Vec<f64>; 2] = Default::default();
    let each = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(HANDFUL);
    for _ in 0..HANDFULS {
        let start = Instant::now();
        hand.extend((0..HANDFUL).map(|_| T::clone(black_box(one))));
        times[0].push(each(start.elapsed()));
        black_box(&mut hand);
        let start = Instant::now();
        hand.clear();
        times[1].push(each(start.elapsed()));
    }
    times.map(|times| median(&times))
}

/// A group that is armed, with four css and nobody who listens.
#[derive(Debug)]
pub struct Armed(Forest);

impl Armed {
    /// Makes it.
    #[must_use]
    pub fn new() -> Self {
        Self(Forest::notifying(manual(), 4, 1))
    }

    /// Returns a reference to the first css.
    #[must_use]
    pub fn css(&self) -> CssRef<()> {
        self.0.css(0)
    }
}

impl Default for Armed {
    fn default() -> Self {
        Self::new()
    }
}

/// The first reference to a css, and the last: `try_get` and drop, under one guard for all pairs.
///
/// But for the first of all, the reclaimer is to look at the css already, and has not yet.
impl Pair for Armed {
    fn run(&self, pairs: u64) {
        let Forest { registry, controllers, groups, .. } = &self.0;
        let guard = registry.read();
        let css = guard.css(&controllers[0], &groups[0]).expect("the group is online");
        for _ in 0..pairs {
            drop(black_box(Css::try_get(black_box(css))));
        }
        drop(guard);
    }
}
