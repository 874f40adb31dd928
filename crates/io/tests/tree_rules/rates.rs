//! Limits hold, and nothing less comes.

use fief_io::tree::{Direction, Limits, Request, TreeSettings};

use super::sim::{Device, MS, SECOND, Sim, Timer, assert_near};

const MB: u64 = 1_000_000;

/// Mean within 0.1 %, every 100 ms within a quantum and 5 %, at every rate from 1 MB/s to 4 GB/s.
#[test]
fn rates_are_exact() {
    let rates = [MB, 3_700_000, 10 * MB, 100 * MB, 333 * MB, 600 * MB, 1_500 * MB, 4_000 * MB];
    for rate in rates {
        for bytes in [4 << 10, 64 << 10, 1 << 20] {
            // Eight callers could do half as much again, and no test takes for ever.
            let latency = 20_000;
            let seconds = if rate < 10 * MB { 20 } else { 4 };
            if 8 * bytes * SECOND / latency < rate * 3 / 2 || rate * seconds / bytes > 100_000 {
                continue;
            }
            let mut sim = Sim::new(TreeSettings::default(), Device::Parallel(latency));
            let root = sim.tree.root();
            let group = sim.group(root, 100, 8, bytes, 1_000);
            sim.tree.set_limits(group, Limits::new().rbps(rate), 0).unwrap();
            sim.run_until((seconds + 1) * SECOND);
            let mean = sim.windows(0, SECOND, seconds * SECOND)[0].0 as f64 / seconds as f64;
            // A whole piece may be just before or just behind the end.
            let piece = bytes.min(64 << 10) as f64 / (rate * seconds) as f64;
            assert_near(mean, rate as f64, 0.001 + piece, &format!("{rate} B/s by {bytes}"));
            for (window, _) in sim.windows(0, SECOND, 100 * MS) {
                let error = (window as f64 - rate as f64 / 10.0).abs();
                let most = 65_536.0 + 0.05 * rate as f64 / 10.0;
                assert!(error <= most, "{rate} B/s by {bytes}: {window} in 100 ms");
            }
        }
    }
}

/// The same for operations, and for a limit that counts reads and writes together.
#[test]
fn rates_of_operations_are_exact() {
    let mut sim = Sim::new(TreeSettings::default(), Device::Parallel(50_000));
    let root = sim.tree.root();
    let node = sim.tree.add(root).unwrap();
    sim.tree.set_limits(node, Limits::new().iops(7_777), 0).unwrap();
    for direction in Direction::ALL {
        for _ in 0..4 {
            sim.task(node, Request::new(direction, 512, 1), 0);
        }
    }
    sim.run_until(SECOND);
    let before = sim.tree.stats(node).unwrap().ops;
    sim.run_until(11 * SECOND);
    let after = sim.tree.stats(node).unwrap().ops;
    let ops = [after[0] - before[0], after[1] - before[1]];
    assert!(ops[0].abs_diff(ops[1]) <= 2, "{ops:?}");
    assert_near((ops[0] + ops[1]) as f64, 77_770.0, 0.0001, "operations");
}

/// The least of all limits on a path counts, and siblings share it.
#[test]
fn limits_of_every_level_hold() {
    let mut sim = Sim::new(TreeSettings::default(), Device::Parallel(50_000));
    let mut at = sim.tree.root();
    for level in 0..6_u64 {
        at = sim.tree.add(at).unwrap();
        let limits = Limits::new().rbps((20 + (level + 3) % 6) * MB).riops(100_000);
        sim.tree.set_limits(at, limits, 0).unwrap();
        sim.watch(at);
    }
    let leaves = [sim.group(at, 100, 4, 4096, 1_000), sim.group(at, 300, 4, 4096, 1_000)];
    sim.tree.set_limits(leaves[1], Limits::new().bps(2 * MB), 0).unwrap();
    sim.run_until(5 * SECOND);
    let rate = |at: usize| sim.windows(at, SECOND, 4 * SECOND)[0].0 as f64 / 4.0;
    for level in 0..6 {
        assert_near(rate(level), 20.0 * MB as f64, 0.001, "the least on the path");
    }
    assert_near(rate(7), 2.0 * MB as f64, 0.001, "the limited leaf");
    assert_near(rate(6), 18.0 * MB as f64, 0.001, "the other one has the rest");
}

/// Trap 5: a timer that comes 20 to 100 ms late, and nobody else who looks, costs no rate.
#[test]
fn trap_05_a_late_timer_costs_no_rate() {
    let mut sim =
        Sim::new(TreeSettings::default(), Device::Parallel(50_000)).with_timer(Timer::OnlyLate);
    let root = sim.tree.root();
    let group = sim.group(root, 100, 1_000, 1_000, 1);
    sim.tree.set_limits(group, Limits::new().rbps(MB), 0).unwrap();
    sim.run_until(12 * SECOND);
    // The phase of a timer at either end is 100 ms at most.
    assert_near(sim.windows(0, SECOND, 10 * SECOND)[0].0 as f64, 10.0 * MB as f64, 0.01, "late");
    let grants: Vec<usize> = sim.waits.iter().map(Vec::len).collect();
    let (least, most) = (grants.iter().min().unwrap(), grants.iter().max().unwrap());
    assert!(most - least <= 1, "{least} to {most} grants");
}

/// Eight callers who come straight back: they empty the queue for moments, and the credit is not lost.
#[test]
fn credit_outlives_a_moment_without_waiters() {
    let mut sim =
        Sim::new(TreeSettings::default(), Device::Parallel(50_000)).with_timer(Timer::Late);
    let root = sim.tree.root();
    let group = sim.group(root, 100, 8, 4096, 1);
    sim.tree.set_limits(group, Limits::new().rbps(10 * MB), 0).unwrap();
    sim.run_until(12 * SECOND);
    assert_near(sim.windows(0, SECOND, 10 * SECOND)[0].0 as f64, 100.0 * MB as f64, 0.01, "late");
}

/// Who paused gets a burst, and no more.
#[test]
fn a_pause_earns_a_burst() {
    for burst in [None, Some(1 << 20)] {
        let mut sim = Sim::new(TreeSettings::default(), Device::Parallel(1_000));
        let node = sim.tree.add(sim.tree.root()).unwrap();
        let dimension = fief_io::tree::Dimension::Rbps;
        let limits = Limits::new().rbps(100 * MB).with_burst(dimension, burst);
        sim.tree.set_limits(node, limits, 0).unwrap();
        sim.run_until(10 * SECOND);
        let flow = sim.tree.open_flow(node).unwrap();
        let request = Request::new(Direction::Read, 4096, 1);
        let mut granted = 0;
        while sim.tree.try_grant(flow, request, sim.now).is_ok() {
            granted += 4096;
        }
        let expected = burst.unwrap_or(MB);
        assert!((expected..expected + 4096).contains(&granted), "{granted} of {expected}");
    }
}
