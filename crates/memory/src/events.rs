//! What happened to a group, counted: here, and here and below.

use crate::{
    node::Node,
    sync::{Arc, AtomicU64, Ordering},
    trace::event,
};

/// A kind of event, as `memory.events` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reclaimed although usage was within `low`, as nobody had more to give.
    Low,
    /// Charged above `high`.
    High,
    /// Refused, or about to be, by `max`.
    Max,
    /// Nobody could go on.
    Oom,
    /// Chosen as the victim.
    OomKill,
    /// Cancelled as a whole.
    OomGroupKill,
    /// Charged above `max` by force.
    ForceOverMax,
    /// `max` was set below what was in use.
    MaxLoweredOver,
    /// Room charged ahead was called in.
    Drain,
    /// A thread was inside a charge at that moment, and gave its room back by itself.
    DrainSkip,
    /// More was uncharged than charged.
    Underflow,
}

/// How many kinds there are.
pub(crate) const KINDS: usize = 11;

/// What `memory.events` calls them, in their order: the kernel's first.
pub(crate) const NAMES: [&str; KINDS] = [
    "low",
    "high",
    "max",
    "oom",
    "oom_kill",
    "oom_group_kill",
    "force_over_max",
    "max_lowered_over",
    "drain",
    "drain_skip",
    "underflow",
];

/// The counts of one group.
#[derive(Debug, Default)]
pub(crate) struct Events {
    own: [AtomicU64; KINDS],
    total: [AtomicU64; KINDS],
}

impl Kind {
    /// Returns whether it is so rare that it is told as an event of the feature `tracing`.
    const fn is_told(self) -> bool {
        match self {
            Self::Low | Self::High | Self::Max | Self::Drain | Self::DrainSkip => false,
            Self::Oom
            | Self::OomKill
            | Self::OomGroupKill
            | Self::ForceOverMax
            | Self::MaxLoweredOver
            | Self::Underflow => true,
        }
    }
}

impl Events {
    /// Counts an event that happened at `node`, there and above.
    pub(crate) fn note(node: &Arc<Node>, kind: Kind) {
        if kind.is_told() {
            event!(NAMES[kind as usize], cgroup = %node.path(), current = node.counter.current());
        }
        // Ordering: Relaxed, here and below: statistics.
        node.rare().events.own[kind as usize].fetch_add(1, Ordering::Relaxed);
        for level in node.levels() {
            level.rare().events.total[kind as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how often each kind happened at `node`.
    pub(crate) fn own(node: &Node) -> [u64; KINDS] {
        Self::read(node, |events| &events.own)
    }

    /// Returns how often each kind happened at `node` and below.
    pub(crate) fn total(node: &Node) -> [u64; KINDS] {
        Self::read(node, |events| &events.total)
    }

    fn read(node: &Node, of: fn(&Self) -> &[AtomicU64; KINDS]) -> [u64; KINDS] {
        let Some(rare) = node.rare.get() else { return [0; KINDS] };
        of(&rare.events).each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}
