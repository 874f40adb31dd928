//! B12: whether processors stay busy where few groups have work, or the heaviest has little.

use std::{sync::Arc, thread, time::Duration};

use anyhow::Result;

use super::{Case, Context, Gate};
use crate::cpu::{
    figures::Figure,
    load::{Load, hog},
    machine::{Meter, percent},
    system::{Group, Plan, Running},
};

const POLL: Duration = Duration::from_micros(100);
const WARM_UP: Duration = Duration::from_millis(300);
const SPAN: Duration = Duration::from_secs(2);

pub(super) fn cases() -> Vec<Case> {
    let case = |name: &str, weights: &[u16], tasks: &'static [usize]| Case {
        row: "B12",
        name: name.to_owned(),
        plan: Plan::flat(
            weights.iter().map(|weight| Group { weight: *weight, ..Group::default() }),
        ),
        gate: Gate::Given,
        run: Box::new(move |context, running| run(context, running, tasks)),
    };
    vec![
        case("one of 100 groups is busy", &[100; 100], &[8]),
        case("90 % of the weight has one task", &[900, 100], &[1, 8]),
    ]
}

/// Groups have so many tasks, those not listed none.
fn run(context: &Context, running: &Arc<dyn Running>, tasks: &[usize]) -> Result<Vec<Figure>> {
    let load = Load::new(tasks.len());
    for (group, tasks) in tasks.iter().enumerate() {
        for _ in 0..*tasks {
            running.spawn(group, hog(&load, group, POLL))?;
        }
    }
    thread::sleep(context.span(WARM_UP));
    let (meter, before) = (Meter::default(), load.total());
    thread::sleep(context.span(SPAN));
    let done = Duration::from_nanos(load.total() - before);
    let (hogs, used) = (percent(done, meter.wall()), meter.percent());
    load.finish(|| {})?;
    Ok(vec![Figure::new("hogs", "%", hogs), Figure::new("CPU used", "%", used)])
}
