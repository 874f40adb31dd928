//! Random scripts: the tree and a naive [`Reference`] pick the same and charge the same.

use std::time::Duration;

use proptest::prelude::*;

use super::{check, reference::Reference};
use crate::tree::{Bandwidth, CpuTree, NodeId, Pick, TreeError, TreeSettings};

/// What a script does; nodes and picks are chosen by number, modulo how many there are.
#[derive(Clone, Debug)]
enum Op {
    Add(usize),
    Remove(usize),
    Move(usize, usize),
    Weight(usize, u16),
    Idle(usize, bool),
    Latency(usize, u64),
    Bandwidth(usize, Bandwidth),
    Activate(usize),
    Deactivate(usize),
    Pick,
    PickAt(usize),
    Settle(usize, u64),
    Pass(u64),
    Back(u64),
}

impl Op {
    fn number(&self) -> usize {
        match *self {
            Self::Add(number)
            | Self::Remove(number)
            | Self::Move(number, _)
            | Self::Weight(number, _)
            | Self::Idle(number, _)
            | Self::Latency(number, _)
            | Self::Bandwidth(number, _)
            | Self::Activate(number)
            | Self::Deactivate(number)
            | Self::PickAt(number)
            | Self::Settle(number, _) => number,
            Self::Pick | Self::Pass(_) | Self::Back(_) => 0,
        }
    }
}

fn bandwidth() -> impl Strategy<Value = Bandwidth> {
    let millis = |ms: u64| Duration::from_millis(ms);
    prop_oneof![
        Just(Bandwidth::MAX),
        (1..300_u64, 1..=1000_u64, 0..=100_u64).prop_map(move |(quota, period, burst)| {
            let bandwidth = Bandwidth::new(millis(quota), millis(period)).unwrap();
            bandwidth.with_burst(millis(quota) * u32::try_from(burst).unwrap() / 100).unwrap()
        }),
    ]
}

fn cost() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 0..400_000_u64,
        2 => 0..20_000_000_u64,
        1 => 0..500_000_000_u64,
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let number = any::<usize>();
    prop_oneof![
        2 => number.prop_map(Op::Add),
        1 => number.prop_map(Op::Remove),
        1 => (number, number).prop_map(|(a, b)| Op::Move(a, b)),
        1 => (number, prop_oneof![1..=10_000_u16, Just(1), Just(10_000)]).prop_map(|(a, w)| Op::Weight(a, w)),
        1 => (number, any::<bool>()).prop_map(|(a, b)| Op::Idle(a, b)),
        1 => (number, 0..=10_000_000_u64).prop_map(|(a, l)| Op::Latency(a, l)),
        1 => (number, bandwidth()).prop_map(|(a, b)| Op::Bandwidth(a, b)),
        4 => number.prop_map(Op::Activate),
        2 => number.prop_map(Op::Deactivate),
        8 => Just(Op::Pick),
        1 => number.prop_map(Op::PickAt),
        8 => (number, cost()).prop_map(|(a, c)| Op::Settle(a, c)),
        3 => (0..2_000_000_u64).prop_map(Op::Pass),
        1 => (0..2_000_000_000_u64).prop_map(Op::Pass),
        1 => (0..1_000_000_u64).prop_map(Op::Back),
    ]
}

struct Script {
    tree: CpuTree,
    reference: Reference,
    /// All that ever were.
    nodes: Vec<NodeId>,
    picks: Vec<Pick>,
    now: u64,
}

impl Script {
    fn new(settings: TreeSettings, origin: u64) -> Self {
        let tree = CpuTree::with_origin(settings, origin);
        let reference = Reference::new(settings, origin, tree.root());
        Self { nodes: vec![tree.root()], tree, reference, picks: Vec::new(), now: 1_000_000 }
    }

    fn node(&self, number: usize) -> NodeId {
        self.nodes[number % self.nodes.len()]
    }

    /// Whether the reference has the node, and it is not dying.
    fn is_live(&self, node: NodeId) -> bool {
        let group = self.reference.groups.get(&node.index);
        group.is_some_and(|group| group.id == node && !group.is_dying)
    }

    fn is_there(&self, node: NodeId) -> bool {
        self.reference.groups.get(&node.index).is_some_and(|group| group.id == node)
    }

    /// What a change of this node must answer.
    fn expected(&self, node: NodeId, what: &'static str) -> Result<(), TreeError> {
        match self.is_live(node) {
            false => Err(TreeError::Removed { node }),
            true if node == self.tree.root() && !what.is_empty() => Err(TreeError::Root { what }),
            true => Ok(()),
        }
    }

    fn run(&mut self, op: Op) {
        let before = self.tree.now;
        match op {
            Op::Pass(time) => self.now += time,
            Op::Back(time) => {
                // A clock that goes back counts as standing still.
                let pick = self.tree.pick(self.now.saturating_sub(time));
                self.picked(pick, None);
            }
            Op::Pick => {
                let pick = self.tree.pick(self.now);
                self.picked(pick, None);
            }
            Op::PickAt(number) => {
                let node = self.node(number);
                let pick = self.tree.pick_at(node, self.now);
                self.picked(pick, Some(node));
            }
            Op::Settle(number, cost) => {
                if !self.picks.is_empty() {
                    let pick = self.picks.swap_remove(number % self.picks.len());
                    let (node, estimate) = (pick.node(), pick.estimate());
                    self.tree.settle(pick, cost, self.now);
                    self.reference.set_now(self.tree.now);
                    self.reference.settle(node.index, estimate, cost);
                }
            }
            op => self.change(op),
        }
        assert!((before..=self.now.max(before)).contains(&self.tree.now));
        self.compare();
    }

