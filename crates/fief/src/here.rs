//! Where a future runs, told to the code inside it.

use std::{
    cell::Cell,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use fief_core::Task;
use fief_io::{Limited, Stream, StreamError};
use fief_memory::Reservation;

use crate::{error::GoneError, fief::Parts, group::Group};

thread_local! {
    /// Where the future is that this thread polls.
    static HERE: Cell<Option<Here>> = const { Cell::new(None) };
}

/// A member of a group: what a future [runs](Group::run) as.
///
/// Clones are the same member; the membership ends with the last of them, and with the future.
#[derive(Clone)]
pub struct Here(Arc<Inner>);

struct Inner {
    /// Where it began.
    group: Group,
    member: fief_cpu::Group,
}

/// Returns as what the calling future runs; `None` outside of [`Group::run`] and [`Group::spawn`].
///
/// Costs a thread-local access and the clone of an `Arc`.
#[must_use]
pub fn here() -> Option<Here> {
    let look = |place: &Cell<Option<Here>>| {
        let here = place.take();
        place.set(here.clone());
        here
    };
    HERE.try_with(look).ok().flatten()
}

impl Here {
    pub(crate) fn new(group: Group, member: fief_cpu::Group) -> Self {
        Self(Arc::new(Inner { group, member }))
    }

    /// Returns an empty reservation, charged to the group where the member is now; it stays there.
    ///
    /// [`grow`](Reservation::grow) it and be refused, or [wait](Reservation::grow_async); it is given back when it is
    /// dropped.
    ///
    /// # Errors
    ///
    /// If the memory controller was unregistered.
    pub fn reserve(&self) -> Result<Reservation, GoneError> {
        let css = self.task().css(&self.0.group.parts().memory);
        let gone = || GoneError { controller: "memory", task: self.task().name().to_owned() };
        css.map(|css| css.reserve()).ok_or_else(gone)
    }

    /// Returns a stream of operations on the [disk](crate::Fief::disk), charged to the group where the member is at the
    /// time of each. Other devices have streams by [`Device::stream_for`](fief_io::Device::stream_for).
    ///
    /// # Errors
    ///
    /// If the io controller was unregistered, or the device removed.
    pub fn stream(&self) -> Result<Stream, StreamError> {
        self.0.group.parts().disk.stream_for(self.task())
    }

    /// Wraps a file, or anything that is read and written, to be charged as by [`stream`](Self::stream).
    ///
    /// # Errors
    ///
    /// As [`stream`](Self::stream).
    pub fn limit<T>(&self, inner: T) -> Result<Limited<T>, StreamError> {
        Ok(self.stream()?.limit(inner))
    }

    /// Returns the task, by which the member is moved.
    #[must_use]
    pub fn task(&self) -> &Task {
        self.0.member.task()
    }

    /// Returns the member by which work is given to the cpu controller.
    #[must_use]
    pub fn member(&self) -> &fief_cpu::Group {
        &self.0.member
    }

    /// Returns the group in which it began.
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.0.group
    }

    pub(crate) fn is_of(&self, parts: &Arc<Parts>) -> bool {
        Arc::ptr_eq(self.0.group.parts(), parts)
    }
}

impl fmt::Debug for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Here").field(self.task()).finish()
    }
}

/// A future in whose polls, and in whose drop, [`here()`] says where it is.
pub(crate) struct Within<F> {
    here: Option<Here>,
    future: Option<Pin<Box<F>>>,
}

impl<F> Within<F> {
    pub(crate) fn new(here: Here, future: F) -> Self {
        Self { here: Some(here), future: Some(Box::pin(future)) }
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { here, future } = &mut *self;
        let _stay = Stay::begin(here);
        match future {
            Some(future) => future.as_mut().poll(context),
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Within<F> {
    fn drop(&mut self) {
        let Self { here, future } = self;
        let _stay = Stay::begin(here);
        drop(future.take());
    }
}

/// While it is there, the thread is there, too; it is given back to the future when that gives way.
struct Stay<'h> {
    place: &'h mut Option<Here>,
    before: Option<Here>,
}

impl<'h> Stay<'h> {
    fn begin(place: &'h mut Option<Here>) -> Self {
        // A thread that ends may drop futures when its own places are gone.
        let before = HERE.try_with(|here| here.replace(place.take())).ok().flatten();
        Self { place, before }
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        let before = self.before.take();
        if let Ok(here) = HERE.try_with(|here| here.replace(before)) {
            *self.place = here;
        }
    }
}
