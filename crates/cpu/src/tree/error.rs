//! What the tree refuses.

use thiserror::Error as ThisError;

use super::{LATENCY_MAX, NodeId, WEIGHT_MAX, WEIGHT_MIN};

/// The tree refuses; nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum TreeError {
    /// The node is removed, or is of another tree.
    #[error("node {node} is removed")]
    Removed {
        /// The node.
        node: NodeId,
    },
    /// The root competes with nobody: it has no weight, class or latency, and stays where it is.
    #[error("the root of a tree has no {what}")]
    Root {
        /// What it does not have.
        what: &'static str,
    },
    /// A weight is out of range.
    #[error("weight {weight} of node {node}: it must be {WEIGHT_MIN} to {WEIGHT_MAX}")]
    Weight {
        /// The node.
        node: NodeId,
        /// What was asked for.
        weight: u16,
    },
    /// A latency setting is out of range.
    #[error("latency {latency} ns of node {node}: it must be at most {LATENCY_MAX}")]
    Latency {
        /// The node.
        node: NodeId,
        /// What was asked for, in nanoseconds.
        latency: u64,
    },
    /// A node would become its own descendant.
    #[error("node {node} cannot move below {parent}, which is below it")]
    Cycle {
        /// The node.
        node: NodeId,
        /// Where it was to go.
        parent: NodeId,
    },
    /// All node ids are taken.
    #[error("a tree has at most {most} nodes")]
    Full {
        /// How many there can be.
        most: u32,
    },
}

/// Settings of a tree, or a bandwidth, make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum SettingsError {
    /// The slice is out of range.
    #[error("a slice of {slice} ns: it must be {least} to {most}")]
    Slice {
        /// What was asked for, in nanoseconds.
        slice: u64,
        /// The shortest one.
        least: u64,
        /// The longest one.
        most: u64,
    },
    /// The greatest debt is out of range.
    #[error("a debt of {debt} ns: it must be {least} to {most}, and no less than a slice")]
    Debt {
        /// What was asked for, in nanoseconds.
        debt: u64,
        /// The least one.
        least: u64,
        /// The greatest one.
        most: u64,
    },
}
