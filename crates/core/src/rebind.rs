//! Where controllers are bound, changed for several at once and for every reader at one instant.
//!
//! Binding to a populated tree, unbinding from one, remounting, enabling and disabling below a group, and
//! moving a controller between trees of one shape are the same five steps:
//!
//! 1. Each controller's new column is built beside the current one (`rebind/plan.rs`); css that are needed are
//!    made and brought online. Nobody sees any of it.
//! 2. Every task is looked up in the old and in the new column. Where its css differs, the task *moves*, and
//!    the controller is asked, for all of them (`migrate.rs`). A refusal, here or before, undoes step 1.
//! 3. One swap publishes a world with all new columns. A reader sees the one or the other.
//! 4. A rebind, and a change of `cgroup.subtree_control`, wait until no older world has a reader, under the
//!    structural lock: otherwise one with the old column and a place that was set later would find a css that
//!    was never its task's. Readers wait for nobody; they cannot make structural calls under their guards,
//!    so this ends.
//! 5. Css that moved are told their group, members that moved are shown to their controllers, what leaves
//!    is taken offline, and each controller sees its root css.
//!
//! # Identity
//!
//! A css that moves keeps its id, value, count, references and parent; nothing about it is copied. What
//! changes is which group shows it. A css that is dying stays where it is: it is in no column.
//!
//! # Groups whose release is waited for
//!
//! A css counts for the use of the group that shows it, exactly so while the group is armed
//! (`cgroup/arm.rs`). An armed group that loses a css rests for a grace period: it has a unit more, and the
//! css counts in cells before it leaves. One to which a css moves rests until that has arrived and counts
//! exactly. Uses of other css of these groups are counted all the while; what is not seen is a use of
//! a css that moves, if it begins and ends while the call runs.
//!
//! # Tests
//!
//! `tests/loom_rebind.rs`; snapshots and random scripts in `crates/testing`.

mod plan;
pub(crate) mod shape;

use std::fmt;

use self::shape::{Differs, Mapping};
pub(crate) use self::{plan::Plan, shape::Images};
use crate::{
    cgroup::{Cgroup, Node, arm},
    controller::{AnyController, Identity, sealed::Part},
    css::cells::CssId,
    error::{MoverError, RebindError, Veto},
    hierarchy::{Hier, Hierarchy},
    lifecycle,
    migrate::Transfers,
    reclaim::Garbage,
    registry::{Engine, Owner, Tree, engine::Bound},
    sync::Arc,
    task::TaskShared,
    world::{World, guard},
};

/// What becomes of members whose css would change by a rebind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MemberPolicy {
    /// There may be none: every member sits in the counterpart of its group. The default.
    #[default]
    Refuse,
    /// They move in two phases, as by [`Cgroup::attach_all`]: a controller may refuse.
    Move,
}

/// How a controller is rebound: see [`Controller::rebind`](crate::Controller::rebind).
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until they are passed to a rebind"]
pub struct RebindOptions {
    mapping: Vec<(Cgroup, Cgroup)>,
    members: MemberPolicy,
}

impl RebindOptions {
    /// Returns the default: counterparts have the same names, and no member's css changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names counterparts: pairs of a group of the source and one of the target, beside those named
    /// before. Groups that are not named go by their names.
    pub fn mapping(self, pairs: impl IntoIterator<Item = (Cgroup, Cgroup)>) -> Self {
        let mut options = self;
        options.mapping.extend(pairs);
        options
    }

    /// Sets what becomes of members whose css would change; default [`MemberPolicy::Refuse`].
    pub fn members(self, members: MemberPolicy) -> Self {
        Self { members, ..self }
    }
}

/// Why nothing changed.
#[derive(Debug)]
pub(crate) enum Refusal {
    Vetoed(Veto),
    Members(MoverError),
    /// A hook that was asked has kept a guard.
    GuardHeld,
}

