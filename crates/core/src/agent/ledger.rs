//! What became of the groups an agent was told of.

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::{
    cgroup::{Cgroup, remove::Removal},
    error::{AgentFailure, RemoveError},
    stat::Count,
    sync::Arc,
};

/// How many failures are kept for whoever asks.
const FAILURES: usize = 64;

/// An agent's figures, as of one moment each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct AgentStats {
    /// Groups that the closure or the command was run for, ever. Each ends in one of those below, but
    /// for one whose closure left it alone.
    pub told: u64,
    /// Notices that came to nothing: the group was in use again, or gone, when its turn came.
    pub moot: u64,
    /// Groups that were gone when the agent was done, whoever removed them.
    pub removed: u64,
    /// Groups that could not be removed: most likely they were in use again.
    pub refused: u64,
    /// Groups whose command could not be run, failed, or had an unknown end.
    pub failed: u64,
    /// Groups whose command took too long.
    pub timed_out: u64,
    /// Groups whose closure, or a `tracing` subscriber that was told of them, panicked.
    pub panicked: u64,
    /// Failures that nobody took from the queue before 64 others came.
    pub unseen: u64,
}

/// The counts behind [`AgentStats`].
#[derive(Debug, Default)]
pub(super) struct Counts {
    told: Count,
    moot: Count,
    removed: Count,
    refused: Count,
    failed: Count,
    timed_out: Count,
    panicked: Count,
    unseen: Count,
}

impl Counts {
    pub(super) fn stats(&self) -> AgentStats {
        AgentStats {
            told: self.told.get(),
            moot: self.moot.get(),
            removed: self.removed.get(),
            refused: self.refused.get(),
            failed: self.failed.get(),
            timed_out: self.timed_out.get(),
            panicked: self.panicked.get(),
            unseen: self.unseen.get(),
        }
    }

    /// Returns the count of failures like this one.
    fn of(&self, failure: &AgentFailure) -> &Count {
        match failure {
            AgentFailure::Spawn { .. } | AgentFailure::Lost { .. } | AgentFailure::Exit { .. } => {
                &self.failed
            }
            AgentFailure::TimedOut { .. } => &self.timed_out,
            AgentFailure::Refused { .. } => &self.refused,
            AgentFailure::Panicked { .. } => &self.panicked,
        }
    }
}

/// Where an agent's threads enter what they did.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    counts: Arc<Counts>,
    outbox: Sender<AgentFailure>,
    /// The other end of the outbox, to take the oldest out when it is full.
    inbox: Receiver<AgentFailure>,
}

impl Ledger {
    /// Returns an empty ledger.
    pub(super) fn new() -> Self {
        let (outbox, inbox) = bounded(FAILURES);
        Self { counts: Arc::default(), outbox, inbox }
    }

    pub(super) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    pub(super) fn failures(&self) -> &Receiver<AgentFailure> {
        &self.inbox
    }

    /// Enters that it is a group's turn.
    pub(super) fn told(&self) {
        self.counts.told.add(1);
    }

    /// Enters that somebody's code panicked.
    pub(super) fn panicked(&self) {
        self.counts.panicked.add(1);
    }

    /// Enters that a group's turn came and it was in use, or gone.
    pub(super) fn moot(&self) {
        self.counts.moot.add(1);
    }

    /// Enters that a group is gone.
    pub(super) fn removed(&self) {
        self.counts.removed.add(1);
    }

    /// Removes the group strictly; that somebody else has removed it is as good.
    pub(super) fn remove(&self, cgroup: &Cgroup, program: Option<&str>) {
        match cgroup.remove(Removal::Strict) {
            Ok(()) | Err(RemoveError::Removed { .. }) => self.removed(),
            Err(source) => {
                let (program, cgroup) = (program.map(str::to_owned), cgroup.path());
                self.report(AgentFailure::Refused { program, cgroup, source });
            }
        }
    }

    /// Enters a failure, for the loss of the oldest if there are many that nobody took.
    pub(super) fn report(&self, failure: AgentFailure) {
        self.counts.of(&failure).add(1);
        crate::trace::event!(
            "release_agent",
            cgroup = failure.cgroup(),
            failure = %failure,
            "failed"
        );
        let mut unsent = self.outbox.try_send(failure);
        while let Err(TrySendError::Full(failure)) = unsent {
            if self.inbox.try_recv().is_ok() {
                self.counts.unseen.add(1);
            }
            unsent = self.outbox.try_send(failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panicked(name: usize) -> AgentFailure {
        AgentFailure::Panicked { cgroup: format!("/{name}"), source: "oh".into() }
    }

    #[test]
    fn the_latest_failures_are_kept_and_the_others_counted() {
        let ledger = Ledger::new();
        (0..FAILURES + 3).for_each(|name| ledger.report(panicked(name)));

        let stats = ledger.counts().stats();
        assert_eq!((stats.panicked, stats.unseen), (67, 3));
        let kept: Vec<String> =
            ledger.failures().try_iter().map(|failure| failure.cgroup().to_owned()).collect();
        assert_eq!((kept.len(), kept[0].as_str(), kept[63].as_str()), (64, "/3", "/66"));
    }
}
