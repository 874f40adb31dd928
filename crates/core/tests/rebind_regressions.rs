//! Bugs that a review of rebinding found, and of what it touches: each has a test that failed.

use std::{
    cell::RefCell,
    panic::resume_unwind,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use fief_core::{
    BindError, Controller, Css, HookError, MemberPolicy, Migration, Notice, ReadGuard, RebindError,
    RebindOptions, Reclaimer, Registry, Removal, Subsystem, Task,
};

/// How long what must come may take: a bound for tests that fail.
const LONG: Duration = Duration::from_secs(30);

type Hook = Box<dyn Fn(&Migration<'_, ()>) + Send + Sync>;

/// A subsystem with hooks of the test's.
struct Unit {
    name: &'static str,
    can_attach: Option<Hook>,
    post_attach: Option<Hook>,
}

/// A subsystem whose drop panics, and says so.
struct Bomb(Arc<AtomicBool>);

impl Unit {
    fn new(name: &'static str) -> Self {
        Self { name, can_attach: None, post_attach: None }
    }
}

impl Subsystem for Unit {
    type State = ();

    fn name(&self) -> &str {
        self.name
    }

    fn new_css(&self, _parent: Option<&Css<()>>) -> Result<(), HookError> {
        Ok(())
    }

    fn can_attach(&self, migration: &Migration<'_, ()>) -> Result<(), HookError> {
        self.can_attach.iter().for_each(|hook| hook(migration));
        Ok(())
    }

    fn post_attach(&self, migration: &Migration<'_, ()>) {
        self.post_attach.iter().for_each(|hook| hook(migration));
    }
}

impl Subsystem for Bomb {
    type State = ();

    fn name(&self) -> &'static str {
        "bomb"
    }

    fn new_css(&self, _parent: Option<&Css<()>>) -> Result<(), HookError> {
        Ok(())
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        resume_unwind(Box::new("dropped"));
    }
}

fn manual() -> Registry {
    Registry::builder().reclaimer(Reclaimer::Manual).build()
}

fn reap(registry: &Registry) {
    while registry.reap() {}
}

fn moving() -> RebindOptions {
    RebindOptions::new().members(MemberPolicy::Move)
}

/// How the second of two controllers leaves a group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Unbound,
    Rebound,
}

/// Returns how often an armed group is told whose one reference goes with the second controller, while
/// the group may rest because the first one left.
fn told_of_use(leaves: Leaves, is_resting: bool) -> usize {
    let registry = manual();
    let [source, target] =
        ["source", "target"].map(|name| registry.create_hierarchy(name).expect("free"));
    source.root().set_notify_on_release(true).expect("online");
    let [first, second] =
        ["first", "second"].map(|name| registry.register(Unit::new(name)).expect("free"));
    first.bind(&source).expect("unbound");
    second.bind(&source).expect("unbound");
    let [group, _image] =
        [&source, &target].map(|tree| tree.root().create_child("a").expect("free"));
    reap(&registry);
    let notices = source.notices();
    assert!(notices.try_recv().is_err(), "never used");
    first.unbind().expect("no members");
    if !is_resting {
        reap(&registry);
    }
    let used = second.css(&group).expect("bound here");
    match leaves {
        Leaves::Unbound => second.unbind().expect("no members"),
        Leaves::Rebound => second.rebind(&target, &RebindOptions::new()).expect("one shape"),
    }
    reap(&registry);
    drop(used);
    reap(&registry);
    notices.try_iter().filter_map(Notice::accept).count()
}

#[test]
fn a_use_that_leaves_while_its_group_rests_is_told_once() {
    for (leaves, how) in [(Leaves::Unbound, "unbound"), (Leaves::Rebound, "rebound")] {
        assert_eq!(told_of_use(leaves, false), 1, "{how} after the rest");
        assert_eq!(told_of_use(leaves, true), 1, "{how} within the rest");
    }
}

