//! The atomics, locks and threads of this crate: the core's, and what an allocator needs besides.

pub(crate) use fief_core::sync::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU64, Ordering, fence, order, skip,
};
pub(crate) use std::sync::atomic::compiler_fence;

use std::sync::{MutexGuard, PoisonError, TryLockError};

/// A mutex that can be tried, and takes no notice of holders that panicked.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

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
