//! What is printed before and after a run.

use std::{ops::RangeInclusive, time::Duration};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::{HumanBytes, HumanCount};

use crate::{
    display::{per_second, percent},
    output::Output,
    report::verdict::Books,
    soak::{
        Ended,
        agent::Service,
        cpu::{Charged, weight},
        io,
        mover::Moves,
        sample::{Latencies, Op, SAMPLE_EVERY},
        stage::{ByTenant, Stage, Who},
        tally::Tally,
        tree::USERS,
    },
    workload::disk::{COPIERS, READERS},
};

mod cpu;
mod disk;
mod memory;
mod moves;
mod verdict;

/// How a run went.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) ended: Ended,
    /// How long the tenants worked.
    pub(crate) took: Duration,
    /// How long reference operations took, by tenant.
    pub(crate) latencies: ByTenant<Latencies>,
    pub(crate) moves: Moves,
    pub(crate) service: Service,
    pub(crate) charged: Charged,
    pub(crate) disk: io::Done,
}

/// Says what is about to run.
pub(crate) fn intro(stage: &Stage) -> String {
    let rows = HumanCount(stage.input.data.len() as u64);
    let bytes = HumanBytes(stage.input.data.text_bytes() as u64);
    let took = stage.input.took.as_secs_f64();
    let (threads, address, seconds) = (stage.options.threads, stage.address, stage.options.seconds);
    let last = USERS - 1;
    let cpus = stage.cpus;
    let [api, analytics, backup] = Who::ALL.map(weight);
    let (depth, disk) = (io::DEPTH, io::weight(Who::Api));
    let (all, most) = (HumanBytes(stage.budget.all), HumanBytes(stage.budget.analytics));
    format!(
        "\
{rows} rows of lineitem ({bytes} as text) and the right answers: {took:.1} s.

For {seconds} s three tenants share this process, each in a control group of its own
in each of two trees of one shape:

  by-tenant         by-plan
  ├─ api            ├─ gold       {threads} threads hash rows for TCP {address}
  │  └─ user-0..{last}   │  └─ ...     each user; its requests are members of it
  ├─ analytics      ├─ silver     {threads} threads group rows (TPC-H Q1) and sort them
  │  ├─ sales       │  ├─ ...     a report without end
  │  ├─ returns     │  ├─ ...     another
  │  └─ query-N     │  └─ ...     each query
  └─ backup         └─ bronze     {threads} threads compress rows into files
     └─ run-N          └─ ...     each file

Two controllers count: queries operations and rows, inflight the bytes that are
held, in a counter with a max. What one keeps for a group is the group's css.
A third, memory, limits: {all} for all, {most} for analytics.
A fourth, cpu, says whose turn it is: all that is computed is a job of a group,
and runs on one of {cpus} CPUs. api weighs {api} and may be ahead of its turn; the
others weigh {analytics} and {backup}. Within analytics two reports always want more CPU
than they get, and one weighs four times as much as the other, in turn.
The fifth, io, says who may use the disk, on which {depth} operations run at a time:
{READERS} threads of api read blocks of 4 KiB now and then, {COPIERS} of backup read and
write 1 MiB as fast as they can. There api weighs {disk}, and backup 100 or less.
Each operation takes references to css on one thread, and another thread drops
them. At the start the controllers are in no tree.

  bound       Soon they are bound to by-tenant, with everybody at work in it.
  short       From then on large sorts write to files what does not fit into
              memory or others want, and other queries wait, or are victims.
              What backup keeps for comparing gives way first. The limit of
              analytics is lowered and raised again, every second.
  weighed     From then on requests go ahead of queries and files, which share
              by weight. The reports' weights change places, again and again.
  asked       From then on the disk is asked for, in pieces of 128 KiB; before,
              nobody asks. What backup may read and write in a second, and its
              weight there, change all the time.
  rebound     All but memory go from by-tenant to by-plan and back, all the
              time, as one, while groups come and go, always in both trees at
              once.
  on notice   When their last member and their last reference are gone, release
              agents are told of groups, and remove them strictly: all runs, and
              half of the queries.
  detached    At once, and their css live on until the references are gone: the
              other queries, and tenants that are killed in turn, at work, and
              made again.

At the end, all must add up.
"
    )
}

/// The figures of each tenant, and of operations on references.
pub(crate) fn tables(stage: &Stage, outcome: &Outcome) -> String {
    let took = outcome.took.as_secs_f64();
    let early = match outcome.ended {
        Ended::InTime => "",
        Ended::Early => ", stopped early",
    };
    let clock = stage.clock().as_nanos();
    format!(
        "\nThe tenants, after {took:.1} s{early}:\n\n{}\n{}\n{}\n\n{}\n{}\n{}\n\
         Operations on one reference, in nanoseconds. One in {SAMPLE_EVERY} was timed; the {clock} ns that\n\
         reading the clock takes are taken off. The last two rows are yardsticks, timed\n\
         at the same moments on the same threads: what is slow there too is the machine.\n\n{}\n{}",
        indented(&tenants(stage, outcome)),
        files(stage),
        notices(stage, &outcome.service),
        memory::section(stage),
        cpu::section(stage, &outcome.charged),
        disk::section(stage, &outcome.disk),
        indented(&latencies(outcome)),
        moves::section(stage, &outcome.moves),
    )
}

