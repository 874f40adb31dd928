//! W5: one task with large operations beside eight with small ones, all with the same claim.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{Aim, Case, Context, Gate, rates::sleep_until};
use crate::{
    cpu::figures::{Figure, Latencies},
    io::{
        limiters::{Limiter, Plan, Tasks, Trial, entrants},
        windows::Windows,
    },
};

const RATE: u64 = 10_000_000;
const LARGE: u64 = 1 << 20;
const SMALL: u64 = 4 << 10;
/// Tasks with small operations; the one with large ones comes after them.
const OTHERS: usize = 8;
const WARM_UP: Duration = Duration::from_secs(1);
const SPAN: Duration = Duration::from_secs(8);

#[derive(Clone, Copy)]
struct Beside;

/// What was let through.
#[derive(Debug, Default)]
struct Seen {
    /// Bytes of small operations, ever.
    small: AtomicU64,
    /// The same, each time that a large one was let through.
    at_large: Mutex<Vec<u64>>,
    /// What small ones waited, once the span has begun.
    waits: Latencies,
}

pub(super) fn cases() -> Vec<Case> {
    vec![Case {
        row: "W5",
        name: "1 MiB beside eight tasks with 4 KiB, 10 MB/s".to_owned(),
        gate: Gate::Given,
        aims: vec![
            ("large, of its fair share", Aim::Around(100.0, 5.0)),
            ("4 KiB waits, p99", Aim::AtMost(15.0)),
        ],
        relative: Vec::new(),
        entrants: entrants(&Beside, true),
    }]
}

impl Trial for Beside {
    fn plan(&self) -> Plan {
        Plan { rate: RATE, tasks: OTHERS + 1, largest: LARGE }
    }

    fn run<L: Limiter>(&self, context: &Context, limiter: &Arc<L>) -> Result<Vec<Figure>> {
        let windows = Arc::new(Windows::new(context.span(WARM_UP), context.span(SPAN)));
        let seen = Arc::new(Seen::default());
        let mut tasks = Tasks::new()?;
        for task in 0..=OTHERS {
            let (limiter, seen) = (Arc::clone(limiter), Arc::clone(&seen));
            let windows = Arc::clone(&windows);
            tasks.spawn(async move {
                loop {
                    let start = Instant::now();
                    let bytes = if task == OTHERS { LARGE } else { SMALL };
                    limiter.take(task, bytes).await?;
                    seen.note(bytes, windows.add(bytes), start);
                    tokio::task::consume_budget().await;
                }
            });
        }
        sleep_until(windows.end());
        tasks.end()?;
        let fair = 1.0 / (OTHERS + 1) as f64;
        let expected = RATE as f64 * windows.span().as_secs_f64();
        let small = (seen.waits.count() * SMALL) as f64 / expected;
        let mut figures = vec![
            Figure::new("large, of its fair share", "%", 100.0 * seen.share() / fair),
            Figure::new("small, of their fair share", "%", 100.0 * small / (1.0 - fair)),
            Figure::new("total, of the rate", "%", 100.0 + windows.error(RATE)),
        ];
        if seen.waits.count() > 0 {
            let waits = [("4 KiB waits, p50", 0.5), ("4 KiB waits, p99", 0.99), ("max", 1.0)];
            let millis = |quantile| seen.waits.micros(quantile) / 1e3;
            figures.extend(waits.map(|(name, at)| Figure::new(name, "ms", millis(at))));
        }
        Ok(figures)
    }
}

impl Seen {
    fn note(&self, bytes: u64, is_counted: bool, start: Instant) {
        // Ordering: Relaxed: sums that nothing depends on.
        if bytes == SMALL {
            self.small.fetch_add(bytes, Ordering::Relaxed);
            if is_counted {
                self.waits.record(start.elapsed());
            }
        } else if is_counted {
            let small = self.small.load(Ordering::Relaxed);
            self.at_large.lock().unwrap_or_else(PoisonError::into_inner).push(small);
        }
    }

    /// Returns the large ones' share, from the first of them to the last: a span of whole operations.
    fn share(&self) -> f64 {
        let at = self.at_large.lock().unwrap_or_else(PoisonError::into_inner);
        let [first, .., last] = at[..] else { return 0.0 };
        let large = ((at.len() - 1) as u64 * LARGE) as f64;
        large / (large + (last - first) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_whole_operations() {
        let seen = Seen::default();
        assert_eq!(seen.share(), 0.0);
        let start = Instant::now();
        seen.note(LARGE, true, start);
        for _ in 0..2 * LARGE / SMALL {
            seen.note(SMALL, true, start);
        }
        assert_eq!(seen.share(), 0.0, "one says nothing");
        seen.note(LARGE, true, start);
        seen.note(SMALL, true, start);
        assert!((seen.share() - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(seen.waits.count(), 2 * LARGE / SMALL + 1);
    }
}
