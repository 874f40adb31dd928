//! W9: whether a reservation is kept, every second, beside greedy groups of far more weight; ours only.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use fief_io::{Limits, Min, Op};

use super::{Aim, Case, Context, Entrant, Gate, rates::sleep_until};
use crate::{
    cpu::figures::Figure,
    io::{limiters::Tasks, windows::Windows, world::World},
};

const RATE: u64 = 100_000_000;
const MIN: u64 = 30_000_000;
const GREEDY: usize = 9;
const BYTES: u64 = 64 << 10;
/// Each group's.
const TASKS: usize = 4;
const WARM_UP: Duration = Duration::from_secs(1);
const SPAN: Duration = Duration::from_secs(5);

pub(super) fn cases() -> Vec<Case> {
    vec![Case {
        row: "W9",
        name: "30 of 100 MB/s reserved for weight 1, beside nine greedy groups of weight 100"
            .to_owned(),
        gate: Gate::Given,
        aims: vec![("least in a second", Aim::AtLeast(99.0))],
        relative: Vec::new(),
        entrants: vec![Entrant::new("fief", run)],
    }]
}

fn run(context: &Context) -> Result<Vec<Figure>> {
    let world = World::new(|device| device)?;
    let parent = World::group(&world.root, "all")?;
    world.limit(&parent, Limits::new().bps(RATE))?;
    let mut tasks = Tasks::new()?;
    let mut windows = Vec::new();
    for number in 0..=GREEDY {
        let group = World::group(&parent, &number.to_string())?;
        if number == 0 {
            world.weigh(&group, 1)?;
            let css = world.css(&group)?;
            css.set_min(&world.device, Min { bps: MIN, ..Min::default() })?;
        }
        let own = Arc::new(Windows::new(context.span(WARM_UP), context.span(SPAN)));
        windows.push(Arc::clone(&own));
        let stream = world.device.stream(&group)?;
        for _ in 0..TASKS {
            let (stream, own) = (stream.clone(), Arc::clone(&own));
            tasks.spawn(async move {
                loop {
                    drop(stream.acquire(Op::read(BYTES)).await?);
                    own.add(BYTES);
                    tokio::task::consume_budget().await;
                }
            });
        }
    }
    sleep_until(windows[GREEDY].end());
    tasks.end()?;
    let slots = windows[0].windows(1).len().min(100);
    let least = windows[0].windows(slots).into_iter().min().unwrap_or_default();
    let second = MIN as f64 * slots as f64 / 100.0;
    let total: u64 = windows.iter().map(|windows| windows.total()).sum();
    let all = RATE as f64 * windows[0].span().as_secs_f64();
    Ok(vec![
        Figure::new("least in a second", "% of min", 100.0 * least as f64 / second),
        Figure::new("total", "% of the rate", 100.0 * total as f64 / all),
    ])
}
