//! What a trigger waits for: so much stall time within such a window.

use std::{fmt, ops::RangeInclusive, str::FromStr, time::Duration};

use thiserror::Error;

use crate::quote::quote;

/// Which line of a group's pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[expect(clippy::exhaustive_enums, reason = "pressure has two lines")]
pub enum PressureKind {
    /// Time in which at least one member stalled.
    #[doc(alias = "PSI_MEM_SOME")]
    Some,
    /// Time in which at least one member stalled and none was productive.
    #[doc(alias = "PSI_MEM_FULL")]
    Full,
}

/// So much stall time within a window.
///
/// As text `some 150000 1000000`: the kind, and microseconds of stall time and of the window. Windows
/// are 500 ms to 10 s; the stall time is at least 1 µs and at most the window.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use fief_core::{PressureKind, Threshold};
///
/// let (stall, window) = (Duration::from_millis(150), Duration::from_secs(1));
/// let threshold = Threshold::new(PressureKind::Some, stall, window)?;
/// assert_eq!("some 150000 1000000".parse(), Ok(threshold));
/// # Ok::<(), fief_core::ThresholdError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Threshold {
    kind: PressureKind,
    stall: Duration,
    window: Duration,
}

/// A threshold breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ThresholdError {
    /// The window is too short or too long.
    #[error("a window of {} us is not within 500000 to 10000000 us", .window.as_micros())]
    Window {
        /// The window.
        window: Duration,
    },
    /// The stall time is nothing, or more than the window.
    #[error(
        "a stall time of {} us is not within 1 us and the window of {} us",
        .stall.as_micros(),
        .window.as_micros()
    )]
    Stall {
        /// The stall time.
        stall: Duration,
        /// The window.
        window: Duration,
    },
}

/// A text is no threshold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseThresholdError {
    /// It does not have the form.
    #[error(
        "{} is not some or full, a stall time and a window, each one blank apart and the \
         times in microseconds",
        quote(.input)
    )]
    Form {
        /// The text.
        input: String,
    },
    /// It has, but breaks a rule.
    #[error("{} is refused: {rule}", quote(.input))]
    Rule {
        /// The text.
        input: String,
        /// The rule.
        #[source]
        rule: ThresholdError,
    },
}

/// How long a window may be.
const WINDOWS: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(10);

impl Threshold {
    /// Makes a threshold of `stall` time within `window`, both cut to whole microseconds.
    ///
    /// # Errors
    ///
    /// If the window is not within 500 ms to 10 s, or the stall time not within 1 µs and the window.
    pub fn new(
        kind: PressureKind,
        stall: Duration,
        window: Duration,
    ) -> Result<Self, ThresholdError> {
        let (stall, window) = (cut(stall), cut(window));
        if !WINDOWS.contains(&window) {
            return Err(ThresholdError::Window { window });
        }
        if stall.is_zero() || stall > window {
            return Err(ThresholdError::Stall { stall, window });
        }
        Ok(Self { kind, stall, window })
    }

    /// Returns which line it is about.
    #[must_use]
    pub const fn kind(&self) -> PressureKind {
        self.kind
    }

    /// Returns the stall time.
    #[must_use]
    pub const fn stall(&self) -> Duration {
        self.stall
    }

    /// Returns the window.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.window
    }
}

/// Leaves out what is less than a microsecond.
fn cut(time: Duration) -> Duration {
    time.saturating_sub(Duration::from_nanos(u64::from(time.subsec_nanos() % 1_000)))
}

impl fmt::Display for PressureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Some => "some",
            Self::Full => "full",
        })
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stall, window) = (self.stall.as_micros(), self.window.as_micros());
        write!(f, "{} {stall} {window}", self.kind)
    }
}

impl FromStr for Threshold {
    type Err = ParseThresholdError;

    /// Parses strictly: one blank between words, decimal digits below 2^64, nothing around.
    fn from_str(input: &str) -> Result<Self, ParseThresholdError> {
        let words: Vec<&str> = input.split(' ').collect();
        let parsed = match words[..] {
            [kind, stall, window] => parse_words(kind, stall, window),
            _ => None,
        };
        let Some((kind, stall, window)) = parsed else {
            return Err(ParseThresholdError::Form { input: input.to_owned() });
        };
        Self::new(kind, stall, window)
            .map_err(|rule| ParseThresholdError::Rule { input: input.to_owned(), rule })
    }
}

fn parse_words(
    kind: &str,
    stall: &str,
    window: &str,
) -> Option<(PressureKind, Duration, Duration)> {
    let kind = match kind {
        "some" => PressureKind::Some,
        "full" => PressureKind::Full,
        _ => return None,
    };
    Some((kind, parse_micros(stall)?, parse_micros(window)?))
}

fn parse_micros(word: &str) -> Option<Duration> {
    // `parse` takes a sign.
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|_| is_number).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(input: &str) -> String {
        input.parse::<Threshold>().unwrap_err().to_string()
    }

    #[test]
    fn a_threshold_reads_back_what_it_prints() {
        for text in
            ["some 150000 1000000", "full 1 500000", "some 10000000 10000000", "full 500000 500000"]
        {
            assert_eq!(text.parse::<Threshold>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_time_is_cut_to_microseconds() {
        let (stall, window) = (Duration::from_nanos(1_999), Duration::new(10, 999));
        let threshold = Threshold::new(PressureKind::Full, stall, window).unwrap();
        assert_eq!(threshold.to_string(), "full 1 10000000");
    }

    #[test]
    fn anything_without_the_form_is_refused() {
        for input in [
            "",
            "some",
            "some 1",
            "some 150000",
            "some 150000 1000000 ",
            " some 150000 1000000",
            "some  150000 1000000",
            "some\t150000 1000000",
            "some 150000 1000000\n",
            "some 150000 1000000 1",
            "Some 150000 1000000",
            "any 150000 1000000",
            "150000 1000000 some",
            "some +150000 1000000",
            "some -1 1000000",
            "some 1.5 1000000",
            "some 0x10 1000000",
            "some 150ms 1s",
            "some 1 18446744073709551616",
        ] {
            assert_eq!(
                refusal(input),
                format!(
                    "{input:?} is not some or full, a stall time and a window, each one blank \
                     apart and the times in microseconds"
                )
            );
        }
    }

    #[test]
    fn a_window_too_short_or_too_long_is_refused() {
        for window in ["0", "499999", "10000001", "18446744073709551615"] {
            let input = format!("some 1 {window}");
            assert_eq!(
                refusal(&input),
                format!(
                    "{input:?} is refused: a window of {window} us is not within 500000 to \
                     10000000 us"
                )
            );
        }
    }

    #[test]
    fn a_stall_time_of_nothing_or_more_than_the_window_is_refused() {
        for stall in ["0", "1000001", "18446744073709551615"] {
            let input = format!("full {stall} 1000000");
            assert_eq!(
                refusal(&input),
                format!(
                    "{input:?} is refused: a stall time of {stall} us is not within 1 us and the \
                     window of 1000000 us"
                )
            );
        }
    }
}
