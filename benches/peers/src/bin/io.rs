//! `io`: how limiters keep rates and how disks are shared, ours and other people's, row by row.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints tables")]

use std::{env, fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, ensure};
use benches::system::Watch;
use clap::Parser;
use peers::{
    cpu::contest::Rules,
    io::{
        contest::{Answer, hold},
        report::Report,
        rows::{self, Case, Context},
    },
};

/// What the file has in a brief run, in MiB.
const BRIEF: u64 = 32;

/// Measures how limiters keep rates, and how disks are shared.
#[derive(Debug, Parser)]
struct Options {
    /// Rows, as `W1`; all of them if none is given.
    rows: Vec<String>,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only entrants whose names have one of these in them, and whom they are compared with.
    #[arg(long, value_name = "PART")]
    system: Vec<String>,
    /// Only cases whose names have this in them.
    #[arg(long, value_name = "PART", default_value = "")]
    case: String,
    /// How many seconds to wait, before each round, for other processes to leave the machine alone.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    patience: u64,
    /// Where to make the file of the rows about disks; the system's directory for temporary files if not given.
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
    /// How large that file is.
    #[arg(long, value_name = "MIB", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..))]
    size: u64,
    /// Where to write the figures, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Lists the cases and who takes part, and does nothing else.
    #[arg(long)]
    list: bool,
    /// Runs everything once and for a moment: figures mean nothing, failures do.
    #[arg(long)]
    once: bool,
    /// Prints what so many times so many groups take in memory.
    #[arg(long, hide = true)]
    footprint: Option<usize>,
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
    if let Some(wide) = options.footprint {
        println!("{}", rows::footprint(wide)?);
        return Ok(());
    }
    let cases = cases(options)?;
    if options.list {
        cases.iter().for_each(list);
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
    let mut watch = Watch::default();
    let answers = answers(options, cases, &rules, &mut watch);
    let conditions = watch.conditions();
    println!(
        "{rounds} rounds; {}, {} processors; kernel {}; load {:.2}; others had {:.1} %, steal {:.1} %",
        conditions.processor,
        conditions.processors,
        conditions.kernel,
        conditions.load,
        conditions.others_percent,
        conditions.steal_percent
    );
    let report = Report { rounds, conditions, cases: answers };
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&report)?;
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let failed = report.cases.iter().filter(|answer| answer.has_failed()).count();
    ensure!(failed == 0, "{failed} cases in which somebody failed");
    Ok(())
}

fn answers(options: &Options, cases: Vec<Case>, rules: &Rules, watch: &mut Watch) -> Vec<Answer> {
    let directory = options.dir.clone().unwrap_or_else(env::temp_dir);
    let size = if options.once { options.size.min(BRIEF) } else { options.size };
    let mut context = Context::new(options.once, directory, size << 20);
    let parts = &options.system;
    let is_asked = |name: &str| parts.is_empty() || parts.iter().any(|part| name.contains(part));
    let mut answers = Vec::new();
    for case in cases {
        let answer = hold(case, is_asked, &mut context, rules, watch);
        println!("{}", answer.render());
        answers.push(answer);
    }
    answers
}

fn cases(options: &Options) -> Result<Vec<Case>> {
    let names: Vec<_> = options.rows.iter().map(|row| row.to_uppercase()).collect();
    let mut cases = rows::all();
    for name in &names {
        ensure!(cases.iter().any(|case| case.row == name), "no row is called {name}");
    }
    cases.retain(|case| names.is_empty() || names.iter().any(|name| name == case.row));
    cases.retain(|case| case.name.contains(&options.case));
    ensure!(!cases.is_empty(), "no case has {:?} in its name", options.case);
    Ok(cases)
}

fn list(case: &Case) {
    println!("{}: {}", case.row, case.name);
    case.entrants.iter().for_each(|entrant| println!("    {}", entrant.name));
}
