//! Jobs: futures and closures that somebody else runs.
//!
//! A job has a *home*, which queues it, and knows nothing else of where it runs. It goes round like this:
//!
//! 1. [`future`] or [`closure`] makes it, queued: the caller has its [`Runnable`], and puts it somewhere.
//! 2. Somebody takes the `Runnable` and [runs](Runnable::run) it: it is polled once.
//! 3. If it is woken while it runs, the runner has the `Runnable` back, and puts it where it wants.
//! 4. Else it is idle until it is woken: whoever wakes it [pushes](Home::push) it to its home, and 2 follows.
//!    However often it is woken until then, it is pushed once.
//! 5. When it is ready, aborted or panics, its future is dropped, its home is told ([`Home::done`]), and its output
//!    goes to the [`JoinHandle`].
//!
//! # Invariants
//!
//! 1. Who has the `Runnable`, or is running the job, has the *token* of `job/state.rs`, and alone touches the future.
//! 2. A job ends once: its future is dropped, by whoever has the token, then `done` is called, then its output is
//!    left. A `Runnable` that is dropped ends its job as cancelled, on the thread that drops it.
//! 3. A job keeps its waker until it ends, so that a poll clones none and allocates nothing. That is a reference of the
//!    job to itself: it lives until it ends, even if nobody is left who could wake it. So a home knows its
//!    jobs, by an [`AbortHandle`] each, and aborts them when it is to end.
//! 4. A job that has ended keeps nothing of its future, nor its home: wakers of it may be kept for long.
//! 5. Users' code (polls, drops of futures, outputs and wakers, wakers' calls) runs under no lock, and its panics end
//!    in the job.
//!
//! # Cost
//!
//! One allocation a job. A poll of a job that wakes itself is three locked instructions: begin, wake, end. One
//! that goes idle and is woken by a waker that the waking consumes is six, and the home's: the same three, a
//! reference to the job given back, and one to the home taken and given back.
//!
//! # Tests
//!
//! `tests/loom_job.rs`; `tests/job.rs`.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll},
};

use self::join::JoinHandle;
use crate::sync::Arc;

pub(crate) use self::runnable::Runnable;

#[expect(unsafe_code, reason = "the future stands in its job; see docs/unsafe.md")]
mod runnable;
pub(crate) mod state;
pub(crate) mod join;
pub(crate) mod error;

/// Where jobs are queued.
pub(crate) trait Home: Send + Sync + 'static {
    /// Takes a job that was idle and was woken, or aborted. Called on any thread, under no lock of the job's.
    fn push(self: &Arc<Self>, job: Runnable);

    /// Takes a job that was queued from somebody who took it and does not run it, but will look for something to run.
    fn give_back(self: &Arc<Self>, job: Runnable) {
        self.push(job);
    }

    /// Hears that the job with `key` has ended: once a job, after its future was dropped and before its handle is
    /// ready. Called by who runs the job, cancels it, or drops its `Runnable`.
    fn done(&self, key: usize);
}

/// What became of a job that was run.
#[derive(Debug)]
#[must_use]
pub(crate) enum Outcome {
    /// It waits; who wakes it pushes it to its home.
    Idle,
    /// It was woken while it ran: the caller queues it.
    Woken(Runnable),
    /// It has ended.
    Done,
}

/// Aborts a job, and does not wait for it. Keeps neither the job's future nor its output, only a little memory.
#[derive(Clone)]
pub struct AbortHandle(Arc<dyn Watch>);

/// A job as those see it who do not run it.
pub(crate) trait Watch: Send + Sync {
    /// Has it ended by whoever has the token, or will.
    fn abort(self: Arc<Self>);
    fn is_aborted(&self) -> bool;
    fn is_done(&self) -> bool;
    /// The name of its state. Not the state: to change that is for its `Runnable` alone.
    fn state(&self) -> &dyn fmt::Debug;
}

/// Makes a job of `future`, queued; `key` is what its home knows it by.
pub(crate) fn future<H, F>(home: Arc<H>, key: usize, future: F) -> (Runnable, JoinHandle<F::Output>)
where
    H: Home,
    F: Future<Output: Send> + Send + 'static,
{
    Runnable::new(home, key, future)
}

/// Makes a job of `closure`, queued; `key` is what its home knows it by.
pub(crate) fn closure<H, T>(
    home: Arc<H>,
    key: usize,
    closure: impl FnOnce() -> T + Send + 'static,
) -> (Runnable, JoinHandle<T>)
where
    H: Home,
    T: Send + 'static,
{
    future(home, key, Call(Some(closure)))
}

impl AbortHandle {
    pub(crate) fn new(job: Arc<dyn Watch>) -> Self {
        Self(job)
    }

    /// Has the job cancelled, as [`JoinHandle::abort`] does.
    pub fn abort(&self) {
        Arc::clone(&self.0).abort();
    }

    /// Returns whether the job has ended, as [`JoinHandle::is_finished`] does.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_done()
    }
}

impl fmt::Debug for AbortHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AbortHandle").field(self.0.state()).finish()
    }
}

/// A closure as a future that is ready at once.
struct Call<C>(Option<C>);

/// The closure is moved out before it is called, and never pinned.
impl<C> Unpin for Call<C> {}

impl<C: FnOnce() -> T, T> Future for Call<C> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<T> {
        // Polled once: a job is not polled again when it was ready, or panicked.
        mem::take(&mut self.0).map_or(Poll::Pending, |closure| Poll::Ready(closure()))
    }
}
