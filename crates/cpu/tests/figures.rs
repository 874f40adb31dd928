//! What is counted: usage, waiting, long polls, pressure. Everything on the virtual clock.

use std::{
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use fief_core::{
    Cgroup, Controller, Hierarchy, PressureKind, Registry, Removal, Threshold, VirtualClock,
};
use fief_cpu::{Cpu, CpuBuilder, LongPoll, Manual, Pool};

const MILLI: Duration = Duration::from_millis(1);
const MICRO: Duration = Duration::from_micros(1);

struct Scene {
    clock: VirtualClock,
    worker: Manual,
    cpu: Controller<Cpu>,
    _registry: Registry,
    hierarchy: Hierarchy,
}

fn scene_with(how: impl FnOnce(CpuBuilder) -> CpuBuilder) -> Scene {
    let (clock, registry) = (VirtualClock::new(), Registry::new());
    let hierarchy = registry.create_hierarchy("h").expect("the name is free");
    let builder = how(Cpu::builder().cpus(1).clock(Arc::new(clock.clone())));
    let cpu = registry.register(builder.build()).expect("the name is free");
    cpu.bind(&hierarchy).expect("it is inactive");
    let worker = Pool::builder(&cpu).manual().expect("there are no workers");
    Scene { clock, worker, cpu, _registry: registry, hierarchy }
}

fn scene() -> Scene {
    scene_with(|builder| builder)
}

impl Scene {
    fn child(&self, of: &Cgroup, name: &str) -> Cgroup {
        of.create_child(name).expect("the name is free")
    }

    /// Has a job of a group's take so many polls of `each`.
    fn spawn(&self, group: &Cgroup, each: Duration, polls: u32) {
        let (clock, mut left) = (self.clock.clone(), polls);
        let burn = std::future::poll_fn(move |context| {
            clock.advance(each);
            left -= 1;
            if left == 0 {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        });
        let member = self.worker.group(group).expect("it is there");
        drop(member.spawn(burn).expect("there is a worker"));
    }

    /// Returns for how long a group itself has waited, and it and all below.
    fn waits(&self, group: &Cgroup) -> [Duration; 2] {
        let stats = self.cpu.css(group).expect("it is bound").stats();
        [stats.own_wait, stats.wait]
    }
}

#[test]
fn work_waits_from_when_it_comes_until_it_is_taken() {
    let mut scene = scene();
    let root = scene.hierarchy.root();
    let web = scene.child(&root, "web");
    let [api, batch] = ["api", "batch"].map(|name| scene.child(&web, name));
    scene.spawn(&api, MILLI, 1);
    scene.clock.advance(MILLI * 5);
    scene.spawn(&api, MILLI, 1);
    scene.clock.advance(MILLI * 5);
    scene.spawn(&batch, MILLI, 1);
    assert_eq!(scene.waits(&api), [MILLI * 10; 2], "however many wait");
    assert_eq!(scene.waits(&web), [Duration::ZERO, MILLI * 10]);
    assert_eq!(scene.waits(&batch), [Duration::ZERO; 2]);
    scene.worker.run_until_idle();
    let [own, all] = scene.waits(&web);
    assert_eq!((own, scene.waits(&root)[1]), (Duration::ZERO, all));
    let waited = scene.waits(&api)[0] + scene.waits(&batch)[0];
    assert!(all < waited && all > MILLI * 11, "the two waited at once: {all:?} of {waited:?}");
    // Nobody waits, so nobody has waited longer.
    scene.clock.advance(MILLI * 100);
    assert_eq!(scene.waits(&web), [own, all]);
}

#[test]
fn what_is_held_back_waits_and_what_is_cancelled_does_no_longer() {
    let mut scene = scene();
    let web = scene.child(&scene.hierarchy.root(), "web");
    web.write("cpu.max", "1000 1000000").unwrap();
    scene.spawn(&web, MILLI * 2, 3);
    scene.worker.run_until_idle();
    let before = scene.waits(&web)[0];
    scene.clock.advance(MILLI * 50);
    assert_eq!(scene.waits(&web), [before + MILLI * 50; 2]);
    let stats = scene.cpu.css(&web).unwrap().stats();
    assert!(stats.throttled >= MILLI * 50, "{stats:?}");
    scene.worker.shutdown();
    scene.clock.advance(MILLI * 50);
    assert_eq!(scene.waits(&web), [before + MILLI * 50; 2]);
}

#[test]
fn what_a_removed_group_used_stays_above_it() {
    let mut scene = scene();
    let root = scene.hierarchy.root();
    let web = scene.child(&root, "web");
    let api = scene.child(&web, "api");
    scene.spawn(&web, MICRO * 100, 3);
    scene.spawn(&api, MILLI * 20, 1);
    scene.worker.run_until_idle();
    let top = scene.cpu.css(&web).unwrap();
    let before = top.stats();
    assert_eq!((before.usage, before.own_usage), (MICRO * 20_300, MICRO * 300));
    assert_eq!((before.nr_long_polls, before.own_nr_long_polls), (1, 0));
    api.remove(Removal::Strict).unwrap();
    assert_eq!(top.stats(), before);
    assert_eq!(top.long_polls().count(), 1);
    assert_eq!(scene.cpu.root().unwrap().stats().usage, before.usage);
}

#[test]
fn long_polls_are_counted_and_told_of() {
    let heard: Arc<Mutex<Vec<LongPoll>>> = Arc::default();
    let log = Arc::clone(&heard);
    let mut scene = scene_with(|builder| {
        builder.long_poll(MILLI * 3).on_long_poll(move |poll| {
            log.lock().unwrap().push(poll.clone());
            assert_ne!(poll.duration, MILLI * 7, "this panic is caught");
        })
    });
    let web = scene.child(&scene.hierarchy.root(), "web");
    let api = scene.child(&web, "api");
    let css = [&web, &api].map(|group| scene.cpu.css(group).unwrap());
    assert_eq!(css.each_ref().map(|css| css.long_polls().count()), [0, 0]);
    assert_eq!(css[0].long_polls().quantile(0.5), Duration::ZERO);
    scene.spawn(&api, MILLI * 3 - MICRO, 4); // not long
    scene.spawn(&api, MILLI * 3, 98);
    scene.spawn(&web, MILLI * 7, 1);
    scene.spawn(&web, MILLI * 1500, 1);
    scene.worker.run_until_idle();
    assert_eq!(css.each_ref().map(|css| css.stats().nr_long_polls), [100, 98]);
    assert_eq!(css.each_ref().map(|css| css.stats().own_nr_long_polls), [2, 98]);
    let polls = css[0].long_polls();
    assert_eq!((polls.count(), polls.max()), (100, MILLI * 1500));
    let about = |part, expected: Duration| {
        let found = polls.quantile(part);
        let is_near = found >= expected * 99 / 100 && found <= expected * 101 / 100;
        assert!(is_near, "{found:?} {expected:?}");
    };
    about(0.0, MILLI * 3);
    about(0.5, MILLI * 3);
    about(0.98, MILLI * 3);
    about(0.99, MILLI * 7);
    about(f64::NAN, MILLI * 1500);
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 100, "a panic is the end of that call alone");
    let longest = heard.iter().find(|poll| poll.duration == MILLI * 1500).unwrap();
    assert_eq!((longest.cgroup.as_str(), longest.name.as_str()), ("/web", "web"));
    assert!(heard.iter().filter(|poll| poll.cgroup == "/web/api").count() == 98);
}

#[test]
fn long_polls_belong_to_whoever_made_them() {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&heard);
    let mut scene = scene_with(|builder| {
        builder.on_long_poll(move |poll| log.lock().unwrap().push(poll.name.clone()))
    });
    let web = scene.child(&scene.hierarchy.root(), "web");
    let members = ["one", "two", "three"].map(|name| {
        let member = scene.worker.group(&web).unwrap().fork(name).unwrap();
        let clock = scene.clock.clone();
        for poll in 0..6 {
            let (clock, is_long) = (clock.clone(), name == "two" && poll == 3);
            let took = if is_long { MILLI * 10 } else { MICRO };
            drop(member.spawn(async move { clock.advance(took) }).unwrap());
        }
        member
    });
    scene.worker.run_until_idle();
    assert_eq!(*heard.lock().unwrap(), ["two"]);
    drop(members);
}

