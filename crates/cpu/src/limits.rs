//! What a group is promised, and what it may use at most.
//!
//! All of it is kept by the tree, and changes under the scheduler's lock: the next pick goes by it. A quota
//! that is raised may let in who was held back, so a sleeper is called for that.

use std::time::Duration;

use crate::{
    css::CpuCss,
    error::SettingError,
    time::nanos,
    trace,
    tree::{Bandwidth, BandwidthError, CpuTree, NodeId, TreeError},
};

impl CpuCss {
    /// Returns the weight: 1 to 10,000, and 100 unless it was set. That of a root means nothing.
    #[must_use]
    #[doc(alias = "cpu.weight")]
    pub fn weight(&self) -> u16 {
        self.look(CpuTree::weight, 0)
    }

    /// Sets the weight: how much of its parent's CPU time the group gets beside its siblings that have
    /// something to run, and beside the parent's own members, who weigh 100 together.
    ///
    /// From 1 to 10,000. What the group is ahead or behind stays the same CPU time. Groups of the idle class
    /// share by weight what others leave.
    ///
    /// # Concurrency
    ///
    /// Takes the scheduler's lock, as every setting does. The next slice is given by the new weight; those that
    /// are going on are not cut short.
    ///
    /// # Errors
    ///
    /// Refuses a weight out of range, and a root.
    #[doc(alias = "sched_group_set_shares")]
    pub fn set_weight(&self, weight: u16) -> Result<(), SettingError> {
        let set = |tree: &mut CpuTree, node, now| tree.set_weight(node, weight, now);
        self.set("cpu.weight", weight, set)
    }

    /// Returns whether the group is of the idle class; it is not unless that was set.
    #[must_use]
    #[doc(alias = "cpu.idle")]
    pub fn idle(&self) -> bool {
        self.look(CpuTree::is_idle, false)
    }

    /// Sets whether the group runs only when no sibling that is not idle has something to run, nor the parent
    /// itself.
    ///
    /// It is never rescued. What it was ahead or behind goes with it into the other class.
    ///
    /// # Errors
    ///
    /// Refuses a root.
    #[doc(alias = "sched_group_set_idle")]
    #[doc(alias = "SCHED_IDLE")]
    pub fn set_idle(&self, is_idle: bool) -> Result<(), SettingError> {
        let set = |tree: &mut CpuTree, node, now| tree.set_idle(node, is_idle, now);
        self.set("cpu.idle", u8::from(is_idle), set)
    }

    /// Returns how far ahead of its turn the group may be; nothing unless that was set.
    #[must_use]
    pub fn latency(&self) -> Duration {
        Duration::from_nanos(self.look(CpuTree::latency, 0))
    }

    /// Sets how far ahead of its turn the group may be, in CPU time: up to 10 ms.
    ///
    /// For groups that need little, but at once: they are picked before siblings as long as they are not that
    /// much ahead of their share. It moves a group ahead once, not with every slice, so it gains no share.
    ///
    /// # Errors
    ///
    /// Refuses more than 10 ms, and a root.
    #[doc(alias = "sched_attr")]
    #[doc(alias = "latency_nice")]
    pub fn set_latency(&self, latency: Duration) -> Result<(), SettingError> {
        let set = |tree: &mut CpuTree, node, _| tree.set_latency(node, nanos(latency));
        self.set("cpu.latency", latency.as_micros(), set)
    }

    /// Returns the most CPU time that the group and all below it may use; [`Bandwidth::MAX`] unless it was set.
    #[must_use]
    #[doc(alias = "cpu.max")]
    pub fn max(&self) -> Bandwidth {
        self.look(CpuTree::bandwidth, Bandwidth::MAX)
    }

    /// Sets the most CPU time that the group and all below it may use, and how much of it can be saved up.
    ///
    /// A root may have one, too: that is a budget for all that the controller runs. Of several on a path the
    /// least is what counts, as in cgroup v2.
    ///
    /// What was used too much is paid back at the new rate, or forgotten when there is no limit any more. Who was
    /// held back and need not be any more runs at once.
    #[doc(alias = "tg_set_cfs_bandwidth")]
    pub fn set_max(&self, max: Bandwidth) {
        let changed = self.change_max(|_| Ok(max));
        debug_assert!(changed.is_ok(), "nothing was asked of it");
    }

    /// Returns how much can be saved up in quiet times, as part of [`max`](Self::max).
    #[must_use]
    #[doc(alias = "cpu.max.burst")]
    pub fn burst(&self) -> Duration {
        self.max().burst()
    }

    /// Sets how much can be saved up in quiet times, in whole microseconds; the quota stays.
    ///
    /// # Errors
    ///
    /// Refuses more than the quota.
    #[doc(alias = "cpu.max.burst")]
    pub fn set_burst(&self, burst: Duration) -> Result<(), SettingError> {
        let changed = self.change_max(|max| max.with_burst(burst));
        changed.map_err(|source| SettingError::Burst { cgroup: self.leaf.path(), source })
    }

    /// Changes the limit to what `change` makes of it, with nobody else in between.
    pub(crate) fn change_max(
        &self,
        change: impl FnOnce(Bandwidth) -> Result<Bandwidth, BandwidthError>,
    ) -> Result<(), BandwidthError> {
        let node = self.leaf.node;
        let max = self.shared.sched.change(|tree, now| {
            let max = change(tree.bandwidth(node).unwrap_or_default())?;
            let set = tree.set_bandwidth(node, max, now);
            debug_assert!(set.is_ok(), "the node of a css is there");
            Ok(max)
        })?;
        let burst = max.burst().as_micros();
        trace::set("cpu.max", &format_args!("{max} {burst}"), &self.leaf);
        Ok(())
    }

    fn look<T>(&self, of: fn(&CpuTree, NodeId) -> Result<T, TreeError>, gone: T) -> T {
        // The node of a css is there as long as the css.
        self.shared.sched.with(|tree, _| of(tree, self.leaf.node)).unwrap_or(gone)
    }

    fn set(
        &self,
        setting: &'static str,
        value: impl std::fmt::Display,
        set: impl FnOnce(&mut CpuTree, NodeId, u64) -> Result<(), TreeError>,
    ) -> Result<(), SettingError> {
        let done = self.shared.sched.change(|tree, now| set(tree, self.leaf.node, now));
        let cgroup = || self.leaf.path();
        match done {
            Ok(()) => {
                trace::set(setting, &value, &self.leaf);
                Ok(())
            }
            Err(TreeError::Weight { weight, .. }) => {
                Err(SettingError::Weight { cgroup: cgroup(), weight })
            }
            Err(TreeError::Latency { latency, .. }) => Err(SettingError::Latency {
                cgroup: cgroup(),
                latency: Duration::from_nanos(latency),
            }),
            Err(TreeError::Root { .. }) => Err(SettingError::Root { cgroup: cgroup(), setting }),
            Err(TreeError::Removed { .. } | TreeError::Cycle { .. } | TreeError::Full { .. }) => {
                Err(SettingError::Gone { cgroup: cgroup(), setting })
            }
        }
    }
}
