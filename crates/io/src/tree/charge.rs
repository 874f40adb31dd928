//! What is taken at every level, and what comes back: one walk from a flow to the root.

use super::{
    Amount, Dimension, Direction, FlowId, IoTree, Lease, NodeId,
    node::{DIMENSIONS, Ticket},
    queue::span,
};

/// The greatest lease, in bytes.
const LEASE_BYTES: u64 = 4 << 20;

/// A lease is what comes in during this part of a second: 0.5 ms.
const LEASES_A_SECOND: u64 = 2_000;

/// What is taken in one go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Charge {
    pub(super) plane: usize,
    pub(super) bytes: u64,
    pub(super) ops: u64,
    pub(super) cost: u64,
}

impl IoTree {
    /// Gives back what was granted and not used: a short read, or a grant that nobody took.
    ///
    /// `node` and `flow` are those that were charged. What the device was not used for moves them
    /// back among their siblings, but no further than somebody who had been away. Ignored if the node
    /// is removed. Does not [`complete`](Self::complete). O(depth · log of the siblings).
    pub fn refund(
        &mut self,
        node: NodeId,
        flow: FlowId,
        direction: Direction,
        amount: Amount,
        now: u64,
    ) {
        self.advance(now);
        let Some(at) = self.nodes.find(node.0) else { return };
        let flow = self.flows.find(flow.0).filter(|flow| self.flows[*flow].node == node.0);
        let Amount { bytes, ops, cost } = amount;
        self.give_back(at, flow, Charge { plane: direction as usize, bytes, ops, cost });
    }

    /// Takes tokens of all limits that count this direction, to be used without the tree: as much as
    /// comes in during 0.5 ms of the tightest one, at most 4 MiB, and no more than is there.
    ///
    /// `None` while anybody waits or what is in flight is bounded, if there is no token left, or if the
    /// node is removed. Shares, reservations and figures do not know of it.
    pub fn lease(&mut self, node: NodeId, direction: Direction, now: u64) -> Option<Lease> {
        let at = self.nodes.find(node.0)?;
        self.advance(now);
        if self.waiting > 0 || self.is_scheduled() {
            return None;
        }
        let (now, credit) = (self.now, self.settings.credit());
        let plane = direction as usize;
        let mut most = [u64::from(Lease::BYTES_MAX), u64::from(Lease::OPS_MAX)];
        let mut next = Some(at);
        while let Some(at) = next {
            if let Some(limiter) = self.nodes[at].limiter(now, credit) {
                for dimension in DIMENSIONS[plane] {
                    let bucket = &limiter.buckets[dimension as usize];
                    if bucket.is_limited() {
                        let part = (bucket.rate() / LEASES_A_SECOND).min(bucket.whole());
                        let most = &mut most[usize::from(!dimension.is_bytes())];
                        let cap = if dimension.is_bytes() { LEASE_BYTES } else { u64::MAX };
                        *most = (*most).min(part).min(cap);
                    }
                }
            }
            next = self.parent_of(at);
        }
        let [bytes, ops] = most.map(|most| u32::try_from(most).unwrap_or(u32::MAX));
        if bytes == 0 || ops == 0 {
            return None;
        }
        self.take_above(at, plane, u64::from(bytes), u64::from(ops));
        Some(Lease { ops, bytes })
    }

    /// Gives back what is left of a lease. What does not fit in the burst is lost. Ignored if the node
    /// is removed.
    pub fn unlease(&mut self, node: NodeId, direction: Direction, lease: Lease, now: u64) {
        self.advance(now);
        let Some(at) = self.nodes.find(node.0) else { return };
        let (bytes, ops) = (u64::from(lease.bytes), u64::from(lease.ops));
        self.give_above(at, direction as usize, bytes, ops);
    }

    /// Whether no limit of the node or above it counts this direction, and nothing bounds what is in
    /// flight: then nothing of the kind has to be asked for. `false` if the node is removed. O(depth).
    pub fn is_free(&self, node: NodeId, direction: Direction) -> bool {
        let Some(at) = self.nodes.find(node.0) else { return false };
        !self.is_scheduled() && self.is_unlimited(at, direction as usize)
    }

