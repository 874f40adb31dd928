//! How long nothing runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// When something last ran, and for how long nothing did at most.
#[derive(Debug)]
pub struct Stalls {
    origin: Instant,
    last: AtomicU64,
    longest: AtomicU64,
}

impl Stalls {
    /// Returns one that begins now.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let [last, longest] = [const { AtomicU64::new(0) }; 2];
        Arc::new(Self { origin: Instant::now(), last, longest })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).expect("a short run")
    }

    // Ordering: Relaxed from here on: figures; another task's being late to see one makes no difference.

    /// Something begins to run.
    pub fn begin(&self) {
        let gap = self.now().saturating_sub(self.last.load(Ordering::Relaxed));
        self.longest.fetch_max(gap, Ordering::Relaxed);
    }

    /// It has run.
    pub fn end(&self) {
        self.last.fetch_max(self.now(), Ordering::Relaxed);
    }

    /// Forgets what was before.
    pub fn reset(&self) {
        self.longest.store(0, Ordering::Relaxed);
    }

    /// Returns the longest time between the end of something and the next beginning.
    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_from_the_last_end_to_the_next_beginning() {
        let stalls = Stalls::new();
        std::thread::sleep(Duration::from_millis(30));
        let start = Instant::now();
        stalls.begin();
        stalls.end();
        assert!(stalls.longest() >= Duration::from_millis(30), "{stalls:?}");
        stalls.reset();
        std::thread::sleep(Duration::from_millis(5));
        stalls.begin();
        stalls.begin();
        stalls.end();
        let longest = stalls.longest();
        assert!((Duration::from_millis(5)..=start.elapsed()).contains(&longest), "{stalls:?}");
    }
}
