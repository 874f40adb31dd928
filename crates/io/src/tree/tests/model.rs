//! Random scripts: the tree beside the slow reference.

use std::{collections::BTreeMap, num::NonZeroU32};

use fief_core::Limit;
use proptest::prelude::*;

use super::{
    super::{
        Amount, Blocked, Dimension, Direction, FlowId, IoTree, Lease, Limits, Min, NodeId, Request,
        TicketId, TreeSettings, charge::Charge,
    },
    check,
    reference::{Place, Reference},
};

#[derive(Clone, Debug)]
enum Op {
    Add(usize),
    Remove(usize),
    Limit(usize, Vec<(Dimension, Limit, Option<u64>)>),
    Weigh(usize, u32),
    Reserve(usize, u64, u64),
    Open(usize),
    Close(usize),
    Move(usize, usize),
    Enqueue(usize, Request),
    Try(usize, Request),
    Force(usize, Request),
    Cancel(usize),
    Refund(usize, u64),
    Lease(usize, Direction),
    Unlease(usize, u32),
    Complete,
    Depth(Option<u32>),
    Pick(usize),
    Wait(u64),
    Back(u64),
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Read), Just(Direction::Write)]
}

fn request() -> impl Strategy<Value = Request> {
    let bytes = prop_oneof![Just(0), 1..10_000_u64, Just(4096), 60_000..300_000_u64];
    (direction(), bytes, prop_oneof![Just(0), 1..1_000_000_u64])
        .prop_map(|(direction, bytes, cost)| Request::new(direction, bytes, cost))
}

fn limits() -> impl Strategy<Value = Vec<(Dimension, Limit, Option<u64>)>> {
    let rate = prop_oneof![
        Just(Limit::Max),
        Just(Limit::At(1)),
        Just(Limit::At(1_000)),
        Just(Limit::At(10 << 20)),
        (1..1_u64 << 30).prop_map(Limit::At),
        Just(Limit::At(i64::MAX as u64)),
    ];
    let burst = prop_oneof![3 => Just(None), 1 => (0..200_000_u64).prop_map(Some)];
    prop::collection::vec((prop::sample::select(&Dimension::ALL[..]), rate, burst), 0..3)
}

fn op() -> impl Strategy<Value = Op> {
    let some = 0..1_000_usize;
    prop_oneof![
        3 => some.clone().prop_map(Op::Add),
        1 => some.clone().prop_map(Op::Remove),
        4 => (some.clone(), limits()).prop_map(|(at, limits)| Op::Limit(at, limits)),
        2 => (some.clone(), 1..10_001_u32).prop_map(|(at, weight)| Op::Weigh(at, weight)),
        2 => (some.clone(), 0..20_u64 << 20, 0..1_000_u64)
            .prop_map(|(at, bps, iops)| Op::Reserve(at, bps, iops)),
        3 => some.clone().prop_map(Op::Open),
        1 => some.clone().prop_map(Op::Close),
        2 => (some.clone(), some.clone()).prop_map(|(flow, node)| Op::Move(flow, node)),
        20 => (some.clone(), request()).prop_map(|(flow, request)| Op::Enqueue(flow, request)),
        5 => (some.clone(), request()).prop_map(|(flow, request)| Op::Try(flow, request)),
        2 => (some.clone(), request()).prop_map(|(flow, request)| Op::Force(flow, request)),
        5 => some.clone().prop_map(Op::Cancel),
        2 => (some.clone(), 0..10_000_u64).prop_map(|(grant, left)| Op::Refund(grant, left)),
        2 => (some.clone(), direction()).prop_map(|(node, direction)| Op::Lease(node, direction)),
        2 => (some.clone(), any::<u32>()).prop_map(|(lease, left)| Op::Unlease(lease, left)),
        3 => Just(Op::Complete),
        1 => prop::option::of(1..5_u32).prop_map(Op::Depth),
        12 => (1..10_usize).prop_map(Op::Pick),
        10 => prop_oneof![0..1_000_u64, 0..50_000_000_u64, Just(1_000_000_000), Just(86_400_000_000_000)]
            .prop_map(Op::Wait),
        1 => (0..1_000_000_u64).prop_map(Op::Back),
    ]
}

