//! Files, sockets and scripts of tokio: charged once, whatever is polled and given up.
#![cfg(feature = "tokio")]

#[path = "support/bench.rs"]
mod bench;

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice, SeekFrom},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use fief_core::Removal;
use fief_io::{Device, Limited, Limits, Op};
use tokio::{
    io::{
        AsyncRead, AsyncReadExt as _, AsyncSeekExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf,
    },
    net::{TcpListener, TcpStream},
    runtime::Builder,
};

use bench::{Bench, Checked, charged};

/// What a poll comes to.
#[derive(Debug)]
enum Step {
    Pending,
    Moves(usize),
    Fails,
}

/// Does what it is told, poll by poll.
#[derive(Default)]
struct Script {
    steps: VecDeque<Step>,
    asked: Vec<usize>,
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), asked: Vec::new() }
    }

    fn step(&mut self, len: usize) -> Poll<io::Result<usize>> {
        self.asked.push(len);
        match self.steps.pop_front() {
            Some(Step::Pending) => Poll::Pending,
            Some(Step::Moves(bytes)) => Poll::Ready(Ok(bytes)),
            Some(Step::Fails) => Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
            None => Poll::Ready(Ok(0)),
        }
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.step(buf.remaining()).map_ok(|bytes| buf.put_slice(&vec![1; bytes]))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.step(buf.len())
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn bench() -> Result<Bench, Box<dyn std::error::Error>> {
    Bench::new(Device::builder("disk").quantum(4 << 10).depth(4))
}

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls a read of so many bytes, by a future that is given up then.
fn read(it: &mut Limited<Script>, len: usize) -> Poll<Result<usize, ErrorKind>> {
    poll(it.read(&mut vec![0; len])).map_err(|error| error.kind())
}

fn write(it: &mut Limited<Script>, len: usize) -> Poll<Result<usize, ErrorKind>> {
    poll(it.write(&vec![0; len])).map_err(|error| error.kind())
}

#[test]
fn a_pending_operation_is_charged_once_however_often_it_is_polled() -> Checked {
    let bench = bench()?;
    let steps = [Step::Pending, Step::Pending, Step::Pending, Step::Moves(50)];
    let mut it = bench.stream.limit(Script::new(steps));
    for _ in 0..3 {
        assert!(read(&mut it, 60).is_pending());
        assert_eq!((bench.charged()?.read, bench.in_flight()?), ((60, 1), 1));
    }
    assert_eq!(read(&mut it, 10_000), Poll::Ready(Ok(50)));
    assert_eq!((bench.charged()?.read, bench.in_flight()?), ((50, 1), 0));
    assert_eq!(it.get_ref().asked, [60; 4], "what was admitted bounds it");

    let mut it = bench.stream.limit(Script::new([Step::Pending, Step::Moves(7), Step::Moves(9)]));
    assert!(write(&mut it, 20).is_pending());
    assert_eq!(write(&mut it, 8), Poll::Ready(Ok(7)), "another buffer");
    assert_eq!(bench.charged()?.written, (7, 1));
    assert_eq!(write(&mut it, 10_000), Poll::Ready(Ok(9)));
    assert_eq!(it.get_ref().asked, [20, 8, 4_096]);
    assert_eq!((bench.charged()?.written, bench.in_flight()?), ((16, 2), 0));
    Ok(())
}

#[test]
fn the_end_and_errors_give_back_what_was_not_moved() -> Checked {
    let bench = bench()?;
    let mut it = bench.stream.limit(Script::new([Step::Fails, Step::Moves(0), Step::Fails]));
    assert_eq!(read(&mut it, 60), Poll::Ready(Err(ErrorKind::BrokenPipe)));
    assert_eq!(read(&mut it, 60), Poll::Ready(Ok(0)));
    assert_eq!(write(&mut it, 60), Poll::Ready(Err(ErrorKind::BrokenPipe)));
    assert_eq!((bench.charged()?.read, bench.charged()?.written), ((0, 2), (0, 1)));
    assert_eq!(bench.in_flight()?, 0);
    Ok(())
}

#[test]
fn nothing_but_reads_and_writes_is_charged() -> Checked {
    let bench = bench()?;
    let mut it = bench.stream.limit(Script::new([]));
    assert!(matches!(poll(it.flush()), Poll::Ready(Ok(()))));
    assert!(matches!(poll(it.shutdown()), Poll::Ready(Ok(()))));
    assert_eq!(read(&mut it, 0), Poll::Ready(Ok(0)));
    assert_eq!((bench.charged()?.read, bench.charged()?.written), ((0, 0), (0, 0)));
    Ok(())
}

/// In debt by a second.
fn in_debt() -> Result<Bench, Box<dyn std::error::Error>> {
    let bench = bench()?;
    bench.limit(Limits::new().bps(100_000))?;
    drop(bench.stream.charge_urgent(Op::write(200_000))?);
    Ok(bench)
}

#[test]
fn given_up_while_it_waits_the_next_read_has_its_turn() -> Checked {
    let bench = in_debt()?;
    let mut it = bench.stream.limit(Script::new([Step::Moves(60)]));
    for _ in 0..3 {
        assert!(read(&mut it, 60).is_pending());
    }
    assert_eq!(bench.charged()?.read, (0, 0));
    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.charged()?.read, (60, 1), "granted to who does not look");
    assert_eq!(read(&mut it, 60), Poll::Ready(Ok(60)));
    assert_eq!((bench.charged()?.read, bench.in_flight()?), ((60, 1), 0));
    assert!(it.waited().limit >= Duration::from_secs(1), "{:?}", it.waited());
    Ok(())
}

