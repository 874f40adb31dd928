//! The known traps of limiters, each by its number (1, 9 and 10 also in `src/tree/tests/bucket.rs`, 5 in
//! `rates.rs`, 6 and 14 in `shares.rs`).

use std::num::NonZeroU32;

use fief_core::Limit;
use fief_io::tree::{
    Amount, Blocked, Dimension, Direction, FlowId, IoTree, Limits, NodeId, Request, TreeError,
    TreeSettings,
};

const DAY: u64 = 86_400_000_000_000;
const MS: u64 = 1_000_000;

fn tree() -> IoTree {
    IoTree::new(TreeSettings::default())
}

fn leaf(tree: &mut IoTree, parent: NodeId) -> (NodeId, FlowId) {
    let node = tree.add(parent).expect("the parent is there");
    (node, tree.open_flow(node).expect("the node is there"))
}

fn read(bytes: u64) -> Request {
    Request::new(Direction::Read, bytes, bytes)
}

fn write(bytes: u64) -> Request {
    Request::new(Direction::Write, bytes, bytes)
}

/// Uses what is saved up, so that the next request waits.
fn drain(tree: &mut IoTree, flow: FlowId, request: Request, now: u64) {
    while tree.try_grant(flow, request, now).is_ok() {}
}

/// Trap 1: a first use after a day or after centuries finds a burst, not more and not less.
#[test]
fn trap_01_a_long_pause_is_no_overflow() {
    for pause in [DAY, 365 * DAY, u64::MAX] {
        for rate in [1, 1_000_000, i64::MAX as u64] {
            let mut tree = tree();
            let root = tree.root();
            let (node, flow) = leaf(&mut tree, root);
            let limits = Limits::new().riops(rate).with_burst(Dimension::Riops, Some(3));
            tree.set_limits(node, limits, 0).unwrap();
            drain(&mut tree, flow, read(1), 0);
            tree.force(flow, Request::new(Direction::Read, u64::MAX, u64::MAX), 1).unwrap();
            tree.force(flow, Request::new(Direction::Read, u64::MAX, u64::MAX), 1).unwrap();
            let granted = (0..10).filter(|_| tree.try_grant(flow, read(1), pause).is_ok()).count();
            assert_eq!(granted, 3, "after {pause} at {rate}");
        }
    }
}

/// Trap 2: a clock that goes back stands still; nothing is given twice, nothing waits longer.
#[test]
fn trap_02_a_clock_that_goes_back_stands_still() {
    let mut tree = tree();
    let root = tree.root();
    let (node, flow) = leaf(&mut tree, root);
    tree.set_limits(node, Limits::new().riops(1_000).with_burst(Dimension::Riops, Some(1)), DAY)
        .unwrap();
    drain(&mut tree, flow, read(1), DAY);
    tree.force(flow, read(1), DAY).unwrap();
    for back in 0..1_000 {
        assert!(tree.try_grant(flow, read(1), back * MS).is_err(), "time that was counted before");
    }
    let ticket = tree.enqueue(flow, read(1), 5).unwrap();
    assert_eq!(tree.pick(DAY - MS), None);
    assert_eq!(tree.next_at(0), Some(DAY + MS + 1));
    assert_eq!(tree.pick(DAY + MS), None, "a millisecond pays the debt");
    let grant = tree.pick(DAY + MS + 1).unwrap();
    assert_eq!((grant.ticket, grant.waited.total()), (ticket, MS + 1));
}

/// Trap 8: a throttled child leaves the queue, a throttled read does not hold back a write behind it.
#[test]
fn trap_08_nobody_waits_behind_who_is_held_back() {
    let mut tree = tree();
    let root = tree.root();
    let (slow, slow_flow) = leaf(&mut tree, root);
    let (_, fast_flow) = leaf(&mut tree, root);
    tree.set_limits(slow, Limits::new().rbps(1_000), 0).unwrap();
    drain(&mut tree, slow_flow, read(4096), 0);
    tree.force(slow_flow, read(4096), 0).unwrap();
    let held = tree.enqueue(slow_flow, read(4096), 0).unwrap();
    let behind = tree.enqueue(slow_flow, read(1), 0).unwrap();
    let writes = tree.enqueue(slow_flow, write(4096), 0).unwrap();
    let other = tree.enqueue(fast_flow, read(4096), 0).unwrap();
    let mut granted = Vec::new();
    while let Some(grant) = tree.pick(0) {
        granted.push(grant.ticket);
    }
    granted.sort_by_key(|ticket| ticket.index());
    assert_eq!(granted, [writes, other]);
    assert_eq!(tree.waiting(), 2);
    assert!(tree.try_grant(fast_flow, read(4096), 1).is_ok(), "nobody who could be served waits");
    let opens_at = tree.next_at(1).unwrap();
    assert!(tree.pick(opens_at - 1).is_none());
    assert_eq!(tree.pick(opens_at).map(|grant| grant.ticket), Some(held));
    assert_eq!(tree.stats(slow).unwrap().throttled, 1);
    tree.cancel(behind, opens_at).unwrap();
    assert_eq!(tree.next_at(opens_at), None);
}

