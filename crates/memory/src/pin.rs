//! The reference that a css holds to itself while something is charged there.
//!
//! So a strict removal sees live charges, and a group with charges is not releasable. Who takes a
//! counter from zero takes the reference, who brings it back to zero gives it back; each holds what it
//! charges meanwhile, so a counter does not come back to zero before its reference is taken.

use fief_core::{CssRef, WeakCss};

use crate::{css::MemoryCss, sync::Mutex};

/// A css's reference to itself.
#[derive(Debug, Default)]
pub(crate) struct Pin(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How often the counter went from zero, less how often it came back. Others may be seen between the
    /// two: 0 or 1 when nobody is.
    periods: i64,
    held: Option<CssRef<MemoryCss>>,
    /// Whether the group is gone, and nothing is held any more.
    is_closed: bool,
}

impl Pin {
    /// Notes that the counter went from zero; false if the css can be held no more.
    pub(crate) fn take(&self, css: Option<&WeakCss<MemoryCss>>) -> bool {
        let mut state = self.0.lock();
        if state.is_closed {
            return true;
        }
        if state.periods == 0 {
            state.held = css.and_then(WeakCss::upgrade);
            if state.held.is_none() {
                return false;
            }
        }
        state.periods += 1;
        true
    }

    /// Notes that the counter came back to zero.
    pub(crate) fn put(&self) {
        let mut state = self.0.lock();
        if state.is_closed {
            return;
        }
        if state.periods == 0 {
            return; // more was given back than charged: nothing came back to zero
        }
        state.periods -= 1;
        let given_back = if state.periods == 0 { state.held.take() } else { None };
        drop(state);
        drop(given_back);
    }

    /// Gives the reference back for good.
    pub(crate) fn close(&self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        let given_back = state.held.take();
        drop(state);
        drop(given_back);
    }
}
