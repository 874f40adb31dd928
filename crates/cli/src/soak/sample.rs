//! How long single reference operations take.
//!
//! Every [`SAMPLE_EVERY`]th operation of a kind is timed, so that reading the clock does not
//! dominate the work. What the clock itself takes, the median of many empty measurements, is
//! subtracted from each. Two yardsticks are timed on the same threads at the same moments: a clone
//! of an [`Arc`] that all workers share, and nothing at all, which shows what the machine adds.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::sync::Arc;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// `Css::try_get_online`.
    TryGet,
    /// `CssRef::clone`.
    Clone,
    /// `CssRef::drop`.
    Drop,
    /// Yardstick: `Arc::clone`.
    ArcClone,
    /// Yardstick: two looks at the clock with nothing between them.
    Nothing,
}

/// Histograms of nanoseconds, one for each [`Op`].
#[derive(Debug)]
pub(crate) struct Latencies([Histogram<u64>; Op::ALL.len()]);

/// Times some of a thread's operations.
#[derive(Debug)]
pub(crate) struct Sampler {
    clock: Duration,
    until_next: [u32; Op::ALL.len()],
    latencies: Latencies,
    yardstick: Arc<()>,
}

impl Op {
    pub(crate) const ALL: [Self; 5] =
        [Self::TryGet, Self::Clone, Self::Drop, Self::ArcClone, Self::Nothing];

    /// The operations on references.
    pub(crate) const REFERENCES: [Self; 3] = [Self::TryGet, Self::Clone, Self::Drop];
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(Op::ALL.map(|_| {
            let digits = 3;
            Histogram::new(digits).expect("three significant digits are within the limits")
        }))
    }

    pub(crate) fn of(&self, op: Op) -> &Histogram<u64> {
        &self.0[op as usize]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, part) in self.0.iter_mut().zip(&other.0) {
            sum.add(part).expect("a histogram that grows takes every value");
        }
    }

    /// The slowest operation on a reference, in nanoseconds; `None` if none was timed.
    pub(crate) fn slowest_reference(&self) -> Option<u64> {
        let timed = Op::REFERENCES.map(|op| self.of(op));
        timed.iter().filter(|times| !times.is_empty()).map(|times| times.max()).max()
    }

    fn record(&mut self, op: Op, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(LONGEST).min(LONGEST);
        self.0[op as usize].record(nanoseconds).expect("a histogram that grows takes an hour");
    }
}

impl Sampler {
    /// A sampler that takes `clock` off each measurement and clones `yardstick`.
    pub(crate) fn new(clock: Duration, yardstick: &Arc<()>) -> Self {
        let yardstick = Arc::clone(yardstick);
        let until_next = [SAMPLE_EVERY; Op::ALL.len()];
        Self { clock, until_next, latencies: Latencies::new(), yardstick }
    }

    /// Runs `operation`, and times it if it is its turn.
    pub(crate) fn time<T>(&mut self, op: Op, operation: impl FnOnce() -> T) -> T {
        let until_next = &mut self.until_next[op as usize];
        *until_next -= 1;
        if *until_next > 0 {
            return operation();
        }
        *until_next = SAMPLE_EVERY;
        let result = self.time_now(op, operation);
        let yardstick = Arc::clone(&self.yardstick);
        drop(self.time_now(Op::ArcClone, || Arc::clone(&yardstick)));
        self.time_now(Op::Nothing, || ());
        result
    }

    pub(crate) fn into_latencies(self) -> Latencies {
        self.latencies
    }

    fn time_now<T>(&mut self, op: Op, operation: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = operation();
        let time = start.elapsed();
        self.latencies.record(op, time.saturating_sub(self.clock));
        result
    }
}

/// How long two looks at the clock are apart, when nothing stands between them.
pub(crate) fn clock_overhead() -> Duration {
    let mut times: Vec<Duration> = (0..10_001).map(|_| Instant::now().elapsed()).collect();
    let middle = times.len() / 2;
    *times.select_nth_unstable(middle).1
}

/// Of how many operations of a kind one is timed.
pub(crate) const SAMPLE_EVERY: u32 = 16;

/// The longest time told apart from longer ones, in nanoseconds: an hour.
const LONGEST: u64 = 3_600_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler() -> Sampler {
        Sampler::new(Duration::ZERO, &Arc::new(()))
    }

    #[test]
    fn one_of_many_is_timed_and_all_are_run() {
        let mut sampler = sampler();
        let mut runs = 0;
        for _ in 0..3 * SAMPLE_EVERY {
            sampler.time(Op::Clone, || runs += 1);
        }
        let latencies = sampler.into_latencies();
        assert_eq!(runs, 3 * SAMPLE_EVERY);
        assert_eq!(latencies.of(Op::Clone).len(), 3);
        assert_eq!(latencies.of(Op::ArcClone).len(), 3);
        assert_eq!(latencies.of(Op::Drop).len(), 0);
    }

    #[test]
    fn the_slowest_is_that_of_references_only() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.slowest_reference(), None);
        latencies.record(Op::Nothing, Duration::from_nanos(900));
        assert_eq!(latencies.slowest_reference(), None);
        latencies.record(Op::TryGet, Duration::from_nanos(20));
        latencies.record(Op::Drop, Duration::from_nanos(70));
        assert_eq!(latencies.slowest_reference(), Some(70));
    }

    #[test]
    fn histograms_add_up() {
        let (mut sum, mut part) = (Latencies::new(), Latencies::new());
        sum.record(Op::Drop, Duration::from_nanos(1));
        part.record(Op::Drop, Duration::from_secs(3600));
        sum.add(&part);
        assert_eq!(sum.of(Op::Drop).len(), 2);
        assert!(sum.of(Op::Drop).max() >= 3_599_000_000_000);
    }

    #[test]
    fn the_order_of_all_is_that_of_the_indexes() {
        for (index, op) in Op::ALL.into_iter().enumerate() {
            assert_eq!(op as usize, index);
        }
    }
}
