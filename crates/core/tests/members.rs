//! Members: created where their spawner sits, moved many at once, listed while they move.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::Duration,
};

use fief_core::{
    Cgroup, CreateTaskError, Css, HookError, Member, Migration, Registry, Removal, StructuralError,
    Subsystem, Task,
};

/// Writes down every hook about members, and lets a test answer in its place.
struct Recorder {
    name: &'static str,
    script: Arc<Script>,
}

#[derive(Default)]
struct Script {
    log: Mutex<Vec<String>>,
    answer: OnceLock<Answer>,
}

/// Told the subsystem, the hook and the task; refuses or not.
type Answer = Box<dyn Fn(&str, &str, &str) -> Result<(), HookError> + Send + Sync>;

impl Script {
    fn log(&self) -> MutexGuard<'_, Vec<String>> {
        self.log.lock().expect("not poisoned")
    }

    fn drain(&self) -> Vec<String> {
        std::mem::take(&mut self.log())
    }

    fn answer(
        &self,
        answer: impl Fn(&str, &str, &str) -> Result<(), HookError> + Send + Sync + 'static,
    ) {
        assert!(self.answer.set(Box::new(answer)).is_ok(), "set twice");
    }
}

impl Recorder {
    fn call(&self, hook: &str, task: &Member, at: &str) -> Result<(), HookError> {
        self.script.log().push(format!("{} {hook} {} {at}", self.name, task.name));
        self.script.answer.get().map_or(Ok(()), |answer| answer(self.name, hook, &task.name))
    }

    fn migrate(&self, hook: &str, migration: &Migration<'_, ()>) -> Result<(), HookError> {
        let at = format!("{} -> {}", migration.source.path(), migration.target.path());
        self.call(hook, migration.task, &at)
    }
}

impl Subsystem for Recorder {
    type State = ();

    fn name(&self) -> &str {
        self.name
    }

    fn new_css(&self, _parent: Option<&Css<()>>) -> Result<(), HookError> {
        Ok(())
    }

    fn can_attach(&self, migration: &Migration<'_, ()>) -> Result<(), HookError> {
        self.migrate("can_attach", migration)
    }

    fn cancel_attach(&self, migration: &Migration<'_, ()>) {
        self.migrate("cancel_attach", migration).ok();
    }

    fn attach(&self, migration: &Migration<'_, ()>) {
        self.migrate("attach", migration).ok();
    }

    fn post_attach(&self, migration: &Migration<'_, ()>) {
        self.migrate("post_attach", migration).ok();
    }

    fn can_fork(&self, css: &Css<()>, task: &Member) -> Result<(), HookError> {
        self.call("can_fork", task, &css.path())
    }

    fn cancel_fork(&self, css: &Css<()>, task: &Member) {
        self.call("cancel_fork", task, &css.path()).ok();
    }

    fn fork(&self, css: &Css<()>, task: &Member) {
        self.call("fork", task, &css.path()).ok();
    }

    fn exit(&self, css: &Css<()>, task: &Member) {
        self.call("exit", task, &css.path()).ok();
    }
}

/// Two hierarchies, one controller on each and one on none; `/a`, `/b` and `/a`, `/b`.
struct Field {
    registry: Registry,
    script: Arc<Script>,
    one: [Cgroup; 3],
    two: [Cgroup; 3],
}

impl Field {
    fn new() -> Self {
        let registry = Registry::new();
        let script = Arc::new(Script::default());
        let register = |name| {
            registry.register(Recorder { name, script: Arc::clone(&script) }).expect("a free name")
        };
        let controllers = ["cpu", "memory", "idle"].map(register);
        let groups = |index: usize, name: &str| {
            let hierarchy = registry.create_hierarchy(name).expect("a free name");
            controllers[index].bind(&hierarchy).expect("an empty hierarchy");
            let root = hierarchy.root();
            let [a, b] = ["a", "b"].map(|name| root.create_child(name).expect("a free name"));
            [root, a, b]
        };
        let (one, two) = (groups(0, "one"), groups(1, "two"));
        Self { registry, script, one, two }
    }

    fn task(&self, name: &str) -> Task {
        let task = self.registry.create_task(name).expect("nobody refuses");
        self.script.drain();
        task
    }

    /// Returns the paths where the task sits.
    fn places(&self, task: &Task) -> [String; 2] {
        let path = |root: &Cgroup| task.cgroup(&root.hierarchy()).expect("a member").path();
        [path(&self.one[0]), path(&self.two[0])]
    }
}

fn names(cgroup: &Cgroup) -> Vec<String> {
    cgroup.members().into_iter().map(|member| member.name).collect()
}

#[test]
fn spawn_inherits_every_place() {
    let field = Field::new();
    let parent = field.task("parent");
    field.one[1].attach(&parent).unwrap();
    field.two[2].attach(&parent).unwrap();
    field.script.drain();
    let child = parent.spawn("child").unwrap();
    let expected = [
        "cpu can_fork child /a",
        "memory can_fork child /b",
        "idle can_fork child /",
        "cpu fork child /a",
        "memory fork child /b",
        "idle fork child /",
    ];
    assert_eq!(field.script.drain(), expected);
    assert_eq!(field.places(&child), ["/a", "/b"]);
    assert_eq!(names(&field.one[1]), ["parent", "child"]);
    assert_eq!(names(&field.two[2]), ["parent", "child"]);
    drop(parent);
    assert!(field.one[1].is_populated(), "the child is a member on its own");
    let grandchild = child.spawn("grandchild").unwrap();
    assert_eq!(field.places(&grandchild), ["/a", "/b"]);
    drop((child, grandchild));
    assert!(!field.one[1].is_populated());
    field.one[1].remove(Removal::Strict).unwrap();
}

