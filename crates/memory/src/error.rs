//! Why memory is refused.

use std::fmt;

use fief_core::Limit;
use thiserror::Error as ThisError;

use crate::{
    chain::{MOST, Refused, Why},
    events::{Events, Kind},
    node::Node,
    reservation::Reservation,
    sync::Arc,
};

/// A charge is refused; nothing is charged.
#[derive(Clone, Debug, ThisError)]
#[non_exhaustive]
pub enum ChargeError {
    /// The group, or one above it, has no room.
    #[error(transparent)]
    Over(Over),
    /// The group is removed, or is about to be: what is charged there can only shrink, or be charged by force.
    #[error("{cgroup} is removed: {asked} bytes more cannot be charged there")]
    Removed {
        /// The path of the group, as far as it is known.
        cgroup: String,
        /// How much was asked for.
        asked: u64,
    },
    /// Nobody could go on, and the group was chosen as the victim: what it waits for it does not get.
    #[error("{cgroup} is to give its memory back: {asked} bytes more are not waited for there")]
    Killed {
        /// The path of the group that was chosen, or is below the one that was.
        cgroup: String,
        /// How much was asked for.
        asked: u64,
    },
    /// There was no room until the deadline.
    #[error("the deadline passed: {0}")]
    DeadlinePassed(Over),
    /// No charge may be so large, whatever the limits.
    #[error("{asked} bytes asked by {cgroup}: one charge may be of at most {MOST}")]
    TooLarge {
        /// The path of the group that asked.
        cgroup: String,
        /// How much was asked for.
        asked: u64,
    },
}

/// A reservation has less than was to be split off; it is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[error("{used} bytes are reserved: {asked} cannot be split off")]
#[non_exhaustive]
pub struct SplitError {
    /// How much it has, in bytes.
    pub used: u64,
    /// How much was to be split off, in bytes.
    pub asked: u64,
}

/// Two reservations belong to different groups; both are as they were.
#[derive(Debug, ThisError)]
#[error("a reservation of {} cannot be merged into one of {into}", .reservation.cgroup())]
#[non_exhaustive]
pub struct MergeError {
    /// What was to be merged.
    pub reservation: Reservation,
    /// The path of the group of the other one.
    pub into: String,
}

/// A group has no room.
///
/// Made without an allocation; texts and paths are made when they are asked for.
#[derive(Clone)]
pub struct Over {
    node: Arc<Node>,
    /// What was in use there, in bytes.
    pub current: u64,
    /// Its `memory.max`.
    pub max: Limit,
    /// How much was asked for, in bytes.
    pub asked: u64,
    /// How many waited for room before this charge, and had been passed too often; 0 if there was no room
    /// anyway.
    pub waiting_before: u64,
}

/// Less was reclaimed than was asked for.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[error("{freed} of {asked} bytes of {cgroup} reclaimed, {started} being spilled")]
#[non_exhaustive]
pub struct ReclaimError {
    /// The path of the group.
    pub cgroup: String,
    /// How much was asked for, in bytes.
    pub asked: u64,
    /// How much was freed all the same, in bytes.
    pub freed: u64,
    /// How much owners were asked to spill, in bytes.
    pub started: u64,
}

impl Over {
    /// Makes the error of a refusal, for a charge of `asked`.
    pub(crate) fn of(refused: Refused, asked: u64) -> Self {
        let max = refused.max();
        let waiting_before = match refused.why {
            Why::Behind(waiting) => waiting,
            Why::Max | Why::Removed | Why::TooLarge => 0,
        };
        Self { node: refused.node, current: refused.usage, max, asked, waiting_before }
    }

    /// Returns the path of the group that refused, as of now: the one charged, or one above it.
    #[must_use]
    pub fn cgroup(&self) -> String {
        self.node.path()
    }
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { current, max, asked, waiting_before, .. } = self;
        let cgroup = self.cgroup();
        if *waiting_before > 0 {
            return write!(
                f,
                "{asked} bytes asked, and room below memory.max of {cgroup} is kept for {waiting_before} \
                 before: {current} of {max} bytes in use"
            );
        }
        write!(f, "memory.max of {cgroup} reached: {current} of {max} bytes in use, {asked} asked")
    }
}

impl fmt::Debug for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Over")
            .field("cgroup", &self.cgroup())
            .field("current", &self.current)
            .field("max", &self.max)
            .field("asked", &self.asked)
            .field("waiting_before", &self.waiting_before)
            .finish()
    }
}

impl std::error::Error for Over {}

impl ChargeError {
    /// Makes the error of a refusal, for a charge of `asked`, and counts the refusal.
    #[cold]
    pub(crate) fn noted(refused: Refused, asked: u64) -> Self {
        if refused.why == Why::Max {
            Events::note(&refused.node, Kind::Max);
        }
        Self::new(refused, asked)
    }

    /// Makes the error of a refusal, for a charge of `asked`.
    pub(crate) fn new(refused: Refused, asked: u64) -> Self {
        match refused.why {
            Why::Max | Why::Behind(_) => Self::Over(Over::of(refused, asked)),
            Why::Removed => Self::Removed { cgroup: refused.node.path(), asked },
            Why::TooLarge => Self::TooLarge { cgroup: refused.node.path(), asked },
        }
    }
}
