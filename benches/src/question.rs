//! What `ratios` asks: figures of the rounds, and the targets they are held against.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::statistic::{Sample, Verdict, median};

mod io;
mod memory;

/// Figures by name, one for each round; times in nanoseconds.
#[derive(Debug, Default)]
pub struct Figures(BTreeMap<&'static str, Vec<f64>>);

/// One row of the table: a figure over another, or over a budget.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    text: &'static str,
    unit: Unit,
    ours: &'static str,
    peer: Peer,
    target: Option<Target>,
}

/// What a figure is divided by.
#[derive(Clone, Copy, Debug)]
enum Peer {
    Figure(&'static str),
    Budget(f64),
}

/// What a ratio is to be.
#[derive(Clone, Copy, Debug)]
enum Target {
    AtMost(f64),
    /// At most one; what a ratio of equal things, the two named, shows too is noise.
    NoMore(&'static str, &'static str),
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Time, in nanoseconds.
    Nanoseconds,
    /// Memory, in bytes.
    Bytes,
    /// How often something happens.
    Count,
}

/// The answer to a question.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// The question.
    pub question: &'static str,
    /// The unit of `ours` and `peer`.
    pub unit: Unit,
    /// The figure, median of the rounds.
    pub ours: f64,
    /// What it is divided by, median of the rounds.
    pub peer: f64,
    /// Whether `peer` is a budget, not a measurement.
    pub is_budget: bool,
    /// The ratio: median of the rounds' ratios.
    pub ratio: f64,
    /// The least ratio of a round.
    pub min: f64,
    /// The greatest ratio of a round.
    pub max: f64,
    /// Bounds of the median, with 95 % confidence.
    pub bounds: (f64, f64),
    /// What the ratio is to be at most.
    pub target: Option<f64>,
    /// Up to where a ratio cannot be told from the target.
    pub noise: Option<f64>,
    /// What comes of it.
    pub verdict: Verdict,
}

const fn question(
    text: &'static str,
    unit: Unit,
    ours: &'static str,
    peer: Peer,
    target: Option<Target>,
) -> Question {
    Question { text, unit, ours, peer, target }
}

/// Every question.
pub const QUESTIONS: [&[Question]; 3] = [CORE, memory::QUESTIONS, io::QUESTIONS];

