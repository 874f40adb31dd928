//! What came of a job, and the handle by which it is had.
//!
//! [`Seat`] is the place in the job where its output meets its handle. Output and handle come and go in any
//! order, each once, and everything that passes between them is moved under the seat's lock:
//!
//! | seat | the output is there | the handle is polled | the handle is dropped |
//! |---|---|---|---|
//! | `Empty`, `Waiting` | `Full`; who waits is woken | `Waiting` | `Left` |
//! | `Full` | | `Taken`, and has it | `Left`; the output is dropped |
//! | `Left` | the output is dropped | | |
//!
//! So the output is taken or dropped once, by whoever comes last. Wakers and outputs are others' code: they are
//! cloned, called and dropped after the lock was given back.
//!
//! # Tests
//!
//! `tests/loom_job.rs`; `tests/job.rs`.

#[cfg(not(loom))]
use std::task::Wake;
use std::{
    fmt,
    panic::{RefUnwindSafe, UnwindSafe},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use super::{AbortHandle, Watch, error::JoinError};
#[cfg(not(loom))]
use crate::sync::thread::{self, Thread};
use crate::{
    caught::{caught, discard},
    sync::{Arc, Mutex, skip},
};

/// What a job comes to.
pub(crate) type Output<T> = Result<T, JoinError>;

/// A job's output, to come: a future of it. Dropping it detaches the job, which runs on.
///
/// A job ends by its output, by [`abort`](Self::abort), by a panic, with its group's kill, or with its pool's
/// shutdown; the handle is ready in all cases. The future or closure was dropped before that, but
/// its output may still be on its way to the handle when the pool no longer counts the job.
///
/// # Concurrency
///
/// A poll takes a lock for as long as it takes to move the output or a waker. An output that nobody waits for any more
/// is dropped by the handle's drop, or by the job's end, whichever comes later; panics of its drop end there.
#[must_use = "dropping the handle detaches the job; `abort` stops it"]
pub struct JoinHandle<T>(Arc<dyn Seated<T>>);

/// A job with its seat.
pub(crate) trait Seated<T>: Watch {
    /// The place where the output is left.
    fn seat(&self) -> &Seat<T>;
    /// The same job, without its output.
    fn into_watch(self: Arc<Self>) -> Arc<dyn Watch>;
}

/// Where output and handle meet.
pub(crate) struct Seat<T>(Mutex<Place<T>>);

/// Who has been there.
enum Place<T> {
    Empty,
    Waiting(Waker),
    Full(Output<T>),
    Taken,
    Left,
}

impl<T> JoinHandle<T> {
    pub(crate) fn new(job: Arc<dyn Seated<T>>) -> Self {
        Self(job)
    }

    /// Has the job cancelled: it is not polled again, and dropped where it would have been polled.
    ///
    /// A job that is being polled ends with that poll. If this poll has an output, or panics, then that is what the
    /// handle gets; else it gets an error with [`is_cancelled`](JoinError::is_cancelled). A closure that has
    /// begun runs to its end. Aborting a job that is done changes nothing.
    ///
    /// # Concurrency
    ///
    /// One exchange; if that queues the job, then the locks of a wake-up as well.
    pub fn abort(&self) {
        Arc::clone(&self.0).into_watch().abort();
    }

    /// Returns a handle that can abort the job, and nothing else.
    #[must_use]
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle::new(Arc::clone(&self.0).into_watch())
    }

    /// Returns whether the job has ended: then the handle is ready, and what the job did is seen by the caller.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_done()
    }

    /// Waits for the job's output, blocking the thread.
    ///
    /// Not to be called in a job or a task of an async runtime: it takes the thread from them. A pool whose workers
    /// all wait like this for jobs of their own makes no progress.
    ///
    /// # Errors
    ///
    /// If the job was cancelled or panicked.
    ///
    /// # Panics
    ///
    /// If the handle was polled before, and was ready.
    #[cfg(not(loom))]
    pub fn join(mut self) -> Result<T, JoinError> {
        let waker = Waker::from(Arc::new(Parked(thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            match Pin::new(&mut self).poll(&mut context) {
                Poll::Ready(output) => return output,
                Poll::Pending => thread::park(),
            }
        }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    /// Returns the output, once.
    ///
    /// # Panics
    ///
    /// If it was ready before.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.seat().poll(context.waker())
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        self.0.seat().leave();
    }
}

impl<T> UnwindSafe for JoinHandle<T> {}
impl<T> RefUnwindSafe for JoinHandle<T> {}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JoinHandle").field(self.0.state()).finish()
    }
}

impl<T> Seat<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Place::Empty))
    }

    /// Leaves the output, and has `before` run while nobody can take it; wakes who waits.
    pub(crate) fn fill(&self, output: Output<T>, before: impl FnOnce()) {
        let (unused, waiter) = {
            let mut place = self.0.lock();
            before();
            match *place {
                Place::Left => (Some(output), None),
                _ => (None, Some(std::mem::replace(&mut *place, Place::Full(output)))),
            }
        };
        if let Some(Place::Waiting(waker)) = waiter
            && let Err(payload) = caught(|| waker.wake())
        {
            discard(payload);
        }
        discard(unused);
    }

    /// Takes the output, or has `waker` woken when it is there.
    fn poll(&self, waker: &Waker) -> Poll<Output<T>> {
        if let Some(answer) = self.look(waker) {
            return answer;
        }
        let mut own = Some(waker.clone());
        let mut place = self.0.lock();
        let next = match &*place {
            Place::Full(_) => Place::Taken,
            _ => own.take().map_or(Place::Empty, Place::Waiting),
        };
        let old = std::mem::replace(&mut *place, next);
        drop(place);
        discard(own);
        match old {
            // It came while the waker was cloned.
            Place::Full(output) if !skip("seat_looks_again") => Poll::Ready(output),
            old => {
                discard(old);
                Poll::Pending
            }
        }
    }

    /// Takes the output; `None` if it is not there, and `waker` has to be left.
    fn look(&self, waker: &Waker) -> Option<Poll<Output<T>>> {
        let mut place = self.0.lock();
        match &mut *place {
            Place::Waiting(old) if old.will_wake(waker) => Some(Poll::Pending),
            full @ Place::Full(_) => match std::mem::replace(full, Place::Taken) {
                Place::Full(output) => Some(Poll::Ready(output)),
                _ => None,
            },
            Place::Empty | Place::Waiting(_) => None,
            Place::Taken | Place::Left => {
                drop(place);
                panic!("a join handle is polled after it was ready")
            }
        }
    }

    /// Gives up what comes.
    fn leave(&self) {
        let old = std::mem::replace(&mut *self.0.lock(), Place::Left);
        discard(old);
    }
}

/// Unparks a thread.
#[cfg(not(loom))]
struct Parked(Thread);

#[cfg(not(loom))]
impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}
