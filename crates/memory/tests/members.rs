//! Members, groups and controllers that come, move and go: where charges are then.

use fief_core::{Cgroup, Controller, Hierarchy, Limit, Registry, Removal};
use fief_memory::Memory;

struct Scene {
    registry: Registry,
    tree: Hierarchy,
    memory: Controller<Memory>,
}

impl Scene {
    fn new() -> Self {
        let registry = Registry::new();
        let tree = registry.create_hierarchy("h").expect("the name is free");
        let memory = registry.register(Memory::new()).expect("the name is free");
        memory.bind(&tree).expect("it is inactive");
        Self { registry, tree, memory }
    }

    fn group(&self, name: &str) -> Cgroup {
        self.tree.root().create_child(name).expect("the name is free")
    }

    /// Returns what is charged, exactly.
    fn usage(&self, group: &Cgroup) -> u64 {
        self.memory.css(group).expect("bound here").usage_exact().0
    }

    fn root(&self) -> u64 {
        self.memory.root().expect("registered").usage_exact().0
    }
}

#[test]
fn a_member_that_moves_leaves_its_charges() {
    let scene = Scene::new();
    let [web, batch] = ["web", "batch"].map(|name| scene.group(name));
    let task = web.create_task("t").unwrap();
    let before = task.css(&scene.memory).unwrap();
    before.try_charge(1000).unwrap();
    task.join(&batch).unwrap();
    assert_eq!((scene.usage(&web), scene.usage(&batch), scene.root()), (1000, 0, 1000));
    let after = task.css(&scene.memory).unwrap();
    after.try_charge(10).unwrap();
    assert_eq!((scene.usage(&web), scene.usage(&batch), scene.root()), (1000, 10, 1010));
    drop(task);
    assert_eq!(scene.root(), 1010, "charges are not the task's");
    before.uncharge(1000);
    after.uncharge(10);
    assert_eq!(scene.root(), 0);
}

#[test]
fn a_tree_that_is_populated_is_charged_from_the_binding_on() {
    let registry = Registry::new();
    let tree = registry.create_hierarchy("h").unwrap();
    let web = tree.root().create_child("web").unwrap();
    let task = web.create_task("t").unwrap();
    let memory = registry.register(Memory::new()).unwrap();
    let root = task.css(&memory).unwrap();
    root.try_charge(500).unwrap();
    memory.bind(&tree).unwrap();
    let css = task.css(&memory).unwrap();
    assert_eq!(css.path(), "/web");
    css.try_charge(70).unwrap();
    let scene = Scene { registry, tree, memory };
    assert_eq!((scene.usage(&web), scene.root()), (70, 570));
    css.uncharge(70);
    root.uncharge(500);
    assert_eq!(scene.root(), 0);
}

#[test]
fn an_unbinding_leaves_charges_to_the_root() {
    let scene = Scene::new();
    let [web, batch] = ["web", "batch"].map(|name| scene.group(name));
    let css = [&web, &batch].map(|group| scene.memory.css(group).unwrap());
    css[0].set_max(Limit::At(20_000));
    css[0].try_charge(3000).unwrap();
    css[1].try_charge(400).unwrap();
    scene.memory.unbind().unwrap();
    assert_eq!(scene.root(), 3400);
    let error = css[0].try_charge(1).unwrap_err().to_string();
    assert_eq!(error, "/web is removed: 1 bytes more cannot be charged there");
    css[0].charge_forced(30_000);
    assert_eq!(scene.root(), 33_400, "whatever the limit that is gone");
    css[0].uncharge(33_000);
    css[1].uncharge(400);
    assert_eq!(scene.root(), 0);
    drop(css);
    scene.registry.wait_reclaimed().unwrap();
    let stats = scene.registry.stats();
    assert_eq!((stats.css_online, stats.css_dying), (1, 0), "the root's");
    scene.memory.bind(&scene.tree).unwrap();
    assert_eq!(scene.memory.css(&web).unwrap().max(), Limit::Max, "a new one");
    assert_eq!(scene.usage(&web), 0);
}

#[test]
fn a_strict_removal_is_refused_while_something_is_charged() {
    let scene = Scene::new();
    let web = scene.group("web");
    let css = scene.memory.css(&web).unwrap();
    css.try_charge(100).unwrap();
    drop(css);
    let error = web.remove(Removal::Strict).unwrap_err().to_string();
    assert!(error.contains("/web") && error.contains("memory"), "{error}");
    let css = scene.memory.css(&web).unwrap();
    css.try_charge(1).unwrap();
    css.uncharge(101);
    drop(css);
    web.remove(Removal::Strict).unwrap();
    assert_eq!(scene.root(), 0);
}

#[test]
fn a_removal_leaves_charges_to_the_parent() {
    let scene = Scene::new();
    let web = scene.group("web");
    let api = web.create_child("api").unwrap();
    let [upper, lower] = [&web, &api].map(|group| scene.memory.css(group).unwrap());
    upper.set_max(Limit::At(20_000));
    let mut held = lower.reserve();
    held.grow(9000).unwrap();
    lower.set_max(Limit::At(1000));
    api.remove(Removal::Detach).unwrap();
    assert_eq!((scene.usage(&web), scene.root()), (9000, 9000));
    drop(lower);
    scene.registry.wait_reclaimed().unwrap();
    let stats = scene.registry.stats();
    assert_eq!((stats.css_online, stats.css_dying), (2, 0), "freed, though 9000 are charged");
    upper.try_charge(11_000).unwrap();
    assert!(upper.try_charge(1).is_err(), "what is left counts");
    assert!(held.grow(1).is_err(), "it can only shrink, or grow by force");
    held.shrink(5000);
    assert_eq!(scene.usage(&web), 15_000);
    drop(held);
    upper.uncharge(11_000);
    assert_eq!(scene.root(), 0);
}

#[test]
fn an_uncharge_of_a_removed_group_is_right_for_all_above() {
    let scene = Scene::new();
    let [web, batch] = ["web", "batch"].map(|name| scene.group(name));
    let api = web.create_child("api").unwrap();
    let css = scene.memory.css(&api).unwrap();
    css.try_charge(4000).unwrap();
    api.remove(Removal::Detach).unwrap();
    web.remove(Removal::Detach).unwrap();
    assert_eq!((scene.usage(&batch), scene.root()), (0, 4000));
    css.charge_forced(5);
    css.uncharge(4005);
    assert_eq!(scene.root(), 0);
    assert!(!scene.memory.root().unwrap().is_tainted());
}

#[test]
fn a_name_is_taken_once_and_free_again() {
    let scene = Scene::new();
    let error = scene.registry.register(Memory::new()).unwrap_err().to_string();
    assert!(error.contains("memory"), "{error}");
    scene.memory.unbind().unwrap();
    scene.memory.unregister().unwrap();
    scene.registry.register(Memory::new()).unwrap();
}
