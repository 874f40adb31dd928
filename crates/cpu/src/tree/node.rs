//! A node: what it weighs, how far it has come among its siblings, and which of its children wait.

use std::fmt;

use super::{
    heap::NONE,
    queue::Queue,
    quota::Quota,
    tag::{is_before, span},
};

/// Names a node of one tree; a name is never given again, its place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl NodeId {
    /// The place in the tree: small, and given again when the node is gone. For tables beside the tree.
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Free,
    Live,
    /// Removed; goes when nothing runs or waits there and no child is left.
    Dying,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Normal,
    Idle,
}

/// Who in a node's queues is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Child {
    Own,
    Node(u32),
}

/// The weight of a node's own work among its children, and of a node that was never told.
pub(super) const WEIGHT: u16 = 100;

#[derive(Debug)]
pub(super) struct Node {
    /// Start tag of the next slice, in the parent's queue. Slices in flight are in it with their estimates.
    pub(super) tag: u64,
    /// The same for the own work, in the own queue.
    pub(super) own_tag: u64,
    pub(super) normal: Queue,
    pub(super) idle: Option<Box<Queue>>,
    pub(super) quota: Option<Box<Quota>>,
    /// Sum of the estimates of the slices that run here or below; not zero while one runs.
    pub(super) in_flight: u64,
    pub(super) usage: u64,
    pub(super) own_usage: u64,
    pub(super) slices: u64,
    pub(super) overruns: u32,
    pub(super) generation: u32,
    pub(super) parent: u32,
    pub(super) child_count: u32,
    /// What a slice of the own work takes, in nanoseconds: a moving average.
    pub(super) estimate: u32,
    /// Nanoseconds.
    pub(super) latency: u32,
    pub(super) weight: u16,
    pub(super) class: Class,
    pub(super) state: State,
    pub(super) is_own_active: bool,
}

const _: () = assert!(size_of::<Node>() <= 192);

impl Node {
    pub(super) fn new(generation: u32, parent: u32, tag: u64, origin: u64, slice: u64) -> Self {
        Self {
            tag,
            own_tag: origin,
            normal: Queue::new(origin),
            idle: None,
            quota: None,
            in_flight: 0,
            usage: 0,
            own_usage: 0,
            slices: 0,
            overruns: 0,
            generation,
            parent,
            child_count: 0,
            estimate: u32::try_from(slice).unwrap_or(u32::MAX),
            latency: 0,
            weight: WEIGHT,
            class: Class::Normal,
            state: State::Live,
            is_own_active: false,
        }
    }

    pub(super) fn parent(&self) -> Option<u32> {
        (self.parent != NONE).then_some(self.parent)
    }

    /// Something waits here or below that no quota below holds back.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_own_active
            || !self.normal.heap.is_empty()
            || self.idle.as_ref().is_some_and(|idle| !idle.heap.is_empty())
    }

    pub(super) fn is_throttled(&self) -> bool {
        self.quota.as_ref().is_some_and(|quota| quota.is_throttled())
    }

    /// Where it stands in its parent's queue: its tag, moved ahead by the latency setting.
    pub(super) fn key(&self) -> u64 {
        match self.latency {
            0 => self.tag,
            latency => self.tag.wrapping_sub(span(u64::from(latency), self.weight)),
        }
    }

    /// The queue of its children of this class.
    pub(super) fn queue(&self, class: Class) -> Option<&Queue> {
        match class {
            Class::Normal => Some(&self.normal),
            Class::Idle => self.idle.as_deref(),
        }
    }

    pub(super) fn queue_mut(&mut self, class: Class, origin: u64) -> &mut Queue {
        match class {
            Class::Normal => &mut self.normal,
            Class::Idle => self.idle.get_or_insert_with(|| Box::new(Queue::new(origin))),
        }
    }

    /// Who is next; the clock of its class goes on to it.
    pub(super) fn next(&mut self) -> Option<Child> {
        let first = self.normal.heap.first();
        if self.is_own_active && first.is_none_or(|first| !is_before(first.key, self.own_tag)) {
            self.normal.advance(self.own_tag);
            return Some(Child::Own);
        }
        if let Some(first) = first {
            self.normal.advance(first.key);
            return Some(Child::Node(first.id));
        }
        let idle = self.idle.as_mut()?;
        let first = idle.heap.first()?;
        idle.advance(first.key);
        Some(Child::Node(first.id))
    }

    /// Nobody waits and nobody runs: the clocks go on to the end of what was.
    pub(super) fn rest(&mut self) {
        if self.in_flight == 0 && !self.is_waiting() {
            self.normal.rest();
            if let Some(idle) = &mut self.idle {
                idle.rest();
            }
        }
    }
}
