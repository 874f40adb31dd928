//! Edits: several creations, joins and removals as one step, or nothing of it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use fief_core::{
    AttachError, Cgroup, CreateError, Css, Draft, EditError, HookError, Limit, Member, Migration,
    RebindOptions, Reclaimer, Registry, Removal, RemoveError, StructuralError, Subsystem,
};

/// Counts its members, and refuses what it is told to.
#[derive(Default)]
struct Members {
    refused: Arc<AtomicU64>,
    /// Moves agreed to that neither came nor were cancelled: what they charged would be lost.
    agreed: Arc<AtomicU64>,
    refuses_attach: bool,
    refuses_css: bool,
}

impl Subsystem for Members {
    type State = AtomicU64;

    fn name(&self) -> &'static str {
        "members"
    }

    fn new_css(&self, parent: Option<&Css<AtomicU64>>) -> Result<AtomicU64, HookError> {
        if self.refuses_css && parent.is_some() {
            return Err("no more".into());
        }
        Ok(AtomicU64::new(0))
    }

    fn can_attach(&self, migration: &Migration<'_, AtomicU64>) -> Result<(), HookError> {
        if self.refuses_attach && migration.task.name == "stubborn" {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err("stays".into());
        }
        self.agreed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn cancel_attach(&self, _migration: &Migration<'_, AtomicU64>) {
        self.agreed.fetch_sub(1, Ordering::Relaxed);
    }

    fn attach(&self, migration: &Migration<'_, AtomicU64>) {
        self.agreed.fetch_sub(1, Ordering::Relaxed);
        migration.source.fetch_sub(1, Ordering::Relaxed);
        migration.target.fetch_add(1, Ordering::Relaxed);
    }

    fn fork(&self, css: &Css<AtomicU64>, _task: &Member) {
        css.fetch_add(1, Ordering::Relaxed);
    }

    fn exit(&self, css: &Css<AtomicU64>, _task: &Member) {
        css.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Scene {
    registry: Registry,
    tenants: Cgroup,
    plans: Cgroup,
}

impl Scene {
    fn new() -> Self {
        let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
        let [tenants, plans] = ["by-tenant", "by-plan"]
            .map(|name| registry.create_hierarchy(name).expect("the name is free").root());
        Self { registry, tenants, plans }
    }

    /// Renders what an edit may change.
    fn show(&self) -> String {
        let line = |group: Cgroup| {
            let members: Vec<String> = group.members().into_iter().map(|it| it.name).collect();
            let name = group.hierarchy().name();
            format!("{name}:{} {members:?} {:?}\n", group.path(), group.controllers())
        };
        let all = self.tenants.descendants_pre().chain(self.plans.descendants_pre());
        let stats = self.registry.stats();
        let figures = (stats.cgroups, stats.css_online, stats.tasks);
        all.map(line).chain([format!("{figures:?}\n")]).collect()
    }
}

fn refusal<R>(result: Result<R, EditError>) -> String {
    result.map(drop).expect_err("refused").to_string()
}

#[test]
fn trees_of_one_shape_grow_and_shrink_together() {
    let scene = Scene::new();
    let Scene { registry, tenants, plans } = &scene;
    let members = registry.register(Members::default()).expect("the name is free");
    members.bind(&tenants.hierarchy()).expect("it is inactive");
    let task = registry.create_task("worker").expect("nobody refuses");
    let (made, drafts) = registry
        .edit(|edit| {
            let groups = [tenants, plans].map(|root| {
                let web = edit.create(root, "web");
                [web, edit.create(web, "db")]
            });
            for [_, db] in groups {
                edit.join(&task, db);
            }
            groups
        })
        .expect("nothing stands in the way");
    let [web, db] = drafts[0].map(|draft| made.cgroup(draft).expect("made by it").clone());
    assert_eq!((web.path(), db.path(), made.cgroups().len()), ("/web".into(), "/web/db".into(), 4));
    assert!(
        web.is_populated() && members.css(&db).is_some_and(|css| css.load(Ordering::Relaxed) == 1)
    );
    members.rebind(&plans.hierarchy(), &RebindOptions::new()).expect("the shapes are the same");

    let all: Vec<Cgroup> = made.cgroups().to_vec();
    registry
        .edit(|edit| {
            all.iter().for_each(|group| edit.remove(group, Removal::Detach));
            edit.join(&task, tenants);
            edit.join(&task, plans);
        })
        .expect("the member leaves by it");
    assert_eq!(registry.stats().cgroups, 2);
    assert_eq!(members.root().map(|root| root.load(Ordering::Relaxed)), Some(1));
}

#[test]
fn a_refusal_at_any_step_changes_nothing() {
    let scene = Scene::new();
    let Scene { registry, tenants, plans } = &scene;
    let subsystem = Members { refuses_attach: true, ..Members::default() };
    let [refused, agreed] = [&subsystem.refused, &subsystem.agreed].map(Arc::clone);
    let members = registry.register(subsystem).expect("the name is free");
    members.bind(&plans.hierarchy()).expect("it is inactive");
    let (old, used) = (
        tenants.create_child("old").expect("the name is free"),
        plans.create_child("used").expect("the name is free"),
    );
    let [worker, stubborn] =
        ["worker", "stubborn"].map(|name| registry.create_task(name).expect("nobody refuses"));
    worker.join(&old).expect("nobody refuses");
    let before = scene.show();

    // A name that is taken, after one that is free; the same name twice.
    let error = refusal(registry.edit(|edit| {
        edit.create(tenants, "new");
        edit.create(tenants, "old")
    }));
    assert_eq!(error, "/old exists");
    let error = refusal(registry.edit(|edit| {
        let new = edit.create(tenants, "new");
        edit.create(new, "a");
        edit.create(new, "a")
    }));
    assert_eq!(error, "/new/a exists");
    // A limit, to which groups of the same edit count.
    tenants.set_max_descendants(Limit::At(2)).expect("in range");
    let error = refusal(registry.edit(|edit| {
        let new = edit.create(tenants, "new");
        edit.create(new, "a");
    }));
    assert_eq!(error, "/new/a would exceed cgroup.max.descendants of /: 2 groups");
    tenants.set_max_descendants(Limit::Max).expect("in range");
    // A veto of the last join.
    let error = refusal(registry.edit(|edit| {
        let new = edit.create(plans, "new");
        edit.remove(&old, Removal::Detach);
        edit.join(&worker, tenants);
        edit.join(&worker, new);
        edit.join(&stubborn, new);
    }));
    assert_eq!(error, "members refused /new in can_attach: stays");
    assert_eq!(refused.load(Ordering::Relaxed), 1);
    assert_eq!(agreed.load(Ordering::Relaxed), 0, "who had agreed before the veto is told");
    // A strict removal of what is in use, decided last.
    let reference = members.css(&used).expect("bound here");
    let error = refusal(registry.edit(|edit| {
        let new = edit.create(plans, "new");
        edit.join(&worker, new);
        edit.remove(&used, Removal::Strict);
    }));
    assert_eq!(error, "/used is in use: 1 reference to members of /used");
    assert_eq!(agreed.load(Ordering::Relaxed), 0, "the join was agreed to, and does not come");
    drop(reference);
    // A member that does not leave, a child that does not go.
    let error = refusal(registry.edit(|edit| edit.remove(&old, Removal::Detach)));
    assert_eq!(error, "/old is busy: 1 members, 0 children");
    registry.wait_reclaimed().expect("no guard is held");
    assert_eq!(scene.show(), before);
    assert_eq!(agreed.load(Ordering::Relaxed), 0);
    let stats = registry.stats();
    assert_eq!(stats.css_created - stats.css_freed, stats.css_online, "what was made is freed");
}

#[test]
fn a_group_that_goes_by_the_edit_cannot_be_used_by_it() {
    let scene = Scene::new();
    let Scene { registry, tenants, .. } = &scene;
    let old = tenants.create_child("old").expect("the name is free");
    let task = registry.create_task("worker").expect("nobody refuses");
    let leaving = "/old cannot be used by the edit that removes it";
    let error = refusal(registry.edit(|edit| {
        edit.remove(&old, Removal::Detach);
        edit.join(&task, &old);
    }));
    assert_eq!(error, leaving);
    let error = refusal(registry.edit(|edit| {
        edit.create(&old, "child");
        edit.remove(&old, Removal::Detach);
    }));
    assert_eq!(error, leaving);
    let error = refusal(registry.edit(|edit| {
        edit.remove(&old, Removal::Detach);
        edit.remove(&old, Removal::Strict);
    }));
    assert_eq!(error, "/old is named twice in one edit");
    old.remove(Removal::Detach).expect("nobody is in it");
    let removed = registry.edit(|edit| edit.join(&task, &old));
    assert!(matches!(removed, Err(EditError::Attach(AttachError::Removed { .. }))));
    let removed = registry.edit(|edit| edit.create(&old, "child"));
    assert!(matches!(removed, Err(EditError::Create(CreateError::Removed { .. }))));
    let removed = registry.edit(|edit| edit.remove(&old, Removal::Strict));
    assert!(matches!(removed, Err(EditError::Remove(RemoveError::Removed { .. }))));
}

#[test]
fn strict_removals_in_several_hierarchies_are_decided_together() {
    let scene = Scene::new();
    let Scene { registry, tenants, plans } = &scene;
    let members = registry.register(Members::default()).expect("the name is free");
    members.bind(&plans.hierarchy()).expect("it is inactive");
    let both = [tenants, plans].map(|root| root.create_child("web").expect("the name is free"));
    let remove =
        || registry.edit(|edit| both.iter().for_each(|it| edit.remove(it, Removal::Strict)));
    let held = members.css(&both[1]).expect("bound here");
    assert!(matches!(remove(), Err(EditError::Remove(RemoveError::InUse { .. }))));
    assert_eq!(registry.stats().cgroups, 4, "the one without references stays, too");
    drop(held);
    remove().expect("nobody holds it");
    assert_eq!(registry.stats().cgroups, 2);
}

#[test]
fn the_last_of_several_joins_counts() {
    let scene = Scene::new();
    let Scene { registry, tenants, .. } = &scene;
    let task = registry.create_task("worker").expect("nobody refuses");
    let (made, drafts) = registry
        .edit(|edit| {
            let [a, b] = ["a", "b"].map(|name| edit.create(tenants, name));
            edit.join(&task, a);
            edit.join(&task, b);
            edit.join(&task, b);
            [a, b]
        })
        .expect("nothing stands in the way");
    let members = drafts.map(|draft| made.cgroup(draft).expect("made by it").members().len());
    assert_eq!(members, [0, 1]);
}

#[test]
fn foreign_groups_tasks_and_drafts_are_refused() {
    let (scene, other) = (Scene::new(), Scene::new());
    let Scene { registry, tenants, .. } = &scene;
    let foreign = "/ is of another registry than the edit";
    assert_eq!(refusal(registry.edit(|edit| edit.create(&other.tenants, "a"))), foreign);
    assert_eq!(
        refusal(registry.edit(|edit| edit.remove(&other.tenants, Removal::Detach))),
        foreign
    );
    let task = other.registry.create_task("stranger").expect("nobody refuses");
    let error = refusal(registry.edit(|edit| edit.join(&task, tenants)));
    assert_eq!(error, "stranger cannot join a group of the edit: it is of another registry");
    let (made, draft): (_, Draft) = registry.edit(|edit| edit.create(tenants, "a")).expect("free");
    let error = refusal(registry.edit(|edit| edit.create(draft, "b")));
    assert_eq!(error, "a draft is of another edit, or of one of its later creations");
    let (later, _) = registry.edit(|edit| edit.create(tenants, "b")).expect("free");
    assert!(made.cgroup(draft).is_some() && later.cgroup(draft).is_none());
}

#[test]
fn an_edit_of_nothing_and_one_under_a_guard() {
    let scene = Scene::new();
    let (made, ()) = scene.registry.edit(|_| ()).expect("nothing to refuse");
    assert!(made.cgroups().is_empty());
    let guard = scene.registry.read();
    let held = scene.registry.edit(|_| ());
    assert!(matches!(held, Err(EditError::Structural(StructuralError::GuardHeld { .. }))));
    drop(guard);
}

#[test]
fn a_css_that_a_subsystem_refuses_takes_the_others_back() {
    let scene = Scene::new();
    let Scene { registry, tenants, plans } = &scene;
    let members = registry
        .register(Members { refuses_css: true, ..Members::default() })
        .expect("the root is made");
    members.bind(&plans.hierarchy()).expect("it is inactive");
    let error = refusal(registry.edit(|edit| {
        edit.create(tenants, "a");
        edit.create(plans, "a");
    }));
    assert_eq!(error, "members refused /a in new_css: no more");
    assert_eq!(tenants.children().count(), 0);
}
