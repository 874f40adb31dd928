//! Telling a task whether it is asked to freeze: the last that it is told is what holds.
//!
//! Several threads may change what is asked at once, and the callback runs under no lock. Whoever changed it
//! tells; if somebody is telling already, it is left to them, and they look again when the
//! callback has returned. So callbacks of one task never run side by side, and a callback that itself
//! freezes or thaws is told again after it has returned.
//!
//! # Tests
//!
//! `tests/loom_freeze.rs`.

use crate::sync::{Mutex, skip};

/// A callback, and what it was told last.
pub(crate) struct Teller<C>(Mutex<Slot<C>>);

struct Slot<C> {
    callback: Option<C>,
    told: bool,
    is_telling: bool,
}

impl<C: Clone> Teller<C> {
    /// Returns a teller without a callback.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Slot { callback: None, told: false, is_telling: false }))
    }

    /// Sets the callback, which was told nothing yet: that nothing is asked. Returns the one before.
    pub(crate) fn set(&self, callback: C) -> Option<C> {
        let mut slot = self.0.lock();
        slot.told = false;
        slot.callback.replace(callback)
    }

    /// Takes the callback.
    #[cfg(not(loom))]
    pub(crate) fn take(&self) -> Option<C> {
        self.0.lock().callback.take()
    }

    /// Tells what is asked, if that differs from what was told; called after each change, under no lock.
    ///
    /// `run` is to return when the callback has; it does not panic.
    pub(crate) fn tell(&self, is_asked: impl Fn() -> bool, run: impl Fn(C, bool)) {
        let mut slot = self.0.lock();
        if slot.is_telling && !skip("one_tells") {
            return;
        }
        loop {
            let asked = is_asked();
            let callback = slot.callback.clone().filter(|_| slot.told != asked);
            slot.is_telling = callback.is_some();
            let Some(callback) = callback else { return };
            slot.told = asked;
            drop(slot);
            run(callback, asked);
            slot = self.0.lock();
            if skip("teller_looks_again") {
                slot.is_telling = false;
                return;
            }
        }
    }
}
