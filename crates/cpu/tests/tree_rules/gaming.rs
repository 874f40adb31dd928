//! Nothing that a group does gets it more than its share.

use fief_cpu::tree::{CpuTree, NodeId, TreeSettings};
use proptest::prelude::*;

use crate::sim::{Load, Sim};

const MS: u64 = 1_000_000;
const SLICE: u64 = 200_000;

/// An honest hog beside somebody with tricks, at equal weights: the most that the other one was ahead.
fn most_ahead(sim: &mut Sim, honest: NodeId, tricky: NodeId) -> i128 {
    let mut most = 0;
    let until = sim.now + 500 * MS;
    sim.run(until, |sim, _| {
        most = most.max(i128::from(sim.usage(tricky)) - i128::from(sim.usage(honest)));
    });
    most
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

    /// Naps, early yields, long polls, a latency setting, and all of them together.
    #[test]
    fn no_rhythm_of_naps_yields_and_polls_pays(
        (poll, polls) in (1_000..5 * MS, prop_oneof![Just(u64::MAX), 1..4_u64]),
        until_nap in 1..20_u64,
        nap in prop_oneof![1..1_000_u64, 1..MS, 1..20 * MS],
        latency in prop_oneof![Just(0), 0..=10 * MS],
        (jobs, workers, seed) in (1..4_usize, 1..=3_usize, any::<u64>()),
    ) {
        let mut sim = Sim::new(workers, seed);
        let (honest, tricky) = (sim.add(sim.root(), 100), sim.add(sim.root(), 100));
        sim.tree.set_latency(tricky, latency).unwrap();
        sim.load(honest, Load::hog(workers + 1, (10_000, 50_000)));
        sim.load(tricky, Load { jobs, poll: (poll / 2, poll), polls, until_nap, nap: (nap / 2, nap) });
        let ahead = most_ahead(&mut sim, honest, tricky);
        // The bound of siblings that wait, one slice of credit, and the latency setting once.
        let longest = sim.longest(tricky).max(SLICE) + sim.longest(honest).max(SLICE);
        let workers = if workers == 1 { 1 } else { 2 * u64::try_from(workers).unwrap() };
        let bound = workers * longest + SLICE + latency;
        prop_assert!(ahead <= i128::from(bound), "{ahead} > {bound}");
    }
}

#[test]
fn a_nap_does_not_reset_what_is_owed() {
    let mut tree = CpuTree::new(TreeSettings::default());
    let (honest, tricky) = (tree.add(tree.root()).unwrap(), tree.add(tree.root()).unwrap());
    tree.activate(honest, 0).unwrap();
    tree.activate(tricky, 0).unwrap();
    let pick = tree.pick_at(tricky, 0).unwrap();
    tree.deactivate(tricky, 0);
    tree.settle(pick, 50 * MS, 0);
    tree.activate(tricky, 0).unwrap();
    let mut got = 0;
    loop {
        let pick = tree.pick(0).unwrap();
        if pick.node() == tricky {
            tree.settle(pick, 0, 0);
            break;
        }
        tree.settle(pick, SLICE, 0);
        got += SLICE;
        // More naps do not help.
        tree.deactivate(tricky, 0);
        tree.activate(tricky, 0).unwrap();
    }
    assert!((50 * MS..=50 * MS + SLICE).contains(&got), "{got}");
}

#[test]
fn debt_ends_somewhere_and_that_is_counted() {
    let mut tree = CpuTree::new(TreeSettings::default().with_debt(10 * MS).unwrap());
    let (honest, hog) = (tree.add(tree.root()).unwrap(), tree.add(tree.root()).unwrap());
    tree.activate(honest, 0).unwrap();
    tree.activate(hog, 0).unwrap();
    let pick = tree.pick_at(hog, 0).unwrap();
    tree.settle(pick, 5_000 * MS, 0);
    assert_eq!(tree.stats(hog).unwrap().overruns, 2, "its own work among nobody, and the group");
    assert_eq!(tree.stats(hog).unwrap().usage, 5_000 * MS, "usage is what it is");
    let mut got = 0;
    while let Some(pick) = tree.pick(0) {
        if pick.node() == hog {
            tree.settle(pick, 0, 0);
            break;
        }
        tree.settle(pick, SLICE, 0);
        got += SLICE;
    }
    assert!((10 * MS..=10 * MS + SLICE).contains(&got), "{got}");
}

