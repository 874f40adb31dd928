//! The reports of tenant `analytics`: queries over the whole table, over and over, in two groups that never run out
//! of work.
//!
//! Each group has more jobs than there are CPUs, so both always want more than they get, and their weights alone
//! decide how they share. A job does one morsel at a time, and then it is somebody else's turn.

use anyhow::Result;

use crate::{
    soak::{
        bench::{Bench, Job},
        cancel::Cancel,
        pair::Pair,
        stage::{Stage, Who},
        tally::Tally,
    },
    sync::{Arc, Flag},
    workload::{
        data::Lineitem,
        query::{Answer, Query},
    },
};

/// The names of the groups.
pub(crate) const NAMES: [&str; 2] = ["sales", "returns"];

/// All reports, from one kill of the tenant to the next.
#[derive(Debug)]
pub(crate) struct Reports {
    benches: Vec<Bench>,
    jobs: Vec<Job<()>>,
    stop: Arc<Flag>,
}

/// What a report reads, and what it must find.
struct Report {
    data: Arc<Lineitem>,
    query: Query,
    answer: Answer,
    tally: Arc<Tally>,
    stop: Arc<Flag>,
}

impl Reports {
    /// Makes the groups below `parent`, each with a member, and begins.
    ///
    /// # Errors
    ///
    /// Those of the registry, and of spawning.
    pub(crate) fn begin(stage: &Stage, parent: &Pair) -> Result<Self> {
        let (benches, jobs) = (Vec::new(), Vec::new());
        let mut reports = Self { benches, jobs, stop: Arc::default() };
        for name in NAMES {
            let bench = Bench::new(stage, Who::Analytics, name)?;
            let tally = &stage.tenant(Who::Analytics).tally;
            bench.watch(&Cancel::new(tally))?;
            stage.trees.create(parent, [name; 2], &[bench.task()])?;
            tally.groups_made.add(1);
            let jobs = JOBS_PER_CPU * stage.cpus;
            for (query, answer) in stage.input.queries.iter().cycle().take(jobs) {
                let report = Report {
                    data: Arc::clone(&stage.input.data),
                    query: *query,
                    answer: answer.clone(),
                    tally: Arc::clone(tally),
                    stop: Arc::clone(&reports.stop),
                };
                reports.jobs.push(bench.spawn(report.repeat())?);
            }
            reports.benches.push(bench);
        }
        Ok(reports)
    }

    /// Waits until all members know that they were killed.
    ///
    /// # Errors
    ///
    /// When a watch panicked.
    pub(crate) fn hear(&self) -> Result<()> {
        self.benches.iter().try_for_each(Bench::hear)
    }

    /// Ends all reports, and has their members leave their groups.
    ///
    /// # Errors
    ///
    /// Those of the registry; and when a job panicked.
    pub(crate) fn end(self, stage: &Stage) -> Result<()> {
        self.stop.raise();
        self.jobs.into_iter().try_for_each(|job| job.join().map(drop))?;
        self.benches.iter().try_for_each(|bench| stage.trees.leave(bench.task()))
    }
}

impl Report {
    /// Runs the query until it is to stop, and checks each answer.
    async fn repeat(self) {
        while let Some(answer) = self.query.run_in_turns(&self.data, &self.stop).await {
            self.tally.scans.add(1);
            self.tally.checked.add(1);
            self.tally.wrong.add(u64::from(answer != self.answer));
        }
    }
}

/// So many are at work in each group that it could use all CPUs and still have some waiting.
const JOBS_PER_CPU: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    use crate::{
        soak::{stage::tests::small_stage, tree},
        sync::thread,
    };

    #[test]
    fn reports_are_right_until_they_end() {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        tree::open(&stage, Who::Analytics).unwrap();
        let tally = &stage.tenant(Who::Analytics).tally;
        while tally.scans.get() < 20 {
            thread::yield_now();
        }
        let reports = stage.reports.lock().take().unwrap();
        let jobs = reports.jobs.len() as u64;
        reports.end(&stage).unwrap();
        assert_eq!((tally.checked.get(), tally.wrong.get()), (tally.scans.get(), 0));
        assert_eq!((tally.jobs_ended.get(), tally.jobs_answered.get()), (jobs, jobs));
        stage.pool.shutdown();
        assert_eq!(stage.trees.registry.stats().tasks, 0);
    }
}
