//! What can go wrong.

use std::time::Duration;

use fief_core::CreateTaskError;

use crate::{
    job::error::JoinError,
    tree::{BandwidthError, LATENCY_MAX, WEIGHT_MAX, WEIGHT_MIN},
};

/// Why there is no [`Group`](crate::Group).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The core refused the task: its group was removed, or is of another registry, or a hook refused.
    #[error(transparent)]
    Task(#[from] CreateTaskError),
    /// The group is not of the controller's registry, or the controller is unregistered.
    #[error("{cgroup} cannot use the cpu controller: it is unregistered, or of another registry")]
    ForeignGroup {
        /// The path of the group.
        cgroup: String,
    },
    /// The task is not of the controller's registry, or the controller is unregistered.
    #[error("{task:?} cannot use the cpu controller: it is unregistered, or of another registry")]
    Foreign {
        /// The task's name.
        task: String,
    },
}

/// Why nothing was spawned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The controller never had workers: see [`Pool`](crate::Pool).
    #[error("the cpu controller has no workers")]
    NoWorkers,
    /// They were shut down.
    #[error("the workers of the cpu controller were shut down")]
    ShutDown,
    /// This process is the child of a fork, and has none of the workers.
    #[error("the workers of the cpu controller are in the process that was forked")]
    Forked,
}

/// Why a thread does not run for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnterError {
    /// The thread runs for a group already; waiting for a second CPU it would keep the first one.
    #[error("the thread runs for a group already")]
    Nested,
    /// The group was killed while the thread waited.
    #[error("the group was killed while the thread waited for its turn")]
    Killed,
    /// The group's turn did not come in time.
    #[error("the group's turn did not come in time")]
    TimedOut,
    /// This process is the child of a fork, and has none of those who give CPUs back.
    #[error("the cpu controller is of the process that was forked")]
    Forked,
}

/// What became of a scope's closures, if not all ran to their end.
#[derive(Debug, thiserror::Error)]
#[error("of a scope's closures {} panicked and {cancelled} were cancelled", panics.len())]
pub struct ScopeError {
    panics: Vec<JoinError>,
    cancelled: usize,
}

impl ScopeError {
    pub(crate) fn new(panics: Vec<JoinError>, cancelled: usize) -> Self {
        Self { panics, cancelled }
    }

    /// Returns how many were dropped before they began.
    #[must_use]
    pub fn cancelled(&self) -> usize {
        self.cancelled
    }

    /// Returns the panics, in the order in which they came.
    #[must_use]
    pub fn panics(&self) -> &[JoinError] {
        &self.panics
    }

    /// Returns the panics, in the order in which they came.
    #[must_use]
    pub fn into_panics(self) -> Vec<JoinError> {
        self.panics
    }
}

/// Why there are no workers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// None were asked for.
    #[error("a pool of 0 workers was asked for; at least 1 is needed")]
    NoWorkers,
    /// More were asked for than there can be.
    #[error("a pool of {workers} workers was asked for; there can be {most}")]
    TooManyWorkers {
        /// How many were asked for.
        workers: usize,
        /// How many there can be.
        most: usize,
    },
    /// There are some already.
    #[error("the cpu controller has workers already")]
    Started,
    /// The controller is of no registry any more.
    #[error("the cpu controller is unregistered")]
    Unregistered,
    /// This process is the child of a fork, and the controller is its parent's.
    #[error("the cpu controller is of the process that was forked")]
    Forked,
    /// The threads cannot be called that.
    #[error("workers cannot be called {name:?}: the name of a thread has no NUL")]
    ThreadName {
        /// What was asked for.
        name: String,
    },
    /// The system gave no thread.
    #[error("worker {number} of {workers} could not be started")]
    Thread {
        /// Which one, from 1.
        number: usize,
        /// How many were asked for.
        workers: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system refused the nice value: a process may lower its priority, not raise it.
    #[error("worker {number} of {workers} may not have nice {nice}")]
    Nice {
        /// Which one, from 1.
        number: usize,
        /// How many were asked for.
        workers: usize,
        /// The value that was asked for.
        nice: i32,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no such nice value.
    #[error("workers cannot have nice {nice}: it must be -20 to 19")]
    NiceRange {
        /// The value that was asked for.
        nice: i32,
    },
    /// A nice value was asked for where the pool has no threads to set it for.
    #[error("runners have the nice value of their runtime's threads; {nice} was asked for")]
    NiceOfRunners {
        /// The value that was asked for.
        nice: i32,
    },
    /// The rescue lane may use 0 to 100 percent of one CPU.
    #[error("a rescue lane of {share} % of a CPU was asked for; at most 100 % are possible")]
    Share {
        /// The share that was asked for, in percent.
        share: u32,
    },
    /// The system gave no thread for the rescue lane.
    #[error("the rescue lane could not be started")]
    Rescuer {
        /// What the system said.
        source: std::io::Error,
    },
    /// The runtime was shut down.
    #[error("the runtime on which the workers were to run was shut down")]
    Runtime,
}

/// A setting of a group is refused; it is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// The weight is out of range.
    #[error("cpu.weight of {cgroup}: {weight} is not a weight from {WEIGHT_MIN} to {WEIGHT_MAX}")]
    Weight {
        /// The path of the group.
        cgroup: String,
        /// What was asked for.
        weight: u16,
    },
    /// The latency setting is out of range.
    #[error(
        "cpu.latency of {cgroup}: {latency:?} is more than {:?}",
        Duration::from_nanos(LATENCY_MAX)
    )]
    Latency {
        /// The path of the group.
        cgroup: String,
        /// What was asked for.
        latency: Duration,
    },
    /// What can be saved up does not go with the quota.
    #[error("cpu.max.burst of {cgroup}: {source}")]
    Burst {
        /// The path of the group.
        cgroup: String,
        /// Why.
        source: BandwidthError,
    },
    /// A root competes with nobody.
    #[error("{setting} of {cgroup}: a root competes with nobody, so it has none")]
    Root {
        /// The path of the group.
        cgroup: String,
        /// What it does not have, as the control file of other groups is called.
        setting: &'static str,
    },
    /// The group is gone from the tree.
    #[error("{setting} of {cgroup}: the group is gone")]
    Gone {
        /// The path of the group.
        cgroup: String,
        /// What was to be set.
        setting: &'static str,
    },
}
