//! Counts of members wherever they go: however they change css, and whatever is refused or panics on the way.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering},
    },
};

use fief_core::{
    AnyController, Cgroup, Controller, Css, Hierarchy, HookError, Member, MemberPolicy, Migration,
    RebindOptions, Registry, Removal, Subsystem, Task,
};
use fief_tasks::Tasks;

/// Counts members by a book of its own; the hook that makes the countdown zero refuses, or panics.
#[derive(Clone, Default)]
struct Moody {
    countdown: Arc<AtomicU32>,
    panics: Arc<AtomicBool>,
    /// What was agreed to, and has neither come about nor been cancelled.
    agreed: Arc<AtomicI64>,
}

impl Moody {
    fn mood(&self) -> Result<(), HookError> {
        let left = self.countdown.load(Ordering::Relaxed);
        self.countdown.store(left.saturating_sub(1), Ordering::Relaxed);
        if left != 1 {
            return Ok(());
        }
        if self.panics.load(Ordering::Relaxed) {
            resume_unwind(Box::new("moody"));
        }
        Err("moody".into())
    }
}

impl Subsystem for Moody {
    type State = AtomicI64;

    fn name(&self) -> &'static str {
        "moody"
    }

    fn new_css(&self, _parent: Option<&Css<AtomicI64>>) -> Result<AtomicI64, HookError> {
        self.mood()?;
        Ok(AtomicI64::new(0))
    }

    fn online(&self, _css: &Css<AtomicI64>) -> Result<(), HookError> {
        self.mood()
    }

    fn can_attach(&self, _migration: &Migration<'_, AtomicI64>) -> Result<(), HookError> {
        self.mood()?;
        self.agreed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn cancel_attach(&self, _migration: &Migration<'_, AtomicI64>) {
        self.agreed.fetch_sub(1, Ordering::Relaxed);
        self.mood().ok();
    }

    fn attach(&self, migration: &Migration<'_, AtomicI64>) {
        self.agreed.fetch_sub(1, Ordering::Relaxed);
        migration.source.fetch_sub(1, Ordering::Relaxed);
        migration.target.fetch_add(1, Ordering::Relaxed);
        self.mood().ok();
    }

    fn can_fork(&self, css: &Css<AtomicI64>, _task: &Member) -> Result<(), HookError> {
        self.mood()?;
        css.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn cancel_fork(&self, css: &Css<AtomicI64>, _task: &Member) {
        css.fetch_sub(1, Ordering::Relaxed);
        self.mood().ok();
    }

    fn exit(&self, css: &Css<AtomicI64>, _task: &Member) {
        css.fetch_sub(1, Ordering::Relaxed);
        self.mood().ok();
    }

    fn offline(&self, _css: &Css<AtomicI64>) {
        self.mood().ok();
    }

    fn rebound(&self, _root: &Css<AtomicI64>) {
        self.mood().ok();
    }
}

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }
}

const PATHS: [&str; 5] = ["/", "/a", "/a/x", "/a/y", "/b"];

