//! Where controllers are bound, changed badly: hooks that refuse, panic or call back in every phase, and
//! arguments that belong to something else.

use std::{
    fmt::Write,
    panic::resume_unwind,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use fief_core::{
    AnyController, BindError, Cgroup, Controller, Css, Hierarchy, HookError, Limit, Member,
    MemberPolicy, Migration, RebindError, RebindOptions, Reclaimer, Registry, Removal, Subsystem,
    Task,
};

/// What a hook does when its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mischief {
    Veto,
    Panic,
    /// Tries whatever changes the tree, and looks at whatever does not.
    Meddle,
}

/// The hook that does something, at which of its calls, and what.
type Plan = (&'static str, u32, Mischief);

/// What the hooks of a scene share.
#[derive(Default)]
struct Stage {
    plans: Mutex<Vec<Plan>>,
    calls: Mutex<Vec<String>>,
    /// What meddling hooks were not refused, and should have been.
    unrefused: Mutex<Vec<String>>,
    handles: Mutex<Option<Handles>>,
    made: AtomicU64,
}

/// All that a hook can lay its hands on.
#[derive(Clone)]
struct Handles {
    registry: Registry,
    source: Hierarchy,
    target: Hierarchy,
    controllers: [Controller<Actor>; 2],
    group: Cgroup,
    task: Arc<Task>,
}

#[derive(Clone)]
struct Actor {
    name: &'static str,
    stage: Arc<Stage>,
}

/// The how-manyeth css it is.
#[derive(Debug)]
struct Number(u64);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics under it")
}

impl Actor {
    /// Runs a hook that can refuse.
    fn ask(&self, hook: &'static str) -> Result<(), HookError> {
        lock(&self.stage.calls).push(format!("{}: {hook}", self.name));
        let mut plans = lock(&self.stage.plans);
        let Some(at) = plans.iter().position(|(its, ..)| *its == hook) else { return Ok(()) };
        let (_, nth, mischief) = &mut plans[at];
        *nth = nth.saturating_sub(1);
        if *nth > 0 {
            return Ok(());
        }
        let mischief = *mischief;
        // A meddler meddles in every call from then on.
        if mischief != Mischief::Meddle {
            plans.remove(at);
        }
        drop(plans);
        match mischief {
            Mischief::Veto => Err("no".into()),
            Mischief::Panic => resume_unwind(Box::new("no")),
            Mischief::Meddle => {
                self.meddle(hook);
                Ok(())
            }
        }
    }

    fn tell(&self, hook: &'static str) {
        self.ask(hook).ok();
    }

    fn meddle(&self, hook: &'static str) {
        let Some(handles) = lock(&self.stage.handles).clone() else { return };
        // Looking and counting are allowed anywhere.
        let Handles { registry, controllers: [one, _], group, task, .. } = &handles;
        let guard = registry.read();
        let seen = guard.task_css(one, task).map(|css| css.try_get());
        drop(guard);
        drop((seen, one.css(group), one.root(), one.hierarchy(), group.path(), group.members()));
        if hook == "post_attach" {
            // It runs under no lock: anything goes.
            group.set_max_depth(Limit::Max).expect("it is online");
            return;
        }
        for (what, answer) in attempts(&handles) {
            if !answer.as_ref().is_some_and(|text| text.contains("from a subsystem's hook")) {
                lock(&self.stage.unrefused).push(format!("{what} in {hook}: {answer:?}"));
            }
        }
    }
}

