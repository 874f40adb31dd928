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
const ROUNDS: u64 = 1_000_000;

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

struct World {
    _registry: Registry,
    io: Controller<Io>,
    disk: Device,
    groups: Vec<Cgroup>,
    streams: Vec<Stream>,
}

impl World {
    fn new() -> Result<Self, Box<dyn Error>> {
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
        let streams =
            groups.iter().map(|group| disk.stream(group)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { _registry: registry, io, disk, groups, streams })
    }

    fn limit(&self, group: &Cgroup, limits: Limits) {
        let css = self.io.css(group).expect("the group is there");
        css.set_limits(&self.disk, limits).expect("in range");
    }

    /// Moves streams, and changes limits and depth.
    fn disturb(&self, random: &mut fastrand::Rng) {
        let group = &self.groups[random.usize(..self.groups.len())];
        match random.u32(..4) {
            0 => self.disk.set_depth(NonZeroU32::new(random.u32(..4))),
            1 => self.shift(random, group),
            _ if random.bool() => self.limit(group, Limits::new()),
            _ => {
                let rate = random.u64(10_000_000..200_000_000);
                self.limit(group, Limits::new().rbps(rate));
            }
        }
    }

    /// Moves streams, and changes limits: of that group there always are some, so that there always are leases.
    fn disturb_leases(&self, random: &mut fastrand::Rng) {
        let group = &self.groups[random.usize(..self.groups.len())];
        if random.u32(..4) == 0 {
            return self.shift(random, group);
        }
        let limits = Limits::new().rbps(random.u64(1 << 28..1 << 33));
        let limits = if random.bool() { limits } else { limits.bps(random.u64(1 << 30..1 << 33)) };
        self.limit(group, limits.riops(random.u64(100_000..10_000_000)));
    }

    fn shift(&self, random: &mut fastrand::Rng, group: &Cgroup) {
        let stream = &self.streams[random.usize(..self.streams.len())];
        stream.task().expect("it has one").join(group).expect("the group is there");
    }

    /// Has threads drive, each for so many rounds and then another, while somebody disturbs.
    fn run(
        &self,
        rounds: u64,
        lives: u64,
        disturb: fn(&Self, &mut fastrand::Rng),
    ) -> Result<Count, Box<dyn Error>> {
        let (count, is_over) = (Count::default(), AtomicBool::new(false));
        thread::scope(|scope| {
            let (count, is_over) = (&count, &is_over);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(7);
                while !is_over.load(Relaxed) {
                    disturb(self, &mut random);
                    thread::sleep(Duration::from_millis(2));
                }
            });
            for life in 0..lives {
                let drivers: Vec<_> = (0..DRIVERS)
                    .map(|seed| {
                        let seed = life * DRIVERS + seed;
                        let rounds = rounds / DRIVERS / lives;
                        scope.spawn(move || drive(seed, rounds, &self.streams, count))
                    })
                    .collect();
                for driver in drivers {
                    driver.join().expect("a driver does not panic");
                }
            }
            is_over.store(true, Relaxed);
        });
        let (ops, bytes) = (count.ops.load(Relaxed), count.bytes.load(Relaxed));
        let (dropped, waited) = (count.dropped.load(Relaxed), count.waited.load(Relaxed));
        let root = self.io.root().ok_or("no root")?.stats(&self.disk);
        assert_eq!((root.rios, root.rbytes), (ops, bytes), "{dropped} dropped, {waited} waited");
        let stats = self.disk.stats();
        assert_eq!((stats.waiting, stats.in_flight, stats.stalls), (0, 0, 0), "{stats:?}");
        Ok(count)
    }
}

/// Returns so many, or a twentieth where the machine has little time.
fn so_many(rounds: u64) -> u64 {
    let is_short = env::var("FIEF_STRESS").is_ok_and(|value| value == "short");
    rounds / if is_short { 20 } else { 1 }
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn nothing_drifts_and_nobody_is_stuck() -> Result<(), Box<dyn Error>> {
    World::new()?.run(so_many(ROUNDS), 1, World::disturb).map(drop)
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn leases_of_threads_that_come_and_go_drift_nothing() -> Result<(), Box<dyn Error>> {
    let world = World::new()?;
    for group in &world.groups {
        world.limit(group, Limits::new().rbps(1 << 33));
    }
    let count = world.run(so_many(ROUNDS), 50, World::disturb_leases)?;
    let (grants, ops) = (world.disk.stats().grants, count.ops.load(Relaxed));
    assert!(grants < ops / 2, "{grants} of {ops} by way of the lock: leases were not tried");
    // They are all back: who needs it gets what is there.
    thread::sleep(Duration::from_millis(20));
    for stream in &world.streams {
        stream.try_acquire(Op::read(1))?.done(1);
    }
    Ok(())
}

/// Leases are charged ahead, and given back: no thread gets what another has.
#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn a_limit_holds_whoever_has_leases() -> Result<(), Box<dyn Error>> {
    const RATE: u64 = 200_000_000;
    let world = World::new()?;
    let (above, below) = (&world.groups[1], &world.streams[0]);
    world.limit(above, Limits::new().rbps(RATE));
    let time = Duration::from_millis(so_many(20_000));
    let began = Instant::now();
    let bytes: u64 = thread::scope(|scope| {
        let drive = |seed| {
            let stream = if seed % 2 == 0 { below } else { &world.streams[1] };
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut bytes = 0;
                while began.elapsed() < time {
                    let op = Op::read(random.u64(..8_000));
                    let used = if random.bool() { op.bytes() } else { op.bytes() / 2 };
                    stream.acquire_blocking(op).expect("nothing is removed").done(used);
                    bytes += used;
                }
                bytes
            })
        };
        let drivers: Vec<_> = (0..DRIVERS).map(drive).collect();
        drivers.into_iter().map(|driver| driver.join().expect("no panic")).sum()
    });
    let took = began.elapsed();
    let all = RATE as f64 * took.as_secs_f64();
    // The burst, and of each thread an operation that runs into debt.
    let more = RATE as f64 / 10.0 + DRIVERS as f64 * 8_000.0;
    eprintln!("{bytes} in {took:?}: {:.4} of the rate", bytes as f64 / all);
    assert!(bytes as f64 <= all + more, "{bytes} in {took:?}");
    let css = world.io.css(above).ok_or("removed")?;
    assert_eq!(css.stats(&world.disk).rbytes, bytes);
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
