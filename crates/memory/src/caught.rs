//! Others' code, run so that its panics end there.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Runs `foreign`; `None` if it panicked.
pub(crate) fn caught<R>(foreign: impl FnOnce() -> R) -> Option<R> {
    // Unwind-safe: what it left half done is its own; nothing of ours is in its reach.
    catch_unwind(AssertUnwindSafe(foreign)).map_err(discard).ok()
}

/// Drops a panic's payload, whose own drop may panic.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        #[expect(clippy::mem_forget, reason = "a payload that panics when dropped is leaked")]
        std::mem::forget(second);
    }
}
