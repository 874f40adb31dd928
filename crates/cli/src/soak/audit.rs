//! Sums, compared while nobody charges.
//!
//! Every pair of groups gets an amount of its own, charged through the lookup that everybody uses. Then
//! what each shows, read through its control file in whichever tree the controller is, must be the sum
//! of the amounts there and below, to the byte.

use anyhow::{Context as _, Result, bail};
use fief_core::{Cgroup, ReadFileError};

use crate::soak::{
    controller::Receipt,
    dropper, inflight,
    mover::Moves,
    pair::Pair,
    stage::{Stage, Who},
};

/// References to the css of a tenant's groups, each with its charge; children come before parents.
#[derive(Debug)]
pub(crate) struct Held {
    pairs: Vec<Pair>,
    receipts: Vec<Receipt>,
}

impl Held {
    /// Takes a reference to the css of each of `pairs`, and charges each with another amount.
    pub(crate) fn take(stage: &Stage, who: Who, pairs: Vec<Pair>) -> Self {
        let tally = &stage.tenant(who).tally;
        let mut held = Self { pairs: Vec::new(), receipts: Vec::new() };
        for pair in pairs {
            let Some(css) = stage.trees.css(&stage.queries, &pair) else { continue };
            // The first keeps the group, and so the second is there.
            let Some(payer) = stage.trees.css(&stage.inflight, &pair) else { continue };
            let bytes = AMOUNT << (held.pairs.len() % 32);
            tally.taken.add(1);
            tally.charged.add(bytes);
            let bytes = inflight::hold(&payer, bytes);
            held.receipts.push(Receipt::charge(css, 0).with_bytes(bytes));
            held.pairs.push(pair);
        }
        held
    }

    pub(crate) fn len(&self) -> usize {
        self.receipts.len()
    }

    /// What is charged by all of it.
    pub(crate) fn bytes(&self) -> u64 {
        self.receipts.iter().map(Receipt::bytes).sum()
    }

    /// Compares what each group shows with what is charged there and below; nobody else charges there.
    ///
    /// # Errors
    ///
    /// When a group that is kept cannot be read.
    pub(crate) fn audit(&self, stage: &Stage) -> Result<()> {
        for pair in &self.pairs {
            let is_here = |other: &Cgroup| other.ancestors().any(|above| above == pair.tenant);
            let all = self.pairs.iter().zip(&self.receipts);
            let here = all.filter(|(other, _)| is_here(&other.tenant));
            compare(stage, usage(pair)?, here.map(|(_, receipt)| receipt.bytes()).sum());
        }
        Ok(())
    }

    pub(crate) fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    pub(crate) fn into_receipts(self) -> Vec<Receipt> {
        self.receipts
    }
}

/// Compares everything once more at the end, when all have left: each tenant's groups and the root, here,
/// in the other tree, and back.
///
/// # Errors
///
/// When a group that is kept cannot be read.
pub(crate) fn finish(stage: &Stage, moves: &mut Moves) -> Result<()> {
    let pairs = |who| stage.trees.of(who).map(|top| top.descendants_post(&stage.trees));
    let held = Who::ALL.map(|who| Held::take(stage, who, pairs(who).unwrap_or_default()));
    for step in 0..3 {
        if step > 0 {
            moves.rebind(stage);
        }
        held.iter().try_for_each(|held| held.audit(stage))?;
        let root = stage.inflight.root().map_or(0, |css| css.current());
        compare(stage, root, held.iter().map(Held::bytes).sum());
    }
    let mut sampler = stage.sampler();
    for (who, held) in Who::ALL.into_iter().zip(held) {
        let receipts = held.into_receipts().into_iter();
        receipts.for_each(|receipt| dropper::settle(stage, who, receipt, &mut sampler));
    }
    Ok(())
}

pub(crate) fn compare(stage: &Stage, shown: u64, charged: u64) {
    stage.audited.add(1);
    stage.misread.add(u64::from(shown != charged));
}

/// What `pair` holds, by the control file of whichever group has it.
fn usage(pair: &Pair) -> Result<u64> {
    for _ in 0..TRIES {
        for group in [&pair.tenant, &pair.plan] {
            match group.read("inflight.current") {
                Ok(text) => return text.trim_end().parse().context("a usage is a number"),
                // It is in the other tree, or was moved between the two looks.
                Err(ReadFileError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    bail!("neither {} nor {} shows its usage", pair.tenant.path(), pair.plan.path())
}

/// The smallest charge, in bytes; the others are powers of two above.
const AMOUNT: u64 = 64;

/// How often both trees are looked at: a rebind may come between the looks every time, but will not.
const TRIES: u32 = 1000;
