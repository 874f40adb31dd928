//! The one place that names atomics, locks and threads: those of `fief_core::sync`, or loom's.
//!
//! `Arc` is the standard library's in models too, because wakers are made of it.

#[cfg(loom)]
mod still;

#[cfg(loom)]
use std::sync::atomic::AtomicU64 as Unwatched;

pub(crate) use std::sync::{Arc, OnceLock, Weak};
#[cfg(not(loom))]
pub(crate) use std::{thread, time::Instant};

#[cfg(all(test, not(loom)))]
pub(crate) use fief_core::sync::AtomicU32;
#[cfg(not(loom))]
pub(crate) use fief_core::sync::forks;
pub(crate) use fief_core::sync::{AtomicU64, Mutex, MutexGuard, Ordering, skip};

#[cfg(loom)]
pub(crate) use self::still::{Instant, pass, pass_asleep, rest, thread};
#[cfg(not(loom))]
use AtomicU64 as Unwatched;

/// Returns a number that is not 0 and that the process never had before.
pub(crate) fn unique() -> u64 {
    static LAST: Unwatched = Unwatched::new(0);
    // Ordering: Relaxed: it only has to be unique.
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}
