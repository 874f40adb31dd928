//! The `fief` binary: a guided tour of control groups inside one process, and what it takes to set up devices.

#![expect(clippy::print_stderr, reason = "errors of a command go to its standard error")]

use std::process::ExitCode;

use clap::Parser as _;

use crate::options::{Command, Options};

mod options;
mod tour;
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
        Command::Tour(options) => tour::run(options).map(ExitCode::from),
        Command::Run(options) => scenario::run(&options).map(ExitCode::from),
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
