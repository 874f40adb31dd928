//! Release agents: a closure, the remover, and a command.
#![cfg(unix)]

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvError, bounded, unbounded};
use fief_core::{
    AgentCommand, AgentError, AgentFailure, AgentStats, Cgroup, Css, Hierarchy, HookError,
    Registry, ReleaseAgent, Removal, RemoveError, State, Subsystem,
};

/// A registry with one hierarchy, whose groups ask for notices.
struct Tenants {
    registry: Registry,
    hierarchy: Hierarchy,
}

impl Tenants {
    fn new() -> Self {
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("h").expect("the name is free");
        hierarchy.root().set_notify_on_release(true).expect("it is there");
        Self { registry, hierarchy }
    }

    /// Uses a group, and lets it go.
    fn use_once(&self, group: &Cgroup) {
        let task = self.registry.create_task("t").expect("nobody refuses");
        task.join(group).expect("it is there");
    }

    /// Returns a group that was used once.
    fn used(&self, name: &str) -> Cgroup {
        let group = self.hierarchy.root().create_child(name).expect("the name is free");
        self.use_once(&group);
        group
    }
}

/// Waits for what nobody signals; in a minute it has come, or never will.
fn until(is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(60), "what is waited for never comes");
        thread::yield_now();
    }
}

/// Waits until the threads of an agent without failures have ended.
fn until_ended(failures: &Receiver<AgentFailure>) {
    assert_eq!(failures.recv().map_err(|RecvError| ()).err(), Some(()));
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("agent-{}-{number}", std::process::id());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).expect("a folder for tests");
        Self(folder)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn fifo(&self, name: &str) -> PathBuf {
        let fifo = self.join(name);
        let status = Command::new("mkfifo").arg(&fifo).status().expect("every system has it");
        assert!(status.success());
        fifo
    }

    /// Returns a command that runs `script`, with the folder as `$0` and the path as `$1`.
    fn script(&self, script: &str) -> AgentCommand {
        let command = AgentCommand::new("sh").arg("-c").arg(script).arg(&self.0);
        // Long enough for every test, and an end for one that fails while its command waits.
        command.timeout(Duration::from_secs(60))
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.join(name)).expect("a script wrote it")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Waits until a script opens `fifo` for reading; what is written then lets it go on.
fn met(fifo: &PathBuf) -> File {
    OpenOptions::new().write(true).open(fifo).expect("a script opens it")
}

/// An agent's figures, told first, without those that are zero.
fn figures(stats: AgentStats) -> String {
    let AgentStats { told, moot, removed, refused, failed, timed_out, panicked, unseen, .. } =
        stats;
    let all = [
        ("told", told),
        ("moot", moot),
        ("removed", removed),
        ("refused", refused),
        ("failed", failed),
        ("timed_out", timed_out),
        ("panicked", panicked),
        ("unseen", unseen),
    ];
    let some = all.iter().filter(|(_, count)| *count > 0);
    some.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_closure_gets_each_group_once() {
    let tenants = Tenants::new();
    let (told, groups) = unbounded();
    let agent = ReleaseAgent::closure(&tenants.hierarchy, move |group| told.send(group).unwrap());
    let agent = agent.unwrap();
    let (a, b) = (tenants.used("a"), tenants.used("b"));

    assert_eq!([groups.recv().unwrap(), groups.recv().unwrap()], [a.clone(), b]);
    tenants.use_once(&a);
    assert_eq!(groups.recv().unwrap(), a);
    assert_eq!(figures(agent.stop()), "told 3");
    assert_eq!(a.state(), State::Online);
    assert!(groups.recv().is_err(), "and the closure is gone");
}

#[test]
fn a_closure_that_removes_is_counted_so() {
    let tenants = Tenants::new();
    let agent = ReleaseAgent::closure(&tenants.hierarchy, |group| {
        group.remove(Removal::Strict).unwrap();
    });
    let agent = agent.unwrap();
    let a = tenants.used("a");
    until(|| a.state() != State::Online);
    assert_eq!(figures(agent.stop()), "told 1 removed 1");
}

#[test]
fn the_remover_removes() {
    let tenants = Tenants::new();
    let agent = ReleaseAgent::remover(&tenants.hierarchy).unwrap();
    tenants.used("a");
    until(|| tenants.hierarchy.lookup("/a").is_err());
    assert_eq!(figures(agent.stop()), "told 1 removed 1");
}

#[test]
fn a_parent_follows_its_last_child() {
    let tenants = Tenants::new();
    let agent = ReleaseAgent::remover(&tenants.hierarchy).unwrap();
    let a = tenants.hierarchy.root().create_child("a").unwrap();
    let b = a.create_child("b").unwrap();
    tenants.use_once(&b);
    until(|| a.state() != State::Online);
    assert_ne!(b.state(), State::Online);
    assert_eq!(figures(agent.stop()), "told 2 removed 2");
}

#[test]
fn a_closure_that_panics_goes_on_with_the_next_group() {
    let tenants = Tenants::new();
    let (told, names) = unbounded();
    let agent = ReleaseAgent::closure(&tenants.hierarchy, move |group| {
        assert_ne!(group.name(), "a", "not that one");
        told.send(group.name()).unwrap();
    });
    let agent = agent.unwrap();
    let (a, _b) = (tenants.used("a"), tenants.used("b"));

    assert_eq!(names.recv().unwrap(), "b");
    let failure = agent.failures().recv().unwrap();
    assert!(matches!(failure, AgentFailure::Panicked { .. }));
    assert_eq!((failure.cgroup(), failure.program()), ("/a", None));
    let text = failure.to_string();
    assert!(text.starts_with("release agent for /a panicked: assertion"), "{text}");
    assert!(text.contains("not that one"), "{text}");
    assert_eq!(figures(agent.stop()), "told 2 panicked 1");
    assert_eq!(a.state(), State::Online);
}

#[test]
fn a_closure_may_panic_as_it_is_dropped() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("dropped badly");
        }
    }
    let tenants = Tenants::new();
    let bad = Bad;
    let agent = ReleaseAgent::closure(&tenants.hierarchy, move |_group| {
        let _: &Bad = &bad;
    });
    assert_eq!(figures(agent.unwrap().stop()), "");
}

