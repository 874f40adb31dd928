//! What does it cost to hold a css for a moment, beside other ways to keep something alive?
//!
//! Expected: clone and drop, or `try_get` and drop under a guard, about a seventh of `Arc`'s clone
//! and drop, as no instruction is locked; the same with two threads on one css, where whatever
//! writes a shared word gets slower. A weak upgrade under a guard adds a comparison, alone it adds
//! the guard. Where cells cannot be used (a css that is dying or armed, a full fence, a thread that
//! is not prepared) a pair costs what an `Arc`'s does.

use benches::{
    armed::Armed,
    compare::{criterion, group, on_one_thread_and_two},
    forest::{Forest, manual},
    handed::{self, Dropper},
    pair::{
        ArcClone, Atomic, CssClone, CssTryGet, EpochPin, Pair, RwLockRead, SwapLoad, SwapLoadFull,
        UpgradeAlone, UpgradeUnder,
    },
};
use criterion::Criterion;
use fief_core::{Barrier, Registry, Removal};

fn main() {
    let mut criterion = criterion();
    pairs(&mut criterion);
    handed_on(&mut criterion);
    criterion.final_summary();
}

fn pairs(criterion: &mut Criterion) {
    let forest = Forest::new(manual(), 1, 1);
    let fenced = Forest::new(Registry::builder().barrier(Barrier::Fence).build(), 1, 1);
    let dying = Forest::new(manual(), 1, 1);
    let (in_fenced, in_dying) = (CssClone(fenced.css(0)), CssClone(dying.css(0)));
    dying.groups[0].remove(Removal::Detach).expect("nobody joined");

    let armed = Armed::new();
    let pairs: [(&str, &dyn Pair); 13] = [
        ("fief clone", &CssClone(forest.css(0))),
        ("fief try_get, guard held", &CssTryGet::new(&forest, 0)),
        ("fief upgrade, guard held", &UpgradeUnder::new(&forest)),
        ("fief upgrade", &UpgradeAlone::new(&forest)),
        ("fief clone, fenced", &in_fenced),
        ("fief clone, dying", &in_dying),
        ("fief clone, armed", &CssClone(armed.css())),
        ("std Arc clone", &ArcClone::default()),
        ("AtomicU64 add and sub", &Atomic::default()),
        ("arc-swap load", &SwapLoad::default()),
        ("arc-swap load_full", &SwapLoadFull::default()),
        ("crossbeam-epoch pin", &EpochPin),
        ("parking_lot RwLock read", &RwLockRead::default()),
    ];
    on_one_thread_and_two(criterion, "references", &pairs);
}

/// Taken on one thread, dropped on another; beside the same on one thread.
fn handed_on(criterion: &mut Criterion) {
    let forest = Forest::new(manual(), 1, 1);
    let css = forest.css(0);
    let mut group = group(criterion, "references/taken here");
    for (name, dropper) in [
        ("dropped here", Dropper::Same),
        ("dropped there, prepared", Dropper::Prepared),
        ("dropped there, not prepared", Dropper::Unprepared),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|pairs| handed::timed(&css, dropper, pairs));
        });
    }
    group.finish();
}
