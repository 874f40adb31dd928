//! Groups created and removed in equal rounds, and the memory that is left of them.

use std::{fmt, fs};

use fief_core::{Reclaimer, Registry, Removal};

use super::{
    Failed, Progress,
    ledger::{Ledger, Watch},
};
use crate::sync::Arc;

/// Resident memory after each round, in KiB.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// One figure a round; empty where the system does not tell.
    pub resident: Vec<u64>,
    /// How long it took.
    pub seconds: f64,
    /// The lives of all css.
    pub ledger: Arc<Ledger>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident, seconds, ledger } = self;
        write!(f, "resident KiB by round {resident:?} in {seconds:.1} s; css: {ledger}")
    }
}

/// Creates and removes `groups` groups a round, a root-to-leaf chain of two each.
///
/// # Errors
///
/// What the core refused although nothing was wrong with it.
pub fn run(rounds: u64, groups: u64) -> Result<Outcome, Failed> {
    let ledger = Arc::new(Ledger::default());
    let registry = Registry::builder().reclaimer(Reclaimer::Thread).build();
    let hierarchy = registry.create_hierarchy("rounds")?;
    let controller = registry.register(Watch::new("watch", &ledger))?;
    controller.bind(&hierarchy)?;
    let mut progress = Progress::new(&format!("{rounds} rounds of {groups} groups"));
    let mut resident = Vec::new();
    for round in 1..=rounds {
        let mut made = Vec::new();
        for index in 0..groups / 2 {
            let parent = hierarchy.root().create_child(&format!("g{index}"))?;
            let child = parent.create_child("c")?;
            drop(controller.css(&child));
            made.push((parent, child));
        }
        for (parent, child) in made {
            child.remove(Removal::Detach)?;
            parent.remove(Removal::Detach)?;
        }
        registry.wait_reclaimed()?;
        resident.extend(resident_kib());
        progress.tick(|| format!("round {round}, {} KiB", resident.last().unwrap_or(&0)));
    }
    controller.unbind()?;
    controller.unregister()?;
    registry.wait_reclaimed()?;
    Ok(Outcome { resident, seconds: progress.seconds(), ledger })
}

/// Reads `VmRSS`, which says the page size's share of `/proc/self/statm` by itself.
fn resident_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}
