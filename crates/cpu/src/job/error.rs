//! Why a job has no output.

use std::{fmt, panic};

use crate::{caught::Payload, sync::Mutex};

/// The error of a job that ended without an output: it was cancelled, or it panicked.
///
/// Made by [`JoinHandle`](crate::JoinHandle).
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct JoinError(Kind);

#[derive(Debug, thiserror::Error)]
enum Kind {
    #[error("the job was cancelled")]
    Cancelled,
    #[error("the job panicked{0}")]
    Panicked(Box<Panic>),
}

/// What it panicked with. The mutex is there to make it `Sync`: a payload need not be.
struct Panic {
    message: Option<Box<str>>,
    payload: Mutex<Payload>,
}

impl JoinError {
    pub(crate) fn cancelled() -> Self {
        Self(Kind::Cancelled)
    }

    pub(crate) fn panicked(payload: Payload) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let message = text.map(Box::from);
        Self(Kind::Panicked(Box::new(Panic { message, payload: Mutex::new(payload) })))
    }

    /// Returns whether the job was cancelled: aborted, killed with its group, or shut down with its pool.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0, Kind::Cancelled)
    }

    /// Returns whether the job panicked, or its future as it was dropped.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Kind::Panicked(_))
    }

    /// Returns what the job panicked with; `None` if it did not.
    #[must_use]
    pub fn into_panic(self) -> Option<Payload> {
        match self.0 {
            Kind::Cancelled => None,
            Kind::Panicked(panic) => {
                Some(std::mem::replace(&mut *panic.payload.lock(), Box::new(())))
            }
        }
    }

    /// Goes on with the job's panic on this thread; gives the error back if it did not panic.
    ///
    /// # Panics
    ///
    /// With the job's own payload, if the job panicked. The panic hook is not called again.
    #[must_use]
    pub fn resume_unwind(self) -> Self {
        match self.into_panic() {
            Some(payload) => panic::resume_unwind(payload),
            None => Self::cancelled(),
        }
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.as_ref().map_or(Ok(()), |message| write!(f, ": {message}"))
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&self.message).finish()
    }
}
