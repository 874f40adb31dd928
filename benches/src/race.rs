//! Threads that start together, each with its own clock.

use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use crate::{pair::Pair, statistic::median, system::pinned};

/// Pairs before the start.
const WARM_UP: u64 = 64;
/// Batches of a figure; an odd number, so that the median is one of them.
const BATCHES: usize = 21;

/// Times `pairs` pairs on each thread, of one for each of `pairs_by_thread`; returns the mean.
pub fn timed(each: &[&dyn Pair], pairs: u64) -> Duration {
    let total: Duration = together(each, |pair| alone(pair, pairs)).into_iter().sum();
    total / u32::try_from(each.len()).expect("few threads")
}

/// Returns the nanoseconds of one pair: medians of short batches, and the mean of the threads'.
///
/// Batches are shorter than a scheduler's slice, so that a preemption spoils few of them.
pub fn nanoseconds(each: &[&dyn Pair], pairs: u32) -> f64 {
    let batches = |pair: &dyn Pair| {
        let time = |_| alone(pair, pairs.into()).as_secs_f64() * 1e9 / f64::from(pairs);
        median(&(0..BATCHES).map(time).collect::<Vec<_>>())
    };
    together(each, batches).iter().sum::<f64>() / each.len() as f64
}

/// Runs `work` on a thread for each pair, all started together; one is the calling thread.
///
/// Several threads have a processor each: the scheduler could put two on one for a while, and they
/// would be measured one after the other.
fn together<R: Send>(each: &[&dyn Pair], work: impl Fn(&dyn Pair) -> R + Sync) -> Vec<R> {
    let barrier = Barrier::new(each.len());
    let run = &|pair: &dyn Pair| {
        // What a thread does once is not in the figure.
        pair.run(WARM_UP);
        barrier.wait();
        work(pair)
    };
    let Some((first, others)) = each.split_first() else { return Vec::new() };
    if others.is_empty() {
        return vec![run(*first)];
    }
    thread::scope(|scope| {
        let numbered = (1..).zip(others);
        let handles: Vec<_> = numbered
            .map(|(number, pair)| scope.spawn(move || pinned(number, || run(*pair))))
            .collect();
        let mine = pinned(0, || run(*first));
        let theirs = handles.into_iter().map(|handle| handle.join().expect("no pair panics"));
        std::iter::once(mine).chain(theirs).collect()
    })
}

fn alone(pair: &dyn Pair, pairs: u64) -> Duration {
    let start = Instant::now();
    pair.run(pairs);
    start.elapsed()
}
