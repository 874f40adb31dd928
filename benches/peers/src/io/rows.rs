//! The rows: what is asked, of whom, and what ours is to reach.

mod admission;
mod rates;
mod large;
mod crowd;
mod shares;
mod beside;
mod reserved;
mod groups;
mod cancels;
mod raised;
mod throttled;

use std::{path::PathBuf, sync::OnceLock, time::Duration};

use anyhow::Result;

use super::disk::target::Target;
use crate::cpu::{figures::Figure, rows::Gate};

pub use groups::footprint;

/// A row's question in one form.
#[derive(Debug)]
pub struct Case {
    /// The row, as `W1`.
    pub row: &'static str,
    /// What is special about it.
    pub name: String,
    /// Whether figures count.
    pub gate: Gate,
    /// What ours is to reach.
    pub aims: Vec<(&'static str, Aim)>,
    /// Figures that are also given relative to the first entrant's of the same round.
    pub relative: Vec<Relative>,
    /// Who is asked.
    pub entrants: Vec<Entrant>,
}

/// Somebody who is asked.
pub struct Entrant {
    /// Its name; ours begin with `fief`.
    pub name: &'static str,
    /// What it does in one turn.
    pub run: Turn,
}

/// What somebody does in one turn.
pub type Turn = Box<dyn Fn(&Context) -> Result<Outcome>>;

/// What came of a turn.
#[derive(Debug)]
pub enum Outcome {
    /// Figures.
    Figures(Vec<Figure>),
    /// It cannot do that, and why.
    Skipped(String),
}

/// What a figure is to be.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Aim {
    /// No more.
    AtMost(f64),
    /// No less.
    AtLeast(f64),
    /// No farther from 0.
    Within(f64),
    /// No farther than the second from the first.
    Around(f64, f64),
}

/// A figure relative to the first entrant's.
#[derive(Clone, Copy, Debug)]
pub struct Relative {
    /// The figure.
    pub of: &'static str,
    /// What the ratio is called.
    pub name: &'static str,
    /// Its unit: `%`, or none for the plain ratio.
    pub unit: &'static str,
}

/// How turns are done, and what they share.
#[derive(Debug)]
pub struct Context {
    /// Turns are as short as they can be, to see that nothing is broken.
    pub is_brief: bool,
    /// What random choices begin with: the same for all of a round.
    pub seed: u64,
    /// Where a file may be made.
    pub directory: PathBuf,
    /// How large it is to be, in bytes.
    pub bytes: u64,
    target: OnceLock<Result<Target, String>>,
}

impl Context {
    /// Returns the context of the first round.
    #[must_use]
    pub fn new(is_brief: bool, directory: PathBuf, bytes: u64) -> Self {
        Self { is_brief, seed: 0, directory, bytes, target: OnceLock::new() }
    }

    /// Returns how long something is to take.
    #[must_use]
    pub fn span(&self, full: Duration) -> Duration {
        if self.is_brief { (full / 20).min(Duration::from_millis(200)) } else { full }
    }

    /// Returns the file, which is made the first time; or why there is none.
    ///
    /// # Errors
    ///
    /// The file system refuses `O_DIRECT`, or a file of that size.
    pub fn target(&self) -> Result<&Target, String> {
        let make =
            || Target::make(&self.directory, self.bytes).map_err(|error| format!("{error:#}"));
        self.target.get_or_init(make).as_ref().map_err(String::clone)
    }
}

impl Entrant {
    /// Returns one that always has figures.
    pub fn new(
        name: &'static str,
        run: impl Fn(&Context) -> Result<Vec<Figure>> + 'static,
    ) -> Self {
        Self { name, run: Box::new(move |context| run(context).map(Outcome::Figures)) }
    }

    /// Returns one that may not be able to.
    pub fn maybe(name: &'static str, run: impl Fn(&Context) -> Result<Outcome> + 'static) -> Self {
        Self { name, run: Box::new(run) }
    }

    /// Returns one that needs the file.
    pub fn on_disk(
        name: &'static str,
        run: impl Fn(&Context, &Target) -> Result<Outcome> + 'static,
    ) -> Self {
        Self::maybe(name, move |context| match context.target() {
            Ok(target) => run(context, target),
            Err(why) => Ok(Outcome::Skipped(why)),
        })
    }

    /// Whether it is ours, which aims are for.
    #[must_use]
    pub fn is_ours(name: &str) -> bool {
        name.starts_with("fief")
    }
}

impl std::fmt::Debug for Entrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entrant").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every case, in the order of the rows.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        admission::cases(),
        rates::cases(),
        large::cases(),
        crowd::cases(),
        shares::cases(),
        beside::cases(),
        reserved::cases(),
        groups::cases(),
        cancels::cases(),
        raised::cases(),
        throttled::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn cases_and_entrants_have_names_of_their_own() {
        let cases = all();
        let names: HashSet<_> = cases.iter().map(|case| (case.row, &case.name)).collect();
        assert_eq!(names.len(), cases.len());
        for case in cases {
            let names: HashSet<_> = case.entrants.iter().map(|entrant| entrant.name).collect();
            assert_eq!(names.len(), case.entrants.len(), "{}: {}", case.row, case.name);
        }
    }

    #[test]
    fn every_case_has_one_of_ours() {
        for case in all() {
            assert!(case.entrants.iter().any(|entrant| Entrant::is_ours(entrant.name)));
        }
    }
}
