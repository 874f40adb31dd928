//! Making and removing the groups of a tenant.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use crossbeam_channel::Sender;
use fief_core::{EditError, Limit, Removal, RemoveError, Task, WriteFileError};

use crate::soak::{
    audit::Held,
    cpu,
    dropper::Batch,
    gate::Generation,
    io, memory, operation,
    pair::Pair,
    stage::{Stage, Who},
};
use crate::workload::reports::Reports;

/// How the controllers were bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// Tasks that were there, and groups that got css.
    pub(crate) tasks: u64,
    pub(crate) groups: u64,
    pub(crate) took: Duration,
}

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
    let make = |parent: &Pair, names: [&str; 2]| -> Result<Pair> {
        let pair = stage.trees.create(parent, names, &[])?;
        made.add(1);
        Ok(pair)
    };
    let group = make(&stage.trees.root(), [who.name(), who.plan()])?;
    set_limit(&group, who)?;
    memory::settle(stage, who, &group)?;
    cpu::settle(stage, who, &group)?;
    io::settle(&group, who)?;
    let users = match who {
        Who::Api => 0..USERS,
        Who::Analytics | Who::Backup => 0..0,
    };
    let users =
        users.map(|user| make(&group, [&format!("user-{user}"); 2])).collect::<Result<_>>()?;
    if who == Who::Analytics {
        let reports = Reports::begin(stage, &group)?;
        *stage.reports.lock() = Some(reports);
    }
    stage.tenant(who).gate.open(Generation { group, users });
    Ok(())
}

/// Makes `task` a member of the groups of `who` themselves.
///
/// # Errors
///
/// Those of the registry.
pub(crate) fn enter(stage: &Stage, who: Who, task: &Task, groups: &Pair) -> Result<()> {
    stage.trees.join(task, groups)?;
    if who == Who::Backup && !groups.plan.notify_on_release() {
        // Groups inherit it: all of this tenant are left to the release agents. Not before there is a
        // member: a look at a control file would be the last use of a group that is in no other.
        groups.set_notify_on_release(true)?;
    }
    Ok(())
}

/// Binds all controllers to the tree by tenant in one step, with everybody at work in it, and limits
/// the tenants.
///
/// # Errors
///
/// Those of the registry.
pub(crate) fn bind(stage: &Stage) -> Result<Bound> {
    let tops = stage.tops.lock();
    memory::limit_all(stage)?;
    let start = Instant::now();
    let Stage { queries, inflight, memory, cpu, io, .. } = stage;
    stage.trees.tenants.remount(&[queries, inflight, memory, cpu, io])?;
    let took = start.elapsed();
    for who in Who::ALL {
        if let Some(generation) = stage.tenant(who).gate.generation() {
            set_limit(&generation.group, who)?;
            memory::settle(stage, who, &generation.group)?;
            cpu::settle(stage, who, &generation.group)?;
            io::settle(&generation.group, who)?;
        }
    }
    io::share(stage);
    stage.phases.mark(stage);
    drop(tops);
    let groups = stage.trees.tenants.root().descendant_count().into();
    Ok(Bound { tasks: stage.trees.registry.stats().tasks, groups, took })
}

