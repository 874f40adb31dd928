//! `ratios`: the figures of one process, held against their targets.
//!
//! Measures everything once a round, in interleaved rounds, so that what drifts on the machine
//! drifts for both sides of a ratio. Prints one table; fails when a target is missed by more than
//! the rounds' spread can explain.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints a table")]

use std::{
    env::consts::EXE_SUFFIX,
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use benches::{
    footprint::Subject,
    question::{Answer, Figures, QUESTIONS, Unit},
    rounds::Rounds,
    statistic::Verdict,
    system::{Conditions, Watch, wait_until_quiet},
};
use clap::{Parser, ValueEnum as _};
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

/// Measures ratios to primitives and peers, and holds them against their targets.
#[derive(Debug, Parser)]
struct Options {
    /// How often everything is measured.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(5..))]
    rounds: u32,
    /// How many seconds to wait, before each round, for other processes to leave the machine alone.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    patience: u64,
    /// Where to write the figures, too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measures one subject, in this process, and nothing else.
    #[arg(long, hide = true)]
    footprint: Option<Subject>,
}

/// What is written as JSON.
#[derive(Debug, serde::Serialize)]
struct Report<'a> {
    rounds: u32,
    conditions: &'a Conditions,
    answers: &'a [Answer],
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = if let Some(subject) = options.footprint {
        println!("{}", subject.line());
        Ok(true)
    } else {
        run(&options)
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether no target is missed.
fn run(options: &Options) -> Result<bool> {
    ensure!(!cfg!(debug_assertions), "a debug build measures nothing: use --release");
    let mut watch = Watch::default();
    let (mut rounds, mut figures) = (Rounds::new(), Figures::default());
    for _ in 0..options.rounds {
        if options.patience > 0 {
            wait_until_quiet(Duration::from_secs(options.patience));
        }
        watch.during(|| {
            rounds.round(&mut figures, &elsewhere()?);
            anyhow::Ok(())
        })?;
    }
    let conditions = watch.conditions();
    let questions = QUESTIONS.into_iter().flatten();
    let answers: Vec<Answer> = questions.map(|question| question.answer(&figures)).collect();

    println!("{}", table(&answers));
    println!("{}", line(options.rounds, &conditions));
    if conditions.others_percent > 5.0 {
        println!("the machine was busy with other things: what needs two processors had not both");
    }
    if let Some(path) = &options.json {
        let report = Report { rounds: options.rounds, conditions: &conditions, answers: &answers };
        let json = serde_json::to_string_pretty(&report)?;
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(answers.iter().all(|answer| answer.verdict != Verdict::Missed))
}

/// Returns what is measured in processes of their own, one for each subject.
fn elsewhere() -> Result<Vec<(&'static str, f64)>> {
    let mut figures = Vec::new();
    for subject in Subject::ALL {
        let value = subject.to_possible_value().context("every subject has a name")?;
        let program = format!("{}{EXE_SUFFIX}", subject.program());
        let mut command = Command::new(std::env::current_exe()?.with_file_name(&program));
        let output = command.args(["--footprint", value.get_name()]).output();
        let output = output.with_context(|| {
            format!("{program} is not built: cargo build --release -p benches --bins")
        })?;
        ensure!(output.status.success(), "{} was not measured", value.get_name());
        let text = String::from_utf8(output.stdout)?;
        for (name, figure) in subject.figures().iter().zip(text.split_whitespace()) {
            figures.push((*name, figure.parse()?));
        }
    }
    Ok(figures)
}

fn table(answers: &[Answer]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["question", "ours", "peer", "ratio", "min", "max", "target", "verdict"]);
    for answer in answers {
        let ratio = |ratio: f64| format!("{ratio:.3}");
        let target = match (answer.target, answer.noise) {
            (Some(target), Some(noise)) if noise > target => {
                format!("≤ {target:.2} (noise {noise:.3})")
            }
            (Some(target), _) => format!("≤ {target:.2}"),
            (None, _) => String::new(),
        };
        table.add_row([
            answer.question.to_owned(),
            quantity(answer.ours, answer.unit),
            quantity(answer.peer, answer.unit),
            ratio(answer.ratio),
            ratio(answer.min),
            ratio(answer.max),
            target,
            answer.verdict.as_str().to_owned(),
        ]);
    }
    for column in table.column_iter_mut().skip(1).take(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Writes a figure with a unit that suits it.
fn quantity(figure: f64, unit: Unit) -> String {
    match (unit, figure.abs()) {
        (Unit::Count, _) => format!("{figure:.3}"),
        (Unit::Bytes, ..1e5) => format!("{figure:.0} B"),
        (Unit::Bytes, _) => format!("{:.2} MiB", figure / f64::from(1 << 20)),
        (Unit::Nanoseconds, ..1e3) => format!("{figure:.2} ns"),
        (Unit::Nanoseconds, 1e3..1e6) => format!("{:.2} µs", figure / 1e3),
        (Unit::Nanoseconds, _) => format!("{:.2} ms", figure / 1e6),
    }
}

fn line(rounds: u32, conditions: &Conditions) -> String {
    let Conditions { processor, processors, kernel, load, others_percent, steal_percent } =
        conditions;
    format!(
        "{rounds} rounds; {processor}, {processors} processors; kernel {kernel}; load {load:.2}; \
         others had {others_percent:.1} %, steal {steal_percent:.1} %"
    )
}
