//! Tenant `backup`: every file in a group of its own.

use anyhow::{Context as _, Result};
use crossbeam_channel::Sender;

use crate::{
    soak::{
        bench::{Bench, Compute as _},
        cancel::Cancel,
        dropper::Batch,
        lookup::Lookups,
        memory,
        operation::Operation,
        pair::Pair,
        sample::{Latencies, Sampler},
        stage::{Stage, Who},
    },
    sync::Arc,
    workload::{
        archive::{Digest, Slice, Written},
        worker::{Way, Worker},
    },
};

/// A thread that writes one file after the other.
#[derive(Debug)]
pub(crate) struct Archivist<'a>(Worker<'a>);

impl<'a> Archivist<'a> {
    /// # Errors
    ///
    /// Those of making a task.
    pub(crate) fn new(stage: &'a Stage, index: u32, dropper: Sender<Batch>) -> Result<Self> {
        Ok(Self(Worker::new(stage, Who::Backup, index, dropper)?))
    }

    /// Works until the soak ends, whatever is killed meanwhile.
    ///
    /// # Errors
    ///
    /// Those of the registry, and of writing and reading files.
    pub(crate) fn run(self) -> Result<Latencies> {
        self.0.run(|worker, generation| {
            let slice = worker.stage.archive.next_slice(&worker.stage.input.data);
            let name = format!("run-{}", slice.number);
            worker.in_new_group(generation, &name, Way::OnNotice, |worker| {
                back_up(worker, &slice, &generation.group)
            })
        })
    }
}

/// Writes a file, reads it back, and compares: with the rows, and with the last file of the same rows.
fn back_up(worker: &mut Worker<'_>, slice: &Slice, payer: &Pair) -> Result<()> {
    let tally = worker.tally();
    let Worker { stage, who, bench, cancel, dropper, sampler, lookups } = worker;
    let task = bench.task();
    let mut operation = Operation::begin(stage, *who, task, dropper, sampler)?;
    let written = write(stage, slice, &mut operation, (sampler, lookups), (bench, cancel))?;
    match written.map(|written| read_back(bench, written)).transpose()?.flatten() {
        None => tally.interrupted.add(1),
        Some((written, digest)) => {
            let text = stage.input.data.text(slice.rows.clone()).unwrap_or_default();
            tally.checked.add(1);
            let memory = memory::of(stage, payer);
            let is_same = match memory {
                Some(css) => stage.buffers.keep(slice.rows.start, &written.bytes()?, &css),
                None => None,
            };
            tally.compared.add(u64::from(is_same.is_some()));
            if digest == Some(Digest::of(text)) && is_same != Some(false) {
                tally.written.add(written.keep_as(slice)?);
                operation.count(text.len() as u64);
            } else {
                tally.wrong.add(1);
            }
        }
    }
    operation.hand_over()
}

/// Compresses the rows of `slice`, block after block; `None` if that was cut short.
fn write(
    stage: &Stage,
    slice: &Slice,
    operation: &mut Operation<'_>,
    (sampler, lookups): (&mut Sampler, &mut Lookups<'_>),
    (bench, cancel): (&Bench, &Cancel),
) -> Result<Option<Written>> {
    let mut draft = stage.archive.begin()?;
    for block in slice.blocks() {
        let text = stage.input.data.text(block.clone()).context("a slice is of rows that exist")?;
        operation.charge(block.len() as u64, text.len() as u64, sampler, lookups)?;
        if cancel.is_cancelled() {
            return Ok(None);
        }
        let data = Arc::clone(&stage.input.data);
        let write = move || {
            draft.write(data.text(block).unwrap_or_default())?;
            anyhow::Ok(draft)
        };
        match bench.run(write)?.transpose()? {
            Some(written) => draft = written,
            None => return Ok(None),
        }
    }
    draft.finish().map(Some)
}

/// Reads a file back; `None` if that was cut short.
fn read_back(bench: &Bench, written: Written) -> Result<Option<(Written, Option<Digest>)>> {
    let read = move || {
        let digest = written.read_back()?;
        Ok((written, digest))
    };
    bench.run(read)?.transpose()
}