#[derive(Debug)]
struct Waiting {
    flow: FlowId,
    request: Request,
    /// What of it is charged.
    charged: (u64, u64, u64),
    since: u64,
}

#[derive(Debug)]
struct Model {
    tree: IoTree,
    reference: Reference,
    nodes: Vec<NodeId>,
    flows: Vec<(FlowId, Option<u32>)>,
    waiting: BTreeMap<u64, (TicketId, Waiting)>,
    order: u64,
    grants: Vec<(NodeId, FlowId, Request)>,
    leases: Vec<(NodeId, Direction, Lease)>,
    in_flight: Vec<u64>,
    now: u64,
}

impl Model {
    fn new(depth: Option<u32>) -> Self {
        let depth = depth.and_then(NonZeroU32::new);
        let settings = TreeSettings::default().with_depth(depth);
        let tree = IoTree::new(settings);
        let nodes = vec![tree.root()];
        Self {
            tree,
            reference: Reference::new(settings),
            nodes,
            flows: Vec::new(),
            waiting: BTreeMap::new(),
            order: 0,
            grants: Vec::new(),
            leases: Vec::new(),
            in_flight: Vec::new(),
            now: 0,
        }
    }

    fn node(&self, choice: usize) -> NodeId {
        self.nodes[choice % self.nodes.len()]
    }

    fn flow(&self, choice: usize) -> Option<(FlowId, Option<u32>)> {
        self.flows.get(choice % self.flows.len().max(1)).copied()
    }

    fn place_of(&self, flow: FlowId) -> u32 {
        self.flows.iter().find(|(of, _)| *of == flow).unwrap().1.unwrap()
    }

    fn has_room(&self) -> bool {
        let depth = self.tree.settings().depth();
        self.in_flight.is_empty()
            || depth.is_none_or(|depth| self.in_flight.len() < depth.get() as usize)
    }

    /// Charges what the tree charged, piece by piece; every bucket must be above 0 at every one.
    fn replay(&mut self) {
        for (at, charge, waits) in std::mem::take(&mut self.tree.log) {
            assert!(!waits || self.reference.is_open(at, charge.plane), "{charge:?} of {at}");
            self.reference.charge(at, charge);
        }
    }

    fn depart(&mut self, flow: FlowId, request: Request) {
        let node = self.tree.node_of(flow).unwrap();
        self.grants.push((node, flow, request));
        if self.tree.is_scheduled() {
            self.in_flight.push(request.cost);
        }
    }

    fn pick(&mut self) -> bool {
        assert!(self.tree.log.is_empty());
        let has_room = self.has_room();
        let next_at = self.tree.next_at(self.now);
        let grant = self.tree.pick(self.now);
        assert!(grant.is_none() || next_at.is_some_and(|next_at| next_at <= self.tree.now));
        let log = self.tree.log.clone();
        self.replay_waiting(&log);
        let Some(grant) = grant else {
            self.check_conservation(has_room);
            return false;
        };
        assert!(has_room);
        let found = self.waiting.iter().find(|(_, (ticket, _))| *ticket == grant.ticket);
        let order = *found.expect("granted once, and not cancelled").0;
        let (_, waiting) = self.waiting.remove(&order).unwrap();
        let Waiting { flow, request, charged, since } = waiting;
        assert_eq!(charged, (request.bytes, 1, request.cost), "all of it is charged");
        assert_eq!(grant.waited.total(), self.tree.now - since);
        let is_first =
            |other: &Waiting| other.flow != flow || other.request.direction != request.direction;
        assert!(self.waiting.range(..order).all(|(_, (_, other))| is_first(other)), "in order");
        self.reference.go(self.place_of(flow), request.direction as usize);
        self.depart(flow, request);
        true
    }