pub(crate) fn rebind(
    owner: &Arc<Owner>,
    controllers: &[&dyn AnyController],
    target: &Hierarchy,
    options: &RebindOptions,
) -> Result<(), RebindError> {
    let engine = &owner.engine;
    let mut tree = engine.structure("rebind", || names(controllers))?;
    let bound = check(owner, &tree, controllers, target)?;
    let mapping = check_mapping(owner, &bound, target, &options.mapping)?;
    let mut plans = Vec::with_capacity(bound.len());
    let mut images: Vec<(Arc<Hier>, Arc<Images>)> = Vec::new();
    for bound in &bound {
        let known = images.iter().find(|(source, _)| Arc::ptr_eq(source, &bound.hierarchy));
        let images = if let Some((_, images)) = known {
            Arc::clone(images)
        } else {
            let found = shape::compare(&bound.hierarchy, target.hier(), &mapping);
            let found = Arc::new(found.map_err(|differs| differ(bound, target, differs))?);
            images.push((Arc::clone(&bound.hierarchy), Arc::clone(&found)));
            found
        };
        plans.push(Plan::rebind(bound, target.hier(), &images));
    }
    if plans.is_empty() {
        return Ok(());
    }
    let done = carry_out(engine, &mut tree, plans, options.members, Readers::Awaited)?;
    drop(tree);
    done.finish(engine);
    Ok(())
}

fn names(controllers: &[&dyn AnyController]) -> String {
    controllers.iter().map(|one| one.name()).collect::<Vec<_>>().join(" ")
}

fn differ(bound: &Bound, target: &Hierarchy, differs: Differs) -> RebindError {
    let Differs { difference, path } = differs;
    let (source, target) = (bound.hierarchy.name().to_owned(), target.name());
    RebindError::Differs { source_hierarchy: source, target, difference, path }
}

/// Checks everything about the controllers and the target that can be checked before anything is made.
pub(crate) fn check(
    owner: &Arc<Owner>,
    tree: &Tree,
    controllers: &[&dyn AnyController],
    target: &Hierarchy,
) -> Result<Vec<Bound>, RebindError> {
    if !Arc::ptr_eq(owner, target.owner()) {
        let subsystem = names(controllers);
        return Err(RebindError::Foreign { subsystem, hierarchy: target.name() });
    }
    if target.is_destroyed() {
        return Err(RebindError::Destroyed { hierarchy: target.name() });
    }
    let mut all: Vec<Bound> = Vec::with_capacity(controllers.len());
    for controller in controllers {
        let Part { identity, owner: its_owner } = controller.part();
        let subsystem = || identity.name.clone();
        if !Arc::ptr_eq(owner, its_owner) {
            return Err(RebindError::Foreign { subsystem: subsystem(), hierarchy: target.name() });
        }
        let Some(bound) = tree.controller(identity) else {
            return Err(RebindError::Unregistered { subsystem: subsystem() });
        };
        if Arc::ptr_eq(&bound.hierarchy, &tree.default) {
            return Err(RebindError::Unbound { subsystem: subsystem() });
        }
        if Arc::ptr_eq(&bound.hierarchy, target.hier()) {
            return Err(RebindError::Bound { subsystem: subsystem(), hierarchy: target.name() });
        }
        if all.iter().any(|other| other.identity().key == identity.key) {
            return Err(RebindError::Twice { subsystem: subsystem() });
        }
        all.push(bound);
    }
    Ok(all)
}

