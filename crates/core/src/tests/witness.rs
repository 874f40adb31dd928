//! A value that loom watches: any access that is not ordered against a write is reported.

use loom::cell::UnsafeCell;

/// A number whose readers and writers must all be ordered.
pub(super) struct Witness(UnsafeCell<u64>);

// SAFETY: every access goes through loom, which fails the model when two of them race.
unsafe impl Sync for Witness {}
// SAFETY: as above.
unsafe impl Send for Witness {}

impl Witness {
    pub(super) fn new(value: u64) -> Self {
        Self(UnsafeCell::new(value))
    }

    pub(super) fn write(&self, value: u64) {
        // SAFETY: loom checks that nobody else is at it.
        self.0.with_mut(|old| unsafe { *old = value });
    }

    pub(super) fn read(&self) -> u64 {
        // SAFETY: as above.
        self.0.with(|value| unsafe { *value })
    }
}
