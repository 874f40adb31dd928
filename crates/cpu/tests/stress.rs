//! Jobs that are spawned, woken, aborted, killed, frozen and moved while their groups come and go, change their
//! weights, and are rebound: none is lost, none runs twice, and nothing is left.
//!
//! `FIEF_STRESS=short` in the environment divides the work by ten.
#![expect(clippy::print_stderr, reason = "it says what was done")]

use std::{
    env,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use fief_core::{Cgroup, Controller, Hierarchy, MemberPolicy, RebindOptions, Registry, Removal};
use fief_cpu::{Cpu, Group, JoinHandle, Pool};

const GROUPS: usize = 24;
const DRIVERS: u64 = 3;
/// Jobs that may be out at a time, for each driver.
const MOST: usize = 200;

/// What the jobs did.
#[derive(Default)]
struct Count {
    spawned: AtomicU64,
    ended: AtomicU64,
    cancelled: AtomicU64,
    dropped: AtomicU64,
    polls: AtomicU64,
    doubles: AtomicU64,
    moved: AtomicU64,
    killed: AtomicU64,
    frozen: AtomicU64,
    removed: AtomicU64,
    rebound: AtomicU64,
}

struct World {
    registry: Registry,
    trees: [Hierarchy; 2],
    cpu: Controller<Cpu>,
    /// A group of both trees, and a member of it.
    places: Vec<RwLock<([Cgroup; 2], Group)>>,
    /// Which tree it is bound to; held by whoever makes or removes groups.
    structure: Mutex<usize>,
    /// Wakers of jobs that wait.
    bell: Mutex<Vec<Waker>>,
    count: Arc<Count>,
    is_over: AtomicBool,
}

/// Counts a job that is dropped, and whether it is polled twice at once.
struct Body {
    count: Arc<Count>,
    is_polled: AtomicBool,
}

impl Drop for Body {
    fn drop(&mut self) {
        self.count.dropped.fetch_add(1, Relaxed);
    }
}

impl World {
    fn new() -> Self {
        let registry = Registry::new();
        let trees =
            ["by-tenant", "by-plan"].map(|name| registry.create_hierarchy(name).expect("free"));
        let cpu = registry.register(Cpu::builder().cpus(2).build()).expect("free");
        cpu.bind(&trees[0]).expect("empty");
        let place = |number: usize| {
            let pair = trees.each_ref().map(|tree| make(tree, number));
            let group = Group::new(&cpu, &pair[0]).expect("online");
            group.task().join(&pair[1]).expect("online");
            RwLock::new((pair, group))
        };
        let places = (0..GROUPS).map(place).collect();
        let (structure, bell) = (Mutex::new(0), Mutex::default());
        let (count, is_over) = (Arc::default(), AtomicBool::new(false));
        Self { registry, trees, cpu, places, structure, bell, count, is_over }
    }

    fn place(&self, random: &mut fastrand::Rng) -> &RwLock<([Cgroup; 2], Group)> {
        &self.places[random.usize(..GROUPS)]
    }

    fn spawn(self: &Arc<Self>, random: &mut fastrand::Rng) -> JoinHandle<u64> {
        let world = Arc::clone(self);
        let body = Body { count: Arc::clone(&self.count), is_polled: AtomicBool::new(false) };
        let (mut left, seed) = (random.u64(..20), random.u64(..));
        let mut random_too = fastrand::Rng::with_seed(seed);
        let job = std::future::poll_fn(move |context| {
            if body.is_polled.swap(true, Relaxed) {
                body.count.doubles.fetch_add(1, Relaxed);
            }
            body.count.polls.fetch_add(1, Relaxed);
            for _ in 0..random_too.u64(..2_000) {
                std::hint::spin_loop();
            }
            let waker = context.waker();
            let answer = match left {
                0 => Poll::Ready(seed),
                _ if random_too.bool() => {
                    waker.wake_by_ref();
                    Poll::Pending
                }
                _ => {
                    world.bell.lock().expect("no panic").push(waker.clone());
                    Poll::Pending
                }
            };
            left = left.saturating_sub(1);
            body.is_polled.store(false, Relaxed);
            answer
        });
        self.count.spawned.fetch_add(1, Relaxed);
        let group = self.place(random).read().expect("no panic").1.clone();
        group.spawn(job).expect("there are workers")
    }

    fn ring(&self, random: &mut fastrand::Rng) {
        let mut bell = self.bell.lock().expect("no panic");
        let rest = if random.u8(..4) == 0 { 0 } else { bell.len() / 2 };
        let wakers = bell.split_off(rest);
        drop(bell);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn settle(&self, handle: JoinHandle<u64>) {
        let count = match handle.join() {
            Ok(_) => &self.count.ended,
            Err(error) => {
                assert!(error.is_cancelled(), "{error}");
                &self.count.cancelled
            }
        };
        count.fetch_add(1, Relaxed);
    }

    /// Takes a group away for ever, whose jobs are killed, and puts another one in its place.
    fn replace(&self, number: usize) {
        let bound = self.structure.lock().expect("no panic");
        let mut place = self.places[number].write().expect("no panic");
        let pair = self.trees.each_ref().map(|tree| make(tree, GROUPS + self.next()));
        let group = Group::new(&self.cpu, &pair[0]).expect("online");
        group.task().join(&pair[1]).expect("online");
        let (old, member) = std::mem::replace(&mut *place, (pair, group));
        drop(place);
        member.task().leave(&self.trees[0]).expect("there");
        member.task().leave(&self.trees[1]).expect("there");
        drop(member);
        // Members that went there stay members: they are sent on.
        for (old, tree) in old.iter().zip(&self.trees) {
            for _ in 0..1_000 {
                let root = tree.root();
                for place in &self.places {
                    let member = place.read().expect("no panic").1.clone();
                    if member.task().cgroup(tree).is_some_and(|cgroup| cgroup.path() == old.path())
                    {
                        root.attach(member.task()).expect("online");
                    }
                }
                if old.remove(Removal::Detach).is_ok() {
                    self.count.removed.fetch_add(1, Relaxed);
                    break;
                }
                thread::yield_now();
            }
        }
        drop(bound);
    }

    fn next(&self) -> usize {
        usize::try_from(self.count.removed.load(Relaxed)).expect("few")
    }

    fn rebind(&self) {
        let mut bound = self.structure.lock().expect("no panic");
        let target = 1 - *bound;
        let options = RebindOptions::new().members(MemberPolicy::Move);
        if self.cpu.rebind(&self.trees[target], &options).is_ok() {
            *bound = target;
            self.count.rebound.fetch_add(1, Relaxed);
        }
    }

    fn act(self: &Arc<Self>, random: &mut fastrand::Rng, handles: &mut Vec<JoinHandle<u64>>) {
        match random.u32(..1_000) {
            0..=699 => {
                handles.push(self.spawn(random));
                if handles.len() >= MOST {
                    self.ring(random);
                    let handle = handles.swap_remove(random.usize(..handles.len()));
                    handle.abort();
                    self.settle(handle);
                }
            }
            700..=899 => self.ring(random),
            900..=939 if !handles.is_empty() => handles[random.usize(..handles.len())].abort(),
            940..=969 => {
                let _structure = self.structure.lock().expect("no panic");
                let member = self.place(random).read().expect("no panic").1.clone();
                let there = self.place(random).read().expect("no panic").0.clone();
                member.task().join(&there[random.usize(..2)]).expect("online");
                self.count.moved.fetch_add(1, Relaxed);
            }
            970..=979 => {
                let cgroup = self.place(random).read().expect("no panic").0[0].clone();
                cgroup.kill().ok();
                self.count.killed.fetch_add(1, Relaxed);
            }
            980..=989 => {
                let cgroup =
                    self.place(random).read().expect("no panic").0[random.usize(..2)].clone();
                cgroup.freeze().ok();
                thread::sleep(Duration::from_micros(random.u64(..300)));
                cgroup.thaw().ok();
                self.count.frozen.fetch_add(1, Relaxed);
            }
            990..=994 => self.replace(random.usize(..GROUPS)),
            _ => self.rebind(),
        }
    }

    fn drive(self: &Arc<Self>, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut handles = Vec::new();
        while !self.is_over.load(Relaxed) {
            self.act(&mut random, &mut handles);
        }
        handles.iter().for_each(JoinHandle::abort);
        handles.into_iter().for_each(|handle| self.settle(handle));
    }
}

/// Makes a group in some depth.
fn make(tree: &Hierarchy, number: usize) -> Cgroup {
    let top = format!("tenant-{}", number % 3);
    let root = tree.root();
    let top = root.child(&top).unwrap_or_else(|| root.create_child(&top).expect("free"));
    top.create_child(&format!("query-{number}")).expect("free")
}

#[test]
fn no_job_is_lost_and_none_runs_twice() {
    stress(2);
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn no_job_is_lost_and_none_runs_twice_for_long() {
    let is_short = env::var_os("FIEF_STRESS").is_some_and(|how| how == "short");
    stress(if is_short { 6 } else { 60 });
}

fn stress(seconds: u64) {
    let world = Arc::new(World::new());
    let pool = Pool::builder(&world.cpu).workers(2).start().expect("threads");
    let begun = Instant::now();
    thread::scope(|scope| {
        for driver in 0..DRIVERS {
            let world = &world;
            scope.spawn(move || world.drive(driver));
        }
        while begun.elapsed() < Duration::from_secs(seconds) {
            thread::sleep(Duration::from_millis(20));
        }
        world.is_over.store(true, Relaxed);
    });
    world.bell.lock().expect("no panic").clear();
    pool.shutdown();
    let count = &world.count;
    let [
        spawned,
        ended,
        cancelled,
        dropped,
        polls,
        doubles,
        moved,
        killed,
        frozen,
        removed,
        rebound,
    ] = [
        &count.spawned,
        &count.ended,
        &count.cancelled,
        &count.dropped,
        &count.polls,
        &count.doubles,
        &count.moved,
        &count.killed,
        &count.frozen,
        &count.removed,
        &count.rebound,
    ]
    .map(|count| count.load(Relaxed));
    eprintln!(
        "{spawned} jobs: {ended} ended, {cancelled} cancelled; {polls} polls, {moved} moves, {killed} kills, \
         {frozen} freezes, {removed} groups removed, {rebound} rebinds",
    );
    assert_eq!(doubles, 0, "a job was polled twice at once");
    assert_eq!(ended + cancelled, spawned, "every handle got an answer");
    assert_eq!(dropped, spawned, "every job was dropped once");
    assert!(ended > 0 && cancelled > 0 && moved > 0 && killed > 0 && frozen > 0);
    assert!(removed > 0 && rebound > 0);
    drop(pool);
    world.registry.wait_reclaimed().expect("no hook");
}