/// Tries every structural call; `None` where one was let through.
fn attempts(handles: &Handles) -> Vec<(&'static str, Option<String>)> {
    fn text<T, E: std::fmt::Display>(result: Result<T, E>) -> Option<String> {
        result.err().map(|error| error.to_string())
    }
    let Handles { registry, source, target, controllers: [one, other], group, task } = handles;
    let options = RebindOptions::new().members(MemberPolicy::Move);
    let both: [&dyn AnyController; 2] = [one, other];
    vec![
        ("create_child", text(group.create_child("x"))),
        ("create_child_with", text(group.create_child_with("x", &[task]))),
        ("remove", text(group.remove(Removal::Detach))),
        ("remove_subtree", text(group.remove_subtree(Removal::Detach))),
        ("rename", text(group.rename("x"))),
        ("notify_on_release", text(group.set_notify_on_release(true))),
        ("subtree_control", text(group.set_subtree_control(&[], &["one"]))),
        ("attach", text(group.attach(task))),
        ("leave", text(task.leave(source))),
        ("create_task", text(registry.create_task("x"))),
        ("create_hierarchy", text(registry.create_hierarchy("x"))),
        ("destroy", text(target.destroy())),
        ("bind", text(one.bind(target))),
        ("unbind", text(one.unbind())),
        ("unregister", text(one.unregister())),
        ("rebind", text(one.rebind(target, &options))),
        ("rebind of two", text(registry.rebind(&both, source, &options))),
        ("remount", text(target.remount(&both))),
        ("edit", text(registry.edit(|edit| edit.remove(group, Removal::Detach)))),
        ("kill", text(group.kill())),
        ("renotify", text(source.renotify())),
        ("synchronize", text(registry.synchronize())),
        ("wait_reclaimed", text(registry.wait_reclaimed())),
    ]
}

impl Subsystem for Actor {
    type State = Number;

    fn name(&self) -> &str {
        self.name
    }

    fn new_css(&self, _parent: Option<&Css<Number>>) -> Result<Number, HookError> {
        self.ask("new_css")?;
        Ok(Number(self.stage.made.fetch_add(1, Ordering::Relaxed)))
    }

    fn online(&self, _css: &Css<Number>) -> Result<(), HookError> {
        self.ask("online")
    }

    fn killed(&self, _css: &Css<Number>) {
        self.tell("killed");
    }

    fn offline(&self, _css: &Css<Number>) {
        self.tell("offline");
    }

    fn drain(&self, _css: &Css<Number>) {
        self.tell("drain");
    }

    fn bound(&self, _root: &Css<Number>) {
        self.tell("bound");
    }

    fn rebound(&self, _root: &Css<Number>) {
        self.tell("rebound");
    }

    fn can_attach(&self, _migration: &Migration<'_, Number>) -> Result<(), HookError> {
        self.ask("can_attach")
    }

    fn cancel_attach(&self, _migration: &Migration<'_, Number>) {
        self.tell("cancel_attach");
    }

    fn attach(&self, _migration: &Migration<'_, Number>) {
        self.tell("attach");
    }

    fn post_attach(&self, _migration: &Migration<'_, Number>) {
        self.tell("post_attach");
    }

    fn exit(&self, _css: &Css<Number>, _task: &Member) {
        self.tell("exit");
    }
}

/// Two hierarchies of one shape, two controllers on the first, and members in different places.
struct Scene {
    stage: Arc<Stage>,
    registry: Registry,
    hierarchies: [Hierarchy; 2],
    controllers: [Controller<Actor>; 2],
    tasks: Vec<Arc<Task>>,
}

