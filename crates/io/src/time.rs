//! What time it is, in nanoseconds: the machine's, or that of a clock which a test advances.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::{foreign::Clock, sync::Arc};

/// A clock in nanoseconds.
#[derive(Clone)]
pub(crate) struct Time {
    epoch: Instant,
    /// What is asked in place of the machine.
    other: Option<Arc<dyn Clock>>,
}

impl Time {
    /// Returns the machine's clock, read without a detour.
    pub(crate) fn machine() -> Self {
        Self { epoch: Instant::now(), other: None }
    }

    pub(crate) fn of(clock: Arc<dyn Clock>) -> Self {
        Self { epoch: Instant::now(), other: Some(clock) }
    }

    /// Returns the time since the epoch; 584 years of it.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        nanos(match &self.other {
            None => self.epoch.elapsed(),
            Some(clock) => clock.now(),
        })
    }

    /// Returns the clock for others: the machine's, or the one that was given.
    #[cfg(not(loom))]
    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        self.other.clone().unwrap_or_else(|| Arc::new(fief_core::MonotonicClock::new()))
    }

    /// Returns whether threads can sleep by it.
    pub(crate) fn is_machine(&self) -> bool {
        self.other.is_none()
    }
}

/// Returns a duration as nanoseconds; the longest there is where it does not fit.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Time").field("is_machine", &self.is_machine()).finish()
    }
}