/// Checks the caller's mapping, but for what the comparison of the trees finds.
fn check_mapping(
    owner: &Arc<Owner>,
    bound: &[Bound],
    target: &Hierarchy,
    pairs: &[(Cgroup, Cgroup)],
) -> Result<Mapping, RebindError> {
    let mut mapping = Mapping::default();
    let is_source =
        |node: &Node| bound.iter().any(|it| Arc::ptr_eq(&it.hierarchy, &node.hierarchy));
    for (source, image) in pairs {
        let (node, image) = (source.node(), image.node());
        let refuse = |rule| {
            let (source, target) = (node.full_path(), image.full_path());
            Err(RebindError::Mapping { source_cgroup: source, target, rule })
        };
        if !Arc::ptr_eq(source.owner(), owner) || !is_source(node) {
            return refuse("the first group is not of the hierarchy that is left");
        }
        if !Arc::ptr_eq(&image.hierarchy, target.hier()) {
            return refuse("the second group is not of the target");
        }
        if !node.is_online() || !image.is_online() {
            return refuse("a group is removed");
        }
        if !mapping.add(node, image) {
            return refuse("a group is named twice");
        }
    }
    Ok(mapping)
}

/// Whether a change of columns waits for those who read the columns before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    Awaited,
    LeftAlone,
}

/// Plans that were carried out, but for what is done under no lock.
#[must_use = "hooks wait for its finish"]
pub(crate) struct Done {
    transfers: Transfers,
    is_quiet: bool,
}

impl Done {
    /// Wakes the reclaimer if there is something for it, and runs the last hooks; the caller holds no lock.
    pub(crate) fn finish(self, engine: &Arc<Engine>) {
        if !self.is_quiet {
            engine.wake();
        }
        self.transfers.finish(engine);
    }
}

/// Carries plans out, all or none. The caller lets the lock go, and then finishes; on a refusal it wakes
/// the reclaimer.
pub(crate) fn carry_out(
    engine: &Engine,
    tree: &mut Tree,
    plans: Vec<Plan>,
    members: MemberPolicy,
    readers: Readers,
) -> Result<Done, Refusal> {
    let change = Change::agree(engine, tree, plans, members, readers)?;
    let (prepared, world) = change.prepare(engine, tree);
    let grace = engine.publish(tree, world);
    Ok(prepared.settle(engine, tree, grace))
}

/// Plans that every controller agreed to: nothing can fail from here on.
pub(crate) struct Change {
    plans: Vec<Plan>,
    transfers: Transfers,
    readers: Readers,
}

/// A change that waits for its publication.
pub(crate) struct Prepared {
    change: Change,
    resting: Vec<Arc<Node>>,
}

impl Change {
    /// Finds the members that move, and has every controller agree; undoes the plans otherwise.
    pub(crate) fn agree(
        engine: &Engine,
        tree: &Tree,
        mut plans: Vec<Plan>,
        members: MemberPolicy,
        readers: Readers,
    ) -> Result<Self, Refusal> {
        let transfers = match movers(engine, tree, &plans, members) {
            Ok(transfers) => transfers,
            Err(refusal) => {
                give_up(engine, &mut plans);
                return Err(refusal);
            }
        };
        if readers == Readers::Awaited && guard::is_held() {
            // A hook has kept a guard, for which we would wait for ever.
            transfers.cancel(engine);
            give_up(engine, &mut plans);
            return Err(Refusal::GuardHeld);
        }
        Ok(Self { plans, transfers, readers })
    }

    /// Does what comes before the publication, of the world that is returned.
    pub(crate) fn prepare(self, engine: &Engine, tree: &mut Tree) -> (Prepared, Arc<World>) {
        let resting = let_rest(engine, tree, &self.plans);
        if self.readers == Readers::LeftAlone {
            tree.retired.extend(resting.iter().cloned().map(Garbage::Rest));
        }
        let mut world = World::clone(&tree.world);
        for plan in &self.plans {
            plan.arm_born();
            plan.announce();
            world.set(plan.after.identity().index.into(), Some(Arc::clone(&plan.after.column)));
        }
        (Prepared { change: self, resting }, Arc::new(world))
    }
}

