//! The file that is read and written.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use rustix::fs::OFlags;
use tempfile::NamedTempFile;

/// What direct I/O asks of places, lengths and addresses, at most.
pub(super) const BLOCK: usize = 4 << 10;

/// How much is written at once to make the file.
const PIECE: usize = 1 << 20;

/// A file without a name, full of bytes that cannot be compressed.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) file: File,
    pub(super) bytes: u64,
    /// Whether the page cache is out of the way.
    pub(super) is_direct: bool,
    /// The number of the device that the file is on.
    pub(super) device: (u32, u32),
}

/// Bytes at an address that direct I/O can use.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Target {
    /// Makes it in a directory.
    pub(super) fn make(directory: &Path, bytes: u64) -> Result<Self> {
        let shown = directory.display();
        let metadata = directory.metadata().with_context(|| format!("cannot look at {shown}"))?;
        if !metadata.is_dir() {
            bail!("{shown} is not a directory: a file is to be made there");
        }
        let named = NamedTempFile::new_in(directory)
            .with_context(|| format!("cannot make a file in {shown}"))?;
        let opened = open(named.path()).with_context(|| format!("cannot open a file in {shown}"));
        named.close().with_context(|| format!("cannot remove a file in {shown}"))?;
        let (file, is_direct) = opened?;
        let id = metadata.dev();
        let device = (rustix::fs::major(id), rustix::fs::minor(id));
        let target = Self { file, bytes, is_direct, device };
        target
            .fill()
            .with_context(|| format!("cannot fill a file of {} MiB in {shown}", bytes >> 20))?;
        Ok(target)
    }

    fn fill(&self) -> io::Result<()> {
        let mut piece = Buffer::new(PIECE);
        fastrand::Rng::with_seed(1).fill(piece.get());
        let mut at = 0;
        while at < self.bytes {
            self.file.write_all_at(piece.get(), at)?;
            at += PIECE as u64;
        }
        self.file.sync_data()
    }
}

/// Opens a file for both, past the page cache if the file system has a way.
fn open(path: &Path) -> io::Result<(File, bool)> {
    let with = |flags: OFlags| {
        // Flags are bits of an `int`, whatever their sign.
        let flags = i32::from_ne_bytes(flags.bits().to_ne_bytes());
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
    };
    match with(OFlags::DIRECT) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            with(OFlags::empty()).map(|file| (file, false))
        }
        Err(error) => Err(error),
    }
}

impl Buffer {
    pub(super) fn new(len: usize) -> Self {
        let bytes = vec![0x5a; len + BLOCK];
        let start = bytes.as_ptr().align_offset(BLOCK);
        Self { bytes, start }
    }

    pub(super) fn get(&mut self) -> &mut [u8] {
        let len = self.bytes.len() - BLOCK;
        &mut self.bytes[self.start..self.start + len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_full_and_has_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let target = Target::make(directory.path(), 8 << 20).unwrap();
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
        assert_eq!(target.file.metadata().unwrap().len(), 8 << 20);
        let mut buffer = Buffer::new(BLOCK);
        target.file.read_exact_at(buffer.get(), 4 << 20).unwrap();
        assert!(buffer.get().iter().any(|&byte| byte != 0));
    }
}
