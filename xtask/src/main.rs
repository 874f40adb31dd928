//! `cargo xtask`: the project's own commands, one file a command.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a tool talks to its terminal")]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::report::Report;

mod ci;
mod tidy;
mod loom;
mod model;
mod asm;
mod sanitize;
mod bench;
mod integration;
mod command;
mod report;

/// The project's own commands; each runs alone.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Options {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Runs the gate: format, lints, tests, docs, models, assembly, scenarios, the benches once.
    Ci(ci::Options),
    /// Checks what rustfmt and clippy cannot: where atomics and unsafe code live, links, sizes.
    Tidy,
    /// Runs the loom models, then every mutant against the model that must refuse it.
    Loom(loom::Options),
    /// Runs the Promela model of the reference protocol, then its broken variants; needs `spin`.
    Model(model::Options),
    /// Refuses locked instructions in the emitted assembly of the fast path.
    Asm,
    /// Runs the tests of the core and of the harness under `AddressSanitizer`.
    Sanitize,
    /// Runs the benches, then checks the targets.
    Bench(bench::Options),
    /// Runs the release binary headless: scenarios, the soak, bad input, Ctrl-C.
    Integration,
}

fn main() -> ExitCode {
    match run(&Options::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<()> {
    let mut report = Report::default();
    let result = match task {
        Task::Ci(options) => ci::run(options, &mut report),
        Task::Tidy => report.step("tidy", tidy::run),
        Task::Loom(options) => report.step("loom", || loom::run(options)),
        Task::Model(options) => report.step("model", || model::run(options)),
        Task::Asm => report.step("asm", asm::run),
        Task::Sanitize => report.step("sanitize", sanitize::run),
        Task::Bench(options) => bench::run(options, &mut report),
        Task::Integration => report.step("integration", integration::run),
    };
    print!("{report}");
    result
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Options::command().debug_assert();
    }
}
