//! Siblings that always wait get CPU time by their weights, within a bound, and nobody starves.

use std::collections::BTreeMap;

use fief_cpu::tree::NodeId;
use proptest::prelude::*;

use crate::sim::{Load, Sim};

const MS: u64 = 1_000_000;

/// One group of a random tree: below which earlier one, weight, and its longest poll if it has jobs.
type Spec = (usize, u16, Option<u64>);

fn specs() -> impl Strategy<Value = Vec<Spec>> {
    let weight = prop_oneof![Just(100_u16), 1..=10_000_u16, Just(1), Just(10_000)];
    let poll = prop::option::weighted(0.8, prop_oneof![1_000..100_000_u64, 100_000..3 * MS]);
    prop::collection::vec((any::<usize>(), weight, poll), 2..9)
}

/// The groups with what they are below of.
struct Family {
    sim: Sim,
    nodes: Vec<NodeId>,
    parents: BTreeMap<usize, usize>,
    weights: Vec<u16>,
}

impl Family {
    /// All jobs always have something to do, and there is always one more than workers.
    fn new(specs: &[Spec], workers: usize, seed: u64) -> Self {
        let mut sim = Sim::new(workers, seed);
        sim.steal = 400;
        let (mut nodes, mut parents, mut weights) = (vec![sim.root()], BTreeMap::new(), vec![100]);
        for (parent, weight, _) in specs {
            let parent = parent % nodes.len();
            parents.insert(nodes.len(), parent);
            nodes.push(sim.add(nodes[parent], *weight));
            weights.push(*weight);
        }
        for (at, (_, _, poll)) in specs.iter().enumerate() {
            let is_leaf = !parents.values().any(|parent| *parent == at + 1);
            if let Some(poll) = poll.or(is_leaf.then_some(50_000)) {
                sim.load(nodes[at + 1], Load::hog(workers + 1, (1_000, poll)));
            }
        }
        Self { sim, nodes, parents, weights }
    }

    /// Children of `at` that compete, its own work among them: number, weight and usage.
    fn rivals(&self, sim: &Sim, at: usize) -> Vec<(usize, f64, f64)> {
        let stats = |at: usize| sim.tree.stats(self.nodes[at]).expect("all are there");
        let children = self.parents.iter().filter(|(_, parent)| **parent == at);
        let mut rivals: Vec<_> = children
            .map(|(child, _)| (*child, f64::from(self.weights[*child]), float(stats(*child).usage)))
            .collect();
        if sim.longest(self.nodes[at]) > 0 || sim.tree.is_active(self.nodes[at]) {
            rivals.push((at, 100.0, float(stats(at).own_usage)));
        }
        rivals
    }

    /// The longest slice at a node or below, and no less than what is estimated at first.
    fn longest(&self, sim: &Sim, at: usize, is_own: bool) -> f64 {
        let below = |mut node: usize| {
            while node != at && node != 0 {
                node = self.parents[&node];
            }
            node == at
        };
        let leaves = (0..self.nodes.len()).filter(|node| *node == at || (!is_own && below(*node)));
        let longest = leaves.map(|leaf| sim.longest(self.nodes[leaf])).max().unwrap_or(0);
        float(longest.max(sim.tree.settings().slice()))
    }
}

