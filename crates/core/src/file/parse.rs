//! What control files take, strictly: the whole text is a value within its range, or it is refused.
//!
//! Spaces and tabs at either end and one newline at the very end are ignored. Nothing else is: no
//! sign, no base but ten, no blank between a number and its suffix, no digit but `0` to `9`, no
//! second value, no rounding, and no overflow. Nothing at all is not a value. The kernel is laxer: see
//! `docs/control-files.md`.
//!
//! Each function returns an [`InputError`] that quotes the text and says the rule. A controller's
//! [`write_file`](crate::Subsystem::write_file) passes it on with `?`; the core adds file and group.
//!
//! ```
//! use fief_core::{Limit, file::parse};
//!
//! assert_eq!(parse::size_limit(" 512M\n")?, Limit::At(512 << 20));
//! assert_eq!(parse::size_limit("max")?, Limit::Max);
//! assert!(parse::size_limit("1.5M").is_err());
//! # Ok::<(), parse::InputError>(())
//! ```

use std::{borrow::Cow, fmt, ops::RangeInclusive, time::Duration};

use crate::{
    pressure::{ParseThresholdError, Threshold},
    quote::quote,
    units::Limit,
};

/// What may stand around a value.
const BLANKS: [char; 2] = [' ', '\t'];
/// Suffixes of sizes: each is 1024 times the one before.
const SUFFIXES: &str = "KMGTPE";
/// Weights that can be set; the default of those that exist is 100.
const WEIGHTS: RangeInclusive<u64> = 1..=10_000;

/// A text is not what a control file takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputError {
    quoted: String,
    expected: Cow<'static, str>,
}

impl InputError {
    /// Makes an error that says that `input` is not `expected`, for rules of a controller's own.
    ///
    /// `expected` goes on after "is not": `a device` makes `"sda1" is not a device`.
    #[must_use]
    pub fn new(input: &str, expected: impl Into<Cow<'static, str>>) -> Self {
        Self { quoted: quote(input), expected: expected.into() }
    }

    /// Returns the text as the message has it: in quotes, escaped, of its first 64 bytes.
    #[must_use]
    pub fn quoted(&self) -> &str {
        &self.quoted
    }

    /// Returns what it should have been.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.expected
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not {}", self.quoted, self.expected)
    }
}

impl std::error::Error for InputError {}

/// A line of a nested-keyed file; from [`nested`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Nested<'a> {
    /// What the line is about: a device.
    pub name: &'a str,
    /// The pairs, in their order; no key is there twice.
    pub pairs: Vec<(&'a str, &'a str)>,
}

/// Parses a number: decimal digits, below 2^64.
///
/// # Errors
///
/// Refuses anything else.
pub fn number(input: &str) -> Result<u64, InputError> {
    digits(strip(input)).ok_or_else(|| InputError::new(input, "a number below 2^64"))
}

/// Parses a number that is in `range`.
///
/// # Errors
///
/// Refuses anything else.
pub fn number_in(input: &str, range: RangeInclusive<u64>) -> Result<u64, InputError> {
    let (least, most) = (*range.start(), *range.end());
    let number = digits(strip(input)).filter(|number| range.contains(number));
    number.ok_or_else(|| InputError::new(input, format!("a number from {least} to {most}")))
}

/// Parses a limit on a count: a number, or `max`.
///
/// # Errors
///
/// Refuses anything else.
pub fn limit(input: &str) -> Result<Limit, InputError> {
    or_max(input, digits).ok_or_else(|| InputError::new(input, "a number below 2^64, or max"))
}

/// Parses a limit on a count that is in `range`, or `max`.
///
/// # Errors
///
/// Refuses anything else.
pub fn limit_in(input: &str, range: RangeInclusive<u64>) -> Result<Limit, InputError> {
    let (least, most) = (*range.start(), *range.end());
    let within = |text: &str| digits(text).filter(|number| range.contains(number));
    let expected = || format!("a number from {least} to {most}, or max");
    or_max(input, within).ok_or_else(|| InputError::new(input, expected()))
}

/// Parses a size: a number of bytes, or with one of `K M G T P E` in either case a number of
/// powers of 1024 bytes; below 2^64 bytes.
///
/// # Errors
///
/// Refuses anything else.
pub fn size(input: &str) -> Result<u64, InputError> {
    let expected = "a size (bytes below 2^64; K M G T P E)";
    bytes(strip(input)).ok_or_else(|| InputError::new(input, expected))
}

/// Parses a limit on a size: a size, or `max`.
///
/// # Errors
///
/// Refuses anything else.
pub fn size_limit(input: &str) -> Result<Limit, InputError> {
    let expected = "a size (bytes below 2^64; K M G T P E) or max";
    or_max(input, bytes).ok_or_else(|| InputError::new(input, expected))
}

