//! How much time a group loses because its operations wait for a limit, or for their turn.
//!
//! An operation that waits is a member that is stalled, of its group and of all above, on whatever device. One that is
//! in flight is a member that is productive: so *full* time is that in which somebody waits and nothing of the group is
//! in flight. Both are counted under the device's lock, as operations begin and cease to wait, are granted and end
//! (`node.rs`). Where a device does not count what is in flight, because it has no depth, nobody is productive: there
//! *some* and *full* time are the same.
//!
//! A group's [`Pressure`] is made when something first waits, or when somebody asks for a trigger. Before that nothing
//! was lost, and a group that never waits has no place for it, but for a count of what is in flight.
//!
//! # Invariants
//!
//! 1. What is in flight is in `early` until there is a pressure, and in that afterwards. `early` is locked while it goes
//!    from one to the other.

use std::time::Duration;

use fief_core::{Activity, Clock, Pressure, PressureStats, Threshold, Trigger};

use crate::{
    css::IoCss,
    sync::{Arc, Mutex, OnceLock},
};

/// The pressure of one group, once there is one.
pub(crate) struct Stalls {
    clock: Arc<dyn Clock>,
    pressure: OnceLock<Box<Pressure>>,
    /// How many were in flight before there was a pressure.
    early: Mutex<u64>,
}

impl Stalls {
    pub(crate) fn new(clock: &Arc<dyn Clock>) -> Self {
        Self { clock: Arc::clone(clock), pressure: OnceLock::new(), early: Mutex::new(0) }
    }

    /// Counts an operation that begins to wait.
    pub(crate) fn begin(&self) {
        self.made().shift(Activity::Idle, Activity::Stalled);
    }

    /// Counts an operation that waits no longer.
    pub(crate) fn end(&self) {
        self.made().shift(Activity::Stalled, Activity::Idle);
    }

    /// Counts an operation that goes to the device.
    pub(crate) fn depart(&self) {
        self.shift(Activity::Idle, Activity::Productive, 1);
    }

    /// Counts an operation that comes back.
    pub(crate) fn come_back(&self) {
        self.shift(Activity::Productive, Activity::Idle, 1u64.wrapping_neg());
    }

    /// Has one be in flight or not any more.
    fn shift(&self, from: Activity, to: Activity, more: u64) {
        if let Some(pressure) = self.pressure.get() {
            return pressure.shift(from, to);
        }
        let mut early = self.early.lock();
        match self.pressure.get() {
            Some(pressure) => pressure.shift(from, to),
            None => *early = early.wrapping_add(more),
        }
    }

    fn made(&self) -> &Pressure {
        if let Some(pressure) = self.pressure.get() {
            return pressure;
        }
        let early = self.early.lock();
        self.pressure.get_or_init(|| {
            let pressure = Box::new(Pressure::new(Arc::clone(&self.clock)));
            (0..*early).for_each(|_| pressure.shift(Activity::Idle, Activity::Productive));
            pressure
        })
    }
}

impl IoCss {
    /// Returns how much time the group and those below lost by waiting, for a limit or for their turn, on any device.
    /// Sends what triggers are due.
    ///
    /// *Full* time is that in which somebody waited and nothing of the group was in flight, as far as that is counted:
    /// on devices with a depth. Elsewhere *some* and *full* time are the same. See [`IoStats`](crate::IoStats) for how
    /// long operations waited together, and for what.
    ///
    /// # Concurrency
    ///
    /// Reads the clock and takes a short lock.
    #[must_use]
    #[doc(alias = "io.pressure")]
    pub fn pressure(&self) -> PressureStats {
        let pressure = self.stalls.pressure.get();
        pressure.map_or_else(PressureStats::default, |pressure| pressure.stats())
    }

    /// Makes a trigger, which tells when so much time was lost within such a window; counted from now on.
    ///
    /// What the kernel does with a line written to an open `io.pressure`. There is no timer: it is looked
    /// at as operations begin and cease to wait, and when somebody calls [`pressure`](Self::pressure) or
    /// [`poll_pressure`](Self::poll_pressure).
    #[doc(alias = "psi_trigger_create")]
    pub fn pressure_trigger(&self, threshold: Threshold) -> Trigger {
        self.stalls.made().trigger(threshold)
    }

    /// Sends what triggers are due, and returns when to call again at the latest; see [`Pressure::poll`].
    pub fn poll_pressure(&self) -> Option<Duration> {
        self.stalls.pressure.get()?.poll()
    }
}
