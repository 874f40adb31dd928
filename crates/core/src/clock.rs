//! Where time comes from: the machine, or a test.
//!
//! Whatever counts time takes an `Arc<dyn Clock>`, so that it can be tested to the nanosecond, without
//! sleeping. A time is a [`Duration`] since the clock's epoch, which says nothing by itself: only times
//! of one clock compare.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::sync::{Arc, Mutex};

/// A clock that never goes backwards.
///
/// Of two readings, the later is not below the earlier, on whatever threads they are taken. Who uses a
/// clock is to stand one that breaks this: a time below the last one counts as the last one.
///
/// A reading must not panic, and must not call what reads the clock: it may come from a drop.
#[doc(alias = "sched_clock")]
pub trait Clock: Send + Sync + 'static {
    /// Returns the time since the clock's epoch.
    fn now(&self) -> Duration;
}

/// The machine's monotonic clock; its epoch is the moment it was made.
///
/// Whether it goes on while the machine is suspended is up to the system; on Linux it does not.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use fief_core::{Clock, MonotonicClock};
///
/// let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new());
/// let earlier = clock.now();
/// assert!(clock.now() >= earlier);
/// ```
#[derive(Clone, Copy, Debug)]
#[doc(alias = "CLOCK_MONOTONIC")]
pub struct MonotonicClock {
    epoch: Instant,
}

impl MonotonicClock {
    /// Makes a clock that begins now.
    #[must_use]
    pub fn new() -> Self {
        Self { epoch: Instant::now() }
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }
}

/// A clock that stands still until it is advanced; clones are handles to the same clock.
///
/// # Examples
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use fief_core::{Clock, VirtualClock};
///
/// let time = VirtualClock::new();
/// let clock: Arc<dyn Clock> = Arc::new(time.clone());
/// time.advance(Duration::from_secs(2));
/// assert_eq!(clock.now(), Duration::from_secs(2));
/// ```
#[derive(Clone, Default)]
pub struct VirtualClock {
    now: Arc<Mutex<Duration>>,
}

impl VirtualClock {
    /// Makes a clock at its epoch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a clock at `now` since its epoch.
    #[must_use]
    pub fn starting_at(now: Duration) -> Self {
        Self { now: Arc::new(Mutex::new(now)) }
    }

    /// Moves the time on; at most to [`Duration::MAX`], where it stays.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock();
        *now = now.saturating_add(by);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Duration {
        *self.now.lock()
    }
}

impl fmt::Debug for VirtualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VirtualClock").field(&self.now()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_clock_stands_until_advanced_and_shares_its_time() {
        let clock = VirtualClock::starting_at(Duration::from_secs(1));
        let other = clock.clone();
        assert_eq!(clock.now(), Duration::from_secs(1));
        other.advance(Duration::from_nanos(1));
        assert_eq!(clock.now(), Duration::new(1, 1));
        assert_eq!(format!("{clock:?}"), "VirtualClock(1.000000001s)");
    }

    #[test]
    fn a_virtual_clock_stops_at_the_last_time_there_is() {
        let clock = VirtualClock::starting_at(Duration::MAX);
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), Duration::MAX);
    }

    #[test]
    fn the_machines_clock_does_not_go_backwards() {
        let clock = MonotonicClock::default();
        let times: Vec<Duration> = (0..1000).map(|_| clock.now()).collect();
        assert!(times.is_sorted());
    }
}
