//! Limits and protections by the methods: what each does, and what it comes to.

use fief_core::{Cgroup, Controller, CssRef, Limit, Registry, Removal};
use fief_memory::{Memory, MemoryCss};

struct Scene {
    _registry: Registry,
    memory: Controller<Memory>,
    root: Cgroup,
}

impl Scene {
    fn new() -> Self {
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("h").expect("the name is free");
        let memory = registry.register(Memory::new()).expect("the name is free");
        memory.bind(&hierarchy).expect("it is inactive");
        Self { _registry: registry, memory, root: hierarchy.root() }
    }

    fn group(&self, parent: &Cgroup, name: &str) -> (Cgroup, CssRef<MemoryCss>) {
        let group = parent.create_child(name).expect("the name is free");
        let css = self.memory.css(&group).expect("bound here");
        (group, css)
    }
}

#[test]
fn every_limit_has_its_default() {
    let scene = Scene::new();
    let (_web, css) = scene.group(&scene.root, "web");
    assert_eq!((css.max(), css.high()), (Limit::Max, Limit::Max));
    assert_eq!((css.min(), css.low()), (Limit::At(0), Limit::At(0)));
    assert_eq!((css.effective_min(), css.effective_low()), (0, 0));
    assert_eq!((css.oom_group(), css.priority()), (false, 0));
    css.set_priority(-3);
    css.set_oom_group(true);
    assert_eq!((css.oom_group(), css.priority()), (true, -3));
}

#[test]
fn a_max_below_the_usage_stands_and_is_counted() {
    let scene = Scene::new();
    let (_web, css) = scene.group(&scene.root, "web");
    css.charge_forced(5000);
    assert_eq!(css.set_max(Limit::At(5000)), 5000, "tells what is charged");
    assert_eq!(css.stats().events.max_lowered_over, 0);
    assert_eq!(css.set_max(Limit::At(4999)), 5000);
    assert_eq!(css.stats().events_local.max_lowered_over, 1);
    assert!(css.try_charge(1).is_err());
    css.uncharge(1000);
    css.drain();
    css.try_charge(999).unwrap();
    assert!(css.try_charge(1).is_err());
    css.uncharge(4999);
}

#[test]
fn a_high_refuses_nothing_and_is_counted_where_it_is() {
    let scene = Scene::new();
    let (web, css) = scene.group(&scene.root, "web");
    let (_api, below) = scene.group(&web, "api");
    css.set_max(Limit::At(30_000)); // so that nothing is charged ahead
    assert_eq!(css.set_high(Limit::At(10_000)), 0);
    below.try_charge(10_000).unwrap();
    assert_eq!(css.stats().events.high, 0);
    below.try_charge(1).unwrap();
    let root = scene.memory.root().unwrap();
    let counts =
        [&css, &below, &root].map(|it| (it.stats().events.high, it.stats().events_local.high));
    assert_eq!(counts, [(1, 1), (0, 0), (1, 0)]);
    assert_eq!(css.set_high(Limit::At(u64::MAX)), 10_001);
    assert_eq!(css.high(), Limit::Max, "there is no such size");
    below.uncharge(10_001);
}

#[test]
fn protections_above_what_there_can_be_are_taken_and_come_to_less() {
    const M: u64 = 1 << 20;
    let scene = Scene::new();
    let (b, top) = scene.group(&scene.root, "b");
    top.set_min(Limit::At(50 * M));
    top.set_max(Limit::At(200 * M));
    // As in the kernel's selftest: more is protected below than above.
    let children = [("c", 75, 50), ("d", 25, 50), ("e", 0, 50), ("f", 500, 0)];
    let css = children.map(|(name, min, usage)| {
        let (_group, css) = scene.group(&b, name);
        css.set_min(Limit::At(min * M));
        css.charge_forced(usage * M);
        css
    });
    assert_eq!(css.each_ref().map(|css| css.min()), [75, 25, 0, 500].map(|min| Limit::At(min * M)));
    assert_eq!(css.each_ref().map(|css| css.effective_min()), [34_952_533, 17_476_266, 0, 0]);
    assert_eq!((top.effective_min(), top.effective_low()), (50 * M, 0));
    assert_eq!(css[0].stats().effective_min, 34_952_533);

    // What nobody claims is shared among those that use more than they claim.
    css[0].set_min(Limit::At(10 * M));
    css[1].set_min(Limit::At(0));
    assert_eq!(css[0].effective_min(), 10 * M + 40 * M * 40 / 140);
    // A root protects nothing, whatever is set.
    let root = scene.memory.root().unwrap();
    root.set_min(Limit::Max);
    assert_eq!((root.effective_min(), top.effective_min()), (0, 50 * M));
    css.iter().zip(children).for_each(|(css, (.., usage))| css.uncharge(usage * M));
}

#[test]
fn a_group_that_is_removed_protects_nothing() {
    let scene = Scene::new();
    let (b, top) = scene.group(&scene.root, "b");
    let (dying, css) = scene.group(&b, "dying");
    let (_other, other) = scene.group(&b, "other");
    top.set_low(Limit::At(1000));
    for css in [&css, &other] {
        css.set_low(Limit::At(1000));
        css.charge_forced(1000);
    }
    assert_eq!((css.effective_low(), other.effective_low()), (500, 500));
    dying.remove(Removal::Detach).unwrap();
    assert_eq!((css.low(), css.effective_low()), (Limit::At(0), 0));
    assert_eq!(other.effective_low(), 1000, "its share is the other's");
    css.set_low(Limit::At(1000)); // too late
    assert_eq!((css.low(), other.effective_low()), (Limit::At(0), 1000));
    css.uncharge(1000);
    other.uncharge(1000);
    assert_eq!(scene.memory.root().unwrap().usage_exact(), (0, 0));
}

#[test]
fn charges_of_nothing_and_of_too_much_are_answered_at_once() {
    let scene = Scene::new();
    let (_web, css) = scene.group(&scene.root, "web");
    css.set_max(Limit::At(0));
    css.try_charge(0).unwrap();
    assert!(css.try_charge(1).is_err());
    css.set_max(Limit::Max);
    for bytes in [(1 << 47) + 1, u64::MAX - 1, u64::MAX] {
        let error = css.try_charge(bytes).unwrap_err().to_string();
        let expected = "one charge may be of at most 140737488355328";
        assert_eq!(error, format!("{bytes} bytes asked by /web: {expected}"));
    }
    assert_eq!((css.current(), css.stats().events.max), (0, 1));
}

#[test]
#[cfg_attr(debug_assertions, should_panic(expected = "more is uncharged than was charged"))]
fn a_double_uncharge_is_told() {
    let scene = Scene::new();
    let (_web, css) = scene.group(&scene.root, "web");
    css.charge_forced(1 << 20);
    assert!(!css.is_tainted());
    css.uncharge(1 << 20);
    css.uncharge(1 << 20);
    // Without debug assertions it is cut off, and remembered here and above.
    let (stats, root) = (css.stats(), scene.memory.root().expect("registered"));
    assert_eq!((stats.current, stats.accounting_bugs, stats.events_local.underflow), (0, 1, 1));
    assert!(stats.is_tainted() && css.is_tainted() && root.is_tainted());
    css.try_charge(1).expect("it goes on");
}