#[test]
fn stopping_waits_for_the_closure_that_runs() {
    let tenants = Tenants::new();
    let (entered, is_in) = bounded(0);
    let (go, may_go) = bounded::<()>(0);
    let is_done = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&is_done);
    let agent = ReleaseAgent::closure(&tenants.hierarchy, move |_group| {
        entered.send(()).unwrap();
        may_go.recv().unwrap();
        done.store(true, Ordering::Relaxed);
    });
    let agent = agent.unwrap();
    tenants.used("a");
    is_in.recv().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            drop(agent);
            assert!(is_done.load(Ordering::Relaxed));
        });
        go.send(()).unwrap();
    });
}

/// Starts an agent whose closure waits for a word, and then drops the agent.
fn self_ending(
    tenants: &Tenants,
    is_to_end: Receiver<()>,
) -> (Arc<Mutex<Option<ReleaseAgent>>>, Receiver<AgentFailure>) {
    let slot: Arc<Mutex<Option<ReleaseAgent>>> = Arc::default();
    let own = Arc::clone(&slot);
    let agent = ReleaseAgent::closure(&tenants.hierarchy, move |_group| {
        is_to_end.recv().expect("it comes");
        let agent = own.lock().expect("not poisoned").take();
        drop(agent);
    });
    let agent = agent.expect("there are threads");
    let failures = agent.failures();
    *slot.lock().expect("not poisoned") = Some(agent);
    (slot, failures)
}

#[test]
fn an_agent_may_end_itself_and_leaves_what_waits() {
    let tenants = Tenants::new();
    let (end, is_to_end) = bounded(0);
    let (slot, failures) = self_ending(&tenants, is_to_end);
    tenants.used("a");
    let (b, c) = (tenants.used("b"), tenants.used("c"));
    end.send(()).unwrap();
    until_ended(&failures);
    assert!(slot.lock().unwrap().is_none());

    let notices = tenants.hierarchy.notices();
    let next = || notices.recv().unwrap().accept().unwrap();
    assert_eq!([next(), next()], [b, c]);
}

#[test]
fn an_agent_that_starts_late_gets_what_waited() {
    let tenants = Tenants::new();
    let groups = ["a", "b", "c"].map(|name| tenants.used(name));
    let agent = ReleaseAgent::remover(&tenants.hierarchy).unwrap();
    until(|| groups.iter().all(|group| group.state() != State::Online));
    assert_eq!(figures(agent.stop()), "told 3 removed 3");
}

