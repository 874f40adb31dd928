//! The one place that names atomics, locks and threads: the standard library's, or loom's.
//!
//! Everything that takes part in a lock-free protocol is built from the items here, so that under
//! `--cfg loom` the very same code runs inside the model checker. Locks ignore poison: hooks are
//! caught before they can unwind through one, and a panic of our own leaves no half-done state
//! behind a lock that a later caller could not read.
//!
//! # Mutants
//!
//! [`order`] and [`skip`] mark the orderings and steps that a loom model must prove necessary. In
//! every normal build they are the identity; under loom the environment variable `FIEF_MUTANT`
//! names one to weaken, and `cargo xtask loom` shows that a model then fails.

pub(crate) mod barrier;
#[cfg(not(loom))]
#[expect(unsafe_code, reason = "one foreign function; see docs/unsafe.md")]
pub(crate) mod fork;

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc, MutexGuard,
    atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence},
};
#[cfg(not(loom))]
pub(crate) use std::{
    sync::{
        Arc, MutexGuard, OnceLock, RwLockReadGuard, RwLockWriteGuard, Weak,
        atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering, fence},
    },
    thread,
};

#[cfg(loom)]
use loom::sync as imp;
#[cfg(not(loom))]
use std::sync as imp;

use std::sync::PoisonError;

/// A mutex whose `lock` cannot fail.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    #[cfg(not(loom))]
    pub(crate) const fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    #[cfg(loom)]
    pub(crate) fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn is_locked(&self) -> bool {
        self.0.try_lock().is_err()
    }

    #[cfg(not(loom))]
    pub(crate) fn get_mut(&mut self) -> &mut T {
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
pub(crate) const fn order(_name: &'static str, ordering: Ordering) -> Ordering {
    ordering
}

/// Returns `ordering`, unless the mutant `name` is played: then `Relaxed`.
#[cfg(loom)]
pub(crate) fn order(name: &'static str, ordering: Ordering) -> Ordering {
    if skip(name) { Ordering::Relaxed } else { ordering }
}

/// Returns whether the mutant `name`, which leaves a step out, is played.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) const fn skip(_name: &'static str) -> bool {
    false
}

/// Returns whether the mutant `name`, which leaves a step out, is played.
#[cfg(loom)]
pub(crate) fn skip(name: &'static str) -> bool {
    static PLAYED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    PLAYED.get_or_init(|| std::env::var("FIEF_MUTANT").ok()).as_deref() == Some(name)
}
