//! Groups in use by everything there is, and agents that remove them as soon as they are told.
//!
//! Workers take references to several css of a group and put them in storms, send them to each other,
//! join and leave, create groups with members, arm and disarm, and remove by either policy, alone and
//! in subtrees. Agents receive notices, and remove strictly. No group is told more often than it was
//! used; and when the workers have stopped, each group that was used is told, and so removed.

mod field;
mod worker;

use std::fmt;

use crossbeam_channel::bounded;
use fief_core::{Barrier, RegistryStats, ReleaseAgent};

use self::{field::Field, worker::Worker};
use super::{Failed, Progress, Random, ledger::Ledger};
use crate::sync::{Arc, thread};

/// The size of a load.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Load {
    /// How readers and writers are ordered.
    pub barrier: Barrier,
    /// For the choices of all threads.
    pub seed: u64,
    /// Gets and puts in all.
    pub operations: u64,
    /// Threads that use groups.
    pub workers: usize,
    /// Groups at a time, below a few parents.
    pub slots: usize,
}

impl Load {
    /// A load for two cores: four workers, an agent on a thread of the core's and one on ours.
    #[must_use]
    pub fn new(barrier: Barrier, seed: u64, operations: u64) -> Self {
        Self { barrier, seed, operations, workers: 4, slots: 64 }
    }
}

/// How often something was done, or happened.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Gets and puts.
    pub operations: u64,
    /// Tries that came too late: the group was removed.
    pub misses: u64,
    /// Groups used: an upper bound of the edges.
    pub uses: u64,
    /// Members that joined a group, in one step with its creation or not.
    pub joined: u64,
    /// Groups removed by the agents.
    pub by_agents: u64,
    /// Groups removed strictly by workers.
    pub strict: u64,
    /// Groups detached.
    pub detached: u64,
    /// Strict removals refused as references were out.
    pub refused: u64,
    /// Notices received of groups in use no more.
    pub accepted: u64,
    /// Notices received that had come to nothing.
    pub moot: u64,
}

/// What a load did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The sums of all threads.
    pub counts: Counts,
    /// How long it took.
    pub seconds: f64,
    /// Of the registry, at the end.
    pub stats: RegistryStats,
    /// The lives of all css.
    pub ledger: Arc<Ledger>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counts, seconds, stats, ledger } = self;
        let Counts { operations, misses, uses, joined, by_agents, strict, detached, .. } = counts;
        let Counts { refused, accepted, moot, .. } = counts;
        write!(
            f,
            "{operations} operations, {misses} misses, {joined} joins, removed: {by_agents} "
        )?;
        write!(f, "by agents, {strict} strictly, {detached} detached, {refused} refused; ")?;
        write!(f, "{uses} uses, {} notices: {accepted} accepted, {moot} moot; ", stats.notices)?;
        write!(f, "in {seconds:.1} s; css: {ledger}")
    }
}

/// Runs a load to its end; afterwards everything is dropped, released and freed.
///
/// # Errors
///
/// What the core refused although nothing was wrong with it, or did not tell.
pub fn run(load: &Load) -> Result<Outcome, Failed> {
    let field = Arc::new(Field::new(load)?);
    let mut progress = Progress::new(&format!("release {:?}, seed {}", load.barrier, load.seed));
    let inside = Arc::clone(&field);
    let agent = ReleaseAgent::closure(&field.world.hierarchy, move |group| inside.told(&group))?;
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..load.workers).map(|_| bounded(64)).unzip();

    let ended = thread::scope(|scope| {
        let receiving = scope.spawn(|| field.receive());
        let workers: Vec<_> = receivers
            .into_iter()
            .enumerate()
            .map(|(index, inbox)| {
                let random = Random::new(load.seed, index as u64);
                let mut worker = Worker::new(&field, index, random, inbox, senders.clone());
                scope.spawn(move || worker.run())
            })
            .collect();
        drop(senders);
        field.watch(load.operations, &mut progress);
        let ended = workers.into_iter().all(|worker| worker.join().is_ok());
        let quiet = if ended { field.become_quiet() } else { Err("a worker panicked".into()) };
        // Ends the receivers, whatever came before.
        let destroyed = field.destroy();
        let received = receiving.join().map_err(|_| "the receiver panicked".into());
        quiet.and(destroyed).and(received)
    });
    let stats = agent.stop();
    ended?;
    field.finish(stats, progress.seconds())
}
