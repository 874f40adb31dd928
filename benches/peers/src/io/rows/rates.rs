//! W4: how exactly a rate is kept, by tasks that always want more.

use std::{sync::Arc, thread, time::Duration};

use anyhow::Result;

use super::{Aim, Case, Context, Gate};
use crate::{
    cpu::{figures::Figure, machine::Meter},
    io::{
        limiters::{Limiter, Plan, Tasks, Trial, entrants},
        windows::Windows,
    },
};

const TASKS: usize = 8;
const WARM_UP: Duration = Duration::from_secs(1);
const SPAN: Duration = Duration::from_secs(2);
/// Fewer operations than these in a span, and one more or less would be too much.
const OPERATIONS: u64 = 5_000;
const MOST: Duration = Duration::from_secs(5);

/// Rates, and operations.
const KINDS: [(u64, u64); 7] = [
    (1_000_000, 1 << 10),
    (10_000_000, 4 << 10),
    (100_000_000, 4 << 10),
    (100_000_000, 64 << 10),
    (600_000_000, 64 << 10),
    (1_500_000_000, 64 << 10),
    (4_000_000_000, 1 << 20),
];

#[derive(Clone, Copy)]
struct Steady {
    rate: u64,
    bytes: u64,
}

pub(super) fn cases() -> Vec<Case> {
    KINDS.map(|(rate, bytes)| case(Steady { rate, bytes })).into()
}

fn case(steady: Steady) -> Case {
    let Steady { rate, bytes } = steady;
    // Within a window of 100 ms: 5 %, and one operation.
    let one = 100.0 * bytes as f64 / (rate as f64 / 10.0);
    let window = (10.0 * (5.0 + one)).round() / 10.0;
    Case {
        row: "W4",
        name: format!(
            "{} MB/s, {TASKS} tasks, operations of {} KiB",
            rate / 1_000_000,
            bytes >> 10
        ),
        gate: Gate::Given,
        aims: vec![("mean error", Aim::Within(0.5)), ("worst 100 ms", Aim::Within(window))],
        relative: Vec::new(),
        entrants: entrants(&steady, false),
    }
}

impl Steady {
    fn span(self) -> Duration {
        let enough = (OPERATIONS * self.bytes) as f64 / self.rate as f64;
        Duration::from_secs_f64(enough).clamp(SPAN, MOST)
    }
}

impl Trial for Steady {
    fn plan(&self) -> Plan {
        Plan { rate: self.rate, tasks: TASKS, largest: self.bytes }
    }

    fn run<L: Limiter>(&self, context: &Context, limiter: &Arc<L>) -> Result<Vec<Figure>> {
        let bytes = self.bytes;
        let windows = Windows::new(context.span(WARM_UP), context.span(self.span()));
        let windows = Arc::new(windows);
        let mut tasks = Tasks::new()?;
        for task in 0..TASKS {
            let (limiter, windows) = (Arc::clone(limiter), Arc::clone(&windows));
            tasks.spawn(async move {
                loop {
                    limiter.take(task, bytes).await?;
                    windows.add(bytes);
                    tokio::task::consume_budget().await;
                }
            });
        }
        sleep_until(windows.start());
        let meter = Meter::default();
        sleep_until(windows.end());
        let time = meter.time();
        tasks.end()?;
        let operations = (windows.total() / bytes).max(1);
        Ok(vec![
            Figure::new("mean error", "%", windows.error(self.rate)),
            Figure::new("worst 100 ms", "%", windows.worst(self.rate, 10)),
            Figure::new("worst 10 ms", "%", windows.worst(self.rate, 1)),
            Figure::new("CPU each", "µs", time.as_secs_f64() * 1e6 / operations as f64),
        ])
    }
}

/// Sleeps until then.
pub(super) fn sleep_until(then: std::time::Instant) {
    thread::sleep(then.saturating_duration_since(std::time::Instant::now()));
}
