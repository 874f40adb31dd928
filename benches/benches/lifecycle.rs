//! What does it cost to create and remove a group, to kill its css, and to wait until it is freed?
//!
//! Expected: a create and remove of a group with four subsystems about 3 µs, of which a membarrier
//! is a tenth to a half; hardly more beside 10,000 siblings than beside 1,000. A kill is one
//! membarrier and two loads a thread; in batches of 1,000 the barrier is shared, and tens of
//! nanoseconds are left. A strict removal costs what a detach does, without the barrier if the group
//! is armed; a refusal half a microsecond. A css is freed tens of microseconds after its removal when
//! the reader has a processor to itself, and a scheduler's slice or two later when it has not.

use std::time::Duration;

use benches::{
    compare::{criterion, group},
    farewell::{Readers, removals},
    forest::{Forest, manual},
    lifecycle::{
        barrier, beside_a_busy_thread, come_and_go, come_and_go_reaped, kill, refusal, removal,
    },
    system::register_membarrier,
};
use criterion::Criterion;
use fief_core::{Registry, Removal};

fn main() {
    let mut criterion = criterion();
    come_and_goes(&mut criterion);
    kills(&mut criterion);
    removals_by_policy(&mut criterion);
    farewells(&mut criterion);
    criterion.final_summary();
}

fn come_and_goes(criterion: &mut Criterion) {
    let mut group = group(criterion, "lifecycle/create and remove");
    for siblings in [1_000, 10_000] {
        for subsystems in [0, 1, 4] {
            let forest = Forest::new(Registry::new(), subsystems, siblings);
            let name = format!("{subsystems} subsystems, {siblings} siblings");
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|times| come_and_go(&forest, times)[0]);
            });
        }
    }
    let forest = Forest::new(manual(), 4, 1_000);
    group.bench_function("4 subsystems, 1000 siblings, reaped by the caller", |bencher| {
        bencher.iter_custom(|times| come_and_go_reaped(&forest, times));
    });
    group.finish();
}

/// Beside a thread that spins, so that a barrier has a processor to reach.
fn kills(criterion: &mut Criterion) {
    register_membarrier();
    let (none, one) = (Forest::new(manual(), 0, 1), Forest::new(manual(), 1, 1));
    let sum =
        |times: u64, one: &dyn Fn() -> Duration| -> Duration { (0..times).map(|_| one()).sum() };
    let mut group = group(criterion, "lifecycle/kill");
    beside_a_busy_thread(|| {
        let whats: [(&str, &dyn Fn() -> Duration); 5] = [
            ("membarrier", &barrier),
            ("1 css", &|| kill(1)),
            ("1,000 css, each", &|| kill(1_000) / 1_000),
            ("removal of a group without css", &|| removal(&none, Removal::Detach)),
            ("removal of a group with a css", &|| removal(&one, Removal::Detach)),
        ];
        for (name, what) in whats {
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|times| sum(times, what));
            });
        }
    });
    group.finish();
}

/// Of groups with four css, beside a thread that spins.
fn removals_by_policy(criterion: &mut Criterion) {
    let (plain, armed) = (Forest::new(manual(), 4, 1), Forest::notifying(manual(), 4, 1));
    let held = [&plain, &armed].map(|forest| forest.css(0));
    let mut group = group(criterion, "lifecycle/removal");
    beside_a_busy_thread(|| {
        let whats: [(&str, &dyn Fn() -> Duration); 5] = [
            ("detach", &|| removal(&plain, Removal::Detach)),
            ("strict", &|| removal(&plain, Removal::Strict)),
            ("strict, armed", &|| removal(&armed, Removal::Strict)),
            ("strict, refused", &|| refusal(&plain.groups[0])),
            ("strict, refused, armed", &|| refusal(&armed.groups[0])),
        ];
        for (name, what) in whats {
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|times| (0..times).map(|_| what()).sum());
            });
        }
    });
    drop(held);
    group.finish();
}

fn farewells(criterion: &mut Criterion) {
    let mut group = group(criterion, "lifecycle/removal to freed");
    // A removal every 4 ms: the default would take minutes.
    group.sample_size(10).warm_up_time(Duration::from_millis(50));
    for (name, readers) in [
        ("a reader on another processor", Readers::Elsewhere),
        ("twice as many readers as processors", Readers::TwiceTheProcessors),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| removals(readers, times).iter().sum());
        });
    }
    group.finish();
}
