//! Sockets, timers and budgets of a tokio runtime in jobs, in every mode.
//!
//! No time is asserted: what is said to go on is waited for, and what has to come before what is counted.

#[path = "support/tokio.rs"]
mod support;

use std::{
    net::UdpSocket as StdUdpSocket,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    task::Poll,
    time::Duration,
};

use support::{INSIDE, LONG, MODES, Mode, Outcome, World, await_from, give_way, hogs, spin, world};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

/// Sends what comes back to whom it is from.
fn echo(world: &World) -> Result<std::net::SocketAddr, Box<dyn std::error::Error>> {
    let light = world.group("light")?;
    // Made where the runtime is known, which it is not in a pool without one.
    let handle = world.runtime.handle();
    let _entered = handle.enter();
    let socket = StdUdpSocket::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    let address = socket.local_addr()?;
    drop(light.spawn(async move {
        let mut buffer = [0; 64];
        while let Ok((count, from)) = socket.recv_from(&mut buffer).await {
            if socket.send_to(&buffer[..count], from).await.is_err() {
                return;
            }
        }
    })?);
    Ok(address)
}

/// Trap 2: who computes does not keep the sockets from being served.
#[test]
fn datagrams_are_answered_beside_hogs_in_every_mode() -> Outcome {
    for mode in MODES {
        let world = world(mode, 2)?;
        let address = echo(&world)?;
        let stop = hogs(&world.group("hogs")?, 16)?;
        let client = StdUdpSocket::bind("127.0.0.1:0")?;
        client.set_read_timeout(Some(LONG))?;
        for number in 0..20_u64 {
            client.send_to(&number.to_le_bytes(), address)?;
            let mut answer = [0; 8];
            client.recv(&mut answer).map_err(|error| format!("{mode:?}, {number}: {error}"))?;
            assert_eq!(u64::from_le_bytes(answer), number);
        }
        stop.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// Trap 2, for tasks: the runtime looks at its sockets after each stint, not after 61.
#[test]
fn a_runner_lets_the_runtime_look_at_its_sockets() -> Outcome {
    let world = world(Mode::SingleRunners, 1)?;
    let light = world.group("light")?;
    let handle = world.runtime.handle();
    let entered = handle.enter();
    let socket = StdUdpSocket::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    let address = socket.local_addr()?;
    drop(entered);
    let polls = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&polls);
    let (ready, is_ready) = mpsc::channel();
    let server = light.spawn(async move {
        let mut buffer = [0; 64];
        let mut most = 0;
        for _ in 0..10 {
            ready.send(()).unwrap();
            socket.recv(&mut buffer).await.unwrap();
            let sent = u64::from_le_bytes(buffer[..8].try_into().unwrap());
            most = most.max(seen.load(Ordering::Relaxed) - sent);
        }
        most
    })?;
    let client = StdUdpSocket::bind("127.0.0.1:0")?;
    let hog = world.group("hog")?.spawn(async move {
        loop {
            let count = polls.fetch_add(1, Ordering::Relaxed) + 1;
            spin(Duration::from_millis(1));
            if is_ready.try_recv().is_ok() {
                client.send_to(&count.to_le_bytes(), address).unwrap();
            }
            give_way().await;
        }
    })?;
    let most = server.join()?;
    assert!(most < 20, "{most} polls of the hog before a datagram was seen");
    hog.abort();
    Ok(())
}

#[test]
fn timers_and_streams_work_in_jobs() -> Outcome {
    for mode in INSIDE {
        let world = world(mode, 2)?;
        let stop = hogs(&world.group("hogs")?, 2)?;
        let light = world.group("light")?;
        let (told, address) = tokio::sync::oneshot::channel();
        let server = light.spawn(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            told.send(listener.local_addr()?).unwrap();
            let (mut stream, _) = listener.accept().await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            Ok::<_, std::io::Error>(text)
        })?;
        let client = light.spawn(async move {
            let mut stream = TcpStream::connect(address.await.unwrap()).await?;
            for part in ["sleeps ", "between ", "words"] {
                tokio::time::sleep(Duration::from_millis(2)).await;
                stream.write_all(part.as_bytes()).await?;
            }
            Ok::<_, std::io::Error>(())
        })?;
        client.join()??;
        assert_eq!(server.join()??, "sleeps between words", "{mode:?}");
        // And what is spawned on the runtime from a job.
        let task = light.spawn(async { tokio::spawn(async { 5 }).await.unwrap() })?;
        assert_eq!(task.join()?, 5);
        stop.store(true, Ordering::Relaxed);
    }
    Ok(())
}

