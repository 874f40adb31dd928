//! Errors about subsystems and where they are bound.

use thiserror::Error as ThisError;

use crate::error::{CapacityError, StructuralError, Veto};

/// A subsystem could not be registered.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum RegisterError {
    /// The name is not a lower-case letter and up to 31 of `a-z 0-9 _`, or it is `cgroup`.
    #[error("subsystem name {name:?} is not a-z and up to 31 of a-z 0-9 _, or is cgroup")]
    Name {
        /// The name.
        name: String,
    },
    /// A subsystem of that name is registered.
    #[error("subsystem {name} is registered")]
    Exists {
        /// The name.
        name: String,
    },
    /// Groups have names that its control files would hide.
    #[error("subsystem {name} would hide the groups {}", .cgroups.join(", "))]
    Collides {
        /// The name.
        name: String,
        /// Up to 16 of the groups, as `hierarchy:path`.
        cgroups: Vec<String>,
    },
    /// There are 64 subsystems, or css ids are used up.
    #[error("subsystem {name} cannot be registered: {source}")]
    Capacity {
        /// The name.
        name: String,
        /// The capacity.
        source: CapacityError,
    },
    /// The subsystem's own hook refused.
    #[error(transparent)]
    Vetoed(#[from] Veto),
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

/// A controller could not be unregistered.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum UnregisterError {
    /// It is bound to a hierarchy.
    #[error("subsystem {subsystem} is bound to hierarchy {hierarchy}")]
    Bound {
        /// The subsystem.
        subsystem: String,
        /// The hierarchy.
        hierarchy: String,
    },
    /// It is unregistered already.
    #[error("subsystem {subsystem} is unregistered")]
    Unregistered {
        /// The subsystem.
        subsystem: String,
    },
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

/// A controller could not be bound or unbound.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum BindError {
    /// It is bound to a hierarchy already.
    #[error("subsystem {subsystem} is bound to hierarchy {hierarchy}")]
    Bound {
        /// The subsystem.
        subsystem: String,
        /// The hierarchy that has it.
        hierarchy: String,
    },
    /// It is bound nowhere.
    #[error("subsystem {subsystem} is bound to no hierarchy")]
    Unbound {
        /// The subsystem.
        subsystem: String,
    },
    /// Groups stand below the root of the hierarchy.
    #[error("hierarchy {hierarchy} has {children} groups below its root: {subsystem} stays")]
    Populated {
        /// The subsystem.
        subsystem: String,
        /// The hierarchy.
        hierarchy: String,
        /// The root's children.
        children: usize,
    },
    /// The hierarchy is destroyed.
    #[error("hierarchy {hierarchy} is destroyed")]
    Destroyed {
        /// The hierarchy.
        hierarchy: String,
    },
    /// Controller and hierarchy are of different registries.
    #[error("subsystem {subsystem} and hierarchy {hierarchy} are of different registries")]
    Foreign {
        /// The subsystem.
        subsystem: String,
        /// The hierarchy.
        hierarchy: String,
    },
    /// The controller is unregistered.
    #[error("subsystem {subsystem} is unregistered")]
    Unregistered {
        /// The subsystem.
        subsystem: String,
    },
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}
