//! Who waits to be told of: one entry a group, whatever happens to it meanwhile.
//!
//! A notice begins when its group *joins* the line, and ends when somebody who received it says so.
//! In between, edges of the group are what the notice is about, too: they are not told again, and whoever
//! ends it looks at the group afterwards.
//!
//! # Orderings
//!
//! A lock is around every line. Edge `told`: an edge that is not told because a notice is on its way
//! happened before that notice ended, by the lock; so who ends it, and looks in the same hold, sees the
//! edge. A rest of the group begins under the lock, too (`cgroup/arm.rs`): it finds a notice ended and its
//! receiver answered, or both to come.
//!
//! # Tests
//!
//! `tests/loom_notice.rs`.

use std::collections::BTreeMap;

use crate::sync::{Arc, AtomicU64, Ordering, skip};

/// Something that can be told of.
pub(crate) trait Told {
    /// Returns the number of its notice that is on its way; 0 for none. Written under the line's lock.
    fn notice(&self) -> &AtomicU64;

    /// Returns whether there is something to tell, as of now.
    fn is_releasable(&self) -> bool;
}

/// Those that wait, in order of their notices.
#[derive(Debug)]
pub(crate) struct Line<E> {
    /// The number of the last notice.
    last: u64,
    waiting: BTreeMap<u64, Arc<E>>,
}

impl<E: Told> Line<E> {
    pub(crate) const fn new() -> Self {
        Self { last: 0, waiting: BTreeMap::new() }
    }

    /// Begins a notice of `entry`; returns false if one is on its way.
    pub(crate) fn join(&mut self, entry: &Arc<E>) -> bool {
        // Ordering: Relaxed: written under the line's lock, as everywhere here.
        if entry.notice().load(Ordering::Relaxed) > 0 && !skip("told_once") {
            return false;
        }
        self.last += 1;
        entry.notice().store(self.last, Ordering::Relaxed);
        self.waiting.insert(self.last, Arc::clone(entry));
        true
    }

    /// Takes the first entry of which there is still something to tell; the notice of others ends.
    pub(crate) fn next(&mut self) -> Option<Arc<E>> {
        while let Some((_, entry)) = self.waiting.pop_first() {
            if entry.is_releasable() {
                return Some(entry);
            }
            self.end(&entry);
        }
        None
    }

    /// Puts an entry back that could not be told of yet, where it was.
    pub(crate) fn put_back(&mut self, entry: Arc<E>) {
        self.waiting.insert(entry.notice().load(Ordering::Relaxed), entry);
    }

    /// Ends the notice of an entry that waits, if it does.
    pub(crate) fn forget(&mut self, entry: &E) {
        let forgotten = self.waiting.remove(&entry.notice().load(Ordering::Relaxed));
        if forgotten.is_some() {
            self.end(entry);
        }
    }

    /// Ends the notice of `entry`: the next edge begins another. Returns whether there is still something to
    /// tell.
    pub(crate) fn end(&mut self, entry: &E) -> bool {
        entry.notice().store(0, Ordering::Relaxed);
        entry.is_releasable()
    }
}