/// Trap 3: who is always ready is made to wait by tokio's budget; and who is polled has some of it.
#[test]
fn who_is_always_ready_gives_way() -> Outcome {
    for mode in INSIDE {
        let world = world(mode, 1)?;
        let group = world.group("web")?;
        let polls = Arc::new(AtomicU64::new(0));
        let idle_polls = Arc::new(AtomicU64::new(0));
        let (seen, idle_seen) = (Arc::clone(&polls), Arc::clone(&idle_polls));
        let (to, mut from) = tokio::sync::mpsc::unbounded_channel();
        let greedy = group.spawn(async move {
            let mut received = 0_u64;
            let mut forever = Box::pin(async move {
                loop {
                    to.send(()).unwrap();
                    from.recv().await;
                    RECEIVED.with(|count| count.set(count.get() + 1));
                }
            });
            std::future::poll_fn(|context| {
                let before = RECEIVED.with(std::cell::Cell::get);
                let poll: Poll<()> = forever.as_mut().poll(context);
                let count = RECEIVED.with(std::cell::Cell::get) - before;
                received += count;
                polls.fetch_add(1, Ordering::Relaxed);
                idle_polls.fetch_add(u64::from(count == 0), Ordering::Relaxed);
                poll
            })
            .await;
            received
        })?;
        // It is left alone first, and must not keep others from being polled.
        while seen.load(Ordering::Relaxed) < 100 {
            std::thread::yield_now();
        }
        for _ in 0..20 {
            let other = group.spawn(async {
                let (to, mut from) = tokio::sync::mpsc::unbounded_channel();
                to.send(7).unwrap();
                give_way().await;
                from.recv().await
            })?;
            assert_eq!(other.join()?, Some(7), "{mode:?}");
        }
        greedy.abort();
        let in_vain = idle_seen.load(Ordering::Relaxed);
        assert_eq!(in_vain, 0, "{mode:?}: polls without a budget, of {seen:?}");
    }
    Ok(())
}

thread_local! {
    static RECEIVED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Trap 16: a runner that is woken inside a poll does not wait for its end.
#[test]
fn a_runner_is_not_parked_behind_the_poll_that_woke_it() -> Outcome {
    for mode in [Mode::Runners, Mode::Attached] {
        let world = world(mode, 2)?;
        let (one, other) = (world.group("one")?, world.group("other")?);
        for round in 0..100 {
            let (to, from) = tokio::sync::oneshot::channel();
            let (tell, told) = mpsc::channel();
            let (ready, is_ready) = mpsc::channel();
            let woken = other.spawn(async move {
                ready.send(()).unwrap();
                let _: Result<(), _> = from.await;
                tell.send(()).unwrap();
            })?;
            await_from(&is_ready)?;
            let waker = one.spawn(async move {
                to.send(()).unwrap();
                await_from(&told).is_ok() // in the poll that woke it
            })?;
            while !waker.is_finished() {
                // A thread of tokio's that goes to sleep just now can miss what another one has got.
                // Those in the other one's queue it finds when it is called, those in its slot it does not.
                drop(world.runtime.handle().spawn(async {}));
                std::thread::sleep(Duration::from_micros(200));
            }
            assert!(waker.join()?, "{mode:?}, round {round}");
            woken.join()?;
        }
    }
    Ok(())
}
