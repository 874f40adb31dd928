//! Errors about charges.

use thiserror::Error as ThisError;

use crate::units::Limit;

/// A group has no room for a charge.
///
/// The group is the one charged or one above it: the nearest that refused.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[error("{file} of {cgroup} reached: {current} of {max}{} in use, {asked} asked", separated(unit))]
#[non_exhaustive]
pub struct ChargeError {
    /// The path of the group that refused, as of then.
    pub cgroup: String,
    /// The file that sets its max, as in `tasks.max`.
    pub file: &'static str,
    /// What is counted, in the plural; empty if there is no word for it.
    pub unit: &'static str,
    /// What was in use there.
    pub current: u64,
    /// Its max. [`Limit::Max`] if the usage would have passed 2^63 − 1.
    pub max: Limit,
    /// How much was asked for.
    pub asked: u64,
    /// How many levels above the group charged that is: 0 for the group itself.
    pub level: usize,
}

/// Puts a blank before a word, if there is one.
fn separated(word: &str) -> String {
    if word.is_empty() { String::new() } else { format!(" {word}") }
}
