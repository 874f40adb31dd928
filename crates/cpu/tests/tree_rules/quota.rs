//! A quota is never exceeded by more than a slice, and all of it can be used.

use std::time::Duration;

use fief_cpu::tree::{Bandwidth, CpuTree, NodeId, TreeSettings};
use proptest::prelude::*;

use crate::sim::{Load, Sim, Slice};

const MS: u64 = 1_000_000;
const SLICE: u64 = 200_000;

fn millis(quota: u64, period: u64) -> Bandwidth {
    Bandwidth::new(Duration::from_millis(quota), Duration::from_millis(period))
        .expect("a bandwidth")
}

fn micros(quota: u64, period: u64) -> Bandwidth {
    Bandwidth::new(Duration::from_micros(quota), Duration::from_micros(period))
        .expect("a bandwidth")
}

/// The most that was used beyond the rate in any window: the steepest rise of usage - rate × time.
fn excess(slices: &[Slice], quota: u64, period: u64) -> i128 {
    let mut turns: Vec<(u64, i128)> = Vec::new();
    for slice in slices {
        turns.push((slice.start, 1));
        turns.push((slice.start + slice.cost, -1));
    }
    turns.sort_unstable();
    let (quota, period) = (i128::from(quota), i128::from(period));
    // Times the period, so that nothing is rounded.
    let (mut level, mut lowest, mut worst, mut running, mut at) = (0, 0, 0, 0, 0);
    for (time, change) in turns {
        level += (running * period - quota) * i128::from(time - at);
        (lowest, at, running) = (level.min(lowest), time, running + change);
        worst = worst.max(level - lowest);
    }
    worst / period
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_window_has_more_than_its_quota_and_a_long_backlog_gets_all_of_it(
        (quota, period) in (1_000..400_000_u64, 1_000..=1_000_000_u64),
        burst in prop_oneof![Just(0), 0..=100_u64],
        poll in prop_oneof![1_000..100_000_u64, 100_000..2 * MS],
        workers in 1..=4_usize,
        late in prop_oneof![Just(0_u64), 0..2 * MS],
        (jobs, naps, alone, seed) in (1..6_usize, any::<bool>(), any::<bool>(), any::<u64>()),
    ) {
        let mut sim = Sim::new(workers, seed);
        sim.late = late;
        let (group, other) = (sim.add(sim.root(), 100), sim.add(sim.root(), 100));
        let bandwidth = micros(quota, period);
        let burst = quota * 1_000 * burst / 100 / 1_000;
        let bandwidth = bandwidth.with_burst(Duration::from_micros(burst / 1_000)).unwrap();
        sim.tree.set_bandwidth(group, bandwidth, 0).unwrap();
        let mut load = Load::hog(jobs, (1_000, poll));
        if naps {
            (load.until_nap, load.nap) = (50, (0, 20 * MS));
        } else {
            load.jobs = workers + 1;
        }
        sim.load(group, load);
        if !alone {
            sim.load(other, Load { nap: (0, MS), until_nap: 5, ..Load::hog(1, (1_000, 50_000)) });
        }
        sim.run(2_000 * MS, |_, _| {});
        let slices: Vec<_> = sim.slices.iter().copied().filter(|slice| slice.node == group).collect();
        let longest = slices.iter().map(|slice| slice.cost).max().unwrap_or(0);
        let workers = u64::try_from(workers).unwrap();
        // Late releases may bring in what the lateness cost.
        let lateness = if late > 0 { 2 * MS * quota / period } else { 0 };
        let bound = burst.max(SLICE * quota.div_ceil(period)) + workers * longest + lateness;
        let worst = excess(&slices, quota, period);
        prop_assert!(worst <= i128::from(bound), "{worst} > {bound}");
        if !naps && alone {
            let due = 2_000 * MS * quota / period;
            // Near all of the workers, tokens are lost (1.2 % seen at 0.8 of them); and a worker that waits for a late release does not run.
            let share = if late == 0 { 14 } else { 12 };
            let can = quota * 20 <= period * workers * share && due > 20 * longest;
            let used = sim.usage(group);
            prop_assert!(!can || used * 100 >= (due - longest) * 99, "{used} of {due}");
        }
    }
}

