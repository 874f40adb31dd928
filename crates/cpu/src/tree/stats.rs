//! What a tree says about a node.

/// Figures of a node and all below it. Times are nanoseconds of CPU time, but for `throttled`.
///
/// They only grow while the node is there. What a node that is gone used stays with its ancestors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct NodeStats {
    /// CPU time charged to the node and all below it.
    pub usage: u64,
    /// CPU time charged to the node's own work.
    pub own_usage: u64,
    /// Slices settled.
    pub slices: u64,
    /// Slices that ended with more debt than is remembered: what was beyond it is forgotten.
    pub overruns: u64,
    /// Periods of the node's quota in which it used CPU time.
    pub nr_periods: u64,
    /// How often work that waited was held back by the node's quota.
    pub nr_throttled: u64,
    /// How long work that waited was held back by the node's quota, in nanoseconds of the caller's clock.
    pub throttled: u64,
    /// Periods in which the node used more than its quota and one slice, out of what it had saved.
    pub nr_bursts: u64,
    /// How much more than the quota it used in these periods.
    pub burst: u64,
}
