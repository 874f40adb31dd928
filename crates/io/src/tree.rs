//! Who is served next: limits, weights, reservations and depth of one device, as a data structure.

use std::collections::VecDeque;
use std::num::{NonZeroU32, NonZeroU64};

use arena::{Arena, Key, NONE};
use bucket::Bucket;
use fief_core::Limit;

pub use error::{Blocked, SettingsError, TreeError};
pub use limits::{Dimension, Limits, Min, RATE_MAX};
pub use request::{
    Amount, Direction, FlowId, Grant, Lease, NodeId, NodeStats, Request, TicketId, Waited,
};
pub use settings::TreeSettings;

mod settings;
mod limits;
mod request;
mod error;
mod bucket;
mod arena;

/// The least weight.
pub const WEIGHT_MIN: u32 = 1;
/// The greatest weight.
pub const WEIGHT_MAX: u32 = 10_000;
/// The weight of a node that was never told, and of own requests among a node's children.
pub const WEIGHT_DEFAULT: u32 = 100;

#[derive(Debug, Default)]
struct Node {
    parent: u32,
    children: u32,
    weight: u32,
    limits: Limits,
    min: Min,
    buckets: [Bucket; 6],
    stats: NodeStats,
}

#[derive(Debug, Default)]
struct Flow {
    node: Option<NodeId>,
}

#[derive(Debug, Default)]
struct Ticket {
    request: Option<(FlowId, Request)>,
    since: u64,
}

/// A tree of groups that share a device: says whose request is next, and keeps account.
///
/// A data structure: it takes no lock, reads no clock and runs nothing. `now` is the time in
/// nanoseconds since any origin; a `now` before the last one counts as the last one.
#[derive(Debug)]
pub struct IoTree {
    nodes: Arena<Node>,
    flows: Arena<Flow>,
    tickets: Arena<Ticket>,
    queue: VecDeque<TicketId>,
    settings: TreeSettings,
    in_flight: u32,
    in_flight_cost: u64,
    now: u64,
}

impl IoTree {
    /// A tree with a root.
    pub fn new(settings: TreeSettings) -> Self {
        let mut nodes = Arena::new();
        nodes.insert(Node { parent: NONE, weight: WEIGHT_DEFAULT, ..Node::default() });
        Self {
            nodes,
            flows: Arena::new(),
            tickets: Arena::new(),
            queue: VecDeque::new(),
            settings,
            in_flight: 0,
            in_flight_cost: 0,
            now: 0,
        }
    }

    /// The root.
    pub const fn root(&self) -> NodeId {
        NodeId(Key { index: 0, generation: 1 })
    }

    /// The settings, with the depth as it is now.
    pub const fn settings(&self) -> TreeSettings {
        self.settings
    }

    /// Adds a child.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`], [`TreeError::Full`].
    pub fn add(&mut self, parent: NodeId) -> Result<NodeId, TreeError> {
        let parent = self.find(parent)?;
        let node = Node { parent, weight: WEIGHT_DEFAULT, ..Node::default() };
        let key =
            self.nodes.insert(node).ok_or(TreeError::Full { what: "nodes", most: 1 << 30 })?;
        self.nodes[parent].children += 1;
        Ok(NodeId(key))
    }

    /// Removes a node without children, cancels what waits there and returns it.
    ///
    /// # Errors
    ///
    /// [`TreeError::Root`], [`TreeError::Removed`], [`TreeError::Children`].
    pub fn remove(&mut self, node: NodeId, now: u64) -> Result<Vec<TicketId>, TreeError> {
        let at = self.find(node)?;
        if at == 0 {
            return Err(TreeError::Root { what: "end" });
        }
        if self.nodes[at].children > 0 {
            return Err(TreeError::Children { node, children: self.nodes[at].children });
        }
        let of_node = |ticket: &TicketId| {
            let request = self.tickets[ticket.0.index].request;
            request.is_some_and(|(flow, _)| self.flows[flow.0.index].node == Some(node))
        };
        let cancelled: Vec<TicketId> = self.queue.iter().copied().filter(of_node).collect();
        for ticket in &cancelled {
            self.cancel(*ticket, now);
        }
        let parent = self.nodes.remove(at).parent;
        self.nodes[parent].children -= 1;
        Ok(cancelled)
    }

