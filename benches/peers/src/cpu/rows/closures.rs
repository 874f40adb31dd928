//! B14: how long a closure from outside waits beside 64 that spawn themselves again, and whether it runs.

use std::{sync::Arc, thread, time::Duration};

use anyhow::{Result, ensure};

use super::{
    Case, Context, Gate,
    latency::{BATCH, HOGS, Hogs, LIGHT, PATIENCE, WARM_UP},
};
use crate::cpu::{
    arrivals::{SERVICE, arrive},
    figures::{Figure, Latencies},
    load::{Alive, Load},
    system::{Plan, Running, Uses},
    work::Work,
};

const POLL: Duration = Duration::from_micros(100);
const INTERVAL: Duration = Duration::from_millis(2);
const SPAN: Duration = Duration::from_secs(3);

pub(super) fn cases() -> Vec<Case> {
    vec![Case {
        row: "B14",
        name: format!("closures beside {HOGS} that spawn themselves again, {POLL:?} each"),
        plan: Plan::light_and_batch().with(Uses::Closures),
        gate: Gate::Given,
        run: Box::new(run),
    }]
}

/// Works and spawns itself again; a system that refuses ends the chain.
fn again(running: Arc<dyn Running>, alive: Alive) {
    let load = alive.load();
    Work::get().run(POLL);
    load.add(BATCH, u64::try_from(POLL.as_nanos()).expect("a short poll"));
    if !load.is_over() {
        let next = Arc::clone(&running);
        running.spawn_fn(BATCH, Box::new(move || again(next, alive))).ok();
    }
}

fn run(context: &Context, running: &Arc<dyn Running>) -> Result<Vec<Figure>> {
    let (load, waits) = (Load::new(2), Arc::new(Latencies::default()));
    for _ in 0..HOGS {
        let (next, alive) = (Arc::clone(running), load.alive());
        running.spawn_fn(BATCH, Box::new(move || again(next, alive)))?;
    }
    thread::sleep(context.span(WARM_UP));
    let (hogs, mut sent, mut refused) = (Hogs::start(&load), 0_u64, 0_u64);
    let late = arrive(INTERVAL, context.span(SPAN), context.seed, |now| {
        let (alive, waits) = (load.alive(), Arc::clone(&waits));
        let closure = move || {
            waits.record(now.elapsed());
            Work::get().run(SERVICE);
            drop(alive);
        };
        refused += u64::from(running.spawn_fn(LIGHT, Box::new(closure)).is_err());
        sent += 1;
    });
    ensure!(refused == 0, "{refused} closures were refused");
    let hogs = hogs.figures(&load);
    thread::sleep(context.span(PATIENCE));
    let starved = sent.saturating_sub(waits.count());
    // Of none that ran there is no percentile.
    let mut figures = if starved == sent { Vec::new() } else { waits.figures().to_vec() };
    load.finish(|| {})?;
    figures.extend(hogs);
    figures.push(Figure::new("starved", "%", 100.0 * starved as f64 / sent.max(1) as f64));
    figures.push(Figure::new("sender late, p99", "µs", late.micros(0.99)));
    Ok(figures)
}
