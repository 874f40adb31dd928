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
    // A mapping says something about the tree of its groups only.
    "
        register memory; register cpu; hierarchy f; mkdir b; hierarchy g; mkdir b; hierarchy h; mkdir a
        bind memory h; bind cpu g; rebind memory,cpu f map a=b
    ",
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
    if parse(&text(commands)).as_deref() != Ok(commands) {
        return Err(format!("what is written does not parse back:\n\n{}", text(commands)));
    }
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

/// Compares the tree, every css and who resolves to it, the callbacks since the last look, and how many
/// notices there ever were.
fn look(session: &mut Session, model: &mut Model) -> Result<(), (String, String)> {
    compare_all(session, model, &[Command::Events, Command::Show(None)])?;
    for subsystem in ["memory", "cpu"].map(str::to_owned) {
        compare_all(session, model, &[Command::Css(subsystem.clone())])?;
        for task in ["t1", "t2", "t3"].map(str::to_owned) {
            let subsystem = subsystem.clone();
            compare_all(session, model, &[Command::Resolve { task, subsystem }])?;
        }
    }
    for reference in ["r1", "r2", "r3"] {
        compare_all(session, model, &[Command::Parents(reference.to_owned())])?;
    }
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
    for hierarchy in ["h", "g", "f", "e"] {
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
    let anything = (beginning, prop::collection::vec(command(), 1..40))
        .prop_map(|(beginning, rest)| beginning.into_iter().chain(rest).collect());
    prop_oneof![3 => anything, 2 => twins()]
}

/// Trees of one shape, that mostly keep it: what is created, removed and joined in one, is in the others.
fn twins() -> impl Strategy<Value = Vec<Command>> {
    let beginning = "
        register memory; register cpu; hierarchy e; hierarchy f; hierarchy g; hierarchy h
        bind memory h; task t1; task t2
    ";
    let notices = prop::option::weighted(0.5, Just("notify / on"));
    let cpu = select(vec!["", "bind cpu h", "bind cpu g", "bind cpu f"]);
    let some = || prop::collection::vec(common(), 0..6);
    let round = prop_oneof![
        3 => command().prop_map(|command| vec![command]),
        2 => common().prop_map(|command| everywhere(&command)),
        4 => rebinding().prop_map(|command| vec![command]),
    ];
    let made = prop::collection::vec(path().prop_map(Command::Mkdir), 1..6);
    (notices, cpu, made, some(), prop::collection::vec(round, 1..24)).prop_map(
        move |(notices, cpu, made, some, rounds)| {
            let parse = |script| parse(script).expect("a script that parses");
            let mut script = parse(beginning);
            let notices = notices.map_or_else(Vec::new, parse);
            script.extend(notices.iter().flat_map(everywhere));
            script.extend(parse(cpu));
            script.extend(made.iter().chain(&some).flat_map(everywhere));
            script.extend(rounds.concat());
            script
        },
    )
}

/// What changes the shape of a tree, or who sits where.
fn common() -> impl Strategy<Value = Command> {
    prop_oneof![
        3 => path().prop_map(Command::Mkdir),
        2 => (task(), path()).prop_map(|(task, path)| Command::Join { task, path }),
        1 => removals(),
        1 => notices(),
    ]
}

/// The same in three hierarchies, the last of which is selected then.
fn everywhere(command: &Command) -> Vec<Command> {
    let there = ["f", "g", "h"].map(|name| [Command::Use(name.to_owned()), command.clone()]);
    there.concat()
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
        6 => binding(),
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
    let subsystems = || prop::collection::vec(subsystem(), 0..3);
    prop_oneof![
        2 => (subsystem(), hierarchy())
            .prop_map(|(subsystem, hierarchy)| Command::Bind { subsystem, hierarchy }),
        1 => subsystem().prop_map(Command::Unbind),
        1 => (hierarchy(), subsystems())
            .prop_map(|(hierarchy, subsystems)| Command::Remount { hierarchy, subsystems }),
        3 => (path_or_root(), subsystems(), subsystems())
            .prop_filter_map("nothing is asked for", |(path, enable, disable)| {
                let asks = !enable.is_empty() || !disable.is_empty();
                asks.then_some(Command::Subtree { path, enable, disable })
            }),
        1 => rebinding(),
        2 => (subsystem(), path(), 1..100_u64)
            .prop_map(|(subsystem, path, amount)| Command::Charge { subsystem, path, amount }),
    ]
}

fn rebinding() -> impl Strategy<Value = Command> {
    let subsystems = prop_oneof![
        3 => one_of(&["memory", "memory", "cpu"]).prop_map(|subsystem| vec![subsystem]),
        2 => Just(vec!["memory".to_owned(), "cpu".to_owned()]),
        1 => prop::collection::vec(subsystem(), 1..3),
    ];
    let renamed = one_of(&["a=b b=a", "a=a", "a/b=a/c a/c=a/b", "a=b", "/=/", "a=b a=b", "b=/"]);
    let split = |pairs: String| {
        let pairs = pairs.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.map(|(source, target)| (source.to_owned(), target.to_owned())).collect()
    };
    let pairs = prop_oneof![
        2 => renamed.prop_map(split),
        1 => prop::collection::vec((path_or_root(), path_or_root()), 1..3),
    ];
    let mapping = prop::option::weighted(0.15, pairs).prop_map(Option::unwrap_or_default);
    let hierarchy = prop_oneof![20 => one_of(&["f", "g", "h"]), 1 => one_of(&["e", "no such"])];
    (subsystems, hierarchy, mapping, prop::bool::weighted(0.7)).prop_map(
        |(subsystems, hierarchy, mapping, moves)| Command::Rebind {
            subsystems,
            hierarchy,
            mapping,
            moves,
        },
    )
}

fn path_or_root() -> impl Strategy<Value = String> {
    prop_oneof![1 => Just("/".to_owned()), 2 => path()]
}

fn hierarchy() -> impl Strategy<Value = String> {
    one_of(&["h", "h", "h", "h", "g", "g", "g", "f", "no such", ""])
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
