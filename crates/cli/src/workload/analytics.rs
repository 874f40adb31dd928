//! Tenant `analytics`: every query in a group of its own.

use anyhow::Result;
use crossbeam_channel::Sender;

use crate::{
    soak::{
        dropper::Batch,
        operation::Operation,
        sample::Latencies,
        stage::{Input, Stage, Who},
    },
    workload::{
        data::Row,
        query::{Answer, Query},
        worker::{Way, Worker},
        workspace::Workspace,
    },
};

/// A thread that runs one query after the other.
#[derive(Debug)]
pub(crate) struct Analyst<'a> {
    worker: Worker<'a>,
    rng: fastrand::Rng,
    index: u32,
}

impl<'a> Analyst<'a> {
    /// # Errors
    ///
    /// Those of making a task.
    pub(crate) fn new(stage: &'a Stage, index: u32, dropper: Sender<Batch>) -> Result<Self> {
        let worker = Worker::new(stage, Who::Analytics, index, dropper)?;
        Ok(Self { worker, rng: stage.rng(Who::Analytics, index), index })
    }

    /// Works until the soak ends, whatever is killed meanwhile.
    ///
    /// # Errors
    ///
    /// Those of the registry.
    pub(crate) fn run(self) -> Result<Latencies> {
        let Self { worker, mut rng, index } = self;
        let mut number = 0_u64;
        worker.run(|worker, generation| {
            number += 1;
            let name = format!("query-{index}.{number}");
            let way = if number.is_multiple_of(2) { Way::OnNotice } else { Way::Detached };
            worker.in_new_group(generation, &name, way, |worker| answer(worker, &mut rng))
        })
    }
}

/// Chooses a query: a sort, or one of the others, as often.
fn choose<'a>(input: &'a Input, rng: &mut fastrand::Rng) -> &'a (Query, Answer) {
    let kinds = [&input.queries, &input.sorts];
    let queries = kinds[rng.usize(..kinds.len())];
    &queries[rng.usize(..queries.len())]
}

/// Computes the answer to some query and checks it.
fn answer(worker: &mut Worker<'_>, rng: &mut fastrand::Rng) -> Result<()> {
    let tally = worker.tally();
    let Worker { stage, who, bench, cancel, dropper, sampler, lookups } = worker;
    let task = bench.task();
    let (query, expected) = choose(&stage.input, rng);
    let mut operation = Operation::begin(stage, *who, task, dropper, sampler)?;
    let data = &stage.input.data;
    let mut charged = Ok(());
    let mut workspace = Workspace::new(stage, task, cancel);
    let answer = query.run(data, &mut workspace, bench, |rows| {
        let (rows, bytes) = (rows as u64, (rows * size_of::<Row>()) as u64);
        charged = operation.charge(rows, bytes, sampler, lookups);
        charged.is_ok() && !cancel.is_cancelled()
    })?;
    drop(workspace);
    charged?;
    match answer {
        None => tally.interrupted.add(1),
        Some(answer) => {
            operation.count(size_of_val(data.rows()) as u64);
            tally.checked.add(1);
            tally.wrong.add(u64::from(answer != *expected));
        }
    }
    operation.hand_over()
}
