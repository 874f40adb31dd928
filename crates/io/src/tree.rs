//! Who is served next: limits, weights, reservations and depth of one device, as a data structure.

use arena::{Arena, Key, MOST, NONE};
use heap::Heap;
use node::{Flow, Node, Ticket};

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
mod pick;
mod reserve;
mod flow;
mod charge;
mod change;
mod path;
mod node;
mod queue;
mod bucket;
mod heap;
mod arena;
#[cfg(test)]
mod tests;

/// The least weight.
pub const WEIGHT_MIN: u32 = 1;
/// The greatest weight.
pub const WEIGHT_MAX: u32 = 10_000;
/// The weight of a node that was never told, and of own requests among a node's children.
pub const WEIGHT_DEFAULT: u32 = 100;

/// A tree of groups that share a device: says whose request is next, and keeps account.
///
/// A data structure: it takes no lock, reads no clock and runs nothing. `now` is the time in
/// nanoseconds since any origin; a `now` before the last one counts as the last one.
#[derive(Debug)]
pub struct IoTree {
    nodes: Arena<Node>,
    flows: Arena<Flow>,
    tickets: Arena<Ticket>,
    /// Where each node is in its parent's planes, and each flow in its node's.
    node_places: [Vec<u32>; 2],
    flow_places: [Vec<u32>; 2],
    /// The planes of nodes that are held back and have something that waits, by when they open.
    due: Heap,
    due_places: Vec<u32>,
    /// The nodes with a reservation in which something waits, by how urgent they are.
    reserved: Heap,
    reserved_places: Vec<u32>,
    /// Those of them that a limit holds back, by when that may be over.
    parked: Heap,
    parked_places: Vec<u32>,
    settings: TreeSettings,
    waiting: usize,
    in_flight: u32,
    in_flight_cost: u64,
    /// Counts what is put in order: of equals, who came first is first.
    number: u64,
    now: u64,
    /// Every piece that was charged, where, and whether it had to wait for the limits.
    #[cfg(test)]
    log: Vec<(u32, charge::Charge, bool)>,
}

impl IoTree {
    /// A tree with a root.
    pub fn new(settings: TreeSettings) -> Self {
        let mut nodes = Arena::new();
        nodes.insert(Node::new(NONE, 0));
        Self {
            nodes,
            flows: Arena::new(),
            tickets: Arena::new(),
            node_places: [vec![NONE], vec![NONE]],
            flow_places: [Vec::new(), Vec::new()],
            due: Heap::new(),
            due_places: vec![NONE; 2],
            reserved: Heap::new(),
            reserved_places: vec![NONE],
            parked: Heap::new(),
            parked_places: vec![NONE],
            settings,
            waiting: 0,
            in_flight: 0,
            in_flight_cost: 0,
            number: 0,
            now: 0,
            #[cfg(test)]
            log: Vec::new(),
        }
    }

    /// The root. It can have flows and limits; it has no weight and no reservation.
    pub const fn root(&self) -> NodeId {
        NodeId(Key { index: 0, generation: 1 })
    }

    /// The settings, with the depth as it is now.
    pub const fn settings(&self) -> TreeSettings {
        self.settings
    }

    /// How many nodes there are, with the root.
    pub const fn node_count(&self) -> usize {
        self.nodes.count()
    }

    /// Adds a child: weight 100, no limits, nothing reserved.
    ///
    /// It begins where its parent's children are: it owes nothing, and nothing is owed to it.
    /// O(1), amortised.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`], [`TreeError::Full`].
    pub fn add(&mut self, parent: NodeId) -> Result<NodeId, TreeError> {
        let parent = self.find(parent)?;
        let node = Node::new(parent, self.nodes[parent].nodes.clock);
        let key = self.nodes.insert(node).ok_or(TreeError::Full { what: "nodes", most: MOST })?;
        self.nodes[parent].children += 1;
        let count = self.nodes.len();
        let [reads, writes] = &mut self.node_places;
        for places in [reads, writes, &mut self.reserved_places, &mut self.parked_places] {
            places.resize(count, NONE);
        }
        self.due_places.resize(count * 2, NONE);
        Ok(NodeId(key))
    }

    /// Removes a node without children, cancels what waits there and returns it, as it came.
    ///
    /// Its flows stay open, but nothing can be asked of them until they are
    /// [moved](Self::move_flow). Leases and refunds of the node are lost: give leases back before.
    /// O(log of the siblings at each level) for each request.
    ///
    /// # Errors
    ///
    /// [`TreeError::Root`], [`TreeError::Removed`], [`TreeError::Children`].
    pub fn remove(&mut self, node: NodeId, now: u64) -> Result<Vec<TicketId>, TreeError> {
        let at = self.below_root(node, "end")?;
        let children = self.nodes[at].children;
        if children > 0 {
            return Err(TreeError::Children { node, children });
        }
        self.advance(now);
        let planes = &self.nodes[at].own.planes;
        let mut flows: Vec<u32> =
            planes.iter().flat_map(Heap::entries).map(|entry| entry.id).collect();
        flows.sort_unstable();
        flows.dedup();
        let mut cancelled: Vec<TicketId> =
            flows.into_iter().flat_map(|flow| self.tickets_of(flow)).collect();
        cancelled.sort_unstable_by_key(|ticket| self.tickets[ticket.0.index].number);
        for ticket in &cancelled {
            self.cancel(*ticket, now);
        }
        self.release_min(at);
        let parent = self.nodes.remove(at).parent;
        self.nodes[parent].children -= 1;
        Ok(cancelled)
    }

    /// Whether the node is there.
    pub fn contains(&self, node: NodeId) -> bool {
        self.nodes.find(node.0).is_some()
    }

    /// The parent; `None` for the root.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`].
    pub fn parent(&self, node: NodeId) -> Result<Option<NodeId>, TreeError> {
        let parent = self.parent_of(self.find(node)?);
        Ok(parent.map(|parent| NodeId(self.nodes.key(parent))))
    }

    /// How many requests wait.
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many requests wait at a node and below it.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`].
    pub fn waiting_at(&self, node: NodeId) -> Result<usize, TreeError> {
        let waiting = self.nodes[self.find(node)?].waiting;
        Ok(waiting.into_iter().map(|waiting| waiting as usize).sum())
    }

    /// How many requests are in flight, of those that were counted.
    pub const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// What is in flight costs this much, in nanoseconds of device time.
    pub const fn in_flight_cost(&self) -> u64 {
        self.in_flight_cost
    }

    /// Whether anything bounds what is in flight. Then what is granted is counted, and each grant must
    /// be [completed](Self::complete) once, also if the bound is taken away before.
    pub const fn is_scheduled(&self) -> bool {
        self.settings.is_scheduled()
    }

    /// The figures of a node and all below it, those that are gone included.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`].
    pub fn stats(&self, node: NodeId) -> Result<NodeStats, TreeError> {
        Ok(self.nodes[self.find(node)?].stats)
    }

    fn find(&self, node: NodeId) -> Result<u32, TreeError> {
        self.nodes.find(node.0).ok_or(TreeError::Removed { node })
    }

    fn below_root(&self, node: NodeId, what: &'static str) -> Result<u32, TreeError> {
        let at = self.find(node)?;
        if at == 0 { Err(TreeError::Root { what }) } else { Ok(at) }
    }
}