#[test]
fn who_is_told_of_a_long_poll_runs_at_nobodys_expense() {
    let clock: Arc<Mutex<Option<VirtualClock>>> = Arc::default();
    let shared = Arc::clone(&clock);
    let mut scene = scene_with(|builder| {
        builder.on_long_poll(move |_| {
            shared.lock().unwrap().as_ref().unwrap().advance(MILLI * 100);
        })
    });
    *clock.lock().unwrap() = Some(scene.clock.clone());
    let root = scene.hierarchy.root();
    let [web, other] = ["web", "other"].map(|name| scene.child(&root, name));
    scene.spawn(&web, MILLI * 10, 3);
    scene.spawn(&other, MILLI, 3);
    scene.worker.run_until_idle();
    let used = [&web, &other, &root].map(|group| scene.cpu.css(group).unwrap().usage());
    assert_eq!(used, [MILLI * 30, MILLI * 3, MILLI * 33]);
}

#[test]
fn some_time_is_lost_while_work_waits_and_full_time_while_none_runs() {
    let mut scene = scene();
    let root = scene.hierarchy.root();
    let web = scene.child(&root, "web");
    let [api, other] = [scene.child(&web, "api"), scene.child(&root, "other")];
    // Made as work waits already: it is counted from now on.
    scene.spawn(&api, MILLI, 1);
    scene.clock.advance(MILLI);
    let css = [&root, &web, &api, &other].map(|group| scene.cpu.css(group).unwrap());
    let totals = || {
        css.each_ref().map(|css| {
            let stats = css.pressure();
            [stats.some.total, stats.full.total]
        })
    };
    assert_eq!(totals(), [[0, 0]; 4]);
    scene.clock.advance(MILLI);
    assert_eq!(totals(), [[1000, 1000], [1000, 1000], [1000, 1000], [0, 0]]);
    scene.worker.run_until_idle();
    assert_eq!(totals()[0], [1000, 1000], "it ran, and nothing waited");
    // Two at once: one waits as the other runs.
    scene.spawn(&api, MILLI, 1);
    scene.spawn(&other, MILLI, 1);
    scene.worker.run_until_idle();
    assert_eq!(totals()[0], [2000, 1000], "something always ran");
    let [[api_some, api_full], [other_some, other_full]] = [totals()[2], totals()[3]];
    assert_eq!((api_some, other_some), (api_full, other_full), "each ran, or waited");
    assert_eq!(api_some + other_some, 1000 + 1000, "that of before, and one");
    // In one group: some of it runs, so no full time is lost.
    let before = totals()[2];
    scene.spawn(&api, MILLI, 1);
    scene.spawn(&api, MILLI, 1);
    scene.worker.run_until_idle();
    assert_eq!(totals()[2], [before[0] + 1000, before[1]]);
    assert_eq!(totals()[1], totals()[2], "what happens below happens here");
}

