//! B8: what a poll costs that only gives way, and a task that does nothing.

use std::{sync::Arc, thread, time::Duration};

use anyhow::Result;
use benches::system::processors;

use super::{Case, Context, Gate, Run};
use crate::cpu::{
    figures::Figure,
    load::{Load, yielder},
    machine::Meter,
    system::{BATCH, Group, Plan, Running},
};

const WARM_UP: Duration = Duration::from_millis(200);
const SPAN: Duration = Duration::from_secs(2);
const BATCHES: u32 = 4_000;

pub(super) fn cases() -> Vec<Case> {
    let case = |name: String, run: Run| {
        let plan = Plan::flat([Group::default()]);
        Case { row: "B8", name, plan, gate: Gate::Given, run }
    };
    let yields = [64, 2_000].map(|tasks| {
        let name = format!("{tasks} tasks that give way");
        case(name, Box::new(move |context, running| run(context, running, tasks)))
    });
    let joins = case(format!("spawn and join, {BATCH} at a time"), Box::new(spawn_and_join));
    yields.into_iter().chain([joins]).collect()
}

fn run(context: &Context, running: &Arc<dyn Running>, tasks: usize) -> Result<Vec<Figure>> {
    let load = Load::new(tasks);
    for number in 0..tasks {
        running.spawn(0, yielder(&load, number))?;
    }
    thread::sleep(context.span(WARM_UP));
    let (meter, before) = (Meter::default(), load.total());
    thread::sleep(context.span(SPAN));
    let polls = (load.total() - before).max(1) as f64;
    let [wall, time] = [meter.wall(), meter.time()].map(|time| time.as_secs_f64() * 1e9 / polls);
    let used = meter.percent();
    load.finish(|| {})?;
    Ok(vec![
        Figure::new("wall per poll", "ns", wall),
        Figure::new("CPU per poll", "ns", time),
        Figure::new("CPU used", "%", used),
    ])
}

fn spawn_and_join(context: &Context, running: &Arc<dyn Running>) -> Result<Vec<Figure>> {
    let meter = Meter::default();
    // Executors that share nothing do so many each.
    let batches = context.times(BATCHES).next_multiple_of(u32::try_from(processors())?);
    let Some(time) = running.spawn_and_join(batches)? else { return Ok(Vec::new()) };
    let tasks = f64::from(batches) * f64::from(BATCH);
    Ok(vec![
        Figure::new("wall per task", "ns", time.as_secs_f64() * 1e9 / tasks),
        Figure::new("CPU per task", "ns", meter.time().as_secs_f64() * 1e9 / tasks),
    ])
}
