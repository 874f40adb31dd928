//! B1, B2: how long a light tenant's task waits to run once a thread of nobody's wakes it, beside 64 hogs.
//!
//! B4 is the hogs' throughput meanwhile, here and in B3.

use std::{sync::Arc, thread, time::Duration};

use anyhow::Result;

use super::{Case, Context, Gate};
use crate::cpu::{
    arrivals::{INTERVAL, SERVICE, Tenant, arrive, unseen},
    figures::Figure,
    load::{Load, hog},
    machine::{Meter, percent},
    system::{Plan, Running},
};

/// The groups of the plan.
pub(super) const LIGHT: usize = 0;
pub(super) const BATCH: usize = 1;
pub(super) const HOGS: usize = 64;
pub(super) const WARM_UP: Duration = Duration::from_millis(500);
const SPAN: Duration = Duration::from_secs(5);
/// How long requests may still wait once the last was sent.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

pub(super) fn cases() -> Vec<Case> {
    let case = |row, poll| Case {
        row,
        name: format!("foreign wake beside {HOGS} hogs, polls of {poll:?}"),
        plan: Plan::light_and_batch(),
        gate: Gate::Given,
        run: Box::new(move |context, running| run(context, running, poll)),
    };
    vec![case("B1", Duration::from_micros(100)), case("B2", Duration::from_millis(1))]
}

fn run(context: &Context, running: &Arc<dyn Running>, poll: Duration) -> Result<Vec<Figure>> {
    let (load, tenant) = (Load::new(2), Tenant::default());
    for _ in 0..HOGS {
        running.spawn(BATCH, hog(&load, BATCH, poll))?;
    }
    running.spawn(LIGHT, tenant.job(&load, LIGHT, SERVICE))?;
    thread::sleep(context.span(WARM_UP));
    let (hogs, mut sent) = (Hogs::start(&load), 0);
    let late = arrive(INTERVAL, context.span(SPAN), context.seed, |now| {
        tenant.mailbox.send(now);
        sent += 1;
    });
    let hogs = hogs.figures(&load);
    let unserved = unseen(sent, &tenant.waits, PATIENCE);
    load.finish(|| tenant.mailbox.nudge())?;
    let mut figures = tenant.waits.figures().to_vec();
    figures.extend(hogs);
    figures.push(Figure::new("unserved", "", unserved as f64));
    figures.push(Figure::new("sender late, p99", "µs", late.micros(0.99)));
    Ok(figures)
}

/// What hogs do meanwhile.
pub(super) struct Hogs {
    meter: Meter,
    before: u64,
}

impl Hogs {
    pub(super) fn start(load: &Load) -> Self {
        Self { before: load.sample()[BATCH], meter: Meter::default() }
    }

    pub(super) fn figures(&self, load: &Load) -> [Figure; 2] {
        let done = Duration::from_nanos(load.sample()[BATCH] - self.before);
        let hogs = percent(done, self.meter.wall());
        [Figure::new("hogs", "%", hogs), Figure::new("CPU used", "%", self.meter.percent())]
    }
}