    /// Whether the node is there.
    pub fn contains(&self, node: NodeId) -> bool {
        self.nodes.find(node.0).is_some()
    }

    /// Sets the limits.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`], [`TreeError::Rate`].
    pub fn set_limits(&mut self, node: NodeId, limits: Limits, now: u64) -> Result<(), TreeError> {
        let at = self.find(node)?;
        limits.check()?;
        self.advance(now);
        let settings = self.settings;
        let node = &mut self.nodes[at];
        node.limits = limits;
        for dimension in Dimension::ALL {
            let rate = if let Limit::At(rate) = limits.rate(dimension) { rate } else { 0 };
            node.buckets[dimension as usize].change(rate, limits.burst_of(dimension, &settings));
        }
        Ok(())
    }

    /// The limits.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`].
    pub fn limits(&self, node: NodeId) -> Result<Limits, TreeError> {
        Ok(self.nodes[self.find(node)?].limits)
    }

    /// Sets the weight among the siblings.
    ///
    /// # Errors
    ///
    /// [`TreeError::Weight`], [`TreeError::Root`], [`TreeError::Removed`].
    pub fn set_weight(&mut self, node: NodeId, weight: u32, now: u64) -> Result<(), TreeError> {
        let at = self.find(node)?;
        self.advance(now);
        self.nodes[at].weight = weight;
        Ok(())
    }

    /// The weight.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`].
    pub fn weight(&self, node: NodeId) -> Result<u32, TreeError> {
        Ok(self.nodes[self.find(node)?].weight)
    }

    /// Sets what is reserved.
    ///
    /// # Errors
    ///
    /// [`TreeError::Min`], [`TreeError::MinBelow`], [`TreeError::Removed`].
    pub fn set_min(&mut self, node: NodeId, min: Min, now: u64) -> Result<(), TreeError> {
        let at = self.find(node)?;
        self.advance(now);
        self.nodes[at].min = min;
        Ok(())
    }

    /// What is reserved.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`].
    pub fn min(&self, node: NodeId) -> Result<Min, TreeError> {
        Ok(self.nodes[self.find(node)?].min)
    }

    /// Sets how many requests may be in flight.
    pub const fn set_depth(&mut self, depth: Option<NonZeroU32>) {
        self.settings.depth = depth;
    }

    /// Sets how much what is in flight may cost.
    pub const fn set_max_cost(&mut self, max_cost: Option<NonZeroU64>) {
        self.settings.max_cost = max_cost;
    }

    /// Opens a flow at a node.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`], [`TreeError::Full`].
    pub fn open_flow(&mut self, node: NodeId) -> Result<FlowId, TreeError> {
        self.find(node)?;
        let key = self.flows.insert(Flow { node: Some(node) });
        Ok(FlowId(key.ok_or(TreeError::Full { what: "flows", most: 1 << 30 })?))
    }

    /// Closes a flow, cancels what waits in it and returns it.
    pub fn close_flow(&mut self, flow: FlowId, now: u64) -> Vec<TicketId> {
        let Some(at) = self.flows.find(flow.0) else { return Vec::new() };
        let of_flow = |ticket: &TicketId| {
            self.tickets[ticket.0.index].request.is_some_and(|(of, _)| of == flow)
        };
        let cancelled: Vec<TicketId> = self.queue.iter().copied().filter(of_flow).collect();
        for ticket in &cancelled {
            self.cancel(*ticket, now);
        }
        self.flows.remove(at);
        cancelled
    }

    /// Moves a flow, with what waits in it, to another node.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`], [`TreeError::Closed`].
    pub fn move_flow(&mut self, flow: FlowId, node: NodeId, now: u64) -> Result<(), TreeError> {
        self.find(node)?;
        let at = self.flows.find(flow.0).ok_or(TreeError::Closed { flow })?;
        self.advance(now);
        self.flows[at].node = Some(node);
        Ok(())
    }

    /// The node of a flow; `None` if the flow is closed or its node is removed.
    pub fn node_of(&self, flow: FlowId) -> Option<NodeId> {
        let node = self.flows[self.flows.find(flow.0)?].node?;
        self.contains(node).then_some(node)
    }