/// The core's, those with a target first.
const CORE: &[Question] = {
    use Peer::{Budget, Figure};
    use Target::{AtMost, NoMore};
    use Unit::{Bytes, Count, Nanoseconds as Time};
    const FIFTH: Option<Target> = Some(AtMost(0.2));
    const BUDGET: Option<Target> = Some(AtMost(1.0));
    &[
        question("CssRef clone+drop / Arc", Time, "clone", Figure("arc"), FIFTH),
        question("try_get+drop under a guard / Arc", Time, "try_get", Figure("arc"), FIFTH),
        question(
            "clone+drop, 2 threads on one css / 1 thread",
            Time,
            "clone, 2 threads",
            Figure("clone"),
            Some(NoMore("clone, 2 threads apart", "clone")),
        ),
        question(
            "try_get+drop, 2 threads on one css / 1 thread",
            Time,
            "try_get, 2 threads",
            Figure("try_get"),
            Some(NoMore("try_get, 2 threads apart", "try_get")),
        ),
        question(
            "taken here, dropped there, prepared / dropped here",
            Time,
            "handed",
            Figure("kept"),
            Some(NoMore("kept again", "kept")),
        ),
        question(
            "kill of one css / membarrier",
            Time,
            "kill",
            Figure("membarrier"),
            Some(AtMost(2.0)),
        ),
        question("kill of 1,000, each / 50 ns", Time, "kill of 1,000", Budget(50.0), BUDGET),
        question("create+remove, 4 subsystems / 4 µs", Time, "come and go", Budget(4e3), BUDGET),
        question("removal to freed, busy reader / 100 µs", Time, "freed", Budget(1e5), BUDGET),
        question(
            "removal to freed, 2 readers a core / 20 ms",
            Time,
            "freed late",
            Budget(2e7),
            BUDGET,
        ),
        question(
            "a group, 4 subsystems, 2 threads / 1 KiB",
            Bytes,
            "group",
            Budget(1024.0),
            BUDGET,
        ),
        question(
            "a group with notices on, 4 subsystems, 2 threads / 1 KiB",
            Bytes,
            "group, armed",
            Budget(1024.0),
            BUDGET,
        ),
        question(
            "put, armed / Arc drop",
            Time,
            "put, armed",
            Figure("arc drop"),
            Some(AtMost(1.5)),
        ),
        question(
            "notice, 10 of 100,000 groups / 10 of 10",
            Time,
            "notice of many",
            Figure("notice"),
            Some(AtMost(1.25)),
        ),
        question("last put to notice / 100 µs", Time, "told of put", Budget(1e5), BUDGET),
        question(
            "last member gone to notice / 100 µs",
            Time,
            "told of member",
            Budget(1e5),
            BUDGET,
        ),
        question("strict removal refused, 4 css / 5 µs", Time, "refused", Budget(5e3), BUDGET),
        question(
            "strict removal refused, 4 css, armed / 5 µs",
            Time,
            "refused, armed",
            Budget(5e3),
            BUDGET,
        ),
        question(
            "strict removal refused, cells of 64 threads / 5 µs",
            Time,
            "refused, 64 threads",
            Budget(5e3),
            BUDGET,
        ),
        question(
            "cells, 100,000 css × 64 threads, all touched / 100 MiB",
            Bytes,
            "cells, all",
            Budget(100.0 * 1024.0 * 1024.0),
            BUDGET,
        ),
        question(
            "cells, 100,000 css × 64 threads, 1 % each / 2 MiB",
            Bytes,
            "cells, clustered",
            Budget(2.0 * 1024.0 * 1024.0),
            BUDGET,
        ),
        question(
            "try_charge+uncharge, 1 level / two atomic adds",
            Time,
            "charge",
            Figure("two adds"),
            Some(AtMost(1.2)),
        ),
        question("Task::css+drop / Arc", Time, "lookup", Figure("arc"), Some(AtMost(1.6))),
        question(
            "lookup in a guard of 16 / Arc",
            Time,
            "guarded",
            Figure("arc"),
            Some(AtMost(0.6)),
        ),
        question("Cache::css+drop / Arc", Time, "cached", Figure("arc"), Some(AtMost(0.5))),
        question(
            "rebind of 10,000 groups, publication / 1 µs",
            Time,
            "publication",
            Budget(1e3),
            BUDGET,
        ),
        question(
            "rebind of 10,000 groups, preparation / 100 µs",
            Time,
            "preparation",
            Budget(1e5),
            BUDGET,
        ),
        question("rebind of 10,000 groups, check / 2 ms", Time, "check", Budget(2e6), BUDGET),
        question("rebind of 10,000 groups, all / 5 ms", Time, "rebind", Budget(5e6), BUDGET),
        question(
            "rebind, 3 levels, publication / 1 µs",
            Time,
            "publication, deep",
            Budget(1e3),
            BUDGET,
        ),
        question(
            "rebind, 3 levels, preparation / 100 µs",
            Time,
            "preparation, deep",
            Budget(1e5),
            BUDGET,
        ),
        question("rebind, 3 levels, check / 2 ms", Time, "check, deep", Budget(2e6), BUDGET),
        question("rebind, 3 levels, all / 5 ms", Time, "rebind, deep", Budget(5e6), BUDGET),
        question(
            "rebind with 10,000 members / without",
            Time,
            "rebind, members",
            Figure("rebind"),
            Some(AtMost(1.25)),
        ),
        question(
            "attach of 10,000, 2 controllers, each / 300 ns",
            Time,
            "attach",
            Budget(300.0),
            BUDGET,
        ),
        question(
            "Task::css, p99 around a rebind / elsewhere",
            Time,
            "lookup around",
            Figure("lookup elsewhere"),
            Some(NoMore("lookup elsewhere again", "lookup elsewhere")),
        ),
        question(
            "Cache::css, p99 around a rebind / elsewhere",
            Time,
            "cached around",
            Figure("cached elsewhere"),
            Some(NoMore("cached elsewhere again", "cached elsewhere")),
        ),
        question(
            "Task::css, p99 beside a busy processor / an idle one",
            Time,
            "lookup elsewhere",
            Figure("lookup, idle"),
            None,
        ),
        question(
            "Cache::css, p99 beside a busy processor / an idle one",
            Time,
            "cached elsewhere",
            Figure("cached, idle"),
            None,
        ),
        question("Arc, 2 threads on one / 1 thread", Time, "arc, 2 threads", Figure("arc"), None),
        question("weak upgrade under a guard / Arc", Time, "upgrade", Figure("arc"), None),
        question("weak upgrade alone / Arc", Time, "upgrade alone", Figure("arc"), None),
        question("guard alone / Arc", Time, "guard", Figure("arc"), None),
        question("Task::css, 10,000 in turn / 1", Time, "lookup in turn", Figure("lookup"), None),
        question(
            "Task::css, 10,000 at random / 1",
            Time,
            "lookup at random",
            Figure("lookup"),
            None,
        ),
        question(
            "guard of 16, 10,000 in turn / 1",
            Time,
            "guarded in turn",
            Figure("guarded"),
            None,
        ),
        question(
            "guard of 16, 10,000 at random / 1",
            Time,
            "guarded at random",
            Figure("guarded"),
            None,
        ),
        question("Cache::css, 10,000 in turn / 1", Time, "cached in turn", Figure("cached"), None),
        question(
            "Cache::css, 10,000 at random / 1",
            Time,
            "cached at random",
            Figure("cached"),
            None,
        ),
        question(
            "what one css adds to a removal / membarrier",
            Time,
            "removal of a css",
            Figure("membarrier"),
            None,
        ),
        question(
            "create+remove, 4 subsystems, until freed / 4 µs",
            Time,
            "come and go, freed",
            Budget(4e3),
            None,
        ),
        question(
            "create+remove, 4 subsystems, reaped by the caller / 4 µs",
            Time,
            "come and go reaped",
            Budget(4e3),
            None,
        ),
        question("put / Arc drop", Time, "put", Figure("arc drop"), None),
        question("get / Arc clone", Time, "get", Figure("arc clone"), None),
        question("get, armed / Arc clone", Time, "get, armed", Figure("arc clone"), None),
        question("first get+last put, armed / Arc", Time, "first and last", Figure("arc"), None),
        question(
            "notice, 100,000 groups in turn / 10 of 10",
            Time,
            "notice in turn",
            Figure("notice"),
            None,
        ),
        question(
            "notice, 100,000 told at once / 10 of 10",
            Time,
            "notices at once",
            Figure("notice"),
            None,
        ),
        question(
            "strict removal, 4 subsystems / detach",
            Time,
            "strict removal",
            Figure("detach"),
            None,
        ),
        question(
            "strict removal, 4 subsystems, armed / detach",
            Time,
            "strict removal, armed",
            Figure("detach"),
            None,
        ),
        question(
            "try_charge+uncharge, 3 levels / two atomic adds",
            Time,
            "charge, 3 levels",
            Figure("two adds"),
            None,
        ),
        question(
            "two events of a tally / two atomic adds",
            Time,
            "two events",
            Figure("two adds"),
            None,
        ),
        question(
            "rebind with 10,000 members, check / without",
            Time,
            "check, members",
            Figure("check"),
            None,
        ),
        question(
            "rebind, publication, once 64 threads have read / 1 µs",
            Time,
            "publication, 64 threads",
            Budget(1e3),
            None,
        ),
        question(
            "lookups the slow way, in a window with a rebind / 1",
            Count,
            "slow lookups",
            Budget(1.0),
            None,
        ),
        question("a notice that waits / a group", Bytes, "waiting notice", Figure("group"), None),
    ]
};

