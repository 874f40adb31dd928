//! Waiting for an operation's turn: a future, and the same on a thread.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, Wake, Waker},
    time::Instant,
};

use crate::{
    error::{AcquireError, Refusal},
    op::Op,
    permit::{Permit, Ticket},
    stream::Stream,
    sync::{
        Arc,
        thread::{self, Thread},
    },
};

/// Waits for an operation's turn; from [`Stream::acquire`].
#[must_use = "futures do nothing unless polled"]
pub struct Acquire<'a> {
    stream: &'a Stream,
    op: Op,
    deadline: Option<Instant>,
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    New,
    /// The number of the waiter.
    Waits {
        key: usize,
        begun: Instant,
    },
    Done,
}

impl<'a> Acquire<'a> {
    pub(crate) fn new(stream: &'a Stream, op: Op) -> Self {
        Self { stream, op, deadline: None, stage: Stage::New }
    }

    /// Gives it a deadline, of the [machine's clock](Stream::acquire_until).
    ///
    /// It fails at once, with [`Refusal::WouldBlock`], if a limit lets nothing through before that; and with
    /// [`Refusal::TimedOut`] when it is polled later, which somebody else has to see to.
    pub fn until(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    fn poll_with(&mut self, waker: &Waker) -> Poll<Result<Permit<'a>, AcquireError>> {
        let (stream, op) = (self.stream, self.op);
        let inner = &stream.inner;
        if inner.device.sched.is_inherited() {
            self.stage = Stage::Done;
            return Poll::Ready(Err(inner.refused(op, Refusal::Forked)));
        }
        if matches!(self.stage, Stage::New) {
            self.stage = Stage::Done;
            if let Some(ticket) = inner.take(op) {
                return Poll::Ready(Ok(Permit::new(stream, ticket)));
            }
            let begun = Instant::now();
            let asked = match self.deadline {
                None => inner.acquire(op)?,
                Some(deadline) => {
                    inner.acquire_within(op, Some(deadline.saturating_duration_since(begun)))?
                }
            };
            match asked {
                Ok(ticket) => return Poll::Ready(Ok(Permit::new(stream, ticket))),
                Err(key) => self.stage = Stage::Waits { key, begun },
            }
        }
        let Stage::Waits { key, begun } = self.stage else {
            return Poll::Pending; // polled after its end
        };
        let Some(result) = inner.device.sched.poll(key, waker) else {
            let now = Instant::now();
            if self.deadline.is_none_or(|deadline| now < deadline) {
                return Poll::Pending;
            }
            self.stage = Stage::Done;
            inner.device.sched.cancel(key);
            let why = Refusal::TimedOut { waited: now.saturating_duration_since(begun) };
            return Poll::Ready(Err(inner.refused(op, why)));
        };
        self.stage = Stage::Done;
        Poll::Ready(match result {
            Ok(slot) => Ok(Permit::new(stream, Ticket::running(slot, op))),
            Err(why) => Err(inner.refused(op, why)),
        })
    }
}

impl<'a> Future for Acquire<'a> {
    type Output = Result<Permit<'a>, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_with(cx.waker())
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        let sched = &self.stream.inner.device.sched;
        if let Stage::Waits { key, .. } = self.stage
            && !sched.is_inherited()
        {
            sched.cancel(key);
        }
    }
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static WAKER: Waker = Waker::from(Arc::new(Unpark(thread::current())));
}

/// Waits on the calling thread.
pub(crate) fn block(
    stream: &Stream,
    op: Op,
    deadline: Option<Instant>,
) -> Result<Permit<'_>, AcquireError> {
    let mut acquire = Acquire { deadline, ..Acquire::new(stream, op) };
    // While the thread ends it has no waker any more.
    let waker = WAKER.try_with(Waker::clone);
    let waker = waker.unwrap_or_else(|_| Waker::from(Arc::new(Unpark(thread::current()))));
    if let Poll::Ready(result) = acquire.poll_with(&waker) {
        return result;
    }
    loop {
        match deadline {
            None => thread::park(),
            Some(deadline) => {
                thread::park_timeout(deadline.saturating_duration_since(Instant::now()));
            }
        }
        if let Poll::Ready(result) = acquire.poll_with(&waker) {
            return result;
        }
    }
}

impl fmt::Debug for Acquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire").field("op", &self.op).finish_non_exhaustive()
    }
}
