//! The one place that names atomics, locks and threads: those of `fief_core::sync`, or loom's.

#[cfg(not(loom))]
pub(crate) use std::sync::{OnceLock, Weak};

#[cfg(not(loom))]
pub(crate) use fief_core::sync::{Arc, AtomicBool, Mutex};
pub(crate) use fief_core::sync::{
    AtomicU32, AtomicU64, Ordering,
    barrier::{heavy, light, light_fenced},
    order, skip,
};
