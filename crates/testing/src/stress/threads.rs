//! Many short threads, each with a few references, some of them dropped by the destructors of
//! thread-local variables.

use std::{cell::RefCell, fmt};

use fief_core::{Barrier, Cgroup, Controller, CssRef, Reclaimer, Registry, RegistryStats, Removal};

use super::{
    Failed, Progress,
    ledger::{Canary, Ledger, Wanderer, Watch},
};
use crate::sync::{Arc, thread};

/// What a load did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// Threads that came and went.
    pub threads: u64,
    /// References that they took.
    pub taken: u64,
    /// How long it took.
    pub seconds: f64,
    /// Of the registry, at the end.
    pub stats: RegistryStats,
    /// The lives of all css.
    pub ledger: Arc<Ledger>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { threads, taken, seconds, ledger, .. } = self;
        write!(f, "{threads} threads took {taken} references in {seconds:.1} s; css: {ledger}")
    }
}

thread_local! {
    /// Dropped when the thread ends, before or after the core's own thread-local state.
    static KEPT: RefCell<Vec<Wanderer>> = const { RefCell::new(Vec::new()) };
}

/// Threads that run at the same time.
const WAVE: u64 = 16;

/// Runs `threads` threads, a wave at a time.
///
/// # Errors
///
/// What the core refused although nothing was wrong with it.
pub fn run(barrier: Barrier, threads: u64) -> Result<Outcome, Failed> {
    let ledger = Arc::new(Ledger::default());
    let registry = Registry::builder().barrier(barrier).reclaimer(Reclaimer::Thread).build();
    let hierarchy = registry.create_hierarchy("threads")?;
    let controller = registry.register(Watch::new("watch", &ledger))?;
    controller.bind(&hierarchy)?;
    let mut progress = Progress::new(&format!("{threads} short threads, {barrier:?}"));
    let (mut done, mut taken) = (0, 0);
    while done < threads {
        let group = hierarchy.root().create_child("wave")?;
        let wave = WAVE.min(threads - done);
        let spawn = |index| {
            let (controller, group) = (controller.clone(), group.clone());
            thread::spawn(move || visit(&controller, &group, index))
        };
        let running: Vec<_> = (0..wave).map(spawn).collect();
        // Its end races with the visits.
        group.remove(Removal::Detach)?;
        for thread in running {
            taken += thread.join().map_err(|_| "a short thread panicked")?;
        }
        done += wave;
        if !progress.tick(|| format!("{done} threads, css: {ledger}")) {
            break;
        }
    }
    controller.unbind()?;
    controller.unregister()?;
    registry.wait_reclaimed()?;
    let (seconds, stats) = (progress.seconds(), registry.stats());
    Ok(Outcome { threads: done, taken, seconds, stats, ledger })
}

/// Takes references, drops some, leaves some to the thread's destructors; returns how many.
fn visit(controller: &Controller<Watch>, group: &Cgroup, index: u64) -> u64 {
    // Destructors run in an order that depends on who was first: try both.
    if index.is_multiple_of(2) {
        keep(None);
    }
    let held: Vec<CssRef<Canary>> = (0..8).filter_map(|_| controller.css(group)).collect();
    let taken = held.len() as u64;
    for (css, turn) in held.into_iter().zip(0..) {
        css.check();
        if turn % 2 == 0 {
            keep(Some(css));
        }
    }
    taken
}

fn keep(css: Option<CssRef<Canary>>) {
    KEPT.with_borrow_mut(|kept| kept.extend(css.map(Wanderer::new)));
}
