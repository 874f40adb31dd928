//! Settings that change while jobs run, and what they refuse.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Wake, Waker},
    time::Duration,
};

use fief_core::{Cgroup, Controller, CssRef, Hierarchy, Registry, VirtualClock};
use fief_cpu::{Bandwidth, Cpu, CpuCss, Group, Manual, Pool, SettingError, Turned};

const MILLI: Duration = Duration::from_millis(1);
const STEP: Duration = Duration::from_micros(50);

struct Scene {
    clock: VirtualClock,
    worker: Manual,
    cpu: Controller<Cpu>,
    _registry: Registry,
    hierarchy: Hierarchy,
}

fn scene() -> Scene {
    let (clock, registry) = (VirtualClock::new(), Registry::new());
    let hierarchy = registry.create_hierarchy("h").expect("the name is free");
    let subsystem = Cpu::builder().cpus(1).clock(Arc::new(clock.clone())).build();
    let cpu = registry.register(subsystem).expect("the name is free");
    cpu.bind(&hierarchy).expect("it is inactive");
    let worker = Pool::builder(&cpu).manual().expect("there are no workers");
    Scene { clock, worker, cpu, _registry: registry, hierarchy }
}

impl Scene {
    fn child(&self, of: &Cgroup, name: &str) -> (Cgroup, CssRef<CpuCss>) {
        let group = of.create_child(name).expect("the name is free");
        let css = self.cpu.css(&group).expect("it is bound");
        (group, css)
    }