    /// Charges what was charged to requests that wait: the tree knows which.
    fn replay_waiting(&mut self, _log: &[(u32, Charge, bool)]) {
        self.replay();
        for (ticket, waiting) in self.waiting.values_mut() {
            let Request { bytes, cost, .. } = waiting.request;
            waiting.charged = match self.tree.tickets.find(ticket.0) {
                Some(at) => {
                    let ticket = &self.tree.tickets[at];
                    (bytes - ticket.bytes, u64::from(ticket.is_begun), cost - ticket.cost)
                }
                None => (bytes, 1, cost),
            };
        }
    }

    /// Nothing was found: so nothing that waits could be granted, and `next_at` is not too late.
    fn check_conservation(&self, has_room: bool) {
        let next_at = self.tree.next_at(self.now);
        if !has_room || self.waiting.is_empty() {
            assert_eq!(next_at, None);
            return;
        }
        let mut earliest = u64::MAX;
        for (_, waiting) in self.waiting.values() {
            let at = self.place_of(waiting.flow);
            let plane = waiting.request.direction as usize;
            assert!(!self.reference.is_open(at, plane), "{waiting:?} could be granted");
            earliest = earliest.min(self.reference.opens_at(at, plane));
        }
        let next_at = next_at.expect("something waits for time to pass");
        assert!(next_at > self.tree.now, "pick would find nothing");
        assert!(next_at <= earliest, "{next_at} is too late, {earliest} is right");
    }

    fn cancelled(&mut self, ticket: TicketId) {
        let found = self.waiting.iter().find(|(_, (of, _))| *of == ticket);
        let order = *found.expect("was waiting").0;
        let (_, Waiting { flow, request, charged, .. }) = self.waiting.remove(&order).unwrap();
        let at = self.place_of(flow);
        let plane = request.direction as usize;
        if charged.1 > 0 {
            let (bytes, ops, cost) = charged;
            self.reference.give_back(at, Charge { plane, bytes, ops, cost });
        }
        self.reference.go(at, plane);
    }

    fn run(&mut self, op: Op) {
        self.reference.advance(self.now);
        match op {
            Op::Wait(step) => self.now = self.tree.now + step,
            Op::Back(step) => self.now = self.tree.now.saturating_sub(step),
            Op::Add(parent) => {
                let parent = self.node(parent);
                let node = self.tree.add(parent).unwrap();
                self.nodes.push(node);
                let at = u32::try_from(node.index()).unwrap();
                let parent = Some(u32::try_from(parent.index()).unwrap());
                self.reference.places.insert(at, Place::below(parent));
            }
            Op::Remove(node) => self.remove(self.node(node)),
            Op::Limit(node, dimensions) => {
                let limits =
                    dimensions.into_iter().fold(Limits::MAX, |limits, (of, rate, burst)| {
                        limits.with(of, rate).with_burst(of, burst)
                    });
                let node = self.node(node);
                self.tree.set_limits(node, limits, self.now).unwrap();
                self.reference.set_limits(u32::try_from(node.index()).unwrap(), limits);
            }
            Op::Weigh(node, weight) => {
                let is_root = self.node(node) == self.tree.root();
                let result = self.tree.set_weight(self.node(node), weight, self.now);
                assert_eq!(result.is_err(), is_root);
            }
            Op::Reserve(node, bps, iops) => {
                self.tree.set_min(self.node(node), Min { bps, iops }, self.now).ok();
            }
            Op::Depth(depth) => self.tree.set_depth(depth.and_then(NonZeroU32::new)),
            Op::Pick(most) => {
                for _ in 0..most {
                    if !self.pick() {
                        break;
                    }
                }
            }
            Op::Complete => {
                if let Some(cost) = self.in_flight.pop() {
                    self.tree.complete(cost, self.now);
                }
                let in_flight: u64 = self.in_flight.iter().sum();
                assert_eq!(self.tree.in_flight() as usize, self.in_flight.len());
                assert_eq!(self.tree.in_flight_cost(), in_flight);
            }
            Op::Lease(..) | Op::Unlease(..) | Op::Refund(..) => self.run_tokens(op),
            op => self.run_flow(op),
        }
    }

