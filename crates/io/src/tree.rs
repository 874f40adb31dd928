//! Who is served next: limits, weights, reservations and depth of one device, as a data structure.
//!
//! [`IoTree`] says whose request goes to a device next, when, and keeps account of it. It takes no lock,
//! reads no clock, runs nothing and has no unsafe code, so it can be used alone: behind another front
//! end, or in a simulation.
//!
//! ```
//! use std::num::NonZeroU32;
//!
//! use fief_io::tree::{Direction, IoTree, Limits, Request, TreeSettings};
//!
//! # fn main() -> Result<(), fief_io::tree::TreeError> {
//! let mut tree = IoTree::new(TreeSettings::default().with_depth(NonZeroU32::new(4)));
//! let (api, backup) = (tree.add(tree.root())?, tree.add(tree.root())?);
//! tree.set_weight(api, 900, 0)?;
//! tree.set_limits(backup, Limits::new().bps(50_000_000), 0)?;
//! let (light, bulk) = (tree.open_flow(api)?, tree.open_flow(backup)?);
//! for _ in 0..8 {
//!     tree.enqueue(light, Request::new(Direction::Read, 4096, 20_000), 0)?;
//!     tree.enqueue(bulk, Request::new(Direction::Write, 1 << 20, 5_000_000), 0)?;
//! }
//! let mut now = 0;
//! while tree.waiting() > 0 {
//!     while let Some(grant) = tree.pick(now) {
//!         println!("{} waited {} ns", grant.ticket, grant.waited.total()); // start it here
//!     }
//!     now += 20_000; // one of them has ended
//!     tree.complete(20_000, now);
//! }
//! assert_eq!(tree.stats(backup)?.bytes, [0, 8 << 20]);
//! # Ok(())
//! # }
//! ```
//!
//! # Algorithm
//!
//! *Limits* go by time. Each is a token bucket with debt, exact to 10^-9 of a token (`bucket.rs`). A
//! request goes when every bucket from its node to the root that counts it is above 0, and is then taken
//! from all of them, whatever its size. What is unused is kept up to the burst; while requests wait,
//! and for as long again after the last one, up to the credit of the tree: so a late caller costs
//! latency and no rate.
//!
//! *Shares* go by completions. While fewer requests are in flight than the depth allows, and they cost
//! less than they may:
//!
//! 1. **Reservation.** The node that is most short of what is reserved for it, if there is one, see
//!    `reserve.rs`; else the root.
//! 2. **Share.** From there down, the child with the smallest *tag*, the virtual time at which its
//!    next piece starts: device time divided by weight. The own flows of a node together are one more
//!    child, of weight 100. Reads and writes are two *planes* with one tag: a child stands in each of
//!    them in which it has something that no limit holds back. Among the flows of a node the same
//!    again, with equal weights, and in a flow the order in which requests came.
//! 3. **Charge.** One *piece* at every level: limits, reservations, tags. A request of more bytes
//!    than the quantum is charged one quantum a turn (or a 1,024th of it, if that is more), in its place,
//!    and granted with the last one. If
//!    nobody else could be served, its pieces are charged together.
//! 4. **Hold.** A limit that is found closed on the way takes its node out of the queue above, until it is
//!    open again. Nobody waits behind a node that is held.
//!
//! Who comes back to a queue keeps its tag, but is no further behind than the queue's clock was a
//! tau ago: it gets back what it could have had in that time, and nothing older. A queue in which
//! nobody waited for more than a tau forgets who was ahead.
//!
//! Nothing is charged for a request that waits, but for the pieces of one that is first in its flow;
//! [`IoTree::cancel`] gives these back.
//!
//! # Bounds
//!
//! `q` is the cost of a quantum, or of the largest request without bytes.
//!
//! * *Fairness*: for siblings `i` and `j` that always have something to be served, with one plane in use,
//!   `|S_i / w_i - S_j / w_j| <= q / w_i + q / w_j` of what was charged, in any time. Who comes back has
//!   a tau of its share more, once.
//! * *Limits*: in any time `t`, what is charged of a node and all below it is at most
//!   `rate * t + burst + quantum`; if requests waited, with the credit instead of the burst if that
//!   is more. [Urgent](IoTree::force) requests come on top, and are paid back first.
//! * *Work conservation*: when `pick` returns `None`, the depth is reached or nothing waits whose limits
//!   are all open.
//! * *Accounts*: what is charged to a node is what was charged to its flows and its children, those that
//!   are gone included, exactly.
//!
//! # Cost
//!
//! Enqueue, pick and complete are O(depth · log of the siblings). With 10,000 groups on two levels, they
//! take about 0.2 us together if a hundred of them wait, and 0.5 us if all do, when memory is not
//! in the caches. A node takes 0.4 KiB, its limits 0.3 KiB more.
//!
//! # Sources
//!
//! * P. Goyal, H. M. Vin, H. Cheng, "Start-time fair queueing", 1996: the tags and the clock.
//! * A. Gulati, A. Merchant, P. Varman, "mClock: handling throughput variability for hypervisor IO
//!   scheduling", 2010: reservations before shares.
//! * Seastar's `fair_queue`: no step of 0, and a bound on what a newcomer is owed.
//! * The limits and their files are those of Linux's `io.max`; the mechanism is not.
//!
//! # Tests
//!
//! `tree/tests` compares limits and accounts with a slow reference by random scripts, and checks all
//! queues at every step; `tests/tree_rules` has rates, shares, reservations and the known traps on
//! simulated time.

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

    /// How long it takes until the node's own limits are out of debt, in nanoseconds: the longest of
    /// them; 0 if none is. O(1).
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`].
    pub fn debt(&self, node: NodeId, now: u64) -> Result<u64, TreeError> {
        let limiter = self.nodes[self.find(node)?].limiter.as_deref();
        Ok(limiter.map_or(0, |limiter| limiter.debt(now.max(self.now))))
    }

    fn find(&self, node: NodeId) -> Result<u32, TreeError> {
        self.nodes.find(node.0).ok_or(TreeError::Removed { node })
    }

    fn below_root(&self, node: NodeId, what: &'static str) -> Result<u32, TreeError> {
        let at = self.find(node)?;
        if at == 0 { Err(TreeError::Root { what }) } else { Ok(at) }
    }
}
