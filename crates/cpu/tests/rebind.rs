//! Weights, limits and figures across a rebind: they go with the css, and members follow at once.
//!
//! One worker, driven by hand, and a clock that the jobs advance: everything is the same every time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use fief_core::{
    Cgroup, Controller, Hierarchy, MemberPolicy, RebindOptions, Registry, Removal, VirtualClock,
};
use fief_cpu::{Cpu, Group, Manual, Pool, Turned};
use insta::assert_snapshot;

const STEP: Duration = Duration::from_micros(100);

struct Scene {
    clock: VirtualClock,
    worker: Manual,
    cpu: Controller<Cpu>,
    registry: Registry,
    trees: [Hierarchy; 2],
    /// In the first tree, `acme`, `acme/api` and `globex`; their counterparts in the second.
    groups: [[Cgroup; 3]; 2],
}

fn scene() -> Scene {
    let (clock, registry) = (VirtualClock::new(), Registry::new());
    let trees = ["by-tenant", "by-plan"]
        .map(|name| registry.create_hierarchy(name).expect("nothing is in the way"));
    let subsystem = Cpu::builder().cpus(1).clock(Arc::new(clock.clone())).build();
    let cpu = registry.register(subsystem).expect("nothing is in the way");
    cpu.bind(&trees[0]).expect("nothing is in the way");
    let names = [["acme", "api", "globex"], ["gold", "basic", "silver"]];
    let groups = [0, 1].map(|tree: usize| {
        let (root, [top, below, beside]) = (trees[tree].root(), names[tree]);
        let top = root.create_child(top).expect("nothing is in the way");
        let below = top.create_child(below).expect("nothing is in the way");
        [top, below, root.create_child(beside).expect("nothing is in the way")]
    });
    let worker = Pool::builder(&cpu).manual().expect("nothing is in the way");
    Scene { clock, worker, cpu, registry, trees, groups }
}