    /// Grants a request at once, or not at all.
    ///
    /// # Errors
    ///
    /// [`Blocked`].
    pub fn try_grant(&mut self, flow: FlowId, request: Request, now: u64) -> Result<(), Blocked> {
        self.advance(now);
        let node = self.node_of(flow).ok_or(Blocked::Closed { flow })?;
        if !self.queue.is_empty() {
            return Err(Blocked::Queue);
        }
        if !self.has_room() {
            return Err(Blocked::Depth);
        }
        if let Some(until) = self.blocked_until(node, request.direction) {
            return Err(Blocked::Limit { node, until });
        }
        self.charge(node, request);
        Ok(())
    }

    /// Lets a request wait until it is picked.
    ///
    /// # Errors
    ///
    /// [`TreeError::Closed`], [`TreeError::Full`].
    pub fn enqueue(
        &mut self,
        flow: FlowId,
        request: Request,
        now: u64,
    ) -> Result<TicketId, TreeError> {
        self.advance(now);
        self.node_of(flow).ok_or(TreeError::Closed { flow })?;
        let ticket = Ticket { request: Some((flow, request)), since: self.now };
        let key = self.tickets.insert(ticket);
        let ticket = TicketId(key.ok_or(TreeError::Full { what: "tickets", most: 1 << 30 })?);
        self.queue.push_back(ticket);
        Ok(ticket)
    }

    /// Takes a request that waits back; returns how long it waited, `None` if it does not wait.
    pub fn cancel(&mut self, ticket: TicketId, now: u64) -> Option<Waited> {
        self.advance(now);
        let at = self.tickets.find(ticket.0)?;
        self.queue.retain(|waiting| *waiting != ticket);
        let since = self.tickets.remove(at).since;
        Some(Waited { limit: 0, queue: self.now - since })
    }

    /// Charges a request whatever the limits and the depth say.
    ///
    /// # Errors
    ///
    /// [`TreeError::Closed`].
    pub fn force(&mut self, flow: FlowId, request: Request, now: u64) -> Result<(), TreeError> {
        self.advance(now);
        let node = self.node_of(flow).ok_or(TreeError::Closed { flow })?;
        self.charge(node, request);
        Ok(())
    }

    /// Grants the request that is next, if there is one that may go now.
    pub fn pick(&mut self, now: u64) -> Option<Grant> {
        self.advance(now);
        if !self.has_room() {
            return None;
        }
        for index in 0..self.queue.len() {
            let ticket = self.queue[index];
            let Some((flow, request)) = self.tickets[ticket.0.index].request else { continue };
            let Some(node) = self.node_of(flow) else { continue };
            if self.blocked_until(node, request.direction).is_none() {
                self.queue.remove(index);
                self.charge(node, request);
                let since = self.tickets.remove(ticket.0.index).since;
                let waited = Waited { limit: 0, queue: self.now - since };
                return Some(Grant { ticket, waited });
            }
        }
        None
    }

    /// A granted request has ended: `cost` as it was granted.
    pub fn complete(&mut self, cost: u64, now: u64) {
        self.advance(now);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.in_flight_cost = self.in_flight_cost.saturating_sub(cost);
    }

    /// Gives back what was granted and not used.
    pub fn refund(
        &mut self,
        node: NodeId,
        _flow: FlowId,
        direction: Direction,
        amount: Amount,
        now: u64,
    ) {
        self.advance(now);
        let Some(at) = self.nodes.find(node.0) else { return };
        let mut next = Some(at);
        while let Some(at) = next {
            for dimension in Dimension::of(direction) {
                let tokens = if dimension.is_bytes() { amount.bytes } else { amount.ops };
                self.nodes[at].buckets[dimension as usize].give(tokens);
            }
            next = self.parent_of(at);
        }
    }

    /// When [`pick`](Self::pick) may find something that it does not find now.
    pub fn next_at(&self, _now: u64) -> Option<u64> {
        if self.queue.is_empty() || !self.has_room() {
            return None;
        }
        let until = |ticket: &TicketId| {
            let (flow, request) = self.tickets[ticket.0.index].request?;
            let node = self.node_of(flow)?;
            Some(self.blocked_until(node, request.direction).unwrap_or(self.now))
        };
        self.queue.iter().filter_map(until).min()
    }

