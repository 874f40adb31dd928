//! The registry: owns hierarchies, controllers, tasks and css, and the one structural lock.

pub(crate) mod engine;

use std::fmt;

pub(crate) use self::engine::{Engine, Owner, Tree};
use crate::{
    bind,
    cgroup::Cgroup,
    controller::{AnyController, Controller},
    edit::{self, Edit, Edited},
    error::{
        CreateHierarchyError, CreateTaskError, EditError, RebindError, RegisterError,
        StructuralError,
    },
    file,
    hierarchy::{self, Hierarchy},
    rebind::{self, RebindOptions},
    reclaim::Reclaimer,
    stat::RegistryStats,
    subsystem::Subsystem,
    sync::{Arc, barrier::Barrier},
    task::{Task, birth},
    world::{cache::Cache, guard::ReadGuard},
};

/// A universe of hierarchies and subsystems, apart from every other one in the process.
///
/// A cheap handle. The registry lives as long as any handle made from it: a hierarchy, a group, a
/// controller, a task. The drop of the last takes every css offline, with all hooks that belong to
/// it; [`CssRef`](crate::CssRef)s stay good beyond that.
///
/// # Concurrency
///
/// Structural calls (create, remove, rename, register, bind, join, limits, and the drop of a task or
/// of the last handle) take one lock and run subsystems' hooks under it. They are refused in a hook,
/// under a read guard and in a forked child. Lookups of css, references, paths and walks do not take
/// it. In a forked child references can be cloned and dropped, and css looked up; names, paths,
/// walks and lists may wait for ever for a thread that is not there.
///
/// It starts up to two threads: `fief-reclaimer` (see [`Reclaimer`]), and `fief-close`, where the last
/// handle goes in a hook or under a guard.
#[derive(Clone)]
pub struct Registry {
    owner: Arc<Owner>,
}

/// How to make a [`Registry`] that differs from the default one.
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "a builder makes nothing until `build`"]
pub struct RegistryBuilder {
    barrier: Barrier,
    reclaimer: Reclaimer,
}

impl Registry {
    /// Returns an empty registry with the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Returns a builder with the default settings.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// Creates a hierarchy with a root group and no controllers.
    ///
    /// Every task sits at its root until it joins another group.
    ///
    /// # Errors
    ///
    /// Refuses a name that is taken, or is not 1 to 63 of `A-Z a-z 0-9 _ . -`, and a 65th hierarchy; a
    /// destroyed one counts until a grace period is over.
    #[doc(alias = "cgroup_setup_root")]
    pub fn create_hierarchy(&self, name: &str) -> Result<Hierarchy, CreateHierarchyError> {
        hierarchy::create(&self.owner, name)
    }

    /// Returns the hierarchy of that name.
    #[must_use]
    pub fn hierarchy(&self, name: &str) -> Option<Hierarchy> {
        self.hierarchies().into_iter().find(|hierarchy| hierarchy.name() == name)
    }

    /// Returns every hierarchy, oldest first.
    #[must_use]
    pub fn hierarchies(&self) -> Vec<Hierarchy> {
        hierarchy::all(&self.owner)
    }

    /// Registers a subsystem: makes its root css, on the hidden default hierarchy.
    ///
    /// # Errors
    ///
    /// Refuses a name that is taken, malformed (see [`Subsystem::name`]), or before the first dot of an
    /// existing group's name; a 65th subsystem, where an unregistered one counts until its last css is
    /// freed; a malformed or doubled name of a control file (see [`Subsystem::files`]); and whatever the
    /// subsystem's own hooks refuse.
    pub fn register<S: Subsystem>(&self, subsystem: S) -> Result<Controller<S>, RegisterError> {
        let files = file::list(&subsystem)?;
        let controller = bind::register(&self.owner, subsystem)?;
        // Nobody else can bind it yet, so no group has shown its files without this.
        controller.list(files);
        Ok(controller)
    }

    /// Moves several controllers to `target` in one publication; see [`Controller::rebind`].
    ///
    /// They may come from different hierarchies, each of the target's shape.
    ///
    /// # Errors
    ///
    /// As [`Controller::rebind`]; and refuses a controller that is named twice. Nothing has changed then.
    pub fn rebind(
        &self,
        controllers: &[&dyn AnyController],
        target: &Hierarchy,
        options: &RebindOptions,
    ) -> Result<(), RebindError> {
        rebind::rebind(&self.owner, controllers, target, options)
    }