impl Scene {
    /// Makes a member of groups in both trees, that counts its polls and always has something to run.
    fn hog(&self, groups: [&Cgroup; 2]) -> (Group, Arc<AtomicU64>) {
        let task = self.registry.create_task("hog").expect("nothing is in the way");
        groups.iter().for_each(|group| task.join(group).expect("nothing is in the way"));
        let member = Group::of(&self.cpu, task).expect("nothing is in the way");
        let (clock, polls) = (self.clock.clone(), Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&polls);
        let burn = std::future::poll_fn(move |context| {
            clock.advance(STEP);
            count.fetch_add(1, Ordering::SeqCst);
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        drop(member.spawn(burn).expect("nothing is in the way"));
        (member, polls)
    }

    fn turns(&mut self, count: u32) {
        (0..count).for_each(|_| assert_eq!(self.worker.turn(), Turned::Ran));
    }

    /// Moves the controller from one tree to the other, with the members.
    fn rebind(&self, from: usize, to: usize) {
        let pairs = self.groups[from].iter().cloned().zip(self.groups[to].iter().cloned());
        let options = RebindOptions::new().mapping(pairs).members(MemberPolicy::Move);
        self.cpu.rebind(&self.trees[to], &options).expect("nothing is in the way");
    }
}

fn show(top: &Cgroup) -> String {
    let line = |group: Cgroup| {
        let read = |file: &str| group.read(file).unwrap_or_else(|_| "-".to_owned());
        let files = ["weight", "idle", "latency", "max", "max.burst"];
        let files = files.map(|file| read(&format!("cpu.{file}")).trim_end().to_owned());
        let stat = read("cpu.stat");
        let keys = ["usage_usec", "nr_throttled", "wait_usec", "slices"];
        let figures =
            stat.lines().filter(|line| keys.contains(&line.split(' ').next().expect("a key")));
        let (files, figures) = (files.join(", "), figures.collect::<Vec<_>>().join(", "));
        format!("{}\n", format!("{}: {files}: {figures}", group.path()).trim_end())
    };
    top.descendants_pre().map(line).collect()
}

#[test]
fn settings_and_figures_show_under_the_new_paths() {
    let mut scene = scene();
    let [acme, api, globex] = &scene.groups[0];
    acme.write("cpu.weight", "300").unwrap();
    acme.write("cpu.max", "90000 100000").unwrap();
    acme.write("cpu.max.burst", "9000").unwrap();
    api.write("cpu.latency", "1000").unwrap();
    globex.write("cpu.idle", "1").unwrap();
    let hogs = [0, 1, 2].map(|group| {
        let groups = scene.groups.each_ref().map(|tree| &tree[group]);
        scene.hog(groups).0
    });
    scene.turns(500);
    assert_snapshot!(show(&scene.trees[0].root()), @"
    /: -, -, -, max 100000, 0: usage_usec 100000, nr_throttled 0, wait_usec 100000, slices 500
    /acme: 300, 0, 0, 90000 100000, 9000: usage_usec 90000, nr_throttled 50, wait_usec 100000, slices 450
    /acme/api: 100, 0, 1000, max 100000, 0: usage_usec 45400, nr_throttled 0, wait_usec 54600, slices 227
    /globex: 0, 1, 0, max 100000, 0: usage_usec 10000, nr_throttled 0, wait_usec 90000, slices 50
    ");
    let css = scene.groups[0].each_ref().map(|group| scene.cpu.css(group).unwrap());
    let stats = css.each_ref().map(|css| css.stats());

    scene.rebind(0, 1);
    assert_snapshot!(show(&scene.trees[1].root()), @"
    /: -, -, -, max 100000, 0: usage_usec 100000, nr_throttled 0, wait_usec 100000, slices 500
    /gold: 300, 0, 0, 90000 100000, 9000: usage_usec 90000, nr_throttled 50, wait_usec 100000, slices 450
    /gold/basic: 100, 0, 1000, max 100000, 0: usage_usec 45400, nr_throttled 0, wait_usec 54600, slices 227
    /silver: 0, 1, 0, max 100000, 0: usage_usec 10000, nr_throttled 0, wait_usec 90000, slices 50
    ");
    assert_snapshot!(show(&scene.trees[0].root()), @"
    /: -, -, -, -, -:
    /acme: -, -, -, -, -:
    /acme/api: -, -, -, -, -:
    /globex: -, -, -, -, -:
    ");
    assert_eq!(css.each_ref().map(|css| css.stats()), stats);
    let moved = scene.groups[1].each_ref().map(|group| scene.cpu.css(group).unwrap());
    assert_eq!(moved.each_ref().map(|css| css.id()), css.each_ref().map(|css| css.id()));
    for (hog, css) in hogs.iter().zip(&css) {
        assert_eq!(hog.css().id(), css.id(), "it runs for the same css");
    }

    // Quotas hold on: nine parts of ten for the one, and what is left for the one that is idle.
    scene.turns(500);
    let used = [0, 1, 2].map(|now| (css[now].usage() - stats[now].usage).as_millis());
    assert_eq!((used[0], used[2]), (90, 10));
    scene.groups[1][0].write("cpu.max", "max").unwrap();
    let before = css.each_ref().map(|css| css.usage());
    scene.turns(400);
    let used = [0, 1, 2].map(|now| (css[now].usage() - before[now]).as_millis());
    assert_eq!(used, [80, 40, 0]);
}

#[test]
fn members_follow_where_the_groups_are_not_the_same() {
    let mut scene = scene();
    // In the second tree it is elsewhere.
    let (hog, polls) = scene.hog([&scene.groups[0][1], &scene.groups[1][2]]);
    let (api, silver) = (scene.groups[0][1].clone(), scene.groups[1][2].clone());
    scene.turns(10);
    let css = scene.cpu.css(&api).unwrap();
    assert_eq!((hog.css().id(), css.usage()), (css.id(), STEP * 20));
    scene.rebind(0, 1);
    let there = scene.cpu.css(&silver).unwrap();
    scene.turns(10);
    assert_eq!(polls.load(Ordering::SeqCst), 40, "no turn was lost");
    let is_moved = hog.task().css(&scene.cpu).unwrap().id() == there.id();
    assert!(is_moved, "it is where its task is");
    assert_eq!((hog.css().id(), there.usage(), css.usage()), (there.id(), STEP * 20, STEP * 20));
}

#[test]
fn jobs_go_on_unbound_bound_again_and_unregistered() {
    let mut scene = scene();
    let (hog, polls) = scene.hog([&scene.groups[0][1], &scene.groups[1][1]]);
    let css = scene.cpu.css(&scene.groups[0][1]).unwrap();
    let root = scene.cpu.root().unwrap();
    scene.turns(10);
    scene.cpu.unbind().unwrap();
    assert_eq!(hog.css().id(), root.id());
    scene.turns(10);
    assert_eq!((css.usage(), root.stats().own_usage), (STEP * 20, STEP * 20));
    drop(css);
    assert_eq!(root.usage(), STEP * 40, "what was used stays with the root");

    scene.cpu.bind(&scene.trees[1]).unwrap();
    let css = scene.cpu.css(&scene.groups[1][1]).unwrap();
    assert_eq!((hog.css().id(), css.usage()), (css.id(), Duration::ZERO));
    scene.turns(10);
    assert_eq!((css.usage(), root.usage()), (STEP * 20, STEP * 60));

    scene.cpu.unbind().unwrap();
    scene.cpu.unregister().unwrap();
    scene.turns(10);
    assert_eq!(polls.load(Ordering::SeqCst), 80);
    assert_eq!(root.usage(), STEP * 80);
    drop(hog);
}

#[test]
fn a_group_that_is_removed_under_load_leaves_its_jobs_to_nobody() {
    let mut scene = scene();
    let (hog, polls) = scene.hog([&scene.groups[0][1], &scene.groups[1][1]]);
    scene.turns(5);
    let [_, api, _] = &scene.groups[0];
    hog.task().leave(&scene.trees[0]).unwrap();
    api.remove(Removal::Strict).unwrap();
    scene.turns(5);
    assert_eq!(polls.load(Ordering::SeqCst), 20);
    let root = scene.cpu.root().unwrap();
    assert_eq!((root.usage(), root.stats().own_usage), (STEP * 20, STEP * 10));
}

#[test]
fn a_controller_serves_one_registry_at_a_time() {
    let subsystem = Cpu::new();
    let registries = [Registry::new(), Registry::new()];
    let cpu = registries[0].register(subsystem.clone()).unwrap();
    let error = registries[1].register(subsystem.clone()).unwrap_err().to_string();
    let expected = "cpu refused / in new_css: this controller is in use already: make another one";
    assert_eq!(error, expected);
    // What the first one has is as it was.
    let mut worker = Pool::builder(&cpu).manual().unwrap();
    let member = Group::of(&cpu, registries[0].create_task("job").unwrap()).unwrap();
    let job = member.spawn(async { 7 }).unwrap();
    assert_eq!((worker.run_until_idle(), job.join().unwrap()), (1, 7));
    drop((worker, member));
    cpu.unregister().unwrap();
    registries[0].wait_reclaimed().unwrap();
    registries[1].register(subsystem).unwrap();
}
