//! What can go wrong.

use std::time::Duration;

use fief_core::CreateTaskError;

use crate::{op::Op, tree::TreeError};

/// Why an operation was not admitted; nothing is charged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cgroup} may not do a {op} on {device} now: {why}")]
#[non_exhaustive]
pub struct AcquireError {
    /// The path of the group.
    pub cgroup: String,
    /// The name of the device.
    pub device: String,
    /// What was asked for.
    pub op: Op,
    /// What was in the way.
    pub why: Refusal,
}

/// What was in the way of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It would have to wait.
    #[error("it would have to wait")]
    WouldBlock {
        /// When it makes sense to ask again, if that is known: unless others come first.
        retry_in: Option<Duration>,
    },
    /// Its turn did not come in time.
    #[error("its turn did not come within {waited:?}")]
    TimedOut {
        /// How long it waited.
        waited: Duration,
    },
    /// The group was removed.
    #[error("the group was removed")]
    Removed,
    /// The group was killed while it waited.
    #[error("the group was killed while it waited")]
    Killed,
    /// The device was removed.
    #[error("the device was removed")]
    DeviceGone,
    /// This process is the child of a fork.
    #[error("the io controller is of the process that was forked")]
    Forked,
}

/// Why there is no [`Stream`](crate::Stream).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The core refused the task: its group was removed, or is of another registry, or a hook refused.
    #[error(transparent)]
    Task(#[from] CreateTaskError),
    /// The group or task is not of the controller's registry, or the controller is unregistered.
    #[error("{who} cannot use {device}: the io controller is unregistered, or of another registry")]
    Foreign {
        /// The path of the group, or the name of the task.
        who: String,
        /// The name of the device.
        device: String,
    },
    /// The group was removed.
    #[error("{cgroup} cannot use {device}: the group was removed")]
    Removed {
        /// The path of the group.
        cgroup: String,
        /// The name of the device.
        device: String,
    },
    /// The device was removed.
    #[error("{device} was removed")]
    DeviceGone {
        /// The name of the device.
        device: String,
    },
}

/// Why there is no [`Device`](crate::Device).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The name cannot stand in a control file.
    #[error(
        "{name:?} is no name of a device: 1 to 64 bytes, no white space, no '=', not `default` or `max`"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// There is one of that name.
    #[error("there is a device {name} already")]
    Taken {
        /// The name.
        name: String,
    },
    /// A setting is out of range.
    #[error("the {setting} of {name} cannot be {value}: {rule}")]
    Setting {
        /// The name of the device.
        name: String,
        /// Which setting.
        setting: &'static str,
        /// What was asked for.
        value: u64,
        /// What is possible.
        rule: &'static str,
    },
}

/// Why a setting was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// It makes no sense, or not there.
    #[error("{cgroup} on {device}: {rule}")]
    Refused {
        /// The path of the group.
        cgroup: String,
        /// The name of the device.
        device: String,
        /// What was against it.
        rule: TreeError,
    },
    /// The group was removed.
    #[error("the group was removed, and has no settings for {device}")]
    Removed {
        /// The name of the device.
        device: String,
    },
}
