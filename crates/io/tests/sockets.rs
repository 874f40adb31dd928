//! Real TCP sockets of the standard library.

#[path = "support/bench.rs"]
mod bench;

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use fief_io::{Device, Limits};

use bench::{Bench, Checked};

fn pair() -> std::io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    Ok((client, listener.accept()?.0))
}

#[test]
fn both_directions_are_charged_for_what_went_through() -> Checked {
    let bench = Bench::real(Device::builder("net"))?;
    let (client, mut server) = pair()?;
    let echo = thread::spawn(move || {
        let mut got = Vec::new();
        server.read_to_end(&mut got)?;
        server.write_all(&got[..got.len() / 2])
    });
    let mut client = bench.stream.limit_socket(client);
    client.write_all(&[5; 200_000])?;
    client.get_ref().shutdown(Shutdown::Write)?;
    let mut back = Vec::new();
    client.read_to_end(&mut back)?;
    echo.join().map_err(|_| "the peer panicked")??;
    assert_eq!(back, [5; 100_000]);
    let charged = bench.charged()?;
    assert_eq!((charged.written.0, charged.read.0), (200_000, 100_000));
    assert!(charged.written.1 >= 4, "at most 64 KiB each: {charged:?}");
    Ok(())
}

#[test]
fn a_limit_holds_a_socket_back() -> Checked {
    let bench = Bench::real(Device::builder("net").quantum(8 << 10))?;
    bench.limit(Limits::new().wbps(1_000_000).rbps(500_000))?;
    let (client, mut server) = pair()?;
    let peer = thread::spawn(move || {
        let mut got = Vec::new();
        server.read_to_end(&mut got)?;
        server.write_all(&got)
    });
    let start = Instant::now();
    let mut client = bench.stream.limit_socket(client);
    client.write_all(&[5; 150_000])?;
    client.get_ref().shutdown(Shutdown::Write)?;
    let mut back = Vec::new();
    client.read_to_end(&mut back)?;
    let took = start.elapsed();
    peer.join().map_err(|_| "the peer panicked")??;
    assert_eq!(back.len(), 150_000);
    // Less what the bursts let through, of 10 ms or a quantum.
    assert!(took >= Duration::from_millis(350), "{took:?}");
    assert!(client.waited().limit >= Duration::from_millis(300), "{:?}", client.waited());
    Ok(())
}

#[test]
fn a_non_blocking_socket_is_charged_once_for_each_write() -> Checked {
    let bench = Bench::new(Device::builder("net"))?;
    let (client, mut server) = pair()?;
    client.set_nonblocking(true)?;
    let mut client = bench.stream.limit(client);
    let mut sent = 0u64;
    let data = [9; 50_000];
    loop {
        match client.write(&data) {
            Ok(bytes) => sent += bytes as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    let full = bench.charged()?.written;
    assert_eq!(full.0, sent + 50_000, "what was admitted is kept");
    for _ in 0..100 {
        assert_eq!(client.write(&data).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    assert_eq!(bench.charged()?.written, full);

    // The peer reads, and it goes on with what it had.
    let mut rest = vec![0; usize::try_from(sent)?];
    server.read_exact(&mut rest)?;
    let more = loop {
        match client.write(&data) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
            result => break result? as u64,
        }
    };
    assert_eq!(bench.charged()?.written, (sent + more, full.1));

    // A read that would block is admitted once as well, and given back with the wrapper.
    for _ in 0..10 {
        assert_eq!(client.read(&mut [0; 100]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    assert_eq!(bench.charged()?.read, (100, 1));
    drop(client);
    assert_eq!(bench.charged()?.read, (0, 1));
    Ok(())
}

#[test]
fn a_peer_that_is_gone_is_an_error_and_charges_nothing_for_it() -> Checked {
    let bench = Bench::new(Device::builder("net"))?;
    let (client, server) = pair()?;
    drop(server);
    let mut client = bench.stream.limit_socket(client);
    assert_eq!(client.read(&mut [0; 100])?, 0);
    let mut sent = 0;
    let error = loop {
        match client.write(&[1; 100]) {
            Ok(bytes) => sent += bytes as u64,
            Err(error) => break error,
        }
    };
    assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    assert_eq!((bench.charged()?.written.0, bench.charged()?.read), (sent, (0, 0)));
    Ok(())
}
