//! Permits: operations that were admitted.

use std::{fmt, mem, time::Duration};

use crate::{
    op::{Kind, Op},
    stream::Stream,
    table,
    tree::Amount,
};

/// An operation that was admitted, while it is done; dropping it says that it has ended, and used all that it asked for.
///
/// That is free if it was admitted without the device's lock. One that is forgotten keeps its place in flight.
#[must_use = "the operation has ended when it is dropped"]
pub struct Permit<'a> {
    pub(crate) stream: &'a Stream,
    ticket: Ticket,
}

/// A [`Permit`] that keeps its stream.
#[must_use = "the operation has ended when it is dropped"]
pub struct OwnedPermit {
    pub(crate) stream: Stream,
    ticket: Ticket,
}

/// How long an operation waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Wait {
    /// For a limit.
    pub limit: Duration,
    /// For its turn, or a place in flight.
    pub queue: Duration,
}

/// What was admitted, and how.
pub(crate) struct Ticket {
    from: Source,
    bytes: u64,
    kind: Kind,
}

/// Where what was admitted came from.
#[derive(Clone, Copy)]
enum Source {
    /// From what the thread had of the node with that key.
    Lease(u64),
    /// From the tree, by way of the device's lock, behind which this is its number.
    Tree(usize),
    /// It has ended.
    Nowhere,
}

impl Ticket {
    #[inline]
    pub(crate) fn leased(key: u64, op: Op) -> Self {
        Self { from: Source::Lease(key), bytes: op.bytes, kind: op.kind }
    }

    pub(crate) fn running(slot: usize, op: Op) -> Self {
        Self { from: Source::Tree(slot), bytes: op.bytes, kind: op.kind }
    }

    fn waited(&self, stream: &Stream) -> Wait {
        let sched = &stream.inner.device.sched;
        match self.from {
            Source::Tree(slot) if !sched.is_inherited() => {
                let waited = sched.waited(slot);
                let (limit, queue) =
                    (Duration::from_nanos(waited.limit), Duration::from_nanos(waited.queue));
                Wait { limit, queue }
            }
            Source::Tree(_) | Source::Lease(_) | Source::Nowhere => Wait::default(),
        }
    }

    /// Gives back what was not used, and the place in flight.
    fn settle(&mut self, stream: &Stream, actual: u64) {
        let device = &stream.inner.device;
        let from = mem::replace(&mut self.from, Source::Nowhere);
        if device.sched.is_inherited() {
            return; // it is the parent's
        }
        let rest = self.bytes.saturating_sub(actual);
        match from {
            Source::Tree(slot) => {
                device.sched.finish(slot, rest, &device.cost);
                // Who is next may be waiting for a limit, which nobody could tell as long as there was no place.
                device.call();
            }
            Source::Lease(key) if rest > 0 => {
                // The thread has the node still, or the stream has; else nobody knows it any more.
                if let Some(node) = table::node(key).or_else(|| stream.inner.node(key)) {
                    let amount = Amount { bytes: rest, ops: 0, cost: 0 };
                    device.sched.refund(&node, stream.inner.flow(), self.kind, amount);
                }
            }
            Source::Lease(_) | Source::Nowhere => {}
        }
    }

    /// Ends it as used up.
    #[inline]
    fn drop_on(&mut self, stream: &Stream) {
        if let Source::Tree(_) = self.from {
            self.settle(stream, self.bytes);
        }
    }
}

impl<'a> Permit<'a> {
    pub(crate) fn new(stream: &'a Stream, ticket: Ticket) -> Self {
        Self { stream, ticket }
    }

    /// Ends the operation, which read or wrote so many bytes: what was charged beyond that is given back.
    ///
    /// More than was asked for is taken as that.
    pub fn done(mut self, actual: u64) {
        self.ticket.settle(self.stream, actual); // its drop has nothing more to do
    }

    /// Returns how long it waited: what is not the operation's own time.
    ///
    /// # Concurrency
    ///
    /// Takes the device's lock if it was admitted by that.
    #[must_use]
    pub fn waited(&self) -> Wait {
        self.ticket.waited(self.stream)
    }

    /// Makes it keep its stream.
    pub fn into_owned(mut self) -> OwnedPermit {
        let Ticket { bytes, kind, .. } = self.ticket;
        let from = mem::replace(&mut self.ticket.from, Source::Nowhere);
        self.stream.own(Ticket { from, bytes, kind })
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.ticket.drop_on(self.stream);
    }
}

impl OwnedPermit {
    pub(crate) fn new(stream: Stream, ticket: Ticket) -> Self {
        Self { stream, ticket }
    }

    /// As [`Permit::done`].
    pub fn done(mut self, actual: u64) {
        self.ticket.settle(&self.stream, actual); // its drop has nothing more to do
    }

    /// As [`Permit::waited`].
    #[must_use]
    pub fn waited(&self) -> Wait {
        self.ticket.waited(&self.stream)
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        self.ticket.drop_on(&self.stream);
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("bytes", &self.ticket.bytes).finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPermit").field("bytes", &self.ticket.bytes).finish_non_exhaustive()
    }
}