impl Question {
    /// Answers it from `figures`, which have some rounds.
    #[must_use]
    pub fn answer(&self, figures: &Figures) -> Answer {
        let ours = Sample::new(figures.of(self.ours).to_vec()).median();
        let (peer, ratios) = match self.peer {
            Peer::Figure(name) => (median(figures.of(name)), figures.ratios(self.ours, name)),
            Peer::Budget(budget) => {
                (budget, figures.of(self.ours).iter().map(|figure| figure / budget).collect())
            }
        };
        let ratios = Sample::new(ratios);
        let limits = self.target.map(|target| match target {
            Target::AtMost(most) => (most, most),
            Target::NoMore(one, other) => {
                (1.0, Sample::new(figures.ratios(one, other)).bounds().1.max(1.0))
            }
        });
        Answer {
            question: self.text,
            unit: self.unit,
            ours,
            peer,
            is_budget: matches!(self.peer, Peer::Budget(_)),
            ratio: ratios.median(),
            min: ratios.min(),
            max: ratios.max(),
            bounds: ratios.bounds(),
            target: limits.map(|(target, _)| target),
            noise: limits.map(|(_, noise)| noise),
            verdict: limits.map_or(Verdict::None, |(target, noise)| ratios.verdict(target, noise)),
        }
    }
}

impl Figures {
    /// Adds the figure of one more round.
    pub fn put(&mut self, name: &'static str, figure: f64) {
        self.0.entry(name).or_default().push(figure);
    }

    fn of(&self, name: &str) -> &[f64] {
        self.0.get(name).expect("every round measures everything")
    }

    /// Returns the ratios of two figures, round by round.
    fn ratios(&self, ours: &str, peer: &str) -> Vec<f64> {
        self.of(ours).iter().zip(self.of(peer)).map(|(ours, peer)| ours / peer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(rounds: &[(&'static str, &[f64])]) -> Figures {
        Figures(rounds.iter().map(|(name, figures)| (*name, figures.to_vec())).collect())
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let drifting = figures(&[("clone", &[1.0, 2.0, 3.0]), ("arc", &[10.0, 20.0, 30.0])]);
        let answer = CORE[0].answer(&drifting);
        assert_eq!((answer.ratio, answer.min, answer.max), (0.1, 0.1, 0.1));
        assert_eq!(answer.verdict, Verdict::Ok);
    }

    #[test]
    fn equal_things_that_differ_as_much_excuse_a_miss() {
        let noisy = [
            ("clone, 2 threads", &[1.2, 1.2, 1.2][..]),
            ("clone", &[1.0, 1.0, 1.0]),
            ("clone, 2 threads apart", &[1.3, 1.2, 1.1]),
        ];
        let answer = CORE[2].answer(&figures(&noisy));
        assert_eq!((answer.target, answer.noise), (Some(1.0), Some(1.3)));
        assert_eq!(answer.verdict, Verdict::NoDifference);
    }

    #[test]
    fn a_budget_is_no_measurement() {
        let answer = CORE[6].answer(&figures(&[("kill of 1,000", &[100.0])]));
        assert!(answer.is_budget);
        assert_eq!((answer.ratio, answer.verdict), (2.0, Verdict::Missed));
    }
}
