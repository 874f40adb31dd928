//! Ten minutes of everything at once, under a watchdog: who waits and could go on does so, and nothing drifts.
//!
//! Small reads, bulk writes, futures that are dropped, deadlines, urgent operations and threads that come and go, on a device with a
//! depth and a latency target, on one that is only limited, and on one that comes and goes; while limits, weights,
//! reservations and depth change, tasks and groups move, are killed and removed, and the controller is rebound. Whatever
//! is set leaves everybody a turn within a second or two. The watchdog counts its own looks and not the time, so that a
//! machine that stands still fails nothing; after ten seconds of looks without progress of one worker it tells what everybody
//! does, and fails.
//!
//! `FIEF_STRESS=short` in the environment makes it ten seconds.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fmt::Write as _,
    num::NonZeroU32,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use fief_core::{Cgroup, Controller, Hierarchy, MemberPolicy, RebindOptions, Registry, Removal};
use fief_io::{AcquireError, Device, Io, Limits, Min, Op, Refusal, Stream};

type Outcome = Result<(), Box<dyn Error>>;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// How often the watchdog looks.
const LOOK: Duration = Duration::from_millis(50);
/// After how many looks without progress somebody is stuck: 10 s.
const STUCK: u32 = 200;

/// Somebody who is watched.
struct Worker {
    role: Role,
    name: &'static str,
    /// Its streams on the devices that stay.
    streams: Vec<Stream>,
    steps: AtomicU64,
    doing: AtomicUsize,
    is_ended: AtomicBool,
}

/// What a worker may be doing.
const DOING: [&str; 6] =
    ["between", "blocks", "waits as a future", "waits with a deadline", "charges", "holds"];
const BETWEEN: usize = 0;
const BLOCKS: usize = 1;
const FUTURE: usize = 2;
const DEADLINE: usize = 3;
const CHARGES: usize = 4;
const HOLDS: usize = 5;

impl Worker {
    fn new(name: &'static str, role: Role, streams: Vec<Stream>) -> Self {
        let (steps, doing) = (AtomicU64::new(0), AtomicUsize::new(BETWEEN));
        Self { role, name, streams, steps, doing, is_ended: AtomicBool::new(false) }
    }

    fn does<R>(&self, what: usize, act: impl FnOnce() -> R) -> R {
        self.doing.store(what, Relaxed);
        let result = act();
        self.doing.store(BETWEEN, Relaxed);
        self.steps.fetch_add(1, Relaxed);
        result
    }

    fn stream(&self, random: &mut Rng) -> &Stream {
        &self.streams[random.usize(..self.streams.len())]
    }
}

/// What was granted on a device, and used: operations and bytes, read and written.
#[derive(Debug, Default)]
struct Account([AtomicU64; 4]);

impl Account {
    fn add(&self, op: Op, used: u64) {
        let at = if op == Op::read(op.bytes()) { 0 } else { 2 };
        self.0[at].fetch_add(1, Relaxed);
        self.0[at + 1].fetch_add(used, Relaxed);
    }
}

struct World {
    _registry: Registry,
    io: Controller<Io>,
    trees: [Hierarchy; 2],
    bound: AtomicUsize,
    /// The groups of both trees: `a`, `a/x`, `b` and `b/x`.
    groups: [Vec<Cgroup>; 2],
    /// A device with a depth, and one without.
    devices: Vec<Device>,
    accounts: BTreeMap<String, Account>,
    /// The streams of each worker, on those devices.
    streams: Vec<Vec<Stream>>,
    /// The device that comes and goes.
    passing: Mutex<Option<(Device, Stream)>>,
    is_over: AtomicBool,
}

