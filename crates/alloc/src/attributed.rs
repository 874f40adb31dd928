//! `Attributed`: a future in whose polls the thread is in a group.

use std::{
    mem::ManuallyDrop,
    pin::Pin,
    task::{Context, Poll},
};

use crate::ambient::Ambient;

/// A future that runs in a group wherever it is polled, and is dropped in it. See [`Ambient::wrap`].
///
/// # Invariants
///
/// `future` is pinned when this is: it is not moved from then on until it is dropped, in place, by `drop`.
#[must_use = "futures do nothing unless they are polled"]
#[derive(Debug)]
pub struct Attributed<F> {
    ambient: Ambient,
    future: ManuallyDrop<F>,
}

impl<F> Attributed<F> {
    pub(crate) fn new(ambient: Ambient, future: F) -> Self {
        Self { ambient, future: ManuallyDrop::new(future) }
    }

    /// Returns the group.
    pub fn ambient(&self) -> &Ambient {
        &self.ambient
    }
}

impl<F: Future> Future for Attributed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: nothing is moved out of it below.
        let this = unsafe { self.get_unchecked_mut() };
        let _scope = this.ambient.enter();
        // SAFETY: the invariant: pinned as this is.
        let future = unsafe { Pin::new_unchecked(&mut *this.future) };
        future.poll(context)
    }
}

impl<F> Drop for Attributed<F> {
    fn drop(&mut self) {
        let _scope = self.ambient.enter();
        // SAFETY: not dropped before, and not touched again.
        unsafe { ManuallyDrop::drop(&mut self.future) };
    }
}