#[test]
fn a_draft_whose_only_join_is_overridden_is_told_of_its_use() {
    let registry = manual();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    hierarchy.root().set_notify_on_release(true).unwrap();
    let unit = registry.register(Unit::new("unit")).unwrap();
    unit.bind(&hierarchy).unwrap();
    let task = registry.create_task("task").unwrap();
    let (made, [passed, _stayed]) = registry
        .edit(|edit| {
            ["passed", "stayed"].map(|name| {
                let draft = edit.create(hierarchy.root(), name);
                edit.join(&task, draft);
                draft
            })
        })
        .unwrap();
    reap(&registry);
    drop(unit.css(made.cgroup(passed).unwrap()).unwrap());
    reap(&registry);
    let told: Vec<String> = hierarchy.notices().try_iter().map(|notice| notice.path()).collect();
    assert_eq!(told, ["/passed"]);
}

#[test]
fn a_member_is_in_its_old_or_its_new_group_while_an_edit_moves_it() {
    const EDITS: u32 = 40;
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let unit = registry.register(Unit::new("unit")).unwrap();
    unit.bind(&hierarchy).unwrap();
    let mut old = hierarchy.root().create_child("old").unwrap();
    // The others go first, which gives somebody time to look.
    let tasks: Vec<Task> = (0..100).map(|_| old.create_task("task").unwrap()).collect();
    let last = tasks.last().unwrap();
    let (is_over, looked) = (AtomicBool::new(false), AtomicU32::new(0));
    let at_root = thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let mut at_root = 0_u32;
            while !is_over.load(Ordering::Relaxed) {
                let css = last.css(&unit).expect("there is a root at least");
                at_root += u32::from(css.path() == "/");
                looked.fetch_add(1, Ordering::Relaxed);
            }
            at_root
        });
        let mut done = 0;
        while done < EDITS && !looks.is_finished() {
            let before = looked.load(Ordering::Relaxed);
            let edited = registry.edit(|edit| {
                let new = edit.create(hierarchy.root(), &format!("new {done}"));
                tasks.iter().for_each(|task| edit.join(task, new));
                edit.remove(&old, Removal::Strict);
                new
            });
            // Refused where the lookup holds the css at that moment.
            if let Ok((made, new)) = edited {
                old = made.cgroup(new).expect("created").clone();
                done += 1;
            }
            while looked.load(Ordering::Relaxed) == before && !looks.is_finished() {
                thread::yield_now();
            }
        }
        is_over.store(true, Ordering::Relaxed);
        looks.join().expect("it finds something")
    });
    assert_eq!(at_root, 0, "lookups found the root's css, which never was the task's");
}

#[test]
fn a_css_in_post_attach_keeps_a_strict_removal_of_its_group_off() {
    let registry = manual();
    let [source, target] =
        ["source", "target"].map(|name| registry.create_hierarchy(name).unwrap());
    target.root().set_notify_on_release(true).unwrap();
    let [group, image] = [&source, &target].map(|tree| tree.root().create_child("a").unwrap());
    let (seen, was_seen) = mpsc::channel();
    let removed = image.clone();
    let post_attach: Hook = Box::new(move |migration| {
        if migration.source.path() == "/a" {
            seen.send(removed.remove(Removal::Strict)).expect("the test looks");
        }
    });
    let unit = Unit { post_attach: Some(post_attach), ..Unit::new("unit") };
    let unit = registry.register(unit).unwrap();
    unit.bind(&source).unwrap();
    reap(&registry);
    let task = registry.create_task("task").unwrap();
    task.join(&group).unwrap();
    unit.rebind(&target, &moving()).unwrap();
    let error = was_seen.try_recv().expect("the task moved").unwrap_err();
    assert_eq!(error.to_string(), "/a is in use: 1 reference to unit of /a");
    image.remove(Removal::Strict).expect("the hook is over");
}

