//! Nodes, flows and requests come and go.

use std::num::NonZeroU32;

use fief_io::tree::{
    Blocked, Dimension, Direction, IoTree, Lease, Limits, Min, Request, TreeError, TreeSettings,
};

const MS: u64 = 1_000_000;

fn read(bytes: u64) -> Request {
    Request::new(Direction::Read, bytes, bytes)
}

fn deep(depth: u32) -> IoTree {
    IoTree::new(TreeSettings::default().with_depth(NonZeroU32::new(depth)))
}

#[test]
fn a_removed_node_cancels_what_waits_there() {
    let mut tree = deep(1);
    let node = tree.add(tree.root()).unwrap();
    let child = tree.add(node).unwrap();
    let flow = tree.open_flow(child).unwrap();
    let other = tree.open_flow(child).unwrap();
    let first = tree.enqueue(other, read(1), 0).unwrap();
    let second = tree.enqueue(flow, Request::new(Direction::Write, 1, 1), 0).unwrap();
    let third = tree.enqueue(flow, read(1), 0).unwrap();
    let error = tree.remove(node, 0).unwrap_err();
    assert_eq!(error.to_string(), format!("node {node} has 1 children"));
    assert_eq!(tree.remove(child, 0).unwrap(), [first, second, third]);
    assert_eq!((tree.waiting(), tree.pick(0), tree.next_at(0)), (0, None, None));
    assert_eq!(tree.enqueue(flow, read(1), 0), Err(TreeError::Closed { flow }));
    assert_eq!(tree.try_grant(flow, read(1), 0), Err(Blocked::Closed { flow }));
    assert_eq!(tree.cancel(first, 0), None);
    assert_eq!(tree.stats(child), Err(TreeError::Removed { node: child }));
    assert!(matches!(tree.remove(tree.root(), 0), Err(TreeError::Root { .. })));
    // The place is given again, the name is not.
    let again = tree.add(node).unwrap();
    assert_eq!(again.index(), child.index());
    assert_eq!(tree.node_of(flow), None);
    tree.move_flow(flow, again, 0).unwrap();
    tree.try_grant(flow, read(1), 0).unwrap();
}

#[test]
fn a_flow_takes_what_waits_in_it_along() {
    let mut tree = IoTree::new(TreeSettings::default());
    let (from, to) = (tree.add(tree.root()).unwrap(), tree.add(tree.root()).unwrap());
    tree.set_limits(from, Limits::new().rbps(1_000), 0).unwrap();
    let flow = tree.open_flow(from).unwrap();
    let first = tree.enqueue(flow, read(200_000), 0).unwrap();
    let second = tree.enqueue(flow, read(1), 0).unwrap();
    assert_eq!(tree.pick(0), None, "a part of it is charged");
    assert_eq!(tree.stats(from).unwrap().bytes[0], 65_536);
    tree.move_flow(flow, to, 10 * MS).unwrap();
    assert_eq!(tree.stats(from).unwrap().bytes[0], 0, "and given back");
    assert_eq!((tree.waiting_at(from), tree.waiting_at(to)), (Ok(0), Ok(2)));
    let grant = tree.pick(15 * MS).unwrap();
    assert_eq!(grant.ticket, first);
    assert_eq!((grant.waited.limit, grant.waited.queue), (10 * MS, 5 * MS));
    assert_eq!(tree.pick(15 * MS).unwrap().ticket, second);
    assert_eq!(tree.stats(to).unwrap().bytes[0], 200_001);
    assert!(tree.try_grant(flow, read(1), 15 * MS).is_ok());
}

#[test]
fn a_closed_flow_gives_its_tickets_back() {
    let mut tree = deep(1);
    let flow = tree.open_flow(tree.root()).unwrap();
    let tickets: Vec<_> = (0..3).map(|_| tree.enqueue(flow, read(1), 0).unwrap()).collect();
    assert_eq!(tree.close_flow(flow, 0), tickets);
    assert_eq!(tree.close_flow(flow, 0), []);
    assert_eq!(tree.move_flow(flow, tree.root(), 0), Err(TreeError::Closed { flow }));
}

#[test]
fn cancelling_gives_back_exactly_what_was_charged() {
    let mut tree = IoTree::new(TreeSettings::default());
    let node = tree.add(tree.root()).unwrap();
    let burst = Some(100_000);
    let limits = Limits::new().rbps(1_000).with_burst(Dimension::Rbps, burst).riops(1);
    tree.set_limits(node, limits, 0).unwrap();
    let flow = tree.open_flow(node).unwrap();
    for _ in 0..100 {
        let ticket = tree.enqueue(flow, read(1 << 20), 0).unwrap();
        assert_eq!(tree.pick(0), None);
        assert!(tree.cancel(ticket, 0).is_some());
        assert_eq!(tree.cancel(ticket, 0), None);
    }
    assert_eq!(tree.stats(node).unwrap().ops, [0; 2]);
    tree.try_grant(flow, read(65_536), 0).unwrap();
    assert!(tree.try_grant(flow, read(1), 0).is_err());
}