#[test]
fn agents_share_the_notices() {
    let tenants = Tenants::new();
    let (told, names) = unbounded();
    let agents = [0, 1].map(|agent| {
        let told = told.clone();
        let tell = move |group: Cgroup| told.send((group.name(), agent)).unwrap();
        ReleaseAgent::closure(&tenants.hierarchy, tell).unwrap()
    });
    let groups: Vec<Cgroup> = (0..20).map(|name| tenants.used(&name.to_string())).collect();

    let by_name: BTreeMap<String, i32> = names.iter().take(20).collect();
    assert_eq!(by_name.len(), groups.len());
    let stats = agents.map(ReleaseAgent::stop);
    assert_eq!(stats[0].told + stats[1].told, 20);
}

#[test]
fn a_registry_ends_under_its_agents() {
    let tenants = Tenants::new();
    let agents = [
        ReleaseAgent::closure(&tenants.hierarchy, drop).unwrap(),
        ReleaseAgent::remover(&tenants.hierarchy).unwrap(),
        ReleaseAgent::command(&tenants.hierarchy, AgentCommand::new("true")).unwrap(),
    ];
    drop(tenants);
    for agent in &agents {
        until_ended(&agent.failures());
    }
}

#[test]
fn a_registry_may_end_on_its_agents_thread() {
    let tenants = Tenants::new();
    let (entered, is_in) = bounded(0);
    let (go, may_go) = bounded::<()>(0);
    let agent = ReleaseAgent::closure(&tenants.hierarchy, move |group| {
        entered.send(()).unwrap();
        may_go.recv().unwrap();
        assert_eq!(group.state(), State::Online);
    });
    let agent = agent.unwrap();
    tenants.used("a");
    is_in.recv().unwrap();
    drop(tenants);
    go.send(()).unwrap();
    until_ended(&agent.failures());
    // The group is gone with the registry.
    assert_eq!(figures(agent.stop()), "told 1 removed 1");
}

#[test]
fn a_destroyed_hierarchy_has_no_agents() {
    let tenants = Tenants::new();
    let agent = ReleaseAgent::remover(&tenants.hierarchy).unwrap();
    tenants.hierarchy.destroy().unwrap();
    until_ended(&agent.failures());
    let error = ReleaseAgent::remover(&tenants.hierarchy).unwrap_err();
    assert!(matches!(error, AgentError::Destroyed { .. }));
    assert_eq!(error.to_string(), "hierarchy h is destroyed");
}

#[test]
fn an_agent_dropped_under_a_guard_waits_for_nothing() {
    let tenants = Tenants::new();
    let (entered, is_in) = bounded(0);
    let (go, may_go) = bounded::<()>(0);
    let registry = tenants.registry.clone();
    let agent = ReleaseAgent::closure(&tenants.hierarchy, move |_group| {
        entered.send(()).unwrap();
        may_go.recv().unwrap();
        registry.synchronize().unwrap();
    });
    let agent = agent.unwrap();
    let failures = agent.failures();
    tenants.used("a");
    is_in.recv().unwrap();
    let guard = tenants.registry.read();
    go.send(()).unwrap();
    drop(agent);
    drop(guard);
    until_ended(&failures);
}

/// Drops what it has when a group goes offline.
struct Dropping<T>(Mutex<Option<T>>);

impl<T: Send + 'static> Subsystem for Dropping<T> {
    type State = ();

    fn name(&self) -> &str {
        "dropping"
    }

    fn new_css(&self, _parent: Option<&Css<()>>) -> Result<(), HookError> {
        Ok(())
    }

    fn offline(&self, _css: &Css<()>) {
        let dropped = self.0.lock().expect("not poisoned").take();
        drop(dropped);
    }
}

#[test]
fn an_agent_dropped_in_a_hook_waits_for_nothing() {
    let tenants = Tenants::new();
    let (entered, is_in) = bounded(0);
    let (go, may_go) = bounded::<()>(0);
    let registry = tenants.registry.clone();
    let agent = ReleaseAgent::closure(&tenants.hierarchy, move |_group| {
        entered.send(()).unwrap();
        registry.synchronize().unwrap();
        may_go.recv().unwrap();
    });
    let agent = agent.unwrap();
    let failures = agent.failures();
    let dropping = tenants.registry.register(Dropping(Mutex::new(Some(agent)))).unwrap();
    dropping.bind(&tenants.hierarchy).unwrap();
    let b = tenants.hierarchy.root().create_child("b").unwrap();
    tenants.used("a");
    is_in.recv().unwrap();
    b.remove(Removal::Detach).unwrap();
    go.send(()).unwrap();
    until_ended(&failures);
}

