//! Limits, weights and figures across a rebind: they go with the css, and streams follow at once.
//!
//! Driven by hand on a clock of its own: everything is the same every time.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use fief_core::{
    Cgroup, Controller, Hierarchy, MemberPolicy, RebindOptions, Registry, Removal, VirtualClock,
};
use fief_io::{Acquire, AcquireError, Device, Io, IoStats, Limits, Op, Permit, Refusal, Stream};
use insta::assert_snapshot;

const MILLI: Duration = Duration::from_millis(1);

struct Scene {
    clock: VirtualClock,
    io: Controller<Io>,
    disk: Device,
    registry: Registry,
    trees: [Hierarchy; 2],
    /// In the first tree, `acme`, `acme/api` and `globex`; their counterparts in the second.
    groups: [[Cgroup; 3]; 2],
}

fn scene() -> Scene {
    let (clock, registry) = (VirtualClock::new(), Registry::new());
    let trees = ["by-tenant", "by-plan"]
        .map(|name| registry.create_hierarchy(name).expect("nothing is in the way"));
    let subsystem = Io::builder().clock(Arc::new(clock.clone())).build();
    let io = registry.register(subsystem).expect("nothing is in the way");
    io.bind(&trees[0]).expect("nothing is in the way");
    let names = [["acme", "api", "globex"], ["gold", "basic", "silver"]];
    let groups = [0, 1].map(|tree: usize| {
        let (root, [top, below, beside]) = (trees[tree].root(), names[tree]);
        let top = root.create_child(top).expect("nothing is in the way");
        let below = top.create_child(below).expect("nothing is in the way");
        [top, below, root.create_child(beside).expect("nothing is in the way")]
    });
    let disk = Device::builder("disk").register(&io).expect("the name is free");
    Scene { clock, io, disk, registry, trees, groups }
}

impl Scene {
    /// Makes a stream of a member of groups in both trees.
    fn stream(&self, groups: [&Cgroup; 2]) -> (Stream, fief_core::Task) {
        let task = self.registry.create_task("reader").expect("nothing is in the way");
        groups.iter().for_each(|group| task.join(group).expect("nothing is in the way"));
        (self.disk.stream_for(&task).expect("nothing is in the way"), task)
    }

    /// Moves the controller from one tree to the other, with the members.
    fn rebind(&self, from: usize, to: usize) {
        let pairs = self.groups[from].iter().cloned().zip(self.groups[to].iter().cloned());
        let options = RebindOptions::new().mapping(pairs).members(MemberPolicy::Move);
        self.io.rebind(&self.trees[to], &options).expect("nothing is in the way");
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.io.subsystem().tick();
    }
}

fn show(top: &Cgroup) -> String {
    let line = |group: Cgroup| {
        let read = |file: &str| match group.read(&format!("io.{file}")) {
            Ok(text) => {
                let lines = text.lines().filter(|line| !line.starts_with("process "));
                lines.collect::<Vec<_>>().join(", ")
            }
            Err(_) => "-".to_owned(),
        };
        let settings = ["weight", "max", "min", "latency"].map(read).join("; ");
        let stat = read("stat");
        let keys = ["rbytes", "rios", "wbytes", "wait_usec", "waiting"];
        let is_shown = |pair: &&str| keys.contains(&pair.split('=').next().expect("a key"));
        let figures: Vec<_> = stat.split(' ').filter(is_shown).collect();
        format!("{}: {settings}: {}", group.path(), figures.join(" ")).trim_end().to_owned() + "\n"
    };
    top.descendants_pre().map(line).collect()
}

fn wait<'s>(stream: &'s Stream, op: Op) -> Pin<Box<Acquire<'s>>> {
    let mut waits = Box::pin(stream.acquire(op));
    assert!(poll(&mut waits).is_none(), "it has to wait");
    waits
}

/// Has an operation wait for a limit of the root.
fn wait_at_root<'s>(
    scene: &Scene,
    root: &fief_io::IoCss,
    stream: &'s Stream,
) -> Pin<Box<Acquire<'s>>> {
    root.set_limits(&scene.disk, Limits::new().riops(1)).expect("in range");
    (0..3).for_each(|_| stream.charge_urgent(Op::read(0)).expect("never waits").done(0));
    wait(stream, Op::read(7))
}

fn poll<'s>(acquire: &mut Pin<Box<Acquire<'s>>>) -> Option<Result<Permit<'s>, AcquireError>> {
    match acquire.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}