#[test]
fn spawn_into_names_some_places_and_inherits_the_others() {
    let field = Field::new();
    let parent = field.task("parent");
    field.one[1].attach(&parent).unwrap();
    field.two[1].attach(&parent).unwrap();
    let child = parent.spawn_into("child", &[&field.two[2], &field.two[2]]).unwrap();
    assert_eq!(field.places(&child), ["/a", "/b"]);
    let child = parent.spawn_into("child", &[&field.two[0], &field.one[2]]).unwrap();
    assert_eq!(field.places(&child), ["/b", "/"]);
    let created = field.two[1].create_task("created").unwrap();
    assert_eq!(field.places(&created), ["/", "/a"]);
    let created = field.two[0].create_task("created").unwrap();
    assert_eq!(field.places(&created), ["/", "/"]);
}

#[test]
fn a_refused_spawn_changes_nothing() {
    let field = Field::new();
    let parent = field.task("parent");
    field.one[1].attach(&parent).unwrap();
    field.script.drain();
    field.script.answer(|subsystem, hook, _task| match (subsystem, hook) {
        ("idle", "can_fork") => Err("full".into()),
        _ => Ok(()),
    });
    let refused = parent.spawn("child").unwrap_err();
    assert!(matches!(&refused, CreateTaskError::Vetoed(veto) if veto.subsystem() == "idle"));
    let expected = [
        "cpu can_fork child /a",
        "memory can_fork child /",
        "idle can_fork child /",
        "cpu cancel_fork child /a",
        "memory cancel_fork child /",
    ];
    assert_eq!(field.script.drain(), expected);
    assert_eq!(names(&field.one[1]), ["parent"]);
    assert_eq!(field.registry.stats().tasks, 1);
}

#[test]
fn a_panic_in_can_fork_is_a_veto() {
    let field = Field::new();
    field.script.answer(|subsystem, hook, _task| {
        assert!((subsystem, hook) != ("memory", "can_fork"), "out of order");
        Ok(())
    });
    let refused = field.one[1].create_task("t").unwrap_err();
    let text = "memory refused / in can_fork: panicked: out of order";
    assert_eq!(refused.to_string(), text);
    assert!(!field.one[1].is_populated());
    assert_eq!(field.registry.stats().hook_panics, 0, "refused, not tolerated");
}

#[test]
fn spawns_into_what_is_not_there_are_refused() {
    let field = Field::new();
    let parent = field.task("parent");
    let text = |result: Result<Task, CreateTaskError>| result.unwrap_err().to_string();
    let [one_a, one_b] = [&field.one[1], &field.one[2]];
    assert_eq!(
        text(parent.spawn_into("t", &[&field.two[1], one_a, one_b])),
        "task \"t\" cannot be in /a and /b of hierarchy one",
    );
    let other = Field::new();
    assert_eq!(
        text(parent.spawn_into("t", &[&other.one[1]])),
        "task \"t\" cannot be created in /a: it is of another registry",
    );
    assert_eq!(
        text(parent.spawn("a\nb")),
        "task name \"a\\nb\" holds a newline or NUL, or exceeds 255 bytes",
    );
    one_a.remove(Removal::Detach).unwrap();
    let removed = "task \"t\" cannot be created in /a: it is removed";
    assert_eq!(text(one_a.create_task("t")), removed);
    assert_eq!(text(parent.spawn_into("t", &[&field.two[1], one_a])), removed);
    let hierarchy = field.registry.create_hierarchy("gone").unwrap();
    hierarchy.destroy().unwrap();
    assert_eq!(
        text(hierarchy.root().create_task("t")),
        "task \"t\" cannot be created in /: it is removed",
    );
    assert_eq!(field.script.drain(), [""; 0], "nobody was asked");
    assert_eq!(field.registry.stats().tasks, 1);
}

#[test]
fn a_spawn_inside_a_hook_is_refused() {
    let field = Field::new();
    let parent = Arc::new(field.task("parent"));
    let spawner = Arc::downgrade(&parent);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let inside = Arc::clone(&heard);
    field.script.answer(move |_subsystem, _hook, _task| {
        let answer = spawner.upgrade().map(|spawner| spawner.spawn("inner").err());
        inside.lock().expect("not poisoned").push(answer.flatten());
        Ok(())
    });
    let child = parent.spawn("child").unwrap();
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    assert_eq!(heard.len(), 6);
    for answer in heard {
        let structural =
            StructuralError::Reentrant { operation: "create_task", target: "inner".to_owned() };
        assert!(matches!(answer, Some(CreateTaskError::Structural(error)) if error == structural));
    }
    drop(child);
    let guard = field.registry.read();
    assert!(matches!(
        parent.spawn("t"),
        Err(CreateTaskError::Structural(StructuralError::GuardHeld { .. }))
    ));
    drop(guard);
    let answer = parent.spawn("t").map(|task| task.name().to_owned());
    assert_eq!(answer.unwrap(), "t");
}

#[test]
fn a_spawn_into_an_armed_group_is_a_use_of_it() {
    let field = Field::new();
    let group = field.one[0].create_child("c").unwrap();
    let notices = field.one[0].hierarchy().notices();
    group.set_notify_on_release(true).unwrap();
    let first = group.create_task("first").unwrap();
    let second = first.spawn("second").unwrap();
    drop(first);
    field.registry.wait_reclaimed().unwrap();
    assert!(notices.try_recv().is_err(), "still in use");
    drop(second);
    field.registry.reap();
    let notice = notices.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(notice.accept(), Some(group));
}
