//! Settling: what the allocator counted is charged to the groups, at safe points outside of it.
//!
//! The allocator only adds; when a record is a batch or more from what is charged, it pushes it on a
//! stack. The next *safe point* settles all on the stack: the end of a scope, or of a poll of an
//! attributed future, on any thread. [`settle`] and [`Ambient::settle`](crate::Ambient::settle) do it exactly.
//!
//! At a safe point a record is charged what was flushed to it. That is off by what cells hold, at most
//! 64 KiB for each thread, however long the settling thread is interrupted; cells are not looked at, as
//! there is one for each thread. Asked for, it is charged cells and all: exactly, if nobody counts meanwhile.
//!
//! Who settles a record takes its charge out of it meanwhile, as charging may wake others, under no lock of
//! ours. A record without its charge is left for the next safe point: nobody waits for it, not even in the
//! child of a fork, where nobody may be left to put it back. Settling exactly waits for a thread that was
//! interrupted while it flushed a cell (`block.rs`), for a bounded time; a safe point does not.

use crate::{
    local::{self, BLOCKS},
    record::{ALL, DUE, ORPHAN, Record},
};

/// How exactly a record is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// What was flushed.
    Flushed,
    /// What is in cells, too.
    Exact,
}

/// Charges every group what it has now, and takes back what it has no more.
///
/// Exact for groups for which nobody allocates or frees meanwhile. Without it, what is charged is off by
/// at most 64 KiB for each thread and 64 KiB, from the next end of a scope on; call this
/// from time to time, and before reading figures.
///
/// # Concurrency
///
/// Some loads for each group and thread, and a charge for each group that changed. Takes no lock that is
/// held, and waits as [`Ambient::live`](crate::Ambient::live) does. Not for signal handlers.
pub fn settle() {
    let _outside = Outside::enter();
    for record in ALL.iter() {
        settle_record(record, Effort::Exact);
    }
    crate::pool::sweep_all();
}

/// Settles what the allocator found to be far from what is charged; nothing, mostly.
#[inline(always)]
pub(crate) fn safe_point() {
    if !DUE.is_empty() {
        settle_due();
    }
}

#[cold]
#[inline(never)]
fn settle_due() {
    let _outside = Outside::enter();
    for record in DUE.take_all() {
        record.leave_due();
        settle_record(record, Effort::Flushed);
    }
}

/// Charges or takes back the difference between what a record has and what is charged.
pub(crate) fn settle_record(record: &'static Record, effort: Effort) {
    if !record.is_charged() {
        return;
    }
    let Some(mut charge) = record.take_charge() else {
        record.make_due();
        return;
    };
    let totals = match effort {
        Effort::Flushed => record.flushed(),
        Effort::Exact => BLOCKS.totals(record),
    };
    record.set_settled(totals.live());
    charge.set(totals.live());
    record.put_charge_back(charge);
}

/// While this is there the thread is in no group: the memory of accounting is nobody's.
#[derive(Debug)]
pub(crate) struct Outside {
    before: &'static Record,
}

impl Outside {
    pub(crate) fn enter() -> Self {
        Self { before: local::replace(&ORPHAN) }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        local::replace(self.before);
    }
}
