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

use std::time::Duration;
#[cfg(not(loom))]
use std::{
    hint,
    sync::{MutexGuard, PoisonError, TryLockError},
    thread,
};

/// Rounds of a wait that only spin.
#[cfg(not(loom))]
const SPINS: u32 = 64;

/// The first sleep of a wait; each that follows is twice as long, up to the longest.
#[cfg(not(loom))]
const NAP: Duration = Duration::from_micros(20);

#[cfg(not(loom))]
const LONGEST_NAP: Duration = Duration::from_millis(2);

/// Waits until something is over: spins, then sleeps; returns false if that takes longer than it may.
///
/// Sleeps instead of yielding, so that whoever is waited for gets the processor whatever its priority.
/// Does not wait in a signal handler that interrupts a count.
#[cfg(not(loom))]
pub(crate) fn wait(longest: Duration, is_over: impl Fn() -> bool) -> bool {
    let (mut slept, mut nap) = (Duration::ZERO, NAP);
    for _ in 0..SPINS {
        if is_over() {
            return true;
        }
        hint::spin_loop();
    }
    while slept < longest && !crate::local::is_counting() {
        thread::sleep(nap);
        if is_over() {
            return true;
        }
        slept += nap;
        nap = LONGEST_NAP.min(nap * 2);
    }
    false
}

/// Waits until something is over, in a model: as long as it takes.
#[cfg(loom)]
pub(crate) fn wait(_longest: Duration, is_over: impl Fn() -> bool) -> bool {
    while !is_over() {
        loom::thread::yield_now();
    }
    true
}

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
