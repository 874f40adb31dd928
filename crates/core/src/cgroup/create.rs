//! Creating and renaming groups, and the limits on how many there may be.

use crate::{
    cgroup::{
        Cgroup, Node, arm,
        name::{self, NameError},
        node::{UNLIMITED, count_above, limit},
    },
    css::{State, header::Counting},
    error::{
        AttachError, CapacityError, CreateError, CreateWithError, LimitError, NotifyError,
        RenameError,
    },
    hierarchy::MAX_GROUPS,
    lifecycle::{self, BirthError, Owned},
    migrate::{self, Moves},
    reclaim::Garbage,
    registry::{Engine, Owner, Tree, engine::Bound},
    sync::{Arc, AtomicU32, Ordering},
    task::Task,
    units::Limit,
};

/// The greatest depth or number of descendants that can be asked for.
pub(crate) const GREATEST: u32 = u32::MAX >> 1;

pub(super) fn child(parent: &Cgroup, name: &str) -> Result<Cgroup, CreateError> {
    let (owner, node) = (parent.owner(), parent.node());
    let mut tree = owner.engine.structure("create_child", || node.path())?;
    let made = make(&owner.engine, &mut tree, node, name);
    drop(tree);
    finish(owner, made)
}

pub(super) fn child_with(
    parent: &Cgroup,
    name: &str,
    tasks: &[&Task],
) -> Result<Cgroup, CreateWithError> {
    let (owner, node) = (parent.owner(), parent.node());
    let structure = owner.engine.structure("create_child_with", || node.path());
    let mut tree = structure.map_err(CreateError::from)?;
    let made = match make_with(&owner.engine, &mut tree, node, name, tasks) {
        Ok((child, moves)) => {
            let transfers = migrate::commit(&owner.engine, &mut tree, moves);
            migrate::finish(&owner.engine, tree, transfers);
            Ok(child)
        }
        Err(error) => {
            drop(tree);
            Err(error)
        }
    };
    finish(owner, made)
}

/// Has the reclaimer look after what was made, or what was left behind; the caller holds no lock.
fn finish<E>(owner: &Arc<Owner>, made: Result<Arc<Node>, E>) -> Result<Cgroup, E> {
    match &made {
        Ok(child) if child.is_armed() => owner.engine.attend(),
        Ok(_) => {}
        Err(_) => owner.engine.wake(),
    }
    Ok(Cgroup::new(Arc::clone(owner), made?))
}

// The reclaimer is to be a css's last owner: no css of these two outlives the lock.

fn make(
    engine: &Engine,
    tree: &mut Tree,
    parent: &Arc<Node>,
    name: &str,
) -> Result<Arc<Node>, CreateError> {
    let controllers = tree.bound_to(&parent.hierarchy);
    check_child(tree, parent, name, |_| 0)?;
    let (child, _) = bear(engine, tree, parent, name, (&controllers, false))?;
    show(engine, tree, &child);
    Ok(child)
}

/// Makes a group, and has every controller agree to its first members, who are not there yet.
fn make_with(
    engine: &Engine,
    tree: &mut Tree,
    parent: &Arc<Node>,
    name: &str,
    tasks: &[&Task],
) -> Result<(Arc<Node>, Moves), CreateWithError> {
    migrate::check_native(engine, tasks, || path_of(parent, name))?;
    let controllers = tree.bound_to(&parent.hierarchy);
    check_child(tree, parent, name, |_| 0)?;
    let (child, _) = bear(engine, tree, parent, name, (&controllers, !tasks.is_empty()))?;
    let joins: Vec<_> = tasks.iter().map(|task| task.joins(&child)).collect();
    match migrate::prepare(engine, tree, joins) {
        Ok(moves) => {
            show(engine, tree, &child);
            Ok((child, moves))
        }
        Err(error) => {
            undo(engine, tree, &child);
            Err(AttachError::from(error).into())
        }
    }
}

/// Takes back a group that [`bear`] made, and nobody but hooks has seen.
pub(crate) fn undo(engine: &Engine, tree: &mut Tree, child: &Arc<Node>) {
    let controllers = tree.bound_to(&child.hierarchy);
    let csses = lifecycle::csses(tree, child, &controllers);
    lifecycle::drain(engine, &csses);
    child.enter(State::Dying);
    controllers.iter().for_each(|bound| bound.column.set(child.index, None));
    lifecycle::bury(engine, &csses);
    forget(tree, child);
}

/// Makes a group that nobody can find, and its css; or nothing. The caller has checked that there may be
/// such a child.
pub(crate) fn bear<'b>(
    engine: &Engine,
    tree: &mut Tree,
    parent: &Arc<Node>,
    name: &str,
    (controllers, has_members): (&'b [Bound], bool),
) -> Result<(Arc<Node>, Vec<Owned<'b>>), CreateError> {
    let id = tree.next_id("cgroup");
    let child = parent.hierarchy.plant(id, name, Some(parent)).ok_or_else(|| {
        let source = CapacityError { what: "groups in a hierarchy", limit: MAX_GROUPS };
        CreateError::Capacity { cgroup: path_of(parent, name), source }
    })?;
    child.set_notifies(parent.notifies());
    child.enable_as(parent);
    let is_armed = child.notifies() && !has_members;
    let counting = if is_armed { Counting::Exact } else { engine.counting() };
    match lifecycle::bear(engine, tree, &child, controllers, counting) {
        Ok(csses) => {
            for bound in controllers {
                bound.column.set(child.index, bound.column.get(parent.index));
            }
            for (css, bound) in &csses {
                bound.column.set(child.index, Some(css.core().id));
            }
            if is_armed {
                arm::arm_newborn(&child, &csses);
            }
            Ok((child, csses))
        }
        Err(error) => {
            forget(tree, &child);
            Err(match error {
                BirthError::Capacity(source) => {
                    CreateError::Capacity { cgroup: child.path(), source }
                }
                BirthError::Vetoed(veto) => CreateError::Vetoed(veto),
            })
        }
    }
}