impl Scene {
    fn new() -> Self {
        let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
        let stage = Arc::new(Stage::default());
        let hierarchies = ["by-tenant", "by-plan"]
            .map(|name| registry.create_hierarchy(name).expect("nothing is in the way"));
        let controllers = ["one", "two"].map(|name| {
            let controller = registry
                .register(Actor { name, stage: Arc::clone(&stage) })
                .expect("nothing is in the way");
            controller.bind(&hierarchies[0]).expect("nothing is in the way");
            controller
        });
        for hierarchy in &hierarchies {
            let a = hierarchy.root().create_child("a").expect("nothing is in the way");
            a.create_child("b").expect("nothing is in the way");
            hierarchy
                .root()
                .create_child("c")
                .expect("nothing is in the way")
                .set_notify_on_release(true)
                .expect("nothing is in the way");
        }
        let tasks: Vec<Arc<Task>> = ["t", "u"]
            .map(|name| Arc::new(registry.create_task(name).expect("nothing is in the way")))
            .into();
        let place =
            |hierarchy: &Hierarchy, path| hierarchy.lookup(path).expect("nothing is in the way");
        tasks[0].join(&place(&hierarchies[0], "/a/b")).expect("nothing is in the way");
        tasks[0].join(&place(&hierarchies[1], "/a")).expect("nothing is in the way");
        tasks[1].join(&place(&hierarchies[1], "/a/b")).expect("nothing is in the way");
        let scene = Self { stage, registry, hierarchies, controllers, tasks };
        scene.registry.wait_reclaimed().expect("nothing is in the way");
        let [source, target] = scene.hierarchies.clone();
        *lock(&scene.stage.handles) = Some(Handles {
            registry: scene.registry.clone(),
            group: source.lookup("/a/b").expect("nothing is in the way"),
            source,
            target,
            controllers: scene.controllers.clone(),
            task: Arc::clone(&scene.tasks[1]),
        });
        lock(&scene.stage.calls).clear();
        scene
    }

    fn plan(&self, plans: &[Plan]) {
        *lock(&self.stage.plans) = plans.to_vec();
    }

    /// Forgets what is planned; returns what was left.
    fn take_plans(&self) -> Vec<Plan> {
        std::mem::take(&mut lock(&self.stage.plans))
    }

    fn calls(&self) -> Vec<String> {
        lock(&self.stage.calls).clone()
    }

    /// Everything that can be seen from outside.
    fn render(&self) -> String {
        let mut text = String::new();
        let guard = self.registry.read();
        for hierarchy in &self.hierarchies {
            writeln!(text, "{} {:?}", hierarchy.name(), hierarchy.controllers()).ok();
            for group in hierarchy.root().descendants_pre() {
                let members: Vec<String> = group.members().into_iter().map(|it| it.name).collect();
                write!(text, "{} {members:?} {:?}", group.path(), group.subtree_control()).ok();
                write!(text, " {} {}", group.is_populated(), group.notify_on_release()).ok();
                write!(text, " {}", group.dying_descendant_count()).ok();
                for controller in &self.controllers {
                    write!(
                        text,
                        " {}",
                        guard.css(controller, &group).map_or_else(String::new, line)
                    )
                    .expect("nothing is in the way");
                }
                text.push('\n');
            }
        }
        for controller in &self.controllers {
            let root = guard.root_css(controller).expect("nothing is in the way");
            write!(text, "{:?}", controller.hierarchy().map(|hierarchy| hierarchy.name())).ok();
            writeln!(text, " root {}", line(root)).ok();
            for task in &self.tasks {
                let css = guard.task_css(controller, task).expect("nothing is in the way");
                writeln!(text, "{} {}", task.name(), line(css)).ok();
            }
        }
        drop(guard);
        let stats = self.registry.stats();
        writeln!(text, "{} css, {} told, {} tasks", stats.css_online, stats.notices, stats.tasks)
            .expect("nothing is in the way");
        text
    }

    fn settled(&self) -> String {
        self.registry.wait_reclaimed().expect("nothing is in the way");
        self.render()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // The handles would keep the registry for ever.
        lock(&self.stage.handles).take();
    }
}

fn line(css: &Css<Number>) -> String {
    let parent = css.parent().map(|parent| parent.0);
    format!("{} under {parent:?} of {} {:?}", css.0, css.path(), css.state())
}

/// A change of where controllers are bound.
type Change = fn(&Scene) -> Result<(), String>;

fn said<E: std::fmt::Display>(result: Result<(), E>) -> Result<(), String> {
    result.map_err(|error| error.to_string())
}

