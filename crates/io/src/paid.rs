//! What is paid for already: so that wrappers around wrappers charge an operation once.
//!
//! A thread has a list of the devices that somebody further up holds a permit of, and is about to use. Front ends put
//! theirs there for as long as they are in what they wrap, or are polling it; and charge nothing for a device that is
//! there.

use std::{cell::RefCell, future, marker::PhantomData, pin::pin};

use crate::{
    device::DeviceInner,
    permit::{OwnedPermit, Permit},
    stream::Stream,
    sync::Arc,
};

thread_local! {
    static COVERED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Has what the thread does on a device be paid for, until it is dropped: the one put there last first.
pub(crate) struct Cover {
    is_there: bool,
    of_this_thread: PhantomData<*const ()>,
}

impl Cover {
    pub(crate) fn of(stream: &Stream) -> Self {
        let device = key(&stream.inner.device);
        // While the thread ends there is no list: then everything is charged.
        let is_there = COVERED.try_with(|covered| covered.borrow_mut().push(device)).is_ok();
        Self { is_there, of_this_thread: PhantomData }
    }
}

impl Drop for Cover {
    fn drop(&mut self) {
        if self.is_there {
            let _gone = COVERED.try_with(|covered| covered.borrow_mut().pop());
        }
    }
}

/// Returns whether what the thread does on a stream's device now is paid for.
pub(crate) fn is_paid(stream: &Stream) -> bool {
    let device = key(&stream.inner.device);
    COVERED.try_with(|covered| covered.borrow().contains(&device)).unwrap_or(false)
}

fn key(device: &Arc<DeviceInner>) -> usize {
    Arc::as_ptr(device).addr()
}

fn cover<R>(stream: &Stream, f: impl FnOnce() -> R) -> R {
    let _cover = Cover::of(stream);
    f()
}

async fn cover_future<F: Future>(stream: &Stream, future: F) -> F::Output {
    let mut future = pin!(future);
    future::poll_fn(|cx| cover(stream, || future.as_mut().poll(cx))).await
}

impl Permit<'_> {
    /// Runs `f`, in which wrappers of the same device charge nothing: [`Limited`](crate::Limited), and the layer for
    /// services. The permit pays.
    ///
    /// That holds for the calling thread, not for others that `f` starts. What `f` asks streams for itself is
    /// charged. How many bytes it was is up to the caller: see [`done`](Self::done).
    pub fn cover<R>(&self, f: impl FnOnce() -> R) -> R {
        cover(self.stream, f)
    }

    /// As [`cover`](Self::cover), whenever the future is polled; not for tasks that it spawns.
    pub async fn cover_future<F: Future>(&self, future: F) -> F::Output {
        cover_future(self.stream, future).await
    }
}

impl OwnedPermit {
    /// As [`Permit::cover`].
    pub fn cover<R>(&self, f: impl FnOnce() -> R) -> R {
        cover(&self.stream, f)
    }

    /// As [`Permit::cover_future`].
    pub async fn cover_future<F: Future>(&self, future: F) -> F::Output {
        cover_future(&self.stream, future).await
    }
}
