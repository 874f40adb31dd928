//! `bench`: the benches in full, then their figures held against the targets.

use anyhow::Result;

use crate::command::{command, run as go};
use crate::report::Report;

/// What to hand on.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Skips criterion and checks the targets only.
    #[arg(long)]
    ratios: bool,
    /// Arguments for the target checker.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Runs criterion, then `ratios`, which prints a table and fails on a missed target.
///
/// # Errors
///
/// If a bench fails or a target is missed.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    if !options.ratios {
        report.step("criterion", || go(&mut command("cargo bench --locked -p benches")))?;
    }
    report.step("ratios", || {
        // It starts the others.
        go(&mut command("cargo build --locked --release -p benches --bins"))?;
        let line = "cargo run --locked --release -p benches --bin ratios --";
        go(command(line).args(&options.arguments))
    })
}
