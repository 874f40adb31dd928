//! What can be in the way of an operation.

use std::time::Duration;

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
