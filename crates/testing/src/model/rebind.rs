//! Where controllers are bound, changed for several at once.

use std::collections::BTreeSet;

use super::{CssId, GroupId, Model, Outcome, TreeId, shape::Pairs};
use crate::hook::Hook;

/// What becomes of one controller.
#[derive(Debug)]
pub(super) struct Plan {
    /// The controller.
    pub(super) index: usize,
    /// Where it goes; `None` is inactive.
    to: Option<TreeId>,
    /// Css made for it, parents first.
    born: Vec<CssId>,
    /// Css that it takes offline, parents first.
    leaving: Vec<CssId>,
    /// Groups whose css go to other groups.
    pairs: Pairs,
    /// The css of every task: as it is, and as it will be.
    seats: Vec<(CssId, CssId)>,
    /// Whether groups will have css of it below them.
    enables: Vec<(GroupId, bool)>,
    /// What sees the root css at the end.
    sight: Option<Hook>,
}

/// A task on its way from css to css.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) index: usize,
    pub(super) task: usize,
    pub(super) from: CssId,
    pub(super) to: CssId,
}

/// What a controller is to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    /// Go to a hierarchy, or go inactive.
    Bind(Option<TreeId>),
    /// Be enabled or disabled below a group.
    Subtree(GroupId, bool),
}

impl Model {
    pub(super) fn bind(&mut self, name: &str, hierarchy: &str) -> Outcome {
        let index = self.known(name)?;
        let tree = self.tree_named(hierarchy).ok_or("UnknownHierarchy")?;
        if self.subsystems[index].tree.is_some() {
            return Err("Bound".to_owned());
        }
        self.change(&[(index, Change::Bind(Some(tree)))])
    }

    pub(super) fn unbind(&mut self, name: &str) -> Outcome {
        let index = self.known(name)?;
        if self.subsystems[index].tree.is_none() {
            return Err("Unbound".to_owned());
        }
        self.change(&[(index, Change::Bind(None))])
    }

    pub(super) fn remount(&mut self, hierarchy: &str, names: &[String]) -> Outcome {
        let named = names.iter().map(|name| self.known(name)).collect::<Result<Vec<_>, _>>()?;
        let tree = self.tree_named(hierarchy).ok_or("UnknownHierarchy")?;
        let gone = self.bound_to(tree).into_iter().filter(|index| !named.contains(index));
        let mut changes: Vec<(usize, Change)> =
            gone.map(|index| (index, Change::Bind(None))).collect();
        for index in named {
            let here = self.subsystems[index].tree;
            if here.is_some_and(|here| here != tree) {
                return Err("Bound".to_owned());
            }
            if here.is_none() && changes.iter().all(|(known, _)| *known != index) {
                changes.push((index, Change::Bind(Some(tree))));
            }
        }
        self.change(&changes)
    }

    pub(super) fn subtree(&mut self, path: &str, enable: &[String], disable: &[String]) -> Outcome {
        let group = self.lookup(path)?;
        let mut changes: Vec<(usize, Change)> = Vec::new();
        let asked = enable.iter().map(|name| (name, true));
        for (name, enables) in asked.chain(disable.iter().map(|name| (name, false))) {
            if enables && disable.contains(name) {
                return Err("Contradiction".to_owned());
            }
            let index = self.known(name).map_err(|_| "Unknown")?;
            let is_here = self.subsystems[index].tree == Some(self.groups[group].tree);
            let above = self.groups[group].parent;
            let has_own = above.is_none_or(|above| self.groups[above].enabled.contains(&index));
            if enables && !(is_here && has_own) {
                return Err("Unavailable".to_owned());
            }
            if !is_here || self.groups[group].enabled.contains(&index) == enables {
                continue;
            }
            let uses = |child: &GroupId| {
                self.groups[*child].enabled.contains(&index) && !self.children(*child).is_empty()
            };
            if !enables && self.children(group).iter().any(uses) {
                return Err("Busy".to_owned());
            }
            if changes.iter().all(|(known, _)| *known != index) {
                changes.push((index, Change::Subtree(group, enables)));
            }
        }
        self.change(&changes)
    }

    /// Binds controllers to hierarchies, and makes others inactive: all or none.
    pub(super) fn change(&mut self, changes: &[(usize, Change)]) -> Outcome {
        let mut plans = Vec::new();
        for &(index, change) in changes {
            let planned = match change {
                Change::Bind(to) => self.plan_bind(index, to),
                Change::Subtree(group, enables) => self.plan_subtree(index, group, enables),
            };
            match planned {
                Ok(plan) => plans.push(plan),
                Err(veto) => {
                    self.give_up(&plans);
                    return Err(veto.to_owned());
                }
            }
        }
        self.carry_plans_out(&plans)
    }

