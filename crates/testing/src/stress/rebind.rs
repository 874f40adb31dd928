//! Controllers that move between two trees of one shape as fast as they can, while everybody uses them.
//!
//! Two controllers always move together, in one publication, and a third alone; a fourth is bound to one of
//! the trees and unbound, again and again. Readers resolve every task under one guard: all css are to be
//! shown by groups of one tree, each by the group it was made for, or its counterpart. They charge what they
//! find, and hand charges on. Groups and members come and go in both trees at once, some tasks sit in other
//! places than the trees' shape says, and agents remove groups whose release is told. When all is over no
//! charge is lost, every group that was to be told is gone, and every css is freed.

mod field;
mod reader;
mod writer;

use std::fmt;

use crossbeam_channel::bounded;
use fief_core::{Barrier, RegistryStats};

use self::{field::Field, reader::Reader, writer::Writer};
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
    /// How often the pair of controllers moves.
    pub rebinds: u64,
    /// Tasks that stay where they are: so many in each of [`Load::groups`] groups.
    pub members: usize,
    /// Groups that stay.
    pub groups: usize,
    /// Threads that look up and charge.
    pub readers: usize,
    /// Threads that create and remove groups.
    pub writers: usize,
}

impl Load {
    /// A load for two cores: three readers of a thousand tasks, and two writers.
    #[must_use]
    pub fn new(barrier: Barrier, seed: u64, rebinds: u64) -> Self {
        Self { barrier, seed, rebinds, members: 10, groups: 100, readers: 3, writers: 2 }
    }

    /// The same with fewer groups that stay, and fewer members in each.
    #[must_use]
    pub fn small(barrier: Barrier, seed: u64, rebinds: u64) -> Self {
        Self { members: 5, groups: 20, ..Self::new(barrier, seed, rebinds) }
    }
}

/// How often something was done.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Publications that moved the pair.
    pub pairs: u64,
    /// Publications that moved the third controller.
    pub singles: u64,
    /// Rebinds refused as a member would have changed css.
    pub refused: u64,
    /// How often the fourth controller was bound.
    pub binds: u64,
    /// Whole-tree views, of all controllers each.
    pub views: u64,
    /// Css looked up.
    pub lookups: u64,
    /// Charges made.
    pub charges: u64,
    /// Pairs of groups created.
    pub created: u64,
    /// Pairs of groups removed by agents.
    pub by_agents: u64,
    /// Pairs of groups detached.
    pub detached: u64,
    /// Notices received.
    pub notices: u64,
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
        let Self { counts, seconds, ledger, .. } = self;
        let Counts { pairs, singles, refused, binds, views, lookups, charges, .. } = counts;
        let Counts { created, by_agents, detached, notices, .. } = counts;
        write!(f, "{pairs} rebinds of a pair and {singles} of one, {refused} refused, ")?;
        write!(f, "{binds} binds; {views} views, {lookups} lookups, {charges} charges; ")?;
        write!(
            f,
            "{created} pairs of groups: {by_agents} removed by agents, {detached} detached; "
        )?;
        write!(f, "{notices} notices; in {seconds:.1} s; css: {ledger}")
    }
}

/// Runs a load to its end; afterwards everything is dropped, released and freed.
///
/// # Errors
///
/// What the core refused although nothing was wrong with it, or did not tell.
pub fn run(load: &Load) -> Result<Outcome, Failed> {
    let field = Field::new(load)?;
    let mut progress = Progress::new(&format!("rebind {:?}, seed {}", load.barrier, load.seed));
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..load.readers).map(|_| bounded(64)).unzip();

    let ended = thread::scope(|scope| {
        let agents = [0, 1].map(|tree| {
            let field = &field;
            scope.spawn(move || field.receive(tree))
        });
        let readers: Vec<_> = receivers
            .into_iter()
            .enumerate()
            .map(|(index, inbox)| {
                let random = Random::new(load.seed, index as u64);
                let reader = Reader::new(&field, index, random, inbox, senders.clone());
                scope.spawn(move || reader.run())
            })
            .collect();
        drop(senders);
        let writers: Vec<_> = (0..load.writers)
            .map(|index| {
                let random = Random::new(load.seed, (load.readers + index) as u64);
                let field = &field;
                scope.spawn(move || {
                    field.refuse_if(Writer::new(field, index, random).and_then(Writer::run));
                })
            })
            .collect();
        let binder = scope.spawn(|| field.refuse_if(field.bind_and_unbind()));
        let walker = scope.spawn(|| field.walk());
        let random = Random::new(load.seed, (load.readers + load.writers) as u64);
        let rebinder = scope.spawn(|| field.rebind(load.rebinds, random, &mut progress));
        let rebound = rebinder.join().unwrap_or_else(|_| Err("the rebinder panicked".into()));
        field.refuse_if(rebound);
        field.stop();
        let held = readers.into_iter().map(|reader| reader.join().map_err(|_| "a reader panicked"));
        let held = held.collect::<Result<Vec<_>, _>>();
        let others = writers.into_iter().chain([binder, walker]);
        let joined = others.map(|thread| thread.join()).all(|ended| ended.is_ok());
        let quiet = match held {
            Ok(held) if joined => field.become_quiet(held),
            Ok(_) => Err("a thread panicked".into()),
            Err(panicked) => Err(panicked.into()),
        };
        // Ends the agents, whatever came before.
        let destroyed = field.destroy();
        let received = agents.map(|agent| agent.join()).iter().all(Result::is_ok);
        let received = if received { Ok(()) } else { Err("an agent panicked".into()) };
        quiet.and(destroyed).and(received)
    });
    ended?;
    field.finish(progress.seconds())
}
