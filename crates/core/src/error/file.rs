//! Errors about control files.

use std::fmt;

use thiserror::Error as ThisError;

use crate::{
    error::{AttachError, FreezeError, HookError, StructuralError, SubtreeError},
    file::InputError,
};

/// The control files of a group could not be listed.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum ListFilesError {
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

/// A control file could not be read.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum ReadFileError {
    /// The group has no such file.
    #[error(transparent)]
    Unknown(#[from] UnknownFileError),
    /// The file can only be written.
    #[error("{file} of {cgroup} can only be written")]
    WriteOnly {
        /// The group.
        cgroup: String,
        /// The file.
        file: String,
    },
    /// The group is removed.
    #[error("{file} of {cgroup} cannot be read: it is removed")]
    Removed {
        /// The group.
        cgroup: String,
        /// The file, as asked for.
        file: String,
    },
    /// The controller refused, or panicked.
    #[error("{file} of {cgroup} cannot be read: {source}")]
    Refused {
        /// The group.
        cgroup: String,
        /// The file.
        file: String,
        /// Why.
        source: HookError,
    },
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

/// A control file could not be written.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum WriteFileError {
    /// The group has no such file.
    #[error(transparent)]
    Unknown(#[from] UnknownFileError),
    /// The file can only be read.
    #[error("{file} of {cgroup} can only be read")]
    ReadOnly {
        /// The group.
        cgroup: String,
        /// The file.
        file: String,
    },
    /// The group is removed.
    #[error("{file} of {cgroup} cannot be written: it is removed")]
    Removed {
        /// The group.
        cgroup: String,
        /// The file, as asked for.
        file: String,
    },
    /// The text breaks the file's rule.
    #[error("{file} of {cgroup}: {source}")]
    Malformed {
        /// The group.
        cgroup: String,
        /// The file.
        file: String,
        /// The text and the rule.
        source: InputError,
    },
    /// No task has the id that was written to `cgroup.tasks`.
    #[error("cgroup.tasks of {cgroup}: there is no task {id}")]
    NoTask {
        /// The group.
        cgroup: String,
        /// The id.
        id: u64,
    },
    /// The task that was written to `cgroup.tasks` could not be moved.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The group cannot be frozen.
    #[error(transparent)]
    Freeze(#[from] FreezeError),
    /// What was written to `cgroup.subtree_control` could not be done.
    #[error(transparent)]
    Subtree(#[from] SubtreeError),
    /// The controller refused, or panicked.
    #[error("{file} of {cgroup} cannot be written: {source}")]
    Refused {
        /// The group.
        cgroup: String,
        /// The file.
        file: String,
        /// Why.
        source: HookError,
    },
    /// The call was made where none can be.
    #[error(transparent)]
    Structural(#[from] StructuralError),
}

/// A group has no control file of some name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownFileError {
    pub(crate) cgroup: String,
    /// The name that was asked for, in quotes, and cut if it is long.
    pub(crate) file: String,
    pub(crate) absence: Absence,
    pub(crate) files: Vec<String>,
}

/// Why a group has no file of some name, if more is to be said than that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Absence {
    /// There is no such thing.
    Plain,
    /// The subsystem is bound elsewhere, or nowhere.
    Unbound { subsystem: String, hierarchy: String },
    /// The group has no css of its own.
    NotEnabled { subsystem: String },
    /// The root has no such file; other groups have.
    NotOnRoot,
    /// Only the root has it.
    OnlyOnRoot,
}

impl UnknownFileError {
    /// Returns the path of the group.
    #[must_use]
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// Returns the names of the files that the group has, sorted.
    #[must_use]
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// Returns the subsystem that would have the file, if it were bound and enabled here.
    #[must_use]
    pub fn subsystem(&self) -> Option<&str> {
        match &self.absence {
            Absence::Unbound { subsystem, .. } | Absence::NotEnabled { subsystem } => {
                Some(subsystem)
            }
            Absence::Plain | Absence::NotOnRoot | Absence::OnlyOnRoot => None,
        }
    }
}

impl fmt::Display for UnknownFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cgroup, file, absence, files } = self;
        write!(f, "{cgroup} has no file {file}{absence}; it has {}", files.join(" "))
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => Ok(()),
            Self::Unbound { subsystem, hierarchy } => {
                write!(f, ": {subsystem} is not bound to hierarchy {hierarchy}")
            }
            Self::NotEnabled { subsystem } => write!(f, ": {subsystem} is not enabled here"),
            Self::NotOnRoot => f.write_str(", as no root has"),
            Self::OnlyOnRoot => f.write_str(", which only the root has"),
        }
    }
}

impl std::error::Error for UnknownFileError {}
