//! B10: what a checkpoint costs a thread that nobody waits for, and how soon one gives way to another.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use benches::system::processors;

use super::{
    Case, Context, Gate,
    latency::{BATCH, LIGHT},
};
use crate::cpu::{
    arrivals::{SERVICE, arrive},
    figures::{Figure, Latencies},
    load::Load,
    system::{Plan, Running},
    work::Work,
};

/// Checkpoints in a row.
const TIMES: u32 = 50_000_000;
/// Work between two checkpoints of a thread that others wait for.
const CHUNK: Duration = Duration::from_micros(1);
const INTERVAL: Duration = Duration::from_millis(5);
const SPAN: Duration = Duration::from_secs(5);

pub(super) fn cases() -> Vec<Case> {
    vec![Case {
        row: "B10",
        name: format!("checkpoints of blocking threads, every {CHUNK:?}"),
        plan: Plan::light_and_batch(),
        gate: Gate::Given,
        run: Box::new(run),
    }]
}

fn run(context: &Context, running: &Arc<dyn Running>) -> Result<Vec<Figure>> {
    let times = context.times(TIMES);
    let Some(time) = running.checkpoints(BATCH, times)? else { return Ok(Vec::new()) };
    let (load, waits) = (Load::new(1), Latencies::default());
    let late = thread::scope(|scope| {
        let hog = || {
            running.lease(BATCH, &mut |checkpoint| {
                while !load.is_over() {
                    Work::get().run(CHUNK);
                    checkpoint();
                }
            })
        };
        let hogs: Vec<_> = (0..processors()).map(|_| scope.spawn(hog)).collect();
        let mut refused = Ok(());
        let late = arrive(INTERVAL, context.span(SPAN), context.seed, |_| {
            let start = Instant::now();
            let turn = running.lease(LIGHT, &mut |_| {
                waits.record(start.elapsed());
                Work::get().run(SERVICE);
            });
            if turn.is_err() {
                refused = turn;
            }
        });
        load.finish(|| {})?;
        for hog in hogs {
            hog.join().expect("a hog does not panic")?;
        }
        refused.map(|()| late)
    })?;
    let mut figures =
        vec![Figure::new("checkpoint", "ns", time.as_secs_f64() * 1e9 / f64::from(times))];
    figures.extend(waits.figures());
    figures.push(Figure::new("sender late, p99", "µs", late.micros(0.99)));
    Ok(figures)
}
