//! What holds for a whole tree.

use std::num::{NonZeroU32, NonZeroU64};

use super::error::SettingsError;

const QUANTUM: u64 = 64 << 10;
const QUANTUM_MIN: u64 = 512;
const QUANTUM_MAX: u64 = 1 << 30;
const PIECES_MAX: u64 = 1_024;
const TAU: u64 = 5_000_000;
const TAU_MAX: u64 = 1_000_000_000;
const CREDIT: u64 = 100_000_000;
const CREDIT_MAX: u64 = 10_000_000_000;

/// How much may be in flight, in what pieces large requests are charged, and what is remembered.
///
/// The default: no bound in flight, pieces of 64 KiB, 5 ms of memory for who comes back, 100 ms of
/// credit for a limit that nobody looked at in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeSettings {
    pub(super) depth: Option<NonZeroU32>,
    pub(super) max_cost: Option<NonZeroU64>,
    quantum: u64,
    tau: u64,
    credit: u64,
}

impl Default for TreeSettings {
    fn default() -> Self {
        Self { depth: None, max_cost: None, quantum: QUANTUM, tau: TAU, credit: CREDIT }
    }
}

impl TreeSettings {
    /// These settings with at most this many requests in flight; `None` for no bound.
    #[must_use]
    pub const fn with_depth(self, depth: Option<NonZeroU32>) -> Self {
        Self { depth, ..self }
    }

    /// These settings with requests granted only while those in flight cost less than this, in
    /// nanoseconds of device time; `None` for no bound. A request always fits an empty device.
    #[must_use]
    pub const fn with_max_cost(self, max_cost: Option<NonZeroU64>) -> Self {
        Self { max_cost, ..self }
    }

    /// These settings with larger requests charged in pieces of this many bytes: 512 to 2^30. Of a
    /// request so large that it were more than 1,024 of them, a piece is a 1,024th.
    ///
    /// Smaller ones are fairer over short times, larger ones cost less.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] out of that range.
    pub fn with_quantum(self, quantum: u64) -> Result<Self, SettingsError> {
        let is_fine = (QUANTUM_MIN..=QUANTUM_MAX).contains(&quantum);
        let refused = SettingsError {
            what: "quantum",
            value: quantum,
            least: QUANTUM_MIN,
            most: QUANTUM_MAX,
        };
        if is_fine { Ok(Self { quantum, ..self }) } else { Err(refused) }
    }

    /// These settings with a group that had nothing to do coming back no further behind the others
    /// than they came in this time, in nanoseconds: at most 1 s.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] if it is more.
    pub fn with_tau(self, tau: u64) -> Result<Self, SettingsError> {
        let refused = SettingsError { what: "tau", value: tau, least: 0, most: TAU_MAX };
        if tau <= TAU_MAX { Ok(Self { tau, ..self }) } else { Err(refused) }
    }

    /// These settings with what comes in for a limit while requests wait kept for this time, in
    /// nanoseconds, if that is more than the burst: at most 10 s. The same holds for reservations.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] if it is more.
    pub fn with_credit(self, credit: u64) -> Result<Self, SettingsError> {
        let refused = SettingsError { what: "credit", value: credit, least: 0, most: CREDIT_MAX };
        if credit <= CREDIT_MAX { Ok(Self { credit, ..self }) } else { Err(refused) }
    }

    /// How many requests may be in flight.
    pub const fn depth(&self) -> Option<NonZeroU32> {
        self.depth
    }

    /// How much what is in flight may cost, in nanoseconds of device time.
    pub const fn max_cost(&self) -> Option<NonZeroU64> {
        self.max_cost
    }

    /// The pieces in which a large request is charged, in bytes.
    pub const fn quantum(&self) -> u64 {
        self.quantum
    }

    /// The pieces of a request of so many bytes: as large as it takes to have a bounded number of them.
    pub(super) fn piece(&self, bytes: u64) -> u64 {
        self.quantum.max(bytes.div_ceil(PIECES_MAX))
    }

    /// How far behind a group that comes back may be, in nanoseconds.
    pub const fn tau(&self) -> u64 {
        self.tau
    }

    /// How long unused tokens are kept while requests wait, in nanoseconds.
    pub const fn credit(&self) -> u64 {
        self.credit
    }

    /// Whether anything bounds what is in flight.
    pub const fn is_scheduled(&self) -> bool {
        self.depth.is_some() || self.max_cost.is_some()
    }
}
