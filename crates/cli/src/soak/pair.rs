//! The two trees: by tenant, and by plan; and a group of the one with its counterpart in the other.
//!
//! Every group is made, joined and removed together with its counterpart, by one edit. So the trees
//! have one shape at every instant at which controllers could move from one to the other, and every
//! member sits in counterparts: no rebind has a reason to be refused, and none is asked to move a
//! member.

use anyhow::{Context as _, Result};
use fief_core::{
    Cgroup, Controller, CssRef, Draft, Edit, EditError, Edited, Hierarchy, NotifyError,
    RebindOptions, Registry, Removal, Subsystem, Task,
};

use crate::soak::stage::Who;

/// The registry and its two hierarchies.
#[derive(Clone, Debug)]
pub(crate) struct Trees {
    pub(crate) registry: Registry,
    pub(crate) tenants: Hierarchy,
    pub(crate) plans: Hierarchy,
}

/// A group of the tree by tenant, and its counterpart in the tree by plan.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) tenant: Cgroup,
    pub(crate) plan: Cgroup,
}

/// A pair that an edit is to create.
#[derive(Clone, Copy, Debug)]
struct Drafts {
    tenant: Draft,
    plan: Draft,
}

impl Trees {
    /// # Errors
    ///
    /// Those of the registry.
    pub(crate) fn new() -> Result<Self> {
        let registry = Registry::new();
        let tenants = registry.create_hierarchy("by-tenant")?;
        let plans = registry.create_hierarchy("by-plan")?;
        Ok(Self { registry, tenants, plans })
    }

    pub(crate) fn root(&self) -> Pair {
        Pair { tenant: self.tenants.root(), plan: self.plans.root() }
    }

    /// The groups of `who` themselves; `None` while there are none.
    pub(crate) fn of(&self, who: Who) -> Option<Pair> {
        let tenant = self.tenants.root().child(who.name())?;
        let plan = self.plans.root().child(who.plan())?;
        Some(Pair { tenant, plan })
    }

    /// The pair of which `group` is one; `None` if it is a root, or if there is no other.
    ///
    /// Right as long as `group` is not removed: by then the other may be a namesake.
    pub(crate) fn pair_of(&self, group: Cgroup) -> Option<Pair> {
        let path = group.path();
        let (_, rest) = path.split_once('/')?;
        let (first, below) =
            rest.split_once('/').map_or((rest, ""), |(first, below)| (first, below));
        let is_tenant = group.hierarchy().id() == self.tenants.id();
        let (other, name) = if is_tenant {
            (&self.plans, Who::ALL.into_iter().find(|who| who.name() == first)?.plan())
        } else {
            (&self.tenants, Who::ALL.into_iter().find(|who| who.plan() == first)?.name())
        };
        let path = if below.is_empty() { format!("/{name}") } else { format!("/{name}/{below}") };
        let other = other.lookup(&path).ok()?;
        Some(if is_tenant {
            Pair { tenant: group, plan: other }
        } else {
            Pair { tenant: other, plan: group }
        })
    }

    /// Which groups are counterparts, as the tenants' own groups are now; the others go by their names.
    pub(crate) fn options(&self, target: &Hierarchy) -> RebindOptions {
        let pairs = Who::ALL.into_iter().filter_map(|who| self.of(who));
        let to_plans = target.id() == self.plans.id();
        let towards = |pair: Pair| match to_plans {
            true => (pair.tenant, pair.plan),
            false => (pair.plan, pair.tenant),
        };
        RebindOptions::new().mapping(pairs.map(towards))
    }

    /// Makes a pair below `parent`, with `tasks` as members, in one step.
    ///
    /// # Errors
    ///
    /// Those of the edit.
    pub(crate) fn create(&self, parent: &Pair, names: [&str; 2], tasks: &[&Task]) -> Result<Pair> {
        let (edited, drafts) = self.registry.edit(|edit| {
            let drafts = create(edit, parent, names);
            for task in tasks {
                edit.join(task, drafts.tenant);
                edit.join(task, drafts.plan);
            }
            drafts
        })?;
        drafts.made(&edited)
    }

    /// Makes `task` a member of both groups of `pair`.
    ///
    /// # Errors
    ///
    /// Those of the edit.
    pub(crate) fn join(&self, task: &Task, pair: &Pair) -> Result<()> {
        self.join_all(&[task], pair)
    }

    /// Makes `tasks` members of both groups of `pair`, in one step.
    ///
    /// # Errors
    ///
    /// Those of the edit.
    pub(crate) fn join_all(&self, tasks: &[&Task], pair: &Pair) -> Result<()> {
        self.registry.edit(|edit| tasks.iter().for_each(|task| join(edit, task, pair)))?;
        Ok(())
    }

    /// Moves `task` to both roots.
    ///
    /// # Errors
    ///
    /// Those of the edit.
    pub(crate) fn leave(&self, task: &Task) -> Result<()> {
        self.join(task, &self.root())
    }

