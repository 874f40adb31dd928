//! What the tree refuses.

use fief_core::Limit;
use thiserror::Error as ThisError;

use super::{Dimension, FlowId, NodeId, RATE_MAX, WEIGHT_MAX, WEIGHT_MIN};

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
    /// The flow is closed, or its node is removed.
    #[error("flow {flow} is closed, or its node is removed")]
    Closed {
        /// The flow.
        flow: FlowId,
    },
    /// The root competes with nobody and stays.
    #[error("the root of a tree has no {what}")]
    Root {
        /// What it does not have.
        what: &'static str,
    },
    /// A node with children cannot be removed.
    #[error("node {node} has {children} children")]
    Children {
        /// The node.
        node: NodeId,
        /// How many there are.
        children: u32,
    },
    /// A weight is out of range.
    #[error("weight {weight} of node {node}: it must be {WEIGHT_MIN} to {WEIGHT_MAX}")]
    Weight {
        /// The node.
        node: NodeId,
        /// What was asked for.
        weight: u32,
    },
    /// A rate is out of range.
    #[error("{} of {rate}: it must be 1 to {RATE_MAX}, or max", .dimension.name())]
    Rate {
        /// What was to be limited.
        dimension: Dimension,
        /// What was asked for, a second.
        rate: u64,
    },
    /// More is reserved than there is.
    #[error("min {what} of {min} for node {node}, {sum} with its siblings: {above} has {most}")]
    Min {
        /// The node.
        node: NodeId,
        /// `bps` or `iops`.
        what: &'static str,
        /// What was asked for, a second.
        min: u64,
        /// What all children of the same parent would have reserved, a second.
        sum: u128,
        /// Whose reservation or limit it exceeds: its own or its parent's.
        above: NodeId,
        /// What that is.
        most: Limit,
    },
    /// Less is to be reserved than the children have.
    #[error("min {what} of {min} for node {node}: its children have {sum}")]
    MinBelow {
        /// The node.
        node: NodeId,
        /// `bps` or `iops`.
        what: &'static str,
        /// What was asked for, a second.
        min: u64,
        /// What its children have reserved, a second.
        sum: u128,
    },
    /// All ids of a kind are taken.
    #[error("a tree has at most {most} {what}")]
    Full {
        /// Nodes, flows or tickets.
        what: &'static str,
        /// How many there can be.
        most: u32,
    },
}

/// A setting of a tree is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[error("a {what} of {value}: it must be {least} to {most}")]
#[non_exhaustive]
pub struct SettingsError {
    /// Which one.
    pub what: &'static str,
    /// What was asked for.
    pub value: u64,
    /// The least one.
    pub least: u64,
    /// The greatest one.
    pub most: u64,
}

/// Why a request is not granted now; nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum Blocked {
    /// A limit of the node or above it has not enough left.
    #[error("a limit of node {node} is reached")]
    Limit {
        /// Where the limit is.
        node: NodeId,
        /// When it has enough, if nobody else comes before: nanoseconds of the caller's clock.
        until: u64,
    },
    /// Others that could be served wait.
    #[error("others wait")]
    Queue,
    /// As much is in flight as there may be.
    #[error("as much is in flight as the depth allows")]
    Depth,
    /// The flow is closed, or its node is removed.
    #[error("flow {flow} is closed, or its node is removed")]
    Closed {
        /// The flow.
        flow: FlowId,
    },
}
