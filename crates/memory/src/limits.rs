//! What may be charged, what is kept from reclaim, and who goes first when nobody can go on.
//!
//! `max` is the counter's own (`css.rs`); everything else here is a word that others look at: `high` as a charge
//! has been made, `min` and `low` as reclaim looks for what to take (`protect.rs`), priority and
//! `oom.group` as a victim is chosen.
//!
//! A group that is being removed protects nothing any more, or its share would be kept from its siblings for
//! ever: its settings read as none from then on, those that come late included.

use fief_core::Limit;

use crate::{
    css::MemoryCss,
    node::{NONE, Node},
    protect,
    rare::Rare,
    reclaim::{self, Goal, Pass},
    stock::drain,
    sync::{Arc, AtomicU64, Ordering},
    trace::event,
};

/// The highest limit that is one, in bytes.
pub(crate) const MOST_LIMIT: u64 = (1 << 63) - 2;

impl MemoryCss {
    /// Sets the bound above which charges are throttled, in bytes, and returns how much is charged.
    ///
    /// It refuses nothing, and may be below the usage or above [`max`](Self::max). A number above
    /// 2^63 − 2 is no bound. If more is charged, reclaimers are run as by [`set_max`](Self::set_max), but no owner is
    /// asked to spill; what is above it after that is paid for with time, see [`over_high`](Self::over_high).
    #[doc(alias = "memory.high")]
    pub fn set_high(&self, high: Limit) -> u64 {
        set(&self.node.high, high);
        event!("set_limit", file = "memory.high", value = %high, cgroup = %self.node.path());
        let current = self.current();
        if !high.allows(current) {
            drain::drain(&self.node);
            reclaim::run(&self.node, None, Goal::WithinHigh, Pass::Evict);
        }
        current
    }

    /// Returns how much of the usage reclaim never takes; the default is `Limit::At(0)`, which protects nothing.
    #[must_use]
    #[doc(alias = "memory.min")]
    pub fn min(&self) -> Limit {
        limit(self.node.min())
    }

    /// Sets how much of the usage reclaim never takes, in bytes; [`Limit::Max`] for all of it.
    ///
    /// It may be more than the group may charge, and more than the groups above protect: what it comes to is
    /// [`effective_min`](Self::effective_min). It has no effect on a root, and on a removed group.
    #[doc(alias = "memory.min")]
    pub fn set_min(&self, min: Limit) {
        set(&self.node.rare().min, min);
        event!("set_limit", file = "memory.min", value = %min, cgroup = %self.node.path());
    }

    /// Returns how much of the usage reclaim takes last; the default is `Limit::At(0)`, which protects nothing.
    #[must_use]
    #[doc(alias = "memory.low")]
    pub fn low(&self) -> Limit {
        limit(self.node.low())
    }

    /// Sets how much of the usage reclaim takes only when there is nothing else, in bytes; [`Limit::Max`]
    /// for all of it.
    ///
    /// As [`set_min`](Self::set_min) otherwise.
    #[doc(alias = "memory.low")]
    pub fn set_low(&self, low: Limit) {
        set(&self.node.rare().low, low);
        event!("set_limit", file = "memory.low", value = %low, cgroup = %self.node.path());
    }

    /// Returns how much `min` comes to, in bytes, as usage stands: when memory is short at the root.
    ///
    /// What siblings protect beyond what is protected above them is shared among them; see
    /// [`set_min`](Self::set_min). A root protects nothing.
    ///
    /// # Concurrency
    ///
    /// Takes a short lock at every level and looks at all siblings there. The figures are of one moment each.
    #[must_use]
    pub fn effective_min(&self) -> u64 {
        self.node.effective(Node::min)
    }

    /// Returns how much `low` comes to, in bytes; as [`effective_min`](Self::effective_min).
    #[must_use]
    pub fn effective_low(&self) -> u64 {
        self.node.effective(Node::low)
    }

    /// Returns whether the group is a victim as a whole or not at all; the default is that it is not.
    #[must_use]
    #[doc(alias = "memory.oom.group")]
    pub fn oom_group(&self) -> bool {
        self.node.is_oom_group()
    }

    /// Sets whether the group is a victim as a whole, with all below it, if one of them is chosen.
    ///
    /// The highest such group counts, up to the one that is short of memory. A root never does.
    #[doc(alias = "memory.oom.group")]
    pub fn set_oom_group(&self, is_group: bool) {
        // Ordering: Relaxed: a setting.
        self.node.rare().is_oom_group.store(is_group, Ordering::Relaxed);
    }

    /// Returns the priority; the default is 0.
    #[must_use]
    pub fn priority(&self) -> i32 {
        self.node.priority()
    }

    /// Sets the priority: when nobody can go on, groups of a lower one are victims before others.
    #[doc(alias = "oom_score_adj")]
    pub fn set_priority(&self, priority: i32) {
        // Ordering: Relaxed: a setting.
        self.node.rare().priority.store(priority.cast_unsigned(), Ordering::Relaxed);
    }
}

impl Node {
    /// Returns `memory.min`; 0 once the group is being removed.
    pub(crate) fn min(&self) -> u64 {
        self.protection(|rare| &rare.min)
    }

    /// Returns `memory.low`; 0 once the group is being removed.
    pub(crate) fn low(&self) -> u64 {
        self.protection(|rare| &rare.low)
    }

    fn protection(&self, of: fn(&Rare) -> &AtomicU64) -> u64 {
        match self.rare.get() {
            // Ordering: Relaxed: a setting.
            Some(rare) if !self.is_closed() => of(rare).load(Ordering::Relaxed),
            _ => 0,
        }
    }

    /// Returns whether the group is a victim as a whole.
    pub(crate) fn is_oom_group(&self) -> bool {
        // Ordering: Relaxed: a setting.
        self.rare.get().is_some_and(|rare| rare.is_oom_group.load(Ordering::Relaxed))
    }

    /// Returns the priority.
    pub(crate) fn priority(&self) -> i32 {
        // Ordering: Relaxed: a setting.
        let priority = self.rare.get().map_or(0, |rare| rare.priority.load(Ordering::Relaxed));
        priority.cast_signed()
    }

    /// Returns what a protection comes to when memory is short at the root.
    fn effective(self: &Arc<Self>, setting: fn(&Self) -> u64) -> u64 {
        let Some(parent) = &self.parent else { return 0 };
        if parent.parent.is_none() {
            return setting(self);
        }
        let above = parent.effective(setting);
        let claim = |child: &Arc<Self>| child.counter.current().min(setting(child));
        let claims = parent.children().iter().map(claim).fold(0, u64::saturating_add);
        let (usage, of_parent) = (self.counter.current(), parent.counter.current());
        protect::effective(usage, setting(self), of_parent, above, claims)
    }
}

fn set(word: &AtomicU64, bound: Limit) {
    let bound = match bound {
        Limit::At(bound) if bound <= MOST_LIMIT => bound,
        _ => NONE,
    };
    // Ordering: Relaxed: a setting.
    word.store(bound, Ordering::Relaxed);
}

/// Returns the bound that a word stands for.
pub(crate) fn limit(bound: u64) -> Limit {
    if bound == NONE { Limit::Max } else { Limit::At(bound) }
}
