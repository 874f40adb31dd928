//! Reservations: the least that comes, whatever the weights say.

use std::num::NonZeroU32;

use fief_io::tree::{Direction, IoTree, Limits, Min, NodeId, Request, TreeError, TreeSettings};

use super::sim::{Device, SECOND, Sim, assert_near};

/// Ten groups on a device of 200 MB/s: 4 KiB in 20.48 us.
fn crowd(weight: u32, others: u32) -> (Sim, NodeId) {
    let settings = TreeSettings::default().with_depth(NonZeroU32::new(4));
    let mut sim = Sim::new(settings, Device::Serial);
    let root = sim.tree.root();
    let tenant = sim.group(root, weight, 8, 4096, 20_480);
    for _ in 0..9 {
        sim.group(root, others, 8, 4096, 20_480);
    }
    (sim, tenant)
}

const ALL: u64 = 200_000_000;

/// 30 % for a tenant whose weight is worth 1.2 %, beside nine greedy ones.
#[test]
fn a_reservation_is_kept_every_second() {
    let (mut sim, tenant) = crowd(100, 900);
    sim.tree.set_min(tenant, Min { bps: ALL * 3 / 10, iops: 0 }, 0).unwrap();
    sim.run_until(6 * SECOND);
    for (bytes, _) in sim.windows(0, SECOND, SECOND) {
        assert!(bytes as f64 >= 0.99 * 0.3 * ALL as f64, "{bytes} in a second");
        assert_near(bytes as f64, 0.3 * ALL as f64, 0.01, "and no more");
    }
    for other in 1..10 {
        let bytes = sim.windows(other, SECOND, 5 * SECOND)[0].0 as f64 / 5.0;
        assert_near(bytes, 0.7 / 9.0 * ALL as f64, 0.01, "the others share the rest");
    }
}

/// What came by reservation is not held against the share: without it, that is there at once.
#[test]
fn a_reservation_leaves_no_debt() {
    let (mut sim, tenant) = crowd(100, 100);
    sim.tree.set_min(tenant, Min { bps: ALL * 3 / 10, iops: 0 }, 0).unwrap();
    sim.run_until(3 * SECOND);
    sim.tree.set_min(tenant, Min::NONE, sim.now).unwrap();
    sim.run_until(4 * SECOND);
    let bytes = sim.windows(0, 3 * SECOND, SECOND)[0].0 as f64;
    assert_near(bytes, 0.1 * ALL as f64, 0.01, "a tenth");
}

/// Who had the device to himself owes nothing of his reservation to those who come.
#[test]
fn plenty_is_not_held_against_a_reservation() {
    let settings = TreeSettings::default().with_depth(NonZeroU32::new(4));
    let mut sim = Sim::new(settings, Device::Serial);
    let root = sim.tree.root();
    let tenant = sim.group(root, 100, 8, 4096, 20_480);
    sim.tree.set_min(tenant, Min { bps: ALL * 3 / 10, iops: 0 }, 0).unwrap();
    sim.run_until(3 * SECOND);
    for _ in 0..9 {
        let node = sim.tree.add(root).unwrap();
        sim.tree.set_weight(node, 900, sim.now).unwrap();
        for _ in 0..8 {
            sim.task(node, Request::new(Direction::Read, 4096, 20_480), 0);
        }
    }
    sim.run_until(4 * SECOND);
    let bytes = sim.windows(0, 3 * SECOND, SECOND)[0].0 as f64;
    assert!(bytes >= 0.99 * 0.3 * ALL as f64, "{bytes} in the first second");
}

/// A limit that goes before its time lets the reservation go first at once.
#[test]
fn a_raise_reaches_a_reservation_that_is_held_back() {
    for at_parent in [false, true] {
        let settings = TreeSettings::default().with_depth(NonZeroU32::new(1));
        let mut tree = IoTree::new(settings);
        let parent = tree.add(tree.root()).unwrap();
        let (node, greedy) = (tree.add(parent).unwrap(), tree.add(parent).unwrap());
        let (flow, other) = (tree.open_flow(node).unwrap(), tree.open_flow(greedy).unwrap());
        let limited = if at_parent { parent } else { node };
        tree.set_limits(limited, Limits::new().rbps(1), 0).unwrap();
        tree.set_min(node, Min { bps: 1, iops: 0 }, 0).unwrap();
        // By its share alone it would have to wait for a second of the other one.
        let huge = Request::new(Direction::Read, 1 << 20, SECOND);
        tree.force(flow, huge, 0).unwrap();
        tree.complete(SECOND, 0);
        let request = Request::new(Direction::Write, 4096, 1_000);
        let ticket = tree.enqueue(flow, Request::new(Direction::Read, 4096, 1_000), 0);
        let now = 200_000 * SECOND;
        tree.enqueue(other, request, now).unwrap();
        tree.enqueue(other, request, now).unwrap();
        assert_ne!(tree.pick(now).map(|grant| grant.ticket), ticket.ok(), "a limit wins");
        tree.complete(1_000, now);
        tree.set_limits(limited, Limits::MAX, now).unwrap();
        assert_eq!(tree.pick(now).map(|grant| grant.ticket), ticket.ok());
    }
}

