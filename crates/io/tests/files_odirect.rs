//! Real files, past the page cache where the file system allows it.

#[path = "support/bench.rs"]
mod bench;

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    thread,
};

use fief_io::{Device, Limits};
use rustix::fs::OFlags;

use bench::{Bench, Charged, Checked, charged};

const MIB: usize = 1 << 20;

/// Opens a file for both, past the page cache if that is possible.
fn open(path: &Path) -> io::Result<(File, bool)> {
    let options = |flags: OFlags| {
        let flags = i32::try_from(flags.bits()).expect("flags of open");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).custom_flags(flags);
        options
    };
    match options(OFlags::DIRECT).open(path) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            Ok((options(OFlags::empty()).open(path)?, false))
        }
        Err(error) => Err(error),
    }
}

/// Bytes at an address that direct I/O can use.
struct Aligned(Vec<u8>, usize);

impl Aligned {
    fn new(len: usize) -> Self {
        let bytes = vec![0; len + 4_096];
        let at = bytes.as_ptr().align_offset(4_096);
        Self(bytes, at)
    }

    fn get(&mut self) -> &mut [u8] {
        let len = self.0.len() - 4_096;
        &mut self.0[self.1..self.1 + len]
    }
}

fn directory() -> io::Result<tempfile::TempDir> {
    // Where the build is, for a real file system: `/tmp` may be memory.
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
}

#[test]
fn large_requests_are_split_so_that_direct_io_takes_them() -> Checked {
    let bench = Bench::real(Device::builder("disk"))?;
    let directory = directory()?;
    let (file, is_direct) = open(&directory.path().join("file"))?;
    println!("direct: {is_direct}");
    let mut file = bench.stream.limit(file);
    let mut buf = Aligned::new(MIB);
    buf.get().fill(3);
    file.write_all(buf.get())?;
    file.write_all_at(buf.get(), MIB as u64)?;
    file.seek(SeekFrom::Start(MIB as u64))?;
    buf.get().fill(0);
    file.read_exact(buf.get())?;
    assert!(buf.get().iter().all(|&byte| byte == 3));
    file.read_exact_at(buf.get(), 0)?;
    let bytes = 2 * MIB as u64;
    assert_eq!(bench.charged()?, Charged { read: (bytes, 32), written: (bytes, 32) });
    assert_eq!(file.read(buf.get())?, 0, "the end");
    Ok(())
}

#[test]
fn two_tenants_at_one_file_are_charged_apart_and_exactly() -> Checked {
    let bench = Bench::real(Device::builder("disk").depth(2))?;
    let backup = bench.tenants.root().create_child("backup")?;
    let directory = directory()?;
    let (file, _) = open(&directory.path().join("file"))?;
    file.set_len(4 * MIB as u64)?;
    let streams = [bench.stream.clone(), bench.disk.stream(&backup)?];
    thread::scope(|scope| {
        for (tenant, stream) in streams.iter().enumerate() {
            let file = file.try_clone().expect("a file can be shared");
            scope.spawn(move || {
                let file = stream.limit(file);
                let len = if tenant == 0 { 4_096 } else { 256 << 10 };
                let mut buf = Aligned::new(len);
                for round in 0..16 {
                    file.read_exact_at(buf.get(), round * len as u64).unwrap();
                }
                file.write_all_at(buf.get(), (3 * MIB) as u64).unwrap();
            });
        }
    });
    let expected = Charged { read: (16 * 4_096, 16), written: (4_096, 1) };
    assert_eq!(bench.charged()?, expected);
    let expected = Charged { read: (4 << 20, 64), written: (256 << 10, 4) };
    assert_eq!(charged(&backup, "disk")?, expected);
    assert_eq!(bench.in_flight()?, 0);
    Ok(())
}

#[test]
fn an_error_of_the_file_system_gives_the_bytes_back() -> Checked {
    let bench = Bench::new(Device::builder("disk"))?;
    bench.limit(Limits::new().wbps(1 << 30))?;
    // Nothing can be written there.
    let mut full = bench.stream.limit(OpenOptions::new().write(true).open("/dev/full")?);
    assert_eq!(full.write(&[0; 5_000]).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(full.write_at(&[0; 5_000], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(bench.charged()?.written, (0, 2));
    Ok(())
}
