//! One request or query, as the tree sees it: a member's references to the css of its group.

use anyhow::{Context as _, Result};
use crossbeam_channel::Sender;
use fief_core::{CssRef, Task};

use crate::soak::{
    controller::{QueriesCss, Receipt},
    dropper::Batch,
    inflight,
    lookup::Lookups,
    sample::{Op, Sampler},
    stage::{Stage, Who},
};

/// An operation in flight; hands its references over when it ends, finished or not.
#[derive(Debug)]
pub(crate) struct Operation<'a> {
    stage: &'a Stage,
    who: Who,
    task: &'a Task,
    css: CssRef<QueriesCss>,
    receipts: Vec<Receipt>,
    dropper: &'a Sender<Batch>,
}

impl<'a> Operation<'a> {
    /// Takes a reference to the css that counts for `task`.
    ///
    /// # Errors
    ///
    /// When there is none, or its group is being removed: both impossible while `task` is a
    /// member of it.
    pub(crate) fn begin(
        stage: &'a Stage,
        who: Who,
        task: &'a Task,
        dropper: &'a Sender<Batch>,
        sampler: &mut Sampler,
    ) -> Result<Self> {
        let css = {
            let guard = stage.trees.registry.read();
            let css = guard.task_css(&stage.queries, task);
            css.and_then(|css| sampler.time(Op::TryGet, || css.try_get_online()))
        };
        let css = css.with_context(|| format!("{} found no css to count in", task.name()))?;
        stage.tenant(who).tally.taken.add(1);
        Ok(Self { stage, who, task, css, receipts: Vec::with_capacity(RECEIPTS), dropper })
    }

    /// Takes another reference and charges `rows` to it, which are about to be read, and their `bytes`
    /// to whatever css is found for the task now.
    ///
    /// # Errors
    ///
    /// When none is found: impossible while the controller is registered.
    pub(crate) fn charge(
        &mut self,
        rows: u64,
        bytes: u64,
        sampler: &mut Sampler,
        lookups: &mut Lookups<'_>,
    ) -> Result<()> {
        let css = sampler.time(Op::Clone, || self.css.clone());
        let tally = &self.stage.tenant(self.who).tally;
        tally.taken.add(1);
        tally.rows.add(rows);
        let payer = lookups.css(&self.stage.inflight, self.task);
        let payer =
            payer.with_context(|| format!("{} found no css to charge", self.task.name()))?;
        tally.charged.add(bytes);
        let held = inflight::hold(&payer, bytes);
        self.receipts.push(Receipt::charge(css, rows).with_bytes(held));
        Ok(())
    }

    /// Counts the operation, in the css and in the books.
    pub(crate) fn count(&self, bytes: u64) {
        self.css.count(bytes);
        let tally = &self.stage.tenant(self.who).tally;
        tally.operations.add(1);
        tally.bytes.add(bytes);
    }

    /// Sends all references to the thread that drops them.
    pub(crate) fn hand_over(self) -> Result<()> {
        let Self { who, css, mut receipts, dropper, .. } = self;
        receipts.push(Receipt::charge(css, 0));
        send(dropper, who, receipts)
    }
}

/// Sends `receipts` to the thread that drops them.
///
/// # Errors
///
/// When that thread died.
pub(crate) fn send(dropper: &Sender<Batch>, who: Who, receipts: Vec<Receipt>) -> Result<()> {
    let batch = Batch::Receipts { who, receipts };
    dropper.send(batch).ok().context("the thread that drops references ended early")
}

/// Room for the references of most operations.
const RECEIPTS: usize = 32;
