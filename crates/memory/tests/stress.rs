//! Threads at the limit of a thousand groups that come and go, are drained and rebound meanwhile.
//!
//! `FIEF_STRESS=short` in the environment divides the work by ten.
#![expect(clippy::print_stderr, reason = "it says what was done")]

use std::{
    env,
    sync::{
        Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use fief_core::{
    Barrier, Cgroup, Controller, CssRef, Hierarchy, Limit, RebindOptions, Registry, Removal,
};
use fief_memory::{ChargeError, Memory, MemoryCss, Reservation};

const TENANTS: usize = 10;
const QUERIES: usize = 100;
const WORKERS: u64 = 6;
/// What a worker has at most.
const MOST: u64 = 1 << 20;
/// All that there is: enough for all at one time, and no byte more.
const MAX: u64 = WORKERS * MOST;

/// A group of both trees.
struct Query {
    pair: [Cgroup; 2],
    css: CssRef<MemoryCss>,
}

struct World {
    registry: Registry,
    trees: [Hierarchy; 2],
    memory: Controller<Memory>,
    tenants: Vec<[Cgroup; 2]>,
    queries: Vec<RwLock<Query>>,
    /// Held by whoever changes the trees.
    structure: Mutex<usize>,
    live: AtomicU64,
    is_over: AtomicBool,
    granted: AtomicU64,
    waited: AtomicU64,
    refused: AtomicU64,
    removed: AtomicU64,
    rebound: AtomicU64,
    drained: AtomicU64,
}

impl World {
    fn new(barrier: Barrier) -> Self {
        let registry = Registry::new();
        let trees =
            ["by-tenant", "by-plan"].map(|name| registry.create_hierarchy(name).expect("free"));
        // Nobody is ever to be the victim here: there is enough for all.
        let memory =
            Memory::builder().barrier(barrier).patience(Duration::from_secs(3_600)).build();
        let memory = registry.register(memory).expect("free");
        memory.bind(&trees[0]).expect("empty");
        memory.root().expect("a root css").set_max(Limit::At(MAX));
        let below = |parent: &[Cgroup; 2], name: &str| {
            parent.each_ref().map(|parent| parent.create_child(name).expect("free"))
        };
        let roots = trees.each_ref().map(Hierarchy::root);
        let tenants: Vec<_> =
            (0..TENANTS).map(|tenant| below(&roots, &format!("tenant-{tenant}"))).collect();
        let query = |number: usize| {
            let pair = below(&tenants[number % TENANTS], &format!("query-{number}"));
            let css = memory.css(&pair[0]).expect("online");
            RwLock::new(Query { pair, css })
        };
        let queries = (0..TENANTS * QUERIES).map(query).collect();
        let none = || AtomicU64::new(0);
        Self {
            registry,
            trees,
            tenants,
            queries,
            memory,
            structure: Mutex::new(0),
            live: none(),
            is_over: AtomicBool::new(false),
            granted: none(),
            waited: none(),
            refused: none(),
            removed: none(),
            rebound: none(),
            drained: none(),
        }
    }

    fn css(&self, random: &mut fastrand::Rng) -> CssRef<MemoryCss> {
        self.queries[random.usize(..self.queries.len())].read().expect("no panic").css.clone()
    }

    /// Removes a query's groups, whatever is charged there, and makes them anew.
    fn replace(&self, number: usize) {
        let bound = self.structure.lock().expect("no panic");
        let mut query = self.queries[number].write().expect("no panic");
        let name = query.pair[0].name();
        for group in &query.pair {
            group.remove(Removal::Detach).expect("nobody is a member");
        }
        let tenant = &self.tenants[number % TENANTS];
        let pair = tenant.each_ref().map(|tenant| tenant.create_child(&name).expect("free"));
        let css = self.memory.css(&pair[*bound]).expect("online");
        *query = Query { pair, css };
        self.removed.fetch_add(1, Relaxed);
    }

    fn rebind(&self) {
        let mut bound = self.structure.lock().expect("no panic");
        let target = 1 - *bound;
        let options = RebindOptions::default();
        self.memory.rebind(&self.trees[target], &options).expect("of one shape");
        *bound = target;
        self.rebound.fetch_add(1, Relaxed);
    }

    /// Books that `bytes` more are in use.
    fn take(&self, bytes: u64) {
        let live = self.live.fetch_add(bytes, Relaxed) + bytes;
        assert!(live <= MAX, "{live} of {MAX} in use");
        self.granted.fetch_add(1, Relaxed);
    }
}

/// One worker: what it holds, by reservations and by hand.
struct Worker<'w> {
    world: &'w World,
    random: fastrand::Rng,
    held: Vec<Reservation>,
    raw: Vec<(CssRef<MemoryCss>, u64)>,
    sum: u64,
}

impl Worker<'_> {
    fn step(&mut self) {
        let magnitude = self.random.u32(4..19);
        let bytes = self.random.u64(1..=1 << magnitude);
        if self.sum + bytes > MOST || self.random.u8(..) < 100 {
            return self.give_back();
        }
        match self.random.u8(..16) {
            0..6 => self.reserve(bytes),
            6..12 => self.grow(bytes),
            12..14 => self.by_hand(bytes),
            14 => self.transfer(),
            _ => self.split(),
        }
    }

    /// A new reservation; it waits if it must, and is then never refused for want of room.
    fn reserve(&mut self, bytes: u64) {
        let mut made = self.world.css(&mut self.random).reserve();
        if self.waited(made.grow_blocking(bytes, None)) {
            self.took(bytes);
            self.held.push(made);
        }
    }

    fn grow(&mut self, bytes: u64) {
        let Some(mut held) = self.any() else { return };
        // Without waiting it may be refused for what others are about to charge.
        match held.grow(bytes) {
            Ok(()) => self.took(bytes),
            Err(_) => drop(self.world.refused.fetch_add(1, Relaxed)),
        }
        self.held.push(held);
    }

    fn by_hand(&mut self, bytes: u64) {
        let css = self.world.css(&mut self.random);
        let charged = css.charge_blocking(bytes, None);
        if self.waited(charged) {
            self.took(bytes);
            self.raw.push((css, bytes));
        }
    }

    fn transfer(&mut self) {
        let Some(mut held) = self.any() else { return };
        // Refused where the group is removed; it is in use all the same.
        held.transfer(&self.world.css(&mut self.random)).ok();
        self.held.push(held);
    }

    fn split(&mut self) {
        let Some(mut held) = self.any() else { return };
        let part = self.random.u64(..=held.used());
        let split = held.split(part).expect("not more than it has");
        self.held.extend([held, split]);
    }

    fn waited(&self, result: Result<(), ChargeError>) -> bool {
        self.world.waited.fetch_add(1, Relaxed);
        match result {
            Ok(()) => true,
            Err(ChargeError::Removed { .. }) => false,
            Err(error) => panic!("a waiting charge is refused: {error}"),
        }
    }

    fn took(&mut self, bytes: u64) {
        self.world.take(bytes);
        self.sum += bytes;
    }

    fn any(&mut self) -> Option<Reservation> {
        let count = self.held.len();
        (count > 0).then(|| self.held.swap_remove(self.random.usize(..count)))
    }

    fn give_back(&mut self) {
        let count = self.raw.len();
        let bytes = if count > 0 && self.random.bool() {
            let (css, bytes) = self.raw.swap_remove(self.random.usize(..count));
            self.world.live.fetch_sub(bytes, Relaxed);
            css.uncharge(bytes);
            bytes
        } else if let Some(mut held) = self.any() {
            let part = self.random.u64(..=held.used());
            let bytes = if self.random.bool() { held.used() } else { part };
            self.world.live.fetch_sub(bytes, Relaxed);
            assert_eq!(held.shrink(bytes), bytes);
            if held.used() > 0 {
                self.held.push(held);
            }
            bytes
        } else {
            0
        };
        self.sum -= bytes;
    }

    fn finish(mut self) {
        while self.sum > 0 {
            self.give_back();
        }
    }
}

