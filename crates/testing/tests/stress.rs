//! Minutes of load: run by `cargo xtask ci --full`, with `--release`.

use std::io::{Write, stderr};

use fief_core::Barrier;
use fief_testing::stress::{
    churn::{self, Load},
    duel, rebind, release, rounds, scaled, siege, threads,
};

const SEED: u64 = 0x2007_0705;

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn references_wander_while_groups_come_and_go() {
    churn(Barrier::Auto);
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn references_wander_while_groups_come_and_go_fenced() {
    churn(Barrier::Fence);
}

fn churn(barrier: Barrier) {
    let outcome = churn::run(&Load::new(barrier, SEED, scaled(1_000_000_000))).expect("no refusal");
    say(&format!("{barrier:?}: {outcome}"));
    outcome.ledger.settle().expect("no violation");
    assert!(outcome.removals > 0 && outcome.wandered > 0);
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn no_count_is_lost_to_a_kill() {
    duel(Barrier::Auto, 500_000);
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn no_count_is_lost_to_a_kill_fenced() {
    duel(Barrier::Fence, 1_000_000);
}

fn duel(barrier: Barrier, kills: u64) {
    let outcome = duel::run(barrier, SEED, scaled(kills)).expect("no refusal");
    say(&format!("{barrier:?}: {outcome}"));
    outcome.ledger.settle().expect("no violation");
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn agents_remove_what_is_in_use_no_more() {
    release(Barrier::Auto);
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn agents_remove_what_is_in_use_no_more_fenced() {
    release(Barrier::Fence);
}

fn release(barrier: Barrier) {
    let load = release::Load::new(barrier, SEED, scaled(1_000_000_000));
    let outcome = release::run(&load).expect("no refusal");
    say(&format!("{barrier:?}: {outcome}"));
    outcome.ledger.settle().expect("no violation");
    let counts = outcome.counts;
    assert!(counts.accepted <= counts.uses);
    assert!(counts.by_agents.min(counts.strict).min(counts.detached).min(counts.refused) > 0);
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn no_strict_removal_takes_a_css_from_its_holder() {
    siege(Barrier::Auto);
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn no_strict_removal_takes_a_css_from_its_holder_fenced() {
    siege(Barrier::Fence);
}

fn siege(barrier: Barrier) {
    let outcome = siege::run(barrier, SEED, scaled(200_000_000)).expect("no refusal");
    say(&format!("{barrier:?}: {outcome}"));
    outcome.ledger.settle().expect("no violation");
    assert!(outcome.removed > 0 && outcome.refused > 0);
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn controllers_move_between_trees_in_use() {
    long_rebind(Barrier::Auto);
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn controllers_move_between_trees_in_use_fenced() {
    long_rebind(Barrier::Fence);
}

fn long_rebind(barrier: Barrier) {
    let pairs = rebind(&rebind::Load::new(barrier, SEED, scaled(5_000)));
    assert!(pairs >= scaled(1_000), "{pairs} rebinds before the time was over");
}

#[test]
fn controllers_move_between_small_trees_in_use() {
    for barrier in [Barrier::Auto, Barrier::Fence] {
        rebind(&rebind::Load::small(barrier, SEED, 100));
    }
}

/// Returns how often the pair of controllers was rebound.
fn rebind(load: &rebind::Load) -> u64 {
    let outcome = rebind::run(load).expect("no refusal");
    say(&format!("{:?}: {outcome}", load.barrier));
    outcome.ledger.settle().expect("no violation");
    let counts = outcome.counts;
    assert!(counts.views.min(counts.binds).min(counts.charges).min(counts.by_agents) > 0);
    counts.pairs
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn memory_is_flat_from_the_second_of_ten_rounds() {
    let outcome = rounds::run(10, scaled(20_000)).expect("no refusal");
    say(&format!("{outcome}"));
    outcome.ledger.settle().expect("no violation");
    if let Some((_, rest)) = outcome.resident.split_first() {
        // What allocators keep from round to round moves by some pages: 5 % and 1 MiB.
        let second = rest.first().copied().unwrap_or(0);
        let most = rest.iter().copied().max().unwrap_or(0);
        assert!(most <= second + second / 20 + 1024, "KiB by round: {:?}", outcome.resident);
    }
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn short_threads_leave_nothing_behind() {
    short_threads(Barrier::Auto);
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn short_threads_leave_nothing_behind_fenced() {
    short_threads(Barrier::Fence);
}

fn short_threads(barrier: Barrier) {
    let outcome = threads::run(barrier, scaled(20_000)).expect("no refusal");
    say(&format!("{barrier:?}: {outcome}"));
    outcome.ledger.settle().expect("no violation");
    assert_eq!(outcome.stats.css_freed, outcome.stats.css_created);
    assert!(outcome.taken > 0);
}

/// Prints past the capture of the test runner.
fn say(line: &str) {
    writeln!(stderr(), "{line}").expect("a terminal or a file");
}