/// Every such change, what is needed before it, and the hooks that it calls.
const CHANGES: &[(&str, Change, Change, &[&str])] = &[
    (
        "unbind",
        |_| Ok(()),
        |scene| said(scene.controllers[0].unbind()),
        &["can_attach", "attach", "drain", "killed", "offline", "bound", "post_attach"],
    ),
    (
        "bind",
        |scene| said(scene.controllers[0].unbind()),
        |scene| said(scene.controllers[0].bind(&scene.hierarchies[1])),
        &["new_css", "online", "can_attach", "attach", "bound", "post_attach"],
    ),
    (
        "rebind",
        |_| Ok(()),
        |scene| {
            let options = RebindOptions::new().members(MemberPolicy::Move);
            let [one, two] = &scene.controllers;
            said(scene.registry.rebind(&[one, two], &scene.hierarchies[1], &options))
        },
        &["can_attach", "attach", "rebound", "post_attach"],
    ),
    (
        "remount",
        |scene| said(scene.controllers[1].unbind()),
        |scene| said(scene.hierarchies[0].remount(&[&scene.controllers[1]])),
        &["new_css", "online", "can_attach", "attach", "drain", "killed", "offline", "bound"],
    ),
    (
        "disable",
        |_| Ok(()),
        |scene| {
            let group = scene.hierarchies[0].lookup("/a").expect("nothing is in the way");
            said(group.set_subtree_control(&[], &["one", "two"]))
        },
        &["can_attach", "attach", "drain", "killed", "offline", "post_attach"],
    ),
    (
        "enable",
        |scene| {
            let group = scene.hierarchies[0].lookup("/a").expect("nothing is in the way");
            said(group.set_subtree_control(&[], &["one", "two"]))
        },
        |scene| {
            let group = scene.hierarchies[0].lookup("/a").expect("nothing is in the way");
            said(group.set_subtree_control(&["one", "two"], &[]))
        },
        &["new_css", "online", "can_attach", "attach", "post_attach"],
    ),
];

const VETOES: [&str; 3] = ["new_css", "online", "can_attach"];

/// A scene that is ready for a change.
fn ready(before: Change) -> Scene {
    let scene = Scene::new();
    before(&scene).expect("nothing is in the way");
    scene.registry.wait_reclaimed().expect("nothing is in the way");
    lock(&scene.stage.calls).clear();
    scene
}

#[test]
fn a_change_that_is_refused_changes_nothing() {
    for (name, before, change, hooks) in CHANGES {
        for hook in hooks.iter().filter(|hook| VETOES.contains(hook)) {
            for (nth, mischief) in [(1, Mischief::Veto), (2, Mischief::Veto), (1, Mischief::Panic)]
            {
                let scene = ready(*before);
                let was = scene.settled();
                scene.plan(&[(hook, nth, mischief)]);
                let case = format!("{name}: {mischief:?} in call {nth} of {hook}");
                let result = change(&scene);
                let calls = scene.calls().join("\n");
                if !scene.take_plans().is_empty() {
                    assert!(nth > 1 && result.is_ok(), "{case}: not so many calls\n{calls}");
                    continue;
                }
                let refusal = result.expect_err(&case);
                assert!(refusal.contains(&format!("in {hook}: ")), "{case}: {refusal}");
                assert_eq!(scene.render(), was, "{case}, at once\n{calls}");
                assert_eq!(scene.settled(), was, "{case}\n{calls}");
                change(&scene).unwrap();
            }
        }
    }
}

#[test]
fn a_panic_where_nothing_can_be_refused_stops_nothing() {
    for (name, before, change, hooks) in CHANGES {
        let scene = ready(*before);
        change(&scene).unwrap();
        let expected = scene.settled();
        for hook in hooks.iter().filter(|hook| !VETOES.contains(hook)) {
            let scene = ready(*before);
            scene.plan(&[(hook, 1, Mischief::Panic)]);
            change(&scene).unwrap();
            assert!(scene.take_plans().is_empty(), "{name} never calls {hook}");
            assert_eq!(scene.settled(), expected, "{name}: a panic in {hook}");
            assert_eq!(scene.registry.stats().hook_panics, 1, "{name}: a panic in {hook}");
        }
    }
}

