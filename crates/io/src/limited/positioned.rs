//! Reads and writes at a place in a file.

use std::{io, os::unix::fs::FileExt};

use crate::{op::Op, paid::Cover};

use super::Limited;

impl<T> Limited<T> {
    /// Does an operation at a place in the file; again if a signal came between.
    fn at(
        &self,
        op: Op,
        len: usize,
        mut act: impl FnMut(&T, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut act = |room| {
            self.write_back(op.direction())?;
            let result = act(&self.inner, room);
            self.note_written(op.direction(), &result);
            result
        };
        if len == 0 || self.is_paid() {
            return act(len);
        }
        let permit = self.stream().acquire_blocking(op)?;
        self.note_wait(permit.waited());
        let room = usize::try_from(op.bytes()).map_or(len, |bytes| bytes.min(len));
        let cover = Cover::of(self.stream());
        let result = loop {
            match act(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        drop(cover);
        let moved = result.as_ref().map_or(0, |moved| u64::try_from(*moved).unwrap_or(u64::MAX));
        permit.done(moved);
        result
    }
}

/// By any number of threads at once; each call is one operation of at most the quantum.
impl<T: FileExt> FileExt for Limited<T> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let op = Op::read(self.piece(buf.len())).at(offset);
        self.at(op, buf.len(), |file, room| file.read_at(&mut buf[..room], offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let op = Op::write(self.piece(buf.len())).at(offset);
        self.at(op, buf.len(), |file, room| file.write_at(&buf[..room], offset))
    }
}
