//! Who does what when: systems take turns within a round, the other way round in every other one, so that
//! what drifts on the machine drifts for all.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use benches::system::{Watch, wait_until_quiet};

use super::{
    figures::Figure,
    rows::{Case, Context, Gate},
    system::System,
    work::Work,
};

/// Below that, in per cent, a machine withheld too much.
pub const ENOUGH: f64 = 90.0;

/// How a contest is held.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How often each system has its turn.
    pub rounds: u32,
    /// Runs are as short as they can be.
    pub is_brief: bool,
    /// How long to wait, before each round, for other processes to leave the machine alone.
    pub patience: Duration,
}

/// What came of a case with one system.
#[derive(Debug, serde::Serialize)]
pub struct Entry {
    /// The system.
    pub system: &'static str,
    /// Why it did not take part, or what went wrong.
    pub end: End,
    /// Its runs.
    pub runs: Vec<Run>,
}

/// Why there are no more runs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All were done.
    Done,
    /// It cannot do that.
    Skipped(String),
    /// It should have been able to.
    Failed(String),
    /// It should have been able to, but is known not to be always.
    GaveUp(String),
}

/// One run.
#[derive(Debug, serde::Serialize)]
pub struct Run {
    /// How much of the processors other processes and other machines left, in per cent.
    pub given: f64,
    /// Whether its figures count.
    pub is_kept: bool,
    /// Its figures.
    pub figures: Vec<Figure>,
}

/// Puts a case to the systems.
#[must_use]
pub fn hold(
    case: &Case,
    systems: &[Box<dyn System>],
    rules: &Rules,
    watch: &mut Watch,
) -> Vec<Entry> {
    let entry = |system: &dyn System| Entry {
        system: system.name(),
        end: system.refuses(&case.plan).map_or(End::Done, End::Skipped),
        runs: Vec::new(),
    };
    let mut entries: Vec<_> = systems.iter().map(|system| entry(&**system)).collect();
    for round in 0..rules.rounds {
        if !rules.patience.is_zero() {
            wait_until_quiet(rules.patience);
        }
        let mut turns: Vec<_> = systems.iter().zip(&mut entries).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for (system, entry) in turns {
            if entry.end != End::Done {
                continue;
            }
            let mut own = Watch::default();
            let context =
                Context { is_brief: rules.is_brief, seed: round.into(), start: Duration::ZERO };
            match watch.during(|| own.during(|| run(case, &**system, context))) {
                Ok(figures) if figures.is_empty() => {
                    entry.end = End::Skipped("cannot do that".to_owned());
                }
                Ok(figures) => {
                    let gate = if rules.is_brief { Gate::Exempt } else { case.gate };
                    entry.runs.push(Run::new(gate, &own, figures));
                }
                Err(error) if system.is_reliable() => entry.end = End::Failed(format!("{error:#}")),
                Err(error) => entry.end = End::GaveUp(format!("{error:#}")),
            }
        }
    }
    entries
}

fn run(case: &Case, system: &dyn System, context: Context) -> Result<Vec<Figure>> {
    // Timed by the first to ask: that must not be a job, which would pay for it.
    let _work = Work::get();
    let start = Instant::now();
    let running = system.start(&case.plan).context("starting")?;
    let context = Context { start: start.elapsed(), ..context };
    let figures = (case.run)(&context, &running);
    let stopped = running.stop().context("stopping");
    figures.and_then(|figures| stopped.map(|()| figures))
}

impl Run {
    fn new(gate: Gate, watch: &Watch, figures: Vec<Figure>) -> Self {
        let given = 100.0 - watch.others_percent() - watch.conditions().steal_percent;
        Self { given, is_kept: gate == Gate::Exempt || given >= ENOUGH, figures }
    }
}
