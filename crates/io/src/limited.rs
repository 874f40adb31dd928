//! Files and streams whose reads and writes are charged to a group: for the standard library's traits.

mod lane;
mod transfer;
mod writeback;
#[cfg(unix)]
mod positioned;
#[cfg(feature = "tokio")]
mod tokio;

use std::{fmt, io, time::Duration};

use crate::{
    error::{AcquireError, Refusal},
    op::Op,
    paid,
    permit::Wait,
    stream::Stream,
    sync::{AtomicU64, Ordering},
    time::nanos,
};

use self::{
    lane::{Lane, Pays},
    writeback::Writeback,
};

/// A file or stream whose reads and writes wait for their turn, and are charged to a group; from [`Stream::limit`].
///
/// It is what it wraps: [`Read`](io::Read), [`Write`](io::Write), [`Seek`](io::Seek), positioned reads and writes of
/// files, and with the feature `tokio` their counterparts there.
///
/// An operation is charged before it is done, for what it is asked to move, at most the
/// [quantum](crate::DeviceBuilder::quantum) of the device: no more is moved by one call, and loops as `read_exact` and
/// `write_all` ask again. What was not moved, at the end of a file or because of an error, is given back; that it was an
/// operation stays counted. One that would block is not charged again when it is tried again: what was admitted is kept
/// meanwhile, with its place in flight. Where an operation's place is known, from a seek or because it is told, it is
/// [told](Op::at) to the device. Nothing else costs anything: flushing, seeking, shutting down, empty buffers.
///
/// What is in a buffer of its own when it is wrapped counts as it goes in: wrap the file, and that in a
/// [`BufWriter`](io::BufWriter). Writes to a file's cache count when they are copied there, not when they reach the
/// disk; open with `O_DIRECT`, or have them [written back](Self::sync_every) every few MiB, for them to be the same.
///
/// The quantum should be a multiple of 4,096 where files are open with `O_DIRECT`.
///
/// # Concurrency
///
/// The methods of the standard library's traits wait on the calling thread, whether or not what is wrapped is
/// non-blocking.
///
/// # Errors
///
/// An operation that is not admitted fails with an [`AcquireError`] inside of an [`io::Error`] of kind `Other`.
///
/// # Examples
///
/// ```
/// use std::io::{Read as _, Write as _};
/// use fief_core::Registry;
/// use fief_io::{Device, Io};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let registry = Registry::new();
/// # let tenants = registry.create_hierarchy("by-tenant")?;
/// # let io = registry.register(Io::new())?;
/// # io.bind(&tenants)?;
/// let disk = Device::builder("disk").register(&io)?;
/// let web = tenants.root().create_child("web")?;
/// let stream = disk.stream(&web)?;
/// let mut file = stream.limit(tempfile::tempfile()?);
/// file.write_all(b"charged to web")?;
/// # Ok(())
/// # }
/// ```
pub struct Limited<T> {
    inner: T,
    reads: Lane,
    writes: Lane,
    /// Where the next operation is, if that is known.
    cursor: Option<u64>,
    /// How many bytes one operation may be.
    quantum: u64,
    writeback: Option<Writeback<T>>,
    /// How long positioned operations waited, in nanoseconds: for limits, and for their turn.
    waited: [AtomicU64; 2],
}

impl Stream {
    /// Wraps a file or stream, whose reads and writes are charged to this stream, before they are done.
    pub fn limit<T>(&self, inner: T) -> Limited<T> {
        Limited::new(self, inner, Pays::Before)
    }

    /// As [`limit`](Self::limit), for what may have nothing to read for long, as a socket: reads are charged when they
    /// came, and if there is no room for them, the next one waits until they are paid for.
    ///
    /// So one that waits for its peer keeps nothing from others; its reads are no part of what a device's
    /// depth bounds.
    pub fn limit_socket<T>(&self, inner: T) -> Limited<T> {
        Limited::new(self, inner, Pays::Later)
    }
}

impl<T> Limited<T> {
    fn new(stream: &Stream, inner: T, reads: Pays) -> Self {
        let quantum = stream.inner.device.sched.look(|tree, _| tree.settings().quantum());
        Self {
            inner,
            reads: Lane::new(stream.clone(), reads),
            writes: Lane::new(stream.clone(), Pays::Before),
            cursor: None,
            quantum,
            writeback: None,
            waited: [const { AtomicU64::new(0) }; 2],
        }
    }

    /// Returns what is wrapped.
    pub const fn get_ref(&self) -> &T {
        &self.inner
    }

    /// Returns what is wrapped; what is done to it is not charged.
    pub const fn get_mut(&mut self) -> &mut T {
        self.cursor = None; // it may be moved
        &mut self.inner
    }

    /// Returns what was wrapped. What was admitted and not done is given back.
    pub fn into_inner(self) -> T {
        self.inner
    }

    /// Returns the stream that is charged.
    pub const fn stream(&self) -> &Stream {
        &self.reads.stream
    }

    /// Returns how long its operations waited so far, together.
    pub fn waited(&self) -> Wait {
        // Ordering: Relaxed: sums of any moment.
        let [limit, queue] = self.waited.each_ref().map(|sum| sum.load(Ordering::Relaxed));
        let [reads, writes] = [self.reads.waited(), self.writes.waited()];
        let sum = |own: u64, a: Duration, b: Duration| {
            Duration::from_nanos(own).saturating_add(a).saturating_add(b)
        };
        Wait {
            limit: sum(limit, reads.limit, writes.limit),
            queue: sum(queue, reads.queue, writes.queue),
        }
    }

    /// Returns whether somebody further up has paid.
    fn is_paid(&self) -> bool {
        paid::is_paid(&self.reads.stream)
    }

    /// Returns the next operation: so many bytes of those asked for, where it is.
    fn op(&self, op: impl FnOnce(u64) -> Op, len: usize) -> Op {
        let op = op(self.piece(len));
        self.cursor.map_or(op, |cursor| op.at(cursor))
    }

    /// Returns how many bytes of those asked for one operation may be.
    fn piece(&self, len: usize) -> u64 {
        u64::try_from(len).unwrap_or(u64::MAX).min(self.quantum)
    }

    /// Notes that an operation moved so many bytes.
    fn advance(&mut self, moved: u64) {
        self.cursor = self.cursor.and_then(|cursor| cursor.checked_add(moved));
    }

    fn note_wait(&self, waited: Wait) {
        for (sum, more) in self.waited.iter().zip([waited.limit, waited.queue]) {
            if !more.is_zero() {
                // Ordering: Relaxed: a sum.
                sum.fetch_add(nanos(more), Ordering::Relaxed);
            }
        }
    }
}

impl From<AcquireError> for io::Error {
    fn from(error: AcquireError) -> Self {
        let kind = match error.why {
            Refusal::WouldBlock { .. } => io::ErrorKind::WouldBlock,
            Refusal::TimedOut { .. } => io::ErrorKind::TimedOut,
            Refusal::Removed | Refusal::Killed | Refusal::DeviceGone | Refusal::Forked => {
                io::ErrorKind::Other
            }
        };
        Self::new(kind, error)
    }
}

impl<T: fmt::Debug> fmt::Debug for Limited<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limited")
            .field("inner", &self.inner)
            .field("stream", self.stream())
            .finish_non_exhaustive()
    }
}