impl Prepared {
    /// Does what comes after the publication, whose grace period has that number.
    pub(crate) fn settle(self, engine: &Engine, tree: &mut Tree, grace: u64) -> Done {
        let Self { change: Change { plans, mut transfers, readers }, resting } = self;
        let is_quiet = plans.iter().all(Plan::is_quiet);
        plans.iter().for_each(|plan| plan.enter(tree));
        tree.rebound();
        if readers == Readers::Awaited {
            engine.wait_for_readers(tree, grace);
        }
        plans.iter().for_each(|plan| plan.arrive(tree));
        transfers.hold();
        if readers == Readers::Awaited {
            let arrived: Vec<_> = plans.iter().flat_map(|plan| plan.arrived(tree)).collect();
            lifecycle::drain(engine, &arrived);
            arm::make_exact(&arrived);
            resting.iter().for_each(arm::rested);
        }
        transfers.attach(engine);
        for plan in plans {
            let (_name, _target) = (&plan.after.identity().name, plan.after.hierarchy.name());
            crate::trace::event!(plan.operation(), subsystem = %_name, hierarchy = _target, "moved");
            plan.complete(engine, tree);
        }
        Done { transfers, is_quiet }
    }
}

/// Lets the armed groups rest that lose a css, or gain one that somebody may be counting near.
fn let_rest(engine: &Engine, tree: &Tree, plans: &[Plan]) -> Vec<Arc<Node>> {
    let mut resting: Vec<_> = plans.iter().flat_map(Plan::unsettled).collect();
    resting.sort_by_key(|node| node.id);
    resting.dedup_by_key(|node| node.id);
    resting.iter().for_each(|node| arm::rest(node));
    plans.iter().for_each(|plan| plan.loosen(engine, tree));
    resting
}

/// Undoes plans that come to nothing.
pub(crate) fn give_up(engine: &Engine, plans: &mut [Plan]) {
    plans.iter_mut().for_each(|plan| plan.give_up(engine));
}

/// A task whose css changes: which plan's, and from which css to which.
type Mover = (Arc<TaskShared>, usize, (CssId, CssId));

/// Finds the members whose css change, and has every controller agree.
fn movers(
    engine: &Engine,
    tree: &Tree,
    plans: &[Plan],
    members: MemberPolicy,
) -> Result<Transfers, Refusal> {
    let movers = find_movers(engine, plans);
    if members == MemberPolicy::Refuse
        && let Some((task, plan, _)) = movers.first()
    {
        let Plan { before, after, .. } = &plans[*plan];
        let path = |hier: &Hier| {
            let group = hier.group(task.place(hier.index));
            group.map_or_else(String::new, |group| group.full_path())
        };
        return Err(Refusal::Members(MoverError {
            subsystem: after.identity().name.clone(),
            task: task.member.name.clone(),
            from: path(&before.hierarchy),
            to: path(&after.hierarchy),
            count: movers.len(),
        }));
    }
    let mut transfers = Transfers::default();
    for (task, plan, ends) in &movers {
        transfers.add(tree, &plans[*plan].after.instance, task, *ends);
    }
    transfers.agree(engine).map_err(Refusal::Vetoed)?;
    Ok(transfers)
}

fn find_movers(engine: &Engine, plans: &[Plan]) -> Vec<Mover> {
    let tasks = engine.tasks.lock();
    let mut movers = Vec::new();
    for (index, Plan { before, after, .. }) in plans.iter().enumerate() {
        let (source, target) = (before.hierarchy.index, after.hierarchy.index);
        for (_, task) in &*tasks {
            let from = before.column.resolve(|| task.place(source));
            let to = after.column.resolve(|| task.place(target));
            if let Some(ends) = from.zip(to).filter(|(from, to)| from != to) {
                movers.push((Arc::clone(task), index, ends));
            }
        }
    }
    movers.sort_by_key(|(task, plan, _)| (*plan, task.member.id));
    movers
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity { name, .. } = self.after.identity();
        f.debug_struct("Plan").field("subsystem", name).finish_non_exhaustive()
    }
}
