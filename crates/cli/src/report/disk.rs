//! The disk: how a light reader did beside bulk, first without control.

use std::time::Duration;

use comfy_table::Table;
use indicatif::HumanCount;

use crate::{
    display::per_second,
    report::{align_right, cpu::micros, indented, table},
    soak::{
        io::{DEPTH, Done, Use},
        stage::{Stage, Who},
    },
    workload::{disk::COPIERS, drive::Drive},
};

/// The figures of the disk.
pub(super) fn section(stage: &Stage, done: &Done) -> String {
    let way = match stage.disk.drive.get().map(Drive::is_direct) {
        Some(true) => "past the page cache (O_DIRECT)",
        Some(false) => "by way of the page cache, as the file system has no O_DIRECT",
        None => "which was not made",
    };
    let took: Vec<Duration> = stage.phases.all().iter().map(|phase| phase.took).collect();
    let uses = stage.disk.uses();
    format!(
        "Blocks of 4 KiB that api reads beside {COPIERS} threads of backup, of a file,\n\
         {way}.\n\
         Before the bind all go ahead at once; after it {DEPTH} operations run at a time, of\n\
         128 KiB at most, by weight, and within what backup may do. Reads with their\n\
         waits, in µs, by when they began:\n\n{}\n{}",
        indented(&phases(&took, &uses)),
        waits(stage.disk.changes(), done),
    )
}

fn phases(took: &[Duration], uses: &[Use]) -> Table {
    let mut table = table();
    table.set_header(["", "reads/s", "p50", "p99", "slowest", "backup MB/s"]);
    for ((took, uses), name) in took.iter().zip(uses).zip(["without control", "with it"]) {
        let seconds = took.as_secs_f64();
        let bulk = uses.bytes[Who::Backup as usize] / 1_000_000;
        table.add_row([
            name.to_owned(),
            HumanCount(per_second(uses.reads.len(), seconds)).to_string(),
            micros(&uses.reads, 0.5),
            micros(&uses.reads, 0.99),
            micros(&uses.reads, 1.0),
            HumanCount(per_second(bulk, seconds)).to_string(),
        ]);
    }
    align_right(&mut table, 1..=5);
    table
}

fn waits(changes: u64, done: &Done) -> String {
    let root = &done.root;
    let millis = |time: Duration| HumanCount(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    format!(
        "{} operations were asked for, and waited {} ms for limits\n\
         and {} ms for their turn, all together. What backup may do,\n\
         and its weight, changed {} times.\n",
        HumanCount(root.rios + root.wios),
        millis(root.wait),
        millis(root.queue),
        HumanCount(changes),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    use fief_io::IoStats;
    use hdrhistogram::Histogram;

    #[test]
    fn the_figures_fit_eighty_columns() {
        let mut reads = Histogram::new(3).unwrap();
        reads.record(60_000_000_000).unwrap();
        let most = Use { bytes: [99_999_999_999; 3], reads };
        let mut root = IoStats::default();
        (root.rios, root.wios) = (999_999_999, 0);
        (root.wait, root.queue) = (Duration::from_secs(999_999), Duration::from_secs(999_999));
        let second = Duration::from_secs(1);
        let text = format!(
            "{}\n{}",
            indented(&phases(&[second; 2], &[most.clone(), most])),
            waits(99_999, &Done { root, ..Done::default() }),
        );
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        assert!(text.contains("99,999"), "{text}");
        assert_eq!(phases(&[], &[]).row_count(), 0);
    }
}
