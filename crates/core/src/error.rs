//! Every error of the crate: one type an operation, each naming the group and the rule.
//!
//! A call that returns an error has changed nothing.

use std::{error::Error, fmt};

use thiserror::Error as ThisError;

use crate::{cgroup::name::NameError, units::Limit};

/// What a subsystem's hook refuses with; any error will do.
pub type HookError = Box<dyn Error + Send + Sync + 'static>;

/// A structural call was made where none can be.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum StructuralError {
    /// The calling thread is inside a subsystem's hook, or would wait for the css it is dropping.
    #[error("{operation} of {target} cannot be called from a subsystem's hook or state's drop")]
    Reentrant {
        /// The call.
        operation: &'static str,
        /// What it was made on: a group's path, or another thing's name.
        target: String,
    },
    /// The calling thread holds a read guard.
    #[error("{operation} of {target} cannot be called under a read guard")]
    GuardHeld {
        /// The call.
        operation: &'static str,
        /// What it was made on: a group's path, or another thing's name.
        target: String,
    },
    /// The registry was made before this process was forked off.
    #[error("{operation} of {target} cannot be called in a forked child of the registry's process")]
    Forked {
        /// The call.
        operation: &'static str,
        /// What it was made on: a group's path, or another thing's name.
        target: String,
    },
}

/// A subsystem's hook refused, or panicked where it could have refused.
#[derive(Debug)]
pub struct Veto {
    pub(crate) cgroup: String,
    pub(crate) subsystem: String,
    pub(crate) hook: &'static str,
    pub(crate) cause: HookError,
}

impl Veto {
    /// Returns the path of the group whose css was at stake.
    #[must_use]
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// Returns the name of the subsystem.
    #[must_use]
    pub fn subsystem(&self) -> &str {
        &self.subsystem
    }

    /// Returns the name of the hook.
    #[must_use]
    pub fn hook(&self) -> &str {
        self.hook
    }
}

impl fmt::Display for Veto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cgroup, subsystem, hook, cause } = self;
        write!(f, "{subsystem} refused {cgroup} in {hook}: {cause}")
    }
}

impl Error for Veto {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.cause)
    }
}

/// A hook panicked: what a [`Veto`] has as its source then.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[error("panicked: {message}")]
pub struct HookPanic {
    pub(crate) message: String,
}

/// A fixed capacity is used up, or the memory for more of it is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[error("no more than {limit} {what}")]
pub struct CapacityError {
    pub(crate) what: &'static str,
    pub(crate) limit: usize,
}

impl CapacityError {
    /// Returns how many there may be.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }
}

/// A hierarchy could not be created.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum CreateHierarchyError {
    /// The name is not 1 to 63 of `A-Z a-z 0-9 _ . -`.
    #[error("hierarchy name {name:?} is not 1 to 63 of A-Z a-z 0-9 _ . -")]
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
    #[error("path {path:?} of hierarchy {hierarchy} is not / or /name/name")]
    Path {
        /// The hierarchy.
        hierarchy: String,
        /// The path.
        path: String,
    },
    /// A component is not there.
    #[error("{parent} of hierarchy {hierarchy} has no child {name:?}")]
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
        /// The group.
        cgroup: String,
        /// Its direct members.
        members: usize,
        /// Its children.
        children: usize,
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

/// A task could not be created.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum CreateTaskError {
    /// The name holds a newline or a NUL, or exceeds 255 bytes.
    #[error("task name {name:?} holds a newline or NUL, or exceeds 255 bytes")]
    Name {
        /// The name.
        name: String,
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

/// Returns what a veto has as its source when the hook panicked.
pub(crate) fn panicked(message: String) -> HookError {
    Box::new(HookPanic { message })
}