    fn picked(&mut self, pick: Option<Pick>, at: Option<NodeId>) {
        self.reference.set_now(self.tree.now);
        let expected = match at {
            None => self.reference.pick(),
            Some(node) if self.is_there(node) => self.reference.pick_at(node.index),
            Some(_) => None,
        };
        let picked = pick.as_ref().map(|p| (p.node().index, p.slice(), p.estimate()));
        assert_eq!(picked, expected);
        self.picks.extend(pick);
    }

    /// A change that may be refused, and then changes nothing.
    fn change(&mut self, op: Op) {
        let now = self.now;
        let (node, tree) = (self.node(op.number()), &mut self.tree);
        let (what, outcome) = match op {
            Op::Add(_) => return self.add(node),
            Op::Move(_, to) => return self.move_node(node, self.node(to)),
            Op::Remove(_) => ("end", tree.remove(node)),
            Op::Weight(_, weight) => ("weight", tree.set_weight(node, weight, now)),
            Op::Idle(_, is_idle) => ("class", tree.set_idle(node, is_idle, now)),
            Op::Latency(_, latency) => ("latency", tree.set_latency(node, latency)),
            Op::Bandwidth(_, bandwidth) => ("", tree.set_bandwidth(node, bandwidth, now)),
            Op::Activate(_) => ("", tree.activate(node, now).map(|_| ())),
            _ => {
                tree.deactivate(node, now);
                ("", Ok(()))
            }
        };
        self.reference.set_now(self.tree.now);
        let at = node.index;
        match op {
            Op::Deactivate(_) if self.is_there(node) => return self.reference.deactivate(at),
            Op::Deactivate(_) => return,
            _ => assert_eq!(outcome, self.expected(node, what)),
        }
        match op {
            _ if outcome.is_err() => {}
            Op::Remove(_) => self.reference.remove(at),
            Op::Weight(_, weight) => self.reference.set_weight(at, weight),
            Op::Idle(_, is_idle) => self.reference.set_idle(at, is_idle),
            Op::Latency(_, latency) => self.reference.set_latency(at, latency),
            Op::Bandwidth(_, bandwidth) => self.reference.set_bandwidth(at, bandwidth),
            _ => self.reference.activate(at),
        }
    }

    fn add(&mut self, parent: NodeId) {
        let child = self.tree.add(parent);
        assert_eq!(child.map(|_| ()), self.expected(parent, ""));
        if let Ok(child) = child {
            self.reference.add(parent, child);
            self.nodes.push(child);
        }
    }

    fn move_node(&mut self, node: NodeId, parent: NodeId) {
        let mut expected = self.expected(node, "other parent").and(self.expected(parent, ""));
        let mut above = expected.is_ok().then_some(parent.index);
        while let Some(at) = above {
            if at == node.index {
                expected = Err(TreeError::Cycle { node, parent });
            }
            above = self.reference.groups[&at].parent;
        }
        assert_eq!(self.tree.move_node(node, parent, self.now), expected);
        self.reference.set_now(self.tree.now);
        if expected.is_ok() {
            self.reference.move_node(node.index, parent.index);
        }
    }

    fn compare(&self) {
        check(&self.tree);
        assert_eq!(self.tree.node_count(), self.reference.groups.len());
        assert_eq!(self.tree.next_release(), self.reference.next_release());
        for (at, group) in &self.reference.groups {
            let node = self.tree.node(*at);
            assert_eq!(self.tree.stats(group.id).unwrap(), self.reference.stats(*at), "{at}");
            assert_eq!(node.is_throttled(), group.is_throttled, "{at}");
            assert_eq!(node.own_tag, wrapped(group.own_tag), "own tag of {at}");
            assert_eq!(node.normal.clock, wrapped(group.lines[0].clock), "clock of {at}");
            if *at != 0 {
                assert_eq!(node.tag, wrapped(group.tag), "tag of {at}");
            }
        }
    }
}

/// Modulo 2^64.
fn wrapped(tag: i128) -> u64 {
    u64::try_from(tag.rem_euclid(1 << 64)).unwrap()
}

fn settings() -> impl Strategy<Value = TreeSettings> {
    (prop_oneof![Just(200_000_u64), 20_000..1_000_000_u64], 1..500_u64).prop_map(|(slice, debt)| {
        let settings = TreeSettings::default().with_slice(slice).unwrap();
        settings.with_debt(slice * debt).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_tree_does_what_the_reference_does(
        settings in settings(),
        origin in prop_oneof![Just(0), (0..1_u64 << 40).prop_map(|before| u64::MAX - before), any::<u64>()],
        ops in prop::collection::vec(op(), 1..250),
    ) {
        let mut script = Script::new(settings, origin);
        for op in ops {
            script.run(op);
        }
    }
}
