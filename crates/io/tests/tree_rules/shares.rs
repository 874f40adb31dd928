//! Weights hold, among groups and among flows, for small and for large requests.

use std::num::{NonZeroU32, NonZeroU64};

use fief_io::tree::{Direction, IoTree, Limits, Request, TreeSettings};

use super::sim::{Device, MS, SECOND, Sim, assert_near};

fn depth(depth: u32) -> TreeSettings {
    TreeSettings::default().with_depth(NonZeroU32::new(depth))
}

#[track_caller]
fn assert_shares(sim: &Sim, weights: &[u32], from: u64, what: &str) {
    let sum: u32 = weights.iter().sum();
    for (length, part) in [(SECOND, 0.005), (100 * MS, 0.01)] {
        for shares in sim.shares(from, length) {
            for (share, weight) in shares.iter().zip(weights) {
                assert_near(*share, f64::from(*weight) / f64::from(sum), part, what);
            }
        }
    }
}

#[test]
fn weights_hold_on_a_device_of_some_depth() {
    for weights in [&[100, 200, 400, 800][..], &[100, 900]] {
        for most in [4, 6, 8] {
            let mut sim = Sim::new(depth(most), Device::Serial);
            let root = sim.tree.root();
            for weight in weights {
                sim.group(root, *weight, 16, 4096, 20_000);
            }
            sim.run_until(3 * SECOND);
            assert_shares(&sim, weights, 500 * MS, &format!("{weights:?} at depth {most}"));
        }
    }
}

/// Shares are shares of device time: requests of any size and direction, and thinking in between.
#[test]
fn weights_hold_for_mixed_requests() {
    let mut sim = Sim::new(depth(6), Device::Serial);
    let mut random = fastrand::Rng::with_seed(3);
    let weights = [100, 200, 400];
    for weight in weights {
        let root = sim.tree.root();
        let node = sim.group(root, weight, 0, 0, 0);
        for task in 0..24 {
            let direction = Direction::ALL[task % 2];
            let request = Request::new(direction, 4096, random.u64(2_000..15_000));
            sim.task(node, request, random.u64(0..100_000));
        }
    }
    sim.run_until(3 * SECOND);
    assert_shares(&sim, &weights, 500 * MS, "mixed");
}

/// A bound by cost instead of by number does the same.
#[test]
fn weights_hold_within_a_bound_of_cost() {
    let settings = TreeSettings::default().with_max_cost(NonZeroU64::new(100_000));
    let mut sim = Sim::new(settings, Device::Serial);
    let root = sim.tree.root();
    for weight in [100, 300] {
        sim.group(root, weight, 16, 4096, 20_000);
    }
    sim.run_until(3 * SECOND);
    assert_shares(&sim, &[100, 300], 500 * MS, "max_cost");
    assert!((5..=6).contains(&sim.tree.in_flight()), "{}", sim.tree.in_flight());
}

/// A group divides what it gets, and its own flows together weigh 100 beside its children.
#[test]
fn a_tree_divides_level_by_level() {
    let mut sim = Sim::new(depth(8), Device::Serial);
    let root = sim.tree.root();
    let left = sim.tree.add(root).unwrap();
    let right = sim.tree.add(root).unwrap();
    sim.tree.set_weight(right, 300, 0).unwrap();
    sim.group(left, 100, 16, 4096, 10_000);
    sim.group(left, 50, 16, 4096, 10_000);
    sim.group(right, 100, 16, 4096, 10_000);
    sim.group(right, 200, 16, 4096, 10_000);
    // The own flows of `right` are what its children do not have.
    for _ in 0..16 {
        sim.task(right, Request::new(Direction::Write, 4096, 10_000), 0);
    }
    sim.watch(right);
    sim.run_until(3 * SECOND);
    let cost = |at: usize| sim.windows(at, SECOND, 2 * SECOND)[0].1 as f64;
    let all = 2.0 * SECOND as f64;
    for (at, share) in [(0, 1.0 / 6.0), (1, 1.0 / 12.0), (2, 0.1875), (3, 0.375), (4, 0.75)] {
        assert_near(cost(at) / all, share, 0.005, "level by level");
    }
}