impl World {
    fn new() -> Result<Self, Box<dyn Error>> {
        let registry = Registry::new();
        let trees = [registry.create_hierarchy("tenants")?, registry.create_hierarchy("plans")?];
        let io = registry.register(Io::new())?;
        io.bind(&trees[0])?;
        let mut groups = [Vec::new(), Vec::new()];
        for (groups, tree) in groups.iter_mut().zip(&trees) {
            for name in ["a", "b"] {
                let group = tree.root().create_child(name)?;
                let below = group.create_child("x")?;
                groups.extend([group, below]);
            }
        }
        let disk = Device::builder("disk").depth(4).latency_target(Duration::from_millis(5));
        let devices = vec![disk.register(&io)?, Device::builder("net").register(&io)?];
        let accounts =
            devices.iter().map(|it| (it.name().to_owned(), Account::default())).collect();
        let mut streams = Vec::new();
        for at in 0..ROLES.len() {
            let own = devices.iter().map(|device| -> Result<_, Box<dyn Error>> {
                let stream = device.stream(&groups[0][at % 4])?;
                stream.task().ok_or("no task")?.join(&groups[1][(at + 1) % 4])?;
                Ok(stream)
            });
            streams.push(own.collect::<Result<_, _>>()?);
        }
        let (bound, passing, is_over) = (AtomicUsize::new(0), Mutex::default(), false.into());
        let _registry = registry;
        Ok(Self {
            _registry,
            io,
            trees,
            bound,
            groups,
            devices,
            accounts,
            streams,
            passing,
            is_over,
        })
    }

    fn passing(&self) -> Option<Stream> {
        let passing = self.passing.lock().unwrap_or_else(PoisonError::into_inner);
        passing.as_ref().map(|(_, stream)| stream.clone())
    }

    /// Ends an operation that a stream was granted, and notes what it used; or why it was not.
    fn end(
        &self,
        stream: &Stream,
        op: Op,
        result: Result<fief_io::Permit<'_>, AcquireError>,
        used: u64,
    ) {
        match result {
            Ok(permit) => {
                permit.done(used);
                if let Some(account) = self.accounts.get(stream.device()) {
                    account.add(op, used);
                }
            }
            Err(error) => match error.why {
                Refusal::Killed | Refusal::WouldBlock { .. } | Refusal::TimedOut { .. } => {}
                Refusal::DeviceGone if !self.accounts.contains_key(stream.device()) => {}
                _ => panic!("{error}"),
            },
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }
}

/// Reads 4 KiB each time, and the device takes a moment.
fn read(world: &World, me: &Worker, random: &mut Rng) {
    let (stream, op) = (me.stream(random), Op::read(4 * KIB));
    let permit = me.does(BLOCKS, || stream.acquire_blocking(op));
    me.does(HOLDS, || thread::sleep(Duration::from_micros(random.u64(..200))));
    let used = if random.u8(..8) == 0 { random.u64(..op.bytes()) } else { op.bytes() };
    world.end(stream, op, permit, used);
}

/// Writes up to 1 MiB each time.
fn write(world: &World, me: &Worker, random: &mut Rng) {
    let (stream, op) = (me.stream(random), Op::write(random.u64(64 * KIB..MIB)));
    let permit = me.does(BLOCKS, || stream.acquire_blocking(op));
    me.does(HOLDS, || thread::sleep(Duration::from_micros(random.u64(..1_000))));
    world.end(stream, op, permit, op.bytes());
}

/// Asks by futures, of which half are dropped in some stage or other.
fn cancel(world: &World, me: &Worker, random: &mut Rng) {
    let (stream, op) = (me.stream(random), Op::read(random.u64(..128 * KIB)));
    let mut waits = pin!(stream.acquire(op));
    if random.bool() {
        let permit = me.does(FUTURE, || block_on(waits));
        return world.end(stream, op, permit, op.bytes());
    }
    for _ in 0..random.u8(..4) {
        let polled =
            me.does(CHARGES, || waits.as_mut().poll(&mut Context::from_waker(Waker::noop())));
        if let Poll::Ready(permit) = polled {
            return world.end(stream, op, permit, op.bytes());
        }
        thread::sleep(Duration::from_micros(random.u64(..2_000)));
    }
}

/// Asks with deadlines, without waiting, and for what cannot wait.
fn hurry(world: &World, me: &Worker, random: &mut Rng) {
    let (stream, op) = (me.stream(random), Op::write(random.u64(..64 * KIB)));
    let permit = match random.u8(..8) {
        0 => me.does(CHARGES, || stream.charge_urgent(op)),
        1..4 => me.does(CHARGES, || stream.try_acquire(op)),
        _ => {
            let time = Duration::from_micros(random.u64(..10_000));
            me.does(DEADLINE, || stream.acquire_timeout(op, time))
        }
    };
    world.end(stream, op, permit, op.bytes());
    thread::sleep(Duration::from_micros(random.u64(..1_000)));
}

/// Has a thread use what it takes ahead, and end.
fn pass(world: &World, me: &Worker, random: &mut Rng) {
    let (stream, op) = (me.stream(random), Op::read(KIB));
    me.does(BLOCKS, || {
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..100 {
                    world.end(stream, op, stream.try_acquire(op), op.bytes());
                }
                world.end(stream, op, stream.acquire_blocking(op), op.bytes());
            });
        });
    });
    thread::sleep(Duration::from_millis(1));
}