/// Parses `0` or `1`.
///
/// # Errors
///
/// Refuses anything else.
pub fn flag(input: &str) -> Result<bool, InputError> {
    match strip(input) {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(InputError::new(input, "0 or 1")),
    }
}

/// Parses a duration: a number of microseconds, below 2^64.
///
/// # Errors
///
/// Refuses anything else.
pub fn microseconds(input: &str) -> Result<Duration, InputError> {
    let duration = digits(strip(input)).map(Duration::from_micros);
    duration.ok_or_else(|| InputError::new(input, "microseconds, as a number below 2^64"))
}

/// Parses a weight: a number from 1 to 10000.
///
/// # Errors
///
/// Refuses anything else.
pub fn weight(input: &str) -> Result<u16, InputError> {
    let weight = digits(strip(input)).filter(|weight| WEIGHTS.contains(weight));
    let weight = weight.and_then(|weight| u16::try_from(weight).ok());
    weight.ok_or_else(|| InputError::new(input, "a weight from 1 to 10000"))
}

/// Parses what a pressure trigger waits for: `some` or `full`, a stall time and a window, one blank apart
/// and the times in microseconds, as in `some 150000 1000000`.
///
/// The window is from 500000 to 10000000, the stall time from 1 to the window.
///
/// # Errors
///
/// Refuses anything else.
#[doc(alias = "psi_trigger_create")]
pub fn threshold(input: &str) -> Result<Threshold, InputError> {
    strip(input).parse().map_err(|error| match error {
        ParseThresholdError::Form { .. } => {
            InputError::new(input, "some or full, a stall time and a window in microseconds")
        }
        ParseThresholdError::Rule { rule, .. } => {
            InputError::new(input, format!("a threshold: {rule}"))
        }
    })
}

/// Splits a text at blanks into words; at least one.
///
/// What a word may be is the caller's to say: only a newline in the middle, and any other control
/// character, is in none.
///
/// # Errors
///
/// Refuses a text without words, and one with a control character.
pub fn words(input: &str) -> Result<Vec<&str>, InputError> {
    let text = strip(input);
    if text.is_empty() || text.contains(|c: char| c.is_control() && c != '\t') {
        return Err(InputError::new(input, "words on one line"));
    }
    Ok(text.split(BLANKS).filter(|word| !word.is_empty()).collect())
}

/// Parses a line of a flat-keyed file: `key value`.
///
/// # Errors
///
/// Refuses a text that is not two words.
pub fn keyed(input: &str) -> Result<(&str, &str), InputError> {
    match *words(input)? {
        [key, value] => Ok((key, value)),
        _ => Err(InputError::new(input, "a key and a value")),
    }
}

/// Parses a line of a nested-keyed file: `name key=value key=value`, at least one and each key once.
///
/// # Errors
///
/// Refuses anything else: no pair, a pair without `=`, a key or value that is empty or holds another
/// `=`, a key that comes twice.
pub fn nested(input: &str) -> Result<Nested<'_>, InputError> {
    let refused = |expected: &'static str| InputError::new(input, expected);
    let words = words(input)?;
    let Some((name, pairs)) = words.split_first().filter(|(_, pairs)| !pairs.is_empty()) else {
        return Err(refused("a name and key=value, once or more"));
    };
    let mut parsed: Vec<(&str, &str)> = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, value)| !key.is_empty() && !value.is_empty() && !value.contains('='))
            .ok_or_else(|| refused("a name and key=value, once or more"))?;
        if parsed.iter().any(|(before, _)| *before == key) {
            return Err(refused("a name and key=value, each key once"));
        }
        parsed.push((key, value));
    }
    if name.contains('=') {
        return Err(refused("a name and key=value, once or more"));
    }
    Ok(Nested { name, pairs: parsed })
}

/// Takes off what may stand around a value.
fn strip(input: &str) -> &str {
    input.strip_suffix('\n').unwrap_or(input).trim_matches(BLANKS)
}

fn digits(text: &str) -> Option<u64> {
    // `parse` alone would take a sign.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn bytes(text: &str) -> Option<u64> {
    let Some(suffix) = text.chars().last().filter(|c| !c.is_ascii_digit()) else {
        return digits(text);
    };
    let power = SUFFIXES.find(suffix.to_ascii_uppercase())? + 1;
    let number = digits(&text[..text.len() - suffix.len_utf8()])?;
    number.checked_mul(1 << (10 * power))
}

fn or_max(input: &str, parse: impl Fn(&str) -> Option<u64>) -> Option<Limit> {
    match strip(input) {
        "max" => Some(Limit::Max),
        text => parse(text).map(Limit::At),
    }
}

#[cfg(test)]
mod tests;
