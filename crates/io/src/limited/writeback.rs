//! Writing back: so that what was written to the page cache reaches the disk while somebody has paid for it.
//!
//! A write to the cache takes microseconds, and the disk's work comes later, all at once, in nobody's turn. So a write that
//! finds enough behind it has that written back first, under its own permit: its place in flight is taken as long as
//! the disk is busy, and a latency target sees how long that was.

use std::{fs::File, io};

use crate::{
    sync::{AtomicU64, Ordering},
    tree::Direction,
};

use super::Limited;

/// When what was written is written back, and how.
pub(super) struct Writeback<T> {
    every: u64,
    /// Bytes that were written since.
    behind: AtomicU64,
    sync: fn(&T) -> io::Result<()>,
}

impl<T> Writeback<T> {
    /// Writes back what is behind, if that is enough.
    fn run(&self, inner: &T) -> io::Result<()> {
        // Ordering: Relaxed: a sum; that the file system sees the writes is its own affair.
        let behind = self.behind.load(Ordering::Relaxed);
        if behind == 0 || behind < self.every {
            return Ok(());
        }
        // Ordering: Relaxed: as above. Who comes meanwhile finds nothing to do.
        let behind = self.behind.swap(0, Ordering::Relaxed);
        let result = (self.sync)(inner);
        if result.is_err() {
            self.note(behind); // for the next write to try
        }
        result
    }

    fn note(&self, written: u64) {
        // Ordering: Relaxed: as above.
        self.behind.fetch_add(written, Ordering::Relaxed);
    }
}

impl Limited<File> {
    /// Has what is written be written back to the disk every so many bytes, by `sync_data`.
    ///
    /// Without that a write ends when its bytes are in the page cache, and the disk's work comes later, in nobody's
    /// turn: limits of bytes hold on the whole, but depth, weights and latency targets are about copies to memory. A few
    /// MiB are a good choice: 4 MiB take some milliseconds, and cost little throughput.
    ///
    /// The write that finds so much behind it waits for the disk, under its own permit, before it begins; so what is
    /// never written back in this way is less than `bytes` and one operation, and is the caller's to sync at the end. With 0
    /// every write has the one before written back. Applies to writes by the wrapper, at the cursor or positioned, and
    /// by any number of threads.
    ///
    /// # Errors
    ///
    /// A write fails by what `sync_data` says: nothing of this write was done, and something of those before may not have
    /// reached the disk. The next write tries again.
    ///
    /// # Examples
    ///
    /// ```
    /// # use fief_core::Registry;
    /// # use fief_io::{Device, Io};
    /// use std::io::Write as _;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let registry = Registry::new();
    /// # let tenants = registry.create_hierarchy("by-tenant")?;
    /// # let io = registry.register(Io::new())?;
    /// # io.bind(&tenants)?;
    /// let disk = Device::builder("disk").depth(4).register(&io)?;
    /// let stream = disk.stream(&tenants.root())?;
    /// let mut log = stream.limit(tempfile::tempfile()?).sync_every(4 << 20);
    /// log.write_all(b"a line\n")?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    #[doc(alias = "fdatasync")]
    pub fn sync_every(self, bytes: u64) -> Self {
        let (behind, sync) = (AtomicU64::new(0), File::sync_data);
        Self { writeback: Some(Writeback { every: bytes, behind, sync }), ..self }
    }
}

impl<T> Limited<T> {
    /// Before an operation: writes back what is behind a write, if that is enough.
    pub(super) fn write_back(&self, direction: Direction) -> io::Result<()> {
        let writeback = self.writeback.as_ref().filter(|_| direction == Direction::Write);
        writeback.map_or(Ok(()), |writeback| writeback.run(&self.inner))
    }