#[test]
fn a_path_is_one_argument_whatever_a_name_holds() {
    let names = [
        "plain",
        "two words",
        "-rf",
        "--help",
        "it's \"quoted\"",
        "$(touch made)",
        "`touch made`",
        "${HOME}",
        "a;b&c|d>e",
        "*",
        "~",
        "%s\\n",
        "\\",
        "größe ☃",
        "tab\there",
        " ",
    ];
    let (tenants, folder) = (Tenants::new(), Folder::new());
    let command = folder.script(r#"printf '%s\n' "$#" "$1" >> "$0/arguments""#).at_most(1);
    let agent = ReleaseAgent::command(&tenants.hierarchy, command).unwrap();
    names.iter().for_each(|name| drop(tenants.used(name)));
    until(|| agent.stats().removed == names.len() as u64);

    let arguments = folder.read("arguments");
    let lines: Vec<&str> = arguments.lines().collect();
    let mut seen: Vec<[&str; 2]> = lines.chunks(2).map(|pair| [pair[0], pair[1]]).collect();
    let paths: Vec<String> = names.iter().map(|name| format!("/{name}")).collect();
    let mut expected: Vec<[&str; 2]> = paths.iter().map(|path| ["1", path.as_str()]).collect();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
    assert_eq!(agent.stop().told, names.len() as u64);
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let tenants = Tenants::new();
    let command = AgentCommand::new("/nowhere/agent").arg("x");
    let agent = ReleaseAgent::command(&tenants.hierarchy, command).unwrap();
    let a = tenants.used("a");
    let failures = agent.failures();

    let failure = failures.recv().unwrap();
    let AgentFailure::Spawn { source, .. } = &failure else { panic!("{failure}") };
    assert_eq!(source.kind(), ErrorKind::NotFound);
    assert_eq!((failure.program(), failure.cgroup()), (Some("/nowhere/agent"), "/a"));
    assert_eq!(
        failure.to_string(),
        "release agent /nowhere/agent cannot be run for /a: No such file or directory (os error 2)"
    );
    assert_eq!(a.state(), State::Online);
    // Nobody is told again by itself.
    assert_eq!(tenants.hierarchy.renotify().unwrap(), 1);
    assert!(matches!(failures.recv().unwrap(), AgentFailure::Spawn { .. }));
    assert_eq!(figures(agent.stop()), "told 2 failed 2");
}

/// Returns whether `pid` is a child of this process, dead or alive.
fn is_child(pid: &str) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{}/status", pid.trim())) else {
        return false;
    };
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent.is_some_and(|parent| parent.trim() == std::process::id().to_string())
}

