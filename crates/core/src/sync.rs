//! The one place that names atomics, locks and threads: the standard library's, or loom's.
//!
//! Everything that takes part in a lock-free protocol is built from the items here, so that under
//! `--cfg loom` the very same code runs inside the model checker. This module is hidden, not public API:
//! it is for the protocols of the workspace's own crates, and changes with them. Locks ignore poison: hooks are
//! caught before they can unwind through one, and a panic of our own leaves no half-done state
//! behind a lock that a later caller could not read.
//!
//! # Mutants
//!
//! [`order`] and [`skip`] mark the orderings and steps that a loom model must prove necessary. In
//! every normal build they are the identity; under loom the environment variable `FIEF_MUTANT`
//! names one to weaken, and `cargo xtask loom` shows that a model then fails.

pub mod barrier;
#[cfg(not(loom))]
#[expect(unsafe_code, reason = "one foreign function; see docs/unsafe.md")]
pub(crate) mod fork;

#[cfg(not(loom))]
pub(crate) use std::{
    sync::{OnceLock, RwLockReadGuard, RwLockWriteGuard, Weak},
    thread,
};

#[cfg(loom)]
use loom::sync as imp;
#[cfg(not(loom))]
use std::sync as imp;

pub use imp::{
    Arc, MutexGuard,
    atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering, fence},
};

use std::sync::PoisonError;

/// Returns how many forks lie between the first process and this one; equal in one process.
///
/// What threads left behind for one another is of no use in the child: it has one thread. Remember the
/// number beside it and compare. A child made by a bare `clone` system call is not noticed.
#[cfg(not(loom))]
pub fn forks() -> u32 {
    fork::generation()
}

/// Returns how many forks there were: none, in a model.
#[cfg(loom)]
pub fn forks() -> u32 {
    0
}

/// A mutex whose `lock` cannot fail.
#[derive(Debug, Default)]
pub struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    /// Makes an unlocked mutex.
    #[cfg(not(loom))]
    pub const fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    /// Makes an unlocked mutex, which loom watches.
    #[cfg(loom)]
    pub fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    /// Waits for the lock; a holder before that panicked does not matter.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn is_locked(&self) -> bool {
        self.0.try_lock().is_err()
    }

    /// Returns the value without locking: nobody else can have it.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader-writer lock whose `read` and `write` cannot fail.
#[cfg(not(loom))]
#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(imp::RwLock<T>);

#[cfg(not(loom))]
impl<T> RwLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(imp::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns `ordering`, unless the mutant `name` is played: then `Relaxed`.
#[cfg(not(loom))]
#[inline(always)]
pub const fn order(_name: &'static str, ordering: Ordering) -> Ordering {
    ordering
}

/// Returns `ordering`, unless the mutant `name` is played: then `Relaxed`.
#[cfg(loom)]
pub fn order(name: &'static str, ordering: Ordering) -> Ordering {
    if skip(name) { Ordering::Relaxed } else { ordering }
}

/// Returns whether the mutant `name`, which leaves a step out, is played.
#[cfg(not(loom))]
#[inline(always)]
pub const fn skip(_name: &'static str) -> bool {
    false
}

/// Returns whether the mutant `name`, which leaves a step out, is played.
#[cfg(loom)]
pub fn skip(name: &'static str) -> bool {
    static PLAYED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    PLAYED.get_or_init(|| std::env::var("FIEF_MUTANT").ok()).as_deref() == Some(name)
}
