//! Weights, classes, latencies, quotas and places that change while the tree runs.

use super::{
    CpuTree, LATENCY_MAX, NodeId, TreeError, WEIGHT_MAX, WEIGHT_MIN, bandwidth::Bandwidth,
    node::Class, tag::reweigh,
};

impl CpuTree {
    /// Sets the weight among the siblings: 1 to 10,000, 100 by default.
    ///
    /// Takes effect at once: what the node is ahead or behind stays the same CPU time. O(log of the siblings).
    ///
    /// # Errors
    ///
    /// [`TreeError::Weight`] out of range, [`TreeError::Root`], [`TreeError::Removed`].
    #[doc(alias = "cpu.weight")]
    pub fn set_weight(&mut self, node: NodeId, weight: u16, now: u64) -> Result<(), TreeError> {
        let at = self.below_root(node, "weight")?;
        if !(WEIGHT_MIN..=WEIGHT_MAX).contains(&weight) {
            return Err(TreeError::Weight { node, weight });
        }
        self.advance(now);
        if !self.is_queued(at) {
            self.place(at);
        }
        let clock = self.clock(at);
        let node = self.node_mut(at);
        node.tag = reweigh(node.tag, clock, node.weight, weight);
        node.weight = weight;
        self.finished(at);
        self.rekey(at);
        Ok(())
    }

    /// Sets whether the node runs only when no sibling of the other class waits, nor the parent's own work.
    ///
    /// Among themselves, nodes of the idle class share by their weights.
    ///
    /// # Errors
    ///
    /// [`TreeError::Root`], [`TreeError::Removed`].
    #[doc(alias = "cpu.idle")]
    pub fn set_idle(&mut self, node: NodeId, is_idle: bool, now: u64) -> Result<(), TreeError> {
        let at = self.below_root(node, "class")?;
        self.advance(now);
        let parent = self.node(at).parent;
        let class = if is_idle { Class::Idle } else { Class::Normal };
        self.transfer(at, parent, class);
        Ok(())
    }

    /// Sets how far ahead of its turn the node may be, in nanoseconds of CPU time: 0, the default, to 10,000,000.
    ///
    /// It moves the node ahead of its siblings by that much once, not with every slice: in any time it
    /// gets at most this much more than without. For groups that need little but at once.
    ///
    /// # Errors
    ///
    /// [`TreeError::Latency`] out of range, [`TreeError::Root`], [`TreeError::Removed`].
    pub fn set_latency(&mut self, node: NodeId, latency_ns: u64) -> Result<(), TreeError> {
        let at = self.below_root(node, "latency")?;
        let latency = u32::try_from(latency_ns).ok().filter(|_| latency_ns <= LATENCY_MAX);
        let latency = latency.ok_or(TreeError::Latency { node, latency: latency_ns })?;
        self.node_mut(at).latency = latency;
        self.rekey(at);
        Ok(())
    }

    /// Sets the most that the node and all below it may use. The root may have one too.
    ///
    /// Takes effect at once, also for what is held back: a quota that is raised pays debt back at its
    /// rate from now on, one that is taken away forgets it. A node that had none begins with a full
    /// bucket. The least of the quotas on a path is what counts.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`].
    #[doc(alias = "cpu.max")]
    pub fn set_bandwidth(
        &mut self,
        node: NodeId,
        bandwidth: Bandwidth,
        now: u64,
    ) -> Result<(), TreeError> {
        let at = self.live(node)?;
        self.advance(now);
        let (slice, now) = (self.settings.slice(), self.now);
        let node = self.node_mut(at);
        if node.quota.is_none() && bandwidth == Bandwidth::MAX {
            return Ok(());
        }
        node.quota.get_or_insert_default().set(bandwidth, slice, node.in_flight, now);
        self.review(at);
        self.hold(at);
        Ok(())
    }

    /// Moves a node with all below it to another parent, and what it is ahead or behind with it.
    ///
    /// What it used stays where it was charged; slices that run are charged where it is when they end.
    /// O(depth · log of the siblings).
    ///
    /// # Errors
    ///
    /// [`TreeError::Cycle`], [`TreeError::Root`], [`TreeError::Removed`] of either.
    pub fn move_node(&mut self, node: NodeId, parent: NodeId, now: u64) -> Result<(), TreeError> {
        let at = self.below_root(node, "other parent")?;
        let to = self.live(parent)?;
        if self.path(to).any(|above| above == at) {
            return Err(TreeError::Cycle { node, parent });
        }
        self.advance(now);
        let (from, class) = (self.node(at).parent, self.node(at).class);
        let in_flight = self.node(at).in_flight;
        let was_queued = self.is_queued(at);
        if in_flight > 0 {
            self.charge_ahead(to, in_flight);
        }
        self.transfer(at, to, class);
        if was_queued {
            self.wake(to);
        }
        if in_flight > 0 {
            self.correct(from, in_flight, 0, 0);
        }
        if was_queued {
            self.sleep(from);
        }
        self.bury(from);
        Ok(())
    }

    /// Brings a node from one queue to another, with its distance from the clock.
    fn transfer(&mut self, at: u32, parent: u32, class: Class) {
        let was_queued = self.is_queued(at);
        let from = self.clock(at);
        self.dequeue(at);
        let former = self.node(at).parent;
        if former != parent {
            self.node_mut(former).child_count -= 1;
            self.node_mut(parent).child_count += 1;
        }
        let node = self.node_mut(at);
        (node.parent, node.class) = (parent, class);
        let origin = self.origin;
        let to = self.nodes[parent as usize].queue_mut(class, origin).clock;
        let node = self.node_mut(at);
        node.tag = to.wrapping_add(node.tag.wrapping_sub(from));
        self.place(at);
        if was_queued {
            self.enqueue(at);
        }
    }
}
