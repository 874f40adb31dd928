//! What must hold of a tree at any time, and tests that look inside.

use super::{
    IoTree,
    arena::NONE,
    heap::{Entry, Heap},
    path::due_id,
};

mod bucket;
mod heap;
mod model;
mod reference;

fn live(tree: &IoTree) -> Vec<u32> {
    let all = 0..u32::try_from(tree.nodes.len()).unwrap();
    all.filter(|at| tree.nodes.is_live(*at)).collect()
}

/// Panics if the tree contradicts itself.
pub(super) fn check(tree: &IoTree) {
    let alive = live(tree);
    let mut waiting = vec![[0; 2]; tree.nodes.len()];
    let mut sums = vec![[0_u128; 2]; tree.nodes.len()];
    let mut children = vec![0; tree.nodes.len()];
    check_flows(tree, &mut waiting);
    for &at in &alive {
        let node = &tree.nodes[at];
        for plane in 0..2 {
            check_plane(tree, at, plane);
        }
        let is_active = node.reserve.as_ref().is_some_and(|reserve| reserve.is_active());
        let places = [tree.reserved_places[at as usize], tree.parked_places[at as usize]];
        let listed = places.iter().filter(|place| **place != NONE).count();
        let expected = usize::from(is_active && node.content() != [false; 2]);
        assert_eq!(listed, expected, "{at} among the reservations");
        if let Some(parent) = tree.parent_of(at) {
            assert!(tree.nodes.is_live(parent), "the parent of {at}");
            children[parent as usize] += 1;
            let min = node.reserve.as_ref().map_or([0; 2], |reserve| reserve.min().rates());
            for (sum, min) in sums[parent as usize].iter_mut().zip(min) {
                *sum += u128::from(min);
            }
        }
    }
    for &at in &alive {
        let node = &tree.nodes[at];
        assert_eq!(node.waiting, waiting[at as usize], "waiting at {at}");
        assert_eq!(node.children, children[at as usize], "children of {at}");
        let sum = node.reserve.as_ref().map_or([0; 2], |reserve| reserve.children);
        assert_eq!(sum, sums[at as usize], "reserved by the children of {at}");
    }
    assert_eq!(tree.waiting, waiting[0].iter().map(|count| *count as usize).sum::<usize>());
    check_heap(&tree.due, &tree.due_places);
    check_heap(&tree.reserved, &tree.reserved_places);
    check_heap(&tree.parked, &tree.parked_places);
}

fn check_plane(tree: &IoTree, at: u32, plane: usize) {
    let node = &tree.nodes[at];
    let is_held = tree.due_places[due_id(at, plane) as usize] != NONE;
    assert!(!is_held || node.has_content(plane), "{at} is held for nothing");
    let is_queued = at != 0 && node.has_content(plane) && !is_held;
    assert_eq!(tree.is_queued(at, plane), is_queued, "{at} in its parent's plane {plane}");
    if is_queued {
        let heap = &tree.nodes[node.parent].nodes.planes[plane];
        let entry = heap.entry(at, &tree.node_places[plane]);
        assert_eq!(entry, Entry { key: node.tag, number: node.number, id: at });
    }
    check_heap(&node.nodes.planes[plane], &tree.node_places[plane]);
    check_heap(&node.own.planes[plane], &tree.flow_places[plane]);
}

fn check_flows(tree: &IoTree, waiting: &mut [[u32; 2]]) {
    for flow in 0..u32::try_from(tree.flows.len()).unwrap() {
        let is_live = tree.flows.is_live(flow);
        for (plane, head) in tree.flows[flow].heads.into_iter().enumerate() {
            let place = tree.flow_places[plane][flow as usize];
            assert_eq!(place != NONE, is_live && head != NONE, "flow {flow} in its node's plane");
            let (mut previous, mut next) = (NONE, head);
            while is_live && next != NONE {
                let ticket = &tree.tickets[next];
                assert!(tree.tickets.is_live(next));
                assert_eq!((ticket.flow, ticket.plane, ticket.previous), (flow, plane, previous));
                assert!(!ticket.is_begun || previous == NONE, "only the first is begun");
                for at in tree.path(tree.node_at(flow)) {
                    waiting[at as usize][plane] += 1;
                }
                (previous, next) = (next, ticket.next);
            }
            assert!(!is_live || tree.flows[flow].tails[plane] == previous);
        }
    }
}

pub(super) fn check_heap(heap: &Heap, places: &[u32]) {
    for (at, entry) in heap.entries().iter().enumerate() {
        assert_eq!(places[entry.id as usize] as usize, at);
        assert!(at == 0 || *entry >= heap.entries()[(at - 1) / 4], "heap order");
    }
}

/// The size that is promised: a limited leaf with one flow, all heaps included.
#[test]
fn a_limited_node_with_a_flow_takes_less_than_1_kib() {
    use super::node::{Flow, Limiter, Node};
    let heaps = 3 * 4 * size_of::<Entry>() / 2;
    let places = 6 * 4 + 2 * 4;
    assert!(size_of::<Node>() + size_of::<Limiter>() <= 700);
    let all = size_of::<Node>() + size_of::<Limiter>() + size_of::<Flow>() + heaps + places;
    assert!(all <= 1024, "{all}");
}
