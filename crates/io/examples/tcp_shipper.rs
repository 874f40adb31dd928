//! Ships the logs of three tenants over TCP: so much for each, and so much for all.
#![expect(clippy::print_stdout, reason = "it is an example")]

use std::{
    error::Error,
    net::SocketAddr,
    time::{Duration, Instant},
};

use fief_core::Registry;
use fief_io::{Device, Io, Limits, Stream};
use tokio::{
    io::{self, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    task::JoinSet,
    time,
};

const TIME: Duration = Duration::from_secs(2);
const MB: u64 = 1_000_000;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let registry = Registry::new();
    let tenants = registry.create_hierarchy("by-tenant")?;
    let io = registry.register(Io::new())?;
    io.bind(&tenants)?;
    let net = Device::builder("net").register(&io)?;
    let all = tenants.root().create_child("shipper")?;
    let css = io.css(&all).ok_or("the group was removed")?;
    css.set_limits(&net, Limits::new().wbps(20 * MB))?;

    let mut streams = Vec::new();
    for (name, megabytes) in [("small", 2), ("middle", 8), ("large", 30)] {
        let tenant = all.create_child(name)?;
        let css = io.css(&tenant).ok_or("the group was removed")?;
        css.set_limits(&net, Limits::new().wbps(megabytes * MB))?;
        streams.push(net.stream(&tenant)?);
    }
    Builder::new_multi_thread().enable_all().build()?.block_on(run(streams))?;

    for tenant in all.children() {
        print!("{} {}", tenant.path(), tenant.read("io.stat")?);
    }
    print!("{} {}", all.path(), all.read("io.stat")?);
    Ok(())
}

async fn run(streams: Vec<Stream>) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let collector = tokio::spawn(collect(listener, streams.len()));
    let mut shippers = JoinSet::new();
    for stream in streams {
        shippers.spawn(ship(stream, address));
    }
    while let Some(sent) = shippers.join_next().await {
        let (name, sent, waited) = sent??;
        println!("{name:<16} {:>6.2} MB/s, waited {waited:?}", rate(sent));
    }
    println!("{:<16} {:>6.2} MB/s", "collected", rate(collector.await??));
    Ok(())
}

/// Sends lines as fast as it may; returns how many bytes.
async fn ship(stream: Stream, to: SocketAddr) -> Outcome<(String, u64, Duration)> {
    let mut socket = stream.limit_socket(TcpStream::connect(to).await?);
    let line = b"2026-01-01T00:00:00Z INFO something was done\n".repeat(400);
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < TIME {
        // Given up when the time is over, wherever it is; only what was sent is charged.
        let rest = TIME.saturating_sub(start.elapsed());
        match time::timeout(rest, socket.write(&line)).await {
            Ok(bytes) => sent += bytes? as u64,
            Err(_elapsed) => break,
        }
    }
    socket.shutdown().await?;
    Ok((stream.css().path(), sent, socket.waited().limit))
}

/// Takes what is sent; returns how many bytes.
async fn collect(listener: TcpListener, connections: usize) -> Outcome<u64> {
    let mut readers = JoinSet::new();
    for _ in 0..connections {
        let (mut socket, _) = listener.accept().await?;
        readers.spawn(async move {
            let (mut buf, mut got) = (vec![0; 64 << 10], 0u64);
            loop {
                match socket.read(&mut buf).await? {
                    0 => return io::Result::Ok(got),
                    bytes => got += bytes as u64,
                }
            }
        });
    }
    let mut got = 0;
    while let Some(bytes) = readers.join_next().await {
        got += bytes??;
    }
    Ok(got)
}

fn rate(bytes: u64) -> f64 {
    bytes as f64 / TIME.as_secs_f64() / 1e6
}
