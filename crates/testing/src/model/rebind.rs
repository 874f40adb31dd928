//! Where controllers are bound, changed for several at once.

use super::{CssId, GroupId, Model, Outcome, TreeId};
use crate::hook::Hook;

/// What becomes of one controller.
#[derive(Debug)]
pub(super) struct Plan {
    /// The controller.
    index: usize,
    /// Where it goes; `None` is inactive.
    to: Option<TreeId>,
    /// Css made for it, parents first.
    born: Vec<CssId>,
    /// Css that it takes offline, parents first.
    leaving: Vec<CssId>,
    /// The css of every task: as it is, and as it will be.
    seats: Vec<(CssId, CssId)>,
    /// What sees the root css at the end.
    sight: Option<Hook>,
}

/// A task on its way from css to css.
#[derive(Debug, Clone, Copy)]
struct Way {
    index: usize,
    task: usize,
    from: CssId,
    to: CssId,
}

impl Model {
    pub(super) fn bind(&mut self, name: &str, hierarchy: &str) -> Outcome {
        let index = self.known(name)?;
        let tree = self.tree_named(hierarchy).ok_or("UnknownHierarchy")?;
        if self.subsystems[index].tree.is_some() {
            return Err("Bound".to_owned());
        }
        self.change(&[(index, Some(tree))])
    }

    pub(super) fn unbind(&mut self, name: &str) -> Outcome {
        let index = self.known(name)?;
        if self.subsystems[index].tree.is_none() {
            return Err("Unbound".to_owned());
        }
        self.change(&[(index, None)])
    }

    /// Binds controllers to hierarchies, and makes others inactive: all or none.
    pub(super) fn change(&mut self, changes: &[(usize, Option<TreeId>)]) -> Outcome {
        let mut plans = Vec::new();
        for &(index, to) in changes {
            match self.plan(index, to) {
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
    fn plan(&mut self, index: usize, to: Option<TreeId>) -> Result<Plan, &'static str> {
        let (root, sight) = (self.subsystems[index].root, Some(Hook::Bound));
        let mut plan = Plan { index, to, born: vec![], leaving: vec![], seats: vec![], sight };
        let below = |tree: Option<TreeId>| {
            tree.map_or_else(Vec::new, |tree| self.preorder(self.trees[tree].root))
        };
        let here = below(self.subsystems[index].tree).into_iter().skip(1);
        plan.leaving = here.filter_map(|group| self.css_of(group, index)).collect();
        let mut shown: Vec<(GroupId, CssId)> = Vec::new();
        for (at, group) in below(to).into_iter().enumerate() {
            let parent = shown.iter().find(|(other, _)| self.groups[group].parent == Some(*other));
            let css = match parent {
                Some((_, parent)) if at > 0 => self.bear_one(&mut plan, group, *parent)?,
                _ => root,
            };
            shown.push((group, css));
        }
        plan.seats = (0..self.tasks.len())
            .map(|task| {
                let place = to.map(|tree| self.place(task, tree));
                let css = shown.iter().find(|(group, _)| Some(*group) == place);
                (self.seat(task, index), css.map_or(root, |(_, css)| *css))
            })
            .collect();
        Ok(plan)
    }

    /// Makes one css of a plan; undoes the plan when the controller refuses.
    fn bear_one(
        &mut self,
        plan: &mut Plan,
        group: GroupId,
        parent: CssId,
    ) -> Result<CssId, &'static str> {
        let css = self.css.len();
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
        Ok(css)
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

    fn carry_plans_out(&mut self, plans: &[Plan]) -> Outcome {
        let ways: Vec<Way> = plans.iter().flat_map(Self::ways).collect();
        if let Err(veto) = self.agree(&ways) {
            self.give_up(plans);
            return Err(veto.to_owned());
        }
        for plan in plans {
            for &css in plan.leaving.iter().chain(&plan.born) {
                self.rest(self.css[css].group.expect("it is below a root"));
            }
        }
        for plan in plans {
            let root = self.subsystems[plan.index].root;
            self.subsystems[plan.index].tree = plan.to;
            self.css[root].group = plan.to.map(|tree| self.trees[tree].root);
        }
        self.pinned = ways.iter().flat_map(|way| [way.from, way.to]).collect();
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

    /// The tasks whose css change by a plan.
    fn ways(plan: &Plan) -> Vec<Way> {
        let seats = plan.seats.iter().enumerate();
        let movers = seats.filter(|(_, (from, to))| from != to);
        movers.map(|(task, &(from, to))| Way { index: plan.index, task, from, to }).collect()
    }

    /// Asks for every task; when one is refused, those that had agreed are told, in order.
    fn agree(&mut self, ways: &[Way]) -> Result<(), &'static str> {
        for (agreed, way) in ways.iter().enumerate() {
            if self.tell(way, Hook::CanAttach).is_err() {
                self.tell_all(&ways[..agreed], Hook::CancelAttach);
                return Err("Vetoed");
            }
        }
        Ok(())
    }

    fn tell_all(&mut self, ways: &[Way], hook: Hook) {
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
    fn seat(&self, task: usize, index: usize) -> CssId {
        let it = &self.subsystems[index];
        let css = it.tree.and_then(|tree| self.css_of(self.place(task, tree), index));
        css.unwrap_or(it.root)
    }
}