/// Gives up a group that nobody but hooks has seen: its index is nobody else's for a grace period.
fn forget(tree: &mut Tree, child: &Arc<Node>) {
    child.enter(State::Released);
    tree.retired.push(Garbage::Index(Arc::clone(child)));
}

/// Makes a group known under its parent.
pub(crate) fn show(engine: &Engine, tree: &mut Tree, child: &Arc<Node>) {
    let Some(parent) = &child.parent else { return };
    arm::disarm(engine, tree, parent);
    parent.link(child);
    count_above(child, |node| &node.descendants, 1);
    engine.counts.cgroups_created.add(1);
    crate::trace::event!("create_child", cgroup = %child.path(), "created");
}

/// Checks everything that can be checked before anything is made; `more` is how many groups are about to
/// come below one, besides this.
pub(crate) fn check_child(
    tree: &Tree,
    parent: &Node,
    name: &str,
    more: impl Fn(&Node) -> u64,
) -> Result<(), CreateError> {
    if !parent.is_online() {
        return Err(CreateError::Removed { parent: parent.path() });
    }
    let malformed = |source: NameError| CreateError::Name { parent: parent.path(), source };
    name::check(name, tree.subsystem_names()).map_err(malformed)?;
    let cgroup = || path_of(parent, name);
    if parent.child(name).is_some() {
        return Err(CreateError::Exists { cgroup: cgroup() });
    }
    let depth = u64::from(parent.depth) + 1;
    for above in parent.ancestors() {
        let (max_depth, max_descendants) = (limit(&above.max_depth), limit(&above.max_descendants));
        if !max_depth.allows(depth - u64::from(above.depth)) {
            let (cgroup, ancestor) = (cgroup(), above.path());
            return Err(CreateError::MaxDepth { cgroup, ancestor, limit: max_depth });
        }
        // Ordering: Relaxed: written under the structural lock, which we hold.
        let descendants = u64::from(above.descendants.load(Ordering::Relaxed)) + more(above);
        if !max_descendants.allows(descendants + 1) {
            let (cgroup, ancestor) = (cgroup(), above.path());
            return Err(CreateError::MaxDescendants { cgroup, ancestor, limit: max_descendants });
        }
    }
    Ok(())
}

pub(crate) fn path_of(parent: &Node, name: &str) -> String {
    if parent.parent.is_none() { format!("/{name}") } else { format!("{}/{name}", parent.path()) }
}

pub(super) fn rename(cgroup: &Cgroup, name: &str) -> Result<(), RenameError> {
    let node = cgroup.node();
    let tree = cgroup.owner().engine.structure("rename", || node.path())?;
    if !node.is_online() {
        return Err(RenameError::Removed { cgroup: node.path() });
    }
    let Some(parent) = &node.parent else {
        return Err(RenameError::Root { hierarchy: node.hierarchy.name().to_owned() });
    };
    let malformed = |source: NameError| RenameError::Name { cgroup: node.path(), source };
    name::check(name, tree.subsystem_names()).map_err(malformed)?;
    match parent.child(name) {
        Some(sibling) if Arc::ptr_eq(&sibling, node) => return Ok(()),
        Some(_) => {
            return Err(RenameError::Exists { cgroup: node.path(), name: name.to_owned() });
        }
        None => {}
    }
    crate::trace::event!("rename", cgroup = %node.path(), name, "renamed");
    parent.rename_child(node, name);
    drop(tree);
    Ok(())
}

pub(super) fn set_limit(
    cgroup: &Cgroup,
    file: &'static str,
    limit: Limit,
    word: impl Fn(&Node) -> &AtomicU32,
) -> Result<(), LimitError> {
    let value = match limit {
        Limit::Max => UNLIMITED,
        Limit::At(number) => {
            let fits = u32::try_from(number).ok().filter(|number| *number <= GREATEST);
            let cgroup = cgroup.path();
            fits.ok_or(LimitError::Range { cgroup, file, limit, most: GREATEST })?
        }
    };
    let tree = cgroup.owner().engine.structure(file, || cgroup.path())?;
    if !cgroup.node().is_online() {
        return Err(LimitError::Removed { cgroup: cgroup.path() });
    }
    // Ordering: Relaxed: decided on under the structural lock.
    word(cgroup.node()).store(value, Ordering::Relaxed);
    drop(tree);
    Ok(())
}

pub(super) fn set_notifies(cgroup: &Cgroup, notify: bool) -> Result<(), NotifyError> {
    let (engine, node) = (&cgroup.owner().engine, cgroup.node());
    let mut tree = engine.structure("notify_on_release", || node.path())?;
    if !node.is_online() {
        return Err(NotifyError::Removed { cgroup: node.path() });
    }
    node.set_notifies(notify);
    // Ordering: Relaxed: written under the structural lock.
    if !notify {
        arm::disarm(engine, &mut tree, node);
        // Ordering: Relaxed: as above.
        if node.is_emptied.swap(false, Ordering::Relaxed) {
            tree.emptied.retain(|emptied| !Arc::ptr_eq(emptied, node));
        }
        node.hierarchy.outbox.forget(node);
    } else if arm::is_wanted(node) && !node.is_armed() && !node.is_emptied.load(Ordering::Relaxed) {
        arm::arm(engine, &mut tree, std::slice::from_ref(node));
    }
    drop(tree);
    if node.is_armed() {
        engine.attend();
    }
    Ok(())
}
