//! The `fief` binary: a guided tour of control groups inside one process.

#![expect(clippy::print_stderr, reason = "errors of a command go to its standard error")]

use std::process::ExitCode;

use clap::Parser as _;

use crate::options::{Command, Options};

mod options;
mod tour;
mod workload;
mod display;
mod report;
mod output;
mod signal;
mod sync;

fn main() -> ExitCode {
    let Command::Tour(options) = Options::parse().command;
    match tour::run(options) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