    /// Has a group always run something; each poll takes [`STEP`].
    fn hog(&self, group: &Cgroup) -> Group {
        let (group, clock) = (self.worker.group(group).expect("it is there"), self.clock.clone());
        let burn = std::future::poll_fn(move |context| {
            clock.advance(STEP);
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        drop(group.spawn(burn).expect("there is a worker"));
        group
    }

    /// Runs for so long; what would be slept is passed over.
    fn run(&mut self, time: Duration) {
        use fief_core::Clock;
        let end = self.clock.now() + time;
        while self.clock.now() < end {
            match self.worker.turn() {
                Turned::Ran => {}
                Turned::Idle(release) => {
                    let left = end - self.clock.now();
                    self.clock.advance(release.map_or(left, |release| release.min(left)));
                }
                ended => panic!("{ended:?}"),
            }
        }
    }

    /// Runs for so long, and returns what each group used meanwhile, in whole milliseconds.
    fn shares<const N: usize>(&mut self, css: [&CpuCss; N], time: Duration) -> [u128; N] {
        let before = css.map(CpuCss::usage);
        self.run(time);
        let used = css.iter().zip(before).map(|(css, before)| css.usage() - before);
        let used: Vec<_> = used.map(|used| (used + MILLI / 2).as_millis()).collect();
        used.try_into().expect("as many")
    }
}

#[test]
fn shares_follow_weights_that_change_live() {
    let mut scene = scene();
    let root = scene.hierarchy.root();
    let [(a, a_css), (b, b_css)] = ["a", "b"].map(|name| scene.child(&root, name));
    let _hogs = [scene.hog(&a), scene.hog(&b)];
    assert_eq!(scene.shares([&a_css, &b_css], MILLI * 200), [100, 100]);
    a_css.set_weight(300).unwrap();
    assert_eq!(scene.shares([&a_css, &b_css], MILLI * 200), [150, 50]);
    b.write("cpu.weight", "900").unwrap();
    assert_eq!(scene.shares([&a_css, &b_css], MILLI * 200), [50, 150]);
    a_css.set_idle(true).unwrap();
    assert_eq!(scene.shares([&a_css, &b_css], MILLI * 200), [0, 200]);
    a_css.set_idle(false).unwrap();
    assert_eq!(scene.shares([&a_css, &b_css], MILLI * 200), [50, 150]);
}

#[test]
fn own_members_of_a_group_weigh_as_one_child() {
    let mut scene = scene();
    let root = scene.hierarchy.root();
    let (web, web_css) = scene.child(&root, "web");
    let (api, api_css) = scene.child(&web, "api");
    let _hogs = [scene.hog(&web), scene.hog(&web), scene.hog(&api)];
    assert_eq!(scene.shares([&web_css, &api_css], MILLI * 200), [200, 100]);
    api_css.set_weight(300).unwrap();
    assert_eq!(scene.shares([&web_css, &api_css], MILLI * 200), [200, 150]);
}

#[test]
fn a_quota_is_kept_and_can_be_raised_taken_away_and_set_again() {
    let mut scene = scene();
    let root = scene.hierarchy.root();
    let (web, css) = scene.child(&root, "web");
    let _hog = scene.hog(&web);
    let tenth = Bandwidth::new(MILLI * 10, MILLI * 100).unwrap();
    css.set_max(tenth);
    assert_eq!((css.max(), css.burst()), (tenth, Duration::ZERO));
    assert_eq!(scene.shares([&css], MILLI * 1000), [100]);
    let stats = css.stats();
    assert!(stats.nr_throttled > 100 && stats.throttled > MILLI * 850, "{stats:?}");
    assert!(stats.nr_periods == 10 && stats.nr_bursts == 0, "{stats:?}");
    web.write("cpu.max", "max").unwrap();
    assert_eq!(scene.shares([&css], MILLI * 100), [100]);
    assert_eq!(css.stats().throttled, stats.throttled, "held back no longer");
    web.write("cpu.max", "5000 10000").unwrap();
    assert_eq!(scene.shares([&css], MILLI * 100), [50]);
}

#[test]
fn a_quota_of_the_root_is_a_budget_for_all() {
    let mut scene = scene();
    let root = scene.hierarchy.root();
    let [(a, a_css), (b, b_css)] = ["a", "b"].map(|name| scene.child(&root, name));
    b_css.set_weight(300).unwrap();
    let top = scene.cpu.root().unwrap();
    top.set_max(Bandwidth::new(MILLI * 20, MILLI * 100).unwrap());
    let _hogs = [scene.hog(&a), scene.hog(&b)];
    assert_eq!(scene.shares([&top, &a_css, &b_css], MILLI * 1000), [200, 50, 150]);
    scene.worker.run_until_idle();
    assert!(a_css.is_throttled() && b_css.is_throttled(), "by the root");
    assert!(top.stats().nr_throttled > 100);
    assert_eq!(a_css.stats().nr_throttled, 0, "it has no quota of its own");
}

#[test]
fn what_is_saved_up_can_be_used_in_one_go() {
    let mut scene = scene();
    let root = scene.hierarchy.root();
    let (web, css) = scene.child(&root, "web");
    css.set_max(Bandwidth::new(MILLI * 10, MILLI * 100).unwrap());
    css.set_burst(MILLI * 10).unwrap();
    scene.clock.advance(MILLI * 1000);
    let _hog = scene.hog(&web);
    let used = scene.shares([&css], MILLI * 20);
    assert!((11..=13).contains(&used[0]), "{used:?}: 10 saved up, and a tenth of 20");
    let stats = css.stats();
    assert!(stats.nr_bursts == 1 && stats.burst > MILLI, "{stats:?}");
}

#[test]
fn who_sleeps_is_woken_by_a_quota_that_is_raised() {
    struct Flag(AtomicBool);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let mut scene = scene();
    let (web, css) = scene.child(&scene.hierarchy.root(), "web");
    css.set_max(Bandwidth::new(MILLI, MILLI * 1000).unwrap());
    let _hog = scene.hog(&web);
    scene.worker.run_until_idle();
    assert!(css.is_throttled());
    let Turned::Idle(Some(release)) = scene.worker.turn() else { panic!("it is throttled") };
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    scene.worker.set_waker(&Waker::from(Arc::clone(&flag)));
    // Less than before: who sleeps until the former release may go on sleeping.
    css.set_max(Bandwidth::new(MILLI * 2, MILLI * 1000).unwrap());
    assert!(flag.0.swap(false, Ordering::SeqCst), "it is released earlier now");
    let Turned::Idle(Some(earlier)) = scene.worker.turn() else { panic!("it is throttled") };
    assert!(earlier < release, "{earlier:?} {release:?}");
    css.set_max(Bandwidth::MAX);
    assert!(flag.0.swap(false, Ordering::SeqCst), "it can run now");
    assert_eq!(scene.worker.turn(), Turned::Ran);
    css.set_weight(5).unwrap();
    assert!(!flag.0.load(Ordering::SeqCst), "it did not sleep");
}

#[test]
fn a_group_with_a_latency_setting_is_next() {
    let mut scene = scene();
    let root = scene.hierarchy.root();
    let [(a, a_css), (b, b_css)] = ["a", "b"].map(|name| scene.child(&root, name));
    let (_hog, light) = (scene.hog(&a), scene.worker.group(&b).unwrap());
    // Each job takes as long as five slices of the hog's.
    let wait = |scene: &mut Scene| {
        let (burn, before) = (scene.clock.clone(), b_css.stats().own_wait);
        let job = light.spawn(async move { burn.advance(MILLI) }).unwrap();
        while !job.is_finished() {
            assert_eq!(scene.worker.turn(), Turned::Ran);
        }
        b_css.stats().own_wait - before
    };
    let slice = Duration::from_micros(200);
    scene.run(MILLI * 10);
    assert!(wait(&mut scene) <= slice);
    assert!(wait(&mut scene) > slice * 3, "it owes");
    b_css.set_latency(MILLI * 10).unwrap();
    assert_eq!((a_css.latency(), b_css.latency()), (Duration::ZERO, MILLI * 10));
    for _ in 0..5 {
        assert!(wait(&mut scene) <= slice);
    }
}

#[test]
fn refusals_name_the_group_and_change_nothing() {
    let scene = scene();
    let (_web, css) = scene.child(&scene.hierarchy.root(), "web");
    let top = scene.cpu.root().unwrap();
    css.set_max(Bandwidth::new(MILLI * 5, MILLI * 10).unwrap());
    let before = (css.weight(), css.idle(), css.latency(), css.max());
    let texts = [
        css.set_weight(0),
        css.set_weight(10_001),
        css.set_latency(MILLI * 11),
        css.set_burst(MILLI * 6),
        top.set_weight(1),
        top.set_idle(true),
        top.set_latency(MILLI),
    ]
    .map(|refused| refused.unwrap_err().to_string());
    assert_eq!(
        texts,
        [
            "cpu.weight of /web: 0 is not a weight from 1 to 10000",
            "cpu.weight of /web: 10001 is not a weight from 1 to 10000",
            "cpu.latency of /web: 11ms is more than 10ms",
            "cpu.max.burst of /web: a burst of 6000 us: it must be at most the quota of 5000 us",
            "cpu.weight of /: a root competes with nobody, so it has none",
            "cpu.idle of /: a root competes with nobody, so it has none",
            "cpu.latency of /: a root competes with nobody, so it has none",
        ],
    );
    assert_eq!((css.weight(), css.idle(), css.latency(), css.max()), before);
    let Err(SettingError::Weight { cgroup, weight }) = css.set_weight(0) else { panic!("refused") };
    assert_eq!((cgroup.as_str(), weight), ("/web", 0));
}
