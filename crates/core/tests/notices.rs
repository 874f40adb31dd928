//! Strict removal, release notices and watches, with a reclaimer that runs when it is told to.

use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError};
use fief_core::{
    AttachError, Cgroup, Controller, CreateWithError, Css, CssRef, Event, Hierarchy, HookError,
    Migration, Notice, Reclaimer, Registry, Removal, RemoveError, Subsystem,
};

/// What is waited for comes in far less, or never.
const PATIENCE: Duration = Duration::from_secs(60);

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Refuses members whose name says so.
struct Unit(&'static str);

impl Subsystem for Unit {
    type State = ();

    fn name(&self) -> &str {
        self.0
    }

    fn new_css(&self, _parent: Option<&Css<()>>) -> std::result::Result<(), HookError> {
        Ok(())
    }

    fn can_attach(&self, migration: &Migration<'_, ()>) -> std::result::Result<(), HookError> {
        if migration.task.name == "unwelcome" { Err("unwelcome".into()) } else { Ok(()) }
    }
}

struct Scene {
    registry: Registry,
    hierarchy: Hierarchy,
    memory: Controller<Unit>,
    io: Controller<Unit>,
    notices: Receiver<Notice>,
}

impl Scene {
    fn new() -> Result<Self> {
        Self::with(Reclaimer::Manual)
    }

    fn with(reclaimer: Reclaimer) -> Result<Self> {
        let registry = Registry::builder().reclaimer(reclaimer).build();
        let hierarchy = registry.create_hierarchy("by-tenant")?;
        let (memory, io) = (registry.register(Unit("memory"))?, registry.register(Unit("io"))?);
        memory.bind(&hierarchy)?;
        io.bind(&hierarchy)?;
        let notices = hierarchy.notices();
        Ok(Self { registry, hierarchy, memory, io, notices })
    }

    /// A group whose release is told.
    fn watched(&self, name: &str) -> Result<Cgroup> {
        let group = self.hierarchy.root().create_child(name)?;
        group.set_notify_on_release(true)?;
        Ok(group)
    }

    fn hold(&self, controller: &Controller<Unit>, group: &Cgroup) -> Result<CssRef<()>> {
        Ok(controller.css(group).ok_or("no css")?)
    }

    /// Lets the reclaimer run, and accepts everything that was told; returns the paths.
    fn told(&self) -> Vec<String> {
        while self.registry.reap() {}
        let notices = self.notices.try_iter().filter_map(Notice::accept);
        notices.map(|group| group.path()).collect()
    }
}

fn in_use(result: std::result::Result<impl Sized, RemoveError>) -> Vec<(String, String, u64)> {
    let Err(RemoveError::InUse { holders, .. }) = result else { panic!("not refused as in use") };
    holders.into_iter().map(|it| (it.cgroup, it.subsystem, it.references)).collect()
}

fn holder(cgroup: &str, subsystem: &str, references: u64) -> (String, String, u64) {
    (cgroup.to_owned(), subsystem.to_owned(), references)
}

#[test]
fn a_strict_removal_names_who_holds_what_and_changes_nothing() -> Result {
    let scene = Scene::new()?;
    let group = scene.hierarchy.root().create_child("a")?;
    let memory = [scene.hold(&scene.memory, &group)?, scene.hold(&scene.memory, &group)?];
    let io = scene.hold(&scene.io, &group)?;
    let expected = [holder("/a", "memory", 2), holder("/a", "io", 1)];
    assert_eq!(in_use(group.remove(Removal::Strict)), expected);
    let error = group.remove(Removal::Strict).unwrap_err();
    let text = "/a is in use: 2 references to memory of /a, 1 reference to io of /a";
    assert_eq!(error.to_string(), text);
    drop((memory, io));
    assert!(scene.memory.css(&group).is_some(), "usable all the while");
    group.remove(Removal::Strict)?;
    assert!(scene.memory.css(&group).is_none());
    assert_eq!(scene.registry.stats().removals_refused, 2);
    Ok(())
}

#[test]
fn references_of_another_thread_forbid_a_strict_removal() -> Result {
    let scene = Scene::new()?;
    let group = scene.watched("a")?;
    let held = std::thread::scope(|scope| {
        scope.spawn(|| scene.memory.css(&group)).join().expect("no panic")
    });
    assert_eq!(in_use(group.remove(Removal::Strict)), [holder("/a", "memory", 1)]);
    drop(held);
    group.remove(Removal::Strict)?;
    Ok(())
}

#[test]
fn the_last_put_in_an_armed_group_is_told_once() -> Result {
    let scene = Scene::new()?;
    let group = scene.watched("a")?;
    assert_eq!(scene.told(), [""; 0], "arming tells nothing");
    let memory = scene.hold(&scene.memory, &group)?;
    let (io, more) = (scene.hold(&scene.io, &group)?, memory.clone());
    drop((memory, io));
    assert_eq!(scene.told(), [""; 0], "one is left");
    drop(more);
    assert_eq!(scene.told(), ["/a"]);
    assert_eq!(scene.told(), [""; 0]);
    drop(scene.hold(&scene.io, &group)?);
    assert_eq!(scene.told(), ["/a"], "another edge");
    assert_eq!(scene.registry.stats().notices, 2);
    group.remove(Removal::Strict)?;
    Ok(())
}

#[test]
fn both_css_at_zero_before_anybody_looks_are_one_edge() -> Result {
    let scene = Scene::new()?;
    let group = scene.watched("a")?;
    let held = (scene.hold(&scene.memory, &group)?, scene.hold(&scene.io, &group)?);
    drop(held);
    assert_eq!(scene.told(), ["/a"]);
    assert_eq!(scene.registry.stats().notices, 1);
    Ok(())
}

#[test]
fn the_last_member_and_the_last_child_are_told() -> Result {
    let scene = Scene::new()?;
    let tenant = scene.watched("tenant")?;
    let task = scene.registry.create_task("task")?;
    let query = tenant.create_child_with("query", &[&task])?;
    assert!(query.notify_on_release(), "inherited");
    assert_eq!(query.members().len(), 1);
    assert_eq!(scene.told(), [""; 0]);
    drop(task);
    assert_eq!(scene.told(), ["/tenant/query"]);
    query.remove(Removal::Strict)?;
    assert_eq!(scene.told(), ["/tenant"], "its last child is gone");
    tenant.remove(Removal::Strict)?;
    assert_eq!(scene.told(), [""; 0]);
    Ok(())
}

#[test]
fn a_group_that_is_new_or_used_again_is_not_told() -> Result {
    let scene = Scene::new()?;
    let tenant = scene.watched("tenant")?;
    let fresh = tenant.create_child("fresh")?;
    assert_eq!(scene.told(), [""; 0]);
    let task = scene.registry.create_task("task")?;
    task.join(&fresh)?;
    task.leave(&scene.hierarchy)?;
    task.join(&fresh)?;
    assert_eq!(scene.told(), [""; 0], "used again before the reclaimer came");
    task.leave(&scene.hierarchy)?;
    while scene.registry.reap() {}
    task.join(&fresh)?;
    let notice = scene.notices.try_recv()?;
    assert_eq!(notice.path(), "/tenant/fresh");
    assert!(notice.accept().is_none(), "used again before the receiver came");
    Ok(())
}

#[test]
fn edges_coalesce_until_the_notice_is_accepted() -> Result {
    let scene = Scene::new()?;
    let group = scene.watched("a")?;
    for _ in 0..3 {
        drop(scene.hold(&scene.memory, &group)?);
        while scene.registry.reap() {}
    }
    let notice = scene.notices.try_recv()?;
    drop(scene.hold(&scene.memory, &group)?);
    while scene.registry.reap() {}
    assert_eq!(scene.notices.try_recv().unwrap_err(), TryRecvError::Empty);
    assert!(notice.accept().is_some());
    drop(scene.hold(&scene.memory, &group)?);
    assert_eq!(scene.told(), ["/a"]);
    Ok(())
}

#[test]
fn nothing_is_lost_when_nobody_receives() -> Result {
    let scene = Scene::new()?;
    let tenant = scene.watched("tenant")?;
    let groups: Vec<Cgroup> = (0..200)
        .map(|n| tenant.create_child(&n.to_string()))
        .collect::<std::result::Result<_, _>>()?;
    for group in &groups {
        drop(scene.hold(&scene.memory, group)?);
    }
    while scene.registry.reap() {}
    // Those that go in between are not told, but for what the channel has already.
    for group in &groups[100..] {
        group.remove(Removal::Detach)?;
    }
    let mut told = scene.told();
    told.sort();
    let mut expected: Vec<String> = groups[..100].iter().map(Cgroup::path).collect();
    expected.sort();
    assert_eq!(told, expected);
    for group in &groups[..100] {
        drop(scene.hold(&scene.io, group)?);
    }
    drop(scene.notices.clone());
    assert_eq!(scene.told().len(), 100);
    assert_eq!(scene.hierarchy.renotify()?, 100);
    assert_eq!(scene.hierarchy.renotify()?, 0, "all are on their way");
    assert_eq!(scene.told().len(), 100);
    Ok(())
}

#[test]
fn a_refused_removal_is_followed_by_an_edge() -> Result {
    let scene = Scene::new()?;
    let group = scene.watched("a")?;
    let held = scene.hold(&scene.memory, &group)?;
    drop(scene.hold(&scene.io, &group)?);
    assert_eq!(in_use(group.remove(Removal::Strict)), [holder("/a", "memory", 1)]);
    assert_eq!(scene.told(), [""; 0]);
    drop(held);
    assert_eq!(scene.told(), ["/a"]);
    Ok(())
}

#[test]
fn a_flag_that_is_taken_back_silences_and_set_again_tells_of_the_next_edge() -> Result {
    let scene = Scene::new()?;
    let group = scene.watched("a")?;
    let held = scene.hold(&scene.memory, &group)?;
    group.set_notify_on_release(false)?;
    drop(held);
    assert_eq!(scene.told(), [""; 0]);
    group.set_notify_on_release(true)?;
    assert_eq!(scene.told(), [""; 0]);
    let held = scene.hold(&scene.memory, &group)?;
    group.set_notify_on_release(false)?;
    group.set_notify_on_release(true)?;
    drop(held);
    assert_eq!(scene.told(), ["/a"]);
    let task = scene.registry.create_task("task")?;
    task.join(&group)?;
    drop(task);
    group.set_notify_on_release(false)?;
    group.set_notify_on_release(true)?;
    assert_eq!(scene.told(), [""; 0], "that the last member left is forgotten, too");
    group.remove(Removal::Detach)?;
    let error = group.set_notify_on_release(true).unwrap_err().to_string();
    assert_eq!(error, "notify_on_release of /a cannot be set: it is removed");
    Ok(())
}

#[test]
fn a_subtree_goes_together_or_stays() -> Result {
    let scene = Scene::new()?;
    let top = scene.hierarchy.root().create_child("top")?;
    let middle = top.create_child("middle")?;
    let leaf = middle.create_child("leaf")?;
    let other = top.create_child("other")?;
    let held = scene.hold(&scene.io, &leaf)?;
    assert_eq!(in_use(top.remove_subtree(Removal::Strict)), [holder("/top/middle/leaf", "io", 1)]);
    let task = scene.registry.create_task("task")?;
    task.join(&other)?;
    let error = top.remove_subtree(Removal::Detach).unwrap_err().to_string();
    assert_eq!(error, "/top/other is busy: 1 members, 0 children");
    drop((held, task));
    let many: Vec<Cgroup> = (0..9)
        .map(|n| other.create_child(&n.to_string()))
        .collect::<std::result::Result<_, _>>()?;
    let held: Vec<_> =
        many.iter().map(|group| scene.hold(&scene.io, group)).collect::<Result<_>>()?;
    let error = top.remove_subtree(Removal::Strict).unwrap_err().to_string();
    assert!(error.ends_with("1 reference to io of /top/other/1, and 1 more"), "{error}");
    assert_eq!(in_use(top.remove_subtree(Removal::Strict)).len(), 9);
    drop(held);
    assert_eq!(top.remove_subtree(Removal::Strict)?, 13);
    while scene.registry.reap() {}
    let stats = scene.registry.stats();
    assert_eq!((stats.css_released, stats.css_freed, stats.cgroups_dying), (26, 26, 0));
    assert!(matches!(top.remove_subtree(Removal::Strict), Err(RemoveError::Removed { .. })));
    Ok(())
}

#[test]
fn a_child_that_is_dying_does_not_hold_its_parent() -> Result {
    let scene = Scene::new()?;
    let parent = scene.watched("parent")?;
    let child = parent.create_child("child")?;
    let held = scene.hold(&scene.memory, &child)?;
    child.remove(Removal::Detach)?;
    assert_eq!(scene.told(), ["/parent"]);
    parent.remove(Removal::Strict)?;
    let above = held.parent().ok_or("a child's css has a parent")?;
    assert!(above.try_get_online().is_none());
    drop(above.try_get().ok_or("not released while it has children")?);
    drop(held);
    while scene.registry.reap() {}
    assert_eq!(scene.registry.stats().css_freed, 4);
    Ok(())
}

#[test]
fn a_group_with_its_first_members_is_made_in_one_step_or_not() -> Result {
    let scene = Scene::new()?;
    let tenant = scene.watched("tenant")?;
    let (first, second) =
        (scene.registry.create_task("first")?, scene.registry.create_task("unwelcome")?);
    let refused = tenant.create_child_with("query", &[&first, &second]);
    assert!(matches!(refused, Err(CreateWithError::Attach(AttachError::Vetoed(_)))), "{refused:?}");
    assert!(tenant.child("query").is_none());
    assert_eq!(first.cgroup(&scene.hierarchy), Some(scene.hierarchy.root()));
    let query = tenant.create_child_with("query", &[&first, &first])?;
    assert_eq!(query.members().len(), 1);
    let other = Registry::new().create_task("foreign")?;
    let refused = tenant.create_child_with("more", &[&other]);
    assert!(matches!(refused, Err(CreateWithError::Attach(AttachError::Foreign { .. }))));
    drop(first);
    assert_eq!(scene.told(), ["/tenant/query"]);
    Ok(())
}

#[test]
fn a_watch_tells_what_differs_and_ends_with_its_group() -> Result {
    let scene = Scene::new()?;
    let tenant = scene.hierarchy.root().create_child("tenant")?;
    let query = tenant.create_child("query")?;
    let watch = tenant.watch()?;
    assert_eq!(watch.try_recv(), Err(TryRecvError::Empty));
    let task = scene.registry.create_task("task")?;
    task.join(&query)?;
    assert_eq!(watch.recv()?, Event::Populated);
    drop(task);
    let task = scene.registry.create_task("task")?;
    task.join(&query)?;
    assert_eq!(watch.try_recv(), Err(TryRecvError::Empty), "gone and back is no event");
    drop(task);
    query.remove(Removal::Detach)?;
    tenant.remove(Removal::Strict)?;
    assert_eq!((watch.recv()?, watch.recv()?), (Event::Emptied, Event::Removed));
    assert!(watch.recv().is_err() && watch.bell().iter().count() <= 1, "the bell has ended too");
    assert_eq!(watch.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(watch.path(), "/tenant");
    assert_eq!(tenant.watch().unwrap_err().to_string(), "/tenant cannot be watched: it is removed");
    let error = scene.hierarchy.root().watch().unwrap_err().to_string();
    assert_eq!(error, "the root of hierarchy by-tenant cannot be watched");
    Ok(())
}

#[test]
fn receivers_hear_when_the_hierarchy_or_the_registry_ends() -> Result {
    let scene = Scene::new()?;
    let other = scene.registry.create_hierarchy("other")?;
    let notices = other.notices();
    other.destroy()?;
    assert_eq!(notices.try_recv().unwrap_err(), TryRecvError::Disconnected);
    assert_eq!(other.notices().try_recv().unwrap_err(), TryRecvError::Disconnected);
    assert!(other.renotify().is_err());
    let group = scene.watched("a")?;
    let watch = group.watch()?;
    drop(scene.hold(&scene.memory, &group)?);
    while scene.registry.reap() {}
    let Scene { notices, registry, hierarchy, memory, io } = scene;
    drop((registry, hierarchy, other, memory, io, group));
    assert!(notices.recv()?.accept().is_none(), "the registry is gone");
    assert!(notices.recv().is_err());
    assert_eq!(watch.recv()?, Event::Removed);
    Ok(())
}

/// Nothing was ever removed: the reclaimer's thread is there for the groups that wait.
#[test]
fn a_thread_tells_of_the_first_edge() -> Result {
    let scene = Scene::with(Reclaimer::Thread)?;
    let group = scene.watched("a")?;
    drop(scene.hold(&scene.memory, &group)?);
    assert_eq!(scene.notices.recv_timeout(PATIENCE)?.path(), "/a");

    let scene = Scene::with(Reclaimer::Thread)?;
    scene.hierarchy.root().set_notify_on_release(true)?;
    let group = scene.hierarchy.root().create_child("born")?;
    drop(scene.hold(&scene.memory, &group)?);
    assert_eq!(scene.notices.recv_timeout(PATIENCE)?.path(), "/born");
    Ok(())
}

#[test]
fn notices_beyond_the_channel_come_in_order() -> Result {
    let scene = Scene::new()?;
    let names = (0..80).map(|n| n.to_string());
    let groups = names.map(|name| scene.watched(&name)).collect::<Result<Vec<_>>>()?;
    for group in groups.iter().rev() {
        drop(scene.hold(&scene.memory, group)?);
        while scene.registry.reap() {}
    }
    let mut told = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let notice = scene.notices.try_recv()?;
        let group = notice.accept().ok_or("not used meanwhile")?;
        drop(scene.hold(&scene.memory, &group)?);
        while scene.registry.reap() {}
        told.insert(group.path());
    }
    assert_eq!(told.len(), 80, "nobody is passed for ever");
    Ok(())
}
