//! What is asked of a tree, and what comes of it.

use std::fmt;

use super::arena::Key;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "bytes come or go")]
pub enum Direction {
    /// From the device.
    Read,
    /// To the device.
    Write,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Read, Self::Write];
}

/// An operation on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Request {
    /// Which way.
    pub direction: Direction,
    /// How many bytes; 0 is fine.
    pub bytes: u64,
    /// What it costs the device, in nanoseconds: what shares are shares of. 0 counts as 1.
    pub cost: u64,
}

impl Request {
    /// An operation of `bytes` that takes the device `cost` nanoseconds.
    pub const fn new(direction: Direction, bytes: u64, cost: u64) -> Self {
        Self { direction, bytes, cost }
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name(pub(super) Key);

        impl $name {
            /// The place in the tree: small, and given again when what it names is gone. For tables
            /// beside the tree.
            pub const fn index(self) -> usize {
                self.0.index as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}.{}", self.0.index, self.0.generation)
            }
        }
    };
}

id! {
    /// Names a node of one tree; a name is never given again, its place is.
    #[doc(alias = "blkg")]
    NodeId
}
id! {
    /// Names a flow: one stream of requests that are served in their order. Flows of a node share equally.
    FlowId
}
id! {
    /// Names a request that waits.
    TicketId
}

/// How long a request waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waited {
    /// For a limit, in nanoseconds. If limits of several levels hold it back one after the other,
    /// their times add up; never more than all the time.
    pub limit: u64,
    /// For its turn or for a place in flight, in nanoseconds: the rest.
    pub queue: u64,
}

impl Waited {
    /// All of it, in nanoseconds.
    pub const fn total(&self) -> u64 {
        self.limit.saturating_add(self.queue)
    }
}

/// A request may go to the device now: everything is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// Which one. The name is no longer valid.
    pub ticket: TicketId,
    /// How long it waited.
    pub waited: Waited,
}

/// Tokens that were taken ahead, to be used without the tree.
///
/// A field is its greatest value if no limit counts it: nothing was taken then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "bytes and operations are all that limits count")]
pub struct Lease {
    /// Operations, at most 2^31 - 1.
    pub ops: u32,
    /// Bytes.
    pub bytes: u32,
}

impl Lease {
    /// As many operations as a lease can have.
    pub const OPS_MAX: u32 = (1 << 31) - 1;
    /// As many bytes as a lease can have.
    pub const BYTES_MAX: u32 = u32::MAX;
}

/// What was granted and is given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a charge has no other parts")]
pub struct Amount {
    /// Bytes.
    pub bytes: u64,
    /// Operations.
    pub ops: u64,
    /// Nanoseconds of device time.
    pub cost: u64,
}

/// What was charged to a node and all below it, less what was given back. Leases are not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStats {
    /// Bytes of reads and of writes.
    pub bytes: [u64; 2],
    /// Reads and writes.
    pub ops: [u64; 2],
    /// Nanoseconds of device time.
    pub cost: u64,
    /// How often requests were held back by a limit of this node.
    pub throttled: u64,
}
