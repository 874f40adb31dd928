//! Groups that come, go and move while work waits and runs.

use std::{collections::BTreeMap, time::Duration};

use fief_cpu::tree::{Bandwidth, CpuTree, NodeId, Pick, TreeError, TreeSettings};
use proptest::prelude::*;

const MS: u64 = 1_000_000;
const SLICE: u64 = 200_000;

fn tree() -> CpuTree {
    CpuTree::new(TreeSettings::default())
}

#[test]
fn a_group_removed_while_it_runs_is_charged_to_all_above_it() {
    let mut tree = tree();
    let parent = tree.add(tree.root()).unwrap();
    let child = tree.add(parent).unwrap();
    tree.activate(child, 0).unwrap();
    let (first, second) = (tree.pick(0).unwrap(), tree.pick(0).unwrap());
    tree.remove(child).unwrap();
    tree.remove(parent).unwrap();
    let removed = Err(TreeError::Removed { node: child });
    assert_eq!(tree.remove(child), removed);
    assert_eq!(tree.add(child).map(|_| ()), removed);
    assert_eq!(tree.activate(child, 0).map(|_| ()), removed);
    assert_eq!(tree.set_weight(child, 1, 0), removed);
    assert!(tree.is_active(child), "what waits there can still be picked");
    let third = tree.pick(0).unwrap();
    assert_eq!(third.node(), child);
    tree.settle(third, 0, 0);
    tree.deactivate(child, 0);
    tree.settle(first, 7, 0);
    assert_eq!((tree.node_count(), tree.stats(child).unwrap().usage), (3, 7));
    tree.settle(second, 8, 0);
    assert_eq!((tree.node_count(), tree.stats(tree.root()).unwrap().usage), (1, 15));
    assert!(!tree.contains(child) && !tree.contains(parent));
    // Names are never given again; their places are.
    let next = tree.add(tree.root()).unwrap();
    assert!(next != child && next != parent);
    assert!(next.index() < 3);
    tree.deactivate(child, 0);
    assert!(tree.pick_at(child, 0).is_none());
    assert_eq!(tree.stats(child).map(|_| ()), removed);
    assert_eq!(child.to_string(), "2.0");
}

#[test]
fn the_root_stays() {
    let mut tree = tree();
    let root = tree.root();
    let node = tree.add(root).unwrap();
    assert_eq!(tree.remove(root), Err(TreeError::Root { what: "end" }));
    assert_eq!(tree.set_weight(root, 1, 0), Err(TreeError::Root { what: "weight" }));
    assert_eq!(tree.set_idle(root, true, 0), Err(TreeError::Root { what: "class" }));
    assert_eq!(tree.set_latency(root, 1), Err(TreeError::Root { what: "latency" }));
    assert_eq!(tree.move_node(root, node, 0), Err(TreeError::Root { what: "other parent" }));
    // Its own work is a sibling of its children.
    tree.activate(root, 0).unwrap();
    assert_eq!(tree.parent(node).unwrap(), Some(root));
    let pick = tree.pick(0).unwrap();
    assert_eq!(pick.node(), root);
    tree.settle(pick, 5, 0);
    let stats = tree.stats(root).unwrap();
    assert_eq!((stats.usage, stats.own_usage, stats.slices), (5, 5, 1));
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut tree = tree();
    let node = tree.add(tree.root()).unwrap();
    let below = tree.add(node).unwrap();
    for weight in [0, 10_001, u16::MAX] {
        assert_eq!(tree.set_weight(node, weight, 0), Err(TreeError::Weight { node, weight }));
    }
    let latency = 10_000_001;
    assert_eq!(tree.set_latency(node, latency), Err(TreeError::Latency { node, latency }));
    assert_eq!(tree.move_node(node, below, 0), Err(TreeError::Cycle { node, parent: below }));
    assert_eq!(tree.move_node(node, node, 0), Err(TreeError::Cycle { node, parent: node }));
    assert_eq!((tree.weight(node), tree.latency(node)), (Ok(100), Ok(0)));
    assert_eq!((tree.is_idle(node), tree.bandwidth(node)), (Ok(false), Ok(Bandwidth::MAX)));
    assert_eq!(tree.parent(node), Ok(Some(tree.root())));
    let refused = tree.set_weight(node, 0, 0).unwrap_err();
    assert_eq!(refused.to_string(), "weight 0 of node 1.0: it must be 1 to 10000");
}

#[test]
fn a_node_of_another_tree_is_unknown() {
    let (mut tree, mut other) = (tree(), tree());
    other.add(other.root()).unwrap();
    let strange = other.add(other.root()).unwrap();
    assert_eq!(tree.activate(strange, 0), Err(TreeError::Removed { node: strange }));
    tree.deactivate(strange, 0);
    other.activate(strange, 0).unwrap();
    let pick = other.pick(0).unwrap();
    assert!(!tree.is_ahead(tree.root(), &pick));
    tree.settle(pick, 5, 0);
    assert_eq!(tree.stats(tree.root()).unwrap().usage, 0);
}