fn run(barrier: Barrier, steps: u64) {
    let world = World::new(barrier);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|seed| {
                let (random, world) = (fastrand::Rng::with_seed(seed), &world);
                let mut worker = Worker { world, random, held: vec![], raw: vec![], sum: 0 };
                scope.spawn(move || {
                    (0..steps).for_each(|_| worker.step());
                    worker.finish();
                })
            })
            .collect();
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(91);
            while !world.is_over.load(Relaxed) {
                (0..20).for_each(|_| world.replace(random.usize(..world.queries.len())));
                world.rebind();
                thread::yield_now();
            }
        });
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(92);
            while !world.is_over.load(Relaxed) {
                world.drained.fetch_add(world.css(&mut random).drain().bytes, Relaxed);
                thread::yield_now();
            }
        });
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        world.is_over.store(true, Relaxed);
        ended.into_iter().for_each(|ended| ended.expect("no panic"));
    });

    let root = world.memory.root().expect("a root css");
    let _ = root.drain();
    assert_eq!((root.current(), world.live.load(Relaxed)), (0, 0));
    assert!(root.peak() <= MAX, "{} of {MAX}", root.peak());
    for query in &world.queries {
        assert_eq!(query.read().expect("no panic").css.current(), 0);
    }
    for group in world.tenants.iter().flatten() {
        let current = world.memory.css(group).map_or(0, |css| css.current());
        assert_eq!(current, 0, "of {}", group.path());
    }
    let events = root.stats().events;
    assert_eq!((events.oom, events.underflow, events.force_over_max), (0, 0, 0));
    eprintln!(
        "{barrier:?}: {} granted, {} of them by waiting charges, {} refused, {} groups removed, \
         {} rebinds, {} bytes drained",
        world.granted.load(Relaxed),
        world.waited.load(Relaxed),
        world.refused.load(Relaxed),
        world.removed.load(Relaxed),
        world.rebound.load(Relaxed),
        world.drained.load(Relaxed),
    );
    drop(root);
    let expected = 1 + (TENANTS + TENANTS * QUERIES) as u64;
    world.registry.wait_reclaimed().expect("freed");
    assert_eq!(world.registry.stats().css_online, expected);
    assert_eq!(world.registry.stats().css_dying, 0);
}

/// Returns the work of a full run, or a tenth of it.
fn scaled(steps: u64) -> u64 {
    let is_short = env::var("FIEF_STRESS").is_ok_and(|value| value == "short");
    if is_short { steps / 10 } else { steps }
}

#[test]
fn a_thousand_groups_at_the_limit_for_a_moment() {
    for barrier in [Barrier::Auto, Barrier::Fence] {
        run(barrier, 2_000);
    }
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn a_thousand_groups_at_the_limit() {
    run(Barrier::Auto, scaled(30_000_000));
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn a_thousand_groups_at_the_limit_fenced() {
    run(Barrier::Fence, scaled(20_000_000));
}
