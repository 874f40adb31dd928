//! What a pair costs when one, two or more threads do nothing else.
//!
//! Of one thread that is the median of short batches, as in `ratios`. Several run together for a while,
//! and the figure is the time that the processors they had spent on a pair: with what they waited for
//! each other, and no worse for sharing a processor.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use benches::{
    pair::Pair,
    race,
    system::{pinned, processors},
};

/// Pairs of a batch; a pool's consumer lives so long.
const BATCH: u32 = 5_000;
/// How long several threads run: some of a scheduler's slices.
const WINDOW: Duration = Duration::from_millis(20);

/// What one thread did.
struct Part {
    start: Instant,
    end: Instant,
    pairs: u64,
}

/// Returns the nanoseconds of a processor for a pair, with so many threads at it.
#[must_use]
pub fn nanoseconds(pair: &dyn Pair, threads: usize) -> f64 {
    match threads {
        1 => race::nanoseconds(&[pair], BATCH),
        several => shared(&together(pair, several), several.min(processors())),
    }
}

/// Returns the nanoseconds of so many processors for a pair.
fn shared(parts: &[Part], processors: usize) -> f64 {
    let start = parts.iter().map(|part| part.start).min();
    let end = parts.iter().map(|part| part.end).max();
    let (start, end) = start.zip(end).expect("there are threads");
    let pairs: u64 = parts.iter().map(|part| part.pairs).sum();
    (end - start).as_secs_f64() * 1e9 * processors as f64 / pairs as f64
}

/// Runs threads dealt out to the processors, all started together.
fn together(pair: &dyn Pair, threads: usize) -> Vec<Part> {
    let (barrier, is_over) = (&Barrier::new(threads), &AtomicBool::new(false));
    let run = move |number| {
        pinned(number, || {
            // What a thread does once is not in the figure.
            pair.run(BATCH.into());
            barrier.wait();
            part(pair, is_over)
        })
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|number| scope.spawn(move || run(number))).collect();
        let mine = run(0);
        let theirs = others.into_iter().map(|thread| thread.join().expect("no pair panics"));
        std::iter::once(mine).chain(theirs).collect()
    })
}

/// Runs batches until the first thread has done so for the window.
fn part(pair: &dyn Pair, is_over: &AtomicBool) -> Part {
    let start = Instant::now();
    let mut pairs = 0;
    loop {
        pair.run(BATCH.into());
        pairs += u64::from(BATCH);
        let end = Instant::now();
        // Ordering: Relaxed: a flag that guards nothing.
        if is_over.load(Ordering::Relaxed) || end - start >= WINDOW {
            is_over.store(true, Ordering::Relaxed);
            return Part { start, end, pairs };
        }
    }
}
