//! Files that somebody without room in memory writes once and reads once.
//!
//! They have no name, so nothing is left of them, however the run ends.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    file: BufWriter<File>,
}

/// A file that was written, from its beginning.
#[derive(Debug)]
pub(crate) struct Spooled {
    directory: PathBuf,
    file: File,
}

/// A file that is being read.
#[derive(Debug)]
pub(crate) struct Reader {
    directory: PathBuf,
    file: BufReader<File>,
}

impl Spool {
    /// Begins a file in `directory`.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub(crate) fn begin(directory: &Path) -> Result<Self> {
        let file =
            tempfile::tempfile_in(directory).with_context(|| cannot("write to", directory))?;
        Ok(Self { directory: directory.to_owned(), file: BufWriter::new(file) })
    }

    /// # Errors
    ///
    /// Those of writing, as a full disk.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).with_context(|| cannot("write to", &self.directory))
    }

    /// Ends the file, to be read.
    ///
    /// # Errors
    ///
    /// As [`Spool::write`].
    pub(crate) fn finish(self) -> Result<Spooled> {
        let Self { directory, file } = self;
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error);
        let rewound = file.and_then(|mut file| file.rewind().map(|()| file));
        let file = rewound.with_context(|| cannot("write to", &directory))?;
        Ok(Spooled { directory, file })
    }
}

impl Spooled {
    /// Reads the file, `buffer` bytes at a time.
    pub(crate) fn read(self, buffer: usize) -> Reader {
        let Self { directory, file } = self;
        Reader { directory, file: BufReader::with_capacity(buffer, file) }
    }
}

impl Reader {
    /// Reads as many bytes as `bytes` has.
    ///
    /// # Errors
    ///
    /// Those of reading, and the end of the file.
    pub(crate) fn read_exact(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.file.read_exact(bytes).with_context(|| cannot("read from", &self.directory))
    }
}

fn cannot(what: &str, directory: &Path) -> String {
    format!("cannot {what} {}", directory.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;

    #[test]
    fn what_is_written_is_read_once_and_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::begin(directory.path()).unwrap();
        spool.write(b"one").unwrap();
        spool.write(b"two").unwrap();
        let mut reader = spool.finish().unwrap().read(2);
        let mut read = [0; 6];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"onetwo");
        let error = reader.read_exact(&mut read[..1]).unwrap_err().to_string();
        assert!(error.starts_with("cannot read from "), "{error}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_is_gone_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none");
        let error = Spool::begin(&path).unwrap_err().to_string();
        assert_eq!(error, format!("cannot write to {}", path.display()));
    }
}
