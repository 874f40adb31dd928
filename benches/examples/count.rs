//! Runs one operation again and again, for tools that count instructions or take samples.
//!
//! ```text
//! cargo build --release -p benches --example count
//! valgrind --tool=callgrind --toggle-collect='count::measured*' target/release/examples/count clone 100000
//! ```

use std::hint::black_box;

use benches::{
    armed::Armed,
    forest::{Forest, manual},
    notices::{BATCH, edges},
    pair::{ArcClone, CssClone, CssTryGet, Guard, Lookup, Pair, UpgradeAlone, UpgradeUnder},
};
use fief_core::Registry;

/// Siblings of the group that comes and goes.
const SIBLINGS: usize = 1_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let count = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let forest = Forest::new(manual(), 4, 1);
    let pair: Box<dyn Pair> = match what.as_str() {
        "arc" => Box::new(ArcClone::default()),
        "clone" => Box::new(CssClone(forest.css(0))),
        "try-get" => Box::new(CssTryGet::new(&forest, 0)),
        "upgrade-under" => Box::new(UpgradeUnder::new(&forest)),
        "upgrade-alone" => Box::new(UpgradeAlone::new(&forest)),
        "guard" => Box::new(Guard(Registry::clone(&forest.registry))),
        "first-and-last" => Box::new(Armed::new()),
        "clone-armed" => Box::new(CssClone(Armed::new().css())),
        "notice" => Box::new(Edges(Forest::notifying(manual(), 1, BATCH))),
        "lookup" => Box::new(Lookup::new(&forest, 16)),
        "come-and-go" => Box::new(ComeAndGo::reaped()),
        "come-and-go-threaded" => Box::new(ComeAndGo::threaded()),
        _ => panic!("not an operation: {what:?}"),
    };
    measured(&*pair, count);
}

/// What the tools look at.
#[inline(never)]
fn measured(pair: &dyn Pair, count: u64) {
    pair.run(black_box(count));
}

/// A group with four subsystems created and removed.
struct ComeAndGo {
    forest: Forest,
    is_reaped: bool,
}

impl ComeAndGo {
    fn reaped() -> Self {
        Self { forest: Forest::new(manual(), 4, SIBLINGS), is_reaped: true }
    }

    fn threaded() -> Self {
        Self { forest: Forest::new(Registry::new(), 4, SIBLINGS), is_reaped: false }
    }
}

impl Pair for ComeAndGo {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            self.forest.come_and_go();
            if self.is_reaped {
                self.forest.registry.reap();
            }
        }
    }
}

/// Groups that go out of use, and are told of; a pass of the reclaimer for every ten.
struct Edges(Forest);

impl Pair for Edges {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs.div_ceil(BATCH as u64) {
            black_box(edges(&self.0, 0..BATCH));
        }
    }
}
