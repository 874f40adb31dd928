//! Every error of the crate: one type an operation, each naming the group and the rule.
//!
//! A call that returns an error has changed nothing.

use std::{error::Error, fmt};

use thiserror::Error as ThisError;

pub use self::{
    agent::{AgentError, AgentFailure},
    cgroup::{
        CreateError, CreateWithError, FreezeError, Holder, KillError, LimitError, NotifyError,
        RemoveError, RenameError, WatchError,
    },
    charge::ChargeError,
    controller::{
        BindError, MoverError, RebindError, RegisterError, SubtreeError, UnregisterError,
    },
    edit::EditError,
    file::{ListFilesError, ReadFileError, UnknownFileError, WriteFileError},
    hierarchy::{CreateHierarchyError, DestroyError, LookupError, RenotifyError},
    task::{AttachError, CreateTaskError},
};

pub(crate) use self::file::Absence;

mod agent;
mod cgroup;
mod charge;
mod controller;
mod edit;
mod file;
mod hierarchy;
mod task;

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

/// Returns what a veto has as its source when the hook panicked.
pub(crate) fn panicked(message: String) -> HookError {
    Box::new(HookPanic { message })
}
