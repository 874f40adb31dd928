//! Planned failures: the Nth call of a hook from now vetoes or panics, once.

use std::collections::BTreeMap;

use crate::hook::Hook;

/// What a hook does when its turn comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Returns an error.
    Veto,
    /// Unwinds.
    Panic,
}

/// The failures planned for one subsystem, at most one a hook.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pending: BTreeMap<Hook, (u32, Action)>,
}

impl Plan {
    /// Plans a failure for the `nth` call from now, from 1; replaces an earlier one.
    pub(crate) fn add(&mut self, hook: Hook, nth: u32, action: Action) {
        self.pending.insert(hook, (nth, action));
    }

    /// Counts a call of `hook`; returns what it has to do when it is the planned one.
    pub(crate) fn call(&mut self, hook: Hook) -> Option<Action> {
        let (left, action) = self.pending.get_mut(&hook)?;
        *left -= 1;
        let (left, action) = (*left, *action);
        if left > 0 {
            return None;
        }
        self.pending.remove(&hook);
        Some(action)
    }
}

/// The line recorded for a call.
pub(crate) fn event(subsystem: &str, hook: Hook, what: &str, action: Option<Action>) -> String {
    let outcome = match action {
        None => "",
        Some(Action::Veto) => ", vetoed",
        Some(Action::Panic) => ", panicked",
    };
    format!("{subsystem}: {hook} {what}{outcome}")
}
