//! W11: half of those who wait give up, at random times: what they leave behind.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{Aim, Case, Context, Gate};
use crate::{
    cpu::figures::Figure,
    io::{
        limiters::{Limiter, Plan, Tasks, Trial, entrants},
        windows::percent,
    },
};

const RATE: u64 = 100_000_000;
const BYTES: u64 = 4 << 10;
const TASKS: usize = 64;
const ACQUIRES: u64 = 100_000;
/// Who gives up does so by then.
const LONGEST: Duration = Duration::from_micros(2_500);
/// Whoever has not ended by then never does.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy)]
struct Storm;

pub(super) fn cases() -> Vec<Case> {
    vec![Case {
        row: "W11",
        name: "100,000 acquires of 64 tasks, half of them given up, 100 MB/s".to_owned(),
        gate: Gate::Given,
        aims: vec![
            ("rate error", Aim::Within(1.0)),
            ("counted too much", Aim::Within(0.0)),
            ("waiting", Aim::Within(0.0)),
            ("stuck", Aim::Within(0.0)),
        ],
        relative: Vec::new(),
        entrants: entrants(&Storm, false),
    }]
}

/// What came of the acquires.
#[derive(Debug, Default)]
struct Seen {
    begun: AtomicU64,
    granted: AtomicU64,
    dropped: AtomicU64,
    ended: AtomicU64,
}

async fn task<L: Limiter>(
    limiter: Arc<L>,
    number: usize,
    acquires: u64,
    seed: u64,
    seen: Arc<Seen>,
) -> Result<()> {
    // Ordering: Relaxed: sums that nothing depends on.
    let mut random = fastrand::Rng::with_seed(seed + number as u64);
    while seen.begun.fetch_add(1, Ordering::Relaxed) < acquires {
        let take = limiter.take(number, BYTES);
        let is_granted = if random.bool() {
            let micros = random.u64(..u64::try_from(LONGEST.as_micros())?);
            // What is ready at once is granted all the same.
            tokio::time::timeout(Duration::from_micros(micros), take).await.map(|took| took.is_ok())
        } else {
            Ok(take.await.is_ok())
        };
        match is_granted {
            Ok(true) => seen.granted.fetch_add(1, Ordering::Relaxed),
            Ok(false) => anyhow::bail!("refused"),
            Err(_) => seen.dropped.fetch_add(1, Ordering::Relaxed),
        };
    }
    seen.ended.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

impl Trial for Storm {
    fn plan(&self) -> Plan {
        Plan { rate: RATE, tasks: TASKS, largest: BYTES }
    }

    fn run<L: Limiter>(&self, context: &Context, limiter: &Arc<L>) -> Result<Vec<Figure>> {
        let acquires = if context.is_brief { ACQUIRES / 20 } else { ACQUIRES };
        let seen = Arc::new(Seen::default());
        let mut tasks = Tasks::new()?;
        let start = Instant::now();
        for number in 0..TASKS {
            let (limiter, seen) = (Arc::clone(limiter), Arc::clone(&seen));
            tasks.spawn(task(limiter, number, acquires, context.seed, seen));
        }
        // Ordering: Relaxed: as in `task`.
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        while of(&seen.ended) < TASKS as u64 && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        let seconds = start.elapsed().as_secs_f64();
        let (stuck, granted) = (TASKS as u64 - of(&seen.ended), of(&seen.granted));
        let bytes = (granted * BYTES) as f64;
        // The burst came beside the rate.
        let expected = RATE as f64 * seconds + self.plan().burst() as f64;
        let mut figures = vec![
            Figure::new("rate error", "%", percent(bytes, expected)),
            Figure::new("given up", "", of(&seen.dropped) as f64),
            Figure::new("stuck", "", stuck as f64),
        ];
        if let Some(account) = limiter.account() {
            figures.push(Figure::new("counted too much", "B", account.bytes as f64 - bytes));
            figures.push(Figure::new("waiting", "", account.waiting as f64));
        }
        tasks.end().map(|()| figures)
    }
}
