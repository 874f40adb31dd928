//! One way of reading or writing, at every depth.

use std::{
    fmt, io,
    os::unix::fs::FileExt as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use hdrhistogram::Histogram;

use crate::sync::{Count, Flag, thread};

use super::target::{BLOCK, Buffer, Target};

/// The depths: how many operations are in flight.
pub(super) const DEPTHS: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];

/// The ways, of each direction: random and sequential small operations, and large ones.
pub(super) const WAYS: [Way; 6] = [
    Way { direction: Direction::Read, order: Order::Random, bytes: BLOCK },
    Way { direction: Direction::Read, order: Order::Sequential, bytes: BLOCK },
    Way { direction: Direction::Read, order: Order::Sequential, bytes: LARGE },
    Way { direction: Direction::Write, order: Order::Random, bytes: BLOCK },
    Way { direction: Direction::Write, order: Order::Sequential, bytes: BLOCK },
    Way { direction: Direction::Write, order: Order::Sequential, bytes: LARGE },
];

/// What large operations have.
pub(super) const LARGE: usize = 256 << 10;

/// How many runs count at each depth; one before them does not.
const RUNS: u32 = 10;

/// What has to come for a depth to be worth it: a tenth more.
const WORTH: f64 = 1.1;

/// A way of using a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) direction: Direction,
    pub(super) order: Order,
    pub(super) bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Random,
    Sequential,
}

/// What was measured of a way.
#[derive(Debug)]
pub(super) struct Sweep {
    pub(super) way: Way,
    /// Of each depth.
    pub(super) points: Vec<Point>,
}

/// What was measured at a depth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) depth: u32,
    /// Operations a second, that nine in ten runs reach.
    pub(super) rate: f64,
    /// How long operations took.
    pub(super) median: Duration,
    pub(super) p99: Duration,
}

impl Sweep {
    /// Measures all depths, each for so long.
    pub(super) fn run(target: &Target, way: Way, time: Duration) -> Result<Self> {
        let points = DEPTHS.into_iter().map(|depth| measure(target, way, depth, time));
        Ok(Self { way, points: points.collect::<Result<_>>()? })
    }

    /// Returns the last point that brought a tenth more than all before.
    pub(super) fn knee(&self) -> Point {
        let mut points = self.points.iter().copied();
        let first = points.next().unwrap_or(Point::NOTHING);
        let (mut knee, mut best) = (first, first.rate);
        for point in points {
            if point.rate > best && point.rate >= best * WORTH {
                knee = point;
            }
            best = best.max(point.rate);
        }
        knee
    }
}

impl Point {
    const NOTHING: Self = Self { depth: 1, rate: 0.0, median: Duration::ZERO, p99: Duration::ZERO };
}

/// Measures one depth.
fn measure(target: &Target, way: Way, depth: u32, time: Duration) -> Result<Point> {
    let (done, next, stop) = (Count::default(), Count::default(), Flag::default());
    let mut rates = Vec::new();
    let mut took = Histogram::<u64>::new(3)?;
    thread::scope(|scope| -> Result<()> {
        let work = |seed| work(target, way, seed, [&done, &next], &stop);
        let workers: Vec<_> = (0..depth)
            .map(|seed| {
                let spawned = thread::Builder::new().spawn_scoped(scope, move || work(seed));
                spawned.inspect_err(|_| stop.raise()).context("cannot start a thread")
            })
            .collect::<Result<_>>()?;
        for run in 0..=RUNS {
            let (start, before) = (Instant::now(), done.get());
            thread::sleep(time / (RUNS + 1));
            let seconds = start.elapsed().as_secs_f64();
            if run > 0 {
                rates.push(as_f64(done.get() - before) / seconds);
            }
        }
        stop.raise();
        for worker in workers {
            let own = worker.join().map_err(|_| anyhow!("a thread panicked"))??;
            took.add(own)?;
        }
        Ok(())
    })?;
    let at = |quantile| Duration::from_nanos(took.value_at_quantile(quantile));
    Ok(Point { depth, rate: low(rates), median: at(0.5), p99: at(0.99) })
}

/// Reads or writes until it is to stop; returns how long operations took.
fn work(
    target: &Target,
    way: Way,
    seed: u32,
    [done, next]: [&Count; 2],
    stop: &Flag,
) -> Result<Histogram<u64>> {
    let mut random = fastrand::Rng::with_seed(u64::from(seed));
    let mut took = Histogram::<u64>::new(3)?;
    let mut buffer = Buffer::new(way.bytes);
    let places = (target.bytes / way.bytes as u64).max(1);
    while !stop.is_raised() {
        let place = match way.order {
            Order::Random => random.u64(..places),
            Order::Sequential => next.next() % places,
        };
        let (at, start) = (place * way.bytes as u64, Instant::now());
        let result: io::Result<()> = match way.direction {
            Direction::Read => target.file.read_exact_at(buffer.get(), at),
            Direction::Write => target.file.write_all_at(buffer.get(), at),
        };
        if let Err(error) = result {
            stop.raise();
            return Err(error.into());
        }
        took.record(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))?;
        done.add(1);
    }
    Ok(took)
}

/// Returns what nine in ten reach.
fn low(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len().div_ceil(10).saturating_sub(1)).copied().unwrap_or_default()
}

pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Read => "reads",
            Direction::Write => "writes",
        };
        let order = match self.order {
            Order::Random => "random",
            Order::Sequential => "sequential",
        };
        write!(f, "{order} {direction} of {} KiB", self.bytes >> 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knee(rates: [f64; 7]) -> u32 {
        let points = DEPTHS.into_iter().zip(rates);
        let points = points.map(|(depth, rate)| Point { depth, rate, ..Point::NOTHING }).collect();
        Sweep { way: WAYS[0], points }.knee().depth
    }

    #[test]
    fn the_knee_is_the_last_depth_that_brought_a_tenth_more() {
        assert_eq!(knee([100.0; 7]), 1);
        assert_eq!(knee([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]), 64);
        assert_eq!(knee([100.0, 190.0, 209.1, 215.0, 216.0, 216.0, 216.0]), 4);
        assert_eq!(knee([100.0, 190.0, 208.0, 215.0, 216.0, 216.0, 216.0]), 2, "a tenth, not less");
        assert_eq!(
            knee([100.0, 200.0, 100.0, 150.0, 219.0, 219.0, 100.0]),
            2,
            "no more than before"
        );
        assert_eq!(knee([0.0; 7]), 1);
    }

    #[test]
    fn what_nine_in_ten_reach_is_the_second_of_twenty() {
        assert!((low((1..=20).rev().map(f64::from).collect()) - 2.0).abs() < 1e-9);
        assert!((low((1..=10).map(f64::from).collect()) - 1.0).abs() < 1e-9);
        assert!(low(Vec::new()).abs() < 1e-9);
    }
}
