//! Between a node and the root: who waits in which queue, and whom a limit holds back.
//!
//! For each of the two planes (reads, writes), a node below the root is in one of three states:
//!
//! * nothing waits below it that limits further down let through: it is nowhere;
//! * something does, and as far as is known its own limits are open: it is in its parent's plane;
//! * something does, and its own limits were found closed: it is *held*, in the heap of those who are,
//!   by when it will be open.
//!
//! The root is the same, but for the parent. Limits are looked at when a node is about to be served, so
//! nothing is done at the moment at which a bucket runs dry, and a node in a plane may turn out to be
//! closed. Every change goes up only as far as it changes something. All walks are loops, so a tree
//! may be as deep as it likes.

use super::{IoTree, arena::NONE, heap::Entry};

/// Where a plane of a node is in the heap of those who are held.
pub(super) fn due_id(at: u32, plane: usize) -> u32 {
    at * 2 + u32::from(plane != 0)
}

impl IoTree {
    pub(super) fn advance(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    pub(super) fn parent_of(&self, at: u32) -> Option<u32> {
        let parent = self.nodes[at].parent;
        (parent != NONE).then_some(parent)
    }

    /// The node and its ancestors.
    pub(super) fn path(&self, at: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(at), |at| self.parent_of(*at))
    }

    pub(super) const fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub(super) fn is_queued(&self, at: u32, plane: usize) -> bool {
        self.node_places[plane][at as usize] != NONE
    }

    pub(super) fn is_held(&self, at: u32, plane: usize) -> bool {
        // Who has no limits is not held; that is known without another table.
        self.nodes[at].limiter.is_some() && self.due_places[due_id(at, plane) as usize] != NONE
    }

    /// How long limits held the path back, in all.
    pub(super) fn held_above(&self, at: u32, plane: usize) -> u64 {
        let held = |at: u32| {
            let limiter = self.nodes[at].limiter.as_ref();
            limiter.map_or(0, |limiter| limiter.held(plane, self.is_held(at, plane), self.now))
        };
        self.path(at).map(held).fold(0, u64::saturating_add)
    }

    /// This many more requests wait at the node.
    pub(super) fn count_waiting(&mut self, at: u32, plane: usize, count: u32) {
        let (now, credit) = (self.now, self.settings.credit());
        let mut next = Some(at);
        while let Some(at) = next {
            let node = &mut self.nodes[at];
            if node.waiting[plane] == 0 {
                // Up to now nothing waited: that much is kept, and no more.
                node.limiter(now, credit);
            }
            node.waiting[plane] += count;
            next = self.parent_of(at);
        }
        self.waiting += count as usize;
    }

    /// This many fewer requests wait at the node.
    pub(super) fn discount_waiting(&mut self, at: u32, plane: usize, count: u32) {
        let (now, credit) = (self.now, self.settings.credit());
        let mut next = Some(at);
        while let Some(at) = next {
            let node = &mut self.nodes[at];
            if node.waiting[plane] == count
                && let Some(limiter) = node.limiter(now, credit)
            {
                limiter.keep(plane, now, credit);
            }
            node.waiting[plane] -= count;
            next = self.parent_of(at);
        }
        self.waiting -= count as usize;
    }

    /// Something that can be served has come to the node: it takes its place above.
    pub(super) fn wake(&mut self, at: u32, plane: usize) {
        let (now, tau) = (self.now, self.settings.tau());
        let mut next = Some(at);
        while let Some(at) = next {
            if self.is_queued(at, plane) || self.is_held(at, plane) {
                return;
            }
            self.enrol(at);
            next = self.parent_of(at);
            let Some(parent) = next else { return };
            if !self.is_queued(at, 1 - plane) {
                let number = self.next_number();
                let is_idle = self.is_idle(parent);
                let tag = self.nodes[at].tag;
                let tag = self.nodes[parent].nodes.come(tag, is_idle, now, tau);
                (self.nodes[at].tag, self.nodes[at].number) = (tag, number);
            }
            let entry = self.entry(at);
            let heap = &mut self.nodes[parent].nodes.planes[plane];
            heap.push(entry, &mut self.node_places[plane]);
        }
    }

