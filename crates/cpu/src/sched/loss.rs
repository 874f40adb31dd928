//! Who waits and who runs, told to the waiting times and pressures of the groups: all under the scheduler's lock.

use std::time::Duration;

use super::{Sched, State};
use crate::{
    foreign::{Activity, Clock, Pressure},
    leaf::Leaf,
    sync::{Arc, AtomicU64, Ordering},
    time::nanos,
    tree::NodeId,
};

/// The clock of pressures: what whoever has the scheduler's lock read last.
#[derive(Debug, Default)]
pub(super) struct Latch(AtomicU64);

impl Clock for Latch {
    fn now(&self) -> Duration {
        // Ordering: Relaxed: under the scheduler's lock.
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

impl Sched {
    /// Does something with the pressure of a leaf, which is made if need be.
    pub(crate) fn pressure<R>(&self, leaf: &Leaf, act: impl FnOnce(&Pressure) -> R) -> R {
        let now = self.time.now();
        let mut state = self.state.lock();
        let now = state.tree.go_on(now);
        let latch = Arc::clone(state.latch.get_or_insert_default());
        latch.set(now);
        let rare = leaf.rare();
        if let Some(pressure) = rare.pressure.get() {
            return act(pressure);
        }
        let pressure = rare.pressure.get_or_init(|| Box::new(Pressure::new(latch)));
        state.take_over(leaf.node, pressure);
        act(pressure)
    }

    /// Sends what triggers are due; returns in how long somebody is to call again.
    pub(crate) fn poll_pressure(&self, leaf: &Leaf) -> Option<Duration> {
        let due = self.pressure(leaf, Pressure::poll)?;
        Some(Duration::from_nanos(nanos(due).saturating_sub(self.time.now())))
    }
}

impl State {
    /// Notes that own work of a leaf has begun to wait.
    pub(super) fn begin_wait(&self, leaf: &Leaf, now: u64) {
        leaf.begin_wait(now);
        self.shift(leaf, Activity::Idle, Activity::Stalled, now);
    }

    /// Notes that own work of a leaf waits no longer.
    pub(super) fn end_wait(&self, leaf: &Leaf, now: u64) {
        leaf.end_wait(now);
        self.shift(leaf, Activity::Stalled, Activity::Idle, now);
    }

    /// Notes that a slice of a leaf's has begun.
    pub(super) fn begin_slice(&self, leaf: &Leaf, now: u64) {
        self.shift(leaf, Activity::Idle, Activity::Productive, now);
    }

    /// Notes that a slice of a leaf's has ended.
    pub(super) fn end_slice(&self, leaf: &Leaf, now: u64) {
        self.shift(leaf, Activity::Productive, Activity::Idle, now);
    }

    fn shift(&self, leaf: &Leaf, from: Activity, to: Activity, now: u64) {
        let Some(latch) = &self.latch else { return };
        latch.set(now);
        let rare = leaf.levels().filter_map(|level| level.rare.get());
        rare.filter_map(|rare| rare.pressure.get()).for_each(|pressure| pressure.shift(from, to));
    }

    /// Has the new pressure of a node count what waits and runs there and below already.
    fn take_over(&self, top: NodeId, pressure: &Pressure) {
        let waits = self.leaves.iter().flatten().map(|leaf| leaf.node);
        let waits = waits.filter(|node| self.tree.is_active(*node));
        for _ in waits.filter(|node| self.is_within(*node, top)) {
            pressure.shift(Activity::Idle, Activity::Stalled);
        }
        let runs = self.running.iter().map(|(_, running)| running.pick.node());
        for _ in runs.filter(|node| self.is_within(*node, top)) {
            pressure.shift(Activity::Idle, Activity::Productive);
        }
    }

    /// Returns whether a node is another one, or below it. One that is removed counts as long as it runs.
    fn is_within(&self, node: NodeId, top: NodeId) -> bool {
        let mut at = Some(node);
        while let Some(node) = at {
            if node == top {
                return true;
            }
            at = self.tree.parent(node).ok().flatten();
        }
        false
    }
}

impl Latch {
    fn set(&self, now: u64) {
        // Ordering: Relaxed: under the scheduler's lock.
        self.0.store(now, Ordering::Relaxed);
    }
}