struct Scene {
    random: Random,
    registry: Registry,
    trees: Vec<Hierarchy>,
    tasks: Controller<Tasks>,
    moody: Controller<Moody>,
    members: Vec<Task>,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let registry = Registry::new();
        let trees = ["p", "q", "r"].map(|name| registry.create_hierarchy(name).expect("free"));
        let first = random.flip().then(|| registry.register(Tasks::new()).expect("free"));
        let moody = registry.register(Moody::default()).expect("free");
        let tasks = first.unwrap_or_else(|| registry.register(Tasks::new()).expect("free"));
        let members = Vec::new();
        let mut scene = Self { random, registry, trees: trees.into(), tasks, moody, members };
        (0..3).for_each(|tree| scene.plant(tree));
        scene
    }

    /// Creates the groups of a tree that are not there.
    fn plant(&mut self, tree: usize) {
        for path in &PATHS[1..] {
            let (parent, name) = path.rsplit_once('/').expect("a path");
            let parent = if parent.is_empty() { "/" } else { parent };
            // Refused where it is there, or somebody is moody.
            self.trees[tree].lookup(parent).ok().and_then(|parent| parent.create_child(name).ok());
        }
    }

    fn group(&mut self) -> Option<Cgroup> {
        let (tree, path) = (self.random.below(3), self.random.below(5));
        self.trees[tree].lookup(PATHS[path]).ok()
    }

    fn tree(&mut self) -> Hierarchy {
        self.trees[self.random.below(3)].clone()
    }

    fn member(&mut self) -> Option<usize> {
        (!self.members.is_empty()).then(|| self.random.below(self.members.len()))
    }

    fn names(&mut self) -> Vec<&'static str> {
        [&["tasks"][..], &["moody"], &["tasks", "moody"]][self.random.below(3)].to_vec()
    }

    fn is_born_or_ends(&mut self) -> Option<()> {
        let made = match self.random.below(4) {
            0 => self.group()?.create_task("made").ok()?,
            1 => self.member().map(|it| self.members[it].spawn("spawned"))?.ok()?,
            2 => {
                let groups = [self.group(), self.group()];
                let groups: Vec<&Cgroup> = groups.iter().flatten().collect();
                self.member().map(|it| self.members[it].spawn_into("spawned", &groups))?.ok()?
            }
            _ => {
                let member = self.member().map(|it| self.members.swap_remove(it))?;
                let guard = self.random.flip().then(|| self.registry.read());
                drop(member);
                drop(guard);
                self.registry.wait_reclaimed().ok()?;
                return Some(());
            }
        };
        self.members.push(made);
        Some(())
    }

    fn moves(&mut self) -> Option<()> {
        let (group, first) = (self.group()?, self.member()?);
        match self.random.below(3) {
            0 => group.attach(&self.members[first]).ok(),
            1 => group.attach_all(&self.members[first..].iter().collect::<Vec<_>>()).ok(),
            _ => {
                let (other, is_strict, is_held) =
                    (self.group()?, self.random.flip(), self.random.flip());
                // Held, it refuses a strict removal after the joins were agreed to.
                let held = self.moody.css(&other).filter(|_| is_held);
                let removal = if is_strict { Removal::Strict } else { Removal::Detach };
                let all = self.random.flip();
                let edited = self.registry.edit(|edit| {
                    let new = edit.create(&group, "x");
                    edit.join(&self.members[first], new);
                    edit.remove(&other, removal);
                    for member in self.members.iter().filter(|_| all) {
                        edit.join(member, other.hierarchy().root());
                    }
                });
                drop(held);
                edited.ok().map(drop)
            }
        }
    }

    fn is_bound_elsewhere(&mut self) -> Option<()> {
        let (tree, is_tasks) = (self.tree(), self.random.flip());
        let (tasks, moody) = (self.tasks.clone(), self.moody.clone());
        let some = [self.random.flip().then_some(&tasks as &dyn AnyController), Some(&moody)];
        let some: Vec<&dyn AnyController> = some.into_iter().flatten().collect();
        let members = if self.random.flip() { MemberPolicy::Move } else { MemberPolicy::Refuse };
        match self.random.below(5) {
            0 if is_tasks => tasks.bind(&tree).ok(),
            0 => moody.bind(&tree).ok(),
            1 if is_tasks => tasks.unbind().ok(),
            1 => moody.unbind().ok(),
            2 => tree.remount(&some).ok(),
            3 => self.registry.rebind(&some, &tree, &RebindOptions::new().members(members)).ok(),
            _ => {
                let (group, names) = (self.group()?, self.names());
                let (enable, disable) =
                    if is_tasks { (&*names, &[][..]) } else { (&[][..], &*names) };
                group.set_subtree_control(enable, disable).ok()
            }
        }
    }

    fn comes_or_goes(&mut self) -> Option<()> {
        if self.random.flip() {
            let tree = self.random.below(3);
            self.plant(tree);
            return Some(());
        }
        if self.random.flip() {
            return self.group()?.remove(Removal::Strict).ok();
        }
        self.tasks.unregister().ok()?;
        self.tasks = self.registry.register(Tasks::new()).expect("free");
        Some(())
    }

    /// Does something of a kind, often with a hook that refuses or panics on the way; returns whether it
    /// was done.
    fn step(&mut self, kind: usize) -> bool {
        let moody = self.moody.subsystem().clone();
        let countdown = if self.random.below(3) == 0 { 1 + self.random.below(6) } else { 0 };
        moody.panics.store(self.random.flip(), Ordering::Relaxed);
        moody.countdown.store(u32::try_from(countdown).expect("small"), Ordering::Relaxed);
        let done = match kind {
            0 => self.is_born_or_ends(),
            1 => self.moves(),
            2 => self.is_bound_elsewhere(),
            _ => self.comes_or_goes(),
        };
        moody.countdown.store(0, Ordering::Relaxed);
        done.is_some()
    }

    fn check(&self, when: &str) {
        let agreed = self.moody.subsystem().agreed.load(Ordering::Relaxed);
        assert_eq!(agreed, 0, "{when}: agreed to, and neither done nor cancelled");
        let root = self.tasks.root().expect("registered");
        assert_eq!(root.current(), self.members.len() as u64, "{when}: all tasks");
        for group in self.trees.iter().flat_map(|tree| tree.root().descendants_pre()) {
            let has = |name: &str| group.controllers().iter().any(|it| it == name);
            let there: usize = group.descendants_pre().map(|it| it.members().len()).sum();
            let shown = group.read("tasks.current").ok();
            let expected = has("tasks").then(|| format!("{there}\n"));
            assert_eq!(shown, expected, "{when}: {group:?}");
            if has("moody") {
                let css = self.moody.css(&group).expect("enabled");
                let is_here =
                    |task: &&Task| task.css(&self.moody).is_some_and(|its| its.id() == css.id());
                let count = self.members.iter().filter(is_here).count();
                let counted = css.load(Ordering::Relaxed);
                assert_eq!(usize::try_from(counted), Ok(count), "{when}: moody in {group:?}");
            }
        }
    }
}