    fn remove(&mut self, node: NodeId) {
        let Ok(cancelled) = self.tree.remove(node, self.now) else { return };
        assert!(cancelled.windows(2).all(|pair| {
            let order = |ticket: TicketId| self.waiting.iter().find(|(_, (of, _))| *of == ticket);
            order(pair[0]).unwrap().0 < order(pair[1]).unwrap().0
        }));
        for ticket in cancelled {
            self.cancelled(ticket);
        }
        let at = u32::try_from(node.index()).unwrap();
        self.reference.places.remove(&at);
        self.nodes.retain(|other| *other != node);
        for (_, place) in &mut self.flows {
            if *place == Some(at) {
                *place = None;
            }
        }
    }

    fn run_tokens(&mut self, op: Op) {
        match op {
            Op::Lease(node, direction) => {
                let node = self.node(node);
                let Some(lease) = self.tree.lease(node, direction, self.now) else { return };
                assert!(self.waiting.is_empty() && !self.tree.is_scheduled());
                assert!(lease.bytes > 0 && lease.ops > 0);
                let at = u32::try_from(node.index()).unwrap();
                let (bytes, ops) = (u64::from(lease.bytes), u64::from(lease.ops));
                self.reference.take(at, direction as usize, bytes, ops);
                self.leases.push((node, direction, lease));
            }
            Op::Unlease(lease, left) => {
                let Some((node, direction, lease)) = self.leases.get(lease).copied() else {
                    return;
                };
                self.leases.retain(|(of, ..)| *of != node);
                let lease = Lease { ops: lease.ops.min(left), bytes: lease.bytes.min(left) };
                self.tree.unlease(node, direction, lease, self.now);
                if self.tree.contains(node) {
                    let at = u32::try_from(node.index()).unwrap();
                    let (bytes, ops) = (u64::from(lease.bytes), u64::from(lease.ops));
                    self.reference.give(at, direction as usize, bytes, ops);
                }
            }
            Op::Refund(grant, left) => {
                if self.grants.is_empty() {
                    return;
                }
                let (node, flow, request) = self.grants.swap_remove(grant % self.grants.len());
                let (bytes, cost) = (request.bytes.min(left), request.cost.min(left));
                let ops = left % 2;
                self.tree.refund(
                    node,
                    flow,
                    request.direction,
                    Amount { bytes, ops, cost },
                    self.now,
                );
                if self.tree.contains(node) {
                    let at = u32::try_from(node.index()).unwrap();
                    let plane = request.direction as usize;
                    self.reference.give_back(at, Charge { plane, bytes, ops, cost });
                }
            }
            _ => unreachable!(),
        }
    }

    fn run_flow(&mut self, op: Op) {
        match op {
            Op::Open(node) => {
                let node = self.node(node);
                let flow = self.tree.open_flow(node).unwrap();
                self.flows.push((flow, Some(u32::try_from(node.index()).unwrap())));
            }
            Op::Close(choice) => {
                let Some((flow, _)) = self.flow(choice) else { return };
                for ticket in self.tree.close_flow(flow, self.now) {
                    self.cancelled(ticket);
                }
                self.flows.retain(|(of, _)| *of != flow);
            }
            Op::Move(flow, node) => self.shift(flow, self.node(node)),
            Op::Enqueue(flow, request) => {
                let Some((flow, place)) = self.flow(flow) else { return };
                let Ok(ticket) = self.tree.enqueue(flow, request, self.now) else {
                    assert_eq!(place, None);
                    return;
                };
                let since = self.tree.now;
                let waiting = Waiting { flow, request, charged: (0, 0, 0), since };
                self.waiting.insert(self.order, (ticket, waiting));
                self.order += 1;
                self.reference.come(place.unwrap(), request.direction as usize);
            }
            Op::Try(flow, request) => self.try_grant(flow, request),
            Op::Force(flow, request) => {
                let Some((flow, place)) = self.flow(flow) else { return };
                let result = self.tree.force(flow, request, self.now);
                assert_eq!(result.is_ok(), place.is_some());
                if result.is_ok() {
                    self.replay();
                    self.depart(flow, request);
                }
            }
            Op::Cancel(choice) => {
                let choice = choice % self.waiting.len().max(1);
                let Some((_, (ticket, waiting))) = self.waiting.iter().nth(choice) else { return };
                let (ticket, total) = (*ticket, self.tree.now.max(self.now) - waiting.since);
                assert_eq!(self.tree.cancel(ticket, self.now).unwrap().total(), total);
                assert_eq!(self.tree.cancel(ticket, self.now), None);
                self.cancelled(ticket);
            }
            _ => unreachable!(),
        }
    }

