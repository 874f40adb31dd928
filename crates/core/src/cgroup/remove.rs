//! Removing groups, and when a removed one is released.

use crate::{
    cgroup::{Cgroup, Node, node::count_above, walk::next_pre},
    css::State,
    error::RemoveError,
    lifecycle::{self, Owned},
    reclaim::Garbage,
    registry::{Engine, Tree},
    sync::{Arc, Ordering},
};

/// How references that are out weigh on a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Removal {
    /// They do not: each css lives on, offline, until its last reference goes.
    Detach,
}

pub(super) fn remove(cgroup: &Cgroup, removal: Removal) -> Result<(), RemoveError> {
    let Removal::Detach = removal;
    let (engine, node) = (&cgroup.owner().engine, cgroup.node());
    let mut tree = engine.structure("remove", || node.path())?;
    if !node.is_online() {
        return Err(RemoveError::Removed { cgroup: node.path() });
    }
    if node.parent.is_none() {
        return Err(RemoveError::Root { hierarchy: node.hierarchy.name().to_owned() });
    }
    let (members, children) = (node.member_count(), node.child_count());
    if members + children > 0 {
        return Err(RemoveError::Busy { cgroup: node.path(), members, children });
    }
    detach(engine, &mut tree, &[node]);
    drop(tree);
    engine.wake();
    Ok(())
}

/// Removes groups of one hierarchy, children before their parents, with one barrier.
fn detach(engine: &Engine, tree: &mut Tree, nodes: &[&Arc<Node>]) {
    let Some(first) = nodes.first() else { return };
    let bound = tree.bound_to(&first.hierarchy);
    let mut csses: Vec<Owned<'_>> = Vec::with_capacity(nodes.len() * bound.len());
    for node in nodes {
        crate::trace::event!("remove", cgroup = %node.path(), "removing");
        node.enter(State::Dying);
        for bound in &*bound {
            csses.extend(bound.css(tree, node.index).map(|css| (Arc::clone(css), bound)));
            bound.column.set(node.index, None);
        }
    }
    lifecycle::bury(engine, &csses);
    for node in nodes {
        if let Some(parent) = &node.parent {
            parent.unlink(node);
            count_above(node, |node| &node.descendants, -1);
            count_above(node, |node| &node.dying_descendants, 1);
        }
        retire(engine, tree, node);
    }
}

/// Makes a group that was taken out of the tree offline, or released if it has no css left.
fn retire(engine: &Engine, tree: &mut Tree, node: &Arc<Node>) {
    engine.counts.cgroups_removed.add(1);
    node.enter(State::Offline);
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

/// Removes every group below and including `top`, members or not, as the registry ends.
pub(crate) fn subtree(engine: &Engine, tree: &mut Tree, top: &Arc<Node>) {
    let mut nodes = vec![Arc::clone(top)];
    while let Some(next) = nodes.last().and_then(|last| next_pre(top, last)) {
        nodes.push(next);
    }
    // Parents come before their children, so backwards children come before their parents.
    let below: Vec<_> = nodes.iter().rev().filter(|node| node.parent.is_some()).collect();
    detach(engine, tree, &below);
}
