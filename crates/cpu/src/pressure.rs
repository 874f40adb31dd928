//! How much time a group loses because its work waits for a CPU, or for its quota.
//!
//! Work is *stalled* while it waits in the ring of a leaf, and *productive* while a slice of that leaf is run, on
//! whatever. So a group loses *some* time while something of it or below waits, and *full* time while
//! something waits and nothing is run: the kernel's definitions, with a leaf for a task on each side.
//!
//! A group's [`Pressure`] is made when somebody first asks for it, and counts from then on. The kernel counts
//! always; here that would be two exchanges, and often two short locks, a level for each slice, in groups of
//! which nobody wants to know. Once made, it costs that. How long work waited is counted always (`wait.rs`).
//!
//! # Protocol
//!
//! Everything happens under the scheduler's lock. There work begins and ceases to wait and slices begin and end, so
//! the count of a pressure that is made is that of the tree and of the slices going on. The clock of all
//! pressures is a word that whoever has the lock sets to the time it has read, so none is read twice.

use std::time::Duration;

use fief_core::{Pressure, PressureStats, Threshold, Trigger};

use crate::css::CpuCss;

impl CpuCss {
    /// Returns how much time the group and those below lose by waiting for a CPU, or for a quota. Sends what
    /// triggers are due.
    ///
    /// *Some* time is lost while something waits, *full* time while something does and nothing of the group or
    /// below runs. It is counted from the first call on, of this or
    /// [`pressure_trigger`](Self::pressure_trigger), that is for this group; see [`CpuStats::wait`](crate::CpuStats::wait)
    /// for what is counted always.
    ///
    /// # Concurrency
    ///
    /// Reads the clock and takes the scheduler's lock. The first call looks at all groups once. From then on slices
    /// of the group and of those below cost two exchanges more.
    #[must_use]
    #[doc(alias = "cpu.pressure")]
    pub fn pressure(&self) -> PressureStats {
        self.shared.sched.pressure(&self.leaf, Pressure::stats)
    }

    /// Makes a trigger, which tells when so much time was lost within such a window; counted from now on.
    ///
    /// What the kernel does with a line written to an open `cpu.pressure`. There is no timer: it is looked
    /// at as work begins and ceases to wait and to run, and when somebody calls [`pressure`](Self::pressure) or
    /// [`poll_pressure`](Self::poll_pressure).
    #[doc(alias = "psi_trigger_create")]
    pub fn pressure_trigger(&self, threshold: Threshold) -> Trigger {
        self.shared.sched.pressure(&self.leaf, |pressure| pressure.trigger(threshold))
    }

    /// Sends what triggers are due, and returns in how long to call again at the latest, counted from now;
    /// `None` if time alone brings nothing, see [`Pressure::poll`].
    pub fn poll_pressure(&self) -> Option<Duration> {
        self.leaf.rare.get()?.pressure.get()?;
        self.shared.sched.poll_pressure(&self.leaf)
    }
}
