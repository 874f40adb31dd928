//! Picking a leaf, and charging what its slice took.

use super::{
    CpuTree, NodeId,
    node::{Child, Class, WEIGHT},
    tag::{cap, is_before, span},
};

/// Longer slices are charged as this: 104 days.
const COST_MAX: u64 = 1 << 53;

/// A slice for a node's own work: the right to run for about so long, and the duty to
/// [settle](CpuTree::settle) it.
///
/// One that is never settled leaves its estimate charged, and a removed node in its place, for good.
#[derive(Debug)]
#[must_use = "a slice must be settled, also if nothing was run"]
pub struct Pick {
    pub(super) node: NodeId,
    pub(super) slice: u64,
    pub(super) estimate: u64,
}

impl Pick {
    /// Whose own work is to run.
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// For how long, in nanoseconds of CPU time: the tree's slice, or less where tokens are short, but
    /// 20,000 at least.
    pub const fn slice(&self) -> u64 {
        self.slice
    }

    /// What has been charged for it ahead, in nanoseconds of CPU time.
    pub const fn estimate(&self) -> u64 {
        self.estimate
    }
}

impl CpuTree {
    /// Picks who is next, from the root down: in every queue the child with the smallest key, of the
    /// idle class only if no other waits.
    ///
    /// The leaf stays active: several workers may run it at once. Who finds that nothing waits there
    /// [deactivates](Self::deactivate) it. Nodes whose quota has come are released first.
    ///
    /// `None` if nothing waits, or quotas hold back all that does ([`Self::next_release`]).
    /// O(depth · log of the siblings), and the same for every node that is released.
    pub fn pick(&mut self, now: u64) -> Option<Pick> {
        self.advance(now);
        self.release_due();
        let (mut at, mut slice) = (0, self.settings.slice());
        if !self.has_waiting() {
            return None;
        }
        loop {
            slice = slice.min(self.longest(at));
            match self.node_mut(at).next()? {
                Child::Own => return Some(self.grant(at, slice)),
                Child::Node(child) => at = child,
            }
        }
    }

    /// Picks this node's own work, whoever is next.
    ///
    /// It is charged as any other slice, so it is a loan from the future of the node and its ancestors.
    ///
    /// `None` if nothing waits there, or a quota on its path holds it back, or the node is gone.
    pub fn pick_at(&mut self, node: NodeId, now: u64) -> Option<Pick> {
        let at = self.present(node)?;
        self.advance(now);
        self.release_due();
        if !self.node(at).is_own_active || self.is_held_back(at) {
            return None;
        }
        let (mut slice, mut above) = (self.settings.slice(), Some(at));
        while let Some(at) = above {
            slice = slice.min(self.longest(at));
            // The clocks go by who is next, not by who is taken out of turn.
            self.node_mut(at).next();
            above = self.node(at).parent();
        }
        Some(self.grant(at, slice))
    }

    /// Charges what a slice took, in nanoseconds of CPU time, to its node and all above it.
    ///
    /// What was charged ahead is corrected, so that after it exactly `cpu_ns` are charged: in usage and
    /// quotas without a limit, against the siblings as far as debt is remembered. It also works for a
    /// node that was removed or moved while the slice ran. More than 2^53 ns, 104 days, count as that.
    pub fn settle(&mut self, pick: Pick, cpu_ns: u64, now: u64) {
        self.advance(now);
        let Some(at) = self.present(pick.node) else { return };
        let cost = cpu_ns.min(COST_MAX);
        self.learn(at, cost);
        let debt = self.settings.debt();
        let node = self.node_mut(at);
        let tag = node.own_tag.wrapping_add(span(cost, WEIGHT));
        let tag = tag.wrapping_sub(span(pick.estimate, WEIGHT));
        let in_flight = node.in_flight.saturating_sub(pick.estimate);
        let capped = cap(tag, node.normal.clock, WEIGHT, debt + in_flight);
        node.overruns = node.overruns.saturating_add(u32::from(capped != tag));
        node.own_tag = capped;
        node.normal.finished(capped);
        node.own_usage = node.own_usage.saturating_add(cost);
        if self.correct(at, pick.estimate, cost, 1) {
            let mut above = Some(at);
            while let Some(at) = above {
                self.hold(at);
                above = self.node(at).parent();
            }
        }
        self.bury(at);
    }

