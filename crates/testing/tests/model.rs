//! Random scripts: the core does what the reference model says, command by command.
//!
//! `PROPTEST_CASES` sets the number of scripts. A script that differs is printed as text; put it
//! into `SCRIPTS` below, and `check` replays it.

use std::env;

use fief_core::Barrier;
use fief_testing::{
    check::Session,
    hook::Hook,
    model::Model,
    script::{Command, parse, text},
};
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, FileFailurePersistence},
};

/// Scripts on which core and model once differed.
const SCRIPTS: &[&str] = &[
    // Controllers are asked in order of registration, wherever the core keeps them.
    "hierarchy h; register memory; register cpu; unregister memory; reap; register io; task t1",
];

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_core_does_what_the_model_says(script in script()) {
        compare(&script, Barrier::Auto).map_err(TestCaseError::fail)?;
        compare(&script, Barrier::Fence).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn scripts_that_once_differed_agree() {
    for script in SCRIPTS {
        let commands = parse(script).expect("a script that parses");
        if let Err(difference) = compare(&commands, Barrier::Auto) {
            panic!("{difference}");
        }
    }
}

fn config() -> Config {
    let cases = env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let file = FileFailurePersistence::Direct("proptest-regressions/model.txt");
    Config {
        cases: cases.unwrap_or(64),
        failure_persistence: Some(Box::new(file)),
        max_shrink_iters: 20_000,
        ..Config::default()
    }
}

/// Runs a script on both; the error is the script up to the difference, and the difference.
fn compare(commands: &[Command], barrier: Barrier) -> Result<(), String> {
    let (mut session, mut model) = (Session::with_barrier(barrier), Model::default());
    for (index, command) in commands.iter().enumerate() {
        let differ = |what, real: &str, expected: &str| {
            let script = text(&commands[..=index]);
            format!("{what} differs after\n\n{script}\ncore:\n{real}\nmodel:\n{expected}")
        };
        let real = session.apply(command).map_err(|failure| failure.gist().to_owned());
        let expected = model.apply(command);
        if real != expected {
            return Err(differ("the result", &format!("{real:?}"), &format!("{expected:?}")));
        }
        look(&mut session, &mut model)
            .map_err(|(real, expected)| differ("the tree", &real, &expected))?;
    }
    session.let_go();
    model.let_go();
    session.apply(&Command::Reap).expect("nothing stands in the way");
    model.apply(&Command::Reap).expect("nothing stands in the way");
    look_at_the_end(&mut session, &mut model).map_err(|(real, expected)| {
        format!("the end differs after\n\n{}\ncore:\n{real}\nmodel:\n{expected}", text(commands))
    })
}

/// Compares the tree and the callbacks since the last look, and how many notices there ever were.
fn look(session: &mut Session, model: &mut Model) -> Result<(), (String, String)> {
    compare_all(session, model, &[Command::Events, Command::Show(None)])?;
    let (real, expected) = (session.told_and_refused(), model.told_and_refused());
    if real == expected {
        return Ok(());
    }
    let text = |(told, refused)| format!("{told} notices, {refused} removals refused");
    Err((text(real), text(expected)))
}

/// As [`look`], and what nobody has received.
fn look_at_the_end(session: &mut Session, model: &mut Model) -> Result<(), (String, String)> {
    look(session, model)?;
    for hierarchy in ["h", "g"] {
        let select = Command::Use(hierarchy.to_owned());
        compare_all(session, model, &[select, Command::Notices, Command::Renotify])?;
    }
    Ok(())
}

fn compare_all(
    session: &mut Session,
    model: &mut Model,
    commands: &[Command],
) -> Result<(), (String, String)> {
    for command in commands {
        let real = session.apply(command).map_err(|failure| failure.gist().to_owned());
        let expected = model.apply(command);
        if real != expected {
            let printed = |outcome: Result<String, String>| outcome.unwrap_or_else(|kind| kind);
            return Err((printed(real), printed(expected)));
        }
    }
    Ok(())
}

/// A beginning that leads somewhere, then anything.
fn script() -> impl Strategy<Value = Vec<Command>> {
    let full = "
        hierarchy h; register memory; register cpu; bind memory h; bind cpu h
        mkdir a; mkdir a/b; mkdir b; task t1; task t2; join t1 a/b
        get a memory; get a/b memory; get a/b cpu; weak r1; weak r2
    ";
    let apart = "
        hierarchy g; hierarchy h; register memory; register cpu; bind memory h; bind cpu g
        task t1; mkdir a; mkdir a/b; join t1 a; get a/b memory; weak r1; root cpu
    ";
    let waited_for = "
        hierarchy h; register memory; register cpu; bind memory h; bind cpu h; notify / on
        mkdir a; mkdir a/b; mkdir b; task t1; task t2; mkdir a/c with t1; watch a; notify a on
        get a/b memory; get a/b memory; get b memory; get b cpu; weak r1; reap
    ";
    let idle = "hierarchy h; register memory; register cpu; unregister memory; reap; task t1";
    let beginnings =
        ["hierarchy h", idle, apart, apart, full, full, waited_for, waited_for, waited_for];
    let beginning =
        select(beginnings.to_vec()).prop_map(|script| parse(script).expect("a script that parses"));
    (beginning, prop::collection::vec(command(), 1..40))
        .prop_map(|(beginning, rest)| beginning.into_iter().chain(rest).collect())
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        8 => path().prop_map(Command::Mkdir),
        2 => (path(), prop::collection::vec(task(), 1..4))
            .prop_map(|(path, tasks)| Command::MkdirWith { path, tasks }),
        8 => removals(),
        10 => notices(),
        2 => watches(),
        2 => (path(), group()).prop_map(|(path, name)| Command::Mv { path, name }),
        10 => references(),
        12 => members(),
        2 => limits(),
        3 => injections(),
        3 => universe(),
        4 => binding(),
        5 => Just(Command::Reap),
    ]
}