/// Trap 9: a raise reaches who waits at once, and so does a limit that is taken away or lowered.
#[test]
fn trap_09_a_change_reaches_those_who_wait() {
    let mut tree = tree();
    let root = tree.root();
    let (node, flow) = leaf(&mut tree, root);
    tree.set_limits(node, Limits::new().rbps(1_000), 0).unwrap();
    tree.force(flow, read(1_065_536), 0).unwrap();
    tree.enqueue(flow, read(100), 0).unwrap();
    assert_eq!(tree.pick(0), None);
    assert_eq!(tree.next_at(0), Some(1_000_000_000_001), "a debt of 1 MB at 1 kB/s");
    // Half of it is paid, the rest is paid at the new rate.
    tree.set_limits(node, Limits::new().rbps(1_000_000_000), 500_000_000_000).unwrap();
    assert_eq!(tree.next_at(0), Some(500_000_500_001));
    assert_eq!(tree.pick(500_000_500_000), None);
    assert!(tree.pick(500_000_500_001).is_some());
    // Lowered again: consumed is consumed.
    tree.set_limits(node, Limits::new().rbps(10), 500_000_500_001).unwrap();
    tree.enqueue(flow, read(1), 500_000_500_001).unwrap();
    assert_eq!(tree.pick(500_000_500_001), None);
    assert!(tree.next_at(0).unwrap() >= 500_000_500_001 + 9_900_000_000);
    tree.set_limits(node, Limits::MAX, 500_000_500_001).unwrap();
    let grant = tree.pick(500_000_500_001).unwrap();
    assert_eq!(grant.waited.total(), 0);
    assert_eq!(tree.limits(node).unwrap(), Limits::MAX);
}

