//! The release agents: they get notice of groups that are of no use any more, and remove them.
//!
//! A group that asks for it (`notify_on_release`) makes a notice when its last member, child and
//! reference are gone. The agent of its tree then tries to remove it strictly, together with its
//! counterpart in the other tree, by one edit; which is refused if somebody has a reference. So it never
//! takes a group out of anybody's hands, as a kill does, and the trees stay of one shape.
//!
//! References are to css, and css are in one tree at a time. So the group that shows none makes its
//! notice early, and the agent of that tree is refused; the other group makes one in the end.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fief_core::{
    Cgroup, EditError, Event, Hierarchy, NotifyError, ReleaseAgent, Removal, RemoveError,
    WatchError,
};

use crate::{
    soak::{
        pair::{Pair, Trees},
        stage::{Stage, Who},
        tally::Tally,
    },
    sync::{Arc, thread},
};

/// The agents of both trees.
#[derive(Debug)]
pub(crate) struct Agents([ReleaseAgent; 2]);

/// What the agents did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    /// Groups that they were told of, and notices that they had for others.
    pub(crate) told: u64,
    pub(crate) moot: u64,
    /// Groups that were left at the end, when none was of use.
    pub(crate) left: u64,
}

impl Agents {
    /// Groups told of, and notices that came to nothing.
    fn counts(&self) -> [u64; 2] {
        let stats = self.0.each_ref().map(ReleaseAgent::stats);
        [stats.iter().map(|stats| stats.told).sum(), stats.iter().map(|stats| stats.moot).sum()]
    }
}

/// Starts the agents.
///
/// # Errors
///
/// When one cannot be started.
pub(crate) fn start(stage: &Stage) -> Result<Agents> {
    let Trees { tenants, plans, .. } = &stage.trees;
    Ok(Agents([start_one(stage, tenants)?, start_one(stage, plans)?]))
}

fn start_one(stage: &Stage, hierarchy: &Hierarchy) -> Result<ReleaseAgent> {
    let tallies = Who::ALL.map(|who| (who, Arc::clone(&stage.tenant(who).tally)));
    let trees = stage.trees.clone();
    let agent = ReleaseAgent::closure(hierarchy, move |group| {
        let tenant = tallies.iter().find(|(who, _)| is_of(*who, &group));
        if let Some((_, tally)) = tenant {
            remove(&trees, group, tally);
        }
    });
    agent.context("cannot start the release agent")
}

