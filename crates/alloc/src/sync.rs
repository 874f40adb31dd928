//! The atomics, locks and threads of this crate: the core's, and what an allocator needs besides.

#[cfg(loom)]
pub(crate) use fief_core::sync::Arc;
pub(crate) use fief_core::sync::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, order, skip,
};
#[cfg(not(loom))]
pub(crate) use fief_core::sync::{AtomicU8, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::compiler_fence;

#[cfg(not(loom))]
use std::sync::{MutexGuard, PoisonError, TryLockError};

/// A mutex that can be tried, and takes no notice of holders that panicked.
#[cfg(not(loom))]
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

#[cfg(not(loom))]
impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock, unless somebody has it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// Defines a `new` that is constant, as statics need it, but in models, whose atomics are made at run time.
macro_rules! constructor {
    ($value:expr) => {
        #[cfg(not(loom))]
        pub(crate) const fn new() -> Self {
            $value
        }

        #[cfg(loom)]
        pub(crate) fn new() -> Self {
            $value
        }
    };
}
pub(crate) use constructor;