#[test]
fn what_is_owed_to_nobody_is_forgotten() {
    let mut tree = CpuTree::new(TreeSettings::default());
    let (late, alone) = (tree.add(tree.root()).unwrap(), tree.add(tree.root()).unwrap());
    tree.set_weight(alone, 1, 0).unwrap();
    tree.set_weight(late, 10_000, 0).unwrap();
    tree.activate(alone, 0).unwrap();
    let pick = tree.pick(0).unwrap();
    tree.deactivate(alone, 0);
    tree.settle(pick, 90 * MS, 0);
    // Nobody waited and nobody ran: 90 ms at weight 1 would be a quarter of an hour at 10,000.
    tree.activate(late, 0).unwrap();
    tree.activate(alone, 0).unwrap();
    // One slice of credit for who comes, one for the tie.
    for _ in 0..2 {
        let pick = tree.pick(0).unwrap();
        assert_eq!(pick.node(), late);
        tree.settle(pick, SLICE, 0);
    }
    let pick = tree.pick(0).unwrap();
    assert_eq!(pick.node(), alone);
    tree.settle(pick, 0, 0);
}

#[test]
fn many_groups_and_many_jobs_get_no_more_than_one() {
    let mut sim = Sim::new(2, 11);
    let (one, many, crowd) =
        (sim.add(sim.root(), 100), sim.add(sim.root(), 100), sim.add(sim.root(), 100));
    sim.load(one, Load::hog(3, (20_000, 50_000)));
    for _ in 0..64 {
        let child = sim.add(many, 10_000);
        sim.load(child, Load::hog(1, (20_000, 50_000)));
    }
    sim.load(crowd, Load::hog(1_000, (20_000, 50_000)));
    sim.run(3_000 * MS, |_, _| {});
    for node in [one, many, crowd] {
        let usage = sim.usage(node);
        assert!((1_998 * MS..=2_002 * MS).contains(&usage), "{usage}");
    }
}

#[test]
fn a_latency_setting_puts_a_group_first_when_it_wakes() {
    let mut sim = Sim::new(1, 2);
    let (hog, quick) = (sim.add(sim.root(), 10_000), sim.add(sim.root(), 100));
    sim.load(hog, Load::hog(4, (50_000, 50_000)));
    sim.tree.set_latency(quick, MS).unwrap();
    let load = Load { until_nap: 1, nap: (5 * MS, 5 * MS), ..Load::hog(1, (40_000, 40_000)) };
    sim.load(quick, load);
    // With weight 1 % it gets 1 % of the time, 40 us of every 5 ms; but each time it is next.
    let mut turns = Vec::new();
    sim.run(1_000 * MS, |sim, slice| {
        if slice.node == quick {
            turns.push(sim.now);
        }
    });
    let longest = turns.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest <= 5 * MS + 2 * SLICE, "{longest}");
    assert!(turns.len() > 180);
}

#[test]
fn who_is_ahead_is_told_where_the_paths_part() {
    let mut tree = CpuTree::new(TreeSettings::default());
    let (left, right) = (tree.add(tree.root()).unwrap(), tree.add(tree.root()).unwrap());
    let (a, b) = (tree.add(left).unwrap(), tree.add(left).unwrap());
    tree.activate(a, 0).unwrap();
    let pick = tree.pick(0).unwrap();
    assert_eq!(pick.node(), a);
    assert!(!tree.is_ahead(a, &pick), "the same");
    assert!(!tree.is_ahead(b, &pick) && !tree.is_ahead(right, &pick), "nothing waits there");
    tree.activate(b, 0).unwrap();
    tree.activate(right, 0).unwrap();
    tree.activate(left, 0).unwrap();
    for node in [b, right, left] {
        assert!(tree.is_ahead(node, &pick), "{node} has had nothing yet");
    }
    tree.set_idle(right, true, 0).unwrap();
    assert!(!tree.is_ahead(right, &pick), "idle");
    tree.set_idle(left, true, 0).unwrap();
    assert!(tree.is_ahead(right, &pick), "both idle");
    tree.set_idle(right, false, 0).unwrap();
    let other = tree.pick_at(right, 0).unwrap();
    assert!(!tree.is_ahead(b, &other), "idle against a group that is not");
    tree.settle(other, 90 * MS, 0);
    let other = tree.pick_at(right, 0).unwrap();
    tree.set_idle(left, false, 0).unwrap();
    assert!(tree.is_ahead(b, &other) && tree.is_ahead(a, &other));
    tree.settle(other, 0, 0);
    tree.settle(pick, 0, 0);
}
