//! Numbers with a meaning: limits and ids.

use std::{fmt, num::ParseIntError, str::FromStr};

use thiserror::Error;

use crate::quote::quote;

/// A configured bound: a number, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[expect(clippy::exhaustive_enums, reason = "a bound is there or it is not")]
pub enum Limit {
    /// At most this many; 0 allows none.
    At(u64),
    /// No bound; the default of every limit.
    Max,
}

/// A text is not a limit.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{quoted} is neither max nor a number below 2^64")]
pub struct ParseLimitError {
    quoted: String,
}

impl Limit {
    /// Returns whether `count` is within the bound.
    #[must_use]
    pub const fn allows(self, count: u64) -> bool {
        match self {
            Self::At(limit) => count <= limit,
            Self::Max => true,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(limit) => limit.fmt(f),
            Self::Max => f.write_str("max"),
        }
    }
}

impl FromStr for Limit {
    type Err = ParseLimitError;

    /// Parses `max` or decimal digits, strictly: no sign, no blanks, no overflow.
    fn from_str(input: &str) -> Result<Self, ParseLimitError> {
        let refused = |_: Option<ParseIntError>| ParseLimitError { quoted: quote(input) };
        if input == "max" {
            return Ok(Self::Max);
        }
        if !input.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refused(None));
        }
        input.parse().map(Self::At).map_err(|error| refused(Some(error)))
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        pub struct $name(pub(crate) u64);

        impl $name {
            /// Returns the id as a number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// The id of a group: unique in its registry, rising in order of creation, never reused.
    CgroupId
}
id! {
    /// The id of a hierarchy: unique in its registry, rising in order of creation, never reused.
    HierarchyId
}
id! {
    /// The id of a controller: unique in its registry, rising in order of registration, never reused.
    SubsystemId
}
id! {
    /// The id of a task: unique in its registry, rising in order of creation, never reused.
    TaskId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_reads_back_what_it_prints() {
        for limit in [Limit::At(0), Limit::At(u64::MAX), Limit::Max] {
            assert_eq!(limit.to_string().parse(), Ok(limit));
        }
    }

    #[test]
    fn anything_but_digits_and_max_is_refused() {
        for input in
            ["", "\n", " 1", "1 ", "+1", "-1", "1.5", "0x10", "MAX", "18446744073709551616"]
        {
            let error = Limit::from_str(input).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("{input:?} is neither max nor a number below 2^64")
            );
        }
    }
}