/// A request waits for limits or for its turn, and is told which.
#[test]
fn a_grant_says_what_it_waited_for() {
    let mut tree = deep(1);
    let node = tree.add(tree.root()).unwrap();
    let limits = Limits::new().riops(100).with_burst(Dimension::Riops, Some(1));
    tree.set_limits(node, limits, 0).unwrap();
    let flow = tree.open_flow(node).unwrap();
    tree.try_grant(flow, read(1), 0).unwrap();
    tree.force(flow, read(1), 0).unwrap();
    tree.complete(1, 0);
    tree.enqueue(flow, read(1), 0).unwrap();
    // 4 ms for a place in flight, then 6 ms and a nanosecond for the limit.
    assert_eq!((tree.pick(MS), tree.next_at(MS)), (None, None));
    tree.complete(1, 4 * MS);
    assert_eq!((tree.pick(4 * MS), tree.next_at(4 * MS)), (None, Some(10 * MS + 1)));
    let waited = tree.pick(10 * MS + 1).unwrap().waited;
    assert_eq!((waited.limit, waited.queue, waited.total()), (6 * MS + 1, 4 * MS, 10 * MS + 1));
}

#[test]
fn depth_changes_at_once() {
    let mut tree = deep(2);
    let flow = tree.open_flow(tree.root()).unwrap();
    for _ in 0..10 {
        tree.enqueue(flow, read(1), 0).unwrap();
    }
    let count = |tree: &mut IoTree| std::iter::from_fn(|| tree.pick(0)).count();
    assert_eq!(count(&mut tree), 2);
    tree.set_depth(NonZeroU32::new(5));
    assert_eq!(tree.next_at(0), Some(0));
    assert_eq!(count(&mut tree), 3);
    tree.set_depth(NonZeroU32::new(3));
    tree.complete(1, 0);
    tree.complete(1, 0);
    assert_eq!(count(&mut tree), 0);
    tree.complete(1, 0);
    assert_eq!((count(&mut tree), tree.in_flight()), (1, 3));
    tree.set_depth(None);
    assert_eq!((count(&mut tree), tree.in_flight()), (4, 3));
    for _ in 0..3 {
        tree.complete(1, 0);
    }
    assert_eq!((tree.in_flight(), tree.in_flight_cost()), (0, 0));
}

/// Urgent requests go whatever the limits and the depth say, and are paid back before the next grant.
#[test]
fn urgent_requests_run_into_debt() {
    let mut tree = deep(1);
    let node = tree.add(tree.root()).unwrap();
    tree.set_limits(node, Limits::new().rbps(1_000_000), 0).unwrap();
    let flow = tree.open_flow(node).unwrap();
    for _ in 0..3 {
        tree.force(flow, read(1_000_000), 0).unwrap();
    }
    assert_eq!((tree.in_flight(), tree.in_flight_cost()), (3, 3_000_000));
    tree.enqueue(flow, read(1), 0).unwrap();
    assert_eq!(tree.pick(0), None);
    for _ in 0..3 {
        tree.complete(1_000_000, 0);
    }
    assert_eq!(tree.pick(0), None);
    // 3 MB less the burst of 65,536.
    assert_eq!(tree.next_at(0), Some(2_934_464_001));
    assert!(tree.pick(2_934_464_001).is_some());
}

#[test]
fn a_lease_is_taken_and_given_back() {
    let mut tree = IoTree::new(TreeSettings::default());
    let node = tree.add(tree.root()).unwrap();
    let flow = tree.open_flow(node).unwrap();
    assert!(tree.is_free(node, Direction::Read));
    let root = tree.root();
    tree.set_limits(root, Limits::new().rbps(100_000_000), 0).unwrap();
    assert!(!tree.is_free(node, Direction::Read) && tree.is_free(node, Direction::Write));
    let lease = tree.lease(node, Direction::Read, 0).unwrap();
    assert_eq!(lease, Lease { bytes: 50_000, ops: Lease::OPS_MAX });
    // The burst of 1 MB is gone after 20 leases, and back when they are.
    let leases: Vec<_> = std::iter::from_fn(|| tree.lease(node, Direction::Read, 0)).collect();
    assert_eq!(leases.len(), 19);
    assert!(tree.try_grant(flow, read(1), 0).is_err());
    tree.unlease(node, Direction::Read, lease, 0);
    tree.try_grant(flow, read(50_000), 0).unwrap();
    for lease in leases {
        tree.unlease(node, Direction::Read, lease, 0);
    }
    let granted = (0..1_000).filter(|_| tree.try_grant(flow, read(50_000), 0).is_ok()).count();
    assert_eq!(granted, 19);
    // None for who waits, for a slow limit, or on a device with a depth.
    tree.enqueue(flow, read(1), 0).unwrap();
    assert_eq!(tree.lease(node, Direction::Write, 0), None);
    assert!(tree.pick(MS).is_some());
    tree.set_limits(node, Limits::new().riops(1_999), MS).unwrap();
    assert_eq!(tree.lease(node, Direction::Read, 100 * MS), None);
    tree.set_limits(node, Limits::new().riops(2_000), MS).unwrap();
    assert_eq!(tree.lease(node, Direction::Read, 100 * MS), Some(Lease { bytes: 50_000, ops: 1 }));
    tree.set_depth(NonZeroU32::new(1));
    assert_eq!(tree.lease(node, Direction::Read, 100 * MS), None);
    tree.remove(node, 0).unwrap();
    assert_eq!(tree.lease(node, Direction::Read, 0), None);
    tree.unlease(node, Direction::Read, Lease { bytes: 1, ops: 1 }, 0);
}

