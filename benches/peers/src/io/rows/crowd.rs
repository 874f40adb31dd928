//! W6: a thousand who wait: what a grant costs, who gets how many, and how many are woken for it.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;

use super::{Aim, Case, Context, Gate, rates::sleep_until};
use crate::{
    cpu::{figures::Figure, machine::Meter},
    io::{
        limiters::{Limiter, Plan, Tasks, Trial, entrants},
        windows::Windows,
    },
};

const RATE: u64 = 1_000_000;
const BYTES: u64 = 1_000;
const TASKS: usize = 1_000;
/// All have had a turn.
const WARM_UP: Duration = Duration::from_millis(2_500);
/// Eight turns of all.
const SPAN: Duration = Duration::from_secs(8);

#[derive(Clone, Copy)]
struct Crowd;

pub(super) fn cases() -> Vec<Case> {
    vec![Case {
        row: "W6",
        name: "1,000 tasks wait, 1,000 bytes each, 1 MB/s".to_owned(),
        gate: Gate::Given,
        aims: vec![("CPU a grant", Aim::AtMost(8.0)), ("most / fewest", Aim::AtMost(1.3))],
        relative: Vec::new(),
        entrants: entrants(&Crowd, true),
    }]
}

impl Trial for Crowd {
    fn plan(&self) -> Plan {
        Plan { rate: RATE, tasks: TASKS, largest: BYTES }
    }

    fn run<L: Limiter>(&self, context: &Context, limiter: &Arc<L>) -> Result<Vec<Figure>> {
        let windows = Arc::new(Windows::new(context.span(WARM_UP), context.span(SPAN)));
        let polls = Arc::new(AtomicU64::new(0));
        let grants: Arc<[AtomicU64]> = (0..TASKS).map(|_| AtomicU64::new(0)).collect();
        let mut tasks = Tasks::new()?;
        for task in 0..TASKS {
            let (limiter, windows) = (Arc::clone(limiter), Arc::clone(&windows));
            let (polls, grants) = (Arc::clone(&polls), Arc::clone(&grants));
            tasks.spawn(async move {
                loop {
                    let mut take = pin!(limiter.take(task, BYTES));
                    poll_fn(|cx| {
                        polls.fetch_add(1, Ordering::Relaxed);
                        take.as_mut().poll(cx)
                    })
                    .await?;
                    if windows.add(BYTES) {
                        grants[task].fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        // Ordering: Relaxed: sums that nothing depends on.
        sleep_until(windows.start());
        let (meter, before) = (Meter::default(), polls.load(Ordering::Relaxed));
        sleep_until(windows.end());
        let (time, polls) = (meter.time(), polls.load(Ordering::Relaxed) - before);
        tasks.end()?;
        let each: Vec<_> = grants.iter().map(|grants| grants.load(Ordering::Relaxed)).collect();
        let total = each.iter().sum::<u64>().max(1) as f64;
        let most = each.iter().max().copied().unwrap_or_default() as f64;
        let fewest = each.iter().min().copied().unwrap_or_default() as f64;
        Ok(vec![
            Figure::new("CPU a grant", "µs", time.as_secs_f64() * 1e6 / total),
            Figure::new("polls a grant", "", polls as f64 / total),
            Figure::new("most / fewest", "", most / fewest),
            Figure::new("fewest", "", fewest),
            Figure::new("most", "", most),
            Figure::new("mean error", "%", windows.error(RATE)),
        ])
    }
}