#[test]
fn dropped_in_every_state_it_leaves_nothing_charged_or_in_flight() -> Checked {
    let bench = in_debt()?;
    let waiting = || bench.stream.limit(Script::new([Step::Pending]));
    let mut queued = waiting();
    assert!(read(&mut queued, 60).is_pending());
    let mut granted = waiting();
    assert!(write(&mut granted, 60).is_pending());
    drop(queued);
    bench.pass(Duration::from_secs(3));
    assert_eq!((bench.charged()?.written, bench.in_flight()?), ((200_060, 2), 1));
    drop(granted);
    assert_eq!((bench.charged()?.read, bench.in_flight()?), ((0, 0), 0), "it was in the queue");
    assert_eq!(bench.charged()?.written, (200_000, 1), "it never heard of its grant");

    let mut held = waiting();
    assert!(write(&mut held, 60).is_pending());
    assert_eq!((bench.charged()?.written, bench.in_flight()?), ((200_060, 2), 1));
    drop(held.into_inner());
    assert_eq!((bench.charged()?.written, bench.in_flight()?), ((200_000, 2), 0));
    Ok(())
}

#[test]
fn a_socket_that_waits_keeps_nothing_and_pays_for_what_came() -> Checked {
    let bench = in_debt()?;
    let steps = [Step::Pending, Step::Moves(50), Step::Moves(30), Step::Moves(20)];
    let mut it = bench.stream.limit_socket(Script::new(steps));
    assert!(read(&mut it, 60).is_pending());
    assert_eq!(bench.in_flight()?, 0);
    assert_eq!(read(&mut it, 60), Poll::Ready(Ok(50)), "nothing was owed");
    assert_eq!(bench.charged()?.read, (0, 0), "there is no room for it");
    assert!(read(&mut it, 60).is_pending(), "that is owed now");
    assert_eq!(it.get_ref().asked, [60, 60]);
    bench.pass(Duration::from_secs(3));
    assert_eq!(read(&mut it, 60), Poll::Ready(Ok(30)));
    assert_eq!(bench.charged()?.read, (80, 2));

    drop(bench.stream.charge_urgent(Op::write(400_000))?);
    assert_eq!(read(&mut it, 60), Poll::Ready(Ok(20)));
    assert!(read(&mut it, 60).is_pending());
    drop(it);
    assert_eq!((bench.charged()?.read, bench.in_flight()?), ((100, 3), 0), "at the end");
    Ok(())
}