/// The same by operations.
#[test]
fn operations_can_be_reserved() {
    let (mut sim, tenant) = crowd(100, 900);
    sim.tree.set_min(tenant, Min { bps: 0, iops: 15_000 }, 0).unwrap();
    sim.run_until(4 * SECOND);
    for (bytes, _) in sim.windows(0, SECOND, SECOND) {
        assert_near(bytes as f64 / 4096.0, 15_000.0, 0.01, "operations in a second");
    }
}

/// Who has more by weight has that, and the reservation on top of nothing.
#[test]
fn a_reservation_below_the_share_changes_nothing() {
    let (mut sim, tenant) = crowd(100, 100);
    sim.tree.set_min(tenant, Min { bps: ALL / 20, iops: 100 }, 0).unwrap();
    sim.run_until(4 * SECOND);
    for (bytes, _) in sim.windows(0, SECOND, SECOND) {
        assert_near(bytes as f64, 0.1 * ALL as f64, 0.01, "a tenth");
    }
}

/// A reservation of an inner node is for all below it, which divide it by their weights.
#[test]
fn a_reservation_is_divided_below() {
    let (mut sim, tenant) = crowd(100, 900);
    let inner = sim.tree.add(sim.tree.root()).unwrap();
    sim.tree.set_min(inner, Min { bps: ALL / 2, iops: 0 }, 0).unwrap();
    sim.group(inner, 100, 8, 4096, 20_480);
    sim.group(inner, 400, 8, 4096, 20_480);
    sim.run_until(4 * SECOND);
    for (window, at) in [(0.1, 10), (0.4, 11)] {
        let bytes = sim.windows(at, SECOND, 3 * SECOND)[0].0 as f64 / 3.0;
        assert_near(bytes, window * ALL as f64, 0.01, "below");
    }
    assert!(sim.tree.contains(tenant));
}

/// Limits win: a reservation above them is held back like anything else, and does not hold back others.
#[test]
fn limits_win_over_reservations() {
    let (mut sim, tenant) = crowd(100, 100);
    sim.tree.set_min(tenant, Min { bps: ALL * 3 / 10, iops: 0 }, 0).unwrap();
    sim.tree.set_limits(tenant, Limits::new().rbps(ALL / 20), 0).unwrap();
    sim.run_until(4 * SECOND);
    let rate = |at: usize| sim.windows(at, SECOND, 3 * SECOND)[0].0 as f64 / 3.0;
    assert_near(rate(0), 0.05 * ALL as f64, 0.001, "the limit");
    let all: f64 = (0..10).map(rate).sum();
    assert_near(all, ALL as f64, 0.001, "the device is busy");
    // And with the limit gone, the reservation is there at once.
    sim.tree.set_limits(tenant, Limits::MAX, sim.now).unwrap();
    sim.pump();
    sim.run_until(6 * SECOND);
    for (bytes, _) in sim.windows(0, 5 * SECOND, SECOND) {
        assert!(bytes as f64 >= 0.99 * 0.3 * ALL as f64, "{bytes} in a second");
    }
}

/// No more is reserved than there is, at every level, and the error has the figures.
#[test]
fn reservations_add_up() {
    let mut sim = Sim::new(TreeSettings::default(), Device::Serial);
    let tree = &mut sim.tree;
    let parent = tree.add(tree.root()).unwrap();
    let (one, two) = (tree.add(parent).unwrap(), tree.add(parent).unwrap());
    let min = |bps: u64| Min { bps, iops: 0 };
    assert!(matches!(tree.set_min(tree.root(), min(1), 0), Err(TreeError::Root { .. })));
    tree.set_limits(parent, Limits::new().rbps(60).wbps(40), 0).unwrap();
    tree.set_min(one, min(70), 0).unwrap();
    let error = tree.set_min(two, min(31), 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("min bps of 31 for node {two}, 101 with its siblings: {parent} has 100")
    );
    assert_eq!(tree.min(two).unwrap(), Min::NONE);
    tree.set_min(two, min(30), 0).unwrap();
    let error = tree.set_min(parent, min(99), 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("min bps of 99 for node {parent}: its children have 100")
    );
    tree.set_min(parent, min(100), 0).unwrap();
    tree.set_limits(parent, Limits::MAX, 0).unwrap();
    assert!(matches!(tree.set_min(two, min(31), 0), Err(TreeError::Min { sum: 101, .. })));
    tree.remove(one, 0).unwrap();
    tree.set_min(two, min(100), 0).unwrap();
    tree.set_limits(two, Limits::new().bps(50), 0).unwrap();
    assert!(
        matches!(tree.set_min(two, min(51), 0), Err(TreeError::Min { above, .. }) if above == two)
    );
    assert!(matches!(tree.set_min(two, min(u64::MAX), 0), Err(TreeError::Rate { .. })));
    assert_eq!(tree.min(two).unwrap(), min(100), "what is refused changes nothing");
}