/// Who is idle leaves what he had to the others, at once, and has it back within a tau.
#[test]
fn shares_of_the_idle_go_to_the_others() {
    let mut sim = Sim::new(depth(4), Device::Serial);
    let root = sim.tree.root();
    let one = sim.group(root, 100, 8, 4096, 20_000);
    sim.run_until(SECOND);
    let alone = sim.windows(0, 500 * MS, 500 * MS)[0].1 as f64;
    assert_near(alone, 500.0 * MS as f64, 0.001, "the device is busy");
    let other = sim.tree.add(root).unwrap();
    sim.tree.set_weight(other, 900, sim.now).unwrap();
    for _ in 0..8 {
        sim.task(other, Request::new(Direction::Read, 4096, 20_000), 0);
    }
    let before = sim.tree.stats(one).unwrap().cost;
    sim.run_until(SECOND + 500 * MS);
    let after = sim.tree.stats(one).unwrap().cost;
    assert_near((after - before) as f64, 50.0 * MS as f64, 0.02, "from the first moment on");
}

/// Who is away for less than a tau has lost nothing: callers come straight back, but not at once.
#[test]
fn a_short_absence_costs_nothing() {
    let mut tree = IoTree::new(depth(1));
    let (one, two) = (tree.add(tree.root()).unwrap(), tree.add(tree.root()).unwrap());
    let (busy, brief) = (tree.open_flow(one).unwrap(), tree.open_flow(two).unwrap());
    let request = Request::new(Direction::Read, 4096, 100_000);
    let mut now = 0;
    for _ in 0..1_000 {
        tree.enqueue(busy, request, now).unwrap();
    }
    let mut serve = |tree: &mut IoTree| {
        for _ in 0..20 {
            tree.pick(now).unwrap();
            now += 100_000;
            tree.complete(100_000, now);
        }
        now
    };
    for round in 1..=10 {
        let now = serve(&mut tree);
        for _ in 0..20 {
            tree.enqueue(brief, request, now).unwrap();
        }
        // It is owed 2 ms, so it is not made to take turns now.
        serve(&mut tree);
        assert_eq!(tree.stats(two).unwrap().ops[0], 20 * round);
    }
}

/// Trap 6, both ways: at 10 MB/s a 1 MiB caller beside eight of 4 KiB has its ninth, and they
/// are not made to wait for all of it. As nine groups, and as nine flows of one.
#[test]
fn trap_06_a_large_request_neither_starves_nor_hogs() {
    for as_groups in [true, false] {
        let mut sim = Sim::new(TreeSettings::default(), Device::Parallel(100_000));
        let group = sim.tree.add(sim.tree.root()).unwrap();
        sim.tree.set_limits(group, Limits::new().bps(10_000_000), 0).unwrap();
        let mut task = |bytes: u64| {
            let node = if as_groups { sim.tree.add(group).unwrap() } else { group };
            sim.task(node, Request::new(Direction::Read, bytes, bytes), 0)
        };
        let large = task(1 << 20);
        let small: Vec<usize> = (0..8).map(|_| task(4096)).collect();
        sim.run_until(61 * SECOND);
        let granted = |task: usize| sim.waits[task].iter().filter(|(at, _)| *at > SECOND).count();
        let large_bytes = (granted(large) << 20) as f64;
        let small_bytes: usize = small.iter().map(|task| granted(*task) * 4096).sum();
        let share = large_bytes / (large_bytes + small_bytes as f64);
        assert_near(share, 1.0 / 9.0, 0.05, &format!("share of the large one, {as_groups}"));
        let p99 = sim.quantile(&small, 990, SECOND);
        assert!(p99 <= 15 * MS, "p99 {} us, groups: {as_groups}", p99 / 1_000);
        let most = sim.quantile(&small, 1_000, SECOND);
        assert!(most <= 20 * MS, "max {} us, groups: {as_groups}", most / 1_000);
    }
}

/// Trap 14: what a limit of all saves up does not go to whoever asks first. Weights hold under a limit
/// alone, without a depth.
#[test]
fn trap_14_bursts_do_not_defeat_weights() {
    for (rate, bytes) in [(100_000_000, 4096), (1_000_000_000, 65_536)] {
        let mut sim = Sim::new(TreeSettings::default(), Device::Parallel(50_000));
        let root = sim.tree.root();
        sim.tree.set_limits(root, Limits::new().rbps(rate), 0).unwrap();
        for weight in [100, 300] {
            sim.group(root, weight, 16, bytes, bytes);
        }
        sim.run_until(3 * SECOND);
        for shares in sim.shares(500 * MS, SECOND) {
            assert_near(shares[0], 0.25, 0.01, "under a limit");
        }
    }
}