#[test]
fn a_hook_can_look_around_and_change_nothing() {
    for (name, before, change, hooks) in CHANGES {
        let scene = ready(*before);
        change(&scene).unwrap();
        let (expected, calls) = (scene.settled(), scene.calls());
        for hook in *hooks {
            assert!(
                calls.iter().any(|call| call.ends_with(&format!(": {hook}"))),
                "{name}: {hook}"
            );
            let scene = ready(*before);
            scene.plan(&[(hook, 1, Mischief::Meddle)]);
            change(&scene).unwrap();
            scene.take_plans();
            assert_eq!(scene.settled(), expected, "{name}: meddling in {hook}");
            assert_eq!(scene.calls(), calls, "{name}: meddling in {hook}");
            let unrefused = lock(&scene.stage.unrefused).join("\n");
            assert!(unrefused.is_empty(), "{name}: {unrefused}");
        }
    }
}

#[test]
fn a_hook_can_meddle_in_the_undoing() {
    for (name, before, change, _) in CHANGES {
        let scene = ready(*before);
        change(&scene).unwrap();
        let asked = scene.calls().iter().filter(|call| call.ends_with(": can_attach")).count();
        let asked = u32::try_from(asked).unwrap();
        for hook in ["cancel_attach", "drain", "killed", "offline"] {
            let scene = ready(*before);
            let was = scene.settled();
            scene.plan(&[("can_attach", asked, Mischief::Veto), (hook, 1, Mischief::Meddle)]);
            change(&scene).expect_err(name);
            assert_eq!(scene.settled(), was, "{name}: meddling in {hook}");
            let unrefused = lock(&scene.stage.unrefused).join("\n");
            assert!(unrefused.is_empty(), "{name}: {unrefused}");
        }
    }
}

#[test]
fn a_hook_can_panic_in_the_undoing() {
    for (name, before, change, _) in CHANGES {
        let scene = ready(*before);
        change(&scene).unwrap();
        let asked = scene.calls().iter().filter(|call| call.ends_with(": can_attach")).count();
        let asked = u32::try_from(asked).unwrap();
        for hook in ["cancel_attach", "drain", "killed", "offline"] {
            let scene = ready(*before);
            let was = scene.settled();
            scene.plan(&[("can_attach", asked, Mischief::Veto), (hook, 1, Mischief::Panic)]);
            change(&scene).expect_err(name);
            assert_eq!(scene.settled(), was, "{name}: a panic in {hook}");
        }
    }
}

fn moving() -> RebindOptions {
    RebindOptions::new().members(MemberPolicy::Move)
}

/// Runs a rebind that is refused, and returns what it said.
fn refused(scene: &Scene, result: Result<(), RebindError>, was: &str) -> RebindError {
    let error = result.expect_err("something is wrong with it");
    assert_eq!(scene.render(), was, "{error}");
    error
}

#[test]
fn a_mapping_holds_groups_of_the_two_trees_only() {
    let (scene, other) = (Scene::new(), Scene::new());
    let (was, other_was) = (scene.settled(), other.settled());
    let [source, target] = &scene.hierarchies;
    let find = |hierarchy: &Hierarchy, path| hierarchy.lookup(path).unwrap();
    let third = scene.registry.create_hierarchy("third").unwrap();
    let in_third = third.root().create_child("a").unwrap();
    let (a, image) = (find(source, "/a"), find(target, "/a"));
    let gone = source.root().create_child("gone").unwrap();
    gone.remove(Removal::Detach).unwrap();
    let gone_image = target.root().create_child("gone").unwrap();
    gone_image.remove(Removal::Detach).unwrap();
    scene.registry.wait_reclaimed().unwrap();
    let cases: [(Cgroup, Cgroup, &str); 10] = [
        (find(&other.hierarchies[0], "/a"), image.clone(), "the first group is not of"),
        (a.clone(), find(&other.hierarchies[1], "/a"), "the second group is not of"),
        (in_third.clone(), image.clone(), "the first group is not of"),
        (a.clone(), in_third, "the second group is not of"),
        (image.clone(), a.clone(), "the first group is not of"),
        (a.clone(), a.clone(), "the second group is not of"),
        (image.clone(), image.clone(), "the first group is not of"),
        (gone.clone(), image.clone(), "a group is removed"),
        (a.clone(), gone_image.clone(), "a group is removed"),
        (gone, gone_image, "a group is removed"),
    ];
    for (from, to, rule) in cases {
        let options = moving().mapping([(from.clone(), to.clone())]);
        let error = refused(&scene, scene.controllers[0].rebind(target, &options), &was);
        let RebindError::Mapping { source_cgroup, target, rule: broken } = &error else {
            panic!("{error}");
        };
        let full = |group: &Cgroup| format!("{}:{}", group.hierarchy().name(), group.path());
        assert_eq!((source_cgroup, target), (&full(&from), &full(&to)));
        assert!(broken.starts_with(rule), "{error}");
    }
    let twice = [
        vec![(a.clone(), image.clone()), (a, image.clone())],
        vec![(find(source, "/c"), image.clone()), (find(source, "/a"), image)],
    ];
    for pairs in twice {
        let result = scene.controllers[0].rebind(target, &moving().mapping(pairs));
        let error = refused(&scene, result, &was);
        assert!(error.to_string().ends_with("a group is named twice"), "{error}");
    }
    assert_eq!(other.render(), other_was);
}

