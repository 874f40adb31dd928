//! Waiting for an operation's turn, by a future that keeps its stream.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    error::{AcquireError, Refusal},
    op::Op,
    permit::{OwnedPermit, Ticket},
    stream::Stream,
};

/// Waits for an operation's turn, and keeps the stream; from [`Stream::acquire_owned`].
#[must_use = "futures do nothing unless polled"]
pub struct AcquireOwned {
    stream: Stream,
    op: Op,
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    New,
    /// The number of the waiter.
    Waits(usize),
    Done,
}

impl Stream {
    /// As [`acquire`](Self::acquire), by a future, and then a permit, that keep the stream.
    ///
    /// # Concurrency
    ///
    /// Also counts references of the stream; nothing is allocated.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    pub fn acquire_owned(&self, op: Op) -> AcquireOwned {
        AcquireOwned { stream: self.clone(), op, stage: Stage::New }
    }
}

impl Future for AcquireOwned {
    type Output = Result<OwnedPermit, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (inner, op) = (&this.stream.inner, this.op);
        if inner.device.sched.is_inherited() {
            this.stage = Stage::Done;
            return Poll::Ready(Err(inner.refused(op, Refusal::Forked)));
        }
        if matches!(this.stage, Stage::New) {
            this.stage = Stage::Done;
            if let Some(ticket) = inner.take(op) {
                return Poll::Ready(Ok(this.stream.own(ticket)));
            }
            match inner.acquire(op)? {
                Ok(ticket) => return Poll::Ready(Ok(this.stream.own(ticket))),
                Err(key) => this.stage = Stage::Waits(key),
            }
        }
        let Stage::Waits(key) = this.stage else {
            return Poll::Pending; // polled after its end
        };
        let polled = inner.device.sched.poll(key, cx.waker());
        let Some(result) = polled else { return Poll::Pending };
        this.stage = Stage::Done;
        Poll::Ready(match result {
            Ok(slot) => Ok(this.stream.own(Ticket::running(slot, op))),
            Err(why) => Err(inner.refused(op, why)),
        })
    }
}

impl Drop for AcquireOwned {
    fn drop(&mut self) {
        let sched = &self.stream.inner.device.sched;
        if let Stage::Waits(key) = self.stage
            && !sched.is_inherited()
        {
            sched.cancel(key);
        }
    }
}

impl fmt::Debug for AcquireOwned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcquireOwned").field("op", &self.op).finish_non_exhaustive()
    }
}
