//! Others' code, run so that its panics end there.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// What somebody panicked with.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Runs `foreign`; the payload if it panicked.
pub(crate) fn caught<R>(foreign: impl FnOnce() -> R) -> Result<R, Payload> {
    // Unwind-safe: what it left half done is its own; nothing of ours is in its reach.
    catch_unwind(AssertUnwindSafe(foreign))
}

/// Drops `value`; the payload if that panicked.
pub(crate) fn drop_caught<T>(value: T) -> Result<(), Payload> {
    caught(|| drop(value))
}

/// Drops `value`, and what that may panic with.
pub(crate) fn discard<T>(value: T) {
    if let Err(payload) = drop_caught(value)
        && let Err(second) = drop_caught(payload)
    {
        #[expect(clippy::mem_forget, reason = "a payload that panics when dropped is leaked")]
        std::mem::forget(second);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::panic_any;

    use super::*;
    use crate::sync::{Arc, AtomicU32, Ordering};

    /// Panics with another of its kind when dropped, so many times.
    struct Nested(u32, Arc<AtomicU32>);

    impl Drop for Nested {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::Relaxed);
            if self.0 > 0 {
                panic_any(Self(self.0 - 1, Arc::clone(&self.1)));
            }
        }
    }

    #[test]
    fn a_payload_that_panics_as_well_is_leaked() {
        for (nested, dropped) in [(0, 1), (1, 2), (2, 2), (9, 2)] {
            let drops = Arc::<AtomicU32>::default();
            discard(Nested(nested, Arc::clone(&drops)));
            assert_eq!(drops.load(Ordering::Relaxed), dropped);
        }
    }
}
