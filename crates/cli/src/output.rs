//! Standard output that may go away.

use std::{
    fmt,
    io::{self, Write},
};

use anyhow::{Context as _, Result};

/// Where lines are written.
///
/// A reader that goes away, as `head` does, is no error: what follows is swallowed, and
/// [`Output::is_closed`] says so.
#[derive(Debug)]
pub(crate) struct Output<W = io::Stdout> {
    to: W,
    state: State,
}

#[derive(Debug)]
enum State {
    Open,
    Closed,
    Failed(io::Error),
}

impl Output {
    pub(crate) fn stdout() -> Self {
        Self::new(io::stdout())
    }
}

impl<W: Write> Output<W> {
    fn new(to: W) -> Self {
        Self { to, state: State::Open }
    }

    /// Writes one line, or several.
    pub(crate) fn line(&mut self, line: impl fmt::Display) {
        if matches!(self.state, State::Open) {
            let result = writeln!(self.to, "{line}").and_then(|()| self.to.flush());
            self.note(result);
        }
    }

    /// Takes note of a line written to the same place in another way.
    pub(crate) fn note(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.state = State::Closed,
            Err(error) => self.state = State::Failed(error),
        }
    }

    /// Returns whether there is no point in going on writing.
    pub(crate) fn is_closed(&self) -> bool {
        !matches!(self.state, State::Open)
    }

    /// # Errors
    ///
    /// The first error of writing, unless it was that the reader went away.
    pub(crate) fn finish(self) -> Result<()> {
        match self.state {
            State::Open | State::Closed => Ok(()),
            State::Failed(error) => Err(error).context("cannot write to standard output"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes, then fails in its own way.
    struct Full {
        room: usize,
        then: io::ErrorKind,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.room = self.room.checked_sub(bytes.len()).ok_or(self.then)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_goes_away_is_no_error() {
        let mut output = Output::new(Full { room: 4, then: io::ErrorKind::BrokenPipe });
        output.line("one");
        assert!(!output.is_closed());
        output.line("two");
        assert!(output.is_closed());
        output.line("three");
        output.finish().unwrap();
    }

    #[test]
    fn a_full_disk_is_one() {
        let mut output = Output::new(Full { room: 0, then: io::ErrorKind::StorageFull });
        output.line("one");
        assert!(output.is_closed());
        assert_eq!(output.finish().unwrap_err().to_string(), "cannot write to standard output");
    }
}
