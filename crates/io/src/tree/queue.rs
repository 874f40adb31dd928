//! Who waits beside whom: two planes of entries with one virtual time, and its clock.
//!
//! A tag is the virtual time at which the next piece of its owner starts: device time by weight, in
//! units of 2^-20 ns at weight 1. 128 bits do not wrap: 2^64 ns at weight 1 take 84 of them, so
//! there is room for 2^44 requests as large as a request can be.

use super::heap::{Entry, Heap};

/// Tags have this many bits behind the point.
const SHIFT: u32 = 20;

/// How far a piece of this cost takes somebody of this weight. 0 counts as 1, so that nobody who costs
/// nothing stays where he is, and first.
pub(super) fn span(cost: u64, weight: u32) -> u128 {
    const NARROW: u64 = 1 << (64 - SHIFT);
    let cost = cost.max(1);
    if cost < NARROW {
        u128::from((cost << SHIFT) / u64::from(weight))
    } else {
        (u128::from(cost) << SHIFT) / u128::from(weight)
    }
}

/// The tag after a change of weight: ahead of or behind the clock by as much device time as before.
pub(super) fn reweigh(tag: u128, clock: u128, from: u32, to: u32) -> u128 {
    let scale = |distance: u128| distance.saturating_mul(u128::from(from)) / u128::from(to);
    if tag >= clock {
        clock.saturating_add(scale(tag - clock))
    } else {
        clock.saturating_sub(scale(clock - tag))
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) planes: [Heap; 2],
    /// The greatest tag that was picked.
    pub(super) clock: u128,
    /// The greatest tag that anybody reached.
    finish: u128,
    /// The clock as it was half a tau ago or more, and as it was half a tau before that or more.
    samples: [u128; 2],
    sampled_at: u64,
    emptied_at: u64,
}

impl Queue {
    pub(super) const fn is_empty(&self) -> bool {
        self.planes[0].is_empty() && self.planes[1].is_empty()
    }

    /// Whether there is one entry, and in this plane.
    pub(super) fn is_single(&self, plane: usize) -> bool {
        self.planes[plane].entries().len() == 1 && self.planes[1 - plane].is_empty()
    }

    /// The first of the planes in `mask`.
    pub(super) fn first(&self, mask: [bool; 2]) -> Option<Entry> {
        let first = |plane: usize| if mask[plane] { self.planes[plane].first() } else { None };
        match (first(0), first(1)) {
            (Some(read), Some(write)) => Some(read.min(write)),
            (first, None) | (None, first) => first,
        }
    }

    /// Somebody with this tag is served.
    pub(super) fn serve(&mut self, tag: u128, now: u64, tau: u64) {
        self.sample(now, tau);
        self.clock = self.clock.max(tag);
    }

    pub(super) fn reach(&mut self, tag: u128) {
        self.finish = self.finish.max(tag);
    }

    /// The tag with which somebody comes (back): not further behind than the clock came in a tau.
    ///
    /// `is_idle`: nobody waits here. If that lasted for more than a tau, what was taken was taken from
    /// nobody, and nobody owes it any more.
    pub(super) fn come(&mut self, tag: u128, is_idle: bool, now: u64, tau: u64) -> u128 {
        if is_idle && now - self.emptied_at.min(now) > tau && self.finish > self.clock {
            self.clock = self.finish;
            self.samples = [self.clock; 2];
        }
        self.sample(now, tau);
        tag.max(self.floor())
    }

    /// Who comes (back) is not before this.
    pub(super) const fn floor(&self) -> u128 {
        self.samples[1]
    }

    /// The last one here has gone.
    pub(super) const fn empty(&mut self, now: u64) {
        self.emptied_at = now;
    }

    fn sample(&mut self, now: u64, tau: u64) {
        if now.saturating_sub(self.sampled_at) >= tau / 2 {
            self.samples = [self.clock, self.samples[0]];
            self.sampled_at = now;
        }
    }
}
