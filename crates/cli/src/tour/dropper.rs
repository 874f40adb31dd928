//! The thread on which references end.

use crossbeam_channel::Receiver;

use crate::tour::{
    controller::Receipt,
    sample::{Latencies, Op},
    stage::{ByTenant, Stage, Who},
};

/// References on their way to the thread that drops them.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Whose they are.
    pub(crate) who: Who,
    pub(crate) receipts: Vec<Receipt>,
}

/// Drops what arrives, until nobody can send any more; returns the latencies of each tenant.
pub(crate) fn drop_references(stage: &Stage, batches: &Receiver<Batch>) -> ByTenant<Latencies> {
    fief_core::prepare_thread();
    let mut samplers = Who::ALL.map(|_| stage.sampler());
    for Batch { who, receipts } in batches {
        for receipt in receipts {
            let reference = receipt.settle();
            samplers[who as usize].time(Op::Drop, || drop(reference));
            stage.tenant(who).tally.dropped.add(1);
        }
    }
    samplers.map(|sampler| sampler.into_latencies())
}
