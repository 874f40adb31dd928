//! What became of memory: how it was shared, and what was done for want of it.

use indicatif::{HumanBytes, HumanCount};

use crate::soak::{
    memory::Budget,
    stage::{Stage, Who},
    tally::Tally,
};

/// The figures of memory.
pub(super) fn section(stage: &Stage) -> String {
    let tally = &stage.tenant(Who::Analytics).tally;
    let root = stage.memory.root();
    let peak = root.map_or(0, |root| root.peak());
    let backup = &stage.tenant(Who::Backup).tally;
    format!("{}\n{}\n", in_use(&stage.budget, peak), want(tally, backup))
}

fn in_use(budget: &Budget, peak: u64) -> String {
    let [peak, all, sort] = [peak, budget.all, budget.analytics].map(HumanBytes);
    format!("At most {peak} of {all} were in use; the largest sort takes {sort}.")
}

fn want(queries: &Tally, backup: &Tally) -> String {
    let count = |count: u64| HumanCount(count).to_string();
    format!(
        "For want of it queries waited {} times, sorts wrote {} to files,\n\
         in {} runs, {} of them as they were asked; {} were victims.\n\
         Backup kept {} of files, compared {} files, and gave {} back.\n\
         The limit of analytics was changed {} times, at work.",
        count(queries.waits.get()),
        HumanBytes(queries.spilled.get()),
        count(queries.spills.get()),
        count(queries.asked.get()),
        count(queries.victims.get()),
        HumanBytes(backup.reserved.get()),
        count(backup.compared.get()),
        HumanBytes(backup.given_way.get()),
        count(queries.limits_changed.get()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_fit_eighty_columns() {
        let (queries, backup) = (Tally::default(), Tally::default());
        // An hour at ten gigabytes a second.
        let most = 36_000_000_000_000;
        for bytes in [&queries.spilled, &backup.reserved, &backup.given_way] {
            bytes.set(most);
        }
        let Tally { waits, spills, asked, victims, .. } = &queries;
        for count in [waits, spills, asked, victims, &backup.compared] {
            count.set(999_999);
        }
        let bytes = 999 << 20;
        let budget = Budget { all: bytes, analytics: bytes, squeezed: bytes, piece: bytes };
        let text = format!("{}\n{}", in_use(&budget, bytes), want(&queries, &backup));
        for line in text.lines() {
            assert!(line.len() <= 80, "{line}");
        }
    }
}
