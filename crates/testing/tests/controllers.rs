//! Controllers: registered, inactive, bound, unbound, gone.

use fief_core::Registry;
use fief_testing::{
    check::{check, check_after},
    recorder::{Log, Recorder},
};
use insta::assert_snapshot;

#[test]
fn a_registered_controller_is_inactive_and_usable_through_its_root() {
    assert_snapshot!(check("hierarchy h; register memory; root memory as r1; clone r1 as r2; show; events"), @"
    /
      cgroup.events: populated 0
    inactive memory: online, held by r1 r2
    memory: new_css root
    memory: online /
    ");
}

#[test]
fn an_inactive_controller_has_no_css_in_a_hierarchy() {
    assert_snapshot!(check("hierarchy h; register memory; mkdir a; get / memory; get a memory; get a cpu"), @"
    get / memory: memory has no css here
    get a memory: memory has no css here
    get a cpu: no subsystem cpu
    ");
}

#[test]
fn binding_moves_the_root_css_and_who_holds_it() {
    let script = "
        bind memory h; show; events
        unbind memory; show; events
    ";
    let before = "hierarchy h; register memory; root memory as r1";
    assert_snapshot!(check_after(before, script), @"
    /
      cgroup.controllers: memory
      cgroup.events: populated 0
      memory: online, held by r1
    memory: bound /
    /
      cgroup.events: populated 0
    inactive memory: online, held by r1
    memory: bound /
    ");
}

#[test]
fn a_controller_is_bound_once() {
    let script = "
        hierarchy h; hierarchy g; register memory
        unbind memory; bind memory h; bind memory h; bind memory g; unregister memory
    ";
    assert_snapshot!(check(script), @"
    unbind memory: subsystem memory is bound to no hierarchy
    bind memory h: subsystem memory is bound to hierarchy h
    bind memory g: subsystem memory is bound to hierarchy h
    unregister memory: subsystem memory is bound to hierarchy h
    ");
}

#[test]
fn a_controller_may_go_from_hierarchy_to_hierarchy() {
    let script = "
        hierarchy h; hierarchy g; register memory; bind memory h
        mkdir a; use h; mkdir a; get a memory as r1; rmdir a
        unbind memory; use g; rmdir a; bind memory g; mkdir a; get a memory as r2; show
        use h; show
    ";
    assert_snapshot!(check(script), @"
    /
      cgroup.controllers: memory
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
      memory: online
    /a
      cgroup.events: populated 0
      memory: online, held by r2
    detached r1: memory of /a, offline
    /
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 0 nr_dying_descendants 1
    detached r1: memory of /a, offline
    ");
}

#[test]
fn destroying_a_hierarchy_makes_its_controllers_inactive() {
    let script = "
        destroy h; events
        hierarchy h; show; bind memory h; show
    ";
    let before = "
        hierarchy h; register memory; register cpu; bind memory h; bind cpu h
        get / memory as r1; mkdir a; rmdir a
    ";
    assert_snapshot!(check("hierarchy h; mkdir a; destroy h"), @"destroy h: hierarchy h has 1 groups below its root");
    assert_snapshot!(check_after(before, script), @"
    memory: bound /
    cpu: bound /
    /
      cgroup.events: populated 0
    inactive memory: online, held by r1
    inactive cpu: online
    /
      cgroup.controllers: memory
      cgroup.events: populated 0
      memory: online, held by r1
    inactive cpu: online
    ");
}

#[test]
fn a_destroyed_hierarchy_answers_that_it_is() {
    let script = "
        hierarchy h; task t1; destroy h; destroy h
        mkdir a; show; leave t1; leave t1 h; max.depth / 1; kill /
    ";
    assert_snapshot!(check(script), @"
    destroy h: no hierarchy h
    mkdir a: hierarchy h is destroyed
    show: hierarchy h is destroyed
    leave t1: t1 cannot join /: it is removed
    leave t1 h: no hierarchy h
    max.depth / 1: hierarchy h is destroyed
    kill /: hierarchy h is destroyed
    ");
}

#[test]
fn unregistering_ends_the_root_css_when_the_last_reference_goes() {
    let script = "
        unregister memory; unregister memory; reap; show; events
        upgrade w1 as r2; put r1; put r2; reap; events; upgrade w1
    ";
    let before = "hierarchy h; register memory; root memory as r1; weak r1 as w1";
    assert_snapshot!(check_after(before, script), @"
    unregister memory: no subsystem memory
    /
      cgroup.events: populated 0
    detached r1: memory of /, offline
    memory: drain /
    memory: killed /
    memory: offline /
    memory: released /
    memory: free /
    upgrade w1: the css is gone
    ");
}

#[test]
fn a_name_can_be_registered_again_once_it_is_free() {
    let script = "
        hierarchy h; register memory; register memory; root memory as old
        unregister memory; register memory; root memory as new; show
        put old; reap; events
    ";
    assert_snapshot!(check(script), @"
    register memory: subsystem memory is registered
    /
      cgroup.events: populated 0
    inactive memory: online, held by new
    detached old: memory of /, offline
    memory: new_css root
    memory: online /
    memory: drain /
    memory: killed /
    memory: offline /
    memory: new_css root
    memory: online /
    memory: released /
    memory: free /
    ");
}

#[test]
fn a_subsystem_may_not_hide_groups() {
    let script = "
        hierarchy h; mkdir memory.x; mkdir a; mkdir a/memory.; mkdir memory
        register memory; register memor
        rmdir memory.x; rmdir a/memory.; register memory; mkdir memory.x; mkdir a/memory.
    ";
    assert_snapshot!(check(script), @r#"
    register memory: subsystem memory would hide the groups h:/memory.x, h:/a/memory.
    mkdir memory.x: cannot create a group in /: name "memory.x" is reserved for control files: memory.*
    mkdir a/memory.: cannot create a group in /a: name "memory." is reserved for control files: memory.*
    "#);
}

#[test]
fn controllers_of_one_hierarchy_live_side_by_side() {
    let script = "
        hierarchy h; register memory; register cpu; bind cpu h; bind memory h
        mkdir a; get a cpu as r1; show
    ";
    assert_snapshot!(check(script), @"
    /
      cgroup.controllers: memory cpu
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
      memory: online
      cpu: online
    /a
      cgroup.events: populated 0
      memory: online
      cpu: online, held by r1
    ");
}

#[test]
fn a_task_resolves_to_the_css_of_the_group_where_it_sits() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").expect("a name");
    let controller = registry.register(Recorder::new("memory", &Log::default())).expect("a name");
    let task = registry.create_task("t").expect("a name");
    let resolve = || {
        let guard = registry.read();
        guard.task_css(&controller, &task).map(|css| css.path())
    };
    assert_eq!(resolve().as_deref(), Some("/"));

    controller.bind(&hierarchy).expect("empty");
    let a = hierarchy.root().create_child("a").expect("a name");
    assert_eq!(resolve().as_deref(), Some("/"));
    task.join(&a).expect("nobody refuses");
    assert_eq!(resolve().as_deref(), Some("/a"));
    a.rename("b").expect("a name");
    assert_eq!(resolve().as_deref(), Some("/b"));
    task.leave(&hierarchy).expect("nobody refuses");
    assert_eq!(resolve().as_deref(), Some("/"));
}

#[test]
fn the_root_css_is_the_same_object_wherever_it_is() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").expect("a name");
    let controller = registry.register(Recorder::new("memory", &Log::default())).expect("a name");
    let root = controller.root().expect("registered");
    let shown = || controller.css(&hierarchy.root()).map(|css| css.id());

    assert_eq!(shown(), None);
    controller.bind(&hierarchy).expect("empty");
    assert_eq!(shown(), Some(root.id()));
    assert_eq!(controller.hierarchy().map(|hierarchy| hierarchy.name()).as_deref(), Some("h"));
    assert_eq!(hierarchy.controllers(), ["memory"]);
    hierarchy.destroy().expect("empty");
    assert_eq!(controller.root().expect("registered").id(), root.id());
    assert!(controller.hierarchy().is_none());
    assert!(hierarchy.is_destroyed());
}
