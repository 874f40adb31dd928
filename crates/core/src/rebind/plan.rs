//! A plan: one controller's column as it will be, and what becomes of its css.
//!
//! Css are made before anything is published, parents first, so that a refusal can be undone; those that
//! leave are taken offline after the publication, children first. The rest move with their groups'
//! counterparts, or stay.

use crate::{
    cgroup::{Node, arm, remove},
    controller::Sight,
    css::AnyCss,
    hierarchy::Hier,
    lifecycle::{self, BirthError, Owned},
    rebind::shape::Images,
    registry::{Engine, Tree, engine::Bound},
    sync::Arc,
    world::column::{Column, ROOT},
};

/// What becomes of one controller.
pub(crate) struct Plan {
    /// As it stands.
    pub(super) before: Bound,
    /// As it will be.
    pub(super) after: Bound,
    /// The hook that sees the root css at the end, if any does.
    pub(super) sight: Option<Sight>,
    /// Css that were made for it and are online, parents first.
    born: Vec<Arc<dyn AnyCss>>,
    /// Css that will be taken offline, parents first.
    leaving: Vec<Arc<dyn AnyCss>>,
    /// Where css move: from each group to its counterpart.
    movers: Arc<Images>,
    /// Whether counterparts enable below them what the groups did.
    carries_enables: bool,
    /// Whether groups will have css of this controller below them.
    enables: Vec<(Arc<Node>, bool)>,
}

impl Plan {
    fn new(before: &Bound, target: &Arc<Hier>, column: Column, sight: Option<Sight>) -> Self {
        let mut after = before.clone();
        (after.hierarchy, after.column) = (Arc::clone(target), Arc::new(column));
        Self {
            before: before.clone(),
            after,
            sight,
            born: Vec::new(),
            leaving: Vec::new(),
            movers: Arc::default(),
            carries_enables: false,
            enables: Vec::new(),
        }
    }

    /// Plans that the root css goes to the root of `target`, which gets a css for every group below; and
    /// that all others of the hierarchy where it is leave.
    pub(crate) fn bind(
        engine: &Engine,
        tree: &mut Tree,
        before: &Bound,
        target: &Arc<Hier>,
    ) -> Result<Self, BirthError> {
        let live = "checked by the caller, under the structural lock";
        let (source, root) = (before.hierarchy.root().expect(live), target.root().expect(live));
        let column = Column::empty(before.identity().mark, target.index);
        column.set(ROOT, before.column.get(ROOT));
        let mut plan = Self::new(before, target, column, Some(Sight::Bound));
        plan.movers = Arc::new(Images::of_roots(Arc::clone(&source), Arc::clone(&root)));
        for node in source.with_all_below() {
            if node.parent.is_some() {
                plan.leaving.extend(before.own_css(tree, &node).cloned());
            }
            plan.enables.push((node, false));
        }
        for node in root.with_all_below() {
            if node.parent.is_some() {
                plan.bear(engine, tree, &node)?;
            }
            plan.enables.push((node, true));
        }
        Ok(plan)
    }

    /// Plans that every css goes to its group's counterpart in `target`.
    pub(crate) fn rebind(before: &Bound, target: &Arc<Hier>, images: &Arc<Images>) -> Self {
        let column = Column::empty(before.identity().mark, target.index);
        for (index, image) in images.indexes() {
            column.set(*image, before.column.get(*index));
        }
        let mut plan = Self::new(before, target, column, Some(Sight::Rebound));
        (plan.movers, plan.carries_enables) = (Arc::clone(images), true);
        plan
    }

    /// Plans that the children of `node` get css of their own, or that they lose them.
    pub(crate) fn subtree(
        engine: &Engine,
        tree: &mut Tree,
        before: &Bound,
        (node, enables): (&Arc<Node>, bool),
    ) -> Result<Self, BirthError> {
        let column = before.column.duplicate();
        let mut plan = Self::new(before, &before.hierarchy, column, None);
        plan.enables.push((Arc::clone(node), enables));
        for below in node.with_all_below().into_iter().skip(1) {
            let is_child = below.parent.as_ref().is_some_and(|parent| Arc::ptr_eq(parent, node));
            if is_child && enables {
                plan.bear(engine, tree, &below)?;
                continue;
            }
            if !enables {
                plan.leaving.extend(before.own_css(tree, &below).cloned());
                plan.enables.push((Arc::clone(&below), false));
            }
            let above = below.parent.as_ref().map_or(ROOT, |parent| parent.index);
            plan.after.column.set(below.index, plan.after.column.get(above));
        }
        Ok(plan)
    }

    /// Makes a css of `node`; on a refusal buries what was made for the plan.
    fn bear(
        &mut self,
        engine: &Engine,
        tree: &mut Tree,
        node: &Arc<Node>,
    ) -> Result<(), BirthError> {
        match lifecycle::bear_for(engine, tree, node, &[&self.after], engine.counting()) {
            Ok(born) => {
                for (css, bound) in born {
                    bound.column.set(node.index, Some(css.core().id));
                    self.born.push(css);
                }
                Ok(())
            }
            Err(error) => {
                self.give_up(engine);
                Err(error)
            }
        }
    }

