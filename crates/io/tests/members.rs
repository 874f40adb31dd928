//! Members and groups that come, move and go, while operations wait and run: what is charged where then.
//!
//! Figures are exact at any moment: those of all groups themselves, together, are what was admitted.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use fief_core::{Cgroup, Controller, Hierarchy, Registry, Removal, VirtualClock};
use fief_io::{Acquire, AcquireError, Device, Io, IoStats, Limits, Op, Permit, Refusal, Stream};

const MILLI: Duration = Duration::from_millis(1);

struct Scene {
    clock: VirtualClock,
    _registry: Registry,
    tree: Hierarchy,
    io: Controller<Io>,
    disk: Device,
}

impl Scene {
    fn new(depth: Option<u32>) -> Self {
        let (clock, registry) = (VirtualClock::new(), Registry::new());
        let tree = registry.create_hierarchy("h").expect("the name is free");
        let subsystem = Io::builder().clock(Arc::new(clock.clone())).build();
        let io = registry.register(subsystem).expect("the name is free");
        io.bind(&tree).expect("it is inactive");
        let disk = Device::builder("disk");
        let disk = match depth {
            Some(depth) => disk.depth(depth),
            None => disk,
        };
        let disk = disk.register(&io).expect("the name is free");
        Self { clock, _registry: registry, tree, io, disk }
    }

    fn group(&self, name: &str) -> Cgroup {
        self.tree.root().create_child(name).expect("the name is free")
    }

    fn limit(&self, group: &Cgroup, limits: Limits) {
        self.io.css(group).expect("bound").set_limits(&self.disk, limits).expect("in range");
    }

    fn own(&self, group: &Cgroup) -> IoStats {
        self.io.css(group).expect("bound").own_stats(&self.disk)
    }

    fn total(&self, group: &Cgroup) -> IoStats {
        self.io.css(group).expect("bound").stats(&self.disk)
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.io.subsystem().tick();
    }
}

/// An operation that waits, or waited.
struct Waiter<'s>(Pin<Box<Acquire<'s>>>);

impl<'s> Waiter<'s> {
    fn new(stream: &'s Stream, op: Op) -> Self {
        let mut waiter = Self(Box::pin(stream.acquire(op)));
        assert!(waiter.poll().is_none(), "it has to wait");
        waiter
    }

    fn poll(&mut self) -> Option<Result<Permit<'s>, AcquireError>> {
        match self.0.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }
}

#[test]
fn who_waits_moves_with_its_task_and_goes_on_there() {
    let scene = Scene::new(None);
    let [web, batch] = ["web", "batch"].map(|name| scene.group(name));
    scene.limit(&web, Limits::new().riops(1));
    let stream = scene.disk.stream(&web).unwrap();
    let before = stream.try_acquire(Op::read(100)).unwrap();
    let mut waiter = Waiter::new(&stream, Op::read(7));
    assert_eq!((scene.own(&web).waiting, scene.own(&batch).waiting), (1, 0));
    stream.task().unwrap().join(&batch).unwrap();
    // Nothing holds it back there.
    let permit = waiter.poll().expect("woken by the move").unwrap();
    before.done(40);
    let (here, there) = (scene.own(&web), scene.own(&batch));
    assert_eq!((here.rbytes, here.rios, here.waiting), (40, 1, 0), "what was admitted stays");
    assert_eq!((there.rbytes, there.rios, there.waiting), (7, 1, 0));
    permit.done(3);
    stream.try_acquire(Op::write(11)).unwrap().done(11);
    let root = scene.total(&scene.tree.root());
    assert_eq!((root.rbytes, root.rios, root.wbytes, root.wios), (43, 2, 11, 1));
    assert_eq!(scene.own(&batch).wbytes, 11);
}

