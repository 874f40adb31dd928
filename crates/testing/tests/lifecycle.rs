//! The stages of a css, and the order of callbacks.

use std::sync::atomic::{AtomicU64, Ordering};

use fief_core::{
    Cgroup, Controller, Css, CssRef, Hierarchy, HookError, Reclaimer, Registry, Removal, State,
    Subsystem,
};
use fief_testing::{
    check::{check, check_after},
    recorder::{Log, Recorder},
};
use insta::assert_snapshot;

/// One controller on one tree.
const MEMORY: &str = "hierarchy h; register memory; bind memory h";

#[test]
fn a_css_passes_every_stage_once() {
    assert_snapshot!(check_after(MEMORY, "mkdir a; rmdir a; reap; events"), @"
    memory: new_css under /
    memory: online /a
    memory: drain /a
    memory: killed /a
    memory: offline /a
    memory: released /a
    memory: free /a
    ");
}

#[test]
fn parents_come_online_first_and_children_go_offline_first() {
    let script = "
        mkdir a; mkdir a/b; events
        rmdir a/b; rmdir a; reap; events
    ";
    assert_snapshot!(check_after(MEMORY, script), @"
    memory: new_css under /
    memory: online /a
    memory: new_css under /a
    memory: online /a/b
    memory: drain /a/b
    memory: killed /a/b
    memory: offline /a/b
    memory: drain /a
    memory: killed /a
    memory: offline /a
    memory: released /a/b
    memory: free /a/b
    memory: released /a
    memory: free /a
    ");
}

#[test]
fn controllers_come_online_in_the_order_of_registration() {
    let before = "hierarchy h; register memory; register cpu; bind cpu h; bind memory h";
    assert_snapshot!(check_after(before, "mkdir a; rmdir a; events"), @"
    memory: new_css under /
    cpu: new_css under /
    memory: online /a
    cpu: online /a
    memory: drain /a
    cpu: drain /a
    memory: killed /a
    cpu: killed /a
    memory: offline /a
    cpu: offline /a
    ");
}

#[test]
fn a_removed_group_lingers_for_the_references_that_are_out() {
    let script = "
        mkdir a; get a memory as r1; rmdir a; reap; show
        clone r1 as r2; put r1; reap; show
        put r2; show; reap; show
    ";
    assert_snapshot!(check_after(MEMORY, script), @"
    /
      cgroup.controllers: memory
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 0 nr_dying_descendants 1
      memory: online
    detached r1: memory of /a, offline
    /
      cgroup.controllers: memory
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 0 nr_dying_descendants 1
      memory: online
    detached r2: memory of /a, offline
    /
      cgroup.controllers: memory
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 0 nr_dying_descendants 1
      memory: online
    /
      cgroup.controllers: memory
      cgroup.events: populated 0
      memory: online
    ");
}

#[test]
fn a_removed_child_keeps_its_parent_until_it_is_freed() {
    let script = "
        rmdir a/b; rmdir a; reap; events; show
        put r1; reap; events; show
    ";
    let before = format!("{MEMORY}; mkdir a; mkdir a/b; get a/b memory as r1");
    assert_snapshot!(check_after(&before, script), @"
    memory: drain /a/b
    memory: killed /a/b
    memory: offline /a/b
    memory: drain /a
    memory: killed /a
    memory: offline /a
    /
      cgroup.controllers: memory
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 0 nr_dying_descendants 2
      memory: online
    detached r1: memory of /a/b, offline
    memory: released /a/b
    memory: free /a/b
    memory: released /a
    memory: free /a
    /
      cgroup.controllers: memory
      cgroup.events: populated 0
      memory: online
    ");
}

#[test]
fn a_reference_to_a_parent_does_not_keep_the_child() {
    let script = "
        rmdir a/b; rmdir a; reap; events; show
        put r1; reap; events
    ";
    let before = format!("{MEMORY}; mkdir a; mkdir a/b; get a memory as r1");
    assert_snapshot!(check_after(&before, script), @"
    memory: drain /a/b
    memory: killed /a/b
    memory: offline /a/b
    memory: drain /a
    memory: killed /a
    memory: offline /a
    memory: released /a/b
    memory: free /a/b
    /
      cgroup.controllers: memory
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 0 nr_dying_descendants 1
      memory: online
    detached r1: memory of /a, offline
    memory: released /a
    memory: free /a
    ");
}

#[test]
fn a_new_group_of_the_same_name_has_nothing_of_the_old_one() {
    let script = "
        hierarchy h; register memory; bind memory h
        mkdir a; get a memory as old; rmdir a
        mkdir a; get a memory as new; show
        put old; reap; show
    ";
    assert_snapshot!(check(script), @"
    /
      cgroup.controllers: memory
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 1 nr_dying_descendants 1
      memory: online
    /a
      cgroup.events: populated 0
      memory: online, held by new
    detached old: memory of /a, offline
    /
      cgroup.controllers: memory
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
      memory: online
    /a
      cgroup.events: populated 0
      memory: online, held by new
    ");
}

#[test]
fn a_weak_reference_upgrades_until_the_last_put() {
    let script = "
        hierarchy h; register memory; bind memory h
        mkdir a; get a memory as r1; weak r1 as w1
        rmdir a; upgrade w1 as r2
        put r1; put r2
        upgrade w1
        reap; mkdir b; upgrade w1; show b
    ";
    assert_snapshot!(check(script), @"
    upgrade w1: the css is gone
    upgrade w1: the css is gone
    /b
      cgroup.events: populated 0
      memory: online
    ");
}

#[test]
fn no_group_is_dying_once_everything_is_put() {
    let script = "
        hierarchy h; register memory; register cpu; bind memory h; bind cpu h
        mkdir a; mkdir a/b; mkdir a/c
        get a/b memory as r1; get a/c cpu as r2; get a memory as r3
        rmdir a/b; rmdir a/c; rmdir a; show
        put r1; reap; show
        put r2; put r3; reap; show
    ";
    assert_snapshot!(check(script), @"
    /
      cgroup.controllers: memory cpu
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 0 nr_dying_descendants 3
      memory: online
      cpu: online
    detached r1: memory of /a/b, offline
    detached r2: cpu of /a/c, offline
    detached r3: memory of /a, offline
    /
      cgroup.controllers: memory cpu
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 0 nr_dying_descendants 2
      memory: online
      cpu: online
    detached r2: cpu of /a/c, offline
    detached r3: memory of /a, offline
    /
      cgroup.controllers: memory cpu
      cgroup.events: populated 0
      memory: online
      cpu: online
    ");
}

#[test]
fn what_was_counted_folds_upwards_and_nothing_lingers() {
    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let hierarchy = registry.create_hierarchy("h").expect("a name");
    let usage = registry.register(Usage).expect("a name");
    usage.bind(&hierarchy).expect("empty");
    let mut held = Vec::new();
    for round in 0..50 {
        let parent = hierarchy.root().create_child("parent").expect("a name");
        let child = parent.create_child("child").expect("a name");
        let css = usage.css(&child).expect("online");
        css.fetch_add(1, Ordering::Relaxed);
        child.remove(Removal::Detach).expect("nothing in it");
        parent.remove(Removal::Detach).expect("nothing in it");
        // After the fold: comes along when the css is released.
        css.fetch_add(100, Ordering::Relaxed);
        held.push(css);
        if round % 2 == 0 {
            held.clear();
        }
    }
    let root = usage.root().expect("registered");
    drop(held);
    registry.wait_reclaimed().expect("nothing in the way");
    assert_eq!(root.load(Ordering::Relaxed), 50 * 101);
    let stats = registry.stats();
    assert_eq!((stats.cgroups_dying, stats.css_dying, stats.css_online), (0, 0, 1));
    assert_eq!((stats.css_created, stats.css_released, stats.css_freed), (101, 100, 100));
}

/// Counts, and lets no count be lost with a group.
#[derive(Debug)]
struct Usage;

impl Usage {
    fn fold(css: &Css<AtomicU64>) {
        let counted = css.swap(0, Ordering::Relaxed);
        css.parent().expect("not the root").fetch_add(counted, Ordering::Relaxed);
    }
}

impl Subsystem for Usage {
    type State = AtomicU64;

    fn name(&self) -> &str {
        "usage"
    }

    fn new_css(&self, _: Option<&Css<AtomicU64>>) -> Result<AtomicU64, HookError> {
        Ok(AtomicU64::new(0))
    }

    fn offline(&self, css: &Css<AtomicU64>) {
        Self::fold(css);
    }

    fn released(&self, css: &Css<AtomicU64>) {
        Self::fold(css);
    }
}

#[test]
fn a_group_without_controllers_is_gone_at_once() {
    assert_snapshot!(check("hierarchy h; mkdir a; mkdir a/b; rmdir a/b; rmdir a; show; events"), @"
    /
      cgroup.events: populated 0
    ");
}

#[test]
fn only_a_css_that_is_online_can_be_had_online() {
    let world = World::new();
    let group = world.group("a");
    let css = world.controller.css(&group).expect("online");
    assert_eq!(css.state(), State::Online);
    assert!(css.try_get_online().is_some());

    group.remove(Removal::Detach).expect("nothing in it");
    assert_eq!(css.state(), State::Offline);
    assert!(css.try_get_online().is_none());
    assert!(css.try_get().is_some());
    assert!(world.controller.css(&group).is_none());
    assert!(world.registry.read().css(&world.controller, &group).is_none());
}

#[test]
fn a_guard_keeps_what_it_resolved_from_being_freed() {
    let world = World::new();
    let group = world.group("a");
    let css = world.controller.css(&group).expect("online");
    let weak = CssRef::downgrade(&css);
    world.log.drain().clear();

    std::thread::scope(|scope| {
        let guard = world.registry.read();
        let seen = guard.css(&world.controller, &group).expect("online");
        let remover = scope.spawn(|| group.remove(Removal::Detach).expect("nothing in it"));
        remover.join().expect("no panic");
        drop(css);
        let reaper = scope.spawn(|| {
            while world.registry.reap() {
                if world.log.drain().iter().any(|event| event.contains("released")) {
                    break;
                }
            }
        });
        reaper.join().expect("no panic");
        // Released, and still here.
        assert_eq!(seen.state(), State::Released);
        assert!(seen.try_get().is_none());
        assert!(guard.upgrade(&weak).is_none());
        assert_eq!(seen.path(), "/a");
        assert!(!world.log.drain().iter().any(|event| event.contains("free")));
    });
    world.registry.wait_reclaimed().expect("nothing in the way");
    assert_eq!(world.log.drain(), ["memory: free /a"]);
}

#[test]
fn a_removed_group_stays_readable() {
    let world = World::new();
    let (a, id) = (world.group("a"), world.group("a").id());
    let b = a.create_child("b").expect("a name");
    b.remove(Removal::Detach).expect("nothing in it");
    a.remove(Removal::Detach).expect("nothing in it");

    assert_eq!((b.path().as_str(), b.name().as_str(), b.depth()), ("/a/b", "b", 2));
    assert_eq!(a.id(), id);
    assert_eq!(b.hierarchy().name(), "h");
    assert!(!b.is_populated());
    assert!(b.members().is_empty());
    assert_eq!(b.children().count(), 0);
    world.registry.wait_reclaimed().expect("nothing in the way");
    assert_eq!(b.state(), State::Released);
    assert_eq!(b.path(), "/a/b");
}

#[test]
fn a_reference_outlives_group_controller_and_registry() {
    let log = Log::default();
    let world = World::on(&log);
    let css = world.controller.css(&world.group("a")).expect("online");
    let root = world.controller.root().expect("registered");
    drop(world);
    log.drain().clear();

    assert_eq!(css.path(), "/a");
    assert!(css.parent().is_some());
    let copy = css.clone();
    drop(css);
    drop(root);
    assert_eq!(copy.path(), "/a");
    drop(copy);
}

struct World {
    registry: Registry,
    hierarchy: Hierarchy,
    controller: Controller<Recorder>,
    log: Log,
}

impl World {
    fn new() -> Self {
        Self::on(&Log::default())
    }

    fn on(log: &Log) -> Self {
        let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
        let hierarchy = registry.create_hierarchy("h").expect("a name");
        let controller = registry.register(Recorder::new("memory", log)).expect("a name");
        controller.bind(&hierarchy).expect("empty");
        Self { registry, hierarchy, controller, log: log.clone() }
    }

    /// Finds or creates a group below the root.
    fn group(&self, name: &str) -> Cgroup {
        let root = self.hierarchy.root();
        root.child(name).unwrap_or_else(|| root.create_child(name).expect("a name"))
    }
}
