//! Making and removing the groups of a tenant.

use std::time::{Duration, Instant};

use anyhow::Result;
use crossbeam_channel::Sender;
use fief_core::{Cgroup, Removal};

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
    let users = match who {
        Who::Api => 0..USERS,
        Who::Analytics | Who::Backup => 0..0,
    };
    let users = users.map(|user| make(&group, &format!("user-{user}"))).collect::<Result<_>>()?;
    stage.tenant(who).gate.open(Generation { group, users });
    Ok(())
}

/// Kills `who` at work, removes all its groups while references to their css are out, and makes
/// them again.
///
/// # Errors
///
/// Those of the registry.
pub(crate) fn kill(stage: &Stage, who: Who, dropper: &Sender<Batch>) -> Result<Killed> {
    let start = Instant::now();
    let tenant = stage.tenant(who);
    tenant.gate.close();
    let group = stage.hierarchy.lookup(&format!("/{}", who.name()))?;
    let members = u64::try_from(group.kill()?)?;
    tenant.gate.wait_until_empty();

    let held = take_references(stage, who, &group);
    let outlived = u64::try_from(held.len())?;
    let groups = remove(stage, who, &group)?;
    open(stage, who)?;
    operation::send(dropper, who, held)?;

    let tally = &tenant.tally;
    tally.kills.add(1);
    tally.told.add(members);
    tally.outlived.add(outlived);
    Ok(Killed { who, members, groups, outlived, took: start.elapsed() })
}

/// Removes `group` and everything below it, children first; returns how many groups that were.
///
/// # Errors
///
/// Those of removing a group.
pub(crate) fn remove(stage: &Stage, who: Who, group: &Cgroup) -> Result<u64> {
    let groups: Vec<Cgroup> = group.descendants_post().collect();
    for group in &groups {
        group.remove(Removal::Detach)?;
        stage.tenant(who).tally.groups_removed.add(1);
    }
    Ok(u64::try_from(groups.len())?)
}

/// Takes a reference to the css of each group from `group` down.
fn take_references(stage: &Stage, who: Who, group: &Cgroup) -> Vec<Receipt> {
    let groups = group.descendants_post();
    let css = groups.filter_map(|group| stage.queries.css(&group));
    let receipts: Vec<Receipt> = css.map(|css| Receipt::charge(css, 0)).collect();
    stage.tenant(who).tally.taken.add(receipts.len().try_into().unwrap_or(u64::MAX));
    receipts
}
