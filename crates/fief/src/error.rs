//! What can go wrong with what is all in one.

use fief_core::{
    BindError, CreateError, CreateHierarchyError, CreateTaskError, LookupError, RegisterError,
};
use fief_cpu::{JoinError, SpawnError};
use fief_io::DeviceError;

/// Why there is no [`Fief`](crate::Fief).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The hierarchy's name was refused.
    #[error(transparent)]
    Hierarchy(#[from] CreateHierarchyError),
    /// A controller was refused.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// A controller cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The device's name or settings were refused.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The workers cannot be started.
    #[error(transparent)]
    Workers(#[from] fief_cpu::StartError),
}

/// Why there is no [`Group`](crate::Group).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// It cannot be looked up: the path is malformed.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It was not there, and cannot be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The group is of another registry.
    #[error("{cgroup} is of another registry")]
    Foreign {
        /// The path of the group.
        cgroup: String,
    },
}

/// Why a future has no output.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// It cannot be a member of the group: that was removed, or a controller refuses it.
    #[error(transparent)]
    Task(#[from] CreateTaskError),
    /// The cpu controller was unregistered.
    #[error("cannot run in {cgroup}: {source}")]
    Unregistered {
        /// The path of the group.
        cgroup: String,
        /// What it says.
        source: fief_cpu::GroupError,
    },
    /// There are no workers.
    #[error("cannot run in {cgroup}: {source}")]
    Spawn {
        /// The path of the group.
        cgroup: String,
        /// What is the matter with them.
        source: SpawnError,
    },
    /// The group was killed, the workers were shut down, or the future was aborted.
    #[error("a future of {cgroup} was cancelled")]
    Cancelled {
        /// The path of the group at the time it was asked to run.
        cgroup: String,
    },
    /// The future panicked.
    #[error("in {cgroup}: {source}")]
    Panicked {
        /// The path of the group at the time it was asked to run.
        cgroup: String,
        /// The panic.
        source: JoinError,
    },
}

/// A controller was unregistered: what it would charge has no account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot charge {task:?}: the {controller} controller is unregistered")]
#[non_exhaustive]
pub struct GoneError {
    /// The name of the controller.
    pub controller: &'static str,
    /// The name of the task.
    pub task: String,
}
