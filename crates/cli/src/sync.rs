//! The one place of this binary that names atomics, locks and threads.
//!
//! Nothing here takes part in a lock-free protocol: counters are statistics that are read for
//! display while they move, and exactly only after the threads that wrote them were joined.

pub(crate) use std::{
    sync::{Arc, Condvar, OnceLock},
    thread,
};

use std::sync::{
    MutexGuard, PoisonError, TryLockError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// A mutex whose `lock` cannot fail: a panic of a holder is reported where its thread is joined.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks it, unless somebody else has.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Waits on `condvar` while `condition` holds.
pub(crate) fn wait_while<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    condition: impl FnMut(&mut T) -> bool,
) -> MutexGuard<'a, T> {
    condvar.wait_while(guard, condition).unwrap_or_else(PoisonError::into_inner)
}

/// A number that many threads add to.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, amount: u64) {
        // Ordering: Relaxed: only the sum matters; exact readers joined the writers first.
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, amount: u64) {
        // Ordering: Relaxed: as in `add`. Wraps below zero, which the final check then shows.
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, amount: u64) {
        // Ordering: Relaxed: as in `add`.
        self.0.store(amount, Ordering::Relaxed);
    }

    /// Adds one, and returns what there was before.
    pub(crate) fn next(&self) -> u64 {
        // Ordering: Relaxed: one RMW, so that no two callers get the same number.
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes the whole number out, leaving zero.
    pub(crate) fn take(&self) -> u64 {
        // Ordering: Relaxed: one RMW, so that no addition is taken twice or lost.
        self.0.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn get(&self) -> u64 {
        // Ordering: Relaxed: a statistic.
        self.0.load(Ordering::Relaxed)
    }
}

/// A request to stop, raised by one thread and looked at by others between two pieces of work.
#[derive(Debug, Default)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn raise(&self) {
        // Ordering: Relaxed: nothing is published through the flag; a late look costs one piece.
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn lower(&self) {
        // Ordering: Relaxed: as in `raise`.
        self.0.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_raised(&self) -> bool {
        // Ordering: Relaxed: as in `raise`.
        self.0.load(Ordering::Relaxed)
    }
}
