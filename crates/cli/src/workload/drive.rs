//! The file that stands for a disk: blocks that are known, to be read, and room to write to.
//!
//! It has no name, so nothing of it is left behind. Where the file system allows it, what is read and written goes
//! past the page cache (`O_DIRECT`), which wants memory that is aligned.

use std::{
    fs::File,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// The file.
#[derive(Debug)]
pub(crate) struct Drive {
    directory: PathBuf,
    file: File,
    is_direct: bool,
}

/// Memory to read to and write from.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    from: usize,
}

impl Drive {
    /// Makes the file in `directory`, and writes all of it.
    ///
    /// # Errors
    ///
    /// Names the directory where it cannot be written, as on a full disk.
    pub(crate) fn make(directory: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(directory).with_context(|| cannot("write to", directory));
        let mut drive = Self { directory: directory.to_owned(), file: file?, is_direct: false };
        drive.is_direct = set_direct(&drive.file, true) && drive.probe();
        if !drive.is_direct {
            set_direct(&drive.file, false);
        }
        let mut buffer = Buffer::new(CHUNK);
        for chunk in 0..SIZE / CHUNK as u64 {
            for (block, bytes) in (0..).zip(buffer.bytes_mut().chunks_exact_mut(BLOCK)) {
                let number = chunk * (CHUNK / BLOCK) as u64 + block;
                bytes.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&mark(number)));
            }
            drive.write(buffer.bytes(), chunk * CHUNK as u64)?;
        }
        Ok(drive)
    }

    /// Whether the page cache is passed by.
    pub(crate) fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub(crate) fn read(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        let read = self.file.read_exact_at(bytes, offset);
        read.with_context(|| cannot("read from", &self.directory))
    }

    /// Writes all of `bytes` from `offset` on.
    ///
    /// # Errors
    ///
    /// Those of writing, as a full disk.
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let written = self.file.write_all_at(bytes, offset);
        written.with_context(|| cannot("write to", &self.directory))
    }

    /// Whether a block can be written and read as the file is opened now.
    fn probe(&self) -> bool {
        let mut block = Buffer::new(BLOCK);
        self.write(block.bytes(), 0).and_then(|()| self.read(block.bytes_mut(), 0)).is_ok()
    }
}

impl Buffer {
    pub(crate) fn new(size: usize) -> Self {
        let bytes = vec![0; size + BLOCK];
        // It stays where it is: it is never made larger.
        let from = bytes.as_ptr().align_offset(BLOCK).min(BLOCK);
        Self { bytes, from }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.from..][..self.bytes.len() - BLOCK]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let size = self.bytes.len() - BLOCK;
        &mut self.bytes[self.from..][..size]
    }

    /// Whether the block that begins at `at` is the one that begins at `offset` of the file.
    pub(crate) fn is_block(&self, at: usize, offset: u64) -> bool {
        let mark = mark(offset / BLOCK as u64);
        let block = self.bytes().get(at..at + BLOCK);
        block.is_some_and(|block| block.chunks_exact(8).all(|word| word == mark))
    }
}

/// What a block is full of.
fn mark(number: u64) -> [u8; 8] {
    (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()
}

/// Has a file pass the page cache by, or not; returns whether it does as it is told.
#[cfg(target_os = "linux")]
fn set_direct(file: &File, is_direct: bool) -> bool {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let Ok(mut flags) = fcntl_getfl(file) else { return false };
    flags.set(OFlags::DIRECT, is_direct);
    fcntl_setfl(file, flags).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn set_direct(_file: &File, is_direct: bool) -> bool {
    !is_direct
}

fn cannot(what: &str, directory: &Path) -> String {
    format!("cannot {what} {}", directory.display())
}

/// Bytes that are read and written as one, and to a multiple of which memory is aligned.
pub(crate) const BLOCK: usize = 4 << 10;

/// Bytes of one bulk operation, when nobody asks.
pub(crate) const CHUNK: usize = 1 << 20;

/// Bytes of the pieces into which it is cut, when everybody asks.
pub(crate) const PIECE: usize = 128 << 10;

/// Bytes of the file.
const SIZE: u64 = 128 << 20;

/// What `api` reads: apart from what `backup` does, as their files would be.
pub(crate) const LIGHT: Range<u64> = 0..SIZE / 8;

/// What `backup` reads.
pub(crate) const BULK: Range<u64> = LIGHT.end..SIZE / 2;

/// Where `backup` writes.
pub(crate) const ROOM: Range<u64> = BULK.end..SIZE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_known_and_nothing_is_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let drive = Drive::make(directory.path()).unwrap();
        let (mut block, mut chunk) = (Buffer::new(BLOCK), Buffer::new(CHUNK));
        for offset in [0, BLOCK as u64, SIZE - BLOCK as u64] {
            drive.read(block.bytes_mut(), offset).unwrap();
            assert!(block.is_block(0, offset) && !block.is_block(0, offset + BLOCK as u64));
        }
        drive.read(chunk.bytes_mut(), CHUNK as u64).unwrap();
        let blocks = |chunk: &Buffer| {
            let places = (0..CHUNK).step_by(BLOCK);
            places.filter(|at| chunk.is_block(*at, (CHUNK + at) as u64)).count()
        };
        assert_eq!(blocks(&chunk), CHUNK / BLOCK);
        assert!(!chunk.is_block(CHUNK, CHUNK as u64));
        drive.write(block.bytes(), CHUNK as u64 + 5 * BLOCK as u64).unwrap();
        drive.read(chunk.bytes_mut(), CHUNK as u64).unwrap();
        assert_eq!(blocks(&chunk), CHUNK / BLOCK - 1);
        drive.read(block.bytes_mut(), SIZE).unwrap_err();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_is_gone_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none");
        let error = Drive::make(&path).unwrap_err().to_string();
        assert_eq!(error, format!("cannot write to {}", path.display()));
    }
}