    /// Buries what was made for the plan, which comes to nothing.
    pub(super) fn give_up(&mut self, engine: &Engine) {
        bury(engine, &self.after, std::mem::take(&mut self.born));
    }

    /// Returns the armed groups that lose a css, or gain one that others may be counting near.
    pub(super) fn unsettled(&self) -> Vec<Arc<Node>> {
        let losing = self.leaving.iter().map(|css| css.core().group());
        let moving = self.movers.armed().iter().flat_map(|(node, image)| [node, image]).cloned();
        losing.chain(moving).filter(|node| node.is_armed()).collect()
    }

    /// Lets css count in cells that leave an armed group, which rests.
    pub(super) fn loosen(&self, engine: &Engine, tree: &Tree) {
        let moving = self.movers.armed().iter().filter(|(node, _)| node.is_armed());
        let moving = moving.filter_map(|(node, _)| self.before.own_css(tree, node));
        let leaving = self.leaving.iter().filter(|css| css.core().group().is_armed());
        arm::resume(&self.owned(leaving.chain(moving).cloned()), engine.counting());
    }

    /// Has css count exactly that were made for an armed group, and that nobody else has seen.
    pub(super) fn arm_born(&self) {
        let born = self.born.iter().filter(|css| css.core().group().is_armed());
        arm::make_exact(&self.owned(born.cloned()));
    }

    /// Returns the css that have come to armed groups, which rest.
    pub(super) fn arrived<'p>(&'p self, tree: &Tree) -> Vec<Owned<'p>> {
        let armed = self.movers.armed().iter().filter(|(_, image)| image.is_armed());
        self.owned(armed.filter_map(|(_, image)| self.after.own_css(tree, image).cloned()))
    }

    fn owned(&self, csses: impl Iterator<Item = Arc<dyn AnyCss>>) -> Vec<Owned<'_>> {
        csses.map(|css| (css, &self.after)).collect()
    }

    /// Returns whether the reclaimer will have nothing to do on account of this plan.
    pub(super) fn is_quiet(&self) -> bool {
        self.born.is_empty() && self.leaving.is_empty() && self.movers.armed().is_empty()
    }

    /// Returns what the plan is part of, for the trace.
    pub(super) fn operation(&self) -> &'static str {
        match self.sight {
            Some(Sight::Rebound) => "rebind",
            Some(_) if self.after.hierarchy.is_hidden() => "unbind",
            Some(_) => "bind",
            None => "subtree_control",
        }
    }

    /// Says where css are that move, until they know themselves; before the publication.
    pub(super) fn announce(&self) {
        self.after.column.set_movers(Some(Arc::clone(&self.movers)));
    }

    /// Enters the plan into the tree, as the world is published.
    pub(super) fn enter(&self, tree: &mut Tree) {
        let (identity, before, after) = (self.after.identity(), &self.before, &self.after);
        let entry = &mut tree.controllers[usize::from(identity.index)];
        entry.column = Arc::clone(&after.column);
        entry.hierarchy = Arc::clone(&after.hierarchy);
        before.hierarchy.controllers.lock().remove(&identity.key);
        let named = (identity.index, identity.name.clone());
        after.hierarchy.controllers.lock().insert(identity.key, named);
        for (node, enables) in &self.enables {
            node.set_enables(identity.index, *enables);
        }
        for (node, image) in self.movers.pairs().filter(|_| self.carries_enables) {
            image.set_enables(identity.index, node.enables(identity.index));
            node.set_enables(identity.index, false);
        }
    }

    /// Tells css that move which group shows them.
    pub(super) fn arrive(&self, tree: &Tree) {
        for (node, image) in self.movers.pairs().filter(|(node, image)| !Arc::ptr_eq(node, image)) {
            if let Some(css) = self.before.own_css(tree, node) {
                remove::move_css(node, image);
                css.core().move_to(image);
            }
        }
        self.after.column.set_movers(None);
    }

    /// Takes offline what leaves, and has the controller see its root css.
    pub(super) fn complete(mut self, engine: &Engine, tree: &Tree) {
        bury(engine, &self.before, std::mem::take(&mut self.leaving));
        let Some(sight) = self.sight else { return };
        if let Some(root) = self.after.css(tree, ROOT) {
            engine.tolerate(sight.name(), self.after.instance.see(sight, &**root));
        }
    }
}

/// Takes css offline that nobody can find any more, children before parents.
fn bury(engine: &Engine, bound: &Bound, csses: Vec<Arc<dyn AnyCss>>) {
    let csses: Vec<Owned<'_>> = csses.into_iter().rev().map(|css| (css, bound)).collect();
    lifecycle::drain(engine, &csses);
    lifecycle::bury(engine, &csses);
}
