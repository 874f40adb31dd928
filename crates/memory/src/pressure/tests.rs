//! Stalls and work, on a clock that stands still unless it is moved.

use std::{sync::Arc as StdArc, thread, time::Duration};

use fief_core::{Cgroup, Controller, CssRef, PressureKind, Registry, Threshold, VirtualClock};

use crate::{Memory, MemoryCss};

struct Scene {
    _registry: Registry,
    clock: VirtualClock,
    memory: Controller<Memory>,
    root: Cgroup,
}

impl Scene {
    fn new() -> Self {
        let clock = VirtualClock::new();
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("h").expect("the name is free");
        let memory = Memory::builder().clock(StdArc::new(clock.clone())).build();
        let memory = registry.register(memory).expect("the name is free");
        memory.bind(&hierarchy).expect("it is inactive");
        Self { _registry: registry, clock, memory, root: hierarchy.root() }
    }

    fn group(&self, parent: &Cgroup, name: &str) -> (Cgroup, CssRef<MemoryCss>) {
        let group = parent.create_child(name).expect("the name is free");
        let css = self.memory.css(&group).expect("bound here");
        (group, css)
    }

    fn sleep(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// Returns the seconds of some and of full time.
fn lost(css: &MemoryCss) -> (u64, u64) {
    let pressure = css.pressure();
    (pressure.some.total / 1_000_000, pressure.full.total / 1_000_000)
}

#[test]
fn a_stall_counts_in_the_group_and_above_and_not_beside() {
    let scene = Scene::new();
    let (web, upper) = scene.group(&scene.root, "web");
    let (_api, lower) = scene.group(&web, "api");
    let (_batch, beside) = scene.group(&scene.root, "batch");
    let stall = lower.node.stall();
    scene.sleep(2);
    drop(stall);
    scene.sleep(2);
    let root = scene.memory.root().unwrap();
    assert_eq!(
        [&root, &upper, &lower, &beside].map(|css| lost(css)),
        [(2, 2), (2, 2), (2, 2), (0, 0)]
    );
    assert_eq!(
        web.read("memory.pressure").unwrap(),
        "some avg10=14.84 avg60=3.17 avg300=0.66 total=2000000\n\
         full avg10=14.84 avg60=3.17 avg300=0.66 total=2000000\n",
    );
}

#[test]
fn an_idle_group_has_no_pressure_and_reads_as_none() {
    let scene = Scene::new();
    let (web, css) = scene.group(&scene.root, "web");
    assert_eq!(css.pressure(), fief_core::PressureStats::default());
    assert!(web.read("memory.pressure").is_ok() && css.poll_pressure().is_none());
    assert!(css.node.rare.get().is_none());
}

#[test]
fn time_is_full_while_nobody_works() {
    let scene = Scene::new();
    let (_web, css) = scene.group(&scene.root, "web");
    let stall = css.node.stall(); // a future's
    let work = css.work();
    scene.sleep(1);
    assert_eq!(lost(&css), (1, 0));
    drop(work);
    scene.sleep(1);
    assert_eq!(lost(&css), (2, 1));
    drop(stall);
}

#[test]
fn a_thread_that_stalls_does_not_work() {
    let scene = Scene::new();
    let (web, upper) = scene.group(&scene.root, "web");
    let (_api, lower) = scene.group(&web, "api");
    let outer = upper.work();
    let inner = lower.work();
    let stall = lower.node.stall_here();
    scene.sleep(1);
    assert_eq!((lost(&upper), lost(&lower)), ((1, 1), (1, 1)));
    // Within a stall nothing counts: a reclaimer that works, or reclaims for itself.
    let within = (upper.work(), upper.node.stall_here());
    scene.sleep(1);
    assert_eq!((lost(&upper), lost(&lower)), ((2, 2), (2, 2)));
    drop(within);
    drop(stall);
    let other = lower.node.stall();
    scene.sleep(1);
    assert_eq!((lost(&upper), lost(&lower)), ((3, 2), (3, 2)), "it works again");
    drop(outer); // out of their order
    scene.sleep(1);
    assert_eq!((lost(&upper), lost(&lower)), ((4, 2), (4, 2)));
    drop(inner);
    scene.sleep(1);
    assert_eq!((lost(&upper), lost(&lower)), ((5, 3), (5, 3)));
    drop(other);
    scene.sleep(1);
    assert_eq!(lost(&upper), (5, 3));
    assert_eq!(upper.node.pressure().miscounts() + lower.node.pressure().miscounts(), 0);
}

#[test]
fn a_thread_works_for_the_innermost_group() {
    let scene = Scene::new();
    let (_web, web) = scene.group(&scene.root, "web");
    let (_batch, batch) = scene.group(&scene.root, "batch");
    let stalls = [web.node.stall(), batch.node.stall()];
    let outer = web.work();
    let inner = batch.work();
    scene.sleep(1);
    assert_eq!((lost(&web), lost(&batch)), ((1, 1), (1, 0)));
    drop(inner);
    scene.sleep(1);
    assert_eq!((lost(&web), lost(&batch)), ((2, 1), (2, 1)));
    drop((outer, stalls));
}

#[test]
fn threads_count_for_themselves() {
    let scene = Scene::new();
    let (_web, css) = scene.group(&scene.root, "web");
    let stall = css.node.stall_here();
    thread::scope(|scope| {
        scope.spawn(|| {
            let work = css.work();
            scene.sleep(1);
            drop(work);
        });
    });
    assert_eq!(lost(&css), (1, 0));
    // A stall that is no thread's may end on another.
    let other = css.node.stall();
    thread::scope(|scope| drop(scope.spawn(move || drop(other)).join()));
    drop(stall);
    scene.sleep(1);
    assert_eq!(lost(&css), (1, 0));
}

#[test]
fn a_trigger_tells_of_a_stall_in_time() {
    let scene = Scene::new();
    let (_web, css) = scene.group(&scene.root, "web");
    let (second, kind) = (Duration::from_secs(1), PressureKind::Some);
    let threshold = Threshold::new(kind, second / 10, second).unwrap();
    let trigger = css.pressure_trigger(threshold);
    assert_eq!(css.poll_pressure(), None);
    let stall = css.node.stall();
    let due = css.poll_pressure().expect("a stall goes on");
    assert!(trigger.messages().try_recv().is_err());
    scene.clock.advance(due.saturating_sub(Duration::ZERO));
    css.poll_pressure();
    assert!(trigger.messages().try_recv().is_ok());
    drop(stall);
}

#[test]
fn a_group_that_is_gone_ends_its_stalls() {
    let scene = Scene::new();
    let (web, css) = scene.group(&scene.root, "web");
    let stall = css.node.stall();
    drop(css);
    web.remove(fief_core::Removal::Detach).unwrap();
    scene.sleep(1);
    drop(stall);
    scene.sleep(1);
    assert_eq!(lost(&scene.memory.root().unwrap()), (1, 1));
}