    /// After an operation: notes what was written.
    pub(super) fn note_written(&self, direction: Direction, result: &io::Result<usize>) {
        if let (Some(writeback), Direction::Write, Ok(written)) =
            (&self.writeback, direction, result)
        {
            writeback.note(u64::try_from(*written).unwrap_or(u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        error::Error,
        io::{Seek as _, Write},
    };

    use fief_core::Registry;

    use super::*;
    use crate::{
        device::Device,
        subsystem::Io,
        sync::{Arc, Mutex},
    };

    /// A file that notes what is done to it, and how much of its device is in flight then.
    struct Noted {
        device: Device,
        log: Arc<Mutex<Vec<(&'static str, u32)>>>,
        is_broken: bool,
    }

    impl Noted {
        fn note(&self, what: &'static str) {
            self.log.lock().push((what, self.device.stats().in_flight));
        }

        fn sync(&self) -> io::Result<()> {
            self.note("sync");
            if self.is_broken { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }

    impl Write for Noted {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.note("write");
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn trap_15_the_disk_works_under_the_permit_of_the_next_write() -> Result<(), Box<dyn Error>> {
        let registry = Registry::new();
        let io = registry.register(Io::new())?;
        io.bind(&registry.create_hierarchy("h")?)?;
        let device = Device::builder("disk").depth(2).register(&io)?;
        let root = io.root().ok_or("unregistered")?;
        let log = Arc::<Mutex<Vec<_>>>::default();
        let noted = Noted { device: device.clone(), log: Arc::clone(&log), is_broken: false };
        let mut file = device.stream_at(&root)?.limit(noted);
        let behind = AtomicU64::new(0);
        file.writeback = Some(Writeback { every: 100, behind, sync: Noted::sync });
        let taken = || std::mem::take(&mut *log.lock());
        for _ in 0..3 {
            file.write_all(&[0; 60])?;
        }
        assert_eq!(taken(), [("write", 1), ("write", 1), ("sync", 1), ("write", 1)]);
        // What cannot be written back is told, and tried again; nothing of the write itself is done.
        file.write_all(&[0; 60])?;
        file.inner.is_broken = true;
        for _ in 0..2 {
            let error = file.write(&[0; 60]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
        file.inner.is_broken = false;
        file.write_all(&[0; 60])?;
        let rest = [("write", 1), ("sync", 1), ("sync", 1), ("sync", 1), ("write", 1)];
        assert_eq!(taken(), rest);
        let stats = root.stats(&device);
        assert_eq!((stats.wbytes, stats.wios, stats.inflight), (300, 7, 0), "{stats:?}");
        Ok(())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn files_are_written_back_whichever_way_they_are_written() -> Result<(), Box<dyn Error>> {
        use std::os::unix::fs::FileExt as _;

        let registry = Registry::new();
        let io = registry.register(Io::new())?;
        io.bind(&registry.create_hierarchy("h")?)?;
        let stream = Device::builder("disk").register(&io)?.stream_at(&io.root().ok_or("gone")?)?;
        // What takes everything and can be written back nowhere.
        let open = || File::options().read(true).write(true).open("/dev/null");
        for every in [0, 1, 5] {
            let mut null = stream.limit(open()?).sync_every(every);
            assert_eq!(null.write(&[0; 5])?, 5);
            let refused = io::ErrorKind::InvalidInput;
            assert_eq!(null.write(&[0; 5]).unwrap_err().kind(), refused);
            assert_eq!(null.write_at(&[0; 5], 0).unwrap_err().kind(), refused);
            assert_eq!(null.read_at(&mut [0; 5], 0)?, 0, "reads go on");
        }
        let null = stream.limit(open()?).sync_every(6);
        assert_eq!(null.write_at(&[0; 5], 0)? + null.write_at(&[0; 5], 0)?, 10);
        assert!(null.write_at(&[0; 5], 0).is_err());

        let mut file = stream.limit(tempfile::tempfile()?).sync_every(1_000);
        file.write_all(&[7; 100_000])?;
        file.write_all_at(&[8; 50_000], 100_000)?;
        assert_eq!(file.stream_position()?, 100_000);
        assert_eq!(file.get_ref().metadata()?.len(), 150_000);
        Ok(())
    }
}
