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
//! A record whose account is being settled by somebody else is left for the next safe point: nobody
//! waits for a lock here, not even in the child of a fork, where nobody may be left to release it.

use crate::{
    local::{self, BLOCKS},
    record::{ALL, DUE, ORPHAN, Record},
};

/// Where a record's bytes are charged.
pub(crate) trait Account: Send + std::fmt::Debug {
    /// Charges bytes that are in use already: it cannot refuse.
    fn charge(&mut self, bytes: u64);

    /// Takes back bytes that were charged.
    fn uncharge(&mut self, bytes: u64);
}

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
/// at most 64 KiB for each thread and 64 KiB, from the next end of a scope on; a keeper calls this
/// from time to time, and whoever reads figures, before.
///
/// # Concurrency
///
/// One load for each group and thread, and a charge for each group that changed. Takes no lock that is held.
/// Not for signal handlers.
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
        settle_record(record, Effort::Flushed);
    }
}

/// Charges or takes back the difference between what a record has and what is charged.
pub(crate) fn settle_record(record: &'static Record, effort: Effort) {
    record.begin_settling();
    let Some(mut account) = record.account().try_lock() else {
        record.make_due();
        return;
    };
    let Some(account) = account.as_mut() else { return };
    let totals = match effort {
        Effort::Flushed => record.flushed(),
        Effort::Exact => BLOCKS.totals(record),
    };
    let (live, settled) = (totals.live(), record.settled());
    record.set_settled(live);
    if live > settled {
        account.charge(live - settled);
    } else if live < settled {
        account.uncharge(settled - live);
    }
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