    /// Plans that a root css goes to another root, with a css for every group below.
    fn plan_bind(&mut self, index: usize, to: Option<TreeId>) -> Result<Plan, &'static str> {
        let mut plan = self.new_plan(index, to, Some(Hook::Bound));
        let from = self.subsystems[index].tree;
        for group in self.all_of(from) {
            plan.enables.push((group, false));
            if self.groups[group].parent.is_some() {
                plan.leaving.extend(self.css_of(group, index));
            }
        }
        for group in self.all_of(to) {
            if self.groups[group].parent.is_some() {
                self.bear_one(&mut plan, group)?;
            }
            plan.enables.push((group, true));
        }
        self.foresee(&mut plan);
        Ok(plan)
    }

    /// Plans that the children of a group get css, or lose them.
    fn plan_subtree(
        &mut self,
        index: usize,
        group: GroupId,
        enables: bool,
    ) -> Result<Plan, &'static str> {
        let mut plan = self.new_plan(index, self.subsystems[index].tree, None);
        plan.enables.push((group, enables));
        if enables {
            for child in self.children(group) {
                self.bear_one(&mut plan, child)?;
            }
        } else {
            for below in self.preorder(group).into_iter().skip(1) {
                plan.enables.push((below, false));
                plan.leaving.extend(self.css_of(below, index));
            }
        }
        self.foresee(&mut plan);
        Ok(plan)
    }

    /// Plans that every css goes to its group's counterpart.
    pub(super) fn plan_rebind(&self, index: usize, to: TreeId, pairs: Pairs) -> Plan {
        let mut plan = self.new_plan(index, Some(to), Some(Hook::Rebound));
        for &(group, image) in &pairs {
            plan.enables.push((image, self.groups[group].enabled.contains(&index)));
            plan.enables.push((group, false));
        }
        for (task, (_, after)) in plan.seats.iter_mut().enumerate() {
            let place = self.place(task, to);
            let counterpart = pairs.iter().find(|(_, image)| *image == place);
            *after = counterpart
                .and_then(|(group, _)| self.shared_css(*group, index))
                .expect("every group of the target has a counterpart");
        }
        plan.pairs = pairs;
        plan
    }

    fn new_plan(&self, index: usize, to: Option<TreeId>, sight: Option<Hook>) -> Plan {
        let seat = |task| (self.seat(task, index), self.seat(task, index));
        let seats = (0..self.tasks.len()).map(seat).collect();
        let (born, leaving, pairs, enables) = (vec![], vec![], vec![], vec![]);
        Plan { index, to, born, leaving, pairs, seats, enables, sight }
    }

    fn all_of(&self, tree: Option<TreeId>) -> Vec<GroupId> {
        tree.map_or_else(Vec::new, |tree| self.preorder(self.trees[tree].root))
    }

    /// Foresees the css of every task, once those that are needed are made.
    fn foresee(&self, plan: &mut Plan) {
        for (task, (_, after)) in plan.seats.iter_mut().enumerate() {
            let place = plan.to.map(|tree| self.place(task, tree));
            let chain = place.map_or_else(Vec::new, |place| self.ancestors(place));
            let own = chain.into_iter().filter_map(|group| self.css_of(group, plan.index));
            let stays = own.into_iter().find(|css| !plan.leaving.contains(css));
            *after = stays.unwrap_or(self.subsystems[plan.index].root);
        }
    }

    /// Makes one css of a plan; undoes the plan when the controller refuses.
    fn bear_one(&mut self, plan: &mut Plan, group: GroupId) -> Result<(), &'static str> {
        let css = self.css.len();
        let above = self.groups[group].parent.expect("it is below a root");
        let parent = self.shared_css(above, plan.index);
        let parent = parent.unwrap_or(self.subsystems[plan.index].root);
        if self.make_one(group, plan.index, Some(parent)).is_err() {
            self.give_up(std::slice::from_ref(plan));
            return Err("Vetoed");
        }
        if self.bring_online(css).is_err() {
            self.undo_css(css, css);
            self.give_up(std::slice::from_ref(plan));
            return Err("Vetoed");
        }
        plan.born.push(css);
        Ok(())
    }

    /// Buries what was made for plans that come to nothing.
    fn give_up(&mut self, plans: &[Plan]) {
        for plan in plans {
            self.bury_upwards(&plan.born);
        }
    }

    fn bury_upwards(&mut self, parents_first: &[CssId]) {
        let upwards: Vec<CssId> = parents_first.iter().rev().copied().collect();
        self.drain(&upwards);
        self.bury(&upwards);
    }

    pub(super) fn carry_plans_out(&mut self, plans: &[Plan]) -> Outcome {
        let ways: Vec<Way> = plans.iter().flat_map(Self::ways).collect();
        if let Err(veto) = self.agree(&ways) {
            self.give_up(plans);
            return Err(veto.to_owned());
        }
        let resting = self.let_rest(plans);
        plans.iter().for_each(|plan| self.arrive(plan));
        self.pinned = ways.iter().flat_map(|way| [way.from, way.to]).collect();
        // A rebind and a change of what is enabled wait for readers; a bind and an unbind do not.
        if plans.iter().any(|plan| !plan.pairs.is_empty() || plan.sight.is_none()) {
            self.count_arrived(plans);
            self.end_rests(resting);
        } else {
            self.resting.extend(resting);
        }
        self.tell_all(&ways, Hook::Attach);
        for plan in plans {
            self.bury_upwards(&plan.leaving);
            if let Some(sight) = plan.sight {
                self.call_css(self.subsystems[plan.index].root, sight);
            }
        }
        self.tell_all(&ways, Hook::PostAttach);
        for css in std::mem::take(&mut self.pinned) {
            self.note_unheld(css);
        }
        Ok(String::new())
    }

    /// Lets the armed groups rest that lose a css, or gain one by a move.
    fn let_rest(&mut self, plans: &[Plan]) -> Vec<GroupId> {
        let mut resting = BTreeSet::new();
        for plan in plans {
            resting.extend(plan.leaving.iter().filter_map(|&css| self.css[css].group));
            resting.extend(plan.pairs.iter().flat_map(|&(group, image)| [group, image]));
        }
        let resting = resting.into_iter().filter(|&group| self.groups[group].armed);
        let resting: Vec<GroupId> = resting.collect();
        resting.iter().for_each(|&group| self.rest(group));
        for plan in plans {
            let moving: Vec<CssId> = plan
                .pairs
                .iter()
                .filter_map(|(group, _)| self.css_of(*group, plan.index))
                .collect();
            for css in moving.into_iter().chain(plan.leaving.iter().copied()) {
                self.css[css].busy = false;
            }
        }
        resting
    }

    /// Has css count exactly that have come to armed groups.
    fn count_arrived(&mut self, plans: &[Plan]) {
        let mut arrived = Vec::new();
        for plan in plans {
            let images = plan.pairs.iter().map(|(_, image)| *image);
            let armed = images.filter(|&image| self.groups[image].armed);
            arrived.extend(armed.filter_map(|image| self.css_of(image, plan.index)));
        }
        self.drain(&arrived);
        for css in arrived {
            // The core holds those that members came from or go to, until the last hook has run.
            self.css[css].busy = self.holders(css) > 0 || self.pinned.contains(&css);
        }
    }

    /// Has everybody see what a plan changes.
    fn arrive(&mut self, plan: &Plan) {
        let index = plan.index;
        let moved: Vec<(CssId, GroupId)> = plan
            .pairs
            .iter()
            .filter_map(|(group, image)| Some((self.css_of(*group, index)?, *image)))
            .collect();
        for (css, image) in moved {
            self.css[css].group = Some(image);
        }
        let root = self.subsystems[index].root;
        self.subsystems[index].tree = plan.to;
        self.css[root].group = plan.to.map(|tree| self.trees[tree].root);
        for &(group, enables) in &plan.enables {
            let enabled = &mut self.groups[group].enabled;
            if enables {
                enabled.insert(index);
            } else {
                enabled.remove(&index);
            }
        }
    }

    /// The tasks whose css change by a plan.
    pub(super) fn ways(plan: &Plan) -> Vec<Way> {
        let seats = plan.seats.iter().enumerate();
        let movers = seats.filter(|(_, (from, to))| from != to);
        movers.map(|(task, &(from, to))| Way { index: plan.index, task, from, to }).collect()
    }

    /// Asks for every task; when one is refused, those that had agreed are told, in order.
    pub(super) fn agree(&mut self, ways: &[Way]) -> Result<(), &'static str> {
        for (agreed, way) in ways.iter().enumerate() {
            if self.tell(way, Hook::CanAttach).is_err() {
                self.tell_all(&ways[..agreed], Hook::CancelAttach);
                return Err("Vetoed");
            }
        }
        Ok(())
    }

    pub(super) fn tell_all(&mut self, ways: &[Way], hook: Hook) {
        for way in ways {
            self.tell(way, hook).ok();
        }
    }

    fn tell(&mut self, way: &Way, hook: Hook) -> Result<(), ()> {
        let (from, to) = (self.css_path(way.from), self.css_path(way.to));
        let what = format!("{} {from} -> {to}", self.tasks[way.task].name);
        self.call(way.index, hook, &what)
    }

    /// The css that a task has of a controller.
    pub(super) fn seat(&self, task: usize, index: usize) -> CssId {
        let it = &self.subsystems[index];
        let css = it.tree.and_then(|tree| self.shared_css(self.place(task, tree), index));
        css.unwrap_or(it.root)
    }
}
