//! The one place that names atomics, locks and threads: those of `fief_core::sync`, or loom's.
//!
//! `Arc` is the standard library's in models too, because wakers are made of it. Loom does not watch its count;
//! what must happen before a value is dropped is therefore kept out of `Drop`, in steps that loom sees.

pub(crate) use std::sync::Arc;
pub(crate) use std::{
    sync::{OnceLock, Weak},
    thread,
};

#[cfg(not(loom))]
pub(crate) use fief_core::sync::forks;
pub(crate) use fief_core::sync::{
    AtomicBool, AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, order, skip,
};

#[cfg(loom)]
use loom::cell as imp;
#[cfg(not(loom))]
use std::cell as imp;

/// A value that one at a time may touch, as a protocol has it: loom fails a model in which two do.
pub(crate) struct Exclusive<T>(imp::UnsafeCell<T>);

impl<T> Exclusive<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::UnsafeCell::new(value))
    }

    /// Calls `look` with the value's address; others may look meanwhile.
    pub(crate) fn with<R>(&self, look: impl FnOnce(*const T) -> R) -> R {
        #[cfg(loom)]
        return self.0.with(look);
        #[cfg(not(loom))]
        look(self.0.get())
    }

    /// Calls `change` with the value's address; nobody else may be at it.
    pub(crate) fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
        #[cfg(loom)]
        return self.0.with_mut(change);
        #[cfg(not(loom))]
        change(self.0.get())
    }
}
