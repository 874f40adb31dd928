//! Errors of release agents, and how what they do for a group can fail.

use std::{io, process::ExitStatus, time::Duration};

use thiserror::Error as ThisError;

use crate::error::{HookError, RemoveError, StructuralError};

/// A release agent could not be started.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum AgentError {
    /// The hierarchy is destroyed.
    #[error("hierarchy {hierarchy} is destroyed")]
    Destroyed {
        /// The hierarchy.
        hierarchy: String,
    },
    /// The number of commands is not 1 to 64.
    #[error("release agent {program} cannot run {at_most} commands at once, but 1 to 64")]
    AtMost {
        /// The command's program.
        program: String,
        /// The number.
        at_most: usize,
    },
    /// The system has no thread for it.
    #[error("no thread for a release agent of hierarchy {hierarchy}: {source}")]
    Thread {
        /// The hierarchy.
        hierarchy: String,
        /// Why.
        source: io::Error,
    },
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

/// What an agent did for a group came to nothing; the group stays as it is.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum AgentFailure {
    /// The command could not be started.
    #[error("release agent {program} cannot be run for {cgroup}: {source}")]
    Spawn {
        /// The command's program.
        program: String,
        /// The group.
        cgroup: String,
        /// Why.
        source: io::Error,
    },
    /// How the command ended cannot be known: the process ignores its children (`SIGCHLD`), or
    /// something else in it waits for them.
    #[error("release agent {program} for {cgroup} has an unknown end: {source}")]
    Lost {
        /// The command's program.
        program: String,
        /// The group.
        cgroup: String,
        /// Why.
        source: io::Error,
    },
    /// The command failed, or a signal ended it.
    #[error("release agent {program} failed for {cgroup}: {status}")]
    Exit {
        /// The command's program.
        program: String,
        /// The group.
        cgroup: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The command took too long, and was killed.
    #[error("release agent {program} took longer than {timeout:?} for {cgroup}")]
    TimedOut {
        /// The command's program.
        program: String,
        /// The group.
        cgroup: String,
        /// How long it was given.
        timeout: Duration,
    },
    /// The group could not be removed afterwards: most likely it is in use again.
    #[error("release agent cannot remove {cgroup}: {source}")]
    Refused {
        /// The command's program; none for an agent that only removes.
        program: Option<String>,
        /// The group.
        cgroup: String,
        /// Why.
        source: RemoveError,
    },
    /// The closure panicked.
    #[error("release agent for {cgroup} {source}")]
    Panicked {
        /// The group.
        cgroup: String,
        /// What it panicked with: a [`HookPanic`](crate::HookPanic).
        source: HookError,
    },
}

impl AgentFailure {
    /// Returns the group's path, as it was when the agent was told.
    #[must_use]
    pub fn cgroup(&self) -> &str {
        match self {
            Self::Spawn { cgroup, .. }
            | Self::Lost { cgroup, .. }
            | Self::Exit { cgroup, .. }
            | Self::TimedOut { cgroup, .. }
            | Self::Refused { cgroup, .. }
            | Self::Panicked { cgroup, .. } => cgroup,
        }
    }

    /// Returns the command's program; none for other agents.
    #[must_use]
    pub fn program(&self) -> Option<&str> {
        match self {
            Self::Spawn { program, .. }
            | Self::Lost { program, .. }
            | Self::Exit { program, .. }
            | Self::TimedOut { program, .. } => Some(program),
            Self::Refused { program, .. } => program.as_deref(),
            Self::Panicked { .. } => None,
        }
    }
}
