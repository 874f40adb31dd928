//! The thread on which references end.

use crossbeam_channel::{Receiver, Sender};

use crate::soak::{
    controller::Receipt,
    sample::{Latencies, Op, Sampler},
    stage::{ByTenant, Stage, Who},
};

/// What goes to the thread that drops references.
#[derive(Debug)]
pub(crate) enum Batch {
    /// References, and whose they are.
    Receipts { who: Who, receipts: Vec<Receipt> },
    /// To be answered when all that was sent before is dropped.
    Flush(Sender<()>),
}

/// Drops what arrives, until nobody can send any more; returns the latencies of each tenant.
pub(crate) fn drop_references(stage: &Stage, batches: &Receiver<Batch>) -> ByTenant<Latencies> {
    fief_core::prepare_thread();
    let mut samplers = Who::ALL.map(|_| stage.sampler());
    for batch in batches {
        match batch {
            Batch::Receipts { who, receipts } => {
                let sampler = &mut samplers[who as usize];
                receipts.into_iter().for_each(|receipt| settle(stage, who, receipt, sampler));
            }
            // Who asked may have failed since.
            Batch::Flush(asker) => drop(asker.send(())),
        }
    }
    samplers.map(|sampler| sampler.into_latencies())
}

/// Settles `receipt` and drops its reference, here.
pub(crate) fn settle(stage: &Stage, who: Who, receipt: Receipt, sampler: &mut Sampler) {
    let tally = &stage.tenant(who).tally;
    let bytes = receipt.bytes();
    let reference = receipt.settle();
    tally.given_back.add(bytes);
    sampler.time(Op::Drop, || drop(reference));
    tally.dropped.add(1);
}
