//! How much CPU a slice took: the thread's own clock, or the wall's where that is as good.
//!
//! The thread's clock costs a system call of a third of a microsecond, so a slice that was over in less than
//! [`SHORT`] is charged what the wall says. A longer one is charged what the thread has run since the last
//! reading and was not charged for, but no more than passed on the wall: a preemption, or time that the
//! machine's host took away, is nobody's. The worker's own steps between slices go with the next one.

use std::{cell::RefCell, time::Duration};

use crate::time::{Time, nanos};

/// Below this, a slice is charged by the wall.
const SHORT: u64 = 20_000;

/// What a slice is charged at most where threads have no clock.
const CAP: u64 = 10_000_000;

/// The meter of one thread.
#[derive(Debug)]
pub(crate) struct Meter {
    /// What the thread's clock said last; `None` where it has none, or time is a test's.
    last: Option<u64>,
    /// What was charged since, by the wall.
    ahead: u64,
    has_machine_time: bool,
}

impl Meter {
    pub(crate) fn new(time: &Time) -> Self {
        let has_machine_time = time.is_machine();
        Self { last: thread_time().filter(|_| has_machine_time), ahead: 0, has_machine_time }
    }

    /// Forgets what the thread did since the last slice: it slept, or worked for nobody.
    pub(crate) fn skip(&mut self) {
        self.last = self.last.and_then(|_| thread_time());
        self.ahead = 0;
    }

    /// Returns what to charge for a slice that took `wall` nanoseconds.
    pub(crate) fn lap(&mut self, wall: u64) -> u64 {
        let Some(last) = self.last else {
            return if self.has_machine_time { wall.min(CAP) } else { wall };
        };
        if wall < SHORT {
            self.ahead = self.ahead.saturating_add(wall);
            return wall;
        }
        let Some(now) = thread_time() else { return wall.min(CAP) };
        let ran = now.saturating_sub(last).saturating_sub(self.ahead);
        (self.last, self.ahead) = (Some(now), 0);
        ran.min(wall)
    }
}

thread_local! {
    /// For polls by others' executors, whichever controller's they are.
    static POLLS: RefCell<Option<Meter>> = const { RefCell::new(None) };
}

/// Returns what to charge for a poll on the calling thread that took `wall` nanoseconds.
///
/// The thread's clock is read only after a poll that took longer than [`SHORT`]. What the thread did between two such
/// readings apart from polls cannot be told from them, so that much preemption may be charged.
pub(crate) fn charge(time: &Time, wall: u64) -> u64 {
    if !time.is_machine() {
        return wall;
    }
    let charge = |meter: &RefCell<Option<Meter>>| {
        let mut meter = meter.try_borrow_mut().ok()?;
        Some(meter.get_or_insert_with(|| Meter::new(time)).lap(wall))
    };
    POLLS.try_with(charge).ok().flatten().unwrap_or(wall.min(CAP))
}

/// Returns how long the calling thread has run.
#[cfg(all(target_os = "linux", not(fief_portable)))]
fn thread_time() -> Option<u64> {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).ok()?;
    Some(nanos(Duration::new(seconds, u32::try_from(time.tv_nsec).ok()?)))
}

/// Returns how long the calling thread has run: not known here.
#[cfg(not(all(target_os = "linux", not(fief_portable))))]
fn thread_time() -> Option<u64> {
    let _ = nanos(Duration::ZERO);
    None
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use fief_core::VirtualClock;

    use super::*;

    #[test]
    fn time_of_a_test_is_charged_as_it_is() {
        let clock = VirtualClock::new();
        let mut meter = Meter::new(&Time::of(Arc::new(clock)));
        assert_eq!([0, 5, 50_000, u64::MAX].map(|wall| meter.lap(wall)), [0, 5, 50_000, u64::MAX]);
    }

    #[test]
    fn a_thread_is_not_charged_for_its_sleep() {
        let time = Time::machine();
        let mut meter = Meter::new(&time);
        let begun = time.now();
        std::thread::sleep(Duration::from_millis(30));
        let wall = time.now() - begun;
        let charged = meter.lap(wall);
        let most = if meter.last.is_some() { wall / 2 } else { CAP };
        assert!(charged <= most, "{charged} of {wall}");
    }

    #[test]
    fn time_that_was_taken_away_is_not_charged() {
        let mut meter = Meter::new(&Time::machine());
        if meter.last.is_none() {
            return; // no thread clock: there is a cap instead
        }
        // 3.5 ms by the thread's clock, and what this takes; an hour by the wall.
        while thread_time() < meter.last.map(|last| last + 3_500_000) {
            std::hint::spin_loop();
        }
        let charged = meter.lap(3_600_000_000_000);
        assert!((3_500_000..3_000_000_000).contains(&charged), "{charged}");
    }

    #[test]
    fn what_is_charged_by_the_wall_is_not_charged_again() {
        let time = Time::machine();
        let mut meter = Meter::new(&time);
        if meter.last.is_none() {
            return; // no thread clock: there is nothing to charge twice
        }
        let begun = time.now();
        assert_eq!(meter.lap(SHORT - 1), SHORT - 1);
        meter.ahead = u64::MAX / 2; // more than it can have run
        assert_eq!(meter.lap((time.now() - begun).max(SHORT)), 0);
        assert_eq!(meter.ahead, 0, "settled by the reading");
    }
}