#[test]
fn members_count_where_they_are_whatever_happens() {
    let mut done = [0; 4];
    for seed in 1..=SEEDS {
        let mut scene = Scene::new(seed);
        for step in 0..STEPS {
            let kind = scene.random.below(done.len());
            done[kind] += u32::from(scene.step(kind));
            scene.check(&format!("seed {seed}, step {step}"));
        }
        scene.members.clear();
        scene.check(&format!("seed {seed}, at the end"));
    }
    // Were everything refused, the counts would be right, too.
    assert!(done.iter().all(|&times| times > 50), "done of each kind: {done:?}");
}

#[test]
fn an_edit_refused_after_its_joins_were_agreed_to_cancels_them() {
    let mut scene = Scene::new(1);
    let tree = scene.trees[0].clone();
    scene.tasks.bind(&tree).unwrap();
    scene.moody.bind(&tree).unwrap();
    let [held, target] = ["/a/x", "/b"].map(|path| tree.lookup(path).unwrap());
    scene.members.push(held.create_task("task").unwrap());
    let css = scene.moody.css(&held).unwrap();
    let edit = |scene: &Scene| {
        scene.registry.edit(|edit| {
            edit.join(&scene.members[0], &target);
            edit.remove(&held, Removal::Strict);
        })
    };
    assert!(edit(&scene).is_err(), "a css of the group is in use");
    scene.check("refused");
    assert_eq!(held.read("tasks.current").unwrap(), "1\n");
    drop(css);
    edit(&scene).unwrap();
    scene.check("done");
    assert_eq!(target.read("tasks.current").unwrap(), "1\n");
}

#[test]
fn who_is_spawned_into_groups_of_two_trees_counts_in_the_one_that_is_bound() {
    let mut scene = Scene::new(1);
    let [one, other] = [scene.trees[0].clone(), scene.trees[1].clone()];
    scene.tasks.bind(&one).unwrap();
    let [here, there] = [(&one, "/a/x"), (&other, "/b")].map(|(tree, at)| tree.lookup(at).unwrap());
    let spawner = scene.registry.create_task("spawner").unwrap();
    scene.members.push(spawner.spawn_into("spawned", &[&here, &there]).unwrap());
    scene.members.push(spawner);
    scene.check("spawned");
    let current = |group: &Cgroup| group.read("tasks.current").ok();
    assert_eq!((current(&here).as_deref(), current(&there)), (Some("1\n"), None));
    let moving = RebindOptions::new().members(MemberPolicy::Move);
    scene.tasks.rebind(&other, &moving).unwrap();
    scene.check("rebound");
    assert_eq!((current(&here), current(&there).as_deref()), (None, Some("1\n")));
}

const SEEDS: u64 = 20;
const STEPS: u32 = 120;
