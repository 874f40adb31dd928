//! The file, past the page cache.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
    sync::OnceLock,
};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{OFlags, major, minor};
use tempfile::NamedTempFile;

use super::{Raw, load::Load};

/// What direct I/O asks of places, lengths and addresses, at most.
pub const BLOCK: usize = 4 << 10;
/// How much is written at once to make the file.
const PIECE: usize = 1 << 20;

/// A file without a name, open for direct I/O, full of bytes that cannot be compressed.
#[derive(Debug)]
pub struct Target {
    /// The file.
    pub file: File,
    /// How large it is.
    pub bytes: u64,
    /// The numbers of the device that it is on.
    pub device: (u32, u32),
    rate: OnceLock<Result<u64, String>>,
}

/// Bytes at an address that direct I/O can use.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Target {
    /// Makes it in a directory.
    ///
    /// # Errors
    ///
    /// A file system without direct I/O, or without room.
    pub fn make(directory: &Path, bytes: u64) -> Result<Self> {
        let shown = directory.display();
        let named = NamedTempFile::new_in(directory);
        let named = named.with_context(|| format!("cannot make a file in {shown}"))?;
        // Flags are bits of an `int`, whatever their sign.
        let flags = i32::from_ne_bytes(OFlags::DIRECT.bits().to_ne_bytes());
        let opened =
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(named.path());
        let file = opened.with_context(|| format!("no direct I/O in {shown}"))?;
        named.close()?;
        let id = file.metadata()?.dev();
        let device = (major(id), minor(id));
        let mut piece = Buffer::new(PIECE);
        fastrand::Rng::with_seed(1).fill(piece.get());
        let pieces = bytes.div_ceil(PIECE as u64);
        if pieces == 0 {
            bail!("a file of no bytes");
        }
        for number in 0..pieces {
            file.write_all_at(piece.get(), number * PIECE as u64)
                .with_context(|| format!("cannot fill a file in {shown}"))?;
        }
        file.sync_data()?;
        Ok(Self { file, bytes: pieces * PIECE as u64, device, rate: OnceLock::new() })
    }

    /// Returns how many bytes a second bulk readers get who are alone, and nothing is in their way; measured the first
    /// time, for as long as `load` says.
    ///
    /// # Errors
    ///
    /// What reading says.
    pub fn rate(&self, load: &Load) -> Result<u64, String> {
        let measure = || {
            let load = Load { is_light: false, ..*load };
            let figures = load.run(self, &Raw).map_err(|error| format!("{error:#}"))?;
            Ok(figures.bulk)
        };
        self.rate.get_or_init(measure).clone()
    }
}

impl Buffer {
    /// Returns so many bytes.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let bytes = vec![0x5a; len + BLOCK];
        let start = bytes.as_ptr().align_offset(BLOCK);
        Self { bytes, start }
    }

    /// Returns them.
    pub fn get(&mut self) -> &mut [u8] {
        let len = self.bytes.len() - BLOCK;
        &mut self.bytes[self.start..self.start + len]
    }
}