    /// Creates groups, moves tasks and removes groups, in any hierarchies, as one step: all or nothing.
    ///
    /// `record` says what is to be done; it runs before anything is, under no lock. No other structural call
    /// comes in between: hierarchies of one shape are of one shape afterwards. Walkers and lookups, which take
    /// no part in that, may see some of it before the rest.
    ///
    /// ```
    /// # use fief_core::{Registry, Removal};
    /// let registry = Registry::new();
    /// let tenants = registry.create_hierarchy("by-tenant")?;
    /// let plans = registry.create_hierarchy("by-plan")?;
    /// let task = registry.create_task("worker")?;
    /// let (made, (tenant, plan)) = registry.edit(|edit| {
    ///     let tenant = edit.create(tenants.root(), "web");
    ///     let plan = edit.create(plans.root(), "web");
    ///     edit.join(&task, tenant);
    ///     edit.join(&task, plan);
    ///     (tenant, plan)
    /// })?;
    /// let paths = [tenant, plan].map(|draft| made.cgroup(draft).map(|cgroup| cgroup.path()));
    /// assert_eq!(paths, [Some("/web".to_owned()), Some("/web".to_owned())]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Concurrency
    ///
    /// Takes the structural lock once, for as long as the calls that it stands for would take together.
    ///
    /// # Errors
    ///
    /// What any of those calls refuses, and what the rules of [`Edit`] do. Nothing has changed
    /// then, but that caches were drained.
    pub fn edit<'t, R>(
        &self,
        record: impl FnOnce(&mut Edit<'t>) -> R,
    ) -> Result<(Edited, R), EditError> {
        edit::edit(&self.owner, record)
    }

    /// Creates a task, a member of the root group of every hierarchy.
    ///
    /// # Errors
    ///
    /// Refuses a name with a newline or NUL or of more than 255 bytes, and what a hook refuses.
    pub fn create_task(&self, name: &str) -> Result<Task, CreateTaskError> {
        birth::create(&self.owner, name, None, &[])
    }

    /// Creates a task, a member of each of `cgroups` in its hierarchy, and of the root elsewhere.
    ///
    /// Where a controller limits tasks, it decides on what is made and where, not on what joins later.
    ///
    /// # Errors
    ///
    /// As [`Registry::create_task`]; and refuses a group that is removed or of another registry, and two groups
    /// of one hierarchy.
    pub fn create_task_in(&self, name: &str, cgroups: &[&Cgroup]) -> Result<Task, CreateTaskError> {
        birth::create(&self.owner, name, None, cgroups)
    }

    /// Takes a guard to resolve css with.
    #[doc(alias = "rcu_read_lock")]
    #[inline]
    pub fn read(&self) -> ReadGuard<'_> {
        ReadGuard::new(&self.owner.engine.views)
    }

    /// Makes a cache: the calling thread's own way to look css up.
    ///
    /// # Concurrency
    ///
    /// Takes a short lock, no structural one. Allowed in a hook and under a guard; in a forked child the
    /// cache takes a guard for each lookup.
    pub fn cache(&self) -> Cache {
        let engine = &self.owner.engine;
        Cache::new(&engine.views, engine.is_asymmetric() && !engine.is_forked())
    }

    /// Waits until every guard that was held when the call began is gone, and every lookup over.
    ///
    /// # Concurrency
    ///
    /// Blocks for a grace period: microseconds when every reader has a processor, a scheduler slice
    /// when one is preempted under its guard.
    ///
    /// # Errors
    ///
    /// Refused under a guard, in a hook and in a forked child.
    #[doc(alias = "synchronize_rcu")]
    pub fn synchronize(&self) -> Result<(), StructuralError> {
        self.owner.engine.synchronize()
    }

    /// Runs one pass of the reclaimer: releases css without references, frees what no guard can see.
    ///
    /// Returns whether something is left that a later pass could do without another call in
    /// between. For embedders that chose [`Reclaimer::Manual`]; harmless beside the thread. Does
    /// nothing, and returns false, when called from a hook, under a guard or in a forked child.
    pub fn reap(&self) -> bool {
        self.owner.engine.reap()
    }

    /// Waits until every css that has no references by now is freed, and then their parents in turn.
    ///
    /// # Concurrency
    ///
    /// Blocks for a grace period for each level of groups, and for as long as others keep releasing.
    /// Like [`Registry::synchronize`] it makes passes of the reclaimer itself: `released` hooks and the
    /// drops of states run on the calling thread too.
    ///
    /// # Errors
    ///
    /// Refused under a guard, in a hook, in the drop of a css's state, and in a forked child.
    #[doc(alias = "rcu_barrier")]
    pub fn wait_reclaimed(&self) -> Result<(), StructuralError> {
        self.owner.engine.wait_reclaimed()
    }

    /// Returns the registry's figures; takes no structural lock.
    #[must_use]
    pub fn stats(&self) -> RegistryStats {
        self.owner.engine.stats()
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.hierarchies().iter().map(Hierarchy::name).collect();
        f.debug_struct("Registry").field("hierarchies", &names).finish_non_exhaustive()
    }
}

impl RegistryBuilder {
    /// Sets the fence that counting pays; default [`Barrier::Auto`].
    pub fn barrier(self, barrier: Barrier) -> Self {
        Self { barrier, ..self }
    }

    /// Sets who reclaims; default [`Reclaimer::Thread`].
    pub fn reclaimer(self, reclaimer: Reclaimer) -> Self {
        Self { reclaimer, ..self }
    }

    /// Returns an empty registry.
    #[must_use]
    pub fn build(self) -> Registry {
        Registry { owner: Owner::new(self.barrier, self.reclaimer) }
    }
}