    /// Takes tokens ahead for a node.
    pub fn lease(&mut self, node: NodeId, _direction: Direction, now: u64) -> Option<Lease> {
        self.advance(now);
        self.nodes.find(node.0)?;
        None
    }

    /// Gives tokens that were taken ahead back.
    pub fn unlease(&mut self, node: NodeId, direction: Direction, lease: Lease, now: u64) {
        self.advance(now);
        let Some(at) = self.nodes.find(node.0) else { return };
        let mut next = Some(at);
        while let Some(at) = next {
            for dimension in Dimension::of(direction) {
                let tokens = if dimension.is_bytes() { lease.bytes } else { lease.ops };
                self.nodes[at].buckets[dimension as usize].give(u64::from(tokens));
            }
            next = self.parent_of(at);
        }
    }

    /// Whether no limit of the node or above it counts this direction, and nothing bounds what is in flight.
    pub fn is_free(&self, node: NodeId, direction: Direction) -> bool {
        let mut next = self.nodes.find(node.0);
        while let Some(at) = next {
            let is_limited =
                |dimension: Dimension| self.nodes[at].buckets[dimension as usize].is_limited();
            if Dimension::of(direction).into_iter().any(is_limited) {
                return false;
            }
            next = self.parent_of(at);
        }
        !self.settings.is_scheduled()
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How many requests wait at a node and below it.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`].
    pub fn waiting_at(&self, node: NodeId) -> Result<usize, TreeError> {
        self.find(node)?;
        Ok(self.queue.len())
    }

    /// How many requests are in flight.
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// What is in flight costs this much, in nanoseconds of device time.
    pub const fn in_flight_cost(&self) -> u64 {
        self.in_flight_cost
    }

    /// Whether requests are counted in flight: then each grant must be completed.
    pub const fn is_scheduled(&self) -> bool {
        self.settings.is_scheduled()
    }

    /// The figures of a node.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`].
    pub fn stats(&self, node: NodeId) -> Result<NodeStats, TreeError> {
        Ok(self.nodes[self.find(node)?].stats)
    }

    fn advance(&mut self, now: u64) {
        let now = now.max(self.now);
        let (elapsed, credit) = (now - self.now, self.settings.credit());
        self.now = now;
        for index in 0..u32::try_from(self.nodes.len()).unwrap_or(0) {
            for bucket in &mut self.nodes[index].buckets {
                bucket.refill(elapsed, credit);
            }
        }
    }

    fn find(&self, node: NodeId) -> Result<u32, TreeError> {
        self.nodes.find(node.0).ok_or(TreeError::Removed { node })
    }

    fn parent_of(&self, at: u32) -> Option<u32> {
        let parent = self.nodes[at].parent;
        (parent != NONE).then_some(parent)
    }

    fn has_room(&self) -> bool {
        let depth = self.settings.depth().is_none_or(|depth| self.in_flight < depth.get());
        let cost = self.settings.max_cost().is_none_or(|most| self.in_flight_cost < most.get());
        self.in_flight == 0 || (depth && cost)
    }

    fn blocked_until(&self, node: NodeId, direction: Direction) -> Option<u64> {
        let mut until = None;
        let mut next = self.nodes.find(node.0);
        while let Some(at) = next {
            for dimension in Dimension::of(direction) {
                let bucket = &self.nodes[at].buckets[dimension as usize];
                if !bucket.is_open() {
                    until = until.max(Some(self.now.saturating_add(bucket.wait(0))));
                }
            }
            next = self.parent_of(at);
        }
        until
    }

    fn charge(&mut self, node: NodeId, request: Request) {
        if self.settings.is_scheduled() {
            self.in_flight = self.in_flight.saturating_add(1);
            self.in_flight_cost = self.in_flight_cost.saturating_add(request.cost);
        }
        let mut next = self.nodes.find(node.0);
        while let Some(at) = next {
            for dimension in Dimension::of(request.direction) {
                let tokens = if dimension.is_bytes() { request.bytes } else { 1 };
                self.nodes[at].buckets[dimension as usize].take(tokens);
            }
            let stats = &mut self.nodes[at].stats;
            stats.bytes[request.direction as usize] += request.bytes;
            stats.ops[request.direction as usize] += 1;
            stats.cost += request.cost;
            next = self.parent_of(at);
        }
    }
}