#[test]
fn a_refusal_is_an_error_of_the_operation_and_of_none_after_it_is_over() -> Checked {
    let bench = in_debt()?;
    let gone = bench.web.create_child("gone")?;
    let css = bench.io.css(&gone).ok_or("removed")?;
    let stream = bench.disk.stream_at(&css)?;
    drop(css);
    let mut it = stream.limit(Script::new([]));
    assert!(read(&mut it, 60).is_pending());
    gone.remove(Removal::Detach)?;
    for _ in 0..2 {
        assert_eq!(read(&mut it, 60), Poll::Ready(Err(ErrorKind::Other)));
    }
    assert_eq!(it.get_ref().asked, [], "it was not done");
    Ok(())
}

#[test]
fn vectored_writes_are_bounded_and_charged() -> Checked {
    let bench = bench()?;
    let mut it = bench.stream.limit(Vec::new());
    let (a, b) = (vec![1; 3_000], vec![2; 5_000]);
    let bufs = [IoSlice::new(&a), IoSlice::new(&b)];
    assert!(it.is_write_vectored());
    assert!(matches!(poll(it.write_vectored(&bufs)), Poll::Ready(Ok(3_000))));
    assert!(matches!(poll(it.write_vectored(&bufs[1..])), Poll::Ready(Ok(4_096))));
    assert_eq!(bench.charged()?.written, (7_096, 2));
    assert_eq!(it.get_ref().len(), 7_096);
    Ok(())
}

#[test]
fn a_file_of_tokio_is_charged_byte_for_byte() -> Checked {
    let bench = Bench::real(Device::builder("disk").quantum(4 << 10).depth(1))?;
    Builder::new_multi_thread().worker_threads(2).build()?.block_on(async {
        let file = tokio::fs::File::from_std(tempfile::tempfile()?);
        let mut file = bench.stream.limit(file);
        file.write_all(&[7; 10_000]).await?;
        file.flush().await?;
        assert_eq!(file.seek(SeekFrom::Start(1_000)).await?, 1_000);
        let mut copy = Vec::new();
        file.read_to_end(&mut copy).await?;
        assert_eq!(copy, [7; 9_000]);
        assert_eq!(bench.charged()?.written, (10_000, 3));
        assert_eq!(bench.charged()?.read.0, 9_000);
        assert_eq!(bench.in_flight()?, 0);
        Ok(())
    })
}

/// Two tenants send through real sockets, below a common cap; each is charged for what its peer got.
#[test]
fn tcp_streams_are_held_to_their_limits_and_charged_byte_for_byte() -> Checked {
    const BYTES: usize = 300_000;
    let bench = Bench::real(Device::builder("net"))?;
    let other = bench.tenants.root().create_child("other")?;
    bench.limit(Limits::new().wbps(1_000_000))?;
    let streams = [bench.stream.clone(), bench.disk.stream(&other)?];
    let start = std::time::Instant::now();
    Builder::new_multi_thread().worker_threads(2).enable_io().build()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut senders = Vec::new();
        for stream in streams {
            senders.push(tokio::spawn(async move {
                let mut socket = stream.limit_socket(TcpStream::connect(address).await?);
                socket.write_all(&vec![3; BYTES]).await?;
                socket.shutdown().await?;
                let mut answer = Vec::new();
                socket.read_to_end(&mut answer).await?;
                io::Result::Ok(answer)
            }));
        }
        for _ in 0..2 {
            let (mut socket, _) = listener.accept().await?;
            tokio::spawn(async move {
                let mut got = Vec::new();
                socket.read_to_end(&mut got).await?;
                socket.write_all(got.len().to_string().as_bytes()).await
            });
        }
        for sender in senders {
            assert_eq!(sender.await??, BYTES.to_string().as_bytes());
        }
        Checked::Ok(())
    })?;
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(150), "{took:?} for 300 kB at 1 MB/s");
    for charged in [bench.charged()?, charged(&other, "net")?] {
        assert_eq!(charged.written.0, BYTES as u64);
        assert_eq!(charged.read.0, 6, "the answer");
    }
    Ok(())
}
