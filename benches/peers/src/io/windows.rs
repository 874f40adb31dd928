//! Bytes by the time at which they were let through, and how far windows are from what they should be.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// The narrowest window.
const SLOT: Duration = Duration::from_millis(10);

/// Bytes of each 10 ms of a span that begins later. What comes before or after is not counted, and an empty
/// window counts as empty.
#[derive(Debug)]
pub struct Windows {
    start: Instant,
    slots: Vec<AtomicU64>,
}

impl Windows {
    /// Begins after `delay`, for `span`, which is rounded up to whole windows of 100 ms.
    #[must_use]
    pub fn new(delay: Duration, span: Duration) -> Self {
        let tenths = span.as_millis().div_ceil(100).max(1);
        let slots = (0..10 * tenths).map(|_| AtomicU64::new(0)).collect();
        Self { start: Instant::now() + delay, slots }
    }

    /// Adds bytes that are let through now; returns whether they count.
    pub fn add(&self, bytes: u64) -> bool {
        let Some(since) = Instant::now().checked_duration_since(self.start) else { return false };
        let number = usize::try_from(since.as_nanos() / SLOT.as_nanos()).unwrap_or(usize::MAX);
        let Some(slot) = self.slots.get(number) else { return false };
        // Ordering: Relaxed: a sum that is read once nobody adds any more.
        slot.fetch_add(bytes, Ordering::Relaxed);
        true
    }

    /// Returns when the span ends.
    #[must_use]
    pub fn end(&self) -> Instant {
        self.start + self.span()
    }

    /// Returns when it begins.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Returns how long it is.
    #[must_use]
    pub fn span(&self) -> Duration {
        SLOT * u32::try_from(self.slots.len()).expect("a short span")
    }

    /// Returns the bytes of windows of so many slots, the rest at the end left out.
    #[must_use]
    pub fn windows(&self, slots: usize) -> Vec<u64> {
        // Ordering: Relaxed: as in `add`.
        let sum = |slots: &[AtomicU64]| slots.iter().map(|slot| slot.load(Ordering::Relaxed)).sum();
        self.slots.chunks_exact(slots).map(sum).collect()
    }

    /// Returns all bytes of the span.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.windows(1).iter().sum()
    }

    /// Returns how far the span is from a rate, in per cent.
    #[must_use]
    pub fn error(&self, rate: u64) -> f64 {
        percent(self.total() as f64, rate as f64 * self.span().as_secs_f64())
    }

    /// Returns how far the window of so many slots that is farthest from a rate is from it, in per cent.
    #[must_use]
    pub fn worst(&self, rate: u64, slots: usize) -> f64 {
        let seconds = SLOT.as_secs_f64() * slots as f64;
        let each = self.windows(slots).into_iter();
        worst(each.map(|bytes| percent(bytes as f64, rate as f64 * seconds)))
    }
}

/// Returns by how much `value` is more than `expected`, in per cent.
#[must_use]
pub fn percent(value: f64, expected: f64) -> f64 {
    100.0 * (value / expected - 1.0)
}

/// Returns what is farthest from 0.
#[must_use]
pub fn worst(errors: impl Iterator<Item = f64>) -> f64 {
    errors.fold(0.0, |worst, error| if error.abs() > f64::abs(worst) { error } else { worst })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(slots: Vec<u64>) -> Windows {
        let slots = slots.into_iter().map(AtomicU64::new).collect();
        Windows { start: Instant::now(), slots }
    }

    #[test]
    fn the_mean_hides_what_windows_show() {
        let mut slots = vec![10; 20];
        (slots[3], slots[4]) = (15, 5);
        (slots[12], slots[13]) = (0, 10);
        let windows = of(slots);
        let round = |error: f64| error.round();
        // 190 of 200; one window of 90 among two; nothing at all in a slot.
        assert_eq!(round(windows.error(1_000)), -5.0);
        assert_eq!(round(windows.worst(1_000, 10)), -10.0);
        assert_eq!(round(windows.worst(1_000, 1)), -100.0);
    }

    #[test]
    fn what_is_not_within_the_span_does_not_count() {
        let later = Windows::new(Duration::from_secs(60), Duration::from_millis(1));
        assert!(!later.add(1), "it has not begun");
        assert_eq!((later.total(), later.span()), (0, Duration::from_millis(100)));
        let now = Windows::new(Duration::ZERO, Duration::from_secs(60));
        assert!(now.add(7));
        assert_eq!(now.total(), 7);
    }
}
