//! Figures: what is charged, what of that is charged ahead, and what happened.

use fief_core::{Limit, PressureStats};

use crate::{
    css::MemoryCss,
    events::{Events, KINDS, Kind},
    limits::limit,
    node::Node,
    stock::drain,
    sync::{Arc, Ordering},
};

/// A group's figures, as of one moment each; all amounts are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MemoryStats {
    /// How much is charged, to the group and all below it, what is charged ahead included.
    pub current: u64,
    /// How much of that to the group itself.
    pub own: u64,
    /// How much of `current` is charged ahead by threads and reservations, about: what one has that is just
    /// charging is left out.
    pub ahead: u64,
    /// How many threads and reservations have charged ahead; a thread counts once for each group.
    pub pockets: u64,
    /// How many charges, of this group or below, wait for room below this group's `max`.
    pub waiting: u64,
    /// See [`MemoryCss::peak`].
    pub peak: u64,
    /// See [`MemoryCss::max`].
    pub max: Limit,
    /// See [`MemoryCss::high`].
    pub high: Limit,
    /// See [`MemoryCss::low`].
    pub low: Limit,
    /// See [`MemoryCss::min`].
    pub min: Limit,
    /// See [`MemoryCss::effective_low`].
    pub effective_low: u64,
    /// See [`MemoryCss::effective_min`].
    pub effective_min: u64,
    /// See [`MemoryCss::oom_group`].
    pub oom_group: bool,
    /// See [`MemoryCss::priority`].
    pub priority: i32,
    /// What happened here and below.
    pub events: MemoryEvents,
    /// What happened here.
    pub events_local: MemoryEvents,
    /// How often this group's counter was found to be wrong, by an uncharge of more than was charged.
    pub accounting_bugs: u64,
    /// See [`MemoryCss::pressure`].
    pub pressure: PressureStats,
}

/// How often things happened to a group, as in `memory.events`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MemoryEvents {
    /// Reclaimed although usage was within `low`, as nobody had more to give.
    pub low: u64,
    /// Charged above `high`.
    pub high: u64,
    /// Refused, or about to be, by `max`.
    pub max: u64,
    /// Nobody could go on.
    pub oom: u64,
    /// Chosen as the victim.
    pub oom_kill: u64,
    /// Cancelled as a whole.
    pub oom_group_kill: u64,
    /// Charged above `max` by force.
    pub force_over_max: u64,
    /// `max` was set below what was in use.
    pub max_lowered_over: u64,
    /// Room charged ahead was called in.
    pub drain: u64,
    /// A thread was inside a charge at that moment, and gave its room back by itself.
    pub drain_skip: u64,
    /// More was uncharged than charged.
    pub underflow: u64,
}

/// What calling in what is charged ahead came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Drained {
    /// How much was called in, in bytes.
    pub bytes: u64,
    /// From how many threads and reservations.
    pub pockets: usize,
    /// How many threads were inside a charge of theirs or of a reservation's; each gives that room back
    /// before it returns.
    pub inside: usize,
}

impl MemoryCss {
    /// Returns the figures.
    ///
    /// # Concurrency
    ///
    /// Takes short locks at the group and below, where something is charged ahead, and what
    /// [`effective_min`](Self::effective_min) takes.
    #[must_use]
    pub fn stats(&self) -> MemoryStats {
        let node = &self.node;
        let (current, (ahead, pockets)) = (self.current(), node.ahead());
        // Ordering: Relaxed: a setting.
        let high = limit(node.high.load(Ordering::Relaxed));
        MemoryStats {
            current,
            own: node.own(current),
            ahead,
            pockets,
            waiting: node.waiting(),
            peak: self.peak(),
            max: self.max(),
            high,
            low: self.low(),
            min: self.min(),
            effective_low: self.effective_low(),
            effective_min: self.effective_min(),
            oom_group: self.oom_group(),
            priority: self.priority(),
            events: MemoryEvents::from(Events::total(node)),
            events_local: MemoryEvents::from(Events::own(node)),
            accounting_bugs: node.counter.accounting_bugs(),
            pressure: self.pressure(),
        }
    }

    /// Calls in what is charged ahead at the group and below; in the child of a fork, nothing.
    ///
    /// # Concurrency
    ///
    /// Waits for nobody. Takes short locks at the group and below, and the heavy side of an asymmetric fence.
    #[doc(alias = "drain_all_stock")]
    pub fn drain(&self) -> Drained {
        let is_inherited = self.node.shared.is_inherited();
        let drain::Drained { bytes, pockets, skipped, .. } =
            if is_inherited { drain::Drained::default() } else { drain::drain(&self.node) };
        Drained { bytes, pockets, inside: skipped }
    }

    /// Returns how much is charged without what was charged ahead, and how many threads were inside a charge
    /// and so may have something charged ahead still.
    ///
    /// # Concurrency
    ///
    /// As [`drain`](Self::drain), which it does. Who charges meanwhile may charge ahead again.
    #[must_use]
    pub fn usage_exact(&self) -> (u64, usize) {
        let inside = self.drain().inside;
        (self.current(), inside)
    }

    /// Returns whether more was ever uncharged than charged, here or below, or a reservation shrunk by more than it
    /// had: a bug of whoever does so. After the former, usages here and above may be too low.
    #[must_use]
    pub fn is_tainted(&self) -> bool {
        self.node.counter.accounting_bugs() > 0
            || Events::total(&self.node)[Kind::Underflow as usize] > 0
    }
}

impl MemoryStats {
    /// Returns whether more was ever uncharged than charged; see [`MemoryCss::is_tainted`].
    #[must_use]
    pub const fn is_tainted(&self) -> bool {
        self.accounting_bugs > 0 || self.events.underflow > 0
    }
}

impl From<[u64; KINDS]> for MemoryEvents {
    fn from(counts: [u64; KINDS]) -> Self {
        let count = |kind: Kind| counts[kind as usize];
        Self {
            low: count(Kind::Low),
            high: count(Kind::High),
            max: count(Kind::Max),
            oom: count(Kind::Oom),
            oom_kill: count(Kind::OomKill),
            oom_group_kill: count(Kind::OomGroupKill),
            force_over_max: count(Kind::ForceOverMax),
            max_lowered_over: count(Kind::MaxLoweredOver),
            drain: count(Kind::Drain),
            drain_skip: count(Kind::DrainSkip),
            underflow: count(Kind::Underflow),
        }
    }
}

impl Node {
    /// Returns how much of `usage` is of the group itself.
    fn own(&self, usage: u64) -> u64 {
        let children = self.children();
        let below = children.iter().map(|child| child.counter.current());
        usage.saturating_sub(below.fold(0, u64::saturating_add))
    }

    /// Returns how many wait for room here.
    fn waiting(&self) -> u64 {
        let line = self.rare.get().and_then(|rare| rare.line.get());
        line.map_or(0, |line| line.waiting())
    }

    /// Returns how much is charged ahead here and below, and in how many pockets.
    fn ahead(self: &Arc<Self>) -> (u64, u64) {
        if self.pockets.gate.is_empty() || self.shared.is_inherited() {
            return (0, 0);
        }
        let (mut bytes, mut pockets) = (0, 0);
        for (_, entry) in self.pockets.list.lock().iter().flat_map(|list| list.iter()) {
            bytes += entry.pocket.look();
            pockets += 1;
        }
        for (more, others) in self.children().iter().map(Self::ahead) {
            (bytes, pockets) = (bytes + more, pockets + others);
        }
        (bytes, pockets)
    }
}
