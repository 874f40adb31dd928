//! Errors about groups.

use std::fmt;

use thiserror::Error as ThisError;

use crate::{
    cgroup::name::NameError,
    error::{AttachError, CapacityError, StructuralError, Veto},
    units::Limit,
};

/// A group could not be created.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum CreateError {
    /// The name breaks a rule.
    #[error("cannot create a group in {parent}: {source}")]
    Name {
        /// The parent.
        parent: String,
        /// The rule.
        source: NameError,
    },
    /// A sibling has the name.
    #[error("{cgroup} exists")]
    Exists {
        /// The path.
        cgroup: String,
    },
    /// The parent is removed.
    #[error("{parent} is removed")]
    Removed {
        /// The parent.
        parent: String,
    },
    /// A group above allows no groups at that depth.
    #[error("{cgroup} would be deeper than cgroup.max.depth of {ancestor} allows: {limit} levels")]
    MaxDepth {
        /// The path.
        cgroup: String,
        /// The group whose limit it is.
        ancestor: String,
        /// The limit.
        limit: Limit,
    },
    /// A group above allows no more groups below it.
    #[error("{cgroup} would exceed cgroup.max.descendants of {ancestor}: {limit} groups")]
    MaxDescendants {
        /// The path.
        cgroup: String,
        /// The group whose limit it is.
        ancestor: String,
        /// The limit.
        limit: Limit,
    },
    /// Css ids or group indexes are used up, or memory is out.
    #[error("{cgroup} cannot be created: {source}")]
    Capacity {
        /// The path.
        cgroup: String,
        /// The capacity.
        source: CapacityError,
    },
    /// A subsystem refused.
    #[error(transparent)]
    Vetoed(#[from] Veto),
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

/// A group could not be renamed.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum RenameError {
    /// The new name breaks a rule.
    #[error("cannot rename {cgroup}: {source}")]
    Name {
        /// The group.
        cgroup: String,
        /// The rule.
        source: NameError,
    },
    /// A sibling has the name.
    #[error("cannot rename {cgroup}: {name:?} exists")]
    Exists {
        /// The group.
        cgroup: String,
        /// The new name.
        name: String,
    },
    /// The root has no name.
    #[error("the root of hierarchy {hierarchy} cannot be renamed")]
    Root {
        /// The hierarchy.
        hierarchy: String,
    },
    /// The group is removed.
    #[error("{cgroup} is removed")]
    Removed {
        /// The group.
        cgroup: String,
    },
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

/// A group could not be removed.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum RemoveError {
    /// It has members or children.
    #[error("{cgroup} is busy: {members} members, {children} children")]
    Busy {
        /// The group; of a subtree, the first that has members.
        cgroup: String,
        /// Its direct members.
        members: usize,
        /// Its children; of a subtree, those that were not to go with it: none.
        children: usize,
    },
    /// References to its css are out, or to those of groups below that were to go with it.
    ///
    /// Only [`Removal::Strict`](crate::Removal::Strict) asks.
    #[error("{cgroup} is in use: {}", Holder::list(.holders))]
    InUse {
        /// The group that was to be removed.
        cgroup: String,
        /// Each css with references, in the order in which the groups would have gone; the message names
        /// the first eight.
        holders: Vec<Holder>,
    },
    /// The root goes with its hierarchy.
    #[error("the root of hierarchy {hierarchy} goes only with the hierarchy")]
    Root {
        /// The hierarchy.
        hierarchy: String,
    },
    /// The group is removed already.
    #[error("{cgroup} is removed")]
    Removed {
        /// The group.
        cgroup: String,
    },
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

/// A limit of a group could not be set.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum LimitError {
    /// The limit is above 2^31 − 1 and not `max`.
    #[error("{file} of {cgroup} takes 0 to {most} or max, not {limit}")]
    Range {
        /// The group.
        cgroup: String,
        /// The control file's name.
        file: &'static str,
        /// The limit.
        limit: Limit,
        /// The greatest that can be set.
        most: u32,
    },
    /// The group is removed.
    #[error("{cgroup} is removed")]
    Removed {
        /// The group.
        cgroup: String,
    },
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

/// A group's members could not be cancelled.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum KillError {
    /// The group is removed.
    #[error("{cgroup} is removed")]
    Removed {
        /// The group.
        cgroup: String,
    },
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

/// A group could not be frozen or thawed.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum FreezeError {
    /// The group is removed.
    #[error("{cgroup} is removed")]
    Removed {
        /// The group.
        cgroup: String,
    },
    /// Everything would stop.
    #[error("the root of hierarchy {hierarchy} cannot be frozen")]
    Root {
        /// The hierarchy.
        hierarchy: String,
    },
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

/// A css that has references out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Holder {
    /// The path of its group.
    pub cgroup: String,
    /// The name of its subsystem.
    pub subsystem: String,
    /// How many references are out, those under way included; at least one.
    pub references: u64,
}

impl Holder {
    /// Names the first few, and how many more there are.
    fn list(holders: &[Self]) -> String {
        const NAMED: usize = 8;
        let named: Vec<String> = holders.iter().take(NAMED).map(Self::to_string).collect();
        match holders.len().saturating_sub(NAMED) {
            0 => named.join(", "),
            more => format!("{}, and {more} more", named.join(", ")),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cgroup, subsystem, references } = self;
        let s = if *references == 1 { "" } else { "s" };
        write!(f, "{references} reference{s} to {subsystem} of {cgroup}")
    }
}

/// A group could not be created together with its first members.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum CreateWithError {
    /// The group could not be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// A task could not join it.
    #[error(transparent)]
    Attach(#[from] AttachError),
}

/// `notify_on_release` of a group could not be set.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum NotifyError {
    /// The group is removed.
    #[error("notify_on_release of {cgroup} cannot be set: it is removed")]
    Removed {
        /// The group.
        cgroup: String,
    },
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

/// A group could not be watched.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum WatchError {
    /// The group is removed.
    #[error("{cgroup} cannot be watched: it is removed")]
    Removed {
        /// The group.
        cgroup: String,
    },
    /// The root is never emptied nor removed.
    #[error("the root of hierarchy {hierarchy} cannot be watched")]
    Root {
        /// The hierarchy.
        hierarchy: String,
    },
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}