#[test]
fn settings_and_figures_show_under_the_new_paths() {
    let scene = scene();
    let [acme, api, globex] = &scene.groups[0];
    acme.write("io.weight", "300").unwrap();
    acme.write("io.max", "disk rbps=100000 rbps_burst=1000").unwrap();
    acme.write("io.min", "disk bps=50000").unwrap();
    api.write("io.weight", "disk 20").unwrap();
    api.write("io.latency", "disk target=2000").unwrap();
    globex.write("io.max", "disk wiops=5").unwrap();
    let streams = [0, 1, 2].map(|group| {
        let groups = scene.groups.each_ref().map(|tree| &tree[group]);
        scene.stream(groups)
    });
    for (stream, _) in &streams {
        stream.try_acquire(Op::read(400)).unwrap().done(300);
        stream.try_acquire(Op::write(50)).unwrap().done(50);
    }
    streams[1].0.charge_urgent(Op::read(2400)).unwrap().done(2400);
    // 2000 in debt, which is 20 ms.
    let mut waits = wait(&streams[1].0, Op::read(9));
    scene.pass(10 * MILLI);
    assert_snapshot!(show(&scene.trees[0].root()), @"
    /: -; ; -; : rbytes=3300 wbytes=150 rios=4 wait_usec=0 waiting=1
    /acme: default 300; disk rbps=100000 wbps=max riops=max wiops=max bps=max iops=max rbps_burst=1000; disk bps=50000 iops=0; : rbytes=3000 wbytes=100 rios=3 wait_usec=0 waiting=1
    /acme/api: default 100, disk 20; ; ; disk target=2000: rbytes=2700 wbytes=50 rios=2 wait_usec=0 waiting=1
    /globex: default 100; disk rbps=max wbps=max riops=max wiops=5 bps=max iops=max; ; : rbytes=300 wbytes=50 rios=1 wait_usec=0 waiting=0
    ");
    let css = scene.groups[0].each_ref().map(|group| scene.io.css(group).unwrap());
    let stats = css.each_ref().map(|css| css.stats(&scene.disk));

    scene.rebind(0, 1);
    assert_snapshot!(show(&scene.trees[1].root()), @"
    /: -; ; -; : rbytes=3300 wbytes=150 rios=4 wait_usec=0 waiting=1
    /gold: default 300; disk rbps=100000 wbps=max riops=max wiops=max bps=max iops=max rbps_burst=1000; disk bps=50000 iops=0; : rbytes=3000 wbytes=100 rios=3 wait_usec=0 waiting=1
    /gold/basic: default 100, disk 20; ; ; disk target=2000: rbytes=2700 wbytes=50 rios=2 wait_usec=0 waiting=1
    /silver: default 100; disk rbps=max wbps=max riops=max wiops=5 bps=max iops=max; ; : rbytes=300 wbytes=50 rios=1 wait_usec=0 waiting=0
    ");
    assert_snapshot!(show(&scene.trees[0].root()), @"
    /: -; -; -; -:
    /acme: -; -; -; -:
    /acme/api: -; -; -; -:
    /globex: -; -; -; -:
    ");
    assert_eq!(css.each_ref().map(|css| css.stats(&scene.disk)), stats);
    let moved = scene.groups[1].each_ref().map(|group| scene.io.css(group).unwrap());
    assert_eq!(moved.each_ref().map(|css| css.id()), css.each_ref().map(|css| css.id()));
    for ((stream, _), css) in streams.iter().zip(&css) {
        assert_eq!(stream.css().id(), css.id(), "it is charged to the same css");
    }

    // Who waited waits on, for the same limit, and is counted once.
    assert!(poll(&mut waits).is_none());
    scene.pass(11 * MILLI);
    poll(&mut waits).expect("the debt is paid").unwrap().done(9);
    assert_eq!(css[1].stats(&scene.disk).wait, 21 * MILLI);
    assert_eq!(css[0].stats(&scene.disk).rbytes, stats[0].rbytes + 9);
    let gold = &scene.groups[1][0];
    gold.write("io.max", "disk max").unwrap();
    assert_eq!(css[0].limits(&scene.disk), Limits::MAX);
}

#[test]
fn streams_follow_where_the_groups_are_not_the_same() {
    let scene = scene();
    let (api, silver) = (scene.groups[0][1].clone(), scene.groups[1][2].clone());
    // In the second tree it is elsewhere.
    let (stream, task) = scene.stream([&api, &silver]);
    let css = scene.io.css(&api).unwrap();
    css.set_limits(&scene.disk, Limits::new().rbps(100)).unwrap();
    stream.charge_urgent(Op::read(1_000_000)).unwrap().done(1_000_000);
    let mut waits = wait(&stream, Op::read(7));
    let running = stream.charge_urgent(Op::write(10)).unwrap();
    scene.rebind(0, 1);
    let there = scene.io.css(&silver).unwrap();
    assert_eq!((task.css(&scene.io).unwrap().id(), stream.css().id()), (there.id(), there.id()));
    poll(&mut waits).expect("nothing holds it back there").unwrap().done(7);
    running.done(4);
    stream.try_acquire(Op::write(2)).unwrap().done(2);
    let of = |css: &fief_io::IoCss| {
        let stats = css.stats(&scene.disk);
        (stats.rbytes, stats.rios, stats.wbytes, stats.wios, stats.waiting)
    };
    assert_eq!((of(&css), of(&there)), ((1_000_000, 1, 4, 1, 0), (7, 1, 2, 1, 0)));
}

#[test]
fn operations_go_on_unbound_and_bound_again_and_end_unregistered() {
    let scene = scene();
    let [api, basic] = [0, 1].map(|tree: usize| &scene.groups[tree][1]);
    let (stream, _task) = scene.stream([api, basic]);
    let css = scene.io.css(api).unwrap();
    let at = scene.disk.stream_at(&css).unwrap();
    let root = scene.io.root().unwrap();
    css.set_limits(&scene.disk, Limits::new().rbps(1)).unwrap();
    stream.charge_urgent(Op::read(100_000)).unwrap().done(100_000);
    let mut waits = [&stream, &at].map(|stream| wait(stream, Op::read(7)));
    let running = stream.charge_urgent(Op::write(10)).unwrap();

    scene.io.unbind().unwrap();
    assert_eq!(stream.css().id(), root.id());
    let [member, explicit] = waits.each_mut().map(|waits| poll(waits).expect("it is over"));
    member.expect("where it is now nothing holds it back").done(7);
    assert_eq!(explicit.unwrap_err().why, Refusal::Removed);
    stream.try_acquire(Op::read(1)).unwrap().done(1);
    running.done(4);
    let figures = |stats: IoStats| (stats.rbytes, stats.rios, stats.wbytes, stats.waiting);
    assert_eq!(figures(css.stats(&scene.disk)), (0, 0, 0, 0));
    assert_eq!(figures(root.own_stats(&scene.disk)), (100_008, 3, 4, 0), "all stays with the root");

    scene.io.bind(&scene.trees[1]).unwrap();
    let css = scene.io.css(basic).unwrap();
    assert_eq!((stream.css().id(), css.limits(&scene.disk)), (css.id(), Limits::MAX));
    stream.try_acquire(Op::read(30)).unwrap().done(30);
    assert_eq!(figures(css.stats(&scene.disk)), (30, 1, 0, 0));
    assert_eq!(figures(root.stats(&scene.disk)), (100_038, 4, 4, 0));

    scene.io.unbind().unwrap();
    assert_eq!(figures(root.own_stats(&scene.disk)), (100_038, 4, 4, 0));
    let mut waits = wait_at_root(&scene, &root, &stream);
    scene.io.unregister().unwrap();
    assert_eq!(root.stats(&scene.disk), IoStats::default(), "nobody keeps account any more");
    let refused = poll(&mut waits).expect("it is over").unwrap_err();
    assert_eq!(refused.why, Refusal::Removed, "who waits is refused, at a root too");
    scene.pass(Duration::from_secs(10));
    assert_eq!(stream.try_acquire(Op::read(2)).unwrap_err().why, Refusal::Removed);
}

#[test]
fn a_pressure_ends_with_the_group_and_stays_above() {
    let scene = scene();
    let api = &scene.groups[0][1];
    let css = scene.io.css(api).unwrap();
    css.set_limits(&scene.disk, Limits::new().rbps(1)).unwrap();
    let at = scene.disk.stream_at(&css).unwrap();
    at.charge_urgent(Op::read(100_000)).unwrap().done(100_000);
    let mut waits = wait(&at, Op::read(7));
    scene.pass(5 * MILLI);
    api.remove(Removal::Detach).unwrap();
    scene.pass(5 * MILLI);
    assert_eq!(poll(&mut waits).expect("it is over").unwrap_err().why, Refusal::Removed);
    let acme = scene.io.css(&scene.groups[0][0]).unwrap();
    let root = scene.io.root().unwrap();
    assert_eq!([&acme, &root].map(|css| css.pressure().some.total), [5000, 5000]);
}