/// Prints the verdict on each invariant; returns how many are broken.
pub(crate) fn verdicts(stage: &Stage, outcome: &Outcome, output: &mut Output) -> usize {
    output.line("Checks, after everything was removed:\n");
    let verdicts = Books::of(stage, outcome).verdicts();
    for verdict in &verdicts {
        output.line(verdict);
    }
    let broken = verdicts.iter().filter(|verdict| !verdict.holds).count();
    if let Some(refusal) = &outcome.moves.refusal {
        output.line(format_args!("\nThe first rebind that was refused: {refusal}"));
    }
    match broken {
        0 => output.line(format_args!("\nAll {} checks hold: nothing was lost.", verdicts.len())),
        _ => output.line(format_args!("\n{broken} of {} checks are BROKEN.", verdicts.len())),
    }
    broken
}

fn tenants(stage: &Stage, outcome: &Outcome) -> Table {
    let mut table = table();
    table.set_header([""].into_iter().chain(Who::ALL.map(Who::name)).chain([""]));
    let seconds = outcome.took.as_secs_f64();
    let mut row = |label: &str, figure: &dyn Fn(&Tally) -> u64, meaning: &str| {
        let figures = Who::ALL.map(|who| HumanCount(figure(&stage.tenant(who).tally)).to_string());
        table.add_row(whole_row(label, figures, meaning));
    };
    row("operations", &|tally| tally.operations.get(), "requests, queries, files");
    row("  a second", &|tally| per_second(tally.operations.get(), seconds), "");
    row("  cut short", &|tally| tally.interrupted.get(), "by a kill, victims");
    row("  victims", &|tally| tally.victims.get(), "for want of memory");
    row("KiB in flight", &|tally| tally.charged.get() / 1024, "and given back");
    row("KiB of memory", &|tally| tally.reserved.get() / 1024, "reserved, and given back");
    row("jobs", &|tally| tally.jobs_spawned.get(), "pieces of work, on the CPUs");
    row("  cancelled", &|tally| tally.jobs_cancelled.get(), "by a kill, at the end");
    row("references taken", &|tally| tally.taken.get(), "");
    row("references dropped", &|tally| tally.dropped.get(), "on another thread");
    row("groups made", &|tally| tally.groups_made.get(), "in both trees at once");
    row("  detached", &|tally| tally.groups_detached.get(), "by kills, by workers");
    row("  on notice", &|tally| tally.groups_on_notice.get(), "strictly, by agents");
    row("kills", &|tally| tally.kills.get(), "of the whole tenant");
    row("  css kept alive", &|tally| tally.outlived.get(), "by references");
    let time = outcome.charged.tenants;
    let charged = time.map(|time| HumanCount(time.as_millis().try_into().unwrap_or(u64::MAX)));
    table.add_row(whole_row("CPU ms", charged.map(|ms| ms.to_string()), "charged, since the bind"));
    let shares = percent(time).map(|share| format!("{share} %"));
    table.add_row(whole_row("  of all", shares, "by weight, if all want it"));
    let slowest = outcome.latencies.each_ref().map(|latencies| {
        latencies
            .slowest_reference()
            .map_or_else(|| "-".to_owned(), |ns| HumanCount(ns).to_string())
    });
    table.add_row(whole_row("slowest reference", slowest, "ns, to take or drop it"));
    align_right(&mut table, 1..=Who::ALL.len());
    table
}

fn files(stage: &Stage) -> String {
    let tally = &stage.tenant(Who::Backup).tally;
    format!(
        "{} files hold {} of rows in {}; each was read back and compared.",
        HumanCount(tally.operations.get()),
        HumanBytes(tally.bytes.get()),
        HumanBytes(tally.written.get()),
    )
}

fn notices(stage: &Stage, service: &Service) -> String {
    let sum = |figure: fn(&Tally) -> u64| -> u64 {
        Who::ALL.into_iter().map(|who| figure(&stage.tenant(who).tally)).sum()
    };
    format!(
        "The release agents had {} notices. They removed {} pairs of groups\n\
         strictly, and were refused {}; {} were in use, or gone, before they tried.",
        HumanCount(stage.trees.registry.stats().notices),
        HumanCount(sum(|tally| tally.groups_on_notice.get())),
        HumanCount(sum(|tally| tally.refused.get())),
        HumanCount(service.moot + sum(|tally| tally.gone.get())),
    )
}

fn latencies(outcome: &Outcome) -> Table {
    let mut all = Latencies::new();
    for latencies in &outcome.latencies {
        all.add(latencies);
    }
    let mut table = table();
    table.set_header(["", "timed", "p50", "p99", "slowest"]);
    for op in Op::ALL {
        let times = all.of(op);
        let quantile = |quantile| HumanCount(times.value_at_quantile(quantile)).to_string();
        table.add_row([
            name(op).to_owned(),
            HumanCount(times.len()).to_string(),
            quantile(0.5),
            quantile(0.99),
            quantile(1.0),
        ]);
    }
    align_right(&mut table, 1..=4);
    table
}

fn name(op: Op) -> &'static str {
    match op {
        Op::TryGet => "take the first (try_get_online)",
        Op::Clone => "take another (clone)",
        Op::Drop => "drop",
        Op::ArcClone => "clone of a shared Arc",
        Op::Nothing => "nothing: the clock and the scheduler",
    }
}

fn whole_row(label: &str, figures: ByTenant<String>, meaning: &str) -> Vec<String> {
    [label.to_owned()].into_iter().chain(figures).chain([meaning.to_owned()]).collect()
}

/// The lines of `table`, two columns in, without blanks at their ends.
fn indented(table: &Table) -> String {
    table.trim_fmt().lines().map(|line| format!(" {line}\n")).collect()
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn align_right(table: &mut Table, columns: RangeInclusive<usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