#[test]
fn a_command_that_fails_is_told_how() {
    for (end, text, code, signal) in [
        ("exit 3", "exit status: 3", Some(3), None),
        ("kill -KILL $$", "signal: 9 (SIGKILL)", None, Some(9)),
    ] {
        let (tenants, folder) = (Tenants::new(), Folder::new());
        let command = folder.script(&format!(r#"echo $$ > "$0/pid"; {end}"#));
        let agent = ReleaseAgent::command(&tenants.hierarchy, command).unwrap();
        let a = tenants.used("a");

        let failure = agent.failures().recv().unwrap();
        assert_eq!(failure.to_string(), format!("release agent sh failed for /a: {text}"));
        let AgentFailure::Exit { status, .. } = failure else { panic!("{failure}") };
        assert_eq!((status.code(), status.signal()), (code, signal));
        assert_eq!(a.state(), State::Online);
        assert!(!is_child(&folder.read("pid")), "it is reaped");
        assert_eq!(figures(agent.stop()), "told 1 failed 1");
    }
}

#[test]
fn a_command_that_hangs_is_killed_with_its_children() {
    // A machine that is too busy to start the children within the time has more of it next.
    for millis in [200, 1000, 5000, 25_000] {
        let (tenants, folder) = (Tenants::new(), Folder::new());
        let fifo = folder.fifo("alive");
        let writer = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        let mut alive = File::open(&fifo).unwrap();
        let script = r#"
            exec 3> "$0/alive"
            echo $$ > "$0/pid"
            sh -c 'sleep 40; echo survived >&3' &
            echo up >&3
            wait"#;
        let timeout = Duration::from_millis(millis);
        let agent =
            ReleaseAgent::command(&tenants.hierarchy, folder.script(script).timeout(timeout));
        let agent = agent.unwrap();
        let a = tenants.used("a");

        let failure = agent.failures().recv().unwrap();
        let expected = format!("release agent sh took longer than {timeout:?} for /a");
        assert_eq!(failure.to_string(), expected);
        assert!(matches!(failure, AgentFailure::TimedOut { .. }));
        assert_eq!(figures(agent.stop()), "told 1 timed_out 1");
        assert_eq!(a.state(), State::Online);
        // Its end is read when nobody is left who could write.
        drop(writer);
        let mut written = String::new();
        alive.read_to_string(&mut written).unwrap();
        if written == "up\n" {
            assert!(!is_child(&folder.read("pid")), "it is reaped");
            return;
        }
        assert_eq!(written, "");
    }
    panic!("no child was ever started in time");
}

#[test]
fn no_more_commands_run_than_may() {
    let (tenants, folder) = (Tenants::new(), Folder::new());
    for name in ["started", "running", "seen"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    // The first three wait for one another: so many do run at once.
    let script = r#"
        set -e
        mkdir "$0/running$1"
        ls "$0/running" | wc -l > "$0/seen$1"
        mkdir "$0/started$1"
        until [ "$(ls "$0/started" | wc -l)" -ge 3 ]; do :; done
        rmdir "$0/running$1""#;
    let command = folder.script(script).at_most(3);
    let agent = ReleaseAgent::command(&tenants.hierarchy, command).unwrap();
    (0..20).for_each(|name| drop(tenants.used(&format!("g{name}"))));
    until(|| agent.stats().removed == 20);

    let seen = (0..20).map(|name| folder.read(&format!("seen/g{name}")));
    let most = seen.map(|count| count.trim().parse::<u64>().unwrap()).max();
    assert!(most <= Some(3), "{most:?} at once");
    assert_eq!(figures(agent.stop()), "told 20 removed 20");
}

#[test]
fn a_number_of_commands_out_of_range_is_refused() {
    let tenants = Tenants::new();
    for at_most in [0, 65] {
        let command = AgentCommand::new("true").at_most(at_most);
        let error = ReleaseAgent::command(&tenants.hierarchy, command).unwrap_err();
        let text = format!("release agent true cannot run {at_most} commands at once, but 1 to 64");
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn a_group_in_use_again_stays() {
    let (tenants, folder) = (Tenants::new(), Folder::new());
    let fifo = folder.fifo("go");
    let command = folder.script(r#"read line < "$0/go""#);
    let agent = ReleaseAgent::command(&tenants.hierarchy, command).unwrap();
    let a = tenants.used("a");
    let mut go = met(&fifo);
    let task = tenants.registry.create_task("t").unwrap();
    task.join(&a).unwrap();
    writeln!(go).unwrap();

    let failure = agent.failures().recv().unwrap();
    assert_eq!(
        failure.to_string(),
        "release agent cannot remove /a: /a is busy: 1 members, 0 children"
    );
    assert_eq!((failure.program(), failure.cgroup()), (Some("sh"), "/a"));
    let AgentFailure::Refused { source, .. } = failure else { panic!("{failure}") };
    assert!(matches!(source, RemoveError::Busy { members: 1, .. }));
    assert_eq!(figures(agent.stats()), "told 1 refused 1");
    // Let go again, it is told again.
    drop(task);
    drop(go);
    writeln!(met(&fifo)).unwrap();
    until(|| a.state() != State::Online);
    assert_eq!(figures(agent.stop()), "told 2 removed 1 refused 1");
}

#[test]
fn a_group_with_a_new_reference_stays() {
    let (tenants, folder) = (Tenants::new(), Folder::new());
    let unused = tenants.registry.register(Dropping::<()>(Mutex::default())).unwrap();
    unused.bind(&tenants.hierarchy).unwrap();
    let fifo = folder.fifo("go");
    let command = folder.script(r#"read line < "$0/go""#);
    let agent = ReleaseAgent::command(&tenants.hierarchy, command).unwrap();
    let a = tenants.used("a");
    let mut go = met(&fifo);
    let reference = unused.css(&a).unwrap();
    writeln!(go).unwrap();

    let failure = agent.failures().recv().unwrap();
    assert_eq!(
        failure.to_string(),
        "release agent cannot remove /a: /a is in use: 1 reference to dropping of /a"
    );
    assert_eq!(a.state(), State::Online);
    drop((reference, go));
    writeln!(met(&fifo)).unwrap();
    until(|| a.state() != State::Online);
    assert_eq!(figures(agent.stop()), "told 2 removed 1 refused 1");
}

#[test]
fn no_group_is_forgotten_under_load() {
    let tenants = Tenants::new();
    let unused = tenants.registry.register(Dropping::<()>(Mutex::default())).unwrap();
    unused.bind(&tenants.hierarchy).unwrap();
    let agent = ReleaseAgent::remover(&tenants.hierarchy).unwrap();
    let root = tenants.hierarchy.root();
    thread::scope(|scope| {
        for thread in 0..2 {
            let (tenants, unused, root) = (&tenants, &unused, &root);
            scope.spawn(move || {
                let task = tenants.registry.create_task("t").unwrap();
                for round in 0..3000 {
                    let name = ((round * 7 + thread) % 5).to_string();
                    let found = || tenants.hierarchy.lookup(&format!("/{name}")).ok();
                    // Neither is had when others are quicker.
                    let Some(group) = root.create_child(&name).ok().or_else(found) else {
                        continue;
                    };
                    match round % 3 {
                        0 => drop(task.join(&group)),
                        1 => drop(unused.css(&group)),
                        _ => drop((unused.css(&group), task.join(&group))),
                    }
                }
            });
        }
    });
    // One that was made and never used makes no notice by itself.
    tenants.hierarchy.renotify().unwrap();
    until(|| root.children().next().is_none());
    let stats = agent.stop();
    assert_eq!(stats.told, stats.removed + stats.refused);
}

#[test]
fn a_group_that_others_remove_is_as_good() {
    let (tenants, folder) = (Tenants::new(), Folder::new());
    let fifo = folder.fifo("go");
    let command = folder.script(r#"read line < "$0/go""#);
    let agent = ReleaseAgent::command(&tenants.hierarchy, command).unwrap();
    let a = tenants.used("a");
    let mut go = met(&fifo);
    a.remove(Removal::Detach).unwrap();
    writeln!(go).unwrap();
    assert_eq!(figures(agent.stop()), "told 1 removed 1");
}

#[test]
fn a_group_has_one_command_at_a_time() {
    let (tenants, folder) = (Tenants::new(), Folder::new());
    let fifo = folder.fifo("go");
    // The first to run fails; the one after it succeeds.
    let script = r#"
        mkdir "$0/running" || exit 9
        read line < "$0/go"
        rmdir "$0/running"
        mkdir "$0/first" 2> "$0/noise" && exit 1
        exit 0"#;
    let agent = ReleaseAgent::command(&tenants.hierarchy, folder.script(script)).unwrap();
    let a = tenants.used("a");
    let mut go = met(&fifo);
    tenants.use_once(&a);
    writeln!(go).unwrap();
    drop(go);

    let failure = agent.failures().recv().unwrap();
    assert_eq!(failure.to_string(), "release agent sh failed for /a: exit status: 1");
    writeln!(met(&fifo)).unwrap();
    until(|| a.state() != State::Online);
    assert_eq!(figures(agent.stop()), "told 2 removed 1 failed 1");
}

#[test]
fn an_agent_that_was_stopped_runs_no_other_command() {
    let (tenants, folder) = (Tenants::new(), Folder::new());
    let fifo = folder.fifo("go");
    let agent =
        ReleaseAgent::command(&tenants.hierarchy, folder.script(r#"read line < "$0/go"; exit 1"#));
    let agent = agent.unwrap();
    let failures = agent.failures();
    let a = tenants.used("a");
    let mut go = met(&fifo);
    // Told of again while its command runs: that is for the same thread, later.
    tenants.use_once(&a);
    until(|| tenants.registry.stats().notices == 2 && tenants.hierarchy.notices().is_empty());
    let guard = tenants.registry.read();
    drop(agent); // under a guard it waits for nothing
    drop(guard);
    writeln!(go).unwrap();
    drop(go);
    assert_eq!(failures.iter().count(), 1, "one command ran");

    let next = ReleaseAgent::remover(&tenants.hierarchy).unwrap();
    until(|| a.state() != State::Online);
    assert_eq!(figures(next.stop()), "told 1 removed 1");
}

#[test]
fn a_registry_ends_under_a_command() {
    let (tenants, folder) = (Tenants::new(), Folder::new());
    let fifo = folder.fifo("go");
    let command = folder.script(r#"read line < "$0/go""#);
    let agent = ReleaseAgent::command(&tenants.hierarchy, command).unwrap();
    let a = tenants.used("a");
    let mut go = met(&fifo);
    drop((tenants, a));
    writeln!(go).unwrap();
    assert_eq!(figures(agent.stop()), "told 1 removed 1");
}
