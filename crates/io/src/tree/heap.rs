//! A heap with four children a node that can change or give up any entry by its place.
//!
//! Where an entry is stands in a table of the caller, so that one arena can have its members in many
//! heaps. Of equal keys the one that was numbered first is first, then the one with the smaller id, so
//! the order never depends on the history of the heap.
//!
//! Push, remove and update are O(log n), the first entry is O(1). Source: D. B. Johnson, "Priority
//! queues with update and finding minimum spanning trees", 1975 (d-ary heaps).

use super::arena::NONE;

const ARITY: usize = 4;

/// Ordered by its fields, from the first on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) key: u128,
    pub(super) number: u64,
    pub(super) id: u32,
}

/// `places` of every method is the caller's table: where each id is, or [`NONE`].
#[derive(Debug, Default)]
pub(super) struct Heap {
    entries: Vec<Entry>,
}

impl Heap {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn first(&self) -> Option<Entry> {
        self.entries.first().copied()
    }

    /// The entry of `id`, which is here.
    pub(super) fn entry(&self, id: u32, places: &[u32]) -> Entry {
        self.entries[places[id as usize] as usize]
    }

    /// In no order to rely on.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn push(&mut self, entry: Entry, places: &mut [u32]) {
        debug_assert_eq!(places[entry.id as usize], NONE);
        self.entries.push(entry);
        self.sift_up(self.entries.len() - 1, places);
    }

    /// Takes `id` out, which is here.
    pub(super) fn remove(&mut self, id: u32, places: &mut [u32]) {
        let at = std::mem::replace(&mut places[id as usize], NONE) as usize;
        debug_assert_eq!(self.entries[at].id, id);
        self.entries.swap_remove(at);
        if at < self.entries.len() {
            self.sift(at, places);
        }
    }

    /// Gives `entry.id`, which is here, another key.
    pub(super) fn update(&mut self, entry: Entry, places: &mut [u32]) {
        let at = places[entry.id as usize] as usize;
        debug_assert_eq!(self.entries[at].id, entry.id);
        self.entries[at] = entry;
        self.sift(at, places);
    }

    fn sift(&mut self, at: usize, places: &mut [u32]) {
        if at > 0 && self.entries[at] < self.entries[(at - 1) / ARITY] {
            self.sift_up(at, places);
        } else {
            self.sift_down(at, places);
        }
    }

    fn sift_up(&mut self, mut at: usize, places: &mut [u32]) {
        let entry = self.entries[at];
        while at > 0 {
            let parent = (at - 1) / ARITY;
            if entry >= self.entries[parent] {
                break;
            }
            self.put(at, self.entries[parent], places);
            at = parent;
        }
        self.put(at, entry, places);
    }

    fn sift_down(&mut self, mut at: usize, places: &mut [u32]) {
        let entry = self.entries[at];
        while let Some(child) = self.first_child(at) {
            if self.entries[child] >= entry {
                break;
            }
            self.put(at, self.entries[child], places);
            at = child;
        }
        self.put(at, entry, places);
    }

    fn first_child(&self, at: usize) -> Option<usize> {
        let start = at * ARITY + 1;
        let end = (start + ARITY).min(self.entries.len());
        let mut best = (start < end).then_some(start)?;
        for child in start + 1..end {
            if self.entries[child] < self.entries[best] {
                best = child;
            }
        }
        Some(best)
    }

    fn put(&mut self, at: usize, entry: Entry, places: &mut [u32]) {
        self.entries[at] = entry;
        places[entry.id as usize] = u32::try_from(at).unwrap_or(NONE);
    }
}
