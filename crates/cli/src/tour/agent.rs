//! The release agent: gets notice of groups that are of no use any more, and removes them.
//!
//! A group that asks for it (`notify_on_release`) makes a notice when its last member, child and
//! reference are gone. The agent then tries to remove it strictly, which is refused if somebody
//! took a reference meanwhile. So it never takes a group out of anybody's hands, as a kill does.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fief_core::{
    AgentStats, Cgroup, Event, NotifyError, ReleaseAgent, Removal, RemoveError, WatchError,
};

use crate::{
    sync::Arc,
    tour::{
        stage::{Stage, Who},
        tally::Tally,
    },
};

/// What the agent did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    pub(crate) stats: AgentStats,
    /// Groups that were left at the end, when none was of use.
    pub(crate) left: u64,
}

/// Starts the agent.
///
/// # Errors
///
/// When it cannot be started.
pub(crate) fn start(stage: &Stage) -> Result<ReleaseAgent> {
    let tallies = Who::ALL.map(|who| (who, Arc::clone(&stage.tenant(who).tally)));
    let agent = ReleaseAgent::closure(&stage.hierarchy, move |group| {
        let tenant = tallies.iter().find(|(who, _)| is_of(*who, &group));
        if let Some((_, tally)) = tenant {
            remove(&group, tally);
        }
    });
    agent.context("cannot start the release agent")
}

/// Leaves all groups to `agent`, now that nobody works any more, and ends it when it is done, or
/// `patience` is over.
///
/// # Errors
///
/// Those of the registry.
pub(crate) fn retire(stage: &Stage, agent: ReleaseAgent, patience: Duration) -> Result<Service> {
    let root = stage.hierarchy.root();
    for group in root.children().flat_map(|tenant| tenant.descendants_post()) {
        match group.set_notify_on_release(true) {
            Ok(()) | Err(NotifyError::Removed { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // To ask for notices makes none: groups that were of no use before have to be told.
    stage.hierarchy.renotify()?;
    let deadline = Instant::now() + patience;
    for tenant in root.children() {
        wait_until_removed(&tenant, deadline)?;
    }
    Ok(Service { stats: agent.stop(), left: root.descendant_count().into() })
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
    group.path().split('/').nth(1) == Some(who.name())
}

fn remove(group: &Cgroup, tally: &Tally) {
    match group.remove(Removal::Strict) {
        Ok(()) => tally.groups_on_notice.add(1),
        Err(RemoveError::InUse { .. }) => tally.refused.add(1),
        // A kill was faster.
        Err(RemoveError::Removed { .. }) => tally.gone.add(1),
        // Whatever else it is, the group is left, and found at the end.
        Err(_) => {}
    }
}

/// How long the agent may take at the end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    use fief_core::CssRef;

    use crate::tour::{controller::QueriesCss, stage::tests::small_stage, tree};

    fn stage() -> Stage {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        tree::open(&stage, Who::Backup).unwrap();
        stage
    }

    /// A group with a member that leaves at once, and a reference to its css.
    fn run(stage: &Stage, name: &str) -> (Cgroup, CssRef<QueriesCss>) {
        let task = stage.registry.create_task(name).unwrap();
        let tenant = stage.hierarchy.lookup("/backup").unwrap();
        let group = tenant.create_child_with(name, &[&task]).unwrap();
        stage.tenant(Who::Backup).tally.groups_made.add(1);
        let css = stage.queries.css(&group).unwrap();
        (group, css)
    }

    #[test]
    fn groups_go_when_their_last_reference_does_and_then_their_parent() {
        let stage = stage();
        let agent = start(&stage).unwrap();
        let (one, css_of_one) = run(&stage, "run-1");
        let (_two, css_of_two) = run(&stage, "run-2");
        let watch = one.watch().unwrap();
        assert!(one.notify_on_release());
        drop(css_of_one);
        while watch.recv().unwrap() != Event::Removed {}

        drop(css_of_two);
        let service = retire(&stage, agent, PATIENCE).unwrap();
        let tally = &stage.tenant(Who::Backup).tally;
        assert_eq!((service.left, tally.groups_made.get()), (0, 3));
        assert_eq!((tally.groups_on_notice.get(), tally.refused.get()), (3, 0));
        assert_eq!((service.stats.told, service.stats.moot), (3, 0));
        assert_eq!(stage.registry.stats().notices, 3);
    }

    #[test]
    fn a_group_in_use_is_left_and_counted() {
        let stage = stage();
        let agent = start(&stage).unwrap();
        let (group, css) = run(&stage, "run-1");
        let service = retire(&stage, agent, Duration::ZERO).unwrap();
        assert_eq!((service.left, service.stats.told), (2, 0));
        assert!(stage.hierarchy.lookup(&group.path()).is_ok());
        drop(css);
    }

    #[test]
    fn a_removal_is_booked_as_it_ended() {
        let stage = stage();
        let tally = Tally::default();
        let (group, css) = run(&stage, "run-1");
        remove(&group, &tally);
        drop(css);
        remove(&group, &tally);
        remove(&group, &tally);
        let booked = [&tally.refused, &tally.groups_on_notice, &tally.gone];
        assert_eq!(booked.map(|count| count.get()), [1, 1, 1]);
    }

    #[test]
    fn groups_that_nobody_has_used_are_told_of_at_the_end() {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        for who in Who::ALL {
            tree::open(&stage, who).unwrap();
        }
        let agent = start(&stage).unwrap();
        assert_eq!(retire(&stage, agent, PATIENCE).unwrap().left, 0);
        let removed = Who::ALL.map(|who| stage.tenant(who).tally.groups_removed());
        assert_eq!(removed, [9, 1, 1]);
    }
}