/// Uses the device that comes and goes, as long as it is there.
fn visit(world: &World, me: &Worker, random: &mut Rng) {
    if let Some(stream) = world.passing() {
        let op = Op::read(random.u64(..64 * KIB));
        let permit = me.does(BLOCKS, || stream.acquire_blocking(op));
        thread::sleep(Duration::from_micros(random.u64(..2_000)));
        world.end(&stream, op, permit, op.bytes());
    }
    me.does(HOLDS, || thread::sleep(Duration::from_micros(100)));
}

/// Changes something.
fn disturb(world: &World, me: &Worker, random: &mut Rng) {
    let changed = me.does(CHARGES, || change(world, random));
    if let Err(error) = changed {
        panic!("{error}");
    }
    thread::sleep(Duration::from_millis(random.u64(..10)));
}

fn change(world: &World, random: &mut Rng) -> Outcome {
    let bound = world.bound.load(Relaxed);
    let group = &world.groups[bound][random.usize(..4)];
    let device = &world.devices[random.usize(..2)];
    let css = world.io.css(group).ok_or("the group is gone")?;
    match random.u8(..16) {
        0..4 => css.set_limits(device, limits(random))?,
        4 => css.set_weight(device, Some(random.u32(50..1_000)))?,
        5 => css.set_default_weight(random.u32(50..1_000))?,
        // It may be more than a limit, or what the group above has.
        6 => drop(css.set_min(device, Min { bps: random.u64(..2 * MIB), iops: 0 })),
        7 => {
            let target = random.bool().then(|| Duration::from_millis(random.u64(1..20)));
            css.set_latency(device, target)?;
        }
        8 => world.devices[0].set_depth(NonZeroU32::new(random.u32(..8))),
        9 => {
            let to = 1 - bound;
            let options = RebindOptions::new().members(MemberPolicy::Move);
            world.io.rebind(&world.trees[to], &options)?;
            world.bound.store(to, Relaxed);
        }
        10 => drop(group.kill()?),
        11 => come_and_go(world, group, random)?,
        12 => guest(world, group, device)?,
        _ => {
            let stream = &world.streams[random.usize(..ROLES.len())][random.usize(..2)];
            let to = &world.groups[random.usize(..2)][random.usize(..4)];
            stream.task().ok_or("no task")?.join(to)?;
        }
    }
    Ok(())
}

/// Returns limits that let everybody have a turn soon.
fn limits(random: &mut Rng) -> Limits {
    let limits = Limits::new();
    match random.u8(..5) {
        0 => limits,
        1 => limits.rbps(random.u64(20 * MIB..400 * MIB)).wbps(random.u64(20 * MIB..400 * MIB)),
        2 => limits.riops(random.u64(2_000..100_000)).wiops(random.u64(1_000..10_000)),
        3 => limits.bps(random.u64(40 * MIB..1_000 * MIB)),
        _ => limits.iops(random.u64(4_000..100_000)).bps(random.u64(40 * MIB..4_000 * MIB)),
    }
}

/// Has the passing device come, with a stream of that group; or go, under whoever uses it.
fn come_and_go(world: &World, group: &Cgroup, random: &mut Rng) -> Outcome {
    let mut passing = world.passing.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((device, stream)) = passing.take() {
        drop((passing, stream));
        device.remove();
        return Ok(());
    }
    let device = Device::builder("usb").depth(random.u32(1..3)).register(&world.io)?;
    let stream = device.stream(group)?;
    *passing = Some((device, stream));
    Ok(())
}

/// Has a group come, wait, and be removed while it waits and is at work.
fn guest(world: &World, above: &Cgroup, device: &Device) -> Outcome {
    let group = above.create_child("guest")?;
    let stream = device.stream_at(&world.io.css(&group).ok_or("the group is gone")?)?;
    let op = Op::write(8 * KIB);
    let at_work = stream.charge_urgent(op);
    let mut waits = pin!(stream.acquire(op));
    let polled = waits.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    group.remove(Removal::Detach)?;
    match polled {
        Poll::Ready(permit) => world.end(&stream, op, permit, 0),
        Poll::Pending => match block_on(waits) {
            Err(error) if error.why == Refusal::Removed => {}
            result => world.end(&stream, op, result, 0),
        },
    }
    world.end(&stream, op, at_work, KIB);
    Ok(())
}

