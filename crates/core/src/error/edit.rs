//! Errors about edits.

use thiserror::Error as ThisError;

use crate::error::{AttachError, CreateError, RemoveError, StructuralError};

/// An edit was refused; nothing of it was done.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum EditError {
    /// A group could not be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// A task could not join its group.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A group could not be removed.
    #[error(transparent)]
    Remove(#[from] RemoveError),
    /// A group is of another registry.
    #[error("{cgroup} is of another registry than the edit")]
    Foreign {
        /// The group.
        cgroup: String,
    },
    /// A group that the edit removes is to be joined, or to get a child.
    #[error("{cgroup} cannot be used by the edit that removes it")]
    Leaving {
        /// The group.
        cgroup: String,
    },
    /// A group is to be removed twice.
    #[error("{cgroup} is named twice in one edit")]
    Twice {
        /// The group.
        cgroup: String,
    },
    /// A draft is of another edit, or comes later in this one.
    #[error("a draft is of another edit, or of one of its later creations")]
    Draft,
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}
