//! The one place that names atomics, locks and threads: those of `fief_core::sync`, or loom's.
//!
//! `Arc` is the standard library's in models too, because wakers are made of it.

pub(crate) use std::sync::Arc;
pub(crate) use std::{
    sync::{OnceLock, Weak},
    thread,
};

#[cfg(all(test, not(loom)))]
pub(crate) use fief_core::sync::AtomicU32;
#[cfg(not(loom))]
pub(crate) use fief_core::sync::forks;
pub(crate) use fief_core::sync::{AtomicU64, Mutex, MutexGuard, Ordering, skip};