/// Limits what `who` may hold, if the controller is bound.
fn set_limit(group: &Pair, who: Who) -> Result<()> {
    for group in [&group.tenant, &group.plan] {
        match group.write("inflight.max", &limit(who).to_string()) {
            Ok(()) => return Ok(()),
            // It is in the other tree.
            Err(WriteFileError::Unknown(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// How many bytes `who` may hold; more is counted, and held all the same.
pub(crate) const fn limit(who: Who) -> Limit {
    match who {
        Who::Api => Limit::At(1 << 26),
        Who::Analytics => Limit::At(1 << 33),
        Who::Backup => Limit::At(1 << 30),
    }
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
    let group = stage.trees.of(who).with_context(|| format!("{} has no groups", who.name()))?;
    // It keeps the release agents off the tenant's own groups, when its members have left.
    let keep = Held::take(stage, who, vec![group.clone()]);
    let members = u64::try_from(group.tenant.kill()?)?;
    tenant.gate.wait_until_empty();
    if who == Who::Analytics {
        cpu::end_killed_reports(stage)?;
    }
    if who == Who::Backup {
        stage.buffers.clear();
    }

    let held = Held::take(stage, who, group.descendants_post(&stage.trees));
    let outlived = u64::try_from(held.len())?;
    operation::send(dropper, who, keep.into_receipts())?;
    flush(dropper)?;
    // Nobody works here, and all that was charged is given back, but for what we hold.
    held.audit(stage)?;
    memory::audit(stage, held.pairs());
    be_refused(stage, held.pairs())?;

    let tops = stage.tops.lock();
    detach(stage, who, held.pairs())?;
    open(stage, who)?;
    drop(tops);
    operation::send(dropper, who, held.into_receipts())?;

    let tally = &tenant.tally;
    tally.kills.add(1);
    tally.told.add(members);
    tally.outlived.add(outlived);
    Ok(Killed { who, members, groups: outlived, outlived, took: start.elapsed() })
}

/// Detaches `pairs`, which are all of a tenant, in one step.
///
/// # Errors
///
/// Those of removing groups.
pub(crate) fn detach(stage: &Stage, who: Who, pairs: &[Pair]) -> Result<()> {
    stage.trees.remove(pairs, Removal::Detach)?;
    stage.tenant(who).tally.groups_detached.add(u64::try_from(pairs.len())?);
    Ok(())
}

/// Tries to remove `pairs` strictly, which references forbid.
fn be_refused(stage: &Stage, pairs: &[Pair]) -> Result<()> {
    match stage.trees.remove(pairs, Removal::Strict) {
        Err(EditError::Remove(RemoveError::InUse { .. })) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(()) => bail!("groups were removed strictly while references were out"),
    }
}

/// Waits until all that was sent to be dropped is.
fn flush(dropper: &Sender<Batch>) -> Result<()> {
    let (asker, answer) = crossbeam_channel::bounded(1);
    let died = "the thread that drops references ended early";
    dropper.send(Batch::Flush(asker)).ok().context(died)?;
    answer.recv().context(died)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::{
        soak::{dropper, mover::Moves, stage::tests::small_stage},
        sync::thread,
    };

    #[test]
    fn a_killed_tenant_is_detached_and_made_again_in_either_tree() {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        let (sender, batches) = crossbeam_channel::unbounded();
        for who in Who::ALL {
            open(&stage, who).unwrap();
        }
        let bound = bind(&stage).unwrap();
        // The reports are members.
        assert_eq!((bound.tasks, bound.groups), (2, 13));
        thread::scope(|scope| {
            scope.spawn(|| dropper::drop_references(&stage, &batches));
            let sender = sender;
            for (who, groups, members) in
                [(Who::Api, 9, 0), (Who::Analytics, 3, 2), (Who::Backup, 1, 0)]
            {
                let before = stage.trees.of(who).unwrap();
                let killed = kill(&stage, who, &sender).unwrap();
                assert_eq!((killed.groups, killed.outlived), (groups, groups));
                assert_eq!(killed.members, members);
                assert_eq!(stage.tenant(who).tally.heard.get(), members);
                let after = stage.trees.of(who).unwrap();
                assert_ne!(
                    (before.tenant.id(), before.plan.id()),
                    (after.tenant.id(), after.plan.id())
                );
                let task = stage.trees.registry.create_task("worker").unwrap();
                enter(&stage, who, &task, &after).unwrap();
                assert_eq!(after.plan.notify_on_release(), who == Who::Backup);
                let mut moves = Moves::new();
                moves.rebind(&stage);
                assert_eq!((moves.done, moves.refusal), (1, None));
                assert_eq!((moves.css_compared, moves.css_changed), (52, 0));
                assert_eq!((moves.limits_read, moves.limits_lost), (3, 0));
            }
        });
        assert_eq!(stage.trees.registry.stats().removals_refused, 3);
        assert_eq!((stage.audited.get(), stage.misread.get()), (26, 0));
        let dropped = Who::ALL.map(|who| stage.tenant(who).tally.dropped.get());
        assert_eq!(dropped, [10, 4, 2]);
    }

    #[test]
    fn a_usage_that_is_not_in_the_books_is_found() {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        open(&stage, Who::Api).unwrap();
        bind(&stage).unwrap();
        let pairs = stage.trees.of(Who::Api).unwrap().descendants_post(&stage.trees);
        let held = Held::take(&stage, Who::Api, pairs);
        held.audit(&stage).unwrap();
        assert_eq!((stage.audited.get(), stage.misread.get()), (9, 0));

        // The user's group and the tenant's are wrong by it.
        let payer = stage.trees.css(&stage.inflight, &held.pairs()[0]).unwrap();
        let stray = crate::soak::inflight::hold(&payer, 1);
        held.audit(&stage).unwrap();
        assert_eq!((stage.audited.get(), stage.misread.get()), (18, 2));
        drop(stray);
    }
}