/// One piece after the other while others wait, all at once if nobody does.
#[test]
fn a_large_request_is_charged_piece_by_piece() {
    let mut tree = deep(1);
    let (one, two) = (tree.add(tree.root()).unwrap(), tree.add(tree.root()).unwrap());
    let (large, small) = (tree.open_flow(one).unwrap(), tree.open_flow(two).unwrap());
    let ticket = tree.enqueue(large, read(1 << 20), 0).unwrap();
    for _ in 0..100 {
        tree.enqueue(small, read(16 << 10), 0).unwrap();
    }
    let mut before = 0;
    while tree.pick(0).unwrap().ticket != ticket {
        tree.complete(16 << 10, 0);
        before += 1;
        let (large, small) = (tree.stats(one).unwrap(), tree.stats(two).unwrap());
        assert!(large.bytes[0].abs_diff(small.bytes[0]) <= 80 << 10, "in turns");
    }
    assert!((60..=64).contains(&before), "{before}");
    assert_eq!(tree.stats(one).unwrap().ops, [1, 0]);
    tree.complete(1 << 20, 0);
}

#[test]
fn bad_input_is_refused() {
    let mut tree = deep(1);
    let node = tree.add(tree.root()).unwrap();
    for weight in [0, 10_001, u32::MAX] {
        let error = tree.set_weight(node, weight, 0).unwrap_err();
        assert_eq!(error, TreeError::Weight { node, weight });
    }
    assert!(matches!(tree.set_weight(tree.root(), 1, 0), Err(TreeError::Root { .. })));
    assert_eq!(tree.weight(node), Ok(100));
    tree.remove(node, 0).unwrap();
    let removed = Err(TreeError::Removed { node });
    assert_eq!(tree.set_weight(node, 1, 0), removed);
    assert_eq!(tree.set_limits(node, Limits::MAX, 0), removed);
    assert_eq!(tree.set_min(node, Min::NONE, 0), removed);
    assert_eq!(tree.add(node).map(|_| ()), removed);
    assert_eq!(tree.open_flow(node).map(|_| ()), removed);
    let settings = TreeSettings::default();
    assert_eq!(
        settings.with_quantum(511).unwrap_err().to_string(),
        "a quantum of 511: it must be 512 to 1073741824"
    );
    assert!(settings.with_tau(1_000_000_001).is_err());
    assert!(settings.with_credit(10_000_000_001).is_err());
    assert!(settings.with_quantum(512).unwrap().with_tau(0).unwrap().with_credit(0).is_ok());
}

/// Deep trees are walked in loops.
#[test]
fn a_tree_may_be_very_deep() {
    let mut tree = deep(1);
    let mut at = tree.root();
    for _ in 0..20_000 {
        at = tree.add(at).unwrap();
    }
    let flow = tree.open_flow(at).unwrap();
    tree.set_min(at, Min { bps: 1, iops: 1 }, 0).unwrap();
    let ticket = tree.enqueue(flow, read(1), 0).unwrap();
    assert_eq!(tree.pick(2_000_000_000).unwrap().ticket, ticket);
    tree.complete(1, 0);
}

/// The same calls, the same grants.
#[test]
fn it_is_deterministic() {
    let run = || {
        let mut tree = deep(3);
        let mut random = fastrand::Rng::with_seed(1);
        let nodes: Vec<_> = (0..50).map(|_| tree.add(tree.root()).unwrap()).collect();
        let flows: Vec<_> = nodes.iter().map(|node| tree.open_flow(*node).unwrap()).collect();
        let mut granted = Vec::new();
        for now in 0..5_000 {
            tree.enqueue(flows[random.usize(0..50)], read(random.u64(0..200_000)), now).unwrap();
            if random.bool() {
                tree.set_weight(nodes[random.usize(0..50)], random.u32(1..1_000), now).unwrap();
            }
            if let Some(grant) = tree.pick(now) {
                granted.push(grant);
            } else {
                tree.complete(0, now);
            }
        }
        granted
    };
    assert_eq!(run(), run());
}
