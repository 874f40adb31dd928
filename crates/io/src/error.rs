//! What can go wrong.

use std::time::Duration;

use fief_core::{CreateTaskError, Limit};

pub use crate::refusal::Refusal;
use crate::{
    op::Op,
    tree::{Dimension, RATE_MAX, WEIGHT_MAX, WEIGHT_MIN},
};

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
        "{name:?} is no name of a device: 1 to 64 bytes, no white space, no '=', not `default`, `max` or `process`"
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
    /// A rate is out of range: of a limit from 1, of what is reserved from 0.
    #[error("{file} of {cgroup} on {device}: {} of {rate} is not a rate from {} to {RATE_MAX}", .dimension.name(), least(.file))]
    Rate {
        /// The path of the group.
        cgroup: String,
        /// The name of the device.
        device: String,
        /// Which setting, as its control file is called.
        file: &'static str,
        /// What the rate is of.
        dimension: Dimension,
        /// What was asked for, a second.
        rate: u64,
    },
    /// A weight is out of range.
    #[error("io.weight of {cgroup}: {weight} is not a weight from {WEIGHT_MIN} to {WEIGHT_MAX}")]
    Weight {
        /// The path of the group.
        cgroup: String,
        /// What was asked for.
        weight: u32,
    },
    /// More is to be reserved than there is.
    #[error(
        "io.min of {cgroup} on {device}: {what} of {min} would make {sum}, and {above} has {most}"
    )]
    Min {
        /// The path of the group.
        cgroup: String,
        /// The name of the device.
        device: String,
        /// `bps` or `iops`.
        what: &'static str,
        /// What was asked for, a second.
        min: u64,
        /// What that would be with the siblings, a second.
        sum: u64,
        /// The group whose limit or reservation that exceeds: itself, or the one above.
        above: Box<str>,
        /// What that is.
        most: Limit,
    },
    /// Less is to be reserved than groups below have.
    #[error(
        "io.min of {cgroup} on {device}: {what} of {min} is less than the {sum} reserved below"
    )]
    MinBelow {
        /// The path of the group.
        cgroup: String,
        /// The name of the device.
        device: String,
        /// `bps` or `iops`.
        what: &'static str,
        /// What was asked for, a second.
        min: u64,
        /// What is reserved below, a second.
        sum: u64,
    },
    /// A latency is out of range.
    #[error("io.latency of {cgroup} on {device}: {target:?} is not from 1us to 10s")]
    Latency {
        /// The path of the group.
        cgroup: String,
        /// The name of the device.
        device: String,
        /// What was asked for.
        target: Duration,
    },
    /// A root competes with nobody.
    #[error("{file} of {cgroup}: a root competes with nobody, so it has none")]
    Root {
        /// The path of the group.
        cgroup: String,
        /// Which setting, as its control file is called.
        file: &'static str,
    },
    /// The group was removed.
    #[error("{cgroup} was removed, and has no settings for {device}")]
    Removed {
        /// The path of the group.
        cgroup: String,
        /// The name of the device, or what stands for all.
        device: String,
    },
    /// The device was removed, or is another controller's.
    #[error("{cgroup} has no settings for {device}: it was removed, or is another controller's")]
    DeviceGone {
        /// The path of the group.
        cgroup: String,
        /// The name of the device.
        device: String,
    },
}

/// A control file was told of a device that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no device {device}: there are {}", shown(devices))]
#[non_exhaustive]
pub struct UnknownDeviceError {
    /// The name, in quotes.
    pub device: String,
    /// The names of those that there are, in their order.
    pub devices: Vec<String>,
}

/// Returns the least rate that a setting may have.
fn least(file: &str) -> u64 {
    u64::from(file != "io.min")
}

fn shown(devices: &[String]) -> String {
    if devices.is_empty() { String::from("none") } else { devices.join(", ") }
}