#[test]
fn a_pressure_that_is_made_while_work_runs_counts_it() {
    let mut scene = scene();
    let root = scene.hierarchy.root();
    let web = scene.child(&root, "web");
    let api = scene.child(&web, "api");
    let (css, clock) = (scene.cpu.css(&web).unwrap(), scene.clock.clone());
    let member = scene.worker.group(&api).unwrap();
    let inner = css.clone();
    let look = member.spawn(async move {
        // This runs; the other job waits.
        let before = inner.pressure();
        clock.advance(MILLI);
        (before, inner.pressure())
    });
    let look = look.unwrap();
    scene.spawn(&api, MILLI, 1);
    scene.worker.run_until_idle();
    let (before, after) = look.join().unwrap();
    assert_eq!((before.some.total, before.full.total), (0, 0));
    assert_eq!((after.some.total, after.full.total), (1000, 0));
    // Everything that was counted in was counted out.
    scene.clock.advance(MILLI);
    let end = css.pressure();
    assert_eq!((end.some.total, end.full.total), (1000, 0));
}

#[test]
fn triggers_are_told_and_say_when_to_look() {
    let mut scene = scene();
    let web = scene.child(&scene.hierarchy.root(), "web");
    let css = scene.cpu.css(&web).unwrap();
    assert_eq!(css.poll_pressure(), None, "nobody asked");
    let threshold = Threshold::new(PressureKind::Some, MILLI * 100, MILLI * 1000).unwrap();
    let trigger = css.pressure_trigger(threshold);
    assert_eq!(css.poll_pressure(), None, "nobody waits");
    scene.clock.advance(MILLI * 500);
    scene.spawn(&web, MILLI, 1);
    assert_eq!(css.poll_pressure(), Some(MILLI * 100));
    scene.clock.advance(MILLI * 60);
    assert_eq!(css.poll_pressure(), Some(MILLI * 40));
    assert!(trigger.messages().try_recv().is_err());
    scene.clock.advance(MILLI * 40);
    assert_ne!(css.poll_pressure(), Some(Duration::ZERO));
    assert!(trigger.messages().try_recv().is_ok());
    scene.worker.run_until_idle();
    assert_eq!(css.poll_pressure(), None);
}