fn float(value: u64) -> f64 {
    f64::from(u32::try_from(value / 1_000).expect("short enough")) * 1_000.0
        + f64::from(u32::try_from(value % 1_000).expect("below 1,000"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    /// |S_i / w_i - S_j / w_j| <= L_i / w_i + L_j / w_j over any time, and 2m of that with m workers.
    #[test]
    fn siblings_that_wait_are_never_far_apart(
        specs in specs(), workers in 1..=4_usize, seed in any::<u64>(),
    ) {
        let mut family = Family::new(&specs, workers, seed);
        let mut spread: BTreeMap<(usize, usize, usize), (f64, f64)> = BTreeMap::new();
        let mut sim = std::mem::replace(&mut family.sim, Sim::new(1, 0));
        sim.run(100 * MS, |sim, _| {
            for at in 0..family.nodes.len() {
                let rivals = family.rivals(sim, at);
                for (a, a_weight, a_usage) in &rivals {
                    for (b, b_weight, b_usage) in &rivals {
                        let gap = a_usage / a_weight - b_usage / b_weight;
                        let (least, most) = spread.entry((at, *a, *b)).or_insert((0.0, 0.0));
                        (*least, *most) = (least.min(gap), most.max(gap));
                    }
                }
            }
        });
        let per_worker = if workers == 1 { 1.0 } else { 2.0 * f64::from(u32::try_from(workers).unwrap()) };
        for ((at, a, b), (least, most)) in spread {
            let share = |child: usize| {
                let weight = if child == at { 100.0 } else { f64::from(family.weights[child]) };
                // One unit of rounding for every slice.
                (family.longest(&sim, child, child == at) + 1.0) / weight
            };
            let bound = per_worker * (share(a) + share(b));
            prop_assert!(most - least <= bound, "{a} and {b} below {at}: {} > {bound}", most - least);
        }
    }

    /// Between two slices of a leaf, its queue gives out no more than W / w · L and L for every rival;
    /// the queue above gives out what its queue needs for that, and so on to the root.
    #[test]
    fn who_waits_is_picked_within_the_bound(
        specs in specs(), workers in 1..=4_usize, seed in any::<u64>(),
    ) {
        let mut family = Family::new(&specs, workers, seed);
        let mut sim = std::mem::replace(&mut family.sim, Sim::new(1, 0));
        let mut last: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
        sim.run(400 * MS, |sim, slice| {
            let total = sim.usage(sim.root());
            let (at, longest) = last.get(&slice.node.index()).copied().unwrap_or((0, 0));
            last.insert(slice.node.index(), (total, longest.max(total - at)));
        });
        let total = sim.usage(sim.root());
        for (leaf, node) in family.nodes.iter().enumerate().skip(1) {
            if !sim.tree.is_active(*node) {
                continue;
            }
            let (at, longest) = last.get(&node.index()).copied().unwrap_or((0, 0));
            let longest = float(longest.max(total - at));
            let bound = delay(&family, &sim, leaf) * f64::from(u32::try_from(workers).unwrap());
            prop_assert!(longest <= bound, "{leaf}: {longest} > {bound}");
        }
    }
}

/// How much CPU time the root gives out between two slices of a leaf, at most.
fn delay(family: &Family, sim: &Sim, leaf: usize) -> f64 {
    let (mut child, mut queue, mut need) = (leaf, leaf, 0.0);
    loop {
        let rivals = family.rivals(sim, queue);
        let weight = if child == queue { 100.0 } else { f64::from(family.weights[child]) };
        let longest = |rival: usize| family.longest(sim, rival, rival == queue);
        let all: f64 = rivals.iter().map(|(_, weight, _)| weight).sum();
        let slices: f64 = rivals.iter().map(|(rival, ..)| longest(*rival)).sum();
        need = all / weight * (need + longest(child)) + slices;
        if queue == 0 {
            return need;
        }
        (child, queue) = (queue, family.parents[&queue]);
    }
}

#[test]
fn weights_hold_over_time_at_every_level() {
    let mut sim = Sim::new(2, 7);
    let root = sim.root();
    let (light, heavy) = (sim.add(root, 100), sim.add(root, 300));
    let (first, second) = (sim.add(heavy, 50), sim.add(heavy, 200));
    for (node, poll) in [(light, 5_000), (first, 900_000), (second, 20_000), (heavy, 150_000)] {
        sim.load(node, Load::hog(3, (1_000, poll)));
    }
    sim.run(10_000 * MS, |_, _| {});
    let total = float(sim.usage(root));
    let share = |node| float(sim.usage(node)) / total;
    let own = float(sim.tree.stats(heavy).unwrap().own_usage) / total;
    // Own work is a child of weight 100.
    for (share, wanted) in [
        (share(light), 0.25),
        (share(heavy), 0.75),
        (share(first), 0.75 * 50.0 / 350.0),
        (share(second), 0.75 * 200.0 / 350.0),
        (own, 0.75 * 100.0 / 350.0),
    ] {
        assert!((share - wanted).abs() < 0.002 * wanted, "{share} instead of {wanted}");
    }
}

#[test]
fn a_weight_that_no_worker_can_serve_costs_nobody_anything_later() {
    let mut sim = Sim::new(2, 1);
    let (light, heavy) = (sim.add(sim.root(), 1), sim.add(sim.root(), 10_000));
    sim.load(light, Load::hog(1, (10_000, 50_000)));
    sim.load(heavy, Load::hog(1, (10_000, 50_000)));
    sim.run(20_000 * MS, |_, _| {});
    // One job each on two workers: half each, whatever the weights.
    assert!(sim.usage(light) > 19_900 * MS);
    let before = sim.usage(light);
    sim.load(heavy, Load::hog(3, (10_000, 50_000)));
    // Nothing is made up for: the next slice comes after W / w · L of the two workers.
    sim.run(20_000 * MS + 1_400 * MS, |_, _| {});
    assert!(sim.usage(light) > before + 100_000, "light got {}", sim.usage(light) - before);
}

#[test]
fn the_idle_class_runs_only_when_nobody_else_waits() {
    let mut sim = Sim::new(1, 3);
    let (idle, other) = (sim.add(sim.root(), 10_000), sim.add(sim.root(), 1));
    let third = sim.add(sim.root(), 100);
    sim.tree.set_idle(idle, true, 0).unwrap();
    sim.tree.set_idle(third, true, 0).unwrap();
    sim.load(idle, Load::hog(2, (10_000, 20_000)));
    sim.load(third, Load::hog(2, (10_000, 20_000)));
    sim.load(other, Load::hog(2, (10_000, 20_000)));
    sim.run(100 * MS, |_, _| {});
    assert_eq!((sim.usage(idle), sim.usage(third)), (0, 0));
    sim.stop(other);
    sim.run(300 * MS, |_, _| {});
    // Among themselves they share by weight.
    let (most, least) = (float(sim.usage(idle)), float(sim.usage(third)));
    assert!(least > 1_000_000.0 && (most / least - 100.0).abs() < 20.0, "{most}, {least}");
    let before = sim.usage(idle);
    sim.load(other, Load::hog(2, (10_000, 20_000)));
    let now = sim.now;
    sim.run(now + 100 * MS, |_, _| {});
    assert!(sim.usage(idle) - before <= 400_000, "only what was in flight");
}

#[test]
fn a_weight_counts_from_the_moment_it_is_set() {
    let mut sim = Sim::new(1, 5);
    let (a, b) = (sim.add(sim.root(), 100), sim.add(sim.root(), 100));
    sim.load(a, Load::hog(2, (20_000, 20_000)));
    sim.load(b, Load::hog(2, (20_000, 20_000)));
    for (round, weight) in [(1, 400), (2, 25), (3, 10_000), (4, 1), (5, 100)] {
        let (at_a, at_b) = (sim.usage(a), sim.usage(b));
        sim.tree.set_weight(a, weight, sim.now).unwrap();
        sim.run(round * 20_000 * MS, |_, _| {});
        let (got_a, got_b) = (float(sim.usage(a) - at_a), float(sim.usage(b) - at_b));
        let gap = (got_a / f64::from(weight) - got_b / 100.0).abs();
        let bound = 200_000.0 / f64::from(weight) + 200_000.0 / 100.0;
        assert!(gap <= bound, "{round}: {gap} > {bound}");
    }
}
