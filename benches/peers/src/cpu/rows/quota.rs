//! B7: how exactly a quota is kept, how long a group stands still for it, and what a request inside
//! the group pays.
//!
//! Usage is the processor time of the tasks' polls, read twice a poll; what the scheduler takes beside is
//! not in it.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use benches::system::{processors, thread_time};

use super::{Case, Context, Gate, latency::PATIENCE};
use crate::cpu::{
    arrivals::{Tenant, arrive, unseen},
    figures::Figure,
    load::{Job, Load, give_way},
    stalls::Stalls,
    system::{Group, Plan, Running},
    work::Work,
};

const POLL: Duration = Duration::from_micros(100);
const SERVICE: Duration = Duration::from_micros(20);
/// Requests are so few that they take none of the quota worth mentioning.
const INTERVAL: Duration = Duration::from_millis(10);
const WARM_UP: Duration = Duration::from_millis(500);
const SPAN: Duration = Duration::from_secs(4);
/// Counts of the load.
const USED: usize = 0;
const REQUESTS: usize = 1;

pub(super) fn cases() -> Vec<Case> {
    let kinds = [(10, 1), (10, 8), (50, 1), (50, 8), (150, 8)];
    kinds.map(|(percent, tasks)| case(percent, tasks)).into()
}

fn case(percent: u32, tasks: usize) -> Case {
    let quota = f64::from(percent) / 100.0;
    let group = Group { quota: Some(quota), ..Group::default() };
    let names = if tasks == 1 { "task" } else { "tasks" };
    Case {
        row: "B7",
        name: format!("quota of {percent} %, {tasks} busy {names}"),
        plan: Plan::flat([group]),
        gate: Gate::Given,
        run: Box::new(move |context, running| {
            run(context, running, tasks, quota.min(processors() as f64))
        }),
    }
}

/// A hog that counts the processor time of its polls, and how long nobody ran.
fn metered(load: &Arc<Load>, stalls: &Arc<Stalls>) -> Job {
    let (alive, stalls) = (load.alive(), Arc::clone(stalls));
    Box::pin(async move {
        let load = alive.load();
        while !load.is_over() {
            let start = thread_time();
            stalls.begin();
            Work::get().run(POLL);
            stalls.end();
            let used = u64::try_from((thread_time() - start).as_nanos()).expect("a short poll");
            load.add(USED, used);
            give_way().await;
        }
    })
}

fn run(
    context: &Context,
    running: &Arc<dyn Running>,
    tasks: usize,
    quota: f64,
) -> Result<Vec<Figure>> {
    let (load, stalls, tenant) = (Load::new(2), Stalls::new(), Tenant::default());
    for _ in 0..tasks {
        running.spawn(0, metered(&load, &stalls))?;
    }
    running.spawn(0, tenant.job(&load, REQUESTS, SERVICE))?;
    thread::sleep(context.span(WARM_UP));
    stalls.reset();
    let (before, start, mut sent) = (load.total(), Instant::now(), 0);
    let late = arrive(INTERVAL, context.span(SPAN), context.seed, |now| {
        tenant.mailbox.send(now);
        sent += 1;
    });
    let used = Duration::from_nanos(load.total() - before).as_secs_f64();
    let share = used / start.elapsed().as_secs_f64();
    let stall = stalls.longest();
    let unserved = unseen(sent, &tenant.ends, PATIENCE);
    load.finish(|| tenant.mailbox.nudge())?;
    Ok(vec![
        Figure::new("usage error", "%", 100.0 * (share - quota) / quota),
        Figure::new("longest stall", "ms", stall.as_secs_f64() * 1e3),
        Figure::new("request, p50", "µs", tenant.ends.micros(0.5)),
        Figure::new("request, p99", "µs", tenant.ends.micros(0.99)),
        Figure::new("unserved", "", unserved as f64),
        Figure::new("sender late, p99", "µs", late.micros(0.99)),
    ])
}
