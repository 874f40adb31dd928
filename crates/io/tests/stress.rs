//! Threads and tasks that acquire, drop, move and change limits at random: nothing drifts, and nobody is stuck.
//!
//! `FIEF_STRESS=short` in the environment divides the work by twenty.

use std::{
    env,
    error::Error,
    num::NonZeroU32,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use fief_core::{Cgroup, Controller, Registry};
use fief_io::{Device, Io, Limits, Op, Stream};

const DRIVERS: u64 = 4;

#[derive(Default)]
struct Count {
    bytes: AtomicU64,
    ops: AtomicU64,
    dropped: AtomicU64,
    waited: AtomicU64,
}

/// Acquires so many, and drops half of them at random points.
fn drive(seed: u64, rounds: u64, streams: &[Stream], count: &Count) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..rounds {
        let stream = &streams[random.usize(..streams.len())];
        let op = Op::read(random.u64(..20_000));
        if random.bool() {
            let mut acquire = Box::pin(stream.acquire(op));
            let polls = random.u32(..3);
            let mut permit = None;
            for _ in 0..polls {
                if let Poll::Ready(result) = acquire.as_mut().poll(&mut cx) {
                    permit = result.ok();
                    break;
                }
                if random.u32(..16) == 0 {
                    thread::yield_now();
                }
            }
            drop(acquire);
            count.dropped.fetch_add(1, Relaxed);
            if permit.is_some() {
                count.ops.fetch_add(1, Relaxed);
                count.bytes.fetch_add(op.bytes(), Relaxed);
            }
            continue;
        }
        let permit = stream.acquire_blocking(op).expect("nothing is removed");
        if !permit.waited().limit.is_zero() || !permit.waited().queue.is_zero() {
            count.waited.fetch_add(1, Relaxed);
        }
        let used = if random.bool() { op.bytes() } else { random.u64(..=op.bytes()) };
        permit.done(used);
        count.ops.fetch_add(1, Relaxed);
        count.bytes.fetch_add(used, Relaxed);
    }
}

/// Moves streams, and changes limits and depth.
fn disturb(
    random: &mut fastrand::Rng,
    io: &Controller<Io>,
    disk: &Device,
    groups: &[Cgroup],
    streams: &[Stream],
) {
    let group = &groups[random.usize(..groups.len())];
    match random.u32(..4) {
        0 => disk.set_depth(NonZeroU32::new(random.u32(..4))),
        1 => {
            let stream = &streams[random.usize(..streams.len())];
            let task = stream.task().expect("it has one");
            task.join(group).expect("the group is there");
        }
        _ => {
            let limits = if random.bool() {
                Limits::new().rbps(random.u64(10_000_000..200_000_000))
            } else {
                Limits::new()
            };
            let css = io.css(group).expect("the group is there");
            css.set_limits(disk, limits).expect("in range");
        }
    }
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn nothing_drifts_and_nobody_is_stuck() -> Result<(), Box<dyn Error>> {
    let is_short = env::var("FIEF_STRESS").is_ok_and(|value| value == "short");
    let rounds = 1_000_000 / DRIVERS / if is_short { 20 } else { 1 };
    let registry = Registry::new();
    let tenants = registry.create_hierarchy("by-tenant")?;
    let io = registry.register(Io::new())?;
    io.bind(&tenants)?;
    let disk = Device::builder("disk").register(&io)?;
    let mut groups = Vec::new();
    for name in ["a", "b", "c"] {
        let group = tenants.root().create_child(name)?;
        groups.push(group.create_child("below")?);
        groups.push(group);
    }
    let streams = groups.iter().map(|group| disk.stream(group)).collect::<Result<Vec<_>, _>>()?;
    let (count, is_over) = (Count::default(), AtomicBool::new(false));
    let began = Instant::now();
    thread::scope(|scope| {
        let (count, streams, disk, groups, io) = (&count, &streams, &disk, &groups, &io);
        let drivers: Vec<_> = (0..DRIVERS)
            .map(|seed| scope.spawn(move || drive(seed, rounds, streams, count)))
            .collect();
        let is_over = &is_over;
        scope.spawn(move || {
            let mut random = fastrand::Rng::with_seed(7);
            while !is_over.load(Relaxed) {
                disturb(&mut random, io, disk, groups, streams);
                thread::sleep(Duration::from_millis(2));
            }
        });
        for driver in drivers {
            driver.join().expect("a driver does not panic");
        }
        is_over.store(true, Relaxed);
    });
    let (ops, bytes) = (count.ops.load(Relaxed), count.bytes.load(Relaxed));
    let (dropped, waited) = (count.dropped.load(Relaxed), count.waited.load(Relaxed));
    eprintln!("{ops} done, {dropped} dropped, {waited} waited, in {:?}", began.elapsed());
    let root = io.css(&tenants.root()).ok_or("no root")?.stats(&disk);
    assert_eq!((root.rios, root.rbytes), (ops, bytes), "it drifted");
    let stats = disk.stats();
    assert_eq!((stats.waiting, stats.in_flight, stats.stalls), (0, 0, 0), "{stats:?}");
    Ok(())
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn tasks_of_a_runtime_that_is_dropped_leave_nothing() -> Result<(), Box<dyn Error>> {
    let registry = Registry::new();
    let tenants = registry.create_hierarchy("by-tenant")?;
    let io = registry.register(Io::new())?;
    io.bind(&tenants)?;
    let disk = Device::builder("disk").depth(2).register(&io)?;
    let stream = disk.stream(&tenants.root())?;
    for _ in 0..20 {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
        for _ in 0..200 {
            let stream = stream.clone();
            runtime.spawn(async move {
                loop {
                    let permit = stream.acquire(Op::read(100)).await;
                    tokio::task::yield_now().await;
                    drop(permit);
                }
            });
        }
        thread::sleep(Duration::from_millis(5));
        runtime.shutdown_background();
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while disk.stats().waiting > 0 || disk.stats().in_flight > 0 {
        assert!(Instant::now() < deadline, "{:?}", disk.stats());
        thread::sleep(Duration::from_millis(1));
    }
    stream.try_acquire(Op::read(1))?.done(1);
    Ok(())
}