#[test]
fn what_is_of_another_registry_is_foreign() {
    let (scene, other) = (Scene::new(), Scene::new());
    let (was, other_was) = (scene.settled(), other.settled());
    let ([one, _], [their_one, _]) = (&scene.controllers, &other.controllers);
    let ([_, target], [_, their_target]) = (&scene.hierarchies, &other.hierarchies);
    let results = [
        one.rebind(their_target, &moving()),
        scene.registry.rebind(&[one], their_target, &moving()),
        scene.registry.rebind(&[], their_target, &moving()),
        scene.registry.rebind(&[their_one], target, &moving()),
        scene.registry.rebind(&[one, their_one], target, &moving()),
        scene.registry.rebind(&[their_one], their_target, &moving()),
    ];
    for result in results {
        let error = refused(&scene, result, &was);
        assert!(matches!(error, RebindError::Foreign { .. }), "{error}");
    }
    let remount = target.remount(&[their_one]).expect_err("foreign");
    assert!(matches!(remount, BindError::Foreign { .. }), "{remount}");
    assert_eq!((scene.render(), other.render()), (was, other_was));
}

#[test]
fn a_target_must_be_another_living_hierarchy() {
    let scene = Scene::new();
    let [one, two] = &scene.controllers;
    let [source, target] = &scene.hierarchies;
    let was = scene.settled();
    let error = refused(&scene, one.rebind(source, &moving()), &was);
    assert!(matches!(error, RebindError::Bound { .. }), "{error}");
    let error = refused(&scene, scene.registry.rebind(&[one, two, one], target, &moving()), &was);
    assert!(matches!(error, RebindError::Twice { .. }), "{error}");

    let ended = scene.registry.create_hierarchy("ended").unwrap();
    ended.destroy().unwrap();
    let error = refused(&scene, one.rebind(&ended, &moving()), &was);
    assert!(matches!(error, RebindError::Destroyed { .. }), "{error}");
    let error = ended.remount(&[one]).expect_err("destroyed");
    assert!(matches!(error, BindError::Destroyed { .. }), "{error}");
    assert_eq!(scene.render(), was);

    two.unbind().unwrap();
    let was = scene.settled();
    let error = refused(&scene, scene.registry.rebind(&[one, two], target, &moving()), &was);
    assert!(matches!(error, RebindError::Unbound { .. }), "{error}");
    let name = "three";
    let three = scene.registry.register(Actor { name, stage: Arc::default() }).unwrap();
    three.unregister().unwrap();
    let error = refused(&scene, scene.registry.rebind(&[one, &three], target, &moving()), &was);
    assert!(matches!(error, RebindError::Unregistered { .. }), "{error}");
    scene.registry.rebind(&[], target, &moving()).unwrap();
    assert_eq!(scene.render(), was);
}

