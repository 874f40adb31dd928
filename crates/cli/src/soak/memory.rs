//! How much memory there is for the tenants, and who may have how much of it.
//!
//! `memory` stays in the tree by tenant, wherever the other controllers are. There is less than everybody would
//! use: two large sorts do not fit, and what `backup` keeps for comparing takes the rest, but gives way. What tenant
//! `analytics` may have is lowered now and then, at work, so far that two sorts that wait for each other may fill
//! it: one of them is the victim then.

use std::mem;

use anyhow::{Context as _, Result};
use fief_core::{CssRef, Limit};
use fief_memory::MemoryCss;

use crate::{
    soak::{
        audit,
        pair::Pair,
        stage::{Stage, Who},
    },
    sync::Arc,
    workload::sort,
};

/// How much memory there is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// For all tenants.
    pub(crate) all: u64,
    /// For tenant `analytics`, but when it is squeezed.
    pub(crate) analytics: u64,
    /// And when it is.
    pub(crate) squeezed: u64,
    /// The least that is worth writing to a file.
    pub(crate) piece: u64,
}

/// What becomes of the limit of tenant `analytics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Squeeze,
    Ease,
}

/// A limit that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) path: String,
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// Bytes in use at that moment.
    pub(crate) used: u64,
}

/// What is in use, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) all: u64,
    /// By tenant `analytics`, and how much that may have.
    pub(crate) analytics: (u64, u64),
    /// By what tenant `backup` keeps.
    pub(crate) backup: u64,
}

impl Usage {
    /// What is in use now.
    pub(crate) fn of(stage: &Stage) -> Self {
        let used = |css: &CssRef<MemoryCss>| (css.current(), bytes(css.max()));
        let group = stage.trees.of(Who::Analytics);
        let analytics = group.and_then(|group| of(stage, &group));
        Self {
            all: stage.memory.root().map_or(0, |root| root.current()),
            analytics: analytics.as_ref().map_or((0, 0), used),
            backup: stage.buffers.bytes(),
        }
    }
}

impl Budget {
    /// The budget for tenants who work on so many rows.
    pub(crate) fn of(rows: usize) -> Self {
        let sort = sort::bytes(rows) as u64;
        Self { all: sort * 8 / 5, analytics: sort, squeezed: sort * 2 / 5, piece: sort / 16 }
    }
}

/// Sets what `who` may have in its new `group`, if the controller is bound, and has its buffers give way there.
///
/// # Errors
///
/// Those of the registry.
pub(crate) fn settle(stage: &Stage, who: Who, group: &Pair) -> Result<()> {
    if bound(stage).is_none() {
        return Ok(());
    }
    match who {
        Who::Api => {}
        Who::Analytics => {
            group.tenant.write(MAX, &Limit::At(stage.budget.analytics).to_string())?;
        }
        Who::Backup => {
            let buffers = Arc::clone(&stage.buffers);
            let guard = of(stage, group).map(|css| css.add_reclaimer(buffers));
            let before = mem::replace(&mut *stage.giving_way.lock(), guard);
            drop(before);
        }
    }
    Ok(())
}

/// Limits what all may have, before the controller is bound.
///
/// # Errors
///
/// Those of the registry.
pub(crate) fn limit_all(stage: &Stage) -> Result<()> {
    let root = stage.memory.root().context("memory is registered")?;
    root.set_max(Limit::At(stage.budget.all));
    Ok(())
}

/// Changes what tenant `analytics` may have, at work; `None` if it has no group, or the controller is not bound.
///
/// # Errors
///
/// Those of the registry.
pub(crate) fn turn(stage: &Stage, turn: Turn) -> Result<Option<Changed>> {
    let to = match turn {
        Turn::Squeeze => stage.budget.squeezed,
        Turn::Ease => stage.budget.analytics,
    };
    let Some(group) = stage.trees.of(Who::Analytics) else { return Ok(None) };
    let Some(css) = of(stage, &group) else { return Ok(None) };
    let (from, used) = (bytes(css.max()), css.current());
    group.tenant.write(MAX, &Limit::At(to).to_string())?;
    stage.tenant(Who::Analytics).tally.limits_changed.add(1);
    Ok(Some(Changed { path: group.tenant.path(), from, to, used }))
}

/// Compares what each of `pairs` has with what it must have: nothing, as nobody works there.
pub(crate) fn audit(stage: &Stage, pairs: &[Pair]) {
    for css in pairs.iter().filter_map(|pair| stage.memory.css(&pair.tenant)) {
        audit::compare(stage, css.current(), 0);
    }
}

/// Returns the memory of the group by tenant, if the controller is bound.
pub(crate) fn of(stage: &Stage, group: &Pair) -> Option<CssRef<MemoryCss>> {
    bound(stage)?;
    stage.memory.css(&group.tenant)
}

/// The file by which limits are set.
const MAX: &str = "memory.max";

fn bytes(limit: Limit) -> u64 {
    match limit {
        Limit::At(bytes) => bytes,
        Limit::Max => u64::MAX,
    }
}

fn bound(stage: &Stage) -> Option<()> {
    stage.memory.hierarchy().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::soak::{mover::Moves, stage::tests::small_stage, tree};

    fn stage() -> Stage {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        Who::ALL.into_iter().for_each(|who| tree::open(&stage, who).unwrap());
        stage
    }

    #[test]
    fn limits_are_there_from_the_bind_on_and_for_groups_that_are_made_again() {
        let stage = stage();
        assert_eq!(turn(&stage, Turn::Squeeze).unwrap(), None);
        tree::bind(&stage).unwrap();
        let Budget { all, analytics, squeezed, .. } = stage.budget;
        assert!(squeezed < analytics && analytics < all);
        assert_eq!(stage.memory.root().unwrap().max(), Limit::At(all));
        let usage = Usage { all: 0, analytics: (0, analytics), backup: 0 };
        assert_eq!(Usage::of(&stage), usage);

        let group = stage.trees.of(Who::Analytics).unwrap();
        crate::soak::cpu::end_reports(&stage).unwrap();
        tree::detach(&stage, Who::Analytics, &group.descendants_post(&stage.trees)).unwrap();
        assert_eq!(turn(&stage, Turn::Squeeze).unwrap(), None);
        tree::open(&stage, Who::Analytics).unwrap();
        assert_eq!(Usage::of(&stage), usage);
    }

    #[test]
    fn a_limit_changes_in_the_tree_by_tenant_wherever_the_others_are() {
        let stage = stage();
        tree::bind(&stage).unwrap();
        Moves::new().rebind(&stage);
        let group = stage.trees.of(Who::Analytics).unwrap();
        let css = of(&stage, &group).unwrap();
        css.charge_forced(77);
        let Budget { analytics, squeezed, .. } = stage.budget;
        let path = "/analytics".to_owned();
        let changed = Changed { path, from: analytics, to: squeezed, used: 77 };
        assert_eq!(turn(&stage, Turn::Squeeze).unwrap(), Some(changed.clone()));
        let changed = Changed { from: squeezed, to: analytics, ..changed };
        assert_eq!(turn(&stage, Turn::Ease).unwrap(), Some(changed));
        assert_eq!(stage.tenant(Who::Analytics).tally.limits_changed.get(), 2);

        // What is left in a group where nobody works is found.
        audit(&stage, &[group]);
        assert_eq!((stage.audited.get(), stage.misread.get()), (1, 1));
        css.uncharge(77);
    }
}
