//! The children of a node that wait, in order, and the clock they go by.

use super::{heap::Heap, tag::later};

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) heap: Heap,
    /// Start tag of the child picked last; never goes back.
    pub(super) clock: u64,
    /// The latest tag that any child has reached.
    pub(super) finish: u64,
}

impl Queue {
    pub(super) fn new(origin: u64) -> Self {
        Self { heap: Heap::default(), clock: origin, finish: origin }
    }

    pub(super) fn advance(&mut self, key: u64) {
        self.clock = later(self.clock, key);
    }

    pub(super) fn finished(&mut self, tag: u64) {
        self.finish = later(self.finish, tag);
    }

    /// Nobody waits and nobody runs: who comes next owes nothing to those who are not there.
    pub(super) fn rest(&mut self) {
        self.clock = later(self.clock, self.finish);
    }
}