/// A tree with one leaf that always waits and a quota.
fn limited(bandwidth: Bandwidth) -> (CpuTree, NodeId) {
    let mut tree = CpuTree::new(TreeSettings::default());
    let node = tree.add(tree.root()).expect("all is live");
    tree.set_bandwidth(node, bandwidth, 0).expect("all is live");
    assert!(tree.activate(node, 0).expect("all is live").is_new);
    (tree, node)
}

/// Picks at `now`, settles `cost` when it is over; the time then.
fn spend(tree: &mut CpuTree, now: u64, cost: u64) -> u64 {
    let pick = tree.pick(now).expect("something waits");
    tree.settle(pick, cost, now + cost);
    now + cost
}

#[test]
fn debt_is_paid_back_at_the_rate() {
    let (mut tree, node) = limited(millis(10, 100));
    // 50 ms at once, of which the bucket and the time itself pay 5.2.
    let now = spend(&mut tree, 0, 50 * MS);
    assert!(tree.is_throttled(node));
    assert!(tree.pick(now).is_none());
    // What a millisecond brings in is needed for a release: 100 us.
    let due = tree.next_release().unwrap();
    assert_eq!(due, now + (50 * MS - 5 * MS - SLICE + 100_000) * 10);
    assert!(tree.pick(due - 1).is_none());
    let pick = tree.pick(due).unwrap();
    assert_eq!(pick.slice(), 100_000, "no more than there are tokens");
    tree.settle(pick, 0, due);
    let stats = tree.stats(node).unwrap();
    assert_eq!((stats.nr_throttled, stats.throttled), (1, due - now));
}

/// The kernel's bug 72: a limit that is raised leaves a release time behind that was for the old one.
#[test]
fn a_quota_that_is_raised_or_taken_away_while_it_holds_counts_at_once() {
    let (mut tree, node) = limited(millis(1, 1_000));
    let now = spend(&mut tree, 0, 50 * MS);
    assert!(tree.next_release().unwrap() > 40_000 * MS);
    tree.set_bandwidth(node, millis(1_000, 1_000), now).unwrap();
    let due = tree.next_release().unwrap();
    assert!(
        (now + 49 * MS..now + 51 * MS).contains(&due),
        "debt is kept, and paid at the new rate"
    );
    tree.set_bandwidth(node, millis(1, 1_000), now).unwrap();
    assert!(tree.next_release().unwrap() > 40_000 * MS, "lowered again");
    tree.set_bandwidth(node, Bandwidth::MAX, now).unwrap();
    assert_eq!(tree.next_release(), None);
    let pick = tree.pick(now).expect("no limit, nothing held back");
    assert_eq!(pick.slice(), SLICE);
    tree.settle(pick, MS, now);
    // A new limit begins with a full bucket.
    tree.set_bandwidth(node, millis(1, 1_000), now).unwrap();
    assert!(!tree.is_throttled(node));
    assert_eq!(tree.bandwidth(node).unwrap(), millis(1, 1_000));
}

#[test]
fn a_quota_above_holds_back_all_below() {
    let mut tree = CpuTree::new(TreeSettings::default());
    let parent = tree.add(tree.root()).unwrap();
    let (a, b) = (tree.add(parent).unwrap(), tree.add(parent).unwrap());
    let free = tree.add(tree.root()).unwrap();
    tree.set_bandwidth(parent, millis(10, 100), 0).unwrap();
    tree.set_bandwidth(a, millis(1, 100), 0).unwrap();
    assert!(!tree.activate(a, 0).unwrap().is_throttled);
    let mut now = spend(&mut tree, 0, 2 * MS);
    // Both are held back: the parent for 18 ms or so, the child for longer.
    assert!(tree.is_throttled(parent) && tree.is_throttled(a) && tree.is_throttled(b));
    let activation = tree.activate(b, now).unwrap();
    assert!(activation.is_new && activation.is_throttled);
    assert!(tree.pick(now).is_none() && tree.pick_at(b, now).is_none());
    assert!(!tree.has_waiting());
    tree.activate(free, now).unwrap();
    now = spend(&mut tree, now, 100_000);
    tree.deactivate(free, now);
    now = tree.next_release().unwrap();
    let pick = tree.pick(now).unwrap();
    assert_eq!(pick.node(), b, "the parent has tokens again, its first child has not");
    tree.settle(pick, 0, now);
    assert!(tree.is_throttled(a) && !tree.is_throttled(parent));
    // What waits in neither: nobody is held back, nobody is to be let in.
    tree.deactivate(b, now);
    let due = tree.next_release().unwrap();
    tree.deactivate(a, now);
    assert_eq!(tree.next_release(), None);
    let before = tree.stats(a).unwrap().throttled;
    assert_eq!(tree.release(due + 10 * MS), 0);
    assert_eq!(tree.stats(a).unwrap().throttled, before, "nothing waited");
    assert!(!tree.activate(a, due + 10 * MS).unwrap().is_throttled, "enough by now");
}

