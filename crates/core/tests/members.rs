//! Members: created where their spawner sits, moved many at once, listed while they move.

use std::{
    sync::{
        Arc, Barrier, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use fief_core::{
    Cgroup, CreateTaskError, Css, CssRef, HookError, Member, Migration, RebindOptions, Registry,
    Removal, StructuralError, Subsystem, Task,
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

/// Only those that had agreed are cancelled, and the css that they came from is the old one still.
#[test]
fn race_41_cancel_attach_of_those_that_had_agreed_finds_the_old_css() {
    let field = Field::new();
    let elsewhere = [&field.one[1], &field.one[2], &field.one[0]];
    let register = |name| {
        let recorder = Recorder { name, script: Arc::clone(&field.script) };
        field.registry.register(recorder).unwrap()
    };
    // A second controller where members move; its hierarchy must be empty for that.
    let third = field.registry.create_hierarchy("three").unwrap();
    ["x", "y"].map(register).iter().for_each(|controller| controller.bind(&third).unwrap());
    let [a, b] = ["a", "b"].map(|name| third.root().create_child(name).unwrap());
    let tasks = ["t", "u", "v"].map(|name| field.task(name));
    tasks.iter().zip(elsewhere).for_each(|(task, group)| group.attach(task).unwrap());
    a.attach_all(&[&tasks[0], &tasks[1]]).unwrap();
    let watches = [&a, &b].map(|group| group.watch().unwrap());
    field.script.drain();
    let (inside_a, inside_b) = (a.clone(), b.clone());
    field.script.answer(move |subsystem, hook, task| {
        if hook == "cancel_attach" {
            // Nothing has moved, so who looks the old css up again finds it.
            assert_eq!(names(&inside_a), ["t", "u"]);
            assert!(names(&inside_b).is_empty());
        }
        match (subsystem, hook, task) {
            ("y", "can_attach", "v") => Err("full".into()),
            _ => Ok(()),
        }
    });
    // Named twice, from different groups, and one that is refused last.
    let refused = b.attach_all(&[&tasks[0], &tasks[1], &tasks[0], &tasks[2]]).unwrap_err();
    assert_eq!(refused.to_string(), "y refused /b in can_attach: full");
    let expected = [
        "x can_attach t /a -> /b",
        "y can_attach t /a -> /b",
        "x can_attach u /a -> /b",
        "y can_attach u /a -> /b",
        "x can_attach v / -> /b",
        "y can_attach v / -> /b",
        "x cancel_attach t /a -> /b",
        "y cancel_attach t /a -> /b",
        "x cancel_attach u /a -> /b",
        "y cancel_attach u /a -> /b",
        "x cancel_attach v / -> /b",
    ];
    assert_eq!(field.script.drain(), expected);
    assert_eq!(field.registry.stats().hook_panics, 0, "every cancel saw the old places");
    assert_eq!(names(&a), ["t", "u"]);
    assert!(names(&b).is_empty() && !b.is_populated());
    assert!(watches.iter().all(|watch| watch.try_recv().is_err() && watch.bell().is_empty()));
    assert_eq!(tasks[2].cgroup(&third), Some(third.root()));
    // Without the one that is refused it goes through, each task once.
    b.attach_all(&[&tasks[0], &tasks[1], &tasks[0]]).unwrap();
    assert_eq!(names(&b), ["t", "u"]);
    let log = field.script.drain();
    let count = |hook: &str| log.iter().filter(|line| line.contains(hook)).count();
    assert_eq!([" attach ", "post_attach", "cancel"].map(count), [4, 4, 0]);
    assert_eq!(log.len(), 12);
}

#[test]
fn a_panic_in_can_attach_is_a_veto() {
    let field = Field::new();
    let tasks = ["t", "u"].map(|name| field.task(name));
    field.script.answer(|_subsystem, hook, task| {
        assert!((hook, task) != ("can_attach", "u"), "out of order");
        Ok(())
    });
    let refused = field.one[1].attach_all(&[&tasks[0], &tasks[1]]).unwrap_err();
    assert_eq!(refused.to_string(), "cpu refused /a in can_attach: panicked: out of order");
    let expected =
        ["cpu can_attach t / -> /a", "cpu can_attach u / -> /a", "cpu cancel_attach t / -> /a"];
    assert_eq!(field.script.drain(), expected);
    assert!(!field.one[1].is_populated());
}

#[test]
fn attach_all_of_what_cannot_move_is_refused_before_anybody_is_asked() {
    let (field, other) = (Field::new(), Field::new());
    let (task, foreign) = (field.task("t"), other.task("f"));
    let a = &field.one[1];
    let text = |tasks: &[&Task]| a.attach_all(tasks).unwrap_err().to_string();
    assert_eq!(text(&[&task, &foreign]), "f cannot join /a: it is of another registry");
    a.remove(Removal::Detach).unwrap();
    assert_eq!(text(&[&task]), "t cannot join /a: it is removed");
    assert_eq!(field.script.drain(), [""; 0]);
    assert_eq!(field.places(&task), ["/", "/"]);
    a.attach_all(&[]).unwrap();
}

#[test]
fn structural_calls_inside_the_hooks_of_a_migration_are_refused() {
    let field = Field::new();
    let (task, other) = (field.task("t"), Arc::new(field.task("other")));
    let (a, b) = (field.one[1].clone(), field.one[2].clone());
    let inner = Mutex::new(Some((b.clone(), Arc::clone(&other))));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let inside = Arc::clone(&heard);
    field.script.answer(move |_subsystem, hook, task| {
        let inner = inner.lock().expect("not poisoned").clone();
        let Some((b, other)) = inner.filter(|_| task == "t") else { return Ok(()) };
        let answer = b.attach(&other).map_err(|error| error.to_string());
        inside.lock().expect("not poisoned").push((hook.to_owned(), answer));
        if hook == "can_attach" && other.cgroup(&b.hierarchy()) == Some(b) {
            return Err("moved inside".into());
        }
        Ok(())
    });
    a.attach(&task).unwrap();
    let refused = Err("attach of /b cannot be called from a subsystem's hook or state's drop");
    let expected = [("can_attach", refused), ("attach", refused), ("post_attach", Ok(()))];
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    assert_eq!(heard.len(), expected.len());
    for ((hook, answer), (expected_hook, expected)) in heard.iter().zip(expected) {
        assert_eq!(
            (hook.as_str(), answer.as_ref().map_err(String::as_str)),
            (expected_hook, expected.as_ref().map_err(|text| *text),)
        );
    }
    assert_eq!(names(&b), ["other"]);
}

/// A hook takes a lock that another thread holds while it looks css up, and drops references and tasks.
#[test]
fn race_33_a_hook_takes_a_lock_that_lookups_and_drops_are_made_under() {
    let field = Field::new();
    let lock = Arc::new(Mutex::new(0_u64));
    let inside = Arc::clone(&lock);
    field.script.answer(move |_subsystem, _hook, _task| {
        *inside.lock().expect("not poisoned") += 1;
        Ok(())
    });
    let counter = field.registry.register(Quiet).unwrap();
    let (done, is_done) = mpsc::channel();
    let worker = thread::spawn({
        let (registry, a, b) = (field.registry.clone(), field.one[1].clone(), field.one[2].clone());
        move || {
            let task = registry.create_task("t").expect("nobody refuses");
            for round in 0..500 {
                let to = if round % 2 == 0 { &a } else { &b };
                to.attach(&task).expect("nobody refuses");
            }
            done.send(()).expect("the test waits");
        }
    });
    while is_done.try_recv().is_err() {
        let task = field.registry.create_task("dropped").unwrap();
        let root = counter.root().unwrap();
        let held = lock.lock().unwrap();
        assert!(names(&field.one[1]).len() <= 1);
        // Under a guard the drop of a task waits for no lock.
        let guard = field.registry.read();
        assert!(guard.task_css(&counter, &task).is_some());
        drop((task, root));
        drop(guard);
        drop(held);
    }
    worker.join().unwrap();
    assert!(*lock.lock().unwrap() >= 1500, "every hook of every move");
}

/// A subsystem without hooks.
struct Quiet;

impl Subsystem for Quiet {
    type State = ();

    fn name(&self) -> &str {
        "quiet"
    }

    fn new_css(&self, _parent: Option<&Css<()>>) -> Result<(), HookError> {
        Ok(())
    }
}

/// Everybody is moved out while members spawn: whoever is there when it returns came with the move.
#[test]
fn race_27_moving_all_beside_spawn_leaves_none_behind() {
    let registry = Registry::new();
    let root = registry.create_hierarchy("h").unwrap().root();
    let [a, b] = ["a", "b"].map(|name| root.create_child(name).unwrap());
    for _ in 0..200 {
        let parent = a.create_task("parent").unwrap();
        let start = Barrier::new(2);
        let children = thread::scope(|scope| {
            let spawner = scope.spawn(|| {
                start.wait();
                let spawn = |_| parent.spawn("child").unwrap();
                (0..6).map(spawn).collect::<Vec<_>>()
            });
            start.wait();
            b.attach(&parent).unwrap();
            let left: Vec<_> = a.members();
            let children = spawner.join().unwrap();
            assert_eq!(a.members(), left, "born where its spawner no longer is");
            children
        });
        let behind: Vec<&Task> = children
            .iter()
            .filter(|child| child.cgroup(&root.hierarchy()).as_ref() == Some(&a))
            .collect();
        b.attach_all(&behind).unwrap();
        assert!(!a.is_populated());
        assert_eq!(b.members().len(), 7);
    }
}

/// One thread lists while others drop, move and create: nobody is met twice, and who stays is met.
#[test]
fn race_26_snapshots_beside_a_storm_of_drops() {
    let registry = Registry::new();
    let root = registry.create_hierarchy("h").unwrap().root();
    let [a, b] = ["a", "b"].map(|name| root.create_child(name).unwrap());
    let stays: Vec<Task> = (0..20).map(|_| a.create_task("stays").unwrap()).collect();
    let at_root: Vec<Task> = (0..20).map(|_| registry.create_task("stays").unwrap()).collect();
    let pair = [a.create_task("pair").unwrap(), a.create_task("pair").unwrap()];
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (is_over, pair, stays) = (&is_over, &pair, &stays);
        let (a, b, root, registry) = (&a, &b, &root, &registry);
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let tasks: Vec<Task> =
                    (0..10).filter_map(|_| stays[0].spawn("comes").ok()).collect();
                b.attach(&tasks[3]).expect("nobody refuses");
                root.attach(&tasks[4]).expect("nobody refuses");
                drop(tasks);
                drop(registry.create_task("goes"));
            }
        });
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                for group in [b, root, a] {
                    group.attach_all(&[&pair[0], &pair[1]]).expect("nobody refuses");
                }
            }
        });
        for _ in 0..400 {
            let lists = [a, b, root].map(Cgroup::members);
            for (list, expected) in lists.iter().zip([20, 0, 20]) {
                assert!(list.windows(2).all(|two| two[0].id < two[1].id), "met twice");
                let count = |name| list.iter().filter(|member| member.name == name).count();
                assert_eq!(count("stays"), expected);
                assert!(count("pair") != 1, "moved together, seen apart");
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    drop((stays, pair));
    assert_eq!(root.members().len(), at_root.len());
    assert!(!a.is_populated() && !b.is_populated());
}

/// However many there are: no hook is called, and each finds the css that it had.
#[test]
fn members_go_with_a_rebind_untouched() {
    const MEMBERS: usize = 1_000;
    let registry = Registry::new();
    let script = Arc::new(Script::default());
    let recorder = Recorder { name: "cpu", script: Arc::clone(&script) };
    let cpu = registry.register(recorder).expect("a free name");
    let trees = ["one", "two"].map(|name| registry.create_hierarchy(name).expect("a free name"));
    cpu.bind(&trees[0]).expect("an empty hierarchy");
    let member = |number: usize| {
        let task = registry.create_task("member").expect("nobody refuses");
        for tree in &trees {
            let group = tree.root().create_child(&format!("g{number}")).expect("a free name");
            group.attach(&task).expect("nobody refuses");
        }
        task
    };
    let tasks: Vec<Task> = (0..MEMBERS).map(member).collect();
    let found = || -> Vec<CssRef<()>> { tasks.iter().filter_map(|task| task.css(&cpu)).collect() };
    let (before, _) = (found(), script.drain());
    for tree in [&trees[1], &trees[0]] {
        cpu.rebind(tree, &RebindOptions::new()).unwrap();
        assert_eq!(script.drain(), [""; 0]);
        assert!(found().iter().zip(&before).all(|(now, before)| now.id() == before.id()));
        let group = before[7].cgroup().expect("the registry is there");
        assert_eq!((group.hierarchy(), group.path()), (tree.clone(), "/g7".to_owned()));
    }
    assert_eq!(found().len(), MEMBERS);
}
