//! `cpu`: how schedulers share processors, ours and other people's, row by row.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints tables")]

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, ensure};
use benches::system::Watch;
use clap::Parser;
use peers::cpu::{
    contest::{Rules, hold},
    report::{Answer, Report},
    rows::{self, Case},
    system::System,
    systems,
};

/// Measures how schedulers share processors.
#[derive(Debug, Parser)]
struct Options {
    /// Rows, as `B1`; all of them if none is given. `B4` is a figure of B1 to B3, `B11` one of B8.
    rows: Vec<String>,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only systems whose names have one of these in them.
    #[arg(long, value_name = "PART")]
    system: Vec<String>,
    /// Only cases whose names have this in them.
    #[arg(long, value_name = "PART", default_value = "")]
    case: String,
    /// How many seconds to wait, before each round, for other processes to leave the machine alone.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    patience: u64,
    /// Where to write the figures, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Lists the cases and who takes part, and does nothing else.
    #[arg(long)]
    list: bool,
    /// Runs everything once and for a moment: figures mean nothing, failures do.
    #[arg(long)]
    once: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let (cases, systems) = (cases(options)?, systems(options)?);
    if options.list {
        cases.iter().for_each(|case| list(case, &systems));
        return Ok(());
    }
    let is_measured = !options.once;
    ensure!(
        !(cfg!(debug_assertions) && is_measured),
        "a debug build measures nothing: use --release"
    );
    let rounds = if options.once { 1 } else { options.rounds };
    let patience = Duration::from_secs(options.patience);
    let rules = Rules { rounds, is_brief: options.once, patience };
    let (mut watch, mut answers) = (Watch::default(), Vec::new());
    for case in cases {
        let entries = hold(&case, &systems, &rules, &mut watch);
        let answer = Answer { row: case.row, case: case.name, entries };
        println!("{}", answer.render());
        answers.push(answer);
    }
    let conditions = watch.conditions();
    println!(
        "{rounds} rounds; {}, {} processors; kernel {}; others had {:.1} %, steal {:.1} %",
        conditions.processor,
        conditions.processors,
        conditions.kernel,
        conditions.others_percent,
        conditions.steal_percent
    );
    let report = Report { rounds, conditions, cases: answers };
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&report)?;
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let failed = report.cases.iter().filter(|answer| answer.has_failed()).count();
    ensure!(failed == 0, "{failed} cases in which a system failed");
    Ok(())
}

fn cases(options: &Options) -> Result<Vec<Case>> {
    let mut names: Vec<_> = options.rows.iter().map(|row| row.to_uppercase()).collect();
    if names.iter().any(|name| name == "B4") {
        names.extend(["B1", "B2", "B3"].map(str::to_owned));
        names.retain(|name| name != "B4");
    }
    if let Some(name) = names.iter_mut().find(|name| *name == "B11") {
        "B8".clone_into(name);
    }
    let mut cases = rows::all();
    for name in &names {
        ensure!(cases.iter().any(|case| case.row == name), "no row is called {name}");
    }
    cases.retain(|case| names.is_empty() || names.iter().any(|name| name == case.row));
    cases.retain(|case| case.name.contains(&options.case));
    ensure!(!cases.is_empty(), "no case has {:?} in its name", options.case);
    Ok(cases)
}

fn systems(options: &Options) -> Result<Vec<Box<dyn System>>> {
    let mut systems = systems::all();
    let parts = &options.system;
    systems
        .retain(|system| parts.is_empty() || parts.iter().any(|part| system.name().contains(part)));
    ensure!(!systems.is_empty(), "no system has {parts:?} in its name");
    Ok(systems)
}

fn list(case: &Case, systems: &[Box<dyn System>]) {
    println!("{}: {}", case.row, case.name);
    for system in systems {
        match system.refuses(&case.plan) {
            None => println!("    {}", system.name()),
            Some(why) => println!("    {} skipped: {why}", system.name()),
        }
    }
}