    pub(super) fn is_unlimited(&self, at: u32, plane: usize) -> bool {
        let is_limited = |at: u32| {
            let limiter = self.nodes[at].limiter.as_ref();
            limiter.is_some_and(|limiter| {
                let bucket = |of: Dimension| &limiter.buckets[of as usize];
                DIMENSIONS[plane].into_iter().any(|of| bucket(of).is_limited())
            })
        };
        !self.path(at).any(is_limited)
    }

    /// A request has ended; `cost` is the one it was granted with. To be called once for each grant
    /// while [`is_scheduled`](Self::is_scheduled) held. O(1).
    pub fn complete(&mut self, cost: u64, now: u64) {
        self.advance(now);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.in_flight_cost = self.in_flight_cost.saturating_sub(cost);
        if self.in_flight == 0 {
            self.in_flight_cost = 0;
        }
    }

    /// A request goes to the device.
    pub(super) const fn depart(&mut self, cost: u64) {
        if self.is_scheduled() {
            self.in_flight = self.in_flight.saturating_add(1);
            self.in_flight_cost = self.in_flight_cost.saturating_add(cost);
        }
    }

    /// Takes one piece at every level: limits, reservations, shares, figures. `reserved` is the node
    /// whose reservation it is served by: it and its reservation pay, but not its share.
    pub(super) fn charge(&mut self, flow: u32, charge: Charge, reserved: u32) {
        let Charge { plane, bytes, ops, cost } = charge;
        let (now, credit) = (self.now, self.settings.credit());
        let quantum = self.settings.quantum();
        let at = self.node_at(flow);
        let own_span = Self::own_span(cost);
        self.set_flow_tag(flow, self.flows[flow].tag + own_span);
        self.set_own_tag(at, self.nodes[at].own_tag + own_span);
        let mut next = Some(at);
        while let Some(at) = next {
            let node = &mut self.nodes[at];
            if let Some(limiter) = node.limiter(now, credit) {
                limiter.take(plane, bytes, ops);
            }
            let stats = &mut node.stats;
            stats.bytes[plane] = stats.bytes[plane].saturating_add(bytes);
            stats.ops[plane] = stats.ops[plane].saturating_add(ops);
            stats.cost = stats.cost.saturating_add(cost);
            let tag = node.tag + span(cost, node.weight);
            if let Some(reserve) = node.reserve.as_deref_mut() {
                reserve.refill(now, credit);
                reserve.take(bytes, ops, quantum);
                self.rerank(at);
            }
            next = self.parent_of(at);
            if next.is_some() && at != reserved {
                self.set_tag(at, tag);
            }
        }
    }

    /// The reverse of [`charge`](Self::charge).
    pub(super) fn give_back(&mut self, at: u32, flow: Option<u32>, charge: Charge) {
        let Charge { plane, bytes, ops, cost } = charge;
        let (now, credit) = (self.now, self.settings.credit());
        let own_span = Self::own_span(cost);
        // Nobody gets further back than who comes after a pause: a reservation may have paid.
        let back =
            |tag: u128, span: u128, floor: u128| tag.saturating_sub(span).max(floor.min(tag));
        if let Some(flow) = flow {
            let tag = back(self.flows[flow].tag, own_span, self.nodes[at].own.floor());
            self.set_flow_tag(flow, tag);
        }
        let own_tag = back(self.nodes[at].own_tag, own_span, self.nodes[at].nodes.floor());
        self.set_own_tag(at, own_tag);
        let mut next = Some(at);
        while let Some(at) = next {
            let node = &mut self.nodes[at];
            let stats = &mut node.stats;
            stats.bytes[plane] = stats.bytes[plane].saturating_sub(bytes);
            stats.ops[plane] = stats.ops[plane].saturating_sub(ops);
            stats.cost = stats.cost.saturating_sub(cost);
            let (tag, node_span) = (node.tag, span(cost, node.weight));
            if let Some(reserve) = node.reserve.as_deref_mut() {
                reserve.refill(now, credit);
                reserve.give(bytes, ops, credit);
                self.rerank(at);
            }
            next = self.parent_of(at);
            if let Some(parent) = next {
                self.set_tag(at, back(tag, node_span, self.nodes[parent].nodes.floor()));
            }
        }
        self.give_above(at, plane, bytes, ops);
    }

