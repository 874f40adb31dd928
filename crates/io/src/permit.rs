//! Permits: operations that were admitted.

use std::{fmt, time::Duration};

use crate::{
    node::Node,
    op::Op,
    sched::Granted,
    stream::Stream,
    sync::Arc,
    table,
    tree::{Amount, FlowId, Waited},
};

/// An operation that was admitted, while it is done; dropping it says that it has ended, and used all that it asked for.
///
/// Where nothing counts what is in flight that is free. One that is forgotten keeps its place in flight.
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
    key: u64,
    op: Op,
    slow: Option<Slow>,
}

/// What was admitted by way of the device's lock.
struct Slow {
    granted: Granted,
    node: Arc<Node>,
    flow: FlowId,
}

impl Ticket {
    pub(crate) fn leased(key: u64, op: Op) -> Self {
        Self { key, op, slow: None }
    }

    pub(crate) fn slow(op: Op, granted: Granted, node: Arc<Node>, flow: FlowId) -> Self {
        Self { key: node.key, op, slow: Some(Slow { granted, node, flow }) }
    }

    fn waited(&self) -> Wait {
        let waited = self.slow.as_ref().map_or(Waited::default(), |slow| slow.granted.waited);
        let (limit, queue) =
            (Duration::from_nanos(waited.limit), Duration::from_nanos(waited.queue));
        Wait { limit, queue }
    }

    /// Gives back what was not used, and the place in flight.
    fn end(&mut self, stream: &Stream, actual: u64) {
        if stream.inner.device.sched.is_inherited() {
            return; // it is the parent's
        }
        let rest = self.op.bytes.saturating_sub(actual);
        if rest > 0 {
            self.refund(stream, rest);
        }
        if let Some(slot) = self.slow.as_ref().and_then(|slow| slow.granted.slot) {
            stream.inner.device.sched.finish(slot);
            // Who is next may be waiting for a limit, which nobody could tell as long as there was no place.
            stream.inner.device.call();
        }
        self.slow = None;
    }

    fn refund(&self, stream: &Stream, bytes: u64) {
        let device = &stream.inner.device;
        let Some(slow) = &self.slow else {
            // The thread has the node still, or the stream has; else nobody knows it any more.
            if let Some(node) = table::node(self.key).or_else(|| stream.inner.node(self.key)) {
                let amount = Amount { bytes, ops: 0, cost: 0 };
                device.sched.refund(&node, stream.inner.flow(), self.op.kind, amount);
            }
            return;
        };
        // What it costs by the byte; that it was one operation stays.
        let used = Op { bytes: self.op.bytes - bytes, ..self.op };
        let cost = |op| device.cost.cost(op, op_place(op));
        let cost = cost(self.op).saturating_sub(cost(used));
        device.sched.refund(&slow.node, slow.flow, self.op.kind, Amount { bytes, ops: 0, cost });
    }
}

/// Returns a cursor that makes an operation sequential.
fn op_place(op: Op) -> Option<u64> {
    op.offset
}

impl<'a> Permit<'a> {
    pub(crate) fn new(stream: &'a Stream, ticket: Ticket) -> Self {
        Self { stream, ticket }
    }

    /// Ends the operation, which read or wrote so many bytes: what was charged beyond that is given back.
    ///
    /// More than was asked for is taken as that.
    pub fn done(mut self, actual: u64) {
        self.ticket.end(self.stream, actual); // its drop has nothing more to do
    }

    /// Returns how long it waited: what is not the operation's own time.
    #[must_use]
    pub fn waited(&self) -> Wait {
        self.ticket.waited()
    }

    /// Makes it keep its stream.
    pub fn into_owned(mut self) -> OwnedPermit {
        let (key, op, slow) = (self.ticket.key, self.ticket.op, self.ticket.slow.take());
        self.stream.own(Ticket { key, op, slow })
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.ticket.slow.is_some() {
            self.ticket.end(self.stream, self.ticket.op.bytes);
        }
    }
}

impl OwnedPermit {
    pub(crate) fn new(stream: Stream, ticket: Ticket) -> Self {
        Self { stream, ticket }
    }

    /// As [`Permit::done`].
    pub fn done(mut self, actual: u64) {
        self.ticket.end(&self.stream, actual); // its drop has nothing more to do
    }

    /// As [`Permit::waited`].
    #[must_use]
    pub fn waited(&self) -> Wait {
        self.ticket.waited()
    }
}

impl Drop for OwnedPermit {
    fn drop(&mut self) {
        if self.ticket.slow.is_some() {
            self.ticket.end(&self.stream, self.ticket.op.bytes);
        }
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("op", &self.ticket.op).finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPermit").field("op", &self.ticket.op).finish_non_exhaustive()
    }
}
