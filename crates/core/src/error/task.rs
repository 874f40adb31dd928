//! Errors about tasks.

use thiserror::Error as ThisError;

use crate::{
    error::{StructuralError, Veto},
    quote::quote,
};

/// A task could not be created.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum CreateTaskError {
    /// The name holds a newline or a NUL, or exceeds 255 bytes.
    #[error("task name {} holds a newline or NUL, or exceeds 255 bytes", quote(.name))]
    Name {
        /// The name.
        name: String,
    },
    /// A group that it was to be in is removed.
    #[error("task {name:?} cannot be created in {cgroup}: it is removed")]
    Removed {
        /// The task's name.
        name: String,
        /// The group.
        cgroup: String,
    },
    /// A group that it was to be in is of another registry.
    #[error("task {name:?} cannot be created in {cgroup}: it is of another registry")]
    Foreign {
        /// The task's name.
        name: String,
        /// The group.
        cgroup: String,
    },
    /// It was to be in two groups of one hierarchy.
    #[error("task {name:?} cannot be in {} and {} of hierarchy {hierarchy}", .cgroups[0], .cgroups[1])]
    Ambiguous {
        /// The task's name.
        name: String,
        /// The hierarchy.
        hierarchy: String,
        /// The first two of its groups that were named.
        cgroups: [String; 2],
    },
    /// A subsystem refused.
    #[error(transparent)]
    Vetoed(#[from] Veto),
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

/// A task could not be moved.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum AttachError {
    /// The group is removed.
    #[error("{task} cannot join {cgroup}: it is removed")]
    Removed {
        /// The task's name.
        task: String,
        /// The group.
        cgroup: String,
    },
    /// Task and group are of different registries.
    #[error("{task} cannot join {cgroup}: it is of another registry")]
    Foreign {
        /// The task's name.
        task: String,
        /// The group.
        cgroup: String,
    },
    /// A subsystem refused.
    #[error(transparent)]
    Vetoed(#[from] Veto),
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}
