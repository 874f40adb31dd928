//! Reads, writes and seeks in a row.

use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};

use crate::{op::Op, paid::Cover};

use super::{Limited, lane::Lane};

/// How much of several buffers fits one operation.
pub(super) enum Fit {
    /// So many whole ones.
    Whole(usize),
    /// Part of the one at this place.
    Part(usize),
}

impl Fit {
    /// Returns what fits in so many bytes, of buffers of these lengths.
    pub(super) fn of(lengths: impl Iterator<Item = usize>, room: usize) -> Self {
        let (mut whole, mut sum) = (0, 0usize);
        for (place, length) in lengths.enumerate() {
            let Some(more) = sum.checked_add(length).filter(|&sum| sum <= room) else {
                return if sum == 0 { Self::Part(place) } else { Self::Whole(whole) };
            };
            (sum, whole) = (more, place + 1);
        }
        Self::Whole(whole)
    }
}

/// Returns how many bytes buffers have, together.
pub(super) fn sum(lengths: impl Iterator<Item = usize>) -> usize {
    lengths.fold(0, usize::saturating_add)
}

impl<T> Limited<T> {
    /// Does an operation, of at most so many bytes.
    fn transfer(
        &mut self,
        lane: fn(&mut Self) -> &mut Lane,
        op: fn(u64) -> Op,
        len: usize,
        act: impl FnOnce(&mut T, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let op = self.op(op, len);
        if len == 0 || self.is_paid() {
            return self.act(op, len, act);
        }
        let admitted = lane(self).begin(op)?;
        let room = usize::try_from(admitted).map_or(len, |admitted| admitted.min(len));
        let cover = Cover::of(self.stream());
        let result = self.act(op, room, act);
        drop(cover);
        let moved = match &result {
            Ok(moved) => u64::try_from(*moved).ok(),
            Err(error) if is_retried(error) => None,
            Err(_) => Some(0),
        };
        lane(self).end(moved);
        self.advance(moved.unwrap_or_default());
        result
    }

    fn act(
        &mut self,
        op: Op,
        room: usize,
        act: impl FnOnce(&mut T, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.write_back(op.direction())?;
        let result = act(&mut self.inner, room);
        self.note_written(op.direction(), &result);
        result
    }
}

/// Returns whether an operation that failed so is tried again.
fn is_retried(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl<T: Read> Read for Limited<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len();
        self.transfer(|it| &mut it.reads, Op::read, len, |inner, room| inner.read(&mut buf[..room]))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let len = sum(bufs.iter().map(|buf| buf.len()));
        self.transfer(
            |it| &mut it.reads,
            Op::read,
            len,
            |inner, room| match Fit::of(bufs.iter().map(|buf| buf.len()), room) {
                Fit::Whole(count) => inner.read_vectored(&mut bufs[..count]),
                Fit::Part(place) => inner.read(&mut bufs[place][..room]),
            },
        )
    }
}

impl<T: Write> Write for Limited<T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let len = buf.len();
        self.transfer(|it| &mut it.writes, Op::write, len, |inner, room| inner.write(&buf[..room]))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let len = sum(bufs.iter().map(|buf| buf.len()));
        self.transfer(
            |it| &mut it.writes,
            Op::write,
            len,
            |inner, room| match Fit::of(bufs.iter().map(|buf| buf.len()), room) {
                Fit::Whole(count) => inner.write_vectored(&bufs[..count]),
                Fit::Part(place) => inner.write(&bufs[place][..room]),
            },
        )
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Seek> Seek for Limited<T> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.cursor = None; // wherever it is, if that fails
        let at = self.inner.seek(to)?;
        self.cursor = Some(at);
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_whole_buffers_or_part_of_the_first_that_has_bytes() {
        let fit = |lengths: &[usize], room| match Fit::of(lengths.iter().copied(), room) {
            Fit::Whole(count) => format!("{count} whole"),
            Fit::Part(place) => format!("part of {place}"),
        };
        assert_eq!(fit(&[], 5), "0 whole");
        assert_eq!(fit(&[2, 3], 5), "2 whole");
        assert_eq!(fit(&[2, 4], 5), "1 whole");
        assert_eq!(fit(&[2, usize::MAX], 5), "1 whole");
        assert_eq!(fit(&[6, 1], 5), "part of 0");
        assert_eq!(fit(&[0, 6], 5), "part of 1");
        assert_eq!(sum([usize::MAX, 1].into_iter()), usize::MAX);
    }
}
