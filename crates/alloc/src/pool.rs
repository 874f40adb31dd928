//! Records that are free, and those that wait until they are.
//!
//! A record whose last handle is gone is *retired*: blocks may name it still. It waits here until it
//! is spent (see `block.rs`); then its charge is dropped, and it is handed out again. Every request
//! for a record looks at two that wait, so that the list does not grow while groups come and go;
//! [`settle`](crate::settle()) looks at all.

use std::collections::VecDeque;

use fief_memory::ForcedCharge;

use crate::{
    local::BLOCKS,
    record::{ALL, RETIRED, Record},
    settle::Outside,
    sync::Mutex,
};

static POOL: Mutex<Pool> = Mutex::new(Pool { free: Vec::new(), retired: VecDeque::new() });

#[derive(Debug)]
struct Pool {
    /// With what each has counted, both ways.
    free: Vec<(&'static Record, u64)>,
    /// In the order in which they are looked at.
    retired: VecDeque<&'static Record>,
}

/// Charges that are over, to be dropped when the pool is not locked: that may wake others.
type Closed = Vec<Option<ForcedCharge>>;

/// How many retired records a request for one looks at.
const LOOKS: usize = 2;

/// Returns a record with one handle, charged by `charge`; `None` if memory is out.
pub(crate) fn hand_out(charge: Option<ForcedCharge>) -> Option<&'static Record> {
    let _outside = Outside::enter();
    let mut closed = Closed::new();
    let mut pool = POOL.lock();
    pool.sweep(LOOKS, &mut closed);
    let (record, counted) = pool.free.pop().or_else(|| pool.make())?;
    drop(pool);
    drop(closed);
    record.hand_out(counted, charge);
    Some(record)
}

/// Takes a record whose last handle is gone.
pub(crate) fn retire(record: &'static Record) {
    RETIRED.push(record);
}

/// Looks at all retired records, unless somebody else does.
pub(crate) fn sweep_all() {
    let mut closed = Closed::new();
    let Some(mut pool) = POOL.try_lock() else { return };
    pool.sweep(usize::MAX, &mut closed);
    drop(pool);
}

impl Pool {
    /// Frees those of the first `most` retired records that are spent; others go to the end.
    fn sweep(&mut self, most: usize, closed: &mut Closed) {
        self.retired.extend(RETIRED.take_all());
        for _ in 0..most.min(self.retired.len()) {
            let Some(record) = self.retired.pop_front() else { return };
            match close(record) {
                Some((charge, counted)) => {
                    closed.push(charge);
                    self.free.push((record, counted));
                }
                None => self.retired.push_back(record),
            }
        }
    }

    /// Makes records, and returns one of them.
    fn make(&mut self) -> Option<(&'static Record, u64)> {
        let (first, others) = Record::make().split_first()?;
        ALL.push(first);
        for other in others.iter().rev() {
            ALL.push(other);
            self.free.push((other, 0));
        }
        Some((first, 0))
    }
}

/// Returns the charge of a retired record and what it has counted, if it is spent and nobody settles it.
fn close(record: &'static Record) -> Option<(Option<ForcedCharge>, u64)> {
    let counted = BLOCKS.spent(record)?;
    if !record.is_charged() {
        return Some((None, counted));
    }
    let charge = record.take_charge()?;
    record.set_settled(0);
    Some((Some(charge), counted))
}
