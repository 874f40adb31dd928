//! Bad input: each rule has an error that names the group and the rule.

use std::sync::{Mutex, OnceLock};

use fief_core::{Css, HookError, Limit, Migration, Reclaimer, Registry, Removal, Subsystem};
use fief_testing::{
    check::check,
    recorder::{Log, Recorder},
};
use insta::assert_snapshot;

#[test]
fn a_bad_group_name_is_refused_when_created() {
    let script = r#"
        hierarchy h; register memory; mkdir a
        mkdir ""; mkdir a/; mkdir .; mkdir a/..; mkdir "x\ny"; mkdir "x\0"
        mkdir cgroup.x; mkdir cgroup.; mkdir memory.x; mkdir a/memory.max; mkdir notify_on_release
        show
    "#;
    assert_snapshot!(check(script), @r#"
    mkdir "": cannot create a group in /: a name cannot be empty
    mkdir a/: cannot create a group in /a: a name cannot be empty
    mkdir .: cannot create a group in /: "." cannot be a name
    mkdir a/..: cannot create a group in /a: ".." cannot be a name
    mkdir "x\ny": cannot create a group in /: name "x\ny" holds '\n'
    mkdir "x\0": cannot create a group in /: name "x\0" holds '\0'
    mkdir cgroup.x: cannot create a group in /: name "cgroup.x" is reserved for control files: cgroup.*
    mkdir cgroup.: cannot create a group in /: name "cgroup." is reserved for control files: cgroup.*
    mkdir memory.x: cannot create a group in /: name "memory.x" is reserved for control files: memory.*
    mkdir a/memory.max: cannot create a group in /a: name "memory.max" is reserved for control files: memory.*
    mkdir notify_on_release: cannot create a group in /: name "notify_on_release" is reserved for control files: notify_on_release
    /
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
    /a
      cgroup.events: populated 0
    inactive memory: online
    "#);
}

#[test]
fn a_bad_group_name_is_refused_when_renamed() {
    let script = r#"
        hierarchy h; register memory; mkdir a
        mv a ""; mv a /; mv a b/c; mv a .; mv a ..; mv a "x\ny"; mv a "x\0"
        mv a cgroup.x; mv a memory.x; mv a notify_on_release
        show
    "#;
    assert_snapshot!(check(script), @r#"
    mv a "": cannot rename /a: a name cannot be empty
    mv a /: cannot rename /a: name "/" holds '/'
    mv a b/c: cannot rename /a: name "b/c" holds '/'
    mv a .: cannot rename /a: "." cannot be a name
    mv a ..: cannot rename /a: ".." cannot be a name
    mv a "x\ny": cannot rename /a: name "x\ny" holds '\n'
    mv a "x\0": cannot rename /a: name "x\0" holds '\0'
    mv a cgroup.x: cannot rename /a: name "cgroup.x" is reserved for control files: cgroup.*
    mv a memory.x: cannot rename /a: name "memory.x" is reserved for control files: memory.*
    mv a notify_on_release: cannot rename /a: name "notify_on_release" is reserved for control files: notify_on_release
    /
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
    /a
      cgroup.events: populated 0
    inactive memory: online
    "#);
}

#[test]
fn a_name_has_up_to_255_bytes() {
    let longest = "x".repeat(255);
    assert_eq!(
        check(&format!("hierarchy h; mkdir {longest}; mv {longest} y{}", &longest[1..])),
        ""
    );
    let too_long = check(&format!("hierarchy h; mkdir x{longest}"));
    assert!(too_long.ends_with(": a name of 256 bytes exceeds 255\n"), "{too_long}");
}

#[test]
fn names_beside_the_rules_are_taken() {
    let script = "hierarchy h; register memory; mkdir ...; mkdir memory; mkdir cgroup; mkdir memory2.x; mkdir ümlaut";
    assert_eq!(check(script), "");
}

#[test]
fn a_bad_name_of_a_hierarchy_or_a_subsystem_is_refused() {
    let script = r#"
        hierarchy ""; hierarchy "a b"; hierarchy a/b; hierarchy ü; hierarchy a; hierarchy a
        register ""; register Memory; register 1st; register a.b; register cgroup
    "#;
    assert_snapshot!(check(script), @r#"
    hierarchy "": hierarchy name "" is not 1 to 63 of A-Z a-z 0-9 _ . -
    hierarchy "a b": hierarchy name "a b" is not 1 to 63 of A-Z a-z 0-9 _ . -
    hierarchy a/b: hierarchy name "a/b" is not 1 to 63 of A-Z a-z 0-9 _ . -
    hierarchy ü: hierarchy name "ü" is not 1 to 63 of A-Z a-z 0-9 _ . -
    hierarchy a: hierarchy a exists
    register "": subsystem name "" is not a-z and up to 31 of a-z 0-9 _, or is cgroup
    register Memory: subsystem name "Memory" is not a-z and up to 31 of a-z 0-9 _, or is cgroup
    register 1st: subsystem name "1st" is not a-z and up to 31 of a-z 0-9 _, or is cgroup
    register a.b: subsystem name "a.b" is not a-z and up to 31 of a-z 0-9 _, or is cgroup
    register cgroup: subsystem name "cgroup" is not a-z and up to 31 of a-z 0-9 _, or is cgroup
    "#);
    let long = "x".repeat(64);
    assert_eq!(check(&format!("hierarchy {}; register {}", &long[..63], &long[..32])), "");
    assert_ne!(check(&format!("hierarchy {long}")), "");
    assert_ne!(check(&format!("register {}", &long[..33])), "");
}

#[test]
fn a_removed_group_answers_that_it_is() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").expect("a name");
    let task = registry.create_task("t").expect("a name");
    let a = hierarchy.root().create_child("a").expect("a name");
    a.remove(Removal::Detach).expect("nothing in it");

    let errors = [
        a.create_child("b").expect_err("removed").to_string(),
        a.rename("b").expect_err("removed").to_string(),
        a.remove(Removal::Detach).expect_err("removed").to_string(),
        a.set_max_depth(Limit::Max).expect_err("removed").to_string(),
        a.set_max_descendants(Limit::At(1)).expect_err("removed").to_string(),
        a.attach(&task).expect_err("removed").to_string(),
        task.join(&a).expect_err("removed").to_string(),
        a.kill().expect_err("removed").to_string(),
    ];
    assert_snapshot!(errors.join("\n"), @"
    /a is removed
    /a is removed
    /a is removed
    /a is removed
    /a is removed
    t cannot join /a: it is removed
    t cannot join /a: it is removed
    /a is removed
    ");
}

#[test]
fn a_destroyed_hierarchy_and_an_unregistered_controller_answer_that_they_are() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").expect("a name");
    let other = registry.create_hierarchy("g").expect("a name");
    let controller = registry.register(Recorder::new("memory", &Log::default())).expect("a name");
    let task = registry.create_task("t").expect("a name");
    hierarchy.destroy().expect("empty");

    let mut errors = vec![
        hierarchy.destroy().expect_err("destroyed").to_string(),
        hierarchy.lookup("/").expect_err("destroyed").to_string(),
        hierarchy.root().create_child("a").expect_err("destroyed").to_string(),
        task.leave(&hierarchy).expect_err("destroyed").to_string(),
        controller.bind(&hierarchy).expect_err("destroyed").to_string(),
    ];
    assert!(task.cgroup(&hierarchy).is_none());
    assert!(hierarchy.root().members().is_empty() && !hierarchy.root().is_populated());
    controller.unregister().expect("inactive");
    errors.extend([
        controller.unregister().expect_err("unregistered").to_string(),
        controller.bind(&other).expect_err("unregistered").to_string(),
        controller.unbind().expect_err("unregistered").to_string(),
    ]);
    assert!(controller.root().is_none());
    assert!(registry.read().task_css(&controller, &task).is_none());
    assert_snapshot!(errors.join("\n"), @"
    hierarchy h is destroyed
    hierarchy h is destroyed
    / is removed
    t cannot join /: it is removed
    hierarchy h is destroyed
    subsystem memory is unregistered
    subsystem memory is unregistered
    subsystem memory is unregistered
    ");
}

#[test]
fn handles_of_another_registry_are_refused() {
    let (here, there) = (Registry::new(), Registry::new());
    let hierarchy = here.create_hierarchy("h").expect("a name");
    let foreign = there.create_hierarchy("g").expect("a name");
    let controller = here.register(Recorder::new("memory", &Log::default())).expect("a name");
    let task = here.create_task("t").expect("a name");

    let errors = [
        controller.bind(&foreign).expect_err("foreign").to_string(),
        task.join(&foreign.root()).expect_err("foreign").to_string(),
        foreign.root().attach(&task).expect_err("foreign").to_string(),
        task.leave(&foreign).expect_err("foreign").to_string(),
    ];
    assert_snapshot!(errors.join("\n"), @"
    subsystem memory and hierarchy g are of different registries
    t cannot join /: it is of another registry
    t cannot join /: it is of another registry
    t cannot join /: it is of another registry
    ");

    assert!(task.cgroup(&foreign).is_none());
    controller.bind(&hierarchy).expect("empty");
    assert!(controller.css(&foreign.root()).is_none());
    assert!(there.read().css(&controller, &hierarchy.root()).is_none());
    assert!(there.read().task_css(&controller, &task).is_none());
    assert!(here.read().css(&controller, &hierarchy.root()).is_some());
}

#[test]
fn full_capacities_are_refused_and_come_free_again() {
    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let (mut made, error) = fill(|index| registry.create_hierarchy(&format!("h{index}")));
    assert_snapshot!(error, @"hierarchy h64 cannot be created: no more than 64 hierarchies");
    made.pop().expect("some fit").destroy().expect("empty");
    registry.wait_reclaimed().expect("nothing in the way");
    registry.create_hierarchy("again").expect("one has gone");

    let log = Log::default();
    let (mut made, error) =
        fill(|index| registry.register(Recorder::new(&format!("s{index}"), &log)));
    assert_eq!(made.len(), 64);
    assert_snapshot!(error, @"subsystem s64 cannot be registered: no more than 64 subsystems");
    made.pop().expect("some fit").unregister().expect("inactive");
    registry.wait_reclaimed().expect("nothing in the way");
    registry.register(Recorder::new("again", &log)).expect("one has gone");
}

#[test]
fn structural_calls_under_a_guard_are_refused() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").expect("a name");
    let controller = registry.register(Recorder::new("memory", &Log::default())).expect("a name");
    let task = registry.create_task("t").expect("a name");
    let a = hierarchy.root().create_child("a").expect("a name");

    let guard = registry.read();
    let errors = [
        registry.create_hierarchy("g").expect_err("held").to_string(),
        registry.create_task("u").expect_err("held").to_string(),
        registry.register(Recorder::new("cpu", &Log::default())).expect_err("held").to_string(),
        registry.synchronize().expect_err("held").to_string(),
        registry.wait_reclaimed().expect_err("held").to_string(),
        hierarchy.destroy().expect_err("held").to_string(),
        a.create_child("b").expect_err("held").to_string(),
        a.rename("b").expect_err("held").to_string(),
        a.remove(Removal::Detach).expect_err("held").to_string(),
        task.join(&a).expect_err("held").to_string(),
        controller.bind(&hierarchy).expect_err("held").to_string(),
        controller.unbind().expect_err("held").to_string(),
        controller.unregister().expect_err("held").to_string(),
    ];
    drop(guard);
    assert_snapshot!(errors.join("\n"), @"
    create_hierarchy of g cannot be called under a read guard
    create_task of u cannot be called under a read guard
    register of cpu cannot be called under a read guard
    synchronize of the registry cannot be called under a read guard
    wait_reclaimed of the registry cannot be called under a read guard
    destroy of h cannot be called under a read guard
    create_child of /a cannot be called under a read guard
    rename of /a cannot be called under a read guard
    remove of /a cannot be called under a read guard
    attach of /a cannot be called under a read guard
    bind of memory cannot be called under a read guard
    unbind of memory cannot be called under a read guard
    unregister of memory cannot be called under a read guard
    ");
    a.remove(Removal::Detach).expect("no guard any more");
}

#[test]
fn structural_calls_from_a_hook_are_refused_and_lookups_allowed() {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

    #[derive(Debug)]
    struct Reentering;

    impl Subsystem for Reentering {
        type State = ();

        fn name(&self) -> &str {
            "reentering"
        }

        fn new_css(&self, _: Option<&Css<()>>) -> Result<(), HookError> {
            Ok(())
        }

        fn online(&self, css: &Css<()>) -> Result<(), HookError> {
            let (Some(registry), Some(group)) = (REGISTRY.get(), css.cgroup()) else {
                return Ok(());
            };
            let mut seen = SEEN.lock().expect("no panic");
            seen.push(registry.create_hierarchy("g").expect_err("inside").to_string());
            seen.push(registry.create_task("t").expect_err("inside").to_string());
            seen.push(registry.synchronize().expect_err("inside").to_string());
            seen.push(group.create_child("b").expect_err("inside").to_string());
            seen.push(group.rename("b").expect_err("inside").to_string());
            seen.push(group.remove(Removal::Detach).expect_err("inside").to_string());
            seen.push(group.hierarchy().destroy().expect_err("inside").to_string());
            seen.push(format!("lookup {}", group.hierarchy().lookup("/").expect("allowed").path()));
            seen.push(format!("reference {}", css.try_get().is_some()));
            Ok(())
        }
    }

    let registry = REGISTRY.get_or_init(Registry::new);
    let hierarchy = registry.create_hierarchy("h").expect("a name");
    let controller = registry.register(Reentering).expect("a name");
    controller.bind(&hierarchy).expect("empty");
    SEEN.lock().expect("no panic").clear();
    hierarchy.root().create_child("a").expect("the hook agrees");
    let seen = SEEN.lock().expect("no panic").join("\n");
    assert_snapshot!(seen, @"
    create_hierarchy of g cannot be called from a subsystem's hook or state's drop
    create_task of t cannot be called from a subsystem's hook or state's drop
    synchronize of the registry cannot be called from a subsystem's hook or state's drop
    create_child of /a cannot be called from a subsystem's hook or state's drop
    rename of /a cannot be called from a subsystem's hook or state's drop
    remove of /a cannot be called from a subsystem's hook or state's drop
    destroy of h cannot be called from a subsystem's hook or state's drop
    lookup /
    reference true
    ");
}

#[test]
fn structural_calls_are_allowed_where_user_code_runs_under_no_lock() {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();

    fn call(name: &str) {
        let registry = REGISTRY.get().expect("set before anything runs");
        let hierarchy = registry.create_hierarchy(name).expect("no lock is held");
        hierarchy.root().create_child("a").expect("no lock is held");
    }

    #[derive(Debug)]
    struct Calling;

    struct State;

    impl Drop for State {
        fn drop(&mut self) {
            call("drop");
        }
    }

    impl Subsystem for Calling {
        type State = State;

        fn name(&self) -> &str {
            "calling"
        }

        fn new_css(&self, _: Option<&Css<State>>) -> Result<State, HookError> {
            Ok(State)
        }

        fn post_attach(&self, _: &Migration<'_, State>) {
            call("post_attach");
        }
    }

    let manual = || Registry::builder().reclaimer(Reclaimer::Manual).build();
    let registry = REGISTRY.get_or_init(manual);
    let hierarchy = registry.create_hierarchy("h").expect("a name");
    let controller = registry.register(Calling).expect("a name");
    controller.bind(&hierarchy).expect("empty");
    let group = hierarchy.root().create_child("a").expect("a name");
    let task = registry.create_task("t").expect("a name");
    task.on_cancel(|| call("cancel"));

    task.join(&group).expect("online");
    assert_eq!(group.kill().expect("online"), 1);
    drop(task);
    group.remove(Removal::Detach).expect("nothing in it");
    registry.wait_reclaimed().expect("nothing in the way");
    let names: Vec<String> = registry.hierarchies().iter().map(|it| it.name()).collect();
    assert_eq!(names, ["h", "post_attach", "cancel", "drop"]);
}

/// Makes things until one is refused.
fn fill<T, E: std::fmt::Display>(make: impl Fn(usize) -> Result<T, E>) -> (Vec<T>, String) {
    let mut made = Vec::new();
    for index in 0..1000 {
        match make(index) {
            Ok(one) => made.push(one),
            Err(error) => return (made, error.to_string()),
        }
    }
    panic!("no capacity")
}