    fn shift(&mut self, choice: usize, to: NodeId) {
        let Some((flow, from)) = self.flow(choice) else { return };
        self.tree.move_flow(flow, to, self.now).unwrap();
        let to = u32::try_from(to.index()).unwrap();
        if from == Some(to) {
            return;
        }
        let moved: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, (_, of))| of.flow == flow)
            .map(|(order, _)| *order)
            .collect();
        for order in &moved {
            let waiting = &mut self.waiting.get_mut(order).unwrap().1;
            let (bytes, ops, cost) = std::mem::take(&mut waiting.charged);
            let plane = waiting.request.direction as usize;
            if ops > 0 {
                self.reference.give_back(from.unwrap(), Charge { plane, bytes, ops, cost });
            }
        }
        for order in moved {
            let plane = self.waiting[&order].1.request.direction as usize;
            self.reference.go(from.unwrap(), plane);
            self.reference.come(to, plane);
        }
        self.flows.iter_mut().find(|(of, _)| *of == flow).unwrap().1 = Some(to);
    }

    fn try_grant(&mut self, choice: usize, request: Request) {
        let Some((flow, place)) = self.flow(choice) else { return };
        let has_room = self.has_room();
        let result = self.tree.try_grant(flow, request, self.now);
        let plane = request.direction as usize;
        match result {
            Ok(()) => {
                assert!(has_room);
                let place = place.unwrap();
                let open = |(_, other): &(TicketId, Waiting)| {
                    self.reference
                        .is_open(self.place_of(other.flow), other.request.direction as usize)
                };
                assert!(!self.waiting.values().any(open), "past somebody who could be served");
                self.reference.come(place, plane);
                self.replay();
                self.reference.go(place, plane);
                self.depart(flow, request);
            }
            Err(Blocked::Closed { .. }) => assert_eq!(place, None),
            Err(Blocked::Depth) => assert!(!has_room),
            Err(Blocked::Queue) => assert!(!self.waiting.is_empty()),
            Err(Blocked::Limit { until, .. }) => {
                assert!(until > self.tree.now);
                let is_small = request.bytes <= self.tree.settings().quantum();
                let at = place.unwrap();
                assert!(!is_small || !self.reference.is_open(at, plane), "{request:?} fits");
                assert!(!is_small || until == self.reference.opens_at(at, plane));
            }
        }
        assert!(self.tree.log.is_empty(), "what is refused is not charged");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Traps 2, 9, 11 (property): charges are grants at every level, no grant while a bucket above is
    /// at or below 0, nothing left waiting that could go, buckets exact; under everything at once.
    #[test]
    fn it_agrees_with_the_reference(
        depth in prop::option::of(1..5_u32),
        ops in prop::collection::vec(op(), 1..250),
    ) {
        let mut model = Model::new(depth);
        for _ in 0..3 {
            model.run(Op::Add(0));
            model.run(Op::Open(model.nodes.len() - 1));
        }
        for op in ops {
            model.run(op);
            check(&model.tree);
            model.reference.advance(model.now);
            model.tree.advance(model.now);
            model.reference.compare(&model.tree);
        }
    }
}
