//! The files of tenant `backup`: rows as text, compressed, and read back before they count.
//!
//! The format is gzip, which `zcat` reads anywhere. The crate is flate2 with its default backend:
//! in wide use, and pure Rust, where zstd would need a C compiler; lz4 is faster, but few have a
//! tool for its files, and speed is not what this tenant is for.
//!
//! A file has a temporary name until it was read back and compared, then replaces the one with the
//! same rows, if there is one. So there are never more files than the table fills, and none that
//! is half written.

use std::{
    env,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use tempfile::{TempDir, TempPath};
use xxhash_rust::xxh3::Xxh3;

use crate::{soak::bench, sync::Count, workload::data::Lineitem};

/// A directory of a soak's own, removed with all its files when the archive is dropped.
#[derive(Debug)]
pub(crate) struct Archive {
    directory: TempDir,
    begun: Count,
}

/// Rows that go into one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    /// How many files were begun before this one.
    pub(crate) number: u64,
    pub(crate) rows: Range<usize>,
}

/// A file that is being written; dropping it removes it.
#[derive(Debug)]
pub(crate) struct Draft {
    directory: PathBuf,
    encoder: GzEncoder<BufWriter<File>>,
    path: TempPath,
}

/// A file that is written and has no name yet; dropping it removes it.
#[derive(Debug)]
pub(crate) struct Written {
    directory: PathBuf,
    file: File,
    path: TempPath,
}

/// What two texts are compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    rows: u64,
    hash: u64,
}

/// Finds the digest of what is written to it.
#[derive(Default)]
struct Digester {
    rows: u64,
    hasher: Xxh3,
}

impl Archive {
    /// Makes a directory in `parent`, or where temporary files go.
    ///
    /// # Errors
    ///
    /// Names the directory where nothing can be written.
    pub(crate) fn make(parent: Option<&Path>) -> Result<Self> {
        let parent = parent.map_or_else(env::temp_dir, Path::to_owned);
        let directory = tempfile::Builder::new().prefix("fief-soak-").tempdir_in(&parent);
        let directory = directory.map_err(|error| {
            anyhow!("cannot make a directory: {error}; choose another place with --dir")
        })?;
        Ok(Self { directory, begun: Count::default() })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The rows to back up next: all of the table in turn, over and over.
    pub(crate) fn next_slice(&self, data: &Lineitem) -> Slice {
        let number = self.begun.next();
        let slices = data.len().div_ceil(FILE_ROWS).max(1) as u64;
        let index = usize::try_from(number % slices).unwrap_or_default();
        let first = index * FILE_ROWS;
        Slice { number, rows: first..data.len().min(first + FILE_ROWS) }
    }

    /// Begins a file.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub(crate) fn begin(&self) -> Result<Draft> {
        let directory = self.path();
        let file = tempfile::Builder::new()
            .prefix("unfinished-")
            .make_in(directory, |path| File::create_new(path))
            .with_context(|| cannot("write to", directory))?;
        let (file, path) = file.into_parts();
        let encoder = GzEncoder::new(BufWriter::new(file), Compression::fast());
        Ok(Draft { directory: directory.to_owned(), encoder, path })
    }

    /// Removes the directory, or lets it be and returns its path.
    ///
    /// # Errors
    ///
    /// When something in it cannot be removed.
    pub(crate) fn end(self, keep: bool) -> Result<Option<PathBuf>> {
        if keep {
            return Ok(Some(self.directory.keep()));
        }
        self.directory.close().context("cannot remove the files")?;
        Ok(None)
    }
}

impl Slice {
    /// The rows of each block, which are compressed one after the other.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let end = self.rows.end;
        self.rows.clone().step_by(BLOCK_ROWS).map(move |first| first..end.min(first + BLOCK_ROWS))
    }

    fn file_name(&self) -> String {
        format!("lineitem-{}.tbl.gz", self.rows.start / FILE_ROWS)
    }
}

impl Draft {
    /// Compresses `text` into the file.
    ///
    /// # Errors
    ///
    /// Those of writing, as a full disk.
    pub(crate) fn write(&mut self, text: &[u8]) -> Result<()> {
        for piece in text.chunks(PIECE) {
            let written = self.encoder.write_all(piece);
            written.with_context(|| cannot("write to", &self.directory))?;
            bench::give_way();
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    ///
    /// As [`Draft::write`].
    pub(crate) fn finish(self) -> Result<Written> {
        let Self { directory, encoder, path } = self;
        let writer = encoder.finish().and_then(|writer| Ok(writer.into_inner()?));
        let file = writer.with_context(|| cannot("write to", &directory))?;
        Ok(Written { directory, file, path })
    }
}

impl Written {
    /// Reads the file back and returns what is in it; `None` if it is no gzip file.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub(crate) fn read_back(&self) -> Result<Option<Digest>> {
        let read = File::open(&self.path).and_then(|file| {
            let mut digester = Digester::default();
            io::copy(&mut MultiGzDecoder::new(BufReader::new(file)), &mut digester)?;
            Ok(digester.digest())
        });
        match read {
            Ok(digest) => Ok(Some(digest)),
            Err(error) if is_corrupt(&error) => Ok(None),
            Err(error) => Err(error).with_context(|| cannot("read from", &self.directory)),
        }
    }

    /// Returns the bytes of the file.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        fs::read(&self.path).with_context(|| cannot("read from", &self.directory))
    }

