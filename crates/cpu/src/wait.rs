//! For how long work of a group waited: a pair of sums that change when work begins or ceases to wait.
//!
//! A group itself waits as long as the ring of its leaf is not empty: from when its first item came in until
//! its last one was taken, by a slice or by an abort, whether it waits for a slot or for the quota. A group and all below
//! wait as long as at least one of them does. So both are wall time: 64 jobs that wait for a second waited for
//! one second.
//!
//! Rings become empty and cease to be so under the scheduler's lock, with the clock read anyway (`leaf.rs`), so
//! this costs two additions; and as many more on each level above on which nobody else waits.
//!
//! The words are atomic because they are read and written behind a shared reference. They change under the
//! scheduler's lock alone, and are read under it.

use std::iter;

use crate::{
    leaf::Leaf,
    sync::{AtomicU32, AtomicU64, Ordering},
};

/// For how long a group waited, in nanoseconds.
pub(crate) struct Wait {
    own: Span,
    total: Span,
    /// How many wait: the group itself, and each group directly below in which somebody does.
    waiting: AtomicU32,
}

/// What has passed of something that goes on now and then.
struct Span {
    sum: AtomicU64,
    /// Since when it goes on; [`NEVER`] if it does not.
    since: AtomicU64,
}

const NEVER: u64 = u64::MAX;

impl Wait {
    pub(crate) fn new() -> Self {
        Self { own: Span::new(), total: Span::new(), waiting: AtomicU32::new(0) }
    }

    /// Returns for how long the group itself has waited, and for how long something of it or below.
    pub(crate) fn read(&self, now: u64) -> [u64; 2] {
        [&self.own, &self.total].map(|span| span.read(now))
    }

    // Ordering: Relaxed, here and below: under the scheduler's lock.
    fn shift(&self, by: impl FnOnce(u32) -> u32) -> [u32; 2] {
        let before = self.waiting.load(Ordering::Relaxed);
        let after = by(before);
        self.waiting.store(after, Ordering::Relaxed);
        [before, after]
    }
}

impl Span {
    fn new() -> Self {
        Self { sum: AtomicU64::new(0), since: AtomicU64::new(NEVER) }
    }

    fn read(&self, now: u64) -> u64 {
        let (sum, since) = (self.sum.load(Ordering::Relaxed), self.since.load(Ordering::Relaxed));
        sum.saturating_add(now.saturating_sub(since))
    }

    fn begin(&self, now: u64) {
        self.since.store(now, Ordering::Relaxed);
    }

    fn end(&self, now: u64) {
        self.sum.store(self.read(now), Ordering::Relaxed);
        self.since.store(NEVER, Ordering::Relaxed);
    }
}

impl Leaf {
    /// Returns the leaves from this one up to the root's.
    pub(crate) fn levels(&self) -> impl Iterator<Item = &Self> {
        iter::successors(Some(self), |leaf| leaf.parent.as_deref())
    }

    /// Notes that own work has begun to wait. Under the scheduler's lock.
    pub(crate) fn begin_wait(&self, now: u64) {
        self.wait.own.begin(now);
        for level in self.levels() {
            let [before, _] = level.wait.shift(|waiting| waiting + 1);
            if before > 0 {
                return;
            }
            level.wait.total.begin(now);
        }
    }

    /// Notes that own work waits no longer. Under the scheduler's lock.
    pub(crate) fn end_wait(&self, now: u64) {
        self.wait.own.end(now);
        for level in self.levels() {
            let [_, after] = level.wait.shift(|waiting| waiting.saturating_sub(1));
            if after > 0 {
                return;
            }
            level.wait.total.end(now);
        }
    }
}
