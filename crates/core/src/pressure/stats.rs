//! The figures of a group's pressure, as data and as text.

use std::{fmt, time::Duration};

use thiserror::Error;

use crate::pressure::average::{ONE, Share};

/// A share in hundredths of a percent: 0.00 to 100.00.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(into = "f64", try_from = "f64"))]
pub struct Percent(u16);

/// A number is not a percentage.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("{value} is not within 0 to 100 percent")]
pub struct PercentError {
    value: f64,
}

/// How much time a group lost, on one line of its pressure.
///
/// The averages are the share of the last 10, 60 and 300 seconds that was lost, older time counting
/// less; they move every two seconds.
///
/// Prints as in the kernel: `avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PressureLine {
    /// The average over 10 seconds.
    pub avg10: Percent,
    /// The average over 60 seconds.
    pub avg60: Percent,
    /// The average over 300 seconds.
    pub avg300: Percent,
    /// Microseconds lost, ever; stays at [`u64::MAX`] when it is more.
    pub total: u64,
}

/// A group's pressure, as of one moment.
///
/// Prints as the two lines of a pressure file, without a newline at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PressureStats {
    /// Time in which at least one member stalled.
    pub some: PressureLine,
    /// Time in which at least one member stalled and none was productive.
    pub full: PressureLine,
}

impl Percent {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// All of it.
    pub const HUNDRED: Self = Self(10_000);

    /// Returns the share as a number of hundredths of a percent: 0 to 10,000.
    #[must_use]
    pub const fn hundredths(self) -> u16 {
        self.0
    }

    /// Rounds to the nearest.
    pub(super) fn of(share: Share) -> Self {
        let rounded = (u128::from(share) * 10_000 + u128::from(ONE / 2)) / u128::from(ONE);
        Self(u16::try_from(rounded).map_or(10_000, |rounded| rounded.min(10_000)))
    }
}

impl From<Percent> for f64 {
    fn from(percent: Percent) -> Self {
        Self::from(percent.0) / 100.0
    }
}

impl TryFrom<f64> for Percent {
    type Error = PercentError;

    /// Rounds to the nearest hundredth.
    fn try_from(value: f64) -> Result<Self, PercentError> {
        if !(0.0..=100.0).contains(&value) {
            return Err(PercentError { value });
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked above to be 0 to 100"
        )]
        Ok(Self((value * 100.0).round() as u16))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl PressureLine {
    pub(super) fn new([avg10, avg60, avg300]: [Share; 3], total: Duration) -> Self {
        Self {
            avg10: Percent::of(avg10),
            avg60: Percent::of(avg60),
            avg300: Percent::of(avg300),
            total: u64::try_from(total.as_micros()).unwrap_or(u64::MAX),
        }
    }
}

impl fmt::Display for PressureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { avg10, avg60, avg300, total } = self;
        write!(f, "avg10={avg10} avg60={avg60} avg300={avg300} total={total}")
    }
}

impl fmt::Display for PressureStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "some {}\nfull {}", self.some, self.full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_to_hundredths() {
        let half = ONE / 20_000; // a two hundredth of a percent, a little less
        assert_eq!(Percent::of(half).to_string(), "0.00");
        assert_eq!(Percent::of(half + 1).to_string(), "0.01");
        assert_eq!(Percent::of(ONE / 8).to_string(), "12.50");
        assert_eq!(Percent::of(ONE - half).to_string(), "100.00");
        assert_eq!(Percent::of(u64::MAX), Percent::HUNDRED);
    }

    #[test]
    fn every_percentage_is_a_number_and_back() {
        for hundredths in 0..=10_000 {
            let percent = Percent(hundredths);
            assert_eq!(Percent::try_from(f64::from(percent)), Ok(percent));
        }
    }

    #[test]
    fn a_number_that_is_no_percentage_is_refused() {
        for value in [-0.01, 100.01, f64::INFINITY] {
            let error = Percent::try_from(value).unwrap_err();
            assert_eq!(error.to_string(), format!("{value} is not within 0 to 100 percent"));
        }
        assert!(Percent::try_from(f64::NAN).is_err());
    }

    #[test]
    fn a_total_beyond_the_last_microsecond_stays_there() {
        let line = PressureLine::new([0; 3], Duration::from_micros(u64::MAX));
        assert_eq!(line.total, u64::MAX);
        let line = PressureLine::new([0; 3], Duration::MAX);
        assert_eq!(line.total, u64::MAX);
    }
}
