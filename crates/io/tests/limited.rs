//! Wrapped files and streams: each operation is charged once, for what it moved.

#[path = "support/bench.rs"]
mod bench;

use std::{
    fs::File,
    io::{self, Cursor, ErrorKind, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    thread,
    time::Duration,
};

use fief_core::Removal;
use fief_io::{AcquireError, CostModel, Device, Limits, OpCost, Refusal};

use bench::{Bench, Charged, Checked};

const KIB: u64 = 1 << 10;

fn bench() -> Result<Bench, Box<dyn std::error::Error>> {
    Bench::new(Device::builder("disk").quantum(4 * KIB))
}

/// Does what it is told, call by call.
struct Script {
    steps: Vec<io::Result<usize>>,
    asked: Vec<usize>,
}

impl Script {
    fn new(steps: impl IntoIterator<Item = io::Result<usize>>) -> Self {
        let mut steps: Vec<_> = steps.into_iter().collect();
        steps.reverse();
        Self { steps, asked: Vec::new() }
    }

    fn step(&mut self, len: usize) -> io::Result<usize> {
        self.asked.push(len);
        self.steps.pop().unwrap_or(Ok(0))
    }
}

impl Read for Script {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.step(buf.len())
    }
}

impl Write for Script {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.step(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn again() -> io::Result<usize> {
    Err(ErrorKind::WouldBlock.into())
}

#[test]
fn a_file_that_is_copied_is_charged_byte_for_byte() -> Checked {
    let bench = bench()?;
    let mut file = bench.stream.limit(tempfile::tempfile()?);
    let data = vec![7; 10_000];
    file.write_all(&data)?;
    file.flush()?;
    file.rewind()?;
    let mut copy = Vec::new();
    file.read_to_end(&mut copy)?;
    assert_eq!(copy, data);
    let charged = bench.charged()?;
    assert_eq!(charged.written, (10_000, 3), "in three pieces of at most the quantum");
    assert_eq!(charged.read.0, 10_000);
    assert!(charged.read.1 >= 4, "three, and one that finds the end");
    Ok(())
}

#[test]
fn positioned_operations_are_split_and_charged_for_what_they_moved() -> Checked {
    let bench = bench()?;
    let file = bench.stream.limit(tempfile::tempfile()?);
    file.write_all_at(&[1; 9_000], 100)?;
    assert_eq!(bench.charged()?.written, (9_000, 3));
    assert_eq!(file.get_ref().metadata()?.len(), 9_100);

    let mut buf = [0; 5_000];
    file.read_exact_at(&mut buf, 100)?;
    assert_eq!(buf, [1; 5_000]);
    assert_eq!(bench.charged()?.read, (5_000, 2));

    assert_eq!(file.read_at(&mut buf, 9_000)?, 100, "the end");
    assert_eq!(bench.charged()?.read, (5_100, 3));
    assert_eq!(file.read_at(&mut buf, 1 << 40)?, 0, "behind it");
    assert_eq!(bench.charged()?.read, (5_100, 4), "it was an operation");
    assert_eq!(file.read_at(&mut [], 0)?, 0);
    assert_eq!(bench.charged()?.read, (5_100, 4), "nothing was asked for");
    Ok(())
}

#[test]
fn an_operation_that_fails_is_counted_and_its_bytes_given_back() -> Checked {
    let bench = bench()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("file");
    File::create(&path)?;
    let mut reader = bench.stream.limit(File::open(&path)?);
    assert!(reader.write(&[0; 10]).is_err(), "it is open for reading");
    assert!(reader.write_at(&[0; 10], 0).is_err());
    assert_eq!(bench.charged()?.written, (0, 2));
    assert_eq!(bench.charged()?.read, (0, 0));
    Ok(())
}

#[test]
fn a_short_operation_is_charged_for_what_it_moved() -> Checked {
    let bench = bench()?;
    let mut it = bench.stream.limit(Script::new([Ok(10), Ok(4), Ok(7)]));
    assert_eq!(it.read(&mut [0; 100])?, 10);
    assert_eq!(it.write(&[0; 100])?, 4);
    assert_eq!(it.write(&[0; 100])?, 7);
    assert_eq!(bench.charged()?, Charged { read: (10, 1), written: (11, 2) });
    Ok(())
}

#[test]
fn what_would_block_is_charged_once_however_often_it_is_tried() -> Checked {
    let bench = bench()?;
    let steps = [again(), again(), Err(ErrorKind::Interrupted.into()), Ok(50)];
    let mut it = bench.stream.limit(Script::new(steps));
    for kind in [ErrorKind::WouldBlock, ErrorKind::WouldBlock, ErrorKind::Interrupted] {
        assert_eq!(it.read(&mut [0; 60]).unwrap_err().kind(), kind);
        assert_eq!(bench.charged()?.read, (60, 1), "admitted, and kept");
    }
    assert_eq!(it.read(&mut [0; 500])?, 50);
    assert_eq!(it.get_ref().asked, [60, 60, 60, 60], "what was admitted bounds it");
    assert_eq!(bench.charged()?.read, (50, 1));
    Ok(())
}

#[test]
fn what_was_admitted_and_not_done_is_given_back_at_the_end() -> Checked {
    let bench = Bench::new(Device::builder("disk").depth(4))?;
    let mut it = bench.stream.limit(Script::new([again(), again()]));
    assert!(it.read(&mut [0; 60]).is_err());
    assert!(it.write(&[0; 60]).is_err());
    assert_eq!(bench.charged()?, Charged { read: (60, 1), written: (60, 1) });
    assert_eq!(bench.in_flight()?, 2);
    drop(it.into_inner());
    assert_eq!(bench.charged()?, Charged { read: (0, 1), written: (0, 1) });
    assert_eq!(bench.in_flight()?, 0);
    Ok(())
}

#[test]
fn a_socket_that_has_nothing_to_read_keeps_nothing() -> Checked {
    let bench = Bench::new(Device::builder("disk").depth(4))?;
    let mut it = bench.stream.limit_socket(Script::new([again(), Ok(50), Ok(0)]));
    assert!(it.read(&mut [0; 60]).is_err());
    assert_eq!((bench.charged()?.read, bench.in_flight()?), ((0, 0), 0));
    assert_eq!(it.read(&mut [0; 60])?, 50);
    assert_eq!((bench.charged()?.read, bench.in_flight()?), ((50, 1), 0));
    assert_eq!(it.read(&mut [0; 60])?, 0, "the end costs nothing");
    assert_eq!(bench.charged()?.read, (50, 1));
    Ok(())
}

#[test]
fn what_a_socket_owes_is_paid_before_the_next_read_or_at_its_end() -> Checked {
    let bench = Bench::real(Device::builder("net"))?;
    bench.limit(Limits::new().rbps(100_000))?;
    // The burst is used up, and more.
    drop(bench.stream.charge_urgent(fief_io::Op::read(70_000))?);
    let mut it = bench.stream.limit_socket(Script::new([Ok(500), Ok(500)]));
    assert_eq!(it.read(&mut [0; 500])?, 500);
    assert_eq!(bench.charged()?.read, (70_000, 1), "there was no room for it");
    assert_eq!(it.waited(), fief_io::Wait::default());
    assert_eq!(it.read(&mut [0; 500])?, 500);
    assert!(it.waited().limit > Duration::from_millis(10), "it waited for what was owed");
    drop(it);
    assert_eq!(bench.charged()?.read, (71_000, 3));
    Ok(())
}

#[test]
fn vectored_operations_are_bounded_too() -> Checked {
    let bench = bench()?;
    let mut file = bench.stream.limit(tempfile::tempfile()?);
    let (a, b, c) = (vec![1; 3_000], vec![2; 1_000], vec![3; 5_000]);
    let written = file.write_vectored(&[IoSlice::new(&a), IoSlice::new(&b), IoSlice::new(&c)])?;
    assert_eq!(written, 4_000, "the two that fit the quantum");
    assert_eq!(file.write_vectored(&[IoSlice::new(&[]), IoSlice::new(&c)])?, 4_096);
    assert_eq!(file.write_vectored(&[])?, 0);
    assert_eq!(bench.charged()?.written, (8_096, 2));

    file.seek(SeekFrom::Start(2_999))?;
    let (mut x, mut y) = ([0; 1], [0; 2]);
    let read = file.read_vectored(&mut [IoSliceMut::new(&mut x), IoSliceMut::new(&mut y)])?;
    assert_eq!(read, 3);
    assert_eq!((x, y), ([1], [2, 2]));
    assert_eq!(bench.charged()?.read, (3, 1));
    Ok(())
}

#[test]
fn a_seek_far_away_is_told_to_the_device() -> Checked {
    let cost = OpCost { sequential: 0, random: 1_000_000, kib: 0 };
    let model = CostModel { read: cost, write: cost };
    let bench = Bench::new(Device::builder("disk").cost(model).depth(1))?;
    let mut file = bench.stream.limit(Cursor::new(vec![0; 64 << 20]));
    let cost = || -> Result<u64, Box<dyn std::error::Error>> { bench.cost_usec() };
    file.read_exact(&mut [0; 100])?;
    assert_eq!(cost()?, 0, "nobody knows where it is");
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut [0; 100])?;
    assert_eq!(cost()?, 1_000, "the first place that is known");
    file.read_exact(&mut [0; 100])?;
    assert_eq!(cost()?, 1_000, "it goes on from there");
    file.seek(SeekFrom::End(-100))?;
    file.read_exact(&mut [0; 100])?;
    assert_eq!(cost()?, 2_000, "far away");
    Ok(())
}

#[test]
fn who_waits_is_told_for_how_long() -> Checked {
    let bench = Bench::real(Device::builder("disk"))?;
    bench.limit(Limits::new().wbps(1_000_000))?;
    let mut file = bench.stream.limit(tempfile::tempfile()?);
    assert_eq!(file.waited(), fief_io::Wait::default());
    file.write_all(&vec![0; 300_000])?;
    let waited = file.waited().limit;
    assert!(waited >= Duration::from_millis(100), "{waited:?} for 300 kB at 1 MB/s");
    file.write_all_at(&vec![0; 200_000], 0)?;
    assert!(file.waited().limit > waited, "positioned ones as well");
    assert_eq!(bench.charged()?.written.0, 500_000);
    Ok(())
}

#[test]
fn a_removed_group_is_refused_with_the_cause() -> Checked {
    let bench = bench()?;
    let gone = bench.web.create_child("gone")?;
    let css = bench.io.css(&gone).ok_or("removed")?;
    let stream = bench.disk.stream_at(&css)?;
    drop(css);
    let mut file = stream.limit(tempfile::tempfile()?);
    file.write_all(b"fine")?;
    gone.remove(Removal::Detach)?;
    let error = file.write(b"gone").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<AcquireError>());
    assert_eq!(cause.ok_or("another cause")?.why, Refusal::Removed);
    assert_eq!(file.into_inner().metadata()?.len(), 4, "it was not done");
    Ok(())
}

#[test]
fn many_threads_at_one_file_are_charged_exactly() -> Checked {
    let bench = Bench::real(Device::builder("disk").quantum(4 * KIB).depth(2))?;
    let file = &bench.stream.limit(tempfile::tempfile()?);
    file.get_ref().set_len(1 << 20)?;
    thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                let mut buf = [0; 10_000];
                for round in 0..50 {
                    let at = (thread * 50 + round) * 1_000;
                    file.read_exact_at(&mut buf, at).unwrap();
                    file.write_all_at(&buf[..5_000], at).unwrap();
                }
            });
        }
    });
    let charged = bench.charged()?;
    assert_eq!(charged, Charged { read: (2_000_000, 600), written: (1_000_000, 400) });
    assert_eq!(bench.in_flight()?, 0);
    Ok(())
}
