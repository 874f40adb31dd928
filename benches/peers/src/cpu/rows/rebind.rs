//! B13: what rebinding 10,000 groups under load does to those that run.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{Case, Context, Gate};
use crate::cpu::{
    fairness::{share_error, whole},
    figures::Figure,
    load::{Job, Load, give_way},
    stalls::Stalls,
    system::{Group, Plan, Running},
    work::Work,
};

/// Below each of two groups, one task in each.
const LEAVES: usize = 5_000;
const WEIGHTS: [u16; 2] = [100, 400];
const WANTS: [f64; 2] = [0.2, 0.8];
const POLL: Duration = Duration::from_micros(100);
const REBINDS: u32 = 10;
/// What is waited after a rebind, and then looked at.
const WINDOW: Duration = Duration::from_millis(100);
/// How long a task may go without a poll: 5,000 slices of a fifth of a processor, and then some.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn cases() -> Vec<Case> {
    let mut plan = Plan::default();
    let tops = WEIGHTS.map(|weight| plan.add(Group { weight, ..Group::default() }));
    let leaves = tops.map(|top| {
        let group = Group { parent: Some(top), ..Group::default() };
        (0..LEAVES).map(|_| plan.add(group)).collect::<Vec<_>>()
    });
    vec![Case {
        row: "B13",
        name: format!("rebind {} groups that all have work", 2 * LEAVES),
        plan,
        gate: Gate::Given,
        run: Box::new(move |context, running| run(context, running, &leaves)),
    }]
}

/// Counts its polls in a count of its own, and their nanoseconds in its top group's.
fn task(
    [load, polls]: [&Arc<Load>; 2],
    (top, number): (usize, usize),
    stalls: &Arc<Stalls>,
) -> Job {
    let (alive, polls, stalls) = (load.alive(), Arc::clone(polls), Arc::clone(stalls));
    let amount = u64::try_from(POLL.as_nanos()).expect("a short poll");
    Box::pin(async move {
        while !alive.load().is_over() {
            stalls.begin();
            Work::get().run(POLL);
            stalls.end();
            alive.load().add(top, amount);
            polls.add(number, 1);
            give_way().await;
        }
    })
}

fn run(
    context: &Context,
    running: &Arc<dyn Running>,
    leaves: &[Vec<usize>; 2],
) -> Result<Vec<Figure>> {
    let (load, polls, stalls) = (Load::new(2), Load::new(2 * LEAVES), Stalls::new());
    for (top, leaves) in leaves.iter().enumerate() {
        for (number, leaf) in leaves.iter().enumerate() {
            let place = (top, top * LEAVES + number);
            running.spawn(*leaf, task([&load, &polls], place, &stalls))?;
        }
    }
    let can_rebind = running.twin()?;
    let [mut took, mut pause, mut usual] = [Duration::ZERO; 3];
    let mut error = 0.0_f64;
    for _ in 0..context.times(if can_rebind { REBINDS } else { 0 }) {
        stalls.reset();
        thread::sleep(WINDOW);
        usual = usual.max(stalls.longest());
        stalls.reset();
        let start = Instant::now();
        running.rebind()?;
        took = took.max(start.elapsed());
        thread::sleep(WINDOW);
        pause = pause.max(stalls.longest());
        let samples = load.windows(WINDOW, 1);
        error = error.max(share_error(&whole(&samples), &WANTS));
    }
    let lost = if can_rebind { standing(&polls) } else { 0 };
    load.finish(|| {})?;
    if !can_rebind {
        return Ok(Vec::new());
    }
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(vec![
        Figure::new("rebind", "ms", millis(took)),
        Figure::new("longest pause around it", "ms", millis(pause)),
        Figure::new("without", "ms", millis(usual)),
        Figure::new("share error 100 ms later", "%", error),
        Figure::new("tasks lost", "", f64::from(lost)),
    ])
}

/// Returns how many tasks are not polled any more.
fn standing(polls: &Load) -> u32 {
    let (start, before) = (Instant::now(), polls.sample());
    loop {
        thread::sleep(WINDOW);
        let after = polls.sample();
        let still = before.iter().zip(&after).filter(|(before, after)| before == after).count();
        if still == 0 || start.elapsed() > PATIENCE {
            return u32::try_from(still).unwrap_or(u32::MAX);
        }
    }
}
