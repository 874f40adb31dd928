//! Whose turn it was: how requests did in one queue and by weights, and what everybody was charged.

use std::time::Duration;

use comfy_table::Table;
use hdrhistogram::Histogram;
use indicatif::HumanCount;

use crate::{
    display::{per_second, percent},
    report::{align_right, indented, table},
    soak::{
        cpu::{self, Charged, FAVOURED, OTHER, Phase, Shares},
        stage::{ByTenant, Stage, Who},
    },
};

/// The figures of CPU time.
pub(super) fn section(stage: &Stage, charged: &Charged) -> String {
    let scans = stage.tenant(Who::Analytics).tally.scans.get();
    format!(
        "All that is computed waits for one of {} CPUs: before the bind in one queue,\n\
         after it a request goes ahead of queries and files, however many there are, and\n\
         these share what is left by weight. Requests as their clients saw them, in µs:\n\n{}\n{}\n{}\n",
        stage.cpus,
        indented(&phases(&stage.phases.all())),
        shares(charged.tenants),
        reports(&stage.accounts.shares(), scans),
    )
}

fn phases(phases: &[Phase]) -> Table {
    let mut table = table();
    table.set_header(["", "requests/s", "p50", "p99", "queries/s", "files/s"]);
    for (phase, name) in phases.iter().zip(["in one queue", "by weight"]) {
        let seconds = phase.took.as_secs_f64();
        let rate =
            |who: Who| HumanCount(per_second(phase.operations[who as usize], seconds)).to_string();
        table.add_row([
            name.to_owned(),
            rate(Who::Api),
            micros(&phase.replies, 0.5),
            micros(&phase.replies, 0.99),
            rate(Who::Analytics),
            rate(Who::Backup),
        ]);
    }
    align_right(&mut table, 1..=5);
    table
}

/// A quantile of times in nanoseconds, in microseconds.
pub(super) fn micros(times: &Histogram<u64>, quantile: f64) -> String {
    match times.is_empty() {
        true => "-".to_owned(),
        false => HumanCount(times.value_at_quantile(quantile) / 1000).to_string(),
    }
}

fn shares(tenants: ByTenant<Duration>) -> String {
    let [api, analytics, backup] = percent(tenants);
    let weights = Who::ALL.map(cpu::weight);
    format!(
        "Since the bind api, of weight {}, had {api} % of the CPU time that was charged,\n\
         analytics, of {}, {analytics} %, and backup, of {}, {backup} %.",
        weights[0], weights[1], weights[2],
    )
}

fn reports(shares: &Shares, scans: u64) -> String {
    let favoured = shares.charged.map(|[favoured, other]| percent([favoured, other])[0]);
    let [sales, returns] = favoured;
    format!(
        "The reports sales and returns read the table {} times. Their weights,\n\
         {FAVOURED} and {OTHER}, changed places {} times, at work: {sales} % of their CPU time was\n\
         that of sales while it was favoured, and {returns} % that of returns.",
        HumanCount(scans),
        HumanCount(shares.changes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_fit_eighty_columns() {
        let mut replies = Histogram::new(3).unwrap();
        replies.record(60_000_000_000).unwrap();
        let phase = Phase { took: Duration::from_secs(1), operations: [99_999_999; 3], replies };
        let most = Shares { charged: [[Duration::MAX / 8, Duration::ZERO]; 2], changes: 99_999 };
        let text = format!(
            "{}\n{}\n{}",
            indented(&phases(&[phase.clone(), phase])),
            shares([Duration::from_secs(1); 3]),
            reports(&most, 999_999_999),
        );
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert!(text.contains("100 % of their CPU time"), "{text}");
    }

    #[test]
    fn a_phase_without_requests_has_no_times() {
        assert_eq!(micros(&Histogram::new(3).unwrap(), 0.5), "-");
    }
}
