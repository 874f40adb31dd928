//! The `fief` binary: a guided tour of control groups inside one process, scenarios, and what it takes to set up devices.

#![expect(clippy::print_stderr, reason = "errors of a command go to its standard error")]

use std::process::ExitCode;

use clap::Parser as _;

use crate::options::{Command, Options};

mod options;
mod soak;
mod scenario;
mod calibrate;
mod workload;
mod display;
mod report;
mod output;
mod signal;
mod sync;

fn main() -> ExitCode {
    let result = match Options::parse().command {
        Command::Tour(options) => scenario::run("tour", &options).map(ExitCode::from),
        Command::Run(run) => scenario::run(&run.scenario, &run.stage).map(ExitCode::from),
        Command::Soak(options) => soak::run(options).map(ExitCode::from),
        Command::Calibrate(options) => calibrate::run(&options).map(|()| ExitCode::SUCCESS),
    };
    match result {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
