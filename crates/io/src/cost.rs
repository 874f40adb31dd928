//! What an operation costs a device: a linear model, as of Linux's iocost.

use crate::op::{Kind, Op};

/// What operations cost a device, in nanoseconds of its time: so much for each, and so much for each byte.
///
/// Shares of a device are shares of its time. The model need not be right to the nanosecond: what counts is how dear
/// small operations are beside large ones, and random ones beside sequential ones. Default: 50 µs a
/// random operation, 10 µs a sequential one, and a nanosecond a byte, read or written.
///
/// Source: the linear model of `block/blk-iocost.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[doc(alias = "io.cost.model")]
#[cfg_attr(not(loom), expect(clippy::exhaustive_structs, reason = "a model is its numbers"))]
pub struct CostModel {
    /// Of reads.
    pub read: OpCost,
    /// Of writes and discards.
    pub write: OpCost,
}

/// What operations of one direction cost, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[cfg_attr(not(loom), expect(clippy::exhaustive_structs, reason = "a model is its numbers"))]
pub struct OpCost {
    /// An operation near the one before.
    pub sequential: u64,
    /// An operation more than [`CostModel::FAR`] away from the end of the one before.
    pub random: u64,
    /// 1,024 bytes.
    pub kib: u64,
}

impl CostModel {
    /// What is further away than this is random, in bytes: 16 MiB.
    pub const FAR: u64 = 16 << 20;

    /// Nothing but bytes counts, for streams and buckets: a nanosecond each.
    pub const BYTES: Self = {
        let cost = OpCost { sequential: 0, random: 0, kib: 1_024 };
        Self { read: cost, write: cost }
    };

    /// Returns what an operation costs, in nanoseconds, where the one before ended at `cursor`.
    ///
    /// One of unknown place is sequential.
    #[must_use]
    pub fn cost(&self, op: Op, cursor: Option<u64>) -> u64 {
        let of = match op.kind {
            Kind::Read => self.read,
            Kind::Write | Kind::Discard => self.write,
        };
        let is_random = match (op.offset, cursor) {
            (Some(offset), Some(cursor)) => offset.abs_diff(cursor) > Self::FAR,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let fixed = if is_random { of.random } else { of.sequential };
        let bytes = u128::from(op.bytes) * u128::from(of.kib) / 1_024;
        fixed.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

impl Default for CostModel {
    fn default() -> Self {
        let cost = OpCost { sequential: 10_000, random: 50_000, kib: 1_024 };
        Self { read: cost, write: cost }
    }
}
