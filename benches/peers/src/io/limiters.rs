//! Limiters of one rate, ours and other people's, behind one trait.
//!
//! All get a burst of 10 ms of the rate, or of the largest operation where that is more, as some refuse anything larger
//! than their burst.

mod fief;
mod governor;
mod leaky_bucket;
mod async_speed_limit;
mod ratelimit;

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use benches::system::processors;
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

pub use self::fief::{Fief, Layout};
use super::rows::{Context, Entrant, Outcome};
use crate::cpu::figures::Figure;

/// Something that lets so many bytes a second through.
pub trait Limiter: Sized + Send + Sync + 'static {
    /// Waits until so many bytes of a task's are let through.
    fn take(&self, task: usize, bytes: u64) -> impl Future<Output = Result<()>> + Send;

    /// Changes the rate; `false` if it has no way to.
    fn set_rate(&self, _rate: u64) -> bool {
        false
    }

    /// Returns the bytes that it counts as let through and who still waits, if it knows both.
    fn account(&self) -> Option<Account> {
        None
    }
}

/// What a limiter says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// Bytes that were let through.
    pub bytes: u64,
    /// Operations that wait.
    pub waiting: u64,
}

/// What a limiter is made for.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Bytes a second.
    pub rate: u64,
    /// Who asks.
    pub tasks: usize,
    /// The largest operation, in bytes.
    pub largest: u64,
}

impl Plan {
    /// Returns the burst of those that are told one.
    #[must_use]
    pub fn burst(&self) -> u64 {
        (self.rate / 100).max(self.largest)
    }
}

/// What is tried with every limiter.
pub trait Trial: Clone + 'static {
    /// What limiters are made for.
    fn plan(&self) -> Plan;

    /// Tries it with one; no figures: it cannot do that.
    ///
    /// # Errors
    ///
    /// What went wrong.
    fn run<L: Limiter>(&self, context: &Context, limiter: &Arc<L>) -> Result<Vec<Figure>>;
}

/// Tasks that take what they are given, and another thread that looks on.
#[derive(Debug)]
pub struct Tasks {
    runtime: Runtime,
    tasks: Vec<JoinHandle<Result<()>>>,
}

impl Tasks {
    /// Starts a runtime, with a worker for each processor.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn new() -> Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(processors()).enable_time().build()?;
        Ok(Self { runtime, tasks: Vec::new() })
    }

    /// Starts a task.
    pub fn spawn(&mut self, task: impl Future<Output = Result<()>> + Send + 'static) {
        self.tasks.push(self.runtime.spawn(task));
    }

    /// Waits for a future, and drives the time of those in it.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Waits until all have ended.
    ///
    /// # Errors
    ///
    /// What a task failed with.
    pub fn join(self) -> Result<()> {
        let tasks = self.tasks;
        self.runtime.block_on(async { futures(tasks).await })
    }

    /// Ends them where they wait.
    ///
    /// # Errors
    ///
    /// What a task failed with before.
    pub fn end(self) -> Result<()> {
        let ended = self.tasks.into_iter().filter(JoinHandle::is_finished).collect();
        let ended = self.runtime.block_on(async { futures(ended).await });
        drop(self.runtime);
        ended
    }
}

async fn futures(tasks: Vec<JoinHandle<Result<()>>>) -> Result<()> {
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// What most of them are given to refill.
const USUAL: Duration = Duration::from_millis(10);

/// Returns an entrant for each limiter; with `is_shared` ours also has one with a group for each task.
pub fn entrants<T: Trial>(trial: &T, is_shared: bool) -> Vec<Entrant> {
    let name = if is_shared { "fief, a stream each" } else { "fief" };
    let mut entrants = vec![entrant(trial, name, |plan| Fief::new(plan, Layout::Streams))];
    if is_shared {
        let groups = |plan: &Plan| Fief::new(plan, Layout::Groups);
        entrants.push(entrant(trial, "fief, a group each", groups));
    }
    let speed = |refill| move |plan: &Plan| Ok(Ok(async_speed_limit::Speed::new(plan, refill)));
    entrants.extend([
        entrant(trial, "governor", |plan| Ok(governor::Governor::new(plan))),
        entrant(trial, "leaky-bucket", |plan| Ok(leaky_bucket::Leaky::new(plan, USUAL))),
        entrant(trial, "async-speed-limit", speed(None)),
        entrant(trial, "async-speed-limit, 10 ms", speed(Some(USUAL))),
        entrant(trial, "ratelimit", |plan| ratelimit::Ratelimit::new(plan).map(Ok)),
    ]);
    entrants
}

fn entrant<T: Trial, L: Limiter>(
    trial: &T,
    name: &'static str,
    make: impl Fn(&Plan) -> Result<Result<L, String>> + 'static,
) -> Entrant {
    let trial = trial.clone();
    Entrant::maybe(name, move |context| match make(&trial.plan())? {
        Err(why) => Ok(Outcome::Skipped(why)),
        Ok(limiter) => {
            let figures = trial.run(context, &Arc::new(limiter))?;
            Ok(match figures.is_empty() {
                true => Outcome::Skipped("its rate cannot be changed".to_owned()),
                false => Outcome::Figures(figures),
            })
        }
    })
}