#[test]
fn the_root_may_have_a_quota() {
    let mut tree = CpuTree::new(TreeSettings::default());
    let root = tree.root();
    tree.set_bandwidth(root, millis(10, 100), 0).unwrap();
    let node = tree.add(root).unwrap();
    tree.activate(node, 0).unwrap();
    let now = spend(&mut tree, 0, 10 * MS);
    assert!(tree.is_throttled(node) && tree.pick(now).is_none());
    let due = tree.next_release().unwrap();
    assert_eq!(tree.release(due), 1);
    assert!(tree.has_waiting());
}

#[test]
fn what_is_saved_can_be_used_at_once_and_is_counted() {
    let burst = Duration::from_millis(20);
    let (mut tree, node) = limited(millis(20, 100).with_burst(burst).unwrap());
    // Steadily at the rate: periods, but no bursts.
    let mut now = 0;
    while now < 1_000 * MS {
        spend(&mut tree, now, 150_000);
        now += MS;
    }
    let steady = tree.stats(node).unwrap();
    assert_eq!((steady.nr_periods, steady.nr_bursts, steady.nr_throttled), (10, 0, 0));
    // 20 ms were saved: all in one go, and what comes in meanwhile.
    let mut used = 0;
    while let Some(pick) = tree.pick(now) {
        now += SLICE;
        used += SLICE;
        tree.settle(pick, SLICE, now);
    }
    assert!((24 * MS..=26 * MS).contains(&used), "{used}");
    let stats = tree.stats(node).unwrap();
    assert_eq!((stats.nr_bursts, stats.burst), (1, used - 20 * MS));
    assert_eq!(stats.nr_throttled, 1);
}

#[test]
fn slices_that_run_at_once_do_not_spend_the_same_tokens() {
    let (mut tree, node) = limited(millis(50, 100));
    let first = tree.pick(0).unwrap();
    // The bucket holds one slice, and that is estimated to be used.
    assert!(tree.pick(0).is_none());
    tree.settle(first, 20_000, 20_000);
    assert_eq!(tree.stats(node).unwrap().nr_throttled, u64::from(tree.is_throttled(node)));
    let due = tree.next_release().unwrap_or(20_000);
    assert!(due <= 40_000, "what was not used is back: {due}");
    assert!(tree.pick(due).is_some_and(|pick| pick.slice() >= 180_000));
}

#[test]
fn absurd_costs_and_times_do_no_harm() {
    let (mut tree, node) = limited(millis(1, 1_000));
    let pick = tree.pick(0).unwrap();
    tree.settle(pick, u64::MAX, 1);
    assert_eq!(tree.stats(node).unwrap().usage, 1 << 53, "104 days");
    assert!(tree.next_release().unwrap() >= 1 << 62);
    tree.set_bandwidth(node, Bandwidth::MAX, 2).unwrap();
    for now in [u64::MAX, 0, 1] {
        let pick = tree.pick(now).unwrap();
        tree.settle(pick, u64::MAX, now);
    }
    assert_eq!(tree.stats(node).unwrap().usage, 4 << 53);
    tree.set_bandwidth(node, millis(1_000, 1), 0).unwrap();
    let pick = tree.pick(u64::MAX).unwrap();
    tree.settle(pick, 1, u64::MAX);
}
