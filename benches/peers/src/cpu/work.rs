//! Work of a known size: a loop that was timed once by the processor time of a thread.
//!
//! Spinning on a wall clock would do less work where the machine takes the processor away, and so hide
//! exactly what is to be measured.
//! The loop does the same work wherever it runs; its size is in nanoseconds of this machine, undisturbed.

use std::{hint::black_box, sync::OnceLock, time::Duration};

use benches::{statistic::Sample, system::thread_time};

/// Batches that are timed, and their rounds.
const BATCHES: usize = 101;
const ROUNDS: u64 = 50_000;

/// How long a round of the loop takes.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    rounds_per_nanosecond: f64,
}

impl Work {
    /// Returns the work of this machine, which is timed at the first call: some 10 ms.
    #[must_use]
    pub fn get() -> Self {
        static WORK: OnceLock<Work> = OnceLock::new();
        *WORK.get_or_init(Self::calibrate)
    }

    /// Times the loop: a low percentile of many short batches, as others can only add to one.
    fn calibrate() -> Self {
        let time = |_| {
            let start = thread_time();
            rounds(ROUNDS);
            (thread_time() - start).as_secs_f64() * 1e9
        };
        let fast = Sample::new((0..BATCHES).map(time).collect()).percentile(10);
        Self { rounds_per_nanosecond: ROUNDS as f64 / fast.max(1.0) }
    }

    /// Does work that takes the processor for `time`.
    #[inline]
    pub fn run(self, time: Duration) {
        rounds(self.rounds(time));
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive number of rounds"
    )]
    fn rounds(self, time: Duration) -> u64 {
        (time.as_nanos() as f64 * self.rounds_per_nanosecond) as u64
    }

    /// Returns the nanoseconds of processor time that work of this size takes here and now.
    #[must_use]
    pub fn cost(self, time: Duration) -> f64 {
        let times = u32::try_from(Duration::from_millis(20).as_nanos() / time.as_nanos().max(1))
            .expect("few")
            .max(1);
        let start = thread_time();
        (0..times).for_each(|_| self.run(time));
        (thread_time() - start).as_secs_f64() * 1e9 / f64::from(times)
    }
}

/// Runs the loop: each round needs the one before.
fn rounds(count: u64) {
    let mut state = black_box(0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    black_box(state);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_time_is_more_work() {
        let work = Work::get();
        let rounds = [1, 10, 100, 1000].map(|micros| work.rounds(Duration::from_micros(micros)));
        assert!(rounds.is_sorted_by(|a, b| a < b), "{rounds:?}");
        assert!(rounds[3].abs_diff(1000 * rounds[0]) <= 1000, "{rounds:?}");
    }

    #[test]
    fn work_takes_about_as_long_as_it_says() {
        // The fastest of many: what others do meanwhile only adds.
        let cost = |micros| {
            let costs = (0..20).map(|_| Work::get().cost(Duration::from_micros(micros)));
            costs.fold(f64::INFINITY, f64::min)
        };
        let [short, long] = [cost(100), cost(1000)];
        assert!((50_000.0..200_000.0).contains(&short), "{short} ns");
        assert!((5.0..20.0).contains(&(long / short)), "{long} ns and {short} ns");
    }
}
