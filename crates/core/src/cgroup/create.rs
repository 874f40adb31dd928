//! Creating and renaming groups, and the limits on how many there may be.

use crate::{
    cgroup::{
        Cgroup, Node,
        name::{self, NameError},
        node::{UNLIMITED, count_above, limit},
    },
    css::State,
    error::{CapacityError, CreateError, LimitError, RenameError},
    hierarchy::MAX_GROUPS,
    lifecycle::{self, BirthError},
    reclaim::Garbage,
    registry::Tree,
    sync::{Arc, AtomicU32, Ordering},
    units::Limit,
};

/// The greatest depth or number of descendants that can be asked for.
const GREATEST: u32 = u32::MAX >> 1;

pub(super) fn child(parent: &Cgroup, name: &str) -> Result<Cgroup, CreateError> {
    let (owner, node) = (parent.owner(), parent.node());
    let mut tree = owner.engine.structure("create_child", || node.path())?;
    check_child(&tree, node, name)?;

    let hierarchy = &node.hierarchy;
    let id = tree.next_id("cgroup");
    let capacity = |what, limit| CreateError::Capacity {
        cgroup: path_of(node, name),
        source: CapacityError { what, limit },
    };
    let child = hierarchy
        .plant(id, name, Some(node))
        .ok_or_else(|| capacity("groups in a hierarchy", MAX_GROUPS))?;

    let controllers = tree.bound_to(hierarchy);
    let born = match lifecycle::bear(&owner.engine, &mut tree, &child, &controllers) {
        Ok(born) => born,
        Err(error) => {
            // Hooks have seen the group: its index is nobody else's for a grace period.
            drop(controllers);
            child.enter(State::Released);
            tree.retired.push(Garbage::Index(Arc::clone(&child)));
            drop(tree);
            owner.engine.wake();
            return Err(match error {
                BirthError::Capacity(source) => {
                    CreateError::Capacity { cgroup: child.path(), source }
                }
                BirthError::Vetoed(veto) => CreateError::Vetoed(veto),
            });
        }
    };
    for (css, bound) in &born {
        bound.column.set(child.index, Some(css.core().id));
    }
    node.link(&child);
    count_above(&child, |node| &node.descendants, 1);
    owner.engine.counts.cgroups_created.add(1);
    crate::trace::event!("create_child", cgroup = %child.path(), "created");
    // The reclaimer is to be a css's last owner: nothing of ours outlives the lock.
    drop(born);
    drop(controllers);
    drop(tree);
    Ok(Cgroup::new(Arc::clone(owner), child))
}

/// Checks everything that can be checked before anything is made.
fn check_child(tree: &Tree, parent: &Node, name: &str) -> Result<(), CreateError> {
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
        if !max_descendants.allows(u64::from(above.descendants.load(Ordering::Relaxed)) + 1) {
            let (cgroup, ancestor) = (cgroup(), above.path());
            return Err(CreateError::MaxDescendants { cgroup, ancestor, limit: max_descendants });
        }
    }
    Ok(())
}

fn path_of(parent: &Node, name: &str) -> String {
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
