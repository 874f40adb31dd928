//! `cargo xtask`: the project's own commands.
#![expect(clippy::print_stdout, reason = "a command-line tool talks to its terminal")]

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

/// The project's own commands; each step can be run alone.
#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Runs the gate: format, lints, tests, documentation.
    Ci,
}

fn main() -> ExitCode {
    let Options { task: Task::Ci } = Options::parse();
    match ci() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn ci() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-Dwarnings"])?;
    cargo(&["test", "--locked", "--workspace"])?;
    cargo(&["doc", "--locked", "--workspace", "--no-deps"])
}

fn cargo(arguments: &[&str]) -> Result<()> {
    println!("$ cargo {}", arguments.join(" "));
    let status = Command::new("cargo").args(arguments).status().context("starting cargo")?;
    if !status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named() {
        let error = cargo(&["no-such-command"]).unwrap_err();
        assert_eq!(error.to_string(), "cargo no-such-command failed");
    }
}
