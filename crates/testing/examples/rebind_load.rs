//! Runs a script (`fief_testing::load`) while threads look up, charge and give back.
//!
//! `rebind_load FILE [THREADS]`: prints one line when all sums agree, else says what does not, and exits
//! with status 1.

use std::{env, fs, process::ExitCode};

use fief_testing::load;

type Failed = Box<dyn std::error::Error>;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the command line")]
fn main() -> ExitCode {
    match run() {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<load::Summary, Failed> {
    let mut arguments = env::args().skip(1);
    let file = arguments.next().ok_or("usage: rebind_load FILE [THREADS]")?;
    let threads = arguments.next().map_or(Ok(THREADS), |text| text.parse());
    let threads = threads.map_err(|_| "THREADS is not a number")?;
    let script = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
    Ok(load::run(&script, threads).map_err(|error| format!("{file}, {error}"))?)
}

/// More than there are processors, so that threads are interrupted in the middle of things.
const THREADS: usize = 4;
