//! Between a node and the root: who waits in which queue, and what a quota takes out of it.
//!
//! A node stands in its parent's queue if and only if something waits there and its own quota does not
//! hold it back ([`Node::is_waiting`] and not [`Node::is_throttled`]). If it is held back and something
//! waits, it stands in the release heap instead. Every change goes up only as far as it changes
//! something. All walks are loops, so a tree may be as deep as it likes.

use super::{
    CpuTree,
    heap::{Entry, NONE},
    node::{Class, Node, State},
    tag::clamp,
};

impl CpuTree {
    pub(super) fn advance(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    pub(super) fn node(&self, at: u32) -> &Node {
        &self.nodes[at as usize]
    }

    pub(super) fn node_mut(&mut self, at: u32) -> &mut Node {
        &mut self.nodes[at as usize]
    }

    pub(super) fn is_queued(&self, at: u32) -> bool {
        self.places[at as usize] != NONE
    }

    /// The node and its ancestors.
    pub(super) fn path(&self, at: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(at), |at| self.node(*at).parent())
    }

    /// The clock of the queue in which a node stands when it waits.
    pub(super) fn clock(&self, at: u32) -> u64 {
        let node = self.node(at);
        let queue = node.parent().and_then(|parent| self.node(parent).queue(node.class));
        queue.map_or(self.origin, |queue| queue.clock)
    }

    /// Brings a tag within the bounds that hold for everyone who comes to a queue.
    pub(super) fn place(&mut self, at: u32) {
        let clock = self.clock(at);
        let (credit, debt) = (self.settings.slice(), self.settings.debt());
        let node = self.node_mut(at);
        let debt = debt + node.in_flight + u64::from(node.latency);
        node.tag = clamp(node.tag, clock, node.weight, credit, debt);
    }

    pub(super) fn enqueue(&mut self, at: u32) {
        let (node, origin) = (self.node(at), self.origin);
        let (key, class, parent) = (node.key(), node.class, node.parent);
        let queue = self.nodes[parent as usize].queue_mut(class, origin);
        queue.heap.push(Entry { key, id: at }, &mut self.places);
    }

    pub(super) fn dequeue(&mut self, at: u32) {
        let (node, origin) = (self.node(at), self.origin);
        let (class, parent) = (node.class, node.parent);
        if parent != NONE {
            let queue = self.nodes[parent as usize].queue_mut(class, origin);
            queue.heap.remove(at, &mut self.places);
        }
    }

    /// The key has changed.
    pub(super) fn rekey(&mut self, at: u32) {
        let (node, origin) = (self.node(at), self.origin);
        let (key, class, parent) = (node.key(), node.class, node.parent);
        if self.is_queued(at) {
            let queue = self.nodes[parent as usize].queue_mut(class, origin);
            queue.heap.update(at, key, &mut self.places);
        }
    }

    /// Something waits at a node where perhaps nothing waited.
    pub(super) fn wake(&mut self, mut at: u32) {
        while !self.is_queued(at) && !self.is_due(at) && self.is_admitted(at) {
            let Some(parent) = self.node(at).parent() else { return };
            self.place(at);
            self.enqueue(at);
            at = parent;
        }
    }

    /// Whether it is held back with something that waits.
    fn is_due(&self, at: u32) -> bool {
        self.due_places[at as usize] != NONE
    }

    /// Whether its quota lets a node that waits through; it is held back if not.
    fn is_admitted(&mut self, at: u32) -> bool {
        let now = self.now;
        let Some(quota) = &mut self.nodes[at as usize].quota else { return true };
        if !quota.is_throttled() {
            return true;
        }
        quota.refill(now);
        if quota.is_enough() {
            quota.release();
            return true;
        }
        quota.hold(now);
        let key = quota.await_due();
        self.due.push(Entry { key, id: at }, &mut self.due_places);
        false
    }

    /// Perhaps nothing waits at a node any more.
    pub(super) fn sleep(&mut self, mut at: u32) {
        while !self.node(at).is_waiting() {
            self.node_mut(at).rest();
            if self.node(at).is_throttled() {
                self.let_go(at);
                return;
            }
            let Some(parent) = self.node(at).parent() else { return };
            self.dequeue(at);
            at = parent;
        }
    }

    /// Nothing is held back here any more.
    fn let_go(&mut self, at: u32) {
        let now = self.now;
        self.due.remove(at, &mut self.due_places);
        if let Some(quota) = &mut self.nodes[at as usize].quota {
            quota.let_go(now);
        }
    }

    /// Looks at the bucket of a node after a change.
    pub(super) fn review(&mut self, at: u32) {
        let Some(quota) = &self.node(at).quota else { return };
        match quota.is_throttled() {
            true if quota.is_enough() => self.let_in(at),
            true => {
                let key = quota.due();
                self.due.update(at, key, &mut self.due_places);
            }
            false if quota.is_dry() => self.throttle(at),
            false => {}
        }
    }

    fn throttle(&mut self, at: u32) {
        let is_waiting = self.node(at).is_waiting();
        let Some(quota) = &mut self.nodes[at as usize].quota else { return };
        quota.throttle();
        if is_waiting {
            let key = quota.await_due();
            self.due.push(Entry { key, id: at }, &mut self.due_places);
            if let Some(parent) = self.node(at).parent() {
                self.dequeue(at);
                self.sleep(parent);
            }
        }
    }

    fn let_in(&mut self, at: u32) {
        self.let_go(at);
        if let Some(quota) = &mut self.nodes[at as usize].quota {
            quota.release();
        }
        if self.node(at).is_waiting() {
            self.wake(at);
        }
    }

    /// What a quota holds back from now on counts as held back.
    pub(super) fn hold(&mut self, at: u32) {
        let now = self.now;
        let node = self.node_mut(at);
        if node.is_waiting()
            && let Some(quota) = &mut node.quota
            && quota.is_throttled()
        {
            quota.hold(now);
        }
    }

    /// Lets in who has enough tokens by now.
    pub(super) fn release_due(&mut self) -> usize {
        let (mut count, now) = (0, self.now);
        while let Some(first) = self.due.first().filter(|first| first.key <= now) {
            if let Some(quota) = &mut self.nodes[first.id as usize].quota {
                quota.refill(now);
            }
            self.let_in(first.id);
            count += 1;
        }
        count
    }

    /// Takes in the place of a removed node, and of its ancestors, once nothing is left there.
    pub(super) fn bury(&mut self, mut at: u32) {
        loop {
            let node = self.node_mut(at);
            let is_done = node.state == State::Dying
                && node.child_count == 0
                && node.in_flight == 0
                && !node.is_own_active;
            let Some(parent) = node.parent().filter(|_| is_done) else { return };
            node.state = State::Free;
            node.normal = super::queue::Queue::default();
            node.idle = None;
            node.quota = None;
            // A place whose generations are used up is left alone.
            if let Some(generation) = node.generation.checked_add(1) {
                node.generation = generation;
                self.free.push(at);
            }
            self.node_mut(parent).child_count -= 1;
            self.count -= 1;
            at = parent;
        }
    }

    /// The queue clocks that a child of this class goes by.
    pub(super) fn finished(&mut self, at: u32) {
        let node = self.node(at);
        let (tag, class, parent, origin) = (node.tag, node.class, node.parent, self.origin);
        if parent != NONE {
            self.nodes[parent as usize].queue_mut(class, origin).finished(tag);
        }
    }

    pub(super) fn class_of(&self, at: u32) -> Class {
        self.node(at).class
    }
}
