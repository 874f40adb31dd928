//! The one place that names atomics, locks and threads: those of `fief_core::sync`, or loom's.

#[cfg(not(loom))]
pub(crate) use std::{
    sync::{Condvar, OnceLock, PoisonError, Weak},
    thread,
};

pub(crate) use fief_core::sync::{
    Arc, AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering,
    barrier::{heavy, light, light_fenced},
    skip,
};
#[cfg(not(loom))]
pub(crate) use fief_core::sync::{AtomicU8, MutexGuard, forks};
