//! The stress harness: bounded threads, a seed, and a ledger that nothing may contradict.
//!
//! Each load runs on a registry of its own with a watching subsystem (`stress/ledger.rs`): every
//! css has to pass its stages one by one, exactly once, children before parents, and may not be
//! released while a reference is out. No load waits for a moment in time: only for counts.
//!
//! `FIEF_STRESS=short` in the environment divides the work by ten.

pub mod churn;
pub mod duel;
pub mod ledger;
pub mod rebind;
pub mod release;
pub mod rounds;
pub mod siege;
pub mod threads;

use std::{
    env,
    io::{Write, stderr},
    time::{Duration, Instant},
};

/// What a load ends with when the core refuses something although nothing is wrong with it.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// How long one load may take before it stops early, and says so.
pub const LIMIT: Duration = Duration::from_secs(170);

/// Divides the work by ten when the environment asks for it.
#[must_use]
pub fn scaled(work: u64) -> u64 {
    let short = env::var("FIEF_STRESS").is_ok_and(|value| value == "short");
    if short { work / 10 } else { work }
}

/// Prints a line past the capture of the test runner, so that a long run shows that it lives.
pub fn progress(line: &str) {
    // Nobody to tell when even that fails.
    writeln!(stderr(), "{line}").ok();
}

/// Says how far a load has come, once a second.
#[derive(Debug)]
pub(crate) struct Progress {
    what: String,
    start: Instant,
    next: Duration,
}

impl Progress {
    pub(crate) fn new(what: &str) -> Self {
        progress(what);
        Self { what: what.to_owned(), start: Instant::now(), next: Duration::from_secs(5) }
    }

    /// Prints `line` when it is time; false when the load has to stop.
    pub(crate) fn tick(&mut self, line: impl FnOnce() -> String) -> bool {
        let elapsed = self.start.elapsed();
        if elapsed >= self.next {
            self.next = elapsed + Duration::from_secs(5);
            progress(&format!("{}: {} s, {}", self.what, elapsed.as_secs(), line()));
        }
        elapsed < LIMIT
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}

/// Xorshift: the same numbers for the same seed, on every machine.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Makes the generator of one thread.
    pub(crate) fn new(seed: u64, thread: u64) -> Self {
        Self((seed ^ (thread + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1)
    }

    /// Returns a number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The low bits of a xorshift are the poor ones.
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound
    }
}
