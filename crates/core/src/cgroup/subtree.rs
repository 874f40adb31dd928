//! `cgroup.subtree_control`: which controllers the groups below have css of.
//!
//! A controller that is bound to a hierarchy is enabled everywhere in it. Disabled below a group, its css
//! there go, and the groups share the one of the nearest group above that has one.

use crate::{
    cgroup::{Cgroup, Node},
    error::SubtreeError,
    lifecycle::BirthError,
    rebind::{self, MemberPolicy, Plan, Readers},
    registry::{Tree, engine::Bound},
    sync::Arc,
};

impl Cgroup {
    /// Returns the names of the controllers that this group has css of its own of, in order of
    /// registration; for a root, those bound to the hierarchy.
    ///
    /// Empty once the group is removed.
    #[must_use]
    #[doc(alias = "cgroup.controllers")]
    pub fn controllers(&self) -> Vec<String> {
        let parent = self.node().parent.clone();
        self.names(|index| parent.as_ref().is_none_or(|parent| parent.enables(index)))
    }

    /// Returns the names of the controllers that the groups below have css of, in order of registration.
    ///
    /// Empty once the group is removed.
    #[must_use]
    #[doc(alias = "cgroup.subtree_control")]
    pub fn subtree_control(&self) -> Vec<String> {
        self.names(|index| self.node().enables(index))
    }

    fn names(&self, is_one: impl Fn(u8) -> bool) -> Vec<String> {
        if !self.node().is_online() {
            return Vec::new();
        }
        let controllers = self.node().hierarchy.controllers.lock();
        let those = controllers.values().filter(|(index, _)| is_one(*index));
        those.map(|(_, name)| name.clone()).collect()
    }

    /// Enables and disables controllers below this group, all in one step or none.
    ///
    /// Enabled, a controller makes a css for every child, and members of the child change to it; groups
    /// further down follow by a call of their own on each child. Disabled, it takes the children's css
    /// offline, whatever references are out; members resolve to this group's, or the nearest above. What is
    /// as asked for already stays so. A new child enables what its parent does, and so does every group
    /// when a controller is bound.
    ///
    /// # Concurrency
    ///
    /// Takes the structural lock, and holds it until nobody reads by the view before; readers see all of it
    /// or nothing, and wait for nobody. Members that change css go through `can_attach` and `attach`.
    ///
    /// # Errors
    ///
    /// Refuses a name that is no registered subsystem's, or is in both lists; a controller that this group
    /// has no css of; to disable one that a child with children of its own has enabled; a removed group; and
    /// what a hook refuses. Nothing has changed then.
    #[doc(alias = "cgroup.subtree_control")]
    pub fn set_subtree_control(
        &self,
        enable: &[&str],
        disable: &[&str],
    ) -> Result<(), SubtreeError> {
        let (engine, node) = (&self.owner().engine, self.node());
        let mut tree = engine.structure("cgroup.subtree_control", || node.path())?;
        let changes = check(&mut tree, node, enable, disable)?;
        if changes.is_empty() {
            return Ok(());
        }
        let mut plans = Vec::with_capacity(changes.len());
        let mut made = Ok(());
        for (bound, enables) in &changes {
            match Plan::subtree(engine, &mut tree, bound, (node, *enables)) {
                Ok(plan) => plans.push(plan),
                Err(error) => {
                    rebind::give_up(engine, &mut plans);
                    made = Err(refused(node, bound, error));
                    break;
                }
            }
        }
        let (members, readers) = (MemberPolicy::Move, Readers::Awaited);
        let done =
            made.and_then(|()| Ok(rebind::carry_out(engine, &mut tree, plans, members, readers)?));
        drop(tree);
        // On a refusal css may have gone offline that came to nothing.
        done.inspect_err(|_| engine.wake())?.finish(engine);
        Ok(())
    }
}

/// Returns what changes: each controller, and whether it will be enabled.
fn check(
    tree: &mut Tree,
    node: &Arc<Node>,
    enable: &[&str],
    disable: &[&str],
) -> Result<Vec<(Bound, bool)>, SubtreeError> {
    let cgroup = || node.path();
    if !node.is_online() {
        return Err(SubtreeError::Removed { cgroup: cgroup() });
    }
    let mut changes: Vec<(Bound, bool)> = Vec::new();
    let asked = enable.iter().map(|name| (*name, true));
    for (name, enables) in asked.chain(disable.iter().map(|name| (*name, false))) {
        let subsystem = || name.to_owned();
        if enables && disable.contains(&name) {
            return Err(SubtreeError::Contradiction { cgroup: cgroup(), subsystem: subsystem() });
        }
        let Some(bound) = tree.registered().into_iter().find(|it| it.identity().name == name)
        else {
            return Err(SubtreeError::Unknown { cgroup: cgroup(), subsystem: subsystem() });
        };
        let index = bound.identity().index;
        let is_here = Arc::ptr_eq(&bound.hierarchy, &node.hierarchy);
        let is_available =
            is_here && node.parent.as_ref().is_none_or(|parent| parent.enables(index));
        if enables && !is_available {
            return Err(SubtreeError::Unavailable { cgroup: cgroup(), subsystem: subsystem() });
        }
        if !is_here || node.enables(index) == enables {
            continue;
        }
        let users = |child: &&Arc<Node>| child.enables(index) && child.child_count() > 0;
        if let Some(child) = node.children().iter().find(users).filter(|_| !enables) {
            let (subsystem, child) = (subsystem(), child.path());
            return Err(SubtreeError::Busy { cgroup: cgroup(), subsystem, child });
        }
        if !changes.iter().any(|(known, _)| known.identity().index == index) {
            changes.push((bound, enables));
        }
    }
    Ok(changes)
}

fn refused(node: &Node, bound: &Bound, error: BirthError) -> SubtreeError {
    match error {
        BirthError::Capacity(source) => {
            let (cgroup, subsystem) = (node.path(), bound.identity().name.clone());
            SubtreeError::Capacity { cgroup, subsystem, source }
        }
        BirthError::Vetoed(veto) => SubtreeError::Vetoed(veto),
    }
}