    /// Moves `task` to `parent`, and takes `pair` out of both trees, in one step.
    ///
    /// # Errors
    ///
    /// Those of the edit.
    pub(crate) fn leave_and_detach(&self, task: &Task, parent: &Pair, pair: &Pair) -> Result<()> {
        self.registry.edit(|edit| {
            join(edit, task, parent);
            remove(edit, pair, Removal::Detach);
        })?;
        Ok(())
    }

    /// Takes `pairs` out of both trees, all or none, in one step.
    ///
    /// # Errors
    ///
    /// Those of the edit.
    pub(crate) fn remove(&self, pairs: &[Pair], removal: Removal) -> Result<(), EditError> {
        self.registry.edit(|edit| pairs.iter().for_each(|pair| remove(edit, pair, removal)))?;
        Ok(())
    }

    /// The css of `pair`, whichever of its groups shows it.
    pub(crate) fn css<S: Subsystem>(
        &self,
        controller: &Controller<S>,
        pair: &Pair,
    ) -> Option<CssRef<S::State>> {
        // One guard, so that no rebind comes between the two looks.
        let guard = self.registry.read();
        let css = guard.css(controller, &pair.tenant).or_else(|| guard.css(controller, &pair.plan));
        css?.try_get_online()
    }
}

impl Pair {
    /// `pair` and all pairs below, children first.
    pub(crate) fn descendants_post(&self, trees: &Trees) -> Vec<Self> {
        self.tenant.descendants_post().filter_map(|group| trees.pair_of(group)).collect()
    }

    /// Makes notices of both groups, or none.
    ///
    /// # Errors
    ///
    /// Those of the registry.
    pub(crate) fn set_notify_on_release(&self, notify: bool) -> Result<(), NotifyError> {
        self.tenant.set_notify_on_release(notify)?;
        self.plan.set_notify_on_release(notify)
    }
}

impl Drafts {
    fn made(self, edited: &Edited) -> Result<Pair> {
        let made = |draft| edited.cgroup(draft).cloned().context("an edit makes what it drafts");
        Ok(Pair { tenant: made(self.tenant)?, plan: made(self.plan)? })
    }
}

fn create(edit: &mut Edit<'_>, parent: &Pair, [tenant, plan]: [&str; 2]) -> Drafts {
    Drafts { tenant: edit.create(&parent.tenant, tenant), plan: edit.create(&parent.plan, plan) }
}

fn join<'t>(edit: &mut Edit<'t>, task: &'t Task, pair: &Pair) {
    edit.join(task, &pair.tenant);
    edit.join(task, &pair.plan);
}

fn remove(edit: &mut Edit<'_>, pair: &Pair, removal: Removal) {
    edit.remove(&pair.tenant, removal);
    edit.remove(&pair.plan, removal);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_made_found_and_removed_as_one() {
        let trees = Trees::new().unwrap();
        let task = trees.registry.create_task("worker").unwrap();
        let top = trees.create(&trees.root(), ["api", "gold"], &[]).unwrap();
        let made = trees.create(&top, ["user-0"; 2], &[&task]).unwrap();
        assert_eq!(task.cgroup(&trees.tenants).unwrap().path(), "/api/user-0");
        assert_eq!(task.cgroup(&trees.plans).unwrap().path(), "/gold/user-0");
        for group in [&made.tenant, &made.plan] {
            let found = trees.pair_of(group.clone()).unwrap();
            assert_eq!((found.tenant, found.plan), (made.tenant.clone(), made.plan.clone()));
        }
        assert!(trees.pair_of(trees.tenants.root()).is_none());

        trees.leave_and_detach(&task, &top, &made).unwrap();
        assert_eq!(task.cgroup(&trees.plans).unwrap().path(), "/gold");
        assert!(trees.remove(std::slice::from_ref(&made), Removal::Detach).is_err());
        assert_eq!(top.descendants_post(&trees).len(), 1);
    }

    #[test]
    fn the_tenants_own_groups_are_counterparts_under_other_names() {
        let trees = Trees::new().unwrap();
        let recorder = crate::soak::controller::Queries::default();
        let queries = trees.registry.register(recorder).unwrap();
        queries.bind(&trees.tenants).unwrap();
        let top = trees.create(&trees.root(), ["api", "gold"], &[]).unwrap();
        let before = trees.css(&queries, &top).unwrap();

        queries.rebind(&trees.plans, &RebindOptions::new()).unwrap_err();
        queries.rebind(&trees.plans, &trees.options(&trees.plans)).unwrap();
        assert_eq!((before.path().as_str(), queries.css(&top.tenant).is_none()), ("/gold", true));
        assert_eq!(trees.css(&queries, &top).unwrap().id(), before.id());
        queries.rebind(&trees.tenants, &trees.options(&trees.tenants)).unwrap();
        assert_eq!(before.path(), "/api");
    }
}
