//! Notices that this process is the child of a fork.
//!
//! A forked child has one thread and none of the parent's: no reclaimer, and locks as they stood.
//! Each registry remembers the [`generation`] it was made in; structural calls compare.

use super::{AtomicU32, OnceLock, Ordering};

static FORKS: AtomicU32 = AtomicU32::new(0);

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
        // SAFETY: the handler is a static function that does one atomic add, which is
        // async-signal-safe; absent handlers are allowed.
        unsafe { pthread_atfork(None, None, Some(in_child)) };
    });
    // Ordering: Relaxed: written before the child's only thread goes on.
    FORKS.load(Ordering::Relaxed)
}

extern "C" fn in_child() {
    // Ordering: Relaxed: the child has one thread.
    FORKS.fetch_add(1, Ordering::Relaxed);
}