    /// Takes from all limits of the node and above it.
    fn take_above(&mut self, at: u32, plane: usize, bytes: u64, ops: u64) {
        let (now, credit) = (self.now, self.settings.credit());
        let mut next = Some(at);
        while let Some(at) = next {
            if let Some(limiter) = self.nodes[at].limiter(now, credit) {
                limiter.take(plane, bytes, ops);
            }
            next = self.parent_of(at);
        }
    }

    /// Gives back to all limits of the node and above it; lets go whom that lets go.
    fn give_above(&mut self, at: u32, plane: usize, bytes: u64, ops: u64) {
        let (now, credit) = (self.now, self.settings.credit());
        let mut next = Some(at);
        while let Some(at) = next {
            if let Some(limiter) = self.nodes[at].limiter(now, credit) {
                limiter.give(plane, bytes, ops, credit);
            }
            // Limits of both directions together concern the other plane as well.
            for plane in 0..2 {
                if self.is_held(at, plane) {
                    self.review(at, plane);
                }
            }
            next = self.parent_of(at);
        }
    }

    pub(super) const fn has_room(&self) -> bool {
        if self.in_flight == 0 {
            return true;
        }
        let is_shallow = match self.settings.depth {
            Some(depth) => self.in_flight < depth.get(),
            None => true,
        };
        let is_cheap = match self.settings.max_cost {
            Some(most) => self.in_flight_cost < most.get(),
            None => true,
        };
        is_shallow && is_cheap
    }

    /// What a piece of a request is: all of it, or one quantum. If nobody else could be served, as many as
    /// there would be one after the other.
    pub(super) fn piece(&mut self, ticket: u32) -> Charge {
        let Ticket { flow, plane, bytes, all_bytes, cost, is_begun, .. } = self.tickets[ticket];
        let whole = Charge { plane, bytes, ops: u64::from(!is_begun), cost };
        let quantum = self.settings.piece(all_bytes);
        if bytes <= quantum {
            return whole;
        }
        let at = self.node_at(flow);
        let count =
            if self.is_alone(at, plane) { self.quanta(at, plane, quantum, is_begun) } else { 1 };
        let part = bytes.min(quantum.saturating_mul(count));
        let cost_part = u128::from(cost) * u128::from(part) / u128::from(bytes);
        Charge { bytes: part, cost: u64::try_from(cost_part).unwrap_or(cost), ..whole }
    }

    /// Whether nobody but one flow of the node, in one direction, has something that can be served.
    fn is_alone(&self, at: u32, plane: usize) -> bool {
        let own = &self.nodes[at].own;
        let is_first = own.is_single(plane) && self.nodes[at].nodes.is_empty();
        is_first
            && self
                .path(at)
                .skip(1)
                .all(|at| self.nodes[at].own.is_empty() && self.nodes[at].nodes.is_single(plane))
    }

    /// How many quanta the limits let through one after the other, if it is more than one.
    fn quanta(&mut self, at: u32, plane: usize, quantum: u64, is_begun: bool) -> u64 {
        let (now, credit) = (self.now, self.settings.credit());
        let mut count = u64::MAX;
        let mut next = Some(at);
        while let Some(at) = next {
            if let Some(limiter) = self.nodes[at].limiter(now, credit) {
                for dimension in DIMENSIONS[plane] {
                    let bucket = &limiter.buckets[dimension as usize];
                    if dimension.is_bytes() {
                        count = count.min(bucket.whole() / quantum);
                    } else if bucket.is_limited() && !is_begun {
                        // It may be the last operation for now.
                        return 1;
                    }
                }
            }
            next = self.parent_of(at);
        }
        count.max(1)
    }
}
