//! What somebody wants to do: read, write or discard so many bytes, and where.

use std::fmt;

use crate::tree::Direction;

/// An operation on a device: one request, of so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Op {
    pub(crate) kind: Kind,
    pub(crate) bytes: u64,
    pub(crate) offset: Option<u64>,
}

/// What an operation does.
///
/// As wide as a word: a copy of what is padded is made of parts that overlap, which processors wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Kind {
    Read,
    Write,
    Discard,
}

impl Op {
    /// Returns a read of so many bytes.
    #[inline]
    pub const fn read(bytes: u64) -> Self {
        Self { kind: Kind::Read, bytes, offset: None }
    }

    /// Returns a write of so many bytes.
    #[inline]
    pub const fn write(bytes: u64) -> Self {
        Self { kind: Kind::Write, bytes, offset: None }
    }

    /// Returns a discard of so many bytes: limited as a write, and counted apart.
    #[doc(alias = "REQ_OP_DISCARD")]
    pub const fn discard(bytes: u64) -> Self {
        Self { kind: Kind::Discard, bytes, offset: None }
    }

    /// Sets where in the file or on the device it begins, in bytes: what is far from the operation before is dearer, by
    /// the device's [cost model](crate::CostModel).
    pub const fn at(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }

    /// Returns how many bytes it is about.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    #[inline]
    pub(crate) const fn direction(self) -> Direction {
        self.kind.direction()
    }
}

impl Kind {
    #[inline]
    pub(crate) const fn direction(self) -> Direction {
        match self {
            Self::Read => Direction::Read,
            Self::Write | Self::Discard => Direction::Write,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Read => "read",
            Kind::Write => "write",
            Kind::Discard => "discard",
        };
        write!(f, "{kind} of {} bytes", self.bytes)
    }
}
