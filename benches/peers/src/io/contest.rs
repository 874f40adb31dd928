//! Who does what when: entrants take turns within a round, the other way round in every other one, so that what
//! drifts on the machine drifts for all.

use benches::system::{Watch, wait_until_quiet};

use super::rows::{Aim, Case, Context, Entrant, Outcome, Relative};
use crate::cpu::{
    contest::{ENOUGH, End, Entry, Rules, Run},
    figures::Figure,
    rows::Gate,
};

/// What came of a case.
#[derive(Debug, serde::Serialize)]
pub struct Answer {
    /// The row.
    pub row: &'static str,
    /// What is special about the case.
    pub case: String,
    /// What ours was to reach.
    pub aims: Vec<(&'static str, Aim)>,
    /// What came of each entrant.
    pub entries: Vec<Entry>,
}

impl Answer {
    /// Whether an entrant failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.end, End::Failed(_)))
    }
}

/// Puts a case to those of its entrants whose names `is_asked`.
///
/// The first is asked in any case if figures are relative to its.
#[must_use]
pub fn hold(
    case: Case,
    is_asked: impl Fn(&str) -> bool,
    context: &mut Context,
    rules: &Rules,
    watch: &mut Watch,
) -> Answer {
    let Case { row, name, gate, aims, relative, entrants } = case;
    let is_first = |number| number == 0 && !relative.is_empty();
    let entrants: Vec<_> = (0..)
        .zip(entrants)
        .filter(|(number, entrant)| is_first(*number) || is_asked(entrant.name))
        .map(|(_, entrant)| entrant)
        .collect();
    let entry =
        |entrant: &Entrant| Entry { system: entrant.name, end: End::Done, runs: Vec::new() };
    let mut entries: Vec<_> = entrants.iter().map(entry).collect();
    for round in 0..rules.rounds {
        if !rules.patience.is_zero() {
            wait_until_quiet(rules.patience);
        }
        context.seed = round.into();
        let mut turns: Vec<_> = entrants.iter().zip(&mut entries).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for (entrant, entry) in turns {
            if entry.end != End::Done {
                continue;
            }
            let mut own = Watch::default();
            match watch.during(|| own.during(|| (entrant.run)(context))) {
                Ok(Outcome::Figures(figures)) => entry.runs.push(run(gate, rules, &own, figures)),
                Ok(Outcome::Skipped(why)) => entry.end = End::Skipped(why),
                Err(error) => entry.end = End::Failed(format!("{error:#}")),
            }
        }
    }
    relative.iter().for_each(|ratio| relate(&mut entries, ratio));
    Answer { row, case: name, aims, entries }
}

fn run(gate: Gate, rules: &Rules, watch: &Watch, figures: Vec<Figure>) -> Run {
    let given = 100.0 - watch.others_percent() - watch.conditions().steal_percent;
    let is_kept = rules.is_brief || gate == Gate::Exempt || given >= ENOUGH;
    Run { given, is_kept, figures }
}

/// Adds a figure to every run: how the round's figure is to the first entrant's.
fn relate(entries: &mut [Entry], ratio: &Relative) {
    let figure = |run: &Run| {
        run.figures.iter().find(|figure| figure.name == ratio.of).map(|figure| figure.value)
    };
    let Some(first) = entries.first() else { return };
    let first: Vec<_> = first.runs.iter().map(|run| (figure(run), run.is_kept)).collect();
    let factor = if ratio.unit == "%" { 100.0 } else { 1.0 };
    for entry in entries {
        // Whoever does not take part any more has no later runs: they are of the same rounds.
        for (run, (first, is_kept)) in entry.runs.iter_mut().zip(&first) {
            if let (Some(own), Some(first)) = (figure(run), first)
                && *first != 0.0
            {
                run.figures.push(Figure::new(ratio.name, ratio.unit, factor * own / first));
                run.is_kept &= is_kept;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc, time::Duration};

    use anyhow::anyhow;

    use super::*;

    fn rules(rounds: u32) -> Rules {
        Rules { rounds, is_brief: true, patience: Duration::ZERO }
    }

    fn case(entrants: Vec<Entrant>) -> Case {
        let relative = vec![Relative { of: "time", name: "time / first", unit: "" }];
        let name = "a case".to_owned();
        Case { row: "W0", name, gate: Gate::Given, aims: Vec::new(), relative, entrants }
    }

    fn value(entry: &Entry, run: usize, name: &str) -> f64 {
        let figures = &entry.runs[run].figures;
        figures.iter().find(|figure| figure.name == name).map_or(f64::NAN, |figure| figure.value)
    }

    #[test]
    fn entrants_take_turns_and_are_compared_within_a_round() {
        let log = Rc::new(RefCell::new(Vec::new()));
        let entrant = |name, factor: f64| {
            let log = Rc::clone(&log);
            Entrant::new(name, move |context| {
                log.borrow_mut().push((context.seed, name));
                let drift = 1.0 + context.seed as f64;
                Ok(vec![Figure::new("time", "ns", factor * drift)])
            })
        };
        let case = case(vec![entrant("one", 10.0), entrant("two", 25.0)]);
        let mut context = Context::new(true, std::env::temp_dir(), 0);
        let answer = hold(case, |_| true, &mut context, &rules(2), &mut Watch::default());
        assert_eq!(*log.borrow(), [(0, "one"), (0, "two"), (1, "two"), (1, "one")]);
        for run in 0..2 {
            assert!((value(&answer.entries[0], run, "time / first") - 1.0).abs() < 1e-9);
            assert!((value(&answer.entries[1], run, "time / first") - 2.5).abs() < 1e-9);
        }
    }

    #[test]
    fn who_cannot_and_who_fails_is_not_asked_again() {
        let asked = Rc::new(RefCell::new(0));
        let fails = {
            let asked = Rc::clone(&asked);
            Entrant::new("two", move |_| {
                *asked.borrow_mut() += 1;
                Err(anyhow!("broken"))
            })
        };
        let cannot = Entrant::maybe("one", |_| Ok(Outcome::Skipped("no".to_owned())));
        let mut context = Context::new(true, std::env::temp_dir(), 0);
        let case = case(vec![cannot, fails]);
        let answer =
            hold(case, |name| name == "two", &mut context, &rules(3), &mut Watch::default());
        let ends: Vec<_> = answer.entries.iter().map(|entry| entry.end.clone()).collect();
        assert_eq!(ends, [End::Skipped("no".to_owned()), End::Failed("broken".to_owned())]);
        assert!(answer.has_failed());
        assert_eq!(*asked.borrow(), 1);
    }
}
