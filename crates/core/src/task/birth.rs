//! How a task comes into being: in the groups of its spawner, in groups that are named, or at the roots.
//!
//! All of it under one hold of the structural lock: every controller agrees at the css where the task is
//! going to be (`can_fork`), or those that had agreed are told that nothing comes of it
//! (`cancel_fork`); the task is made a member; and only then each controller sees it (`fork`). So whoever
//! moves, freezes or kills the members of a group finds the newborn among them, or its group as they
//! left it.

use crate::{
    cgroup::{Cgroup, Node, arm, name},
    controller::Birth,
    css::AnyCss,
    error::{CreateTaskError, Veto},
    freeze::group::Freezing,
    hierarchy::MAX_HIERARCHIES,
    registry::{Engine, Owner, Tree, engine::Bound},
    sync::{Arc, Mutex},
    task::{Member, Task, TaskShared},
    units::TaskId,
    world::column::{Place, ROOT},
};

/// Creates a task in `cgroups`, and elsewhere where `spawner` sits, or at the root.
pub(crate) fn create(
    owner: &Arc<Owner>,
    name: &str,
    spawner: Option<&Task>,
    cgroups: &[&Cgroup],
) -> Result<Task, CreateTaskError> {
    if !name::is_task(name) {
        return Err(CreateTaskError::Name { name: name.to_owned() });
    }
    check(owner, name, cgroups)?;
    let engine = &owner.engine;
    let mut tree = engine.structure("create_task", || name.to_owned())?;
    if let Some(removed) = cgroups.iter().find(|cgroup| !cgroup.node().is_online()) {
        return Err(CreateTaskError::Removed { name: name.to_owned(), cgroup: removed.path() });
    }
    let homes = homes(&tree, spawner, cgroups);
    let member = Member { id: TaskId(tree.next_id("task")), name: name.to_owned() };
    let seats = everywhere(&tree, |hierarchy| {
        let home = homes.iter().find(|node| node.hierarchy.index == hierarchy);
        home.map_or(ROOT, |node| node.index)
    });
    agree(engine, &seats, &member)?;
    let shared = settle(engine, &mut tree, member, &homes);
    for (css, bound) in &seats {
        engine.tolerate("fork", bound.instance.bear(Birth::Fork, &shared.member, &**css));
    }
    drop(seats);
    drop(tree);
    Ok(Task { owner: Arc::clone(owner), shared: Some(shared) })
}

/// Has a controller that comes agree to the tasks that there are, all of them at its root css; on a refusal
/// cancels those it had agreed to, in order.
pub(crate) fn admit(
    engine: &Engine,
    tasks: &[Arc<TaskShared>],
    (css, bound): (&Arc<dyn AnyCss>, &Bound),
) -> Result<(), Veto> {
    let run = |step, task: &TaskShared| bound.instance.bear(step, &task.member, &**css);
    for (index, task) in tasks.iter().enumerate() {
        if let Err(cause) = run(Birth::Can, task) {
            for task in &tasks[..index] {
                engine.tolerate("cancel", run(Birth::Cancel, task));
            }
            let (cgroup, subsystem) = (css.core().group().path(), bound.identity().name.clone());
            return Err(Veto { cgroup, subsystem, hook: "can_fork", cause });
        }
    }
    for task in tasks {
        engine.tolerate("fork", run(Birth::Fork, task));
    }
    Ok(())
}

/// Refuses groups of another registry, and two of one hierarchy.
fn check(owner: &Arc<Owner>, name: &str, cgroups: &[&Cgroup]) -> Result<(), CreateTaskError> {
    for (index, cgroup) in cgroups.iter().enumerate() {
        if !Arc::ptr_eq(cgroup.owner(), owner) {
            let (name, cgroup) = (name.to_owned(), cgroup.path());
            return Err(CreateTaskError::Foreign { name, cgroup });
        }
        let hierarchy = &cgroup.node().hierarchy;
        let is_other =
            |other: &&&Cgroup| Arc::ptr_eq(&other.node().hierarchy, hierarchy) && *other != cgroup;
        if let Some(other) = cgroups[..index].iter().find(is_other) {
            return Err(CreateTaskError::Ambiguous {
                name: name.to_owned(),
                hierarchy: hierarchy.name().to_owned(),
                cgroups: [other.path(), cgroup.path()],
            });
        }
    }
    Ok(())
}

/// Returns the groups of the newborn that are not roots; the caller holds the structural lock.
fn homes(tree: &Tree, spawner: Option<&Task>, cgroups: &[&Cgroup]) -> Vec<Arc<Node>> {
    let home = |hierarchy: u32| {
        let named = cgroups.iter().map(|cgroup| cgroup.node());
        let mut named = named.filter(|node| node.hierarchy.index == hierarchy);
        named.next().cloned()
    };
    let hierarchies = tree.hierarchies.iter().map(|(_, hier)| hier);
    let homes = hierarchies
        .filter_map(|hier| home(hier.index).or_else(|| hier.group(spawner?.place(hier.index))));
    homes.filter(|node| node.index != ROOT).collect()
}

/// Makes the task a member of its groups, asked to freeze if one of them is.
fn settle(
    engine: &Engine,
    tree: &mut Tree,
    member: Member,
    homes: &[Arc<Node>],
) -> Arc<TaskShared> {
    for node in homes {
        arm::disarm(engine, tree, node);
    }
    let asks = homes.iter().map(|node| u32::from(node.freeze.is_in_effect())).sum();
    let _moves = engine.moves.lock();
    let mut tasks = engine.tasks.lock();
    let entry = tasks.vacant_entry();
    let shared = Arc::new(TaskShared {
        member,
        places: [const { Place::new() }; MAX_HIERARCHIES],
        cancel: Mutex::new(None),
        freezing: Freezing::new(asks),
        arena: entry.key(),
    });
    homes.iter().for_each(|node| shared.move_to(node.hierarchy.index, node.index));
    entry.insert(Arc::clone(&shared));
    drop(tasks);
    homes.iter().for_each(|node| node.add_member(&shared));
    shared
}

/// A css and its controller, for every registered controller.
pub(super) type Seats = Vec<(Arc<dyn AnyCss>, Bound)>;

/// Returns the css of every controller, in order of registration, at the task's `place` in the hierarchy it is bound to.
pub(super) fn everywhere(tree: &Tree, place: impl Fn(u32) -> u32) -> Seats {
    let bound = tree.registered().into_iter();
    bound
        .filter_map(|bound| {
            let css = bound.css(tree, place(bound.hierarchy.index))?;
            Some((Arc::clone(css), bound))
        })
        .collect()
}

/// Has every controller agree that the task may come into being at its seat; on a refusal cancels those
/// that had agreed, in order.
fn agree(engine: &Engine, seats: &Seats, member: &Member) -> Result<(), Veto> {
    for (index, (css, bound)) in seats.iter().enumerate() {
        if let Err(cause) = bound.instance.bear(Birth::Can, member, &**css) {
            for (css, bound) in &seats[..index] {
                engine.tolerate("cancel", bound.instance.bear(Birth::Cancel, member, &**css));
            }
            let (cgroup, subsystem) = (css.core().group().path(), bound.identity().name.clone());
            return Err(Veto { cgroup, subsystem, hook: "can_fork", cause });
        }
    }
    Ok(())
}