/// A pick for each: what they owe each other is to be seen by who comes next.
#[test]
fn a_move_carries_what_is_owed() {
    let mut tree = tree();
    let (from, to) = (tree.add(tree.root()).unwrap(), tree.add(tree.root()).unwrap());
    let (mover, stays) = (tree.add(from).unwrap(), tree.add(to).unwrap());
    let rival = tree.add(from).unwrap();
    for node in [mover, rival, stays] {
        tree.activate(node, 0).unwrap();
    }
    // The clock of the new queue is somewhere else.
    for _ in 0..10 {
        let pick = tree.pick_at(stays, 0).unwrap();
        tree.settle(pick, MS, 0);
    }
    let pick = tree.pick_at(mover, 0).unwrap();
    tree.settle(pick, 20 * MS, 0);
    let running = tree.pick_at(mover, 0).unwrap();
    tree.move_node(mover, to, 0).unwrap();
    assert_eq!(tree.stats(from).unwrap().usage, 20 * MS, "history stays");
    tree.settle(running, MS, 0);
    assert_eq!(
        (tree.stats(from).unwrap().usage, tree.stats(to).unwrap().usage),
        (20 * MS, 11 * MS)
    );
    assert_eq!(tree.stats(mover).unwrap().usage, 21 * MS);
    let mut got = 0;
    while let Some(pick) = tree.pick(0) {
        let node = pick.node();
        tree.settle(pick, SLICE, 0);
        if node == mover {
            break;
        }
        got += if node == stays { SLICE } else { 0 };
    }
    // 21 ms were owed to a sibling of equal weight, and are now.
    assert!((20 * MS..=22 * MS).contains(&got), "{got}");
}

#[test]
fn a_move_carries_a_quota_and_its_debt() {
    let mut tree = tree();
    let (from, to) = (tree.add(tree.root()).unwrap(), tree.add(tree.root()).unwrap());
    let mover = tree.add(from).unwrap();
    let tenth = Bandwidth::new(Duration::from_millis(10), Duration::from_millis(100)).unwrap();
    tree.set_bandwidth(mover, tenth, 0).unwrap();
    tree.activate(mover, 0).unwrap();
    let pick = tree.pick(0).unwrap();
    tree.settle(pick, 10 * MS, 10 * MS);
    let due = tree.next_release();
    tree.move_node(mover, to, 10 * MS).unwrap();
    assert_eq!(tree.next_release(), due);
    assert!(tree.pick(10 * MS).is_none());
    let pick = tree.pick(due.unwrap()).unwrap();
    assert_eq!(pick.node(), mover);
    tree.settle(pick, 5, due.unwrap());
    assert_eq!(tree.stats(to).unwrap().usage, 5);
}

#[test]
fn a_chain_of_ten_thousand_works() {
    let mut tree = tree();
    let mut nodes = vec![tree.root()];
    for depth in 0..10_000 {
        nodes.push(tree.add(nodes[depth]).unwrap());
    }
    let (middle, leaf) = (nodes[5_000], nodes[10_000]);
    let tenth = Bandwidth::new(Duration::from_millis(10), Duration::from_millis(100)).unwrap();
    tree.set_bandwidth(middle, tenth, 0).unwrap();
    tree.activate(leaf, 0).unwrap();
    tree.activate(middle, 0).unwrap();
    let mut now = 0;
    for _ in 0..20 {
        let Some(pick) = tree.pick(now) else {
            now = tree.next_release().unwrap();
            continue;
        };
        assert!(pick.node() == leaf || pick.node() == middle);
        let other = if pick.node() == leaf { middle } else { leaf };
        assert!(!tree.is_ahead(other, &pick) || !tree.is_throttled(other));
        now += SLICE;
        tree.settle(pick, SLICE, now);
    }
    let total = tree.stats(tree.root()).unwrap().usage;
    assert_eq!(tree.stats(middle).unwrap().usage, total);
    tree.move_node(nodes[7_000], nodes[10], now).unwrap();
    tree.deactivate(leaf, now);
    tree.deactivate(middle, now);
    // From the top: all of them stay until the last one goes.
    for node in &nodes[1..] {
        tree.remove(*node).unwrap();
    }
    assert_eq!(tree.node_count(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// A ledger beside the tree: own usage and what children used, here or before they went, is all usage.
    #[test]
    fn usage_is_the_sum_of_what_was_charged(ops in prop::collection::vec((0..7_u8, any::<usize>(), any::<usize>(), 0..MS), 1..300)) {
        let mut tree = tree();
        let mut parents: BTreeMap<usize, usize> = BTreeMap::new();
        let mut nodes: Vec<NodeId> = vec![tree.root()];
        let mut ledger = vec![0_u64];
        let mut picks: Vec<Pick> = Vec::new();
        for (op, a, b, cost) in ops {
            let (a, b) = (a % nodes.len(), b % nodes.len());
            match op {
                0 => if let Ok(node) = tree.add(nodes[a]) {
                    parents.insert(nodes.len(), a);
                    nodes.push(node);
                    ledger.push(0);
                },
                1 if cost % 4 == 0 => drop(tree.remove(nodes[a])),
                2 if tree.move_node(nodes[a], nodes[b], 0).is_ok() => drop(parents.insert(a, b)),
                3 => drop(tree.activate(nodes[a], 0)),
                4 if cost % 4 == 0 => tree.deactivate(nodes[a], 0),
                5 if !picks.is_empty() => {
                    let pick = picks.swap_remove(b % picks.len());
                    let at = nodes.iter().position(|node| *node == pick.node()).unwrap();
                    tree.settle(pick, cost, 0);
                    let mut above = Some(at);
                    while let Some(at) = above {
                        ledger[at] += cost;
                        above = parents.get(&at).copied();
                    }
                }
                _ => picks.extend(tree.pick(0)),
            }
            for (node, usage) in nodes.iter().zip(&ledger) {
                if let Ok(stats) = tree.stats(*node) {
                    prop_assert_eq!(stats.usage, *usage);
                }
            }
        }
    }
}