/// Wakes a thread.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits until it is woken, and for nothing else: a wake-up that is lost is one that the watchdog sees.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

type Role = fn(&World, &Worker, &mut Rng);

const ROLES: [(&str, Role); 10] = [
    ("reader", read),
    ("reader", read),
    ("writer", write),
    ("writer", write),
    ("canceller", cancel),
    ("canceller", cancel),
    ("in a hurry", hurry),
    ("of short threads", pass),
    ("visitor", visit),
    ("disturber", disturb),
];

/// Says what everybody does.
fn dump(world: &World, workers: &[Arc<Worker>]) -> String {
    let mut text = String::new();
    for worker in workers {
        let (steps, doing) = (worker.steps.load(Relaxed), DOING[worker.doing.load(Relaxed)]);
        writeln!(text, "{}: {steps} steps, {doing}", worker.name).expect("it is a string");
    }
    for device in &world.devices {
        writeln!(text, "{device:?}: {:?}", device.stats()).expect("it is a string");
    }
    for group in &world.groups[world.bound.load(Relaxed)] {
        for file in ["io.max", "io.stat.local"] {
            let shown = group.read(file).unwrap_or_else(|error| error.to_string());
            writeln!(text, "{} {file}: {shown}", group.path()).expect("it is a string");
        }
    }
    text
}

/// Watches until it is time, and then until all have ended.
fn watch(world: &World, workers: &[Arc<Worker>], time: Duration) {
    let began = Instant::now();
    let mut seen = vec![(0, 0_u32); workers.len()];
    while !workers.iter().all(|worker| worker.is_ended.load(Relaxed)) {
        thread::sleep(LOOK);
        if began.elapsed() > time {
            world.is_over.store(true, Relaxed);
        }
        for (worker, (steps, looks)) in workers.iter().zip(&mut seen) {
            let now = worker.steps.load(Relaxed);
            *looks = if now == *steps { *looks + 1 } else { 0 };
            *steps = now;
            let is_stuck = *looks > STUCK && !worker.is_ended.load(Relaxed);
            assert!(!is_stuck, "{} is stuck\n{}", worker.name, dump(world, workers));
        }
        for device in &world.devices {
            let stats = device.stats();
            let odd = (stats.stalls, stats.overdue);
            assert_eq!(odd, (0, 0), "{stats:?}\n{}", dump(world, workers));
        }
    }
}

fn time() -> Duration {
    let is_short = env::var("FIEF_STRESS").is_ok_and(|value| value == "short");
    Duration::from_secs(if is_short { 10 } else { 600 })
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn nobody_is_stuck_and_nothing_drifts() -> Outcome {
    let world = Arc::new(World::new()?);
    let mut workers = Vec::new();
    let mut threads = Vec::new();
    for (at, (name, role)) in ROLES.into_iter().enumerate() {
        let worker = Arc::new(Worker::new(name, role, world.streams[at].clone()));
        workers.push(Arc::clone(&worker));
        let world = Arc::clone(&world);
        // Not in a scope: a test that fails does not wait for who is stuck.
        threads.push(thread::spawn(move || {
            let mut random = Rng::with_seed(at as u64);
            while !world.is_over() {
                (worker.role)(&world, &worker, &mut random);
            }
            worker.is_ended.store(true, Relaxed);
        }));
    }
    watch(&world, &workers, time());
    for thread in threads {
        thread.join().map_err(|_| "a worker panicked")?;
    }
    eprint!("{}", dump(&world, &workers));
    let root = world.io.root().ok_or("unregistered")?;
    for device in &world.devices {
        let stats = root.stats(device);
        let counted = [stats.rios, stats.rbytes, stats.wios, stats.wbytes];
        let account = &world.accounts[device.name()];
        assert_eq!(counted, account.0.each_ref().map(|sum| sum.load(Relaxed)), "{account:?}");
        assert_eq!((stats.waiting, stats.inflight), (0, 0), "{stats:?}");
        let stats = device.stats();
        assert_eq!((stats.waiting, stats.in_flight), (0, 0), "{stats:?}");
        assert_eq!((stats.stalls, stats.overdue), (0, 0), "{stats:?}");
    }
    Ok(())
}
