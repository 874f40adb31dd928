//! Figures: what was used, what was held back, and for how long work waited.
//!
//! Usage, slices and quotas are the tree's. How long work waited is `wait.rs`'s; what happened rarely is `rare.rs`'s.

use std::time::Duration;

use crate::{css::CpuCss, rare::Kind, tree::NodeStats};

/// A group's figures, of the group and all below it unless they say otherwise.
///
/// They only grow; what a group used that is gone stays with those above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct CpuStats {
    /// CPU time that was charged. What runs is charged at the end of its slice.
    #[doc(alias = "usage_usec")]
    pub usage: Duration,
    /// The same of the group itself.
    pub own_usage: Duration,
    /// Time in which something waited for a CPU, or for the quota.
    ///
    /// However much it was that waited: this is wall time, and no more than has passed.
    #[doc(alias = "wait_sum")]
    pub wait: Duration,
    /// The same of the group itself.
    pub own_wait: Duration,
    /// Slices that were run.
    pub slices: u64,
    /// Slices of the group itself, and of the group among its siblings, after which more was owed than is
    /// remembered.
    pub overruns: u64,
    /// Polls that took longer than [`CpuBuilder::long_poll`](crate::CpuBuilder::long_poll) says.
    pub nr_long_polls: u64,
    /// The same of the group itself.
    pub own_nr_long_polls: u64,
    /// Slices that were run out of turn, as no worker was free.
    pub nr_rescues: u64,
    /// The same of the group itself.
    pub own_nr_rescues: u64,
    /// Periods of the group's quota in which something was charged.
    pub nr_periods: u64,
    /// How often work that waited was held back by the group's quota.
    pub nr_throttled: u64,
    /// How long work that waited was held back by the group's quota: wall time.
    #[doc(alias = "throttled_usec")]
    pub throttled: Duration,
    /// Periods in which more than the group's quota was used, out of what had been saved up.
    pub nr_bursts: u64,
    /// How much more than the quota that was.
    #[doc(alias = "burst_usec")]
    pub burst: Duration,
}

impl CpuCss {
    /// Returns the figures, of one moment.
    ///
    /// # Concurrency
    ///
    /// Reads the clock and takes the scheduler's lock, for no longer with more groups.
    #[must_use]
    #[doc(alias = "cpu.stat")]
    pub fn stats(&self) -> CpuStats {
        let leaf = &self.leaf;
        let (node, [own_wait, wait]) = self.shared.sched.with(|tree, now| {
            let now = tree.go_on(now);
            // The node of a css is there as long as the css.
            (tree.stats(leaf.node).unwrap_or_default(), leaf.wait.read(now))
        });
        let [own_nr_long_polls, nr_long_polls] = leaf.count(Kind::LongPoll);
        let [own_nr_rescues, nr_rescues] = leaf.count(Kind::Rescue);
        let NodeStats { usage, own_usage, slices, overruns, .. } = node;
        let NodeStats { nr_periods, nr_throttled, throttled, nr_bursts, burst, .. } = node;
        let [usage, own_usage, wait, own_wait, throttled, burst] =
            [usage, own_usage, wait, own_wait, throttled, burst].map(Duration::from_nanos);
        CpuStats {
            usage,
            own_usage,
            wait,
            own_wait,
            slices,
            overruns,
            nr_long_polls,
            own_nr_long_polls,
            nr_rescues,
            own_nr_rescues,
            nr_periods,
            nr_throttled,
            throttled,
            nr_bursts,
            burst,
        }
    }

    /// Returns how much CPU time was charged to the group and all below it.
    #[must_use]
    #[doc(alias = "cpuacct.usage")]
    pub fn usage(&self) -> Duration {
        self.stats().usage
    }

    /// Returns whether a quota, of the group or above it, holds the group back now.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.shared.sched.with(|tree, _| tree.is_throttled(self.leaf.node))
    }
}