#[test]
fn who_waits_may_have_to_wait_where_it_is_moved_to() {
    let scene = Scene::new(None);
    let [web, batch] = ["web", "batch"].map(|name| scene.group(name));
    for group in [&web, &batch] {
        scene.limit(group, Limits::new().riops(10));
        let stream = scene.disk.stream(group).unwrap();
        stream.charge_urgent(Op::read(1)).unwrap().done(1);
        stream.charge_urgent(Op::read(1)).unwrap().done(1);
    }
    let stream = scene.disk.stream(&web).unwrap();
    let mut waiter = Waiter::new(&stream, Op::read(7));
    scene.pass(50 * MILLI);
    stream.task().unwrap().join(&batch).unwrap();
    assert!(waiter.poll().is_none());
    assert_eq!((scene.own(&web).waiting, scene.own(&batch).waiting), (0, 1));
    scene.limit(&web, Limits::MAX);
    assert!(waiter.poll().is_none(), "that is not its limit any more");
    scene.pass(60 * MILLI);
    let permit = waiter.poll().expect("the debt is paid").unwrap();
    assert_eq!(permit.waited().limit, 110 * MILLI, "in both groups");
    let stats = scene.own(&batch);
    assert_eq!((stats.rbytes, stats.wait, scene.own(&web).wait), (9, 110 * MILLI, Duration::ZERO));
}

#[test]
fn a_removed_group_refuses_who_waits_and_leaves_its_figures_to_its_parent() {
    let scene = Scene::new(Some(2));
    let web = scene.group("web");
    let api = web.create_child("api").unwrap();
    let above = scene.disk.stream(&web).unwrap();
    above.try_acquire(Op::write(5)).unwrap().done(5);
    let css = scene.io.css(&api).unwrap();
    let stream = scene.disk.stream_at(&css).unwrap();
    let running = [100, 200].map(|bytes| stream.try_acquire(Op::read(bytes)).unwrap());
    let mut waiter = Waiter::new(&stream, Op::read(7));
    assert_eq!((scene.own(&api).inflight, scene.total(&web).waiting), (2, 1));
    api.remove(Removal::Detach).unwrap();
    let error = waiter.poll().expect("it is over").unwrap_err();
    assert_eq!(error.why, Refusal::Removed);
    assert!(error.to_string().contains("read of 7 bytes on disk"), "{error}");
    let web_itself = scene.own(&web);
    assert_eq!((web_itself.rbytes, web_itself.rios, web_itself.wbytes), (300, 2, 5));
    assert_eq!((web_itself.inflight, web_itself.waiting), (2, 0));
    assert_eq!(scene.own(&web), scene.total(&web));
    assert_eq!(css.stats(&scene.disk), IoStats::default(), "it has nothing any more");
    // What still runs ends as it does, and for whom it was.
    let [first, second] = running;
    first.done(10);
    drop(second);
    let stats = scene.total(&scene.tree.root());
    assert_eq!((stats.rbytes, stats.rios, stats.inflight), (210, 2, 0));
    assert_eq!(scene.own(&web).rbytes, 210);
    assert_eq!(stream.try_acquire(Op::read(1)).unwrap_err().why, Refusal::Removed);
    let error = css.set_limits(&scene.disk, Limits::MAX).unwrap_err().to_string();
    assert!(error.contains("removed") && error.contains("disk"), "{error}");
}

#[test]
fn a_killed_group_ends_the_waits_of_its_members() {
    let scene = Scene::new(None);
    let web = scene.group("web");
    scene.limit(&web, Limits::new().riops(1));
    let stream = scene.disk.stream(&web).unwrap();
    let running = stream.try_acquire(Op::read(100)).unwrap();
    let mut waiter = Waiter::new(&stream, Op::read(7));
    web.kill().unwrap();
    assert_eq!(waiter.poll().expect("it is over").unwrap_err().why, Refusal::Killed);
    running.done(9);
    let stats = scene.own(&web);
    assert_eq!((stats.rbytes, stats.rios, stats.waiting), (9, 1, 0));
}

