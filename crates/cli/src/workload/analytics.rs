//! Tenant `analytics`: every query in a group of its own.

use anyhow::Result;
use crossbeam_channel::Sender;
use fief_core::{Removal, Task};

use crate::{
    sync::{Arc, Count},
    tour::{
        cancel::Cancel,
        dropper::Batch,
        gate::Generation,
        operation::Operation,
        sample::{Latencies, Sampler},
        stage::{Stage, Who},
    },
};

/// A thread that runs one query after the other.
#[derive(Debug)]
pub(crate) struct Worker<'a> {
    stage: &'a Stage,
    task: Task,
    cancel: Arc<Cancel>,
    dropper: Sender<Batch>,
    sampler: Sampler,
    rng: fastrand::Rng,
    /// Numbers the queries of this worker.
    started: Count,
    index: u32,
}

impl<'a> Worker<'a> {
    /// # Errors
    ///
    /// Those of making a task.
    pub(crate) fn new(stage: &'a Stage, index: u32, dropper: Sender<Batch>) -> Result<Self> {
        let task = stage.registry.create_task(&format!("analytics-{index}"))?;
        let cancel = Cancel::new(&stage.tenant(Who::Analytics).tally);
        cancel.stop_with(&task);
        let (sampler, rng) = (stage.sampler(), stage.rng(Who::Analytics, index));
        Ok(Self { stage, task, cancel, dropper, sampler, rng, started: Count::default(), index })
    }

    /// Works until the tour ends, whatever is killed meanwhile.
    ///
    /// # Errors
    ///
    /// Those of the registry.
    pub(crate) fn run(mut self) -> Result<Latencies> {
        let gate = &self.stage.tenant(Who::Analytics).gate;
        while let Some(inside) = gate.enter(|now| Ok(self.task.join(&now.group)?))? {
            while !self.cancel.is_cancelled() && !self.stage.ending.is_raised() {
                self.query(&inside.generation)?;
            }
            self.task.leave(&self.stage.hierarchy)?;
            self.cancel.reset();
        }
        Ok(self.sampler.into_latencies())
    }

    /// Runs one query in a new group, and removes the group unless a kill will.
    fn query(&mut self, generation: &Generation) -> Result<()> {
        let tally = &self.stage.tenant(Who::Analytics).tally;
        self.started.add(1);
        let name = format!("query-{}.{}", self.index, self.started.get());
        let group = generation.group.create_child(&name)?;
        tally.groups_made.add(1);
        self.task.join(&group)?;

        self.answer()?;

        if self.cancel.is_cancelled() {
            return Ok(());
        }
        self.task.join(&generation.group)?;
        group.remove(Removal::Detach)?;
        tally.groups_removed.add(1);
        Ok(())
    }

    /// Computes an answer and checks it.
    fn answer(&mut self) -> Result<()> {
        let Self { stage, task, cancel, dropper, sampler, rng, .. } = self;
        let tally = &stage.tenant(Who::Analytics).tally;
        let (query, expected) = &stage.input.queries[rng.usize(..stage.input.queries.len())];
        let mut operation = Operation::begin(stage, Who::Analytics, task, dropper, sampler)?;
        let data = &stage.input.data;
        let answer = query.run(data, |rows| {
            operation.charge(rows as u64, sampler);
            !cancel.is_cancelled()
        });
        match answer {
            None => tally.interrupted.add(1),
            Some(answer) => {
                operation.count(size_of_val(data.rows()) as u64);
                tally.checked.add(1);
                if answer != *expected {
                    tally.wrong.add(1);
                }
            }
        }
        operation.hand_over()
    }
}