fn removals() -> impl Strategy<Value = Command> {
    let subtree = prop::bool::weighted(0.3);
    (path(), any::<bool>(), subtree).prop_map(|(path, strict, subtree)| Command::Rmdir {
        path,
        strict,
        subtree,
    })
}

fn notices() -> impl Strategy<Value = Command> {
    let held = || one_of(&["n1", "n1", "n2"]);
    prop_oneof![
        4 => (path(), prop::bool::weighted(0.7))
            .prop_map(|(path, on)| Command::Notify { path, on }),
        2 => Just(Command::Notices),
        2 => prop::option::weighted(0.3, held()).prop_map(Command::Notice),
        2 => held().prop_map(Command::Accept),
        1 => held().prop_map(Command::Ignore),
        1 => Just(Command::Renotify),
    ]
}

fn watches() -> impl Strategy<Value = Command> {
    let watch = || one_of(&["v1", "v1", "v2"]);
    prop_oneof![
        2 => (path(), prop::option::weighted(0.3, watch()))
            .prop_map(|(path, name)| Command::Watch { path, name }),
        4 => watch().prop_map(Command::Hear),
        1 => watch().prop_map(Command::Unwatch),
    ]
}

fn references() -> impl Strategy<Value = Command> {
    let name = || prop::option::weighted(0.3, one_of(&["r1", "r2", "r3"]));
    let held = || one_of(&["r1", "r1", "r2", "r2", "r3", "r4"]);
    prop_oneof![
        4 => (path(), subsystem(), name())
            .prop_map(|(path, subsystem, name)| Command::Get { path, subsystem, name }),
        1 => (subsystem(), name()).prop_map(|(subsystem, name)| Command::Root { subsystem, name }),
        1 => (held(), name()).prop_map(|(reference, name)| Command::Clone { reference, name }),
        4 => held().prop_map(Command::Put),
        1 => held().prop_map(|reference| Command::Weak { reference, name: None }),
        1 => (one_of(&["w1", "w2"]), name()).prop_map(|(weak, name)| Command::Upgrade { weak, name }),
    ]
}

