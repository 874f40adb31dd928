//! One direction of a wrapped file or stream: what is charged for the operation that is under way.
//!
//! An operation *begins*, which admits it and says how many bytes it may be, and *ends* with what it moved, or with
//! nothing: then what was admitted is kept for the next one, and is not charged again. So it does not matter how often it
//! is tried, or polled, nor which future does it.
//!
//! What [pays later](crate::Stream::limit_socket) is admitted as soon as what came before is paid for.

use std::io;

use crate::{
    op::Op,
    owned::AcquireOwned,
    permit::{OwnedPermit, Wait},
    stream::Stream,
};

/// One direction of a wrapped file or stream.
pub(crate) struct Lane {
    pub(super) stream: Stream,
    pub(super) pays: Pays,
    pub(super) stage: Stage,
    waited: Wait,
}

/// When operations are charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pays {
    Before,
    Later,
}

/// What has become of the operation that is under way.
pub(crate) enum Stage {
    Idle,
    /// So many bytes were moved that are not charged.
    Owes(u64),
    /// The operation, or what is owed, waits for its turn.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "only futures wait so"))]
    Waits {
        acquire: AcquireOwned,
        bytes: u64,
    },
    /// It was admitted.
    Held {
        permit: OwnedPermit,
        bytes: u64,
    },
}

impl Lane {
    pub(super) fn new(stream: Stream, pays: Pays) -> Self {
        Self { stream, pays, stage: Stage::Idle, waited: Wait::default() }
    }

    /// Returns how long operations waited, together.
    pub(super) fn waited(&self) -> Wait {
        self.waited
    }

    /// Admits an operation, on this thread; returns how many bytes it may be.
    pub(super) fn begin(&mut self, op: Op) -> io::Result<u64> {
        if let Stage::Held { bytes, .. } = self.stage {
            return Ok(bytes);
        }
        if let Stage::Waits { .. } = self.stage {
            self.give_up();
        }
        if let Stage::Owes(bytes) = self.stage {
            let permit = self.stream.acquire_blocking(Op::read(bytes))?;
            let waited = permit.waited();
            drop(permit);
            self.paid(waited);
        }
        if self.pays == Pays::Before {
            let permit = self.stream.acquire_blocking(op)?.into_owned();
            self.hold(permit, op.bytes());
        }
        Ok(op.bytes())
    }

    /// Ends an operation that moved so many bytes; `None` if it is to be tried again.
    pub(super) fn end(&mut self, moved: Option<u64>) {
        let Some(moved) = moved else { return };
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Held { permit, .. } => permit.done(moved),
            Stage::Idle if moved > 0 => {
                // What was read cannot be taken back: if it cannot be charged now, or not at all any more, the next
                // operation hears of it.
                if self.stream.try_acquire(Op::read(moved)).is_err() {
                    self.stage = Stage::Owes(moved);
                }
            }
            other => self.stage = other,
        }
    }

    /// Notes that the operation was admitted.
    pub(super) fn hold(&mut self, permit: OwnedPermit, bytes: u64) {
        self.add(permit.waited());
        self.stage = Stage::Held { permit, bytes };
    }

    /// Notes that nothing is owed any more.
    pub(super) fn paid(&mut self, waited: Wait) {
        self.add(waited);
        self.stage = Stage::Idle;
    }

    /// Ends a wait; what is owed stays owed.
    pub(super) fn give_up(&mut self) {
        if let Stage::Waits { bytes, .. } = self.stage {
            self.stage = match self.pays {
                Pays::Before => Stage::Idle,
                Pays::Later => Stage::Owes(bytes),
            };
        }
    }

    fn add(&mut self, more: Wait) {
        let Wait { limit, queue } = &mut self.waited;
        *limit = limit.saturating_add(more.limit);
        *queue = queue.saturating_add(more.queue);
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.give_up();
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            // Whatever it moved, nobody was told.
            Stage::Held { permit, .. } => permit.done(0),
            Stage::Owes(bytes) => drop(self.stream.charge_urgent(Op::read(bytes))),
            Stage::Idle | Stage::Waits { .. } => {}
        }
    }
}