#[test]
fn a_remount_counts_a_controller_once_that_is_named_twice() {
    let scene = Scene::new();
    let [one, two] = &scene.controllers;
    let [source, _] = &scene.hierarchies;
    let was = scene.settled();
    source.remount(&[one, two, one]).unwrap();
    assert_eq!(scene.calls(), [""; 0], "both are bound here already");
    assert_eq!(scene.settled(), was);

    source.remount(&[two, two]).unwrap();
    assert_eq!(source.controllers(), ["two"]);
    assert!(one.hierarchy().is_none(), "it was not named");

    scene.registry.wait_reclaimed().unwrap();
    lock(&scene.stage.calls).clear();
    let css_before = scene.registry.stats().css_online;
    source.remount(&[one, two, one]).unwrap();
    assert_eq!(source.controllers(), ["one", "two"]);
    let count = |call: &str| scene.calls().iter().filter(|it| *it == call).count();
    assert_eq!((count("one: online"), count("one: bound")), (3, 1), "one for each group below");
    assert_eq!(scene.registry.stats().css_online, css_before + 3);
    one.unbind().unwrap();
    assert_eq!(source.controllers(), ["two"], "no second binding is left");
}

#[test]
fn nothing_changes_under_a_guard() {
    for (name, before, change, _) in CHANGES {
        let scene = ready(*before);
        let was = scene.settled();
        let guard = scene.registry.read();
        let error = change(&scene).expect_err(name);
        drop(guard);
        assert!(error.ends_with("cannot be called under a read guard"), "{name}: {error}");
        assert_eq!(scene.settled(), was, "{name}");
    }
}

#[test]
fn a_cache_of_the_calling_thread_holds_nothing_up() {
    let scene = Scene::new();
    let one = &scene.controllers[0];
    let mut cache = scene.registry.cache();
    let seen = |cache: &mut fief_core::Cache| cache.css(one, &scene.tasks[0]).map(|css| css.path());
    assert_eq!(seen(&mut cache).as_deref(), Some("/a/b"));
    one.rebind(&scene.hierarchies[1], &moving()).unwrap();
    assert_eq!(seen(&mut cache).as_deref(), Some("/a"));
}

#[test]
fn a_rebind_waits_for_guards_of_before_and_for_no_others() {
    let scene = Scene::new();
    let one = &scene.controllers[0];
    let [source, target] = &scene.hierarchies;
    // One css dies in a group that stays, and one moves with its group.
    let a = source.lookup("/a").unwrap();
    let dying = one.css(&source.lookup("/a/b").unwrap()).unwrap();
    a.set_subtree_control(&[], &["one"]).unwrap();
    let moving_css = one.css(&a).unwrap();
    let (held, is_held) = mpsc::channel();
    let (done, is_done) = mpsc::channel::<()>();
    let place = |css: &Css<Number>| css.cgroup().map(|group| (group.hierarchy(), group.path()));
    thread::scope(|scope| {
        let scene = &scene;
        scope.spawn(move || {
            let guard = scene.registry.read();
            let css = guard.task_css(one, &scene.tasks[0]).unwrap();
            let before = guard.cgroup(css);
            held.send(()).unwrap();
            // Long enough for the rebind to have published, and to wait.
            let early = is_done.recv_timeout(Duration::from_millis(50));
            assert_eq!(early, Err(RecvTimeoutError::Timeout), "done under an older guard");
            // Under the guard nothing changes, whatever is published meanwhile.
            let again = guard.task_css(one, &scene.tasks[0]).unwrap();
            assert_eq!((again.id(), guard.cgroup(again)), (css.id(), before));
            // Elsewhere it has happened: what moved is there, and what is dying stays.
            let now = scope_place(scene);
            assert_eq!(now.as_deref(), Some("/a of by-plan"));
            drop(guard);
            is_done.recv().unwrap();
        });
        is_held.recv().unwrap();
        let watcher = scope.spawn(|| {
            while place(&moving_css) != Some((target.clone(), "/a".to_owned())) {
                thread::yield_now();
            }
            place(&dying)
        });
        one.rebind(target, &moving()).unwrap();
        done.send(()).unwrap();
        assert_eq!(watcher.join().unwrap(), Some((source.clone(), "/a/b".to_owned())));
    });
    assert_eq!(place(&dying), Some((source.clone(), "/a/b".to_owned())));
}

