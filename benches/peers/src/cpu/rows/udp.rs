//! B3: how long a datagram waits for a light tenant's echo server beside 64 hogs, through tokio's I/O.

use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    Case, Context, Gate,
    latency::{BATCH, HOGS, Hogs, LIGHT, PATIENCE, WARM_UP},
};
use crate::cpu::{
    arrivals::{INTERVAL, SERVICE, arrive, unseen},
    figures::{Figure, Latencies},
    load::{Job, Load, hog},
    system::{Plan, Running, Uses},
    work::Work,
};

const SPAN: Duration = Duration::from_secs(5);
/// How often the client's receiver looks whether all is over.
const LOOK: Duration = Duration::from_millis(20);

pub(super) fn cases() -> Vec<Case> {
    let case = |poll| Case {
        row: "B3",
        name: format!("UDP echo beside {HOGS} hogs, polls of {poll:?}"),
        plan: Plan::light_and_batch().with(Uses::Sockets),
        gate: Gate::Given,
        run: Box::new(move |context, running| run(context, running, poll)),
    };
    [Duration::from_micros(100), Duration::from_millis(1)].map(case).into()
}

fn run(context: &Context, running: &Arc<dyn Running>, poll: Duration) -> Result<Vec<Figure>> {
    let (load, origin) = (Load::new(2), Instant::now());
    for _ in 0..HOGS {
        running.spawn(BATCH, hog(&load, BATCH, poll))?;
    }
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    server.set_nonblocking(true)?;
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    client.connect(server.local_addr()?)?;
    client.set_read_timeout(Some(LOOK))?;
    let [waits, trips] = [Arc::new(Latencies::default()), Arc::new(Latencies::default())];
    running.spawn(LIGHT, echo(&load, server, origin, &waits))?;
    let receiver = {
        let (load, client, trips) = (Arc::clone(&load), client.try_clone()?, Arc::clone(&trips));
        thread::spawn(move || receive(&load, &client, origin, &trips))
    };
    thread::sleep(context.span(WARM_UP));
    let (hogs, sent) = (Hogs::start(&load), AtomicU64::new(0));
    let late = arrive(INTERVAL, context.span(SPAN), context.seed, |now| {
        // Ordering: Relaxed: one thread's count.
        if client.send(&stamp(now, origin)).is_ok() {
            sent.fetch_add(1, Ordering::Relaxed);
        }
    });
    let hogs = hogs.figures(&load);
    let unserved = unseen(sent.into_inner(), &trips, PATIENCE);
    // An empty datagram means only: look whether all is over.
    load.finish(|| {
        client.send(&[]).ok();
    })?;
    receiver.join().expect("the receiver does not panic");
    let mut figures = waits.figures().to_vec();
    figures.extend(hogs);
    figures.push(Figure::new("round trip, p99", "µs", trips.micros(0.99)));
    figures.push(Figure::new("unserved", "", unserved as f64));
    figures.push(Figure::new("sender late, p99", "µs", late.micros(0.99)));
    Ok(figures)
}

fn stamp(now: Instant, origin: Instant) -> [u8; 8] {
    u64::try_from((now - origin).as_nanos()).expect("a short run").to_le_bytes()
}

/// Returns the time since a datagram's stamp.
fn since(datagram: &[u8], origin: Instant) -> Option<Duration> {
    let stamp = u64::from_le_bytes(datagram.try_into().ok()?);
    origin.elapsed().checked_sub(Duration::from_nanos(stamp))
}

/// Returns the job of the server.
fn echo(load: &Arc<Load>, socket: UdpSocket, origin: Instant, waits: &Arc<Latencies>) -> Job {
    let (alive, waits) = (load.alive(), Arc::clone(waits));
    Box::pin(async move {
        let socket = tokio::net::UdpSocket::from_std(socket).expect("a runtime of tokio's");
        let mut buffer = [0; 64];
        while !alive.load().is_over() {
            let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
            let datagram = &buffer[..length];
            let Some(wait) = since(datagram, origin) else { continue };
            waits.record(wait);
            Work::get().run(SERVICE);
            socket.send_to(datagram, peer).await.ok();
        }
    })
}

fn receive(load: &Load, client: &UdpSocket, origin: Instant, trips: &Latencies) {
    let mut buffer = [0; 64];
    while !load.is_over() {
        // Nothing came in time, or nothing listened for a moment: look again.
        let Ok(length) = client.recv(&mut buffer) else { continue };
        if let Some(trip) = since(&buffer[..length], origin) {
            trips.record(trip);
        }
    }
}