/// Leaves all groups to `agents`, now that nobody works any more, and ends them when they are done, or
/// `patience` is over.
///
/// # Errors
///
/// Those of the registry.
pub(crate) fn retire(stage: &Stage, agents: Agents, patience: Duration) -> Result<Service> {
    let Trees { registry, tenants, plans } = &stage.trees;
    for group in [tenants, plans].into_iter().flat_map(|tree| tree.root().children()) {
        for group in group.descendants_post() {
            match group.set_notify_on_release(true) {
                Ok(()) | Err(NotifyError::Removed { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    // To ask for notices makes none: groups that were of no use before have to be told.
    tenants.renotify()?;
    plans.renotify()?;
    let deadline = Instant::now() + patience;
    for tenant in tenants.root().children() {
        wait_until_removed(&tenant, deadline)?;
    }
    // One agent may still have a notice of what the other has removed.
    while agents.counts().iter().sum::<u64>() < registry.stats().notices
        && Instant::now() < deadline
    {
        thread::sleep(Duration::from_millis(1));
    }
    let [told, moot] = agents
        .0
        .map(ReleaseAgent::stop)
        .iter()
        .fold([0; 2], |[told, moot], stats| [told + stats.told, moot + stats.moot]);
    // Not before: of a pair whose removal is under way, one group goes after the other.
    let left = tenants.root().descendant_count() + plans.root().descendant_count();
    Ok(Service { told, moot, left: left.into() })
}

/// Waits until `group` is removed, or it is too late: what is left is counted.
fn wait_until_removed(group: &Cgroup, deadline: Instant) -> Result<()> {
    let watch = match group.watch() {
        Ok(watch) => watch,
        Err(WatchError::Removed { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let next = || watch.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    while next().is_ok_and(|event| event != Event::Removed) {}
    Ok(())
}

fn is_of(who: Who, group: &Cgroup) -> bool {
    let path = group.path();
    path.split('/').nth(1).is_some_and(|top| top == who.name() || top == who.plan())
}

fn remove(trees: &Trees, group: Cgroup, tally: &Tally) {
    let removed = trees.pair_of(group).map(|pair: Pair| trees.remove(&[pair], Removal::Strict));
    match removed {
        Some(Ok(())) => tally.groups_on_notice.add(1),
        Some(Err(EditError::Remove(RemoveError::InUse { .. }))) => tally.refused.add(1),
        // A kill was faster, or the other agent.
        None | Some(Err(EditError::Remove(RemoveError::Removed { .. }))) => tally.gone.add(1),
        // Whatever else it is, the group is left, and found at the end.
        Some(Err(_)) => {}
    }
}

/// How long the agents may take at the end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    use crate::soak::{controller::Receipt, cpu, stage::tests::small_stage, tree};

    /// A stage with one tenant, its agents' notices in either tree.
    fn stage() -> Stage {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        tree::open(&stage, Who::Backup).unwrap();
        tree::bind(&stage).unwrap();
        // The accounts hold the tenant's css.
        cpu::close(&stage).unwrap();
        stage.trees.of(Who::Backup).unwrap().set_notify_on_release(true).unwrap();
        stage
    }

    /// A pair of groups with a member that leaves at once, and a reference to their css.
    fn run(stage: &Stage, name: &str) -> (Pair, Receipt) {
        let task = stage.trees.registry.create_task(name).unwrap();
        let tenant = stage.trees.of(Who::Backup).unwrap();
        let pair = stage.trees.create(&tenant, [name; 2], &[&task]).unwrap();
        stage.tenant(Who::Backup).tally.groups_made.add(1);
        let css = stage.trees.css(&stage.queries, &pair).unwrap();
        (pair, Receipt::charge(css, 0))
    }

    fn rebind(stage: &Stage) {
        let mut moves = crate::soak::mover::Moves::new();
        moves.rebind(stage);
        assert_eq!((moves.done, moves.refusal), (1, None));
    }

    #[test]
    fn groups_go_when_their_last_reference_does_and_then_their_parent() {
        let stage = stage();
        let agents = start(&stage).unwrap();
        let (one, css_of_one) = run(&stage, "run-1");
        let (two, css_of_two) = run(&stage, "run-2");
        let (first, last) = (one.tenant.watch().unwrap(), two.plan.watch().unwrap());
        drop(css_of_one.settle());
        while first.recv().unwrap() != Event::Removed {}

        // The second goes by the other tree's notice.
        rebind(&stage);
        drop(css_of_two.settle());
        while last.recv().unwrap() != Event::Removed {}
        let service = retire(&stage, agents, PATIENCE).unwrap();
        let tally = &stage.tenant(Who::Backup).tally;
        assert_eq!((service.left, tally.groups_made.get()), (0, 3));
        assert_eq!(tally.groups_on_notice.get(), 3);
        assert_eq!(service.told, 3 + tally.refused.get() + tally.gone.get());
        assert_eq!(service.told + service.moot, stage.trees.registry.stats().notices);
    }

    #[test]
    fn a_group_in_use_is_left_and_counted() {
        let stage = stage();
        let agents = start(&stage).unwrap();
        let (pair, css) = run(&stage, "run-1");
        let service = retire(&stage, agents, Duration::ZERO).unwrap();
        assert_eq!(service.left, 4);
        assert!(stage.trees.plans.lookup(&pair.plan.path()).is_ok());
        drop(css.settle());
    }

    #[test]
    fn a_removal_is_booked_as_it_ended() {
        let stage = stage();
        let tally = Tally::default();
        let (pair, css) = run(&stage, "run-1");
        // Refused for the sake of the counterpart, which has the css.
        remove(&stage.trees, pair.plan.clone(), &tally);
        drop(css.settle());
        remove(&stage.trees, pair.tenant.clone(), &tally);
        remove(&stage.trees, pair.plan, &tally);
        let booked = [&tally.refused, &tally.groups_on_notice, &tally.gone];
        assert_eq!(booked.map(|count| count.get()), [1, 1, 1]);
    }

    #[test]
    fn groups_that_nobody_has_used_are_told_of_at_the_end() {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        for who in Who::ALL {
            tree::open(&stage, who).unwrap();
        }
        cpu::close(&stage).unwrap();
        let agents = start(&stage).unwrap();
        assert_eq!(retire(&stage, agents, PATIENCE).unwrap().left, 0);
        let removed = Who::ALL.map(|who| stage.tenant(who).tally.groups_removed());
        assert_eq!(removed, [9, 3, 1]);
    }
}
