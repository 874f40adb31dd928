//! What happened to a group, counted: here, and here and below.

use crate::{
    node::Node,
    sync::{Arc, AtomicU64, OnceLock, Ordering},
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

/// The counts of one group; made when the first event comes.
#[derive(Debug, Default)]
pub(crate) struct Events(OnceLock<Box<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    own: [AtomicU64; KINDS],
    total: [AtomicU64; KINDS],
}

impl Events {
    /// Counts an event that happened at `node`, there and above.
    pub(crate) fn note(node: &Arc<Node>, kind: Kind) {
        let counts = node.events.0.get_or_init(Box::default);
        // Ordering: Relaxed, here and below: statistics.
        counts.own[kind as usize].fetch_add(1, Ordering::Relaxed);
        for level in node.levels() {
            let counts = level.events.0.get_or_init(Box::default);
            counts.total[kind as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how often each kind happened at this group.
    pub(crate) fn own(&self) -> [u64; KINDS] {
        self.read(|counts| &counts.own)
    }

    /// Returns how often each kind happened at this group and below.
    pub(crate) fn total(&self) -> [u64; KINDS] {
        self.read(|counts| &counts.total)
    }

    fn read(&self, of: fn(&Counts) -> &[AtomicU64; KINDS]) -> [u64; KINDS] {
        let Some(counts) = self.0.get() else { return [0; KINDS] };
        of(counts).each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}
