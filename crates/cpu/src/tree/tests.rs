//! What must hold of a tree at any time, and tests that look inside.

use proptest::prelude::*;

use super::{
    CpuTree, TreeSettings,
    heap::{Entry, Heap, NONE},
    node::State,
    tag::is_before,
};

mod model;
mod reference;

/// Panics if the tree contradicts itself.
pub(super) fn check(tree: &CpuTree) {
    let alive: Vec<u32> = (0..u32::try_from(tree.nodes.len()).unwrap())
        .filter(|at| tree.node(*at).state != State::Free)
        .collect();
    assert_eq!(alive.len(), tree.count);
    let mut children = vec![0; tree.nodes.len()];
    for &at in &alive {
        let node = tree.node(at);
        let is_held = node.is_throttled() && node.is_waiting();
        assert_eq!(tree.due_places[at as usize] != NONE, is_held, "{at} in the release heap");
        let is_queued = at != 0 && node.is_waiting() && !node.is_throttled();
        assert_eq!(tree.is_queued(at), is_queued, "{at} in its parent's queue");
        if let Some(parent) = node.parent() {
            children[parent as usize] += 1;
            assert_ne!(tree.node(parent).state, State::Free, "the parent of {at}");
            if is_queued {
                let queue = tree.node(parent).queue(node.class).unwrap();
                let entry = queue.heap.entries()[tree.places[at as usize] as usize];
                assert_eq!((entry.id, entry.key), (at, node.key()));
            }
        }
        check_heap(&node.normal.heap, &tree.places);
        if let Some(idle) = &node.idle {
            check_heap(&idle.heap, &tree.places);
        }
        let is_over = node.state == State::Dying && node.child_count == 0 && node.in_flight == 0;
        assert!(!is_over || node.is_own_active, "{at} should be gone");
    }
    for &at in &alive {
        assert_eq!(tree.node(at).child_count, children[at as usize]);
    }
    check_heap(&tree.due, &tree.due_places);
}

fn check_heap(heap: &Heap, places: &[u32]) {
    for (at, entry) in heap.entries().iter().enumerate() {
        assert_eq!(places[entry.id as usize] as usize, at);
        if at > 0 {
            assert!(!is_before(entry.key, heap.entries()[(at - 1) / 4].key), "heap order");
        }
    }
}

/// Tags are compared by distance: a group that slept while the clock went half way round and more is
/// behind, not ahead, wherever the clock is.
#[test]
fn a_long_sleep_is_no_debt() {
    for slept in [1_u64 << 62, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, 3 << 62, u64::MAX - (1 << 55)]
    {
        let mut tree = CpuTree::new(TreeSettings::default());
        let (sleeper, hog) = (tree.add(tree.root()).unwrap(), tree.add(tree.root()).unwrap());
        tree.activate(hog, 0).unwrap();
        let clock = tree.node(0).normal.clock.wrapping_add(slept);
        (tree.node_mut(0).normal.clock, tree.node_mut(0).normal.finish) = (clock, clock);
        tree.node_mut(hog.index).tag = clock;
        tree.rekey(hog.index);
        tree.activate(sleeper, 0).unwrap();
        for expected in [sleeper, sleeper, hog] {
            let pick = tree.pick(0).unwrap();
            assert_eq!(pick.node(), expected, "{slept}");
            tree.settle(pick, 200_000, 0);
        }
        check(&tree);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Keys near the wrap come out in order of their distance, and equal ones by id.
    #[test]
    fn the_heap_is_ordered_across_the_wrap(
        origin in prop_oneof![any::<u64>(), (0..1_000_u64).prop_map(|before| u64::MAX - before)],
        ops in prop::collection::vec((0..64_u32, prop_oneof![0..64_u64, 0..1_u64 << 62]), 1..200),
    ) {
        let mut heap = Heap::default();
        let mut places = vec![NONE; 64];
        let mut sorted = std::collections::BTreeSet::new();
        let mut distances = [None; 64];
        for (id, distance) in ops {
            let key = origin.wrapping_add(distance);
            match distances[id as usize].take() {
                None => heap.push(Entry { key, id }, &mut places),
                Some(before) if distance % 3 == 0 => {
                    heap.remove(id, &mut places);
                    sorted.remove(&(before, id));
                }
                Some(before) => {
                    heap.update(id, key, &mut places);
                    sorted.remove(&(before, id));
                }
            }
            if places[id as usize] != NONE {
                distances[id as usize] = Some(distance);
                sorted.insert((distance, id));
            }
            check_heap(&heap, &places);
            let first = heap.first().map(|entry| (entry.key.wrapping_sub(origin), entry.id));
            prop_assert_eq!(first, sorted.first().copied());
        }
    }
}