    /// Whether the own work that waits at `node` would be picked before `pick` went on, if its slice
    /// ended now with what was estimated: the preemption rule.
    ///
    /// The two are compared where their paths part. False if nothing waits there, if a quota holds it
    /// back, or if it is the same node. O(depth).
    pub fn is_ahead(&self, node: NodeId, pick: &Pick) -> bool {
        let (Some(a), Some(b)) = (self.present(node), self.present(pick.node)) else {
            return false;
        };
        if a == b || !self.node(a).is_own_active || self.is_held_back(a) {
            return false;
        }
        let (mut a, mut b, mut a_child, mut b_child) = (a, b, None, None);
        let (mut a_depth, mut b_depth) = (self.path(a).count(), self.path(b).count());
        while a != b {
            let parent = |at| self.node(at).parent().unwrap_or_default();
            let (up_a, up_b) = (a_depth >= b_depth, b_depth >= a_depth);
            if up_a {
                (a_child, a, a_depth) = (Some(a), parent(a), a_depth - 1);
            }
            if up_b {
                (b_child, b, b_depth) = (Some(b), parent(b), b_depth - 1);
            }
        }
        let key = |child: Option<u32>| match child {
            None => (Class::Normal, self.node(a).own_tag),
            Some(child) => (self.class_of(child), self.node(child).key()),
        };
        match (key(a_child), key(b_child)) {
            ((Class::Normal, _), (Class::Idle, _)) => true,
            ((Class::Idle, _), (Class::Normal, _)) => false,
            ((_, a), (_, b)) => is_before(a, b),
        }
    }

    fn longest(&mut self, at: u32) -> u64 {
        let now = self.now;
        self.node_mut(at).quota.as_mut().map_or(u64::MAX, |quota| {
            quota.refill(now);
            quota.longest()
        })
    }

    fn grant(&mut self, at: u32, slice: u64) -> Pick {
        let node = self.node(at);
        let usual = u64::from(node.estimate);
        // A short slice is for polls that are short; those that are long are not shorter in it.
        let estimate = if usual > self.settings.slice() { usual } else { usual.min(slice) };
        let id = NodeId { index: at, generation: node.generation };
        let node = self.node_mut(at);
        node.own_tag = node.own_tag.wrapping_add(span(estimate, WEIGHT));
        self.charge_ahead(at, estimate);
        Pick { node: id, slice, estimate }
    }

    /// Charges an estimate to a node and all above it.
    pub(super) fn charge_ahead(&mut self, at: u32, estimate: u64) {
        let (mut above, mut is_dry) = (Some(at), false);
        while let Some(at) = above {
            let node = self.node_mut(at);
            node.in_flight += estimate;
            node.tag = node.tag.wrapping_add(span(estimate, node.weight));
            above = node.parent();
            if let Some(quota) = &mut node.quota {
                quota.draw(estimate);
                is_dry |= quota.is_dry();
            }
            self.rekey(at);
        }
        if is_dry {
            self.review_path(at);
        }
    }

    /// Replaces an estimate by what it was, at a node and all above it; whether one has had a quota.
    pub(super) fn correct(&mut self, at: u32, estimate: u64, cost: u64, slices: u64) -> bool {
        let (mut above, mut has_quota) = (Some(at), false);
        let (debt, now) = (self.settings.debt(), self.now);
        while let Some(at) = above {
            let clock = self.clock(at);
            let node = self.node_mut(at);
            let tag = node.tag.wrapping_add(span(cost, node.weight));
            let tag = tag.wrapping_sub(span(estimate, node.weight));
            node.in_flight = node.in_flight.saturating_sub(estimate);
            above = node.parent();
            let debt = debt + node.in_flight + u64::from(node.latency);
            node.tag = if above.is_some() { cap(tag, clock, node.weight, debt) } else { tag };
            node.overruns = node.overruns.saturating_add(u32::from(node.tag != tag));
            node.usage = node.usage.saturating_add(cost);
            node.slices += slices;
            node.rest();
            if let Some(quota) = &mut node.quota {
                quota.settle(estimate, cost, now);
                has_quota = true;
            }
            self.finished(at);
            self.rekey(at);
        }
        if has_quota {
            self.review_path(at);
        }
        has_quota
    }

    fn review_path(&mut self, at: u32) {
        let mut above = Some(at);
        while let Some(at) = above {
            self.review(at);
            above = self.node(at).parent();
        }
    }

    /// A moving average over about four slices.
    fn learn(&mut self, at: u32, cost: u64) {
        let most = self.settings.debt();
        let node = self.node_mut(at);
        let estimate = (3 * u64::from(node.estimate) + cost.min(most)) / 4;
        node.estimate = u32::try_from(estimate).unwrap_or(u32::MAX).max(ESTIMATE_MIN);
    }
}

/// An estimate is never zero, so that a slice in flight is seen: 1 us.
const ESTIMATE_MIN: u32 = 1_000;