fn members() -> impl Strategy<Value = Command> {
    prop_oneof![
        2 => task().prop_map(Command::Task),
        6 => (task(), path()).prop_map(|(task, path)| Command::Join { task, path }),
        2 => (task(), prop::option::of(hierarchy()))
            .prop_map(|(task, hierarchy)| Command::Leave { task, hierarchy }),
        2 => task().prop_map(Command::Exit),
        3 => (task(), task(), prop::collection::vec(path(), 0..3))
            .prop_map(|(spawner, task, paths)| Command::Spawn { spawner, task, paths }),
        2 => (path(), prop::collection::vec(task(), 1..4))
            .prop_map(|(path, tasks)| Command::JoinAll { path, tasks }),
        4 => (path(), prop::bool::weighted(0.6))
            .prop_map(|(path, on)| Command::Freeze { path, on }),
        3 => (task(), prop::bool::weighted(0.7))
            .prop_map(|(task, on)| Command::Frozen { task, on }),
        1 => path().prop_map(Command::Kill),
    ]
}

fn task() -> impl Strategy<Value = String> {
    one_of(&["t1", "t1", "t1", "t2", "t2", "t3"])
}

fn limits() -> impl Strategy<Value = Command> {
    let limit = || prop_oneof![Just(None), (0..4_u64).prop_map(Some), Just(Some(1 << 31))];
    prop_oneof![
        (path(), limit()).prop_map(|(path, limit)| Command::MaxDepth { path, limit }),
        (path(), limit()).prop_map(|(path, limit)| Command::MaxDescendants { path, limit }),
    ]
}

fn injections() -> impl Strategy<Value = Command> {
    let vetoes = Hook::ALL.into_iter().filter(|hook| hook.can_veto()).collect::<Vec<_>>();
    prop_oneof![
        2 => (subsystem(), select(vetoes), 1..3_u32).prop_map(|(subsystem, hook, nth)| Command::Fail {
            subsystem,
            hook,
            nth
        }),
        1 => (subsystem(), select(Hook::ALL.to_vec()), 1..3_u32)
            .prop_map(|(subsystem, hook, nth)| Command::Panic { subsystem, hook, nth }),
    ]
}

fn universe() -> impl Strategy<Value = Command> {
    prop_oneof![
        hierarchy().prop_map(Command::Hierarchy),
        hierarchy().prop_map(Command::Use),
        hierarchy().prop_map(Command::Destroy),
        subsystem().prop_map(Command::Register),
        subsystem().prop_map(Command::Unregister),
    ]
}

fn binding() -> impl Strategy<Value = Command> {
    prop_oneof![
        (subsystem(), hierarchy())
            .prop_map(|(subsystem, hierarchy)| Command::Bind { subsystem, hierarchy }),
        subsystem().prop_map(Command::Unbind),
    ]
}

fn hierarchy() -> impl Strategy<Value = String> {
    one_of(&["h", "h", "h", "h", "g", "g", "no such", ""])
}

fn subsystem() -> impl Strategy<Value = String> {
    one_of(&["memory", "memory", "memory", "memory", "cpu", "cpu", "cpu", "Bad"])
}

/// Mostly what is there; seldom the root, anything else, or no path at all.
fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        16 => one_of(&["a", "a", "a/b", "a/b", "a/b", "b", "b", "a/c", "b/a", "a/b/c"]),
        2 => (group(), group()).prop_map(|(a, b)| format!("{a}/{b}")),
        2 => group(),
        1 => one_of(&["/", "", "a/", "a//b", "/a"]),
    ]
}

fn group() -> impl Strategy<Value = String> {
    prop_oneof![
        40 => one_of(&["a", "a", "b", "c"]),
        1 => one_of(&["", ".", "..", "x\ny", "cgroup.x", "memory.x", "cpu.", "notify_on_release"]),
    ]
}

fn one_of(words: &[&'static str]) -> impl Strategy<Value = String> + use<> {
    select(words.to_vec()).prop_map(str::to_owned)
}
