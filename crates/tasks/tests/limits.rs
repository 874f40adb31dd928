//! The limit on tasks: what it refuses, what it does not, and what it counts.

use fief_core::{Cgroup, Controller, Limit, Registry, Task};
use fief_tasks::{Tasks, TasksStats};
use insta::assert_snapshot;

struct Scene {
    registry: Registry,
    tasks: Controller<Tasks>,
    root: Cgroup,
}

impl Scene {
    fn new() -> Self {
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("h").expect("the name is free");
        let tasks = registry.register(Tasks::new()).expect("the name is free");
        tasks.bind(&hierarchy).expect("it is inactive");
        Self { registry, tasks, root: hierarchy.root() }
    }

    fn group(&self, path: &str, max: &str) -> Cgroup {
        let (parent, name) = path.rsplit_once('/').expect("a path");
        let hierarchy = self.root.hierarchy();
        let parent =
            hierarchy.lookup(if parent.is_empty() { "/" } else { parent }).expect("it is there");
        let group = parent.create_child(name).expect("the name is free");
        group.write("tasks.max", max).expect("a limit");
        group
    }

    fn stats(&self, group: &Cgroup) -> TasksStats {
        self.tasks.css(group).expect("bound here").stats()
    }
}

/// Renders the files of a group and all below it, as `head tasks.*` would.
fn show(top: &Cgroup) -> String {
    let line = |group: Cgroup| {
        let files = ["current", "max", "peak", "events", "events.local"];
        let read = files.map(|file| group.read(&format!("tasks.{file}")).expect("it has one"));
        let [current, max, peak, events, local] = read.each_ref().map(|text| text.trim_end());
        format!("{}: {current} of {max}, peak {peak}, {events}, local {local}\n", group.path())
    };
    top.descendants_pre().map(line).collect()
}

fn refusal(made: Result<Task, fief_core::CreateTaskError>) -> String {
    made.expect_err("refused").to_string()
}

#[test]
fn a_task_is_refused_by_the_nearest_full_group() {
    let scene = Scene::new();
    let (web, api) = (scene.group("/web", "3"), scene.group("/web/api", "2"));
    let first = api.create_task("first").unwrap();
    let second = first.spawn("second").unwrap();
    let full = |group: &str, max| {
        let reached = format!("tasks.max of {group} reached: {max} of {max} tasks in use, 1 asked");
        format!("tasks refused /web/api in can_fork: {reached}")
    };
    assert_eq!(refusal(first.spawn("third")), full("/web/api", 2));
    let beside = web.create_task("beside").unwrap();
    drop(second);
    let more = web.create_task("more").unwrap();
    assert_eq!(refusal(api.create_task("third")), full("/web", 3));
    assert_snapshot!(show(&scene.root), @"
    /: 3 of max, peak 3, max 2, local max 0
    /web: 3 of 3, peak 3, max 2, local max 1
    /web/api: 1 of 2, peak 2, max 1, local max 1
    ");
    drop((first, beside, more));
    assert_eq!((scene.stats(&web).current, scene.stats(&scene.root).current), (0, 0));
}

#[test]
fn moving_is_never_refused() {
    let scene = Scene::new();
    let (full, other) = (scene.group("/full", "0"), scene.group("/other", "max"));
    let tasks: Vec<Task> = ["a", "b"].map(|name| other.create_task(name).unwrap()).into();
    full.attach_all(&tasks.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!((scene.stats(&full).current, scene.stats(&other).current), (2, 0));
    assert_eq!(scene.stats(&full).max_events, 0);
    assert!(tasks[0].spawn("c").is_err(), "but spawning is");
    other.attach(&tasks[0]).unwrap();
    assert_eq!((scene.stats(&full).current, scene.stats(&other).current), (1, 1));
}

#[test]
fn a_limit_below_what_there_is_stands() {
    let scene = Scene::new();
    let web = scene.group("/web", "max");
    let first = web.create_task("first").unwrap();
    let second = first.spawn("second").unwrap();
    let css = scene.tasks.css(&web).unwrap();
    assert_eq!(css.set_max(Limit::At(1)), 2, "tells what there is");
    assert!(first.spawn("third").is_err());
    drop(second);
    assert!(first.spawn("third").is_err(), "as many as the limit");
    web.write("tasks.max", " 2\n").unwrap();
    let third = first.spawn("third").unwrap();
    assert_eq!((css.current(), css.peak(), css.max()), (2, 2, Limit::At(2)));
    drop(third);
}

#[test]
fn the_root_limits_the_registry() {
    let scene = Scene::new();
    let web = scene.group("/web", "max");
    scene.root.write("tasks.max", "1").unwrap();
    let first = scene.registry.create_task("first").unwrap();
    assert!(scene.registry.create_task("second").is_err());
    first.join(&web).unwrap();
    assert!(web.create_task("second").is_err());
}

#[test]
fn tasks_count_from_before_the_subsystem_on() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let web = hierarchy.root().create_child("web").unwrap();
    let [there, _at_root] = ["there", "at root"].map(|name| registry.create_task(name).unwrap());
    there.join(&web).unwrap();
    let tasks = registry.register(Tasks::new()).unwrap();
    assert_eq!(tasks.root().unwrap().current(), 2);
    tasks.bind(&hierarchy).unwrap();
    assert_snapshot!(show(&hierarchy.root()), @"
    /: 2 of max, peak 2, max 0, local max 0
    /web: 1 of max, peak 1, max 0, local max 0
    ");
    let css = tasks.css(&web).unwrap();
    tasks.unbind().unwrap();
    assert_eq!((css.current(), tasks.root().unwrap().current()), (0, 2));
    drop(there);
    assert_eq!(tasks.root().unwrap().current(), 1);
}

#[test]
fn another_controllers_refusal_gives_the_task_back() {
    let scene = Scene::new();
    /// Refuses every task.
    struct Never;
    impl fief_core::Subsystem for Never {
        type State = ();
        fn name(&self) -> &'static str {
            "never"
        }
        fn new_css(
            &self,
            _parent: Option<&fief_core::Css<()>>,
        ) -> Result<(), fief_core::HookError> {
            Ok(())
        }
        fn can_fork(
            &self,
            _css: &fief_core::Css<()>,
            _task: &fief_core::Member,
        ) -> Result<(), fief_core::HookError> {
            Err("never".into())
        }
    }
    let never = scene.registry.register(Never).unwrap();
    assert!(scene.root.create_task("refused").is_err());
    assert_eq!(scene.stats(&scene.root).current, 0);
    never.unregister().unwrap();
    scene.root.create_task("made").unwrap();
}

#[test]
fn malformed_limits_change_nothing() {
    let scene = Scene::new();
    let web = scene.group("/web", "7");
    let malformed =
        ["", " ", "-1", "+1", "1.5", "1K", "0x10", "MAX", "max max", "1 2", "9223372036854775807"];
    for input in malformed {
        let error = web.write("tasks.max", input).expect_err(input).to_string();
        assert!(error.contains("tasks.max") && error.contains("/web"), "{error}");
        assert!(error.contains(&format!("{input:?}")), "{error}");
    }
    assert_eq!(web.read("tasks.max").unwrap(), "7\n");
    assert!(web.write("tasks.current", "1").is_err() && web.read("tasks.min").is_err());
    web.write("tasks.max", "9223372036854775806").unwrap();
    web.write("tasks.max", "max").unwrap();
    assert_eq!(web.read("tasks.max").unwrap(), "max\n");
}
