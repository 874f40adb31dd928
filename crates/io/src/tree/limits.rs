//! What can be limited, and what can be reserved.

use fief_core::Limit;

use super::{TreeError, settings::TreeSettings};

/// The greatest rate: 2^63 - 1 a second.
pub const RATE_MAX: u64 = i64::MAX as u64;

/// Nanoseconds of rate that a burst is if nobody says otherwise: 10 ms.
const BURST_NS: u128 = 10_000_000;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "bytes and operations of reads, writes and both")]
pub enum Dimension {
    /// Bytes read.
    Rbps,
    /// Bytes written.
    Wbps,
    /// Reads.
    Riops,
    /// Writes.
    Wiops,
    /// Bytes read or written.
    Bps,
    /// Reads and writes.
    Iops,
}

impl Dimension {
    /// All of them, in the order in which control files name them.
    pub const ALL: [Self; 6] =
        [Self::Rbps, Self::Wbps, Self::Riops, Self::Wiops, Self::Bps, Self::Iops];

    /// The name in control files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rbps => "rbps",
            Self::Wbps => "wbps",
            Self::Riops => "riops",
            Self::Wiops => "wiops",
            Self::Bps => "bps",
            Self::Iops => "iops",
        }
    }

    /// Whether it counts bytes, not operations.
    pub const fn is_bytes(self) -> bool {
        matches!(self, Self::Rbps | Self::Wbps | Self::Bps)
    }
}

/// The most that a group and all below it may do: six rates a second, each with a burst.
///
/// A rate is 1 to 2^63 - 1 a second, or none, the default. A burst is what may be used at once after
/// a pause, in bytes or operations; the default is 10 ms of the rate, and at least one quantum of
/// the tree or one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    rates: [Limit; 6],
    bursts: [Option<u64>; 6],
}

impl Default for Limits {
    fn default() -> Self {
        Self::MAX
    }
}

macro_rules! rate {
    ($($(#[$doc:meta])* $name:ident $dimension:ident;)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub const fn $name(self, rate: u64) -> Self {
                self.with(Dimension::$dimension, Limit::At(rate))
            }
        )*
    };
}

impl Limits {
    /// No limit at all.
    pub const MAX: Self = Self { rates: [Limit::Max; 6], bursts: [None; 6] };

    /// No limit at all, to begin with.
    #[must_use]
    pub const fn new() -> Self {
        Self::MAX
    }

    rate! {
        /// These limits with at most this many bytes read a second.
        rbps Rbps;
        /// These limits with at most this many bytes written a second.
        wbps Wbps;
        /// These limits with at most this many reads a second.
        riops Riops;
        /// These limits with at most this many writes a second.
        wiops Wiops;
        /// These limits with at most this many bytes read or written a second.
        bps Bps;
        /// These limits with at most this many reads and writes a second.
        iops Iops;
    }

    /// These limits with another rate a second.
    #[must_use]
    pub const fn with(mut self, dimension: Dimension, rate: Limit) -> Self {
        self.rates[dimension as usize] = rate;
        self
    }

    /// These limits with another burst, in bytes or operations; `None` for the default.
    #[must_use]
    pub const fn with_burst(mut self, dimension: Dimension, burst: Option<u64>) -> Self {
        self.bursts[dimension as usize] = burst;
        self
    }

    /// The rate a second.
    pub const fn rate(&self, dimension: Dimension) -> Limit {
        self.rates[dimension as usize]
    }

    /// The burst, if it is not the default.
    pub const fn burst(&self, dimension: Dimension) -> Option<u64> {
        self.bursts[dimension as usize]
    }

    /// Whether nothing is limited.
    pub fn is_max(&self) -> bool {
        self.rates == Self::MAX.rates
    }

    /// Whether all of this can be held.
    ///
    /// # Errors
    ///
    /// [`TreeError::Rate`] if a rate is 0 or above 2^63 - 1.
    pub fn check(&self) -> Result<(), TreeError> {
        for dimension in Dimension::ALL {
            if let Limit::At(rate) = self.rate(dimension)
                && !(1..=RATE_MAX).contains(&rate)
            {
                return Err(TreeError::Rate { dimension, rate });
            }
        }
        Ok(())
    }

    /// What may be used at once.
    pub(super) fn burst_of(&self, dimension: Dimension, settings: &TreeSettings) -> u64 {
        self.burst(dimension).unwrap_or_else(|| {
            let Limit::At(rate) = self.rate(dimension) else { return 0 };
            let least = if dimension.is_bytes() { settings.quantum() } else { 1 };
            let burst = u128::from(rate) * BURST_NS / 1_000_000_000;
            u64::try_from(burst).unwrap_or(u64::MAX).max(least)
        })
    }

    /// The most bytes and operations a second that can come of these limits.
    pub(super) fn most(&self) -> [Limit; 2] {
        let sum = |read: Dimension, write: Dimension, both: Dimension| {
            let parts = match (self.rate(read), self.rate(write)) {
                (Limit::At(read), Limit::At(write)) => Limit::At(read.saturating_add(write)),
                (Limit::Max, _) | (_, Limit::Max) => Limit::Max,
            };
            parts.min(self.rate(both))
        };
        [
            sum(Dimension::Rbps, Dimension::Wbps, Dimension::Bps),
            sum(Dimension::Riops, Dimension::Wiops, Dimension::Iops),
        ]
    }
}

/// What a group and all below it get before weights are looked at: bytes and operations a second.
///
/// 0, the default, reserves nothing; at most 2^63 - 1. While less than that came of either, requests
/// of the group go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "what is reserved is bytes and operations")]
pub struct Min {
    /// Bytes a second, of reads and writes.
    pub bps: u64,
    /// Reads and writes a second.
    pub iops: u64,
}

/// What is reserved, by its name and as a limit.
pub(super) const KINDS: [(&str, Dimension); 2] =
    [("bps", Dimension::Bps), ("iops", Dimension::Iops)];

impl Min {
    /// Nothing is reserved.
    pub const NONE: Self = Self { bps: 0, iops: 0 };

    /// By kind, as in [`KINDS`].
    pub(super) const fn rates(self) -> [u64; 2] {
        [self.bps, self.iops]
    }
}
