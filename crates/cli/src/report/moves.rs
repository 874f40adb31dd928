//! What the rebinds were like: how long they took, and what lookups felt of them.

use comfy_table::Table;
use indicatif::HumanCount;

use crate::{
    report::{align_right, indented, table},
    soak::{
        lookup::{Comparison, ENOUGH, Kind, LEAST, Summary, compare},
        mover::Moves,
        stage::Stage,
    },
};

/// The figures of the rebinds, and of lookups around them and elsewhere.
pub(super) fn section(stage: &Stage, moves: &Moves) -> String {
    let [rebind, quiet] = [Kind::Rebind, Kind::Quiet].map(|kind| stage.windows.summary(kind));
    format!(
        "Four controllers went from one tree to the other {} times,\n{}.\n\n\
         Lookups of a css for a task (Cache::css), in nanoseconds, by windows in which\n\
         the controllers were moved, and windows in between. Each was timed; windows\n\
         with fewer than {ENOUGH} are left out. The last columns are the median of the\n\
         windows' p99, and between which values half of them are.\n\n{}\n{}",
        HumanCount(moves.done),
        durations(moves),
        indented(&lookups(&rebind, &quiet)),
        verdict(&rebind, &quiet),
    )
}

fn durations(moves: &Moves) -> String {
    if moves.took.is_empty() {
        return "as the soak was too short".to_owned();
    }
    let micros = |quantile| HumanCount(moves.took.value_at_quantile(quantile) / 1000).to_string();
    format!("in {} µs at the median, and {} µs at most", micros(0.5), micros(1.0))
}

fn lookups(rebind: &Summary, quiet: &Summary) -> Table {
    let mut table = table();
    table.set_header(["", "windows", "timed", "p50", "p99", "half of p99"]);
    for (name, summary) in [("with a rebind", rebind), ("without", quiet)] {
        table.add_row([
            name.to_owned(),
            HumanCount(summary.windows as u64).to_string(),
            HumanCount(summary.timed).to_string(),
            HumanCount(summary.p50).to_string(),
            HumanCount(summary.p99).to_string(),
            format!("{} - {}", HumanCount(summary.p99_from), HumanCount(summary.p99_to)),
        ]);
    }
    align_right(&mut table, 1..=5);
    table
}

fn verdict(rebind: &Summary, quiet: &Summary) -> String {
    match compare(rebind, quiet) {
        Comparison::TooFew => {
            format!("Fewer than {LEAST} windows of one kind: too few to compare.\n")
        }
        Comparison::NoDifference => {
            "No difference: the median with a rebind is where half of the others are.\n".to_owned()
        }
        Comparison::Times(ratio) => {
            format!("With a rebind, the median of p99 is {ratio:.2} times that without.\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Summary =
        Summary { windows: 100, timed: 99_999_999, p50: 60, p99: 200, p99_from: 180, p99_to: 220 };

    #[test]
    fn medians_are_the_same_within_what_windows_scatter() {
        for (p99, expected) in [
            (180, "No difference"),
            (220, "No difference"),
            (300, "1.50 times"),
            (100, "0.50 times"),
        ] {
            let text = verdict(&Summary { p99, ..QUIET }, &QUIET);
            assert!(text.contains(expected), "{p99}: {text}");
        }
        let few = Summary { windows: 99, ..QUIET };
        assert!(
            verdict(&few, &QUIET).contains("too few") && verdict(&QUIET, &few).contains("too few")
        );
    }

    #[test]
    fn the_figures_fit_eighty_columns() {
        let slow = Summary {
            p50: 999_999,
            p99: 9_999_999,
            p99_from: 9_999_999,
            p99_to: 9_999_999,
            ..QUIET
        };
        for line in indented(&lookups(&slow, &QUIET)).lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
