//! Making and removing the groups of a tenant.

use std::{
    iter,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use crossbeam_channel::Sender;
use fief_core::{Cgroup, Removal, RemoveError};

use crate::tour::{
    controller::Receipt,
    dropper::Batch,
    gate::Generation,
    operation,
    stage::{Stage, Who},
};

/// What a kill did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Killed {
    pub(crate) who: Who,
    /// Members told to stop.
    pub(crate) members: u64,
    /// Groups removed.
    pub(crate) groups: u64,
    /// Css that references kept alive after their groups were gone.
    pub(crate) outlived: u64,
    /// From the kill until the tenant could work again.
    pub(crate) took: Duration,
}

/// How many users, and so groups for users, tenant `api` has.
pub(crate) const USERS: u32 = 8;

/// Makes the groups of `who` and lets its workers in.
///
/// # Errors
///
/// Those of making a group.
pub(crate) fn open(stage: &Stage, who: Who) -> Result<()> {
    let made = &stage.tenant(who).tally.groups_made;
    let make = |parent: &Cgroup, name: &str| -> Result<Cgroup> {
        let group = parent.create_child(name)?;
        made.add(1);
        Ok(group)
    };
    let group = make(&stage.hierarchy.root(), who.name())?;
    // Groups inherit it: all of this tenant are left to the release agent.
    group.set_notify_on_release(who == Who::Backup)?;
    let users = match who {
        Who::Api => 0..USERS,
        Who::Analytics | Who::Backup => 0..0,
    };
    let users = users.map(|user| make(&group, &format!("user-{user}"))).collect::<Result<_>>()?;
    stage.tenant(who).gate.open(Generation { group, users });
    Ok(())
}

/// Kills `who` at work, detaches all its groups while references to their css are out, and makes
/// them again.
///
/// # Errors
///
/// Those of the registry; and when strict removal is not refused, though there are references.
pub(crate) fn kill(stage: &Stage, who: Who, dropper: &Sender<Batch>) -> Result<Killed> {
    let start = Instant::now();
    let tenant = stage.tenant(who);
    tenant.gate.close();
    let group = stage.hierarchy.lookup(&format!("/{}", who.name()))?;
    // It keeps the release agent off the tenant's own group, when its members have left.
    let keep = take_references(stage, who, iter::once(group.clone()));
    let members = u64::try_from(group.kill()?)?;
    tenant.gate.wait_until_empty();

    let held = take_references(stage, who, group.descendants_post());
    let outlived = u64::try_from(held.len())?;
    be_refused(&group)?;
    let groups = detach(stage, who, &group)?;
    open(stage, who)?;
    operation::send(dropper, who, keep)?;
    operation::send(dropper, who, held)?;

    let tally = &tenant.tally;
    tally.kills.add(1);
    tally.told.add(members);
    tally.outlived.add(outlived);
    Ok(Killed { who, members, groups, outlived, took: start.elapsed() })
}

/// Detaches `group` and all below it; returns how many groups that were.
///
/// # Errors
///
/// Those of removing groups.
pub(crate) fn detach(stage: &Stage, who: Who, group: &Cgroup) -> Result<u64> {
    let removed = u64::try_from(group.remove_subtree(Removal::Detach)?)?;
    stage.tenant(who).tally.groups_detached.add(removed);
    Ok(removed)
}

/// Tries to remove `group` and all below it strictly, which references forbid.
fn be_refused(group: &Cgroup) -> Result<()> {
    match group.remove_subtree(Removal::Strict) {
        Err(RemoveError::InUse { .. }) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => bail!("{} was removed strictly while references were out", group.path()),
    }
}

/// Takes a reference to the css of each of `groups`.
fn take_references(stage: &Stage, who: Who, groups: impl Iterator<Item = Cgroup>) -> Vec<Receipt> {
    let css = groups.filter_map(|group| stage.queries.css(&group));
    let receipts: Vec<Receipt> = css.map(|css| Receipt::charge(css, 0)).collect();
    stage.tenant(who).tally.taken.add(receipts.len().try_into().unwrap_or(u64::MAX));
    receipts
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::tour::stage::tests::small_stage;

    #[test]
    fn a_killed_tenant_is_detached_and_made_again() {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        let (dropper, batches) = crossbeam_channel::unbounded();
        for (who, groups) in [(Who::Api, 9), (Who::Analytics, 1), (Who::Backup, 1)] {
            open(&stage, who).unwrap();
            let before = stage.hierarchy.root().child(who.name()).unwrap();
            let killed = kill(&stage, who, &dropper).unwrap();
            assert_eq!((killed.groups, killed.outlived, killed.members), (groups, groups, 0));
            let after = stage.hierarchy.root().child(who.name()).unwrap();
            assert_ne!(before.id(), after.id());
            assert_eq!(after.notify_on_release(), who == Who::Backup);
        }
        assert_eq!(stage.registry.stats().removals_refused, 3);
        let sent = batches.try_iter().map(|batch| batch.receipts.len()).sum::<usize>();
        assert_eq!(sent, 11 + 3);
    }
}
