//! Files and streams of tokio, whose reads and writes are charged to a group.

use std::{
    io::{self, IoSlice, SeekFrom},
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

use crate::{op::Op, paid::Cover};

use super::{
    Limited,
    lane::{Lane, Pays, Stage},
    transfer::{Fit, sum},
};

impl Lane {
    /// Admits an operation; returns how many bytes it may be. What was begun by a poll before is gone on with.
    fn poll_begin(&mut self, op: Op, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let pays = self.pays;
        loop {
            match &mut self.stage {
                Stage::Held { bytes, .. } => return Poll::Ready(Ok(*bytes)),
                Stage::Idle if pays == Pays::Later => return Poll::Ready(Ok(op.bytes())),
                Stage::Idle => {
                    let acquire = self.stream.acquire_owned(op);
                    self.stage = Stage::Waits { acquire, bytes: op.bytes() };
                }
                Stage::Owes(bytes) => {
                    let bytes = *bytes;
                    let acquire = self.stream.acquire_owned(Op::read(bytes));
                    self.stage = Stage::Waits { acquire, bytes };
                }
                Stage::Waits { acquire, bytes } => {
                    let bytes = *bytes;
                    match ready!(Pin::new(acquire).poll(cx)) {
                        Err(error) => {
                            self.give_up();
                            return Poll::Ready(Err(error.into()));
                        }
                        Ok(permit) if pays == Pays::Later => self.paid(permit.waited()),
                        Ok(permit) => self.hold(permit, bytes),
                    }
                }
            }
        }
    }

    /// Ends an operation that was polled: nothing is charged again if that was pending.
    fn end_poll(&mut self, polled: &Poll<io::Result<usize>>) -> u64 {
        let moved = match polled {
            Poll::Ready(Ok(moved)) => u64::try_from(*moved).ok(),
            Poll::Ready(Err(_)) => Some(0),
            Poll::Pending => None,
        };
        self.end(moved);
        moved.unwrap_or_default()
    }
}

impl<T: Unpin> Limited<T> {
    /// Polls an operation, of at most so many bytes.
    fn poll_transfer(
        &mut self,
        lane: fn(&mut Self) -> &mut Lane,
        op: fn(u64) -> Op,
        len: usize,
        cx: &mut Context<'_>,
        act: impl FnOnce(Pin<&mut T>, &mut Context<'_>, usize) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if len == 0 || self.is_paid() {
            return act(Pin::new(&mut self.inner), cx, len);
        }
        let op = self.op(op, len);
        let admitted = ready!(lane(self).poll_begin(op, cx))?;
        let room = usize::try_from(admitted).map_or(len, |admitted| admitted.min(len));
        let cover = Cover::of(self.stream());
        let polled = act(Pin::new(&mut self.inner), cx, room);
        drop(cover);
        let moved = lane(self).end_poll(&polled);
        self.advance(moved);
        polled
    }
}

/// A read that is given up leaves its turn, or what was admitted, to the next one. Until that is polled, or this is dropped, it
/// keeps it: on a device with a depth also its place in flight.
impl<T: AsyncRead + Unpin> AsyncRead for Limited<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let len = buf.remaining();
        let polled = self.get_mut().poll_transfer(
            |it| &mut it.reads,
            Op::read,
            len,
            cx,
            |inner, cx, room| {
                let before = buf.filled().len();
                if room == len {
                    ready!(inner.poll_read(cx, buf))?;
                    return Poll::Ready(Ok(buf.filled().len().saturating_sub(before)));
                }
                let mut part = ReadBuf::new(buf.initialize_unfilled_to(room));
                ready!(inner.poll_read(cx, &mut part))?;
                let moved = part.filled().len();
                buf.advance(moved);
                Poll::Ready(Ok(moved))
            },
        );
        polled.map_ok(drop)
    }
}

/// A write that is given up leaves its turn, or what was admitted, to the next one. Until that is polled, or this is dropped, it
/// keeps it: on a device with a depth also its place in flight.
impl<T: AsyncWrite + Unpin> AsyncWrite for Limited<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let act =
            |inner: Pin<&mut T>, cx: &mut Context<'_>, room| inner.poll_write(cx, &buf[..room]);
        self.get_mut().poll_transfer(|it| &mut it.writes, Op::write, buf.len(), cx, act)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = sum(bufs.iter().map(|buf| buf.len()));
        let act = |inner: Pin<&mut T>, cx: &mut Context<'_>, room| match Fit::of(
            bufs.iter().map(|buf| buf.len()),
            room,
        ) {
            Fit::Whole(count) => inner.poll_write_vectored(cx, &bufs[..count]),
            Fit::Part(place) => inner.poll_write(cx, &bufs[place][..room]),
        };
        self.get_mut().poll_transfer(|it| &mut it.writes, Op::write, len, cx, act)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

impl<T: AsyncSeek + Unpin> AsyncSeek for Limited<T> {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let this = self.get_mut();
        this.cursor = None; // wherever it is, until that is known
        Pin::new(&mut this.inner).start_seek(to)
    }

    fn poll_complete(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let this = self.get_mut();
        let at = ready!(Pin::new(&mut this.inner).poll_complete(cx))?;
        this.cursor = Some(at);
        Poll::Ready(Ok(at))
    }
}
