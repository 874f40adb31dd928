//! Waiting for an operation's turn: a future, and the same on a thread.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use crate::{
    error::{AcquireError, Refusal},
    op::Op,
    permit::Permit,
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
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    New,
    /// The number of the waiter.
    Waits(usize),
    Done,
}

impl<'a> Acquire<'a> {
    pub(crate) fn new(stream: &'a Stream, op: Op) -> Self {
        Self { stream, op, stage: Stage::New }
    }

    fn poll_with(&mut self, waker: &Waker) -> Poll<Result<Permit<'a>, AcquireError>> {
        let (stream, op) = (self.stream, self.op);
        let inner = &stream.inner;
        if matches!(self.stage, Stage::New) {
            self.stage = Stage::Done;
            if let Some(ticket) = inner.take(op) {
                return Poll::Ready(Ok(Permit::new(stream, ticket)));
            }
            match inner.acquire(op)? {
                Ok(ticket) => return Poll::Ready(Ok(Permit::new(stream, ticket))),
                Err(key) => self.stage = Stage::Waits(key),
            }
        }
        let Stage::Waits(key) = self.stage else {
            return Poll::Pending; // polled after its end
        };
        let Some(result) = inner.device.sched.poll(key, waker) else { return Poll::Pending };
        self.stage = Stage::Done;
        Poll::Ready(match result {
            Ok((granted, node)) => Ok(Permit::new(stream, inner.granted(op, granted, node))),
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
        if let Stage::Waits(key) = self.stage {
            self.stream.inner.device.sched.cancel(key);
            self.stream.inner.device.call();
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
    timeout: Option<Duration>,
) -> Result<Permit<'_>, AcquireError> {
    let mut acquire = Acquire::new(stream, op);
    // While the thread ends it has no waker any more.
    let waker = WAKER.try_with(Waker::clone);
    let waker = waker.unwrap_or_else(|_| Waker::from(Arc::new(Unpark(thread::current()))));
    if let Poll::Ready(result) = acquire.poll_with(&waker) {
        return result;
    }
    let start = Instant::now();
    loop {
        match timeout.map(|timeout| timeout.saturating_sub(start.elapsed())) {
            None => thread::park(),
            Some(Duration::ZERO) => {
                let waited = start.elapsed();
                return Err(stream.inner.refused(op, Refusal::TimedOut { waited }));
            }
            Some(rest) => thread::park_timeout(rest),
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