/// Trap 10: no rate is refused, and nothing is changed by that; 1 B/s and 2^63 - 1 are rates.
#[test]
fn trap_10_rates_of_nothing_one_and_everything() {
    let mut tree = tree();
    let root = tree.root();
    let (node, flow) = leaf(&mut tree, root);
    let fine = Limits::new().rbps(1).wbps(i64::MAX as u64).riops(1).iops(i64::MAX as u64);
    tree.set_limits(node, fine, 0).unwrap();
    for rate in [0, 1 << 63, u64::MAX] {
        let error = tree.set_limits(node, Limits::new().rbps(5).wiops(rate), 0).unwrap_err();
        assert_eq!(error, TreeError::Rate { dimension: Dimension::Wiops, rate });
        let expected = format!("wiops of {rate}: it must be 1 to 9223372036854775807, or max");
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(tree.limits(node).unwrap(), fine);
    tree.try_grant(flow, write(1 << 40), 0).unwrap();
    tree.force(flow, read(u64::MAX), 0).unwrap();
    tree.enqueue(flow, read(1), 0).unwrap();
    assert_eq!(tree.pick(DAY), None);
    assert_eq!(tree.next_at(DAY), Some(u64::MAX), "later than any time there is");
    let limits = Limits::new().with(Dimension::Rbps, Limit::At(i64::MAX as u64));
    tree.set_limits(node, limits, DAY).unwrap();
    assert!(tree.next_at(DAY).unwrap() < DAY + 3_000_000_000);
}

/// Trap 11: all levels are charged or none, whichever of them has no more.
#[test]
fn trap_11_nothing_is_held_at_one_level_while_another_refuses() {
    for refusing in 0..3 {
        let mut tree = tree();
        let mut path = vec![tree.root()];
        for _ in 0..2 {
            path.push(tree.add(path[path.len() - 1]).unwrap());
        }
        let flow = tree.open_flow(path[2]).unwrap();
        for (level, node) in path.iter().enumerate() {
            let rate = if level == refusing { 1 } else { 1_000 };
            let limits = Limits::new().riops(rate).with_burst(Dimension::Riops, Some(rate));
            tree.set_limits(*node, limits, 0).unwrap();
        }
        tree.try_grant(flow, read(1), 0).unwrap();
        let before = path.clone().into_iter().map(|node| tree.stats(node).unwrap());
        let before: Vec<_> = before.collect();
        for _ in 0..10_000 {
            let error = tree.try_grant(flow, read(1), 0).unwrap_err();
            assert_eq!(error, Blocked::Limit { node: path[refusing], until: 1 });
            let ticket = tree.enqueue(flow, read(1), 0).unwrap();
            assert_eq!(tree.pick(0), None);
            tree.cancel(ticket, 0).unwrap();
        }
        for (node, mut before) in path.iter().zip(before) {
            before.throttled = tree.stats(*node).unwrap().throttled;
            assert_eq!(tree.stats(*node).unwrap(), before);
        }
        // The others still have the 999 that they had.
        tree.set_limits(path[refusing], Limits::MAX, 0).unwrap();
        let granted = (0..2_000).filter(|_| tree.try_grant(flow, read(1), 0).is_ok()).count();
        assert_eq!(granted, 999);
    }
}

/// Trap 13: who costs nothing is not first for ever, at any weight; nothing wraps; a newcomer takes
/// no more than what it could have had lately.
#[test]
fn trap_13_virtual_time_always_goes_on() {
    let settings = TreeSettings::default().with_depth(NonZeroU32::new(1));
    let mut tree = IoTree::new(settings);
    let root = tree.root();
    let ((free, free_flow), (_, flow)) = (leaf(&mut tree, root), leaf(&mut tree, root));
    tree.set_weight(free, 10_000, 0).unwrap();
    // More requests than `1 / weight` of the smallest step, and all of them free of cost.
    for _ in 0..100 {
        tree.enqueue(free_flow, Request::new(Direction::Read, 4096, 0), 0).unwrap();
    }
    let ticket = tree.enqueue(flow, Request::new(Direction::Read, 4096, 0), 0).unwrap();
    let mut before = 0;
    while tree.pick(0).unwrap().ticket != ticket {
        tree.complete(0, 0);
        before += 1;
    }
    assert!(before <= 3, "{before} free ones before it");
    tree.complete(0, 0);

    // At the greatest weight, 0 is still as much as 1.
    let mut turns = [0, 0];
    for _ in 0..1_000 {
        tree.enqueue(free_flow, Request::new(Direction::Read, 4096, 0), 0).unwrap();
        tree.enqueue(flow, Request::new(Direction::Read, 4096, 10), 0).unwrap();
    }
    let node = tree.node_of(flow).unwrap();
    tree.set_weight(node, 10_000, 0).unwrap();
    let before = [free, node].map(|node| tree.stats(node).unwrap().ops[0]);
    for _ in 0..110 {
        tree.pick(0).unwrap();
        tree.complete(10, 0);
    }
    for (turn, (node, before)) in turns.iter_mut().zip([free, node].into_iter().zip(before)) {
        *turn = tree.stats(node).unwrap().ops[0] - before;
    }
    assert!((98..=102).contains(&turns[0]), "{turns:?}");
    tree.close_flow(free_flow, 0);
    tree.close_flow(flow, 0);
    let free_flow = tree.open_flow(free).unwrap();

    // The largest costs at the least weight, again and again: still in turns.
    tree.set_weight(free, 1, 0).unwrap();
    let huge = Request::new(Direction::Write, 0, u64::MAX);
    let (other, other_flow) = leaf(&mut tree, root);
    tree.set_weight(other, 1, 0).unwrap();
    let mut turns = [0_u32; 2];
    for now in 0..1_000 {
        for flow in [free_flow, other_flow] {
            tree.enqueue(flow, huge, now).unwrap();
        }
    }
    let before = [tree.stats(free).unwrap(), tree.stats(other).unwrap()].map(|stats| stats.ops[1]);
    for now in 0..1_000 {
        tree.pick(1_000 + now).unwrap();
        tree.complete(u64::MAX, 1_000 + now);
    }
    for (turn, node) in turns.iter_mut().zip([free, other]) {
        *turn = u32::try_from(tree.stats(node).unwrap().ops[1]).unwrap();
    }
    assert_eq!(before, [0, 0]);
    assert!(turns[0].abs_diff(turns[1]) <= 2 && turns[0] > 400, "{turns:?}");
}

/// Trap 13, newcomers: after a second alone, one group does not have to wait for a second of another.
#[test]
fn trap_13_a_newcomer_has_no_claim_to_the_past() {
    let settings = TreeSettings::default().with_depth(NonZeroU32::new(1));
    let mut tree = IoTree::new(settings);
    let root = tree.root();
    let ((_, old_flow), (_, new_flow)) = (leaf(&mut tree, root), leaf(&mut tree, root));
    let cost = 100_000;
    let request = Request::new(Direction::Read, 4096, cost);
    for _ in 0..20_000 {
        tree.enqueue(old_flow, request, 0).unwrap();
    }
    let mut now = 0;
    let mut serve = |tree: &mut IoTree, count: usize| {
        for _ in 0..count {
            tree.pick(now).unwrap();
            now += cost;
            tree.complete(cost, now);
        }
    };
    serve(&mut tree, 10_000);
    for _ in 0..1_000 {
        tree.enqueue(new_flow, request, 1_000_000_000).unwrap();
    }
    let node = tree.node_of(new_flow).unwrap();
    serve(&mut tree, 200);
    // Its half of 20 ms, and 5 ms at most that it could have had before.
    let got = tree.stats(node).unwrap().cost;
    assert!((10 * MS..=13 * MS).contains(&got), "{got}");
}

/// A refund is not a way to get more: it takes nobody further back than a pause would.
#[test]
fn refunds_give_back_what_was_charged_and_no_more() {
    let mut tree = tree();
    let root = tree.root();
    let (node, flow) = leaf(&mut tree, root);
    tree.set_limits(node, Limits::new().rbps(1_000).with_burst(Dimension::Rbps, Some(10_000)), 0)
        .unwrap();
    for _ in 0..100 {
        tree.try_grant(flow, read(5_000), 0).unwrap();
        let amount = Amount { bytes: 5_000, ops: 1, cost: 5_000 };
        tree.refund(node, flow, Direction::Read, amount, 0);
    }
    assert_eq!(tree.stats(node).unwrap().bytes, [0; 2]);
    // A refund of what was never taken does not fit in the burst.
    let amount = Amount { bytes: 1 << 40, ops: 1, cost: 0 };
    tree.refund(node, flow, Direction::Read, amount, 0);
    let granted = (0..100).filter(|_| tree.try_grant(flow, read(1_000), 0).is_ok()).count();
    assert_eq!(granted, 10);
}

/// Trap 10, bursts: without a burst and without credit there is still room for enough to open.
#[test]
fn trap_10_a_limit_without_a_burst_opens() {
    let mut tree = IoTree::new(TreeSettings::default().with_credit(0).unwrap());
    let root = tree.root();
    let (node, flow) = leaf(&mut tree, root);
    tree.set_limits(node, Limits::new().riops(1).with_burst(Dimension::Riops, Some(0)), 0).unwrap();
    assert_eq!(tree.try_grant(flow, read(1), 0), Err(Blocked::Limit { node, until: 1 }));
    tree.try_grant(flow, read(1), 1).unwrap();
    tree.enqueue(flow, read(1), 1).unwrap();
    assert_eq!(tree.pick(1), None);
    assert_eq!(tree.next_at(1), Some(1_000_000_001));
    assert!(tree.pick(1_000_000_001).is_some());
}

/// Trap 10, sizes: the largest requests at the least and the greatest rates, with any burst, alone and
/// beside each other, take a bounded number of steps.
#[test]
fn trap_10_the_largest_requests_take_few_steps() {
    for rate in [1, i64::MAX as u64] {
        for burst in [None, Some(0), Some(1), Some(u64::MAX)] {
            let mut tree = tree();
            let root = tree.root();
            let (node, flow) = leaf(&mut tree, root);
            let (_, other) = leaf(&mut tree, root);
            let limits = Dimension::ALL.into_iter().fold(Limits::new(), |limits, dimension| {
                limits.with(dimension, Limit::At(rate)).with_burst(dimension, burst)
            });
            tree.set_limits(node, limits, 0).unwrap();
            let mut now = 0;
            for bytes in [0, 1, u64::MAX] {
                tree.try_grant(flow, read(bytes), now).ok();
                for flow in [flow, other, other] {
                    tree.enqueue(flow, read(bytes), now).unwrap();
                    tree.enqueue(flow, write(bytes), now).unwrap();
                }
                for _ in 0..10_000 {
                    if tree.pick(now).is_some() {
                        continue;
                    }
                    let Some(next_at) = tree.next_at(now) else { break };
                    assert!(next_at > now || next_at == u64::MAX, "time stands still");
                    now = now.max(next_at.min(DAY));
                }
                tree.force(flow, write(bytes), now).unwrap();
                now += 1_000_000_000;
            }
        }
    }
}
