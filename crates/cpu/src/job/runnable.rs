//! A job's cell: who has its `Runnable` may poll it, and nobody else.
//!
//! The future stands in the job's own allocation, and so does everything else of it.
//!
//! # Invariants
//!
//! 1. What is in [`Job::live`] is touched by who has the token of `job/state.rs`, and by nobody else. Who makes a job has
//!    it; what [`Run`] does is called by a [`Runnable`] that gives itself up, which is the token; in
//!    between, [`State::wake`] and [`State::abort`] say who has got it. All of that is in this file.
//! 2. The future is not moved once its job is made: the job is in an `Arc`, and the future is dropped where it is.
//!
//! # Orderings
//!
//! Edges `wake→run`, `run→run` and `token` of `job/state.rs`: who gets the token sees what those did who had it.
//!
//! # Tests
//!
//! `tests/loom_job.rs`, in which loom watches `live`; `tests/job.rs`.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, Wake, Waker},
};

use super::{
    Home, Outcome, Watch,
    error::JoinError,
    join::{JoinHandle, Output, Seat, Seated},
    state::{Paused, State},
};
use crate::{
    caught::{Payload, caught, discard},
    sync::{Arc, Exclusive},
};

/// A job that has to be run: whoever has this may, and nobody else. Dropping it cancels the job.
#[must_use = "dropping it cancels the job"]
pub(crate) struct Runnable(Option<Arc<dyn Run>>);

/// A job, whatever its future and its home.
trait Run: Watch {
    /// Polls it; the caller has the token, and gives it up.
    fn run(self: Arc<Self>) -> Outcome;
    /// Has its home queue it; as above.
    fn give_back(self: Arc<Self>);
    /// Ends it; as above.
    fn cancel(self: Arc<Self>);
}

/// A job.
struct Job<F: Future, H> {
    state: State,
    key: usize,
    live: Exclusive<Live<F, H>>,
    seat: Seat<F::Output>,
}

/// What a job has until it ends. Then it lets go of all of it, because others may keep its wakers for long.
struct Live<F, H> {
    future: Option<F>,
    waker: Option<Waker>,
    home: Option<Arc<H>>,
}

// SAFETY: invariant 1: one thread at a time touches `live`, and what is there may go from thread to thread: the
// waker, and by the bounds the future and the home, which is shared as well. The rest is `Sync` by itself, as long
// as outputs may go from thread to thread.
unsafe impl<F, H> Sync for Job<F, H>
where
    F: Future<Output: Send> + Send,
    H: Send + Sync,
{
}

impl Runnable {
    /// Makes a job of `future`, queued.
    pub(super) fn new<H, F>(home: Arc<H>, key: usize, future: F) -> (Self, JoinHandle<F::Output>)
    where
        H: Home,
        F: Future<Output: Send> + Send + 'static,
    {
        let job = Arc::new(Job {
            state: State::queued(),
            key,
            live: Exclusive::new(Live { future: Some(future), waker: None, home: Some(home) }),
            seat: Seat::new(),
        });
        let waker = Waker::from(Arc::clone(&job));
        job.live.with_mut(|live| {
            // SAFETY: invariant 1: the token is here, where the job was made, and nobody else knows the job.
            let live = unsafe { &mut *live };
            live.waker = Some(waker);
        });
        (Self(Some(Arc::clone(&job) as Arc<dyn Run>)), JoinHandle::new(job))
    }

    /// Polls the job once.
    pub(crate) fn run(mut self) -> Outcome {
        self.0.take().map_or(Outcome::Done, Run::run)
    }

    /// Has its home queue the job, which was not run.
    pub(crate) fn give_back(mut self) {
        if let Some(job) = self.0.take() {
            job.give_back();
        }
    }

    /// Ends the job as cancelled: its future is dropped here.
    pub(crate) fn cancel(self) {
        drop(self);
    }

    /// Returns whether it was aborted: running it then polls nothing, and drops the future.
    pub(crate) fn is_aborted(&self) -> bool {
        self.0.as_ref().is_some_and(|job| job.is_aborted())
    }
}

impl Drop for Runnable {
    fn drop(&mut self) {
        if let Some(job) = self.0.take() {
            job.cancel();
        }
    }
}

impl fmt::Debug for Runnable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.as_ref().map(|job| job.state());
        f.debug_tuple("Runnable").field(&state).finish()
    }
}

