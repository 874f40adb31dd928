//! The rows: what is asked of every system.

mod latency;
mod udp;
mod weights;
mod quota;
mod yields;
mod groups;
mod checkpoint;
mod conserve;
mod rebind;
mod closures;

use std::{sync::Arc, time::Duration};

use anyhow::Result;

use super::{
    figures::Figure,
    system::{Plan, Running},
};

/// A row's question in one form, put to every system.
pub struct Case {
    /// The row, as `B1`.
    pub row: &'static str,
    /// What is special about it.
    pub name: String,
    /// What a system is started with.
    pub plan: Plan,
    /// Whether figures count.
    pub gate: Gate,
    /// What is done with a system that runs.
    pub run: Run,
}

/// What is done with a system that runs; no figures: it cannot do that.
pub type Run = Box<dyn Fn(&Context, &Arc<dyn Running>) -> Result<Vec<Figure>>>;

/// When a run's figures count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Where the machine gave this process nearly all that it had.
    Given,
    /// Always: the competition is made on purpose.
    Exempt,
}

/// How a run is done.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Runs are as short as they can be, to see that nothing is broken.
    pub is_brief: bool,
    /// What random arrivals begin with: the same for all systems of a round.
    pub seed: u64,
    /// How long the system took to start.
    pub start: Duration,
}

impl Context {
    /// Returns how long something is to take.
    #[must_use]
    pub fn span(&self, full: Duration) -> Duration {
        if self.is_brief { (full / 20).min(Duration::from_millis(200)) } else { full }
    }

    /// Returns how often something is to be done.
    #[must_use]
    pub fn times(&self, full: u32) -> u32 {
        if self.is_brief { full.div_ceil(20) } else { full }
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").field("row", &self.row).field("name", &self.name).finish()
    }
}

/// Every case, in the order of the rows.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        latency::cases(),
        udp::cases(),
        weights::cases(),
        quota::cases(),
        yields::cases(),
        groups::cases(),
        checkpoint::cases(),
        conserve::cases(),
        rebind::cases(),
        closures::cases(),
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
    fn cases_have_names_of_their_own() {
        let cases = all();
        let names: HashSet<_> = cases.iter().map(|case| (case.row, &case.name)).collect();
        assert_eq!(names.len(), cases.len());
    }

    #[test]
    fn parents_come_first() {
        for case in all() {
            let mut groups = case.plan.groups.iter().enumerate();
            assert!(groups.all(|(number, group)| group.parent.is_none_or(|it| it < number)));
        }
    }
}
