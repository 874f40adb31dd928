//! Removing groups, and when a removed one is released.

use crate::{
    cgroup::{Cgroup, Node, arm, node::count_above, strict},
    css::State,
    error::RemoveError,
    lifecycle::{self, Owned},
    reclaim::Garbage,
    registry::{Engine, Tree, engine::Bound},
    sync::{Arc, Ordering},
};

/// How references that are out weigh on a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Removal {
    /// They do not: each css lives on, offline, until its last reference goes.
    Detach,
    /// They forbid it: refused at once while a reference to a css of the group is out. Those that the
    /// core keeps for its own sake do not count, but for the time of a member's `post_attach`, in which
    /// it holds the css of both groups.
    ///
    /// All css are decided on together, as of one instant; who comes with a `try_get` meanwhile neither
    /// waits nor fails, unless the removal is decided. It is the policy for whoever was told that the
    /// group is in use no more, see [`Hierarchy::notices`](crate::Hierarchy::notices). After it the
    /// css go offline as by [`Removal::Detach`]; a reader's guard can still find one, and take
    /// references with [`Css::try_get`](crate::Css::try_get).
    Strict,
}

pub(super) fn remove(cgroup: &Cgroup, removal: Removal) -> Result<(), RemoveError> {
    let (engine, node) = (&cgroup.owner().engine, cgroup.node());
    let mut tree = engine.structure("remove", || node.path())?;
    check(node)?;
    let (members, children) = (node.member_count(), node.child_count());
    if members + children > 0 {
        return Err(RemoveError::Busy { cgroup: node.path(), members, children });
    }
    take_out(engine, &mut tree, &[node], removal)?;
    drop(tree);
    engine.wake();
    Ok(())
}

pub(super) fn remove_subtree(cgroup: &Cgroup, removal: Removal) -> Result<usize, RemoveError> {
    let (engine, node) = (&cgroup.owner().engine, cgroup.node());
    let mut tree = engine.structure("remove_subtree", || node.path())?;
    check(node)?;
    let nodes = node.with_all_below();
    if let Some(busy) = nodes.iter().find(|node| node.member_count() > 0) {
        let (cgroup, members) = (busy.path(), busy.member_count());
        return Err(RemoveError::Busy { cgroup, members, children: 0 });
    }
    let upwards: Vec<_> = nodes.iter().rev().collect();
    take_out(engine, &mut tree, &upwards, removal)?;
    drop(tree);
    engine.wake();
    Ok(nodes.len())
}

pub(crate) fn check(node: &Node) -> Result<(), RemoveError> {
    if !node.is_online() {
        return Err(RemoveError::Removed { cgroup: node.path() });
    }
    if node.parent.is_none() {
        return Err(RemoveError::Root { hierarchy: node.hierarchy.name().to_owned() });
    }
    Ok(())
}

/// Removes groups of one hierarchy, children before their parents, with one barrier; all or none.
fn take_out(
    engine: &Engine,
    tree: &mut Tree,
    nodes: &[&Arc<Node>],
    removal: Removal,
) -> Result<(), RemoveError> {
    let Some(top) = nodes.last() else { return Ok(()) };
    let bound = tree.bound_to(&top.hierarchy);
    let csses = csses(tree, nodes, &bound);
    lifecycle::drain(engine, &csses);
    if removal == Removal::Strict {
        decide(engine, nodes, &csses)?;
    }
    carry_out(engine, tree, nodes, (&bound, &csses));
    Ok(())
}

/// Returns the css of `nodes`, in their order.
pub(crate) fn csses<'b>(tree: &Tree, nodes: &[&Arc<Node>], bound: &'b [Bound]) -> Vec<Owned<'b>> {
    nodes.iter().flat_map(|node| lifecycle::csses(tree, node, bound)).collect()
}

/// Decides that none of `nodes`, whose css are drained, is in use, for good; or changes nothing.
pub(crate) fn decide(
    engine: &Engine,
    nodes: &[&Arc<Node>],
    csses: &[Owned<'_>],
) -> Result<(), RemoveError> {
    let Some(top) = nodes.last() else { return Ok(()) };
    strict::decide(engine, nodes, csses).map_err(|holders| {
        engine.counts.removals_refused.add(1);
        RemoveError::InUse { cgroup: top.path(), holders }
    })
}

/// Takes groups of one hierarchy out of the tree, children before their parents, with one barrier.
pub(crate) fn carry_out(
    engine: &Engine,
    tree: &mut Tree,
    nodes: &[&Arc<Node>],
    (bound, csses): (&[Bound], &[Owned<'_>]),
) {
    for node in nodes {
        crate::trace::event!("remove", cgroup = %node.path(), "removing");
        node.enter(State::Dying);
        bound.iter().for_each(|bound| bound.column.set(node.index, None));
    }
    lifecycle::bury(engine, csses);
    for node in nodes {
        if let Some(parent) = &node.parent {
            parent.unlink(node);
            count_above(node, |node| &node.descendants, -1);
            count_above(node, |node| &node.dying_descendants, 1);
        }
        retire(engine, tree, node);
    }
    for node in nodes {
        if let Some(parent) = &node.parent {
            arm::emptied(tree, parent);
        }
    }
}

/// Makes a group that was taken out of the tree offline, or released if it has no css left.
fn retire(engine: &Engine, tree: &mut Tree, node: &Arc<Node>) {
    engine.counts.cgroups_removed.add(1);
    node.enter(State::Offline);
    node.bells.end();
    node.hierarchy.outbox.forget(node);
    tree.retired.push(Garbage::Index(Arc::clone(node)));
    // Ordering: Relaxed: written under the structural lock.
    if node.unreleased.load(Ordering::Relaxed) == 0 {
        release(engine, node);
    }
}

/// Makes `target` the group that a css counts for, as the css moves there.
pub(crate) fn move_css(source: &Node, target: &Node) {
    // Ordering: Relaxed: written under the structural lock.
    source.unreleased.fetch_sub(1, Ordering::Relaxed);
    target.unreleased.fetch_add(1, Ordering::Relaxed);
}

/// Counts one css of `node` less; the last releases a removed group.
pub(crate) fn one_css_less(engine: &Engine, node: &Node) {
    // Ordering: Relaxed: written under the structural lock.
    let before = node.unreleased.fetch_sub(1, Ordering::Relaxed);
    if before == 1 && node.state() == State::Offline {
        release(engine, node);
    }
}

fn release(engine: &Engine, node: &Node) {
    node.enter(State::Released);
    engine.counts.cgroups_released.add(1);
    count_above(node, |node| &node.dying_descendants, -1);
}

/// Ends the root of a hierarchy whose controllers have left.
pub(crate) fn root(engine: &Engine, root: &Node) {
    engine.counts.cgroups_removed.add(1);
    root.enter(State::Offline);
    release(engine, root);
}

/// Removes every group below `top`, members or not, as the registry ends.
pub(crate) fn all_below(engine: &Engine, tree: &mut Tree, top: &Arc<Node>) {
    let nodes = top.with_all_below();
    let below: Vec<_> = nodes.iter().rev().filter(|node| node.parent.is_some()).collect();
    let removed = take_out(engine, tree, &below, Removal::Detach);
    debug_assert!(removed.is_ok(), "nothing stands in the way of a detach");
}
