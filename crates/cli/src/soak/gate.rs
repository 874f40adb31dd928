//! Who may work in a tenant's groups, and when.
//!
//! Workers enter and leave; the soak closes the gate before it kills a tenant, waits until the
//! last worker has left, and opens it on the groups made anew. A worker joins its group while it
//! enters, so that whoever is inside is a member and hears the kill.

use anyhow::Result;

use crate::{
    soak::pair::Pair,
    sync::{self, Arc, Condvar, Mutex},
};

/// The gate of one tenant; closed at first.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

/// The groups of a tenant, from one kill to the next.
#[derive(Debug)]
pub(crate) struct Generation {
    /// The tenant's own groups.
    pub(crate) group: Pair,
    /// Its groups for users; none for a tenant that has no users.
    pub(crate) users: Vec<Pair>,
}

#[derive(Debug, Default)]
struct State {
    stage: Stage,
    inside: usize,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Closed,
    Open(Arc<Generation>),
    Shut,
}

/// A worker's permission to work in a generation; dropping it says that the worker has left.
#[derive(Debug)]
#[must_use = "dropping it at once leaves at once"]
pub(crate) struct Inside<'a> {
    gate: &'a Gate,
    pub(crate) generation: Arc<Generation>,
}

impl Gate {
    /// Waits until the gate is open, then enters; `None` once it is shut.
    ///
    /// # Errors
    ///
    /// Those of `join`, which runs before anybody can close the gate.
    pub(crate) fn enter(
        &self,
        join: impl FnOnce(&Generation) -> Result<()>,
    ) -> Result<Option<Inside<'_>>> {
        let state = self.state.lock();
        let closed = |state: &mut State| matches!(state.stage, Stage::Closed);
        let mut state = sync::wait_while(&self.changed, state, closed);
        let Stage::Open(generation) = &state.stage else { return Ok(None) };
        let generation = Arc::clone(generation);
        join(&generation)?;
        state.inside += 1;
        Ok(Some(Inside { gate: self, generation }))
    }

    /// Lets workers in, to work in `generation`.
    pub(crate) fn open(&self, generation: Generation) {
        self.set(Stage::Open(Arc::new(generation)));
    }

    /// Keeps workers out until the gate opens again.
    pub(crate) fn close(&self) {
        self.set(Stage::Closed);
    }

    /// Keeps workers out for good.
    pub(crate) fn shut(&self) {
        self.set(Stage::Shut);
    }

    /// The groups of the tenant; `None` while the gate is not open.
    pub(crate) fn generation(&self) -> Option<Arc<Generation>> {
        match &self.state.lock().stage {
            Stage::Open(generation) => Some(Arc::clone(generation)),
            Stage::Closed | Stage::Shut => None,
        }
    }

    /// Waits until nobody is inside.
    pub(crate) fn wait_until_empty(&self) {
        let state = self.state.lock();
        drop(sync::wait_while(&self.changed, state, |state| state.inside > 0));
    }

    fn set(&self, stage: Stage) {
        self.state.lock().stage = stage;
        self.changed.notify_all();
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.gate.state.lock().inside -= 1;
        self.gate.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::{soak::pair::Trees, sync::thread};

    fn generation() -> Generation {
        Generation { group: Trees::new().unwrap().root(), users: Vec::new() }
    }

    #[test]
    fn a_closed_gate_waits_and_a_shut_one_turns_away() {
        let gate = Gate::default();
        thread::scope(|scope| {
            let worker = scope.spawn(|| gate.enter(|_| Ok(())).unwrap().is_some());
            gate.open(generation());
            assert!(worker.join().unwrap());
        });
        gate.shut();
        assert!(gate.enter(|_| Ok(())).unwrap().is_none());
    }

    #[test]
    fn it_is_empty_when_the_last_one_has_left() {
        let gate = Gate::default();
        gate.open(generation());
        let (one, two) = (gate.enter(|_| Ok(())).unwrap(), gate.enter(|_| Ok(())).unwrap());
        thread::scope(|scope| {
            let waiter = scope.spawn(|| gate.wait_until_empty());
            drop(one);
            assert!(!waiter.is_finished());
            drop(two);
        });
    }

    #[test]
    fn who_cannot_join_is_not_inside() {
        let gate = Gate::default();
        gate.open(generation());
        gate.enter(|_| anyhow::bail!("no")).unwrap_err();
        gate.wait_until_empty();
    }
}
