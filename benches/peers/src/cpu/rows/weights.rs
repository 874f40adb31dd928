//! B5, B6: how far the shares of two groups are from their weights, with all of the CPU and with a quarter.

use std::{sync::Arc, thread, time::Duration};

use anyhow::Result;

use super::{Case, Context, Gate};
use crate::cpu::{
    fairness::{share_error, whole, worst_window},
    figures::Figure,
    load::{Load, hog},
    machine::{Competition, Meter, percent},
    system::{Group, Plan, Running},
};

/// Tasks of each group.
const TASKS: usize = 8;
const WARM_UP: Duration = Duration::from_millis(500);
const WINDOW: Duration = Duration::from_millis(100);
const WINDOWS: u32 = 20;

/// Weights of two groups, and their polls in µs.
const KINDS: [([u16; 2], [u64; 2]); 3] =
    [([100, 100], [20, 300]), ([100, 400], [100, 100]), ([400, 100], [50, 500])];

/// Who else is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    None,
    ThreeQuarters,
}

pub(super) fn cases() -> Vec<Case> {
    let full = [1, 3, 8]
        .into_iter()
        .flat_map(|depth| KINDS.into_iter().map(move |kind| case("B5", kind, depth, Others::None)));
    let quarter = [1, 3].into_iter().flat_map(|depth| {
        KINDS.into_iter().map(move |kind| case("B6", kind, depth, Others::ThreeQuarters))
    });
    full.chain(quarter).collect()
}

fn case(
    row: &'static str,
    (weights, polls): ([u16; 2], [u64; 2]),
    depth: usize,
    others: Others,
) -> Case {
    let mut plan = Plan::default();
    let tops = weights.map(|weight| plan.add(Group { weight, ..Group::default() }));
    let leaves = tops.map(|top| plan.chain(top, depth - 1));
    let total = f64::from(weights[0] + weights[1]);
    let wants = weights.map(|weight| f64::from(weight) / total);
    let [first, second] = weights.map(|weight| weight / 100);
    let note = if others == Others::None { "" } else { ", a quarter of the CPU" };
    Case {
        row,
        name: format!(
            "weights {first}:{second}, polls of {} and {} µs, depth {depth}{note}",
            polls[0], polls[1]
        ),
        plan,
        gate: if others == Others::None { Gate::Given } else { Gate::Exempt },
        run: Box::new(move |context, running| {
            let jobs = Jobs { leaves, polls: polls.map(Duration::from_micros), wants };
            run(context, running, &jobs, others)
        }),
    }
}

struct Jobs {
    leaves: [usize; 2],
    polls: [Duration; 2],
    wants: [f64; 2],
}

fn run(
    context: &Context,
    running: &Arc<dyn Running>,
    jobs: &Jobs,
    others: Others,
) -> Result<Vec<Figure>> {
    let load = Load::new(2);
    for _ in 0..TASKS {
        for number in 0..2 {
            running.spawn(jobs.leaves[number], hog(&load, number, jobs.polls[number]))?;
        }
    }
    let meter = Meter::default();
    let competition = match others {
        Others::None => None,
        Others::ThreeQuarters => Some(Competition::start(running)?),
    };
    thread::sleep(context.span(WARM_UP));
    let samples = load.windows(WINDOW, context.times(WINDOWS));
    let (time, wall) = (meter.time(), meter.wall());
    let competed = competition.map(Competition::end).unwrap_or_default();
    load.finish(|| {})?;
    Ok(vec![
        Figure::new("share error", "%", share_error(&whole(&samples), &jobs.wants)),
        Figure::new("worst 100 ms", "%", worst_window(&samples, &jobs.wants)),
        Figure::new("CPU used", "%", percent(time.saturating_sub(competed), wall)),
    ])
}
