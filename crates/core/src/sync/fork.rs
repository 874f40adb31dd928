//! Notices that this process is the child of a fork, and keeps the process-wide locks usable there.
//!
//! A forked child has one thread and none of the parent's: no reclaimer, and locks as they stood.
//! Each registry remembers the [`generation`] it was made in; structural calls compare. The locks
//! that a child needs to clone and drop references are held across the fork, so that no thread that
//! is not there any more has them.

use std::cell::RefCell;

use super::{AtomicU32, OnceLock, Ordering};
use crate::{css::thread, registry::engine};

static FORKS: AtomicU32 = AtomicU32::new(0);

/// Every lock of the process-wide modules, in the order in which they are taken: a global allocator
/// that counts through us may take a later one while an earlier one is held.
type Locks = (engine::Locks, thread::Locks);

thread_local! {
    /// The locks, while the calling thread forks.
    static HELD: RefCell<Option<Locks>> = const { RefCell::new(None) };
}

unsafe extern "C" {
    /// POSIX `pthread_atfork`.
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> i32;
}

/// Returns how many forks lie between the first process and this one; equal in one process.
///
/// A child made by a bare `clone` system call is not noticed.
pub(crate) fn generation() -> u32 {
    static WATCHING: OnceLock<()> = OnceLock::new();
    WATCHING.get_or_init(|| {
        // SAFETY: the handlers are static functions that do not unwind, and run on the thread that
        // forks: before it, and after it in either process.
        unsafe { pthread_atfork(Some(prepare), Some(in_parent), Some(in_child)) };
    });
    // Ordering: Relaxed: written before the child's only thread goes on.
    FORKS.load(Ordering::Relaxed)
}

extern "C" fn prepare() {
    // A thread past its thread-locals' destructors forks without the locks.
    HELD.try_with(|held| held.replace(Some((engine::lock_all(), thread::lock_all())))).ok();
}

extern "C" fn in_parent() {
    drop(HELD.try_with(RefCell::take));
}

extern "C" fn in_child() {
    // Ordering: Relaxed: the child has one thread.
    FORKS.fetch_add(1, Ordering::Relaxed);
    drop(HELD.try_with(RefCell::take));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locks_are_held_while_a_thread_forks() {
        prepare();
        let waits = std::thread::spawn(|| thread::domain().slots_are_locked()).join();
        in_parent();
        assert!(
            waits.expect("no panic"),
            "a child would find the lock of a thread it does not have"
        );
        assert!(HELD.with(|held| held.borrow().is_none()), "and the parent goes on");
    }
}