impl<F, H> Job<F, H>
where
    H: Home,
    F: Future<Output: Send> + Send + 'static,
{
    /// Polls the future; the caller has the token.
    fn poll(&self) -> Poll<Output<F::Output>> {
        let polled = self.live.with_mut(|live| {
            // SAFETY: invariant 1: the token is the caller's.
            let live = unsafe { &mut *live };
            let (Some(future), Some(waker)) = (&mut live.future, &live.waker) else {
                return Ok(Poll::Pending); // it has ended, and is not polled
            };
            // SAFETY: invariant 2.
            let future = unsafe { Pin::new_unchecked(future) };
            caught(|| future.poll(&mut Context::from_waker(waker)))
        });
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(payload) => Poll::Ready(Err(JoinError::panicked(payload))),
        }
    }

    /// Ends the job; the caller has the token, and the job is running.
    fn end(&self, output: Output<F::Output>) {
        let (dropped, waker, home) = self.live.with_mut(|live| {
            // SAFETY: invariant 1: the token is the caller's.
            let live = unsafe { &mut *live };
            // Where it is, by invariant 2.
            let dropped = caught(|| live.future = None);
            (dropped, live.waker.take(), live.home.take())
        });
        let output = match dropped {
            Ok(()) => output,
            Err(payload) => replace(output, payload),
        };
        if let Some(home) = home {
            home.done(self.key);
        }
        drop(waker); // the reference to itself
        self.seat.fill(output, || self.state.finish());
    }

    /// Returns its home, if it has not ended; the caller has the token.
    ///
    /// A reference of its own: as soon as the job is queued somebody may end it.
    fn home(&self) -> Option<Arc<H>> {
        self.live.with(|live| {
            // SAFETY: invariant 1: the token is the caller's.
            let live = unsafe { &*live };
            live.home.as_ref().map(Arc::clone)
        })
    }

    /// Has its home queue it; the caller has the token, and gives it up.
    fn push(self: Arc<Self>) {
        if let Some(home) = self.home() {
            home.push(Runnable(Some(self)));
        }
    }
}

/// Returns what a job comes to whose future panicked as it was dropped: the first panic.
fn replace<T>(output: Output<T>, payload: Payload) -> Output<T> {
    match output {
        Err(error) if error.is_panic() => {
            discard(payload);
            Err(error)
        }
        output => {
            discard(output);
            Err(JoinError::panicked(payload))
        }
    }
}

impl<F, H> Run for Job<F, H>
where
    H: Home,
    F: Future<Output: Send> + Send + 'static,
{
    fn run(self: Arc<Self>) -> Outcome {
        if !self.state.start() {
            self.end(Err(JoinError::cancelled()));
            return Outcome::Done;
        }
        if let Poll::Ready(output) = self.poll() {
            self.end(output);
            return Outcome::Done;
        }
        match self.state.pause() {
            Paused::Idle => Outcome::Idle,
            Paused::Woken => Outcome::Woken(Runnable(Some(self))),
            Paused::Aborted => {
                self.cancel();
                Outcome::Done
            }
        }
    }

    fn give_back(self: Arc<Self>) {
        if let Some(home) = self.home() {
            home.give_back(Runnable(Some(self)));
        }
    }

    fn cancel(self: Arc<Self>) {
        // Aborted or not: it is not polled.
        let _is_wanted = self.state.start();
        self.end(Err(JoinError::cancelled()));
    }
}

impl<F, H> Watch for Job<F, H>
where
    H: Home,
    F: Future<Output: Send> + Send + 'static,
{
    fn abort(self: Arc<Self>) {
        if self.state.abort() {
            self.push();
        }
    }

    fn is_aborted(&self) -> bool {
        self.state.is_aborted()
    }

    fn is_done(&self) -> bool {
        self.state.is_done()
    }

    fn state(&self) -> &dyn fmt::Debug {
        &self.state
    }
}

impl<F, H> Wake for Job<F, H>
where
    H: Home,
    F: Future<Output: Send> + Send + 'static,
{
    fn wake(self: Arc<Self>) {
        if self.state.wake() {
            self.push();
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.wake() {
            Arc::clone(self).push();
        }
    }
}

impl<F, H> Seated<F::Output> for Job<F, H>
where
    H: Home,
    F: Future<Output: Send> + Send + 'static,
{
    fn seat(&self) -> &Seat<F::Output> {
        &self.seat
    }

    fn into_watch(self: Arc<Self>) -> Arc<dyn Watch> {
        self
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::future::Ready;

    use super::*;

    struct Nowhere;

    impl Home for Nowhere {
        fn push(self: &Arc<Self>, _job: Runnable) {}
        fn done(&self, _key: usize) {}
    }

    /// What a job takes beside its future and its output, with the counts of its `Arc`.
    #[test]
    fn a_job_is_small() {
        let size = size_of::<Job<Ready<()>, Nowhere>>() + 2 * size_of::<usize>();
        assert_eq!(size, 96);
        assert_eq!(size_of::<Runnable>(), 2 * size_of::<usize>());
        assert_eq!(size_of::<Option<JoinHandle<()>>>(), 2 * size_of::<usize>());
    }
    /// It has a waker of itself, until it ends.
    #[test]
    fn a_job_that_ended_is_freed() {
        for is_run in [false, true] {
            let (runnable, handle) = Runnable::new(Arc::new(Nowhere), 0, std::future::ready(1));
            let job = runnable.0.as_ref().map(Arc::downgrade).expect("not run yet");
            if is_run {
                assert!(matches!(runnable.run(), Outcome::Done));
            } else {
                drop(runnable);
            }
            assert_eq!(job.strong_count(), 1, "the handle's");
            drop(handle);
            assert_eq!(job.strong_count(), 0);
        }
    }
}
