//! W12: a limit is raised while somebody sleeps for it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{Aim, Case, Context, Gate};
use crate::{
    cpu::figures::Figure,
    io::limiters::{Limiter, Plan, Tasks, Trial, entrants},
};

/// An operation takes two seconds.
const RATE: u64 = BYTES / 2;
const BYTES: u64 = 4 << 10;
const RAISED: u64 = 1_000_000_000;
/// How long it sleeps before the limit is raised.
const ASLEEP: Duration = Duration::from_millis(50);
/// Nobody sleeps longer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy)]
struct Raised;

pub(super) fn cases() -> Vec<Case> {
    vec![Case {
        row: "W12",
        name: "a limit of 2 kB/s becomes one of 1 GB/s while somebody sleeps".to_owned(),
        gate: Gate::Given,
        aims: vec![("reaction", Aim::AtMost(5.0))],
        relative: Vec::new(),
        entrants: entrants(&Raised, false),
    }]
}

impl Trial for Raised {
    fn plan(&self) -> Plan {
        Plan { rate: RATE, tasks: 1, largest: BYTES }
    }

    fn run<L: Limiter>(&self, _context: &Context, limiter: &Arc<L>) -> Result<Vec<Figure>> {
        if !limiter.set_rate(RATE) {
            return Ok(Vec::new());
        }
        let mut tasks = Tasks::new()?;
        let (told, granted) = std::sync::mpsc::channel();
        let other = Arc::clone(limiter);
        tasks.spawn(async move {
            // What there is at the start, if anything, and then what there is not.
            loop {
                other.take(0, BYTES).await?;
                if told.send(Instant::now()).is_err() {
                    return Ok(());
                }
            }
        });
        std::thread::sleep(ASLEEP);
        while granted.try_recv().is_ok() {}
        let raised = Instant::now();
        limiter.set_rate(RAISED);
        let at = granted.recv_timeout(PATIENCE).context("it sleeps on")?;
        drop(granted);
        tasks.join()?;
        let reaction = at.saturating_duration_since(raised);
        ensure!(!reaction.is_zero(), "it did not sleep");
        Ok(vec![Figure::new("reaction", "ms", reaction.as_secs_f64() * 1e3)])
    }
}