#[test]
fn what_threads_counted_is_there_when_they_are_gone() {
    let scene = Scene::new(None);
    let [web, batch] = ["web", "batch"].map(|name| scene.group(name));
    let api = web.create_child("api").unwrap();
    scene.limit(&web, Limits::new().wbps(1 << 40));
    std::thread::scope(|scope| {
        for group in [&web, &api, &batch] {
            let disk = &scene.disk;
            scope.spawn(move || {
                let stream = disk.stream(group).unwrap();
                for _ in 0..1000 {
                    stream.acquire_blocking(Op::read(3)).unwrap().done(2);
                    stream.acquire_blocking(Op::write(5)).unwrap().done(5);
                }
            });
        }
    });
    for group in [&web, &api, &batch] {
        let stats = scene.own(group);
        let figures = (stats.rbytes, stats.rios, stats.wbytes, stats.wios);
        assert_eq!(figures, (2000, 1000, 5000, 1000), "{group:?}");
    }
    api.remove(Removal::Strict).unwrap();
    assert_eq!((scene.own(&web).rios, scene.total(&scene.tree.root()).rios), (2000, 3000));
}

/// What a script has going on.
struct Script<'s> {
    scene: &'s Scene,
    random: fastrand::Rng,
    groups: Vec<Cgroup>,
    waiters: Vec<(u64, Waiter<'s>)>,
    permits: Vec<(u64, Permit<'s>)>,
    /// What was admitted, by what it used.
    bytes: u64,
    ops: u64,
    refused: usize,
    step: u64,
}

impl<'s> Script<'s> {
    fn begin(&mut self, stream: &'s Stream) {
        let bytes = self.random.u64(0..200_000);
        let op = if self.random.bool() { Op::read(bytes) } else { Op::write(bytes) };
        let asked = match self.random.u8(0..8) {
            0 => Some(stream.charge_urgent(op)),
            1..=3 => Some(stream.try_acquire(op)),
            _ => {
                let mut waiter = Waiter(Box::pin(stream.acquire(op)));
                let result = waiter.poll();
                if result.is_none() {
                    self.waiters.push((bytes, waiter));
                }
                result
            }
        };
        asked.into_iter().for_each(|result| self.note(bytes, result));
    }

    fn note(&mut self, bytes: u64, result: Result<Permit<'s>, AcquireError>) {
        match result {
            Ok(permit) => {
                (self.bytes, self.ops) = (self.bytes + bytes, self.ops + 1);
                self.permits.push((bytes, permit));
            }
            Err(error) => {
                let is_known = matches!(error.why, Refusal::WouldBlock { .. } | Refusal::Removed);
                assert!(is_known, "{error}");
                self.refused += usize::from(error.why == Refusal::Removed);
            }
        }
    }

    /// Ends an operation, of which it may have been less.
    fn end(&mut self) {
        if self.permits.is_empty() {
            return;
        }
        let at = self.random.usize(..self.permits.len());
        let (bytes, permit) = self.permits.swap_remove(at);
        let actual = if self.random.bool() { bytes } else { self.random.u64(0..=bytes) };
        permit.done(actual);
        self.bytes -= bytes - actual;
    }

    fn give_up(&mut self) {
        if !self.waiters.is_empty() {
            let at = self.random.usize(..self.waiters.len());
            drop(self.waiters.swap_remove(at));
        }
    }

    /// Moves the task of a stream that has one.
    fn walk(&mut self, stream: &Stream) {
        if let Some(task) = stream.task() {
            let group = self.random.usize(..self.groups.len());
            task.join(&self.groups[group]).expect("it is there");
        }
    }

    fn set_limits(&mut self) {
        let group = self.random.usize(..self.groups.len());
        let mut limits = Limits::new();
        if self.random.bool() {
            limits = limits.bps(self.random.u64(1..10_000_000));
        }
        if self.random.bool() {
            limits = limits.riops(self.random.u64(1..1000));
        }
        self.scene.limit(&self.groups[group], limits);
    }

    /// Makes a group, or removes one that has neither members nor children.
    fn change_groups(&mut self) {
        let at = self.random.usize(..self.groups.len());
        if self.groups.len() < 12 && self.random.bool() {
            let name = format!("g{}", self.step);
            self.groups.push(self.groups[at].create_child(&name).expect("it is there"));
        } else if at > 0 && self.groups[at].remove(Removal::Detach).is_ok() {
            self.groups.swap_remove(at);
        }
    }

    /// Notes what became of those who waited.
    fn settle(&mut self) {
        for (bytes, mut waiter) in std::mem::take(&mut self.waiters) {
            match waiter.poll() {
                Some(result) => self.note(bytes, result),
                None => self.waiters.push((bytes, waiter)),
            }
        }
    }

    fn check(&self) {
        let root = self.scene.total(&self.groups[0]);
        let (mut bytes, mut ops, mut inflight, mut waiting) = (0, 0, 0, 0);
        for group in &self.groups {
            let own = self.scene.own(group);
            bytes += own.rbytes + own.wbytes;
            ops += own.rios + own.wios;
            inflight += own.inflight;
            waiting += own.waiting;
            let below = group.children().map(|child| self.scene.total(&child));
            let below: u64 = below.map(|stats| stats.rbytes + stats.wbytes).sum();
            let all = self.scene.total(group);
            assert_eq!(all.rbytes + all.wbytes, own.rbytes + own.wbytes + below, "{group:?}");
        }
        assert_eq!((bytes, ops), (self.bytes, self.ops), "step {}", self.step);
        assert_eq!((root.rbytes + root.wbytes, root.rios + root.wios), (bytes, ops));
        assert_eq!((inflight, waiting), (root.inflight, root.waiting));
        assert_eq!(waiting, self.waiters.len() as u64, "step {}", self.step);
    }
}

/// Returns how many were refused, as their group was removed.
fn play(seed: u64, depth: Option<u32>) -> usize {
    let scene = Scene::new(depth);
    let random = fastrand::Rng::with_seed(seed);
    let root = scene.tree.root();
    let [web, batch, api] = ["web", "batch", "api"].map(|name| scene.group(name));
    let css = [&web, &batch].map(|group| scene.io.css(group).expect("it is there"));
    // Streams of members, which move, and of groups, which end with them.
    let members =
        [&web, &web, &batch, &root].map(|group| scene.disk.stream(group).expect("it is there"));
    let others = css.each_ref().map(|css| scene.disk.stream_at(css).expect("it is there"));
    let streams: Vec<Stream> = members.into_iter().chain(others).collect();
    let (groups, waiters, permits) = (vec![root, web, batch, api], vec![], vec![]);
    let scene = &scene;
    let (bytes, ops, refused, step) = (0, 0, 0, 0);
    let mut script = Script { scene, random, groups, waiters, permits, bytes, ops, refused, step };
    for step in 0..1500 {
        script.step = step;
        let stream = &streams[script.random.usize(..streams.len())];
        match script.random.u8(0..20) {
            0..=8 => script.begin(stream),
            9..=12 => script.end(),
            13 => script.give_up(),
            14 => script.walk(stream),
            15 => script.set_limits(),
            16 => script.change_groups(),
            _ => scene.pass(Duration::from_micros(script.random.u64(0..20_000))),
        }
        script.settle();
        script.check();
        let inflight = script.permits.len() as u64;
        let counted = scene.total(&script.groups[0]).inflight;
        assert_eq!(counted, if depth.is_some() { inflight } else { 0 }, "step {step}");
    }
    // In the end everybody has their turn, and nothing is left.
    for _ in 0..100_000 {
        if script.waiters.is_empty() && script.permits.is_empty() {
            break;
        }
        (0..8).for_each(|_| script.end());
        scene.pass(100 * MILLI);
        script.settle();
    }
    script.check();
    assert!(script.waiters.is_empty() && script.permits.is_empty(), "somebody is stuck");
    assert!(script.ops > 200, "{}", script.ops);
    script.refused
}

#[test]
fn figures_are_exact_whatever_happens() {
    let mut refused = 0;
    for seed in 0..12 {
        for depth in [None, Some(4)] {
            refused += play(seed, depth);
        }
    }
    assert!(refused > 0, "no group was removed while something waited");
}
