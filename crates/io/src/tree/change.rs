//! Limits, weights and depth that change while requests wait.

use std::num::{NonZeroU32, NonZeroU64};

use super::{
    IoTree, Limits, NodeId, TreeError, WEIGHT_MAX, WEIGHT_MIN, node::Limiter, queue::reweigh,
};

impl IoTree {
    /// Sets the most that the node and all below it may do. The root may have limits too.
    ///
    /// Takes effect at once, also for what is held back: what was consumed stays consumed, and a debt is
    /// paid back at the new rate from now on. A limit where there was none begins with a full burst;
    /// one that is taken away forgets its debt. The least of the limits on a path is what counts.
    /// O(log of those that are held back), and O(those parked) if it lets somebody go.
    ///
    /// # Errors
    ///
    /// [`TreeError::Rate`] if a rate is 0 or above 2^63 - 1, [`TreeError::Removed`].
    #[doc(alias = "io.max")]
    pub fn set_limits(&mut self, node: NodeId, limits: Limits, now: u64) -> Result<(), TreeError> {
        let at = self.find(node)?;
        limits.check()?;
        self.advance(now);
        let (now, settings) = (self.now, self.settings);
        let node = &mut self.nodes[at];
        let is_held_or_waits = node.waiting != [0; 2];
        if limits == Limits::MAX && !is_held_or_waits {
            node.limiter = None;
            return Ok(());
        }
        node.limiter(now, settings.credit());
        let limiter = node.limiter.get_or_insert_with(|| Box::new(Limiter::new(now)));
        limiter.set(&limits, &settings);
        for plane in 0..2 {
            if self.is_held(at, plane) {
                self.review(at, plane);
            }
        }
        Ok(())
    }

    /// The limits.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`].
    pub fn limits(&self, node: NodeId) -> Result<Limits, TreeError> {
        Ok(self.limits_of(self.find(node)?))
    }

    /// Sets the weight among the siblings: 1 to 10,000, 100 by default.
    ///
    /// Takes effect at once: what the node is ahead or behind stays the same device time.
    /// O(log of the siblings).
    ///
    /// # Errors
    ///
    /// [`TreeError::Weight`] out of range, [`TreeError::Root`], [`TreeError::Removed`].
    #[doc(alias = "io.weight")]
    pub fn set_weight(&mut self, node: NodeId, weight: u32, now: u64) -> Result<(), TreeError> {
        let at = self.below_root(node, "weight")?;
        if !(WEIGHT_MIN..=WEIGHT_MAX).contains(&weight) {
            return Err(TreeError::Weight { node, weight });
        }
        self.advance(now);
        let clock = self.nodes[self.nodes[at].parent].nodes.clock;
        let node = &mut self.nodes[at];
        let tag = reweigh(node.tag, clock, node.weight, weight);
        node.weight = weight;
        self.set_tag(at, tag);
        Ok(())
    }

    /// The weight; of the root, which competes with nobody, the default.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`].
    pub fn weight(&self, node: NodeId) -> Result<u32, TreeError> {
        Ok(self.nodes[self.find(node)?].weight)
    }

    /// Sets how many requests may be in flight; `None` for no bound.
    ///
    /// What is in flight stays there if it becomes less, and is counted until it is completed. What was
    /// granted while nothing was bounded is not counted. O(1).
    #[doc(alias = "nr_requests")]
    pub const fn set_depth(&mut self, depth: Option<NonZeroU32>) {
        self.settings.depth = depth;
    }

    /// Sets how much what is in flight may cost, in nanoseconds of device time; `None` for no bound.
    pub const fn set_max_cost(&mut self, max_cost: Option<NonZeroU64>) {
        self.settings.max_cost = max_cost;
    }

    pub(super) fn limits_of(&self, at: u32) -> Limits {
        self.nodes[at].limiter.as_ref().map_or(Limits::MAX, |limiter| limiter.limits())
    }
}