#[test]
fn a_remount_keeps_no_subsystem_that_is_unregistered_meanwhile() {
    let registry = manual();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let is_dropped = Arc::new(AtomicBool::new(false));
    let bomb = registry.register(Bomb(Arc::clone(&is_dropped))).unwrap();
    bomb.bind(&hierarchy).unwrap();
    let slot: Arc<Mutex<Option<Controller<Bomb>>>> = Arc::default();
    let (in_hook, was_in_hook) = mpsc::channel();
    let post_attach: Hook = {
        let (slot, registry) = (Arc::clone(&slot), registry.clone());
        Box::new(move |_| {
            let Some(bomb) = slot.lock().expect("nobody panics under it").take() else { return };
            bomb.unregister().expect("it is unbound");
            drop(bomb);
            reap(&registry);
            in_hook.send(is_dropped.load(Ordering::Relaxed)).expect("the test looks");
        })
    };
    let unit = Unit { post_attach: Some(post_attach), ..Unit::new("unit") };
    let unit = registry.register(unit).unwrap();
    unit.bind(&hierarchy).unwrap();
    let group = hierarchy.root().create_child("a").unwrap();
    let _task = group.create_task("task").unwrap();
    hierarchy.root().set_subtree_control(&[], &["bomb"]).unwrap();
    reap(&registry);
    *slot.lock().unwrap() = Some(bomb);
    hierarchy.remount(&[]).unwrap();
    assert_eq!(was_in_hook.try_recv(), Ok(true), "dropped where it was reaped");
    assert_eq!(registry.stats().hook_panics, 1, "and its panic was caught there");
}

#[test]
fn a_guard_s_groups_are_in_step_with_its_lookups_across_a_bind() {
    let registry = manual();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let unit = registry.register(Unit::new("unit")).unwrap();
    let guard = registry.read();
    let css = guard.root_css(&unit).unwrap();
    assert!(guard.cgroup(css).is_none(), "bound nowhere");
    thread::scope(|scope| scope.spawn(|| unit.bind(&hierarchy).unwrap()).join().unwrap());
    assert!(guard.css(&unit, &hierarchy.root()).is_none(), "as the guard sees it");
    assert!(guard.cgroup(css).is_none(), "so no group shows it");
    drop(guard);
    let guard = registry.read();
    assert_eq!(guard.root_css(&unit).and_then(|css| guard.cgroup(css)), Some(hierarchy.root()));
}

#[test]
fn a_destroyed_hierarchy_cannot_be_emptied() {
    let registry = manual();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    hierarchy.destroy().unwrap();
    let error = hierarchy.remount(&[]).unwrap_err();
    assert!(matches!(error, BindError::Destroyed { .. }), "{error}");
}

thread_local! {
    static KEPT: RefCell<Option<ReadGuard<'static>>> = const { RefCell::new(None) };
}

/// Rebinds a controller whose hook keeps a guard; returns the refusal, and the hierarchy and
/// the path where its member's css is then.
fn rebind_with_a_guard_kept() -> [String; 3] {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    let registry = REGISTRY.get_or_init(manual);
    let [source, target] =
        ["source", "target"].map(|name| registry.create_hierarchy(name).expect("free"));
    let [group, _image] =
        [&source, &target].map(|tree| tree.root().create_child("a").expect("free"));
    let task = group.create_task("task").expect("a name");
    let keep: Hook = Box::new(|_| KEPT.set(REGISTRY.get().map(Registry::read)));
    let unit = Unit { can_attach: Some(keep), ..Unit::new("unit") };
    let unit = registry.register(unit).expect("free");
    unit.bind(&source).expect("unbound");
    // Binding moved the task, too, which waits for no guard.
    drop(KEPT.take());
    let error = unit.rebind(&target, &moving()).expect_err("a hook keeps a guard");
    drop(KEPT.take().expect("kept by the hook"));
    let now = task.css(&unit).and_then(|css| css.cgroup()).expect("it is bound");
    [error.to_string(), now.hierarchy().name().to_owned(), now.path()]
}

#[test]
fn a_rebind_whose_hook_keeps_a_guard_is_refused() {
    let (done, is_done) = mpsc::channel();
    // All is of the other thread: were it to wait for itself, nobody here would wait to drop anything.
    thread::spawn(move || done.send(rebind_with_a_guard_kept()));
    let [error, hierarchy, path] =
        is_done.recv_timeout(LONG).expect("it does not wait for its own guard");
    assert!(error.ends_with("keeps a guard cannot be called under a read guard"), "{error}");
    assert_eq!((&*hierarchy, &*path), ("source", "/a"), "nothing changed");
}

#[test]
fn a_rebind_of_nothing_to_another_registry_s_hierarchy_is_refused() {
    let [registry, other] = [manual(), manual()];
    let foreign = other.create_hierarchy("foreign").unwrap();
    let error = registry.rebind(&[], &foreign, &RebindOptions::new()).unwrap_err();
    assert!(matches!(error, RebindError::Foreign { .. }), "{error}");
}