    /// Gives the file the name of its slice, and returns how many bytes it has.
    ///
    /// # Errors
    ///
    /// When it cannot be renamed.
    pub(crate) fn keep_as(self, slice: &Slice) -> Result<u64> {
        let path = self.directory.join(slice.file_name());
        let persisted = self.path.persist(&path).map_err(|error| error.error);
        let metadata = persisted.and_then(|()| self.file.metadata());
        Ok(metadata.with_context(|| cannot("write", &path))?.len())
    }
}

impl Digest {
    pub(crate) fn of(text: &[u8]) -> Self {
        let mut digester = Digester::default();
        digester.add(text);
        digester.digest()
    }
}

impl Digester {
    fn add(&mut self, text: &[u8]) {
        self.rows += text.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.hasher.update(text);
    }

    fn digest(&self) -> Digest {
        Digest { rows: self.rows, hash: self.hasher.digest() }
    }
}

impl Write for Digester {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes);
        bench::give_way();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn cannot(what: &str, path: &Path) -> String {
    format!("cannot {what} {}", path.display())
}

/// Whether an error says that bytes were read which are no gzip file.
fn is_corrupt(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

/// How much text is compressed before others may have their turn.
const PIECE: usize = 1 << 13;

/// Rows of one file; about one MiB of text.
const FILE_ROWS: usize = 8 * BLOCK_ROWS;

/// Rows that are charged together, and compressed between two looks at whether to go on.
const BLOCK_ROWS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    use crate::workload::data::tests::SMALL;

    fn names(archive: &Archive) -> Vec<String> {
        let entries = fs::read_dir(archive.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn write(archive: &Archive, slice: &Slice) -> Written {
        let mut draft = archive.begin().unwrap();
        for block in slice.blocks() {
            draft.write(SMALL.text(block).unwrap()).unwrap();
        }
        draft.finish().unwrap()
    }

    #[test]
    fn what_is_written_is_read_back_and_kept_under_its_name() {
        let archive = Archive::make(None).unwrap();
        let slice = archive.next_slice(&SMALL);
        let written = write(&archive, &slice);
        let expected = Digest::of(SMALL.text(slice.rows.clone()).unwrap());
        assert_eq!(expected.rows, SMALL.len() as u64);
        assert_eq!(written.read_back().unwrap(), Some(expected));

        let bytes = written.keep_as(&slice).unwrap();
        assert!(bytes > 0 && bytes < SMALL.text_bytes() as u64, "{bytes}");
        assert_eq!(names(&archive), ["lineitem-0.tbl.gz"]);
    }

    #[test]
    fn a_file_that_is_not_finished_is_removed() {
        let archive = Archive::make(None).unwrap();
        let mut draft = archive.begin().unwrap();
        draft.write(b"1|2|3|\n").unwrap();
        drop(draft);
        drop(write(&archive, &archive.next_slice(&SMALL)));
        assert_eq!(names(&archive), [""; 0]);
    }

    #[test]
    fn a_file_that_was_damaged_is_found_out() {
        let archive = Archive::make(None).unwrap();
        let slice = archive.next_slice(&SMALL);
        let written = write(&archive, &slice);
        let good = fs::read(&written.path).unwrap();
        let right = written.read_back().unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        let longer = [&good[..], b"more"].concat();
        for bad in [&[][..], &good[1..], &good[..good.len() - 1], &flipped, &longer] {
            fs::write(&written.path, bad).unwrap();
            assert_ne!(written.read_back().unwrap(), right);
        }
    }

    #[test]
    fn texts_with_other_rows_have_another_digest() {
        let rows = SMALL.text(0..9).unwrap();
        assert_eq!(Digest::of(rows), Digest::of(rows));
        assert_ne!(Digest::of(rows), Digest::of(SMALL.text(0..8).unwrap()));
        assert_ne!(Digest::of(rows), Digest::of(SMALL.text(1..10).unwrap()));
    }

    #[test]
    fn slices_go_round_the_table_in_blocks() {
        let data = Lineitem::generate(0.003, &crate::sync::Flag::default()).unwrap();
        let archive = Archive::make(None).unwrap();
        let slices: Vec<Slice> = (0..4).map(|_| archive.next_slice(&data)).collect();
        let rows: Vec<_> = slices.iter().map(|slice| slice.rows.clone()).collect();
        let (one, two) = (0..FILE_ROWS, FILE_ROWS..2 * FILE_ROWS);
        assert_eq!(rows, [one.clone(), two, 2 * FILE_ROWS..data.len(), one]);
        for slice in slices {
            let mut next = slice.rows.start;
            for block in slice.blocks() {
                assert_eq!(block.start, next);
                assert!(block.len() <= BLOCK_ROWS);
                next = block.end;
            }
            assert_eq!(next, slice.rows.end);
        }
    }

    #[test]
    fn the_directory_goes_unless_it_is_kept() {
        for keep in [false, true] {
            let parent = TempDir::new().unwrap();
            let archive = Archive::make(Some(parent.path())).unwrap();
            let slice = archive.next_slice(&SMALL);
            write(&archive, &slice).keep_as(&slice).unwrap();
            let path = archive.path().to_owned();
            assert_eq!(archive.end(keep).unwrap(), keep.then(|| path.clone()));
            assert_eq!(path.join("lineitem-0.tbl.gz").exists(), keep);
            assert_eq!(path.exists(), keep);
        }
    }

    #[test]
    fn a_place_where_nothing_can_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Archive::make(Some(file.path())).unwrap_err().to_string();
        assert!(error.starts_with("cannot make a directory: Not a directory"), "{error}");
        assert!(error.contains(file.path().to_str().unwrap()), "{error}");
    }
}
