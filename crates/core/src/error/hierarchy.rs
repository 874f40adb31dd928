//! Errors about hierarchies and paths.

use thiserror::Error as ThisError;

use crate::{
    error::{CapacityError, StructuralError},
    quote::quote,
};

/// A hierarchy could not be created.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum CreateHierarchyError {
    /// The name is not 1 to 63 of `A-Z a-z 0-9 _ . -`.
    #[error("hierarchy name {} is not 1 to 63 of A-Z a-z 0-9 _ . -", quote(.name))]
    Name {
        /// The name.
        name: String,
    },
    /// There is a hierarchy of that name.
    #[error("hierarchy {name} exists")]
    Exists {
        /// The name.
        name: String,
    },
    /// There are 64 hierarchies.
    #[error("hierarchy {name} cannot be created: {source}")]
    Capacity {
        /// The name.
        name: String,
        /// The capacity.
        source: CapacityError,
    },
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

/// A hierarchy could not be destroyed.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum DestroyError {
    /// Groups stand below the root.
    #[error("hierarchy {hierarchy} has {children} groups below its root")]
    Busy {
        /// The hierarchy.
        hierarchy: String,
        /// The root's children.
        children: usize,
    },
    /// It is destroyed already.
    #[error("hierarchy {hierarchy} is destroyed")]
    Destroyed {
        /// The hierarchy.
        hierarchy: String,
    },
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

/// A path names no group.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum LookupError {
    /// The path does not begin with `/`, or has an empty component.
    #[error("path {} of hierarchy {hierarchy} is not / or /name/name", quote(.path))]
    Path {
        /// The hierarchy.
        hierarchy: String,
        /// The path.
        path: String,
    },
    /// A component is not there.
    #[error("{parent} of hierarchy {hierarchy} has no child {}", quote(.name))]
    NotFound {
        /// The hierarchy.
        hierarchy: String,
        /// The last group that was found.
        parent: String,
        /// The component.
        name: String,
    },
    /// The hierarchy is destroyed.
    #[error("hierarchy {hierarchy} is destroyed")]
    Destroyed {
        /// The hierarchy.
        hierarchy: String,
    },
}

/// The notices of a hierarchy could not be repeated.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum RenotifyError {
    /// The hierarchy is destroyed.
    #[error("hierarchy {hierarchy} is destroyed")]
    Destroyed {
        /// The hierarchy.
        hierarchy: String,
    },
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}
