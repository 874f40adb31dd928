//! `peers`: what it costs to charge bytes and give them back, here and elsewhere, in one table.
//!
//! Measures everything once a round, in interleaved rounds, so that what drifts on the machine
//! drifts for everybody. Holds nothing against a target: `ratios` does that.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints a table")]

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, ensure};
use benches::{
    pair::{Atomic, Pair},
    statistic::Sample,
    system::{Conditions, Watch, wait_until_quiet},
};
use clap::Parser;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use peers::{
    allocators::{self, Allocator},
    ours::{Counters, Memory, Reserved, ReservedShared},
    pools::{FAR, Pool, fair, greedy, tracked},
    throughput::nanoseconds,
    walk::Walk,
};

/// Threads of the table's columns.
const THREADS: [usize; 3] = [1, 2, 4];

/// Measures charges and their uncharges beside other people's.
#[derive(Debug, Parser)]
struct Options {
    /// How often everything is measured.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many seconds to wait, before each round, for other processes to leave the machine alone.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    patience: u64,
    /// Where to write the figures, too.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Something that is measured.
struct Row {
    name: &'static str,
    pair: Box<dyn Pair>,
    /// Nanoseconds of each round, by number of threads.
    figures: [Vec<f64>; THREADS.len()],
}

/// What is written as JSON.
#[derive(Debug, serde::Serialize)]
struct Report<'a> {
    rounds: u32,
    conditions: &'a Conditions,
    answers: &'a [Answer],
}

/// Nanoseconds of a processor for one pair, of so many threads at it.
#[derive(Debug, serde::Serialize)]
struct Answer {
    pair: &'static str,
    threads: usize,
    median: f64,
    min: f64,
    max: f64,
    /// Median over that of the row called `atomic add+sub`, with as many threads.
    to_atomic: f64,
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
    ensure!(!cfg!(debug_assertions), "a debug build measures nothing: use --release");
    let (mut watch, mut rows) = (Watch::default(), rows()?);
    for _ in 0..options.rounds {
        if options.patience > 0 {
            wait_until_quiet(Duration::from_secs(options.patience));
        }
        watch.during(|| rows.iter_mut().for_each(Row::measure));
    }
    let (conditions, answers) = (watch.conditions(), answers(&rows));

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
    Ok(())
}

/// Everything that is measured; the first row is what the others are compared with.
fn rows() -> Result<Vec<Row>> {
    Ok(vec![
        Row::new("atomic add+sub", Atomic::default()),
        Row::new("page_counter walk, depth 1", Walk::new(1)),
        Row::new("page_counter walk, depth 8", Walk::new(8)),
        Row::new("DataFusion greedy", Pool(greedy(FAR))),
        Row::new("DataFusion fair", Pool(fair(FAR))),
        Row::new("DataFusion tracked greedy, its default", Pool(tracked(FAR))),
        Row::new("fief core counter, depth 1", Counters::new(1, FAR)),
        Row::new("fief core counter, depth 8", Counters::new(8, FAR)),
        Row::new("fief memory, depth 1", Memory::new(1, FAR)),
        Row::new("fief memory, depth 8", Memory::new(8, FAR)),
        Row::new("fief reservation, depth 1", Reserved(Memory::new(1, FAR))),
        Row::new("fief reservation, depth 8", Reserved(Memory::new(8, FAR))),
        Row::new("fief shared reservation, depth 8", ReservedShared(Memory::new(8, FAR))),
        Row::new("malloc+free, system", Allocator(std::alloc::System)),
        Row::new("malloc+free, cap", allocators::capped()),
        Row::new("malloc+free, fief, from 1 KiB on", allocators::attributing::<1024>()?),
        Row::new("malloc+free, fief, every block", allocators::attributing::<0>()?),
    ])
}

impl Row {
    fn new(name: &'static str, pair: impl Pair + 'static) -> Self {
        Self { name, pair: Box::new(pair), figures: Default::default() }
    }

    fn measure(&mut self) {
        for (threads, figures) in THREADS.into_iter().zip(&mut self.figures) {
            figures.push(nanoseconds(&*self.pair, threads));
        }
    }
}

/// Returns the answers of all rows, row by row.
fn answers(rows: &[Row]) -> Vec<Answer> {
    let Some(first) = rows.first() else { return Vec::new() };
    let atomic = first.figures.clone().map(|figures| Sample::new(figures).median());
    let of_row = |row: &Row| {
        let columns = THREADS.into_iter().zip(row.figures.clone()).zip(atomic);
        let name = row.name;
        columns.map(move |((threads, figures), atomic)| {
            let sample = Sample::new(figures);
            let (median, min, max) = (sample.median(), sample.min(), sample.max());
            Answer { pair: name, threads, median, min, max, to_atomic: median / atomic }
        })
    };
    rows.iter().flat_map(of_row).collect()
}

fn table(answers: &[Answer]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    let columns = THREADS.map(|threads| match threads {
        1 => "1 thread, ns".to_owned(),
        more => format!("{more} threads, ns"),
    });
    let header = ["pair of 64 bytes".to_owned()].into_iter().chain(columns);
    table.set_header(header.chain(["÷ atomic".to_owned()]));
    for row in answers.chunks(THREADS.len()) {
        let figure = |answer: &Answer| {
            format!("{:.2} ({:.2}..{:.2})", answer.median, answer.min, answer.max)
        };
        let ratios: Vec<_> = row.iter().map(|answer| format!("{:.2}", answer.to_atomic)).collect();
        let cells = [row[0].pair.to_owned()].into_iter().chain(row.iter().map(figure));
        table.add_row(cells.chain([ratios.join(" / ")]));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn line(rounds: u32, conditions: &Conditions) -> String {
    let Conditions { processor, processors, kernel, load, others_percent, steal_percent } =
        conditions;
    format!(
        "{rounds} rounds; {processor}, {processors} processors; kernel {kernel}; load {load:.2}; \
         others had {others_percent:.1} %, steal {steal_percent:.1} %"
    )
}