    /// Something has gone from the node: if nothing that can be served is left, so does the node.
    pub(super) fn sleep(&mut self, at: u32, plane: usize) {
        let mut next = Some(at);
        while let Some(at) = next {
            self.note_empty(at);
            if self.nodes[at].has_content(plane) {
                return;
            }
            self.strike(at);
            if self.is_held(at, plane) {
                self.let_go(at, plane);
                return;
            }
            next = self.parent_of(at);
            if next.is_some() {
                self.dequeue(at, plane);
            }
        }
    }

    /// A limit of the node has no more for this direction.
    pub(super) fn hold(&mut self, at: u32, plane: usize) {
        let now = self.now;
        let opens_at = self.opens_at(at, plane);
        let node = &mut self.nodes[at];
        node.stats.throttled += 1;
        if let Some(limiter) = node.limiter.as_deref_mut() {
            limiter.hold(plane, now);
        }
        let id = due_id(at, plane);
        let entry = Entry { key: u128::from(opens_at), number: 0, id };
        self.due.push(entry, &mut self.due_places);
        if let Some(parent) = self.parent_of(at) {
            self.dequeue(at, plane);
            self.sleep(parent, plane);
        }
    }

    /// Looks again at one that is held.
    pub(super) fn review(&mut self, at: u32, plane: usize) {
        let (now, credit) = (self.now, self.settings.credit());
        let entry = self.due.entry(due_id(at, plane), &self.due_places);
        if self.nodes[at].is_closed(plane, now, credit) {
            let key = u128::from(self.opens_at(at, plane));
            self.due.update(Entry { key, ..entry }, &mut self.due_places);
            return;
        }
        self.let_go(at, plane);
        self.wake(at, plane);
        if entry.key > u128::from(now) {
            self.unpark_all();
        }
    }

    /// Lets go whose time has come.
    pub(super) fn release_due(&mut self) {
        while let Some(first) = self.due.first()
            && first.key <= u128::from(self.now)
        {
            self.review(first.id / 2, (first.id % 2) as usize);
        }
    }

    /// When the limits of the node will be open, if nobody else comes.
    pub(super) fn opens_at(&mut self, at: u32, plane: usize) -> u64 {
        let (now, credit) = (self.now, self.settings.credit());
        let wait =
            self.nodes[at].limiter(now, credit).map_or(0, |limiter| limiter.wait(plane, 0, 0));
        now.saturating_add(wait)
    }

    /// Gives the node another tag among its siblings.
    pub(super) fn set_tag(&mut self, at: u32, tag: u128) {
        let number = self.next_number();
        let node = &mut self.nodes[at];
        (node.tag, node.number) = (tag, number);
        let parent = node.parent;
        let entry = self.entry(at);
        for plane in 0..2 {
            if self.is_queued(at, plane) {
                let heap = &mut self.nodes[parent].nodes.planes[plane];
                heap.update(entry, &mut self.node_places[plane]);
            }
        }
        self.nodes[parent].nodes.reach(tag);
    }

    /// Whether neither a child nor an own flow of the node has something that can be served.
    pub(super) fn is_idle(&self, at: u32) -> bool {
        self.nodes[at].own.is_empty() && self.nodes[at].nodes.is_empty()
    }

    pub(super) fn note_empty(&mut self, at: u32) {
        let now = self.now;
        let is_idle = self.is_idle(at);
        let node = &mut self.nodes[at];
        if node.own.is_empty() {
            node.own.empty(now);
        }
        if is_idle {
            node.nodes.empty(now);
        }
    }

    fn entry(&self, at: u32) -> Entry {
        let node = &self.nodes[at];
        Entry { key: node.tag, number: node.number, id: at }
    }

    fn dequeue(&mut self, at: u32, plane: usize) {
        let parent = self.nodes[at].parent;
        let heap = &mut self.nodes[parent].nodes.planes[plane];
        heap.remove(at, &mut self.node_places[plane]);
    }

    fn let_go(&mut self, at: u32, plane: usize) {
        let now = self.now;
        self.due.remove(due_id(at, plane), &mut self.due_places);
        if let Some(limiter) = self.nodes[at].limiter.as_deref_mut() {
            limiter.let_go(plane, now);
        }
    }
}
