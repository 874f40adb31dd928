//! How much time a group loses because its operations wait for a limit, or for their turn.
//!
//! An operation that waits is a member that is stalled, of its group and of all above, on whatever device; it is counted
//! under the device's lock as it begins and ceases to wait (`node.rs`). No member is ever counted as productive: what
//! a group does meanwhile is not known here, nor is for how long its permits are at work. So *some* and *full* time are
//! the same.
//!
//! A group's [`Pressure`] is made when something first waits, or when somebody asks for a trigger. Before that nothing
//! was lost, and a group that never waits has no place for it.

use std::time::Duration;

use fief_core::{Activity, Clock, Pressure, PressureStats, Threshold, Trigger};

use crate::{
    css::IoCss,
    sync::{Arc, OnceLock},
};

/// The pressure of one group, once there is one.
pub(crate) struct Stalls {
    clock: Arc<dyn Clock>,
    pressure: OnceLock<Box<Pressure>>,
}

impl Stalls {
    pub(crate) fn new(clock: &Arc<dyn Clock>) -> Self {
        Self { clock: Arc::clone(clock), pressure: OnceLock::new() }
    }

    /// Counts an operation that begins to wait.
    pub(crate) fn begin(&self) {
        self.made().shift(Activity::Idle, Activity::Stalled);
    }

    /// Counts an operation that waits no longer.
    pub(crate) fn end(&self) {
        self.made().shift(Activity::Stalled, Activity::Idle);
    }

    fn made(&self) -> &Pressure {
        self.pressure.get_or_init(|| Box::new(Pressure::new(Arc::clone(&self.clock))))
    }
}

impl IoCss {
    /// Returns how much time the group and those below lost by waiting, for a limit or for their turn, on any device.
    /// Sends what triggers are due.
    ///
    /// *Some* and *full* time are the same, as nobody says what else a group does; see
    /// [`IoStats`](crate::IoStats) for how long operations waited together, and for what.
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