/// Where a guard of now finds the css of the first task.
fn scope_place(scene: &Scene) -> Option<String> {
    let scene_of_now = || {
        let guard = scene.registry.read();
        let css = guard.task_css(&scene.controllers[0], &scene.tasks[0])?;
        let group = guard.cgroup(css)?;
        Some(format!("{} of {}", group.path(), group.hierarchy().name()))
    };
    thread::scope(|scope| scope.spawn(scene_of_now).join().ok().flatten())
}

#[test]
fn a_task_that_ends_inside_a_rebind_ends_after_it() {
    let mut scene = Scene::new();
    // The hook has the last handle of a task that is about to move.
    let task = scene.tasks.pop().unwrap();
    lock(&scene.stage.handles).take();
    let ended = Arc::new(Mutex::new(None));
    let dropper = Dropper(Arc::clone(&ended));
    let controller = scene.registry.register(dropper).unwrap();
    controller.bind(&scene.hierarchies[0]).unwrap();
    *lock(&ended) = Arc::into_inner(task);
    assert!(lock(&ended).is_some());
    let controllers: [&dyn AnyController; 2] = [&controller, &scene.controllers[0]];
    scene.registry.rebind(&controllers, &scene.hierarchies[1], &moving()).unwrap();
    assert!(lock(&ended).is_none());
    scene.registry.wait_reclaimed().unwrap();
    let calls = scene.calls();
    let of_one = calls.iter().filter_map(|call| call.strip_prefix("one: "));
    let of_one: Vec<&str> = of_one.filter(|hook| *hook != "drain").collect();
    let ends = [
        "can_attach",
        "can_attach",
        "attach",
        "attach",
        "rebound",
        "post_attach",
        "post_attach",
        "exit",
    ];
    assert_eq!(of_one, ends);
    let members = scene.hierarchies[1].lookup("/a/b").unwrap().members();
    assert!(members.is_empty(), "{members:?}");
}

/// Drops a task in its first `attach`.
struct Dropper(Arc<Mutex<Option<Task>>>);

impl Subsystem for Dropper {
    type State = ();

    fn name(&self) -> &str {
        "dropper"
    }

    fn new_css(&self, _parent: Option<&Css<()>>) -> Result<(), HookError> {
        Ok(())
    }

    fn attach(&self, _migration: &Migration<'_, ()>) {
        let task = lock(&self.0).take();
        drop(task);
    }
}

#[test]
fn a_mapping_says_something_about_one_source_only() {
    let registry = Registry::new();
    let [one, two, target] =
        ["one", "two", "target"].map(|name| registry.create_hierarchy(name).unwrap());
    let [y, x, image] = [(&one, "y"), (&two, "x"), (&target, "y")]
        .map(|(hierarchy, name)| hierarchy.root().create_child(name).unwrap());
    let [a, b] =
        ["a", "b"].map(|name| registry.register(Actor { name, stage: Arc::default() }).unwrap());
    let both = || {
        a.bind(&one).unwrap();
        b.bind(&two).unwrap();
    };
    let pair = (x, image.clone());
    both();
    let options = RebindOptions::new().mapping([pair.clone()]);
    registry.rebind(&[&a, &b], &target, &options).unwrap();
    assert!(a.css(&image).is_some() && b.css(&image).is_some());
    a.unbind().unwrap();
    b.unbind().unwrap();
    both();
    let options = RebindOptions::new().mapping([pair, (y, image.clone())]);
    registry.rebind(&[&a, &b], &target, &options).unwrap();
    assert!(a.css(&image).is_some() && b.css(&image).is_some());
}
