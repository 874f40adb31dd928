//! Hooks that refuse or panic: the tree is as before, and the next try succeeds.

use std::panic::resume_unwind;

use fief_core::{Reclaimer, Registry};
use fief_testing::{
    check::{Session, check_after},
    hook::Hook,
    inject::Action,
    recorder::{Log, Recorder},
};
use insta::assert_snapshot;

/// Two controllers on one tree, a member, a reference.
const BEFORE: &str = "
    hierarchy h; register memory; register cpu; bind memory h; bind cpu h
    mkdir a; mkdir b; task t1; join t1 a; get a memory as r1; reap
";

#[test]
fn a_refused_creation_changes_nothing() {
    let operations = ["mkdir a/x", "mkdir a/x/y", "mkdir b/x"];
    for hook in [Hook::NewCss, Hook::Online] {
        refuse_each(hook, &operations);
    }
}

#[test]
fn a_refused_move_changes_nothing() {
    refuse_each(Hook::CanAttach, &["join t1 b", "join t1 a", "leave t1"]);
}

#[test]
fn a_refused_task_never_was() {
    refuse_each(Hook::CanFork, &["task t2", "task t3", "task t4"]);
}

#[test]
fn a_refusal_names_group_subsystem_and_hook() {
    let before = "
        hierarchy h; register memory; register cpu; bind memory h; bind cpu h; mkdir a; task t1
    ";
    let script = "
        fail cpu new_css 1; mkdir a/b
        fail cpu online 1; mkdir a/b
        panic cpu online 1; mkdir a/b
        fail cpu can_attach 1; join t1 a
        panic cpu can_attach 1; join t1 a
        fail cpu can_fork 1; task t2
        panic cpu can_fork 1; task t2
    ";
    assert_snapshot!(check_after(before, script), @"
    mkdir a/b: cpu refused /a/b in new_css: injected
    mkdir a/b: cpu refused /a/b in online: injected
    mkdir a/b: cpu refused /a/b in online: panicked: injected
    join t1 a: cpu refused /a in can_attach: injected
    join t1 a: cpu refused /a in can_attach: panicked: injected
    task t2: cpu refused / in can_fork: injected
    task t2: cpu refused / in can_fork: panicked: injected
    ");
}

#[test]
fn those_that_had_agreed_are_told() {
    let before = "
        hierarchy h; register memory; register cpu; register io
        bind memory h; bind cpu h; bind io h; mkdir a; task t1
    ";
    assert_snapshot!(check_after(before, "fail io new_css 1; mkdir a/b; reap; events"), @"
    mkdir a/b: io refused /a/b in new_css: injected
    memory: new_css under /a
    cpu: new_css under /a
    io: new_css under /a, vetoed
    memory: free under /a
    cpu: free under /a
    ");
    assert_snapshot!(check_after(before, "fail io online 1; mkdir a/b; reap; events"), @"
    mkdir a/b: io refused /a/b in online: injected
    memory: new_css under /a
    cpu: new_css under /a
    io: new_css under /a
    memory: online /a/b
    cpu: online /a/b
    io: online /a/b, vetoed
    memory: drain /a/b
    cpu: drain /a/b
    memory: killed /a/b
    cpu: killed /a/b
    memory: offline /a/b
    cpu: offline /a/b
    memory: released /a/b
    cpu: released /a/b
    memory: free /a/b
    cpu: free /a/b
    io: free /a/b
    ");
    assert_snapshot!(check_after(before, "fail cpu can_attach 1; join t1 a; events"), @"
    join t1 a: cpu refused /a in can_attach: injected
    memory: can_attach t1 / -> /a
    cpu: can_attach t1 / -> /a, vetoed
    memory: cancel_attach t1 / -> /a
    ");
    assert_snapshot!(check_after(before, "fail io can_fork 1; task t2; events"), @"
    task t2: io refused / in can_fork: injected
    memory: can_fork t2 at /
    cpu: can_fork t2 at /
    io: can_fork t2 at /, vetoed
    memory: cancel_fork t2 at /
    cpu: cancel_fork t2 at /
    ");
}

#[test]
fn a_panic_where_nothing_can_be_refused_stops_nothing() {
    let script = "
        mkdir a/x; join t1 a/x; leave t1; rmdir a/x
        get b cpu as r2; rmdir b; reap; put r2; reap
        fail cpu can_attach 1; join t1 a; join t1 a
        fail cpu can_fork 1; task t2; task t2; exit t2; exit t1
        put r1; rmdir a; show
        unbind memory; bind memory h; unbind memory; unregister memory; reap; show
    ";
    let expected = check_after(BEFORE, script);
    for hook in Hook::ALL.into_iter().filter(|hook| !hook.can_veto()) {
        for subsystem in ["memory", "cpu"] {
            for nth in 1..=3 {
                let panic = format!("{BEFORE}; panic {subsystem} {hook} {nth}");
                assert_eq!(check_after(&panic, script), expected, "{subsystem} {hook} {nth}");
            }
        }
    }
}

#[test]
fn a_subsystem_that_refuses_its_root_is_not_registered() {
    for action in [Action::Veto, Action::Panic] {
        for hook in [Hook::NewCss, Hook::Online] {
            let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
            let log = Log::default();
            let recorder = Recorder::new("memory", &log);
            recorder.inject(hook, 1, action);

            let error = registry.register(recorder).expect_err("refused").to_string();
            assert!(error.contains(hook.name()), "{error}");
            registry.register(Recorder::new("memory", &log)).expect("the name is free");
        }
    }
}

/// Lets the Nth call of `hook` fail in turn, for each controller and each way to fail.
fn refuse_each(hook: Hook, operations: &[&str]) {
    for way in ["fail", "panic"] {
        for subsystem in ["memory", "cpu"] {
            for nth in 1..=operations.len() {
                let plan = format!("{way} {subsystem} {hook} {nth}");
                refuse_one(&plan, &operations[..nth]);
            }
        }
    }
}

/// The last operation fails; what is there is what was there before it, and it succeeds next.
fn refuse_one(plan: &str, operations: &[&str]) {
    let (last, before) = operations.split_last().expect("an operation");
    let mut plain = session(BEFORE);
    let mut failing = session(BEFORE);
    assert_eq!(plain.run_text(&before.join(";")), "", "{plan}");
    assert_eq!(failing.run_text(&format!("{plan};{}", before.join(";"))), "", "{plan}");

    let printed = failing.run_text(last);
    assert!(printed.starts_with(last), "{plan}: {printed}");
    assert_eq!(failing.run_text("reap; show"), plain.run_text("reap; show"), "{plan}");
    assert_eq!(failing.run_text(last), "", "{plan}");
    plain.run_text(last);
    assert_eq!(failing.run_text("show"), plain.run_text("show"), "{plan}");
}

fn session(script: &str) -> Session {
    let mut session = Session::new();
    session.run_text(script);
    session
}

#[test]
fn a_cancel_callback_that_panics_stops_no_other() {
    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let root = registry.create_hierarchy("h").expect("a name").root();
    let cancelled = Log::default();
    let tasks = ["t1", "t2", "t3"].map(|name| {
        let task = registry.create_task(name).expect("a name");
        let cancelled = cancelled.clone();
        task.on_cancel(move || {
            cancelled.push(name.to_owned());
            if name == "t2" {
                // Past the panic hook, so that the test prints nothing.
                resume_unwind(Box::new("injected"));
            }
        });
        task
    });

    assert_eq!(root.kill().expect("online"), 3);
    assert_eq!(cancelled.drain(), ["t1", "t2", "t3"]);
    assert_eq!(registry.stats().hook_panics, 1);
    assert_eq!(tasks.map(|task| task.name().to_owned()), ["t1", "t2", "t3"]);
}
