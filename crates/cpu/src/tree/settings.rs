//! What holds for a whole tree.

use super::error::SettingsError;

const SLICE: u64 = 200_000;
const SLICE_MIN: u64 = 20_000;
const SLICE_MAX: u64 = 10_000_000;
const DEBT: u64 = 100_000_000;
const DEBT_MAX: u64 = 1_000_000_000;

/// How long a slice is, and how much too much is remembered.
///
/// The default: slices of 200 us, 100 ms of debt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Plain", into = "Plain"))]
pub struct TreeSettings {
    slice: u64,
    debt: u64,
}

impl Default for TreeSettings {
    fn default() -> Self {
        Self { slice: SLICE, debt: DEBT }
    }
}

impl TreeSettings {
    /// These settings with slices of this many nanoseconds of CPU time: 20,000 to 10,000,000.
    ///
    /// Shorter ones are fairer over short times, longer ones cost less.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Slice`] out of that range, [`SettingsError::Debt`] if it is more than the debt.
    pub fn with_slice(self, slice_ns: u64) -> Result<Self, SettingsError> {
        Self { slice: slice_ns, ..self }.checked()
    }

    /// These settings with at most this many nanoseconds of CPU time owed to the siblings: one slice
    /// to 1,000,000,000.
    ///
    /// What a group uses beyond it in one go is forgotten and counted as an overrun, so that one
    /// endless poll does not shut a group out for good.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Debt`] out of that range.
    pub fn with_debt(self, debt_ns: u64) -> Result<Self, SettingsError> {
        Self { debt: debt_ns, ..self }.checked()
    }

    /// How long a slice is, in nanoseconds of CPU time.
    pub const fn slice(&self) -> u64 {
        self.slice
    }

    /// How much a group can owe its siblings, in nanoseconds of CPU time.
    pub const fn debt(&self) -> u64 {
        self.debt
    }

    fn checked(self) -> Result<Self, SettingsError> {
        let Self { slice, debt } = self;
        if !(SLICE_MIN..=SLICE_MAX).contains(&slice) {
            return Err(SettingsError::Slice { slice, least: SLICE_MIN, most: SLICE_MAX });
        }
        if !(slice..=DEBT_MAX).contains(&debt) {
            return Err(SettingsError::Debt { debt, least: slice, most: DEBT_MAX });
        }
        Ok(self)
    }
}

/// The settings as data that nobody has looked at.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
struct Plain {
    slice_ns: u64,
    debt_ns: u64,
}

#[cfg(feature = "serde")]
impl From<TreeSettings> for Plain {
    fn from(settings: TreeSettings) -> Self {
        Self { slice_ns: settings.slice, debt_ns: settings.debt }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Plain> for TreeSettings {
    type Error = SettingsError;

    fn try_from(plain: Plain) -> Result<Self, SettingsError> {
        Self { slice: plain.slice_ns, debt: plain.debt_ns }.checked()
    }
}
