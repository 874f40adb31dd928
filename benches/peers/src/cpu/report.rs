//! What is printed: a table for each case, with medians and ranges.

use benches::{statistic::Sample, system::Conditions};
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

use super::contest::{End, Entry};

/// What is written as JSON.
#[derive(Debug, serde::Serialize)]
pub struct Report {
    /// How often each system had its turn.
    pub rounds: u32,
    /// What the machine was and did meanwhile.
    pub conditions: Conditions,
    /// The cases.
    pub cases: Vec<Answer>,
}

/// What came of a case.
#[derive(Debug, serde::Serialize)]
pub struct Answer {
    /// The row.
    pub row: &'static str,
    /// What is special about the case.
    pub case: String,
    /// What came of each system.
    pub entries: Vec<Entry>,
}

impl Answer {
    /// Returns the table of those that took part, and who did not.
    ///
    /// Throughput and costs are also given relative to the first system, if it took part.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("{}: {}\n\n", self.row, self.case);
        if self.entries.iter().any(|entry| !entry.runs.is_empty()) {
            text += &format!("{}\n", self.table());
        }
        let mut skipped: Vec<(&str, Vec<&str>)> = Vec::new();
        for entry in &self.entries {
            match &entry.end {
                End::Done => {}
                End::Skipped(why) => match skipped.iter_mut().find(|(other, _)| other == why) {
                    Some((_, systems)) => systems.push(entry.system),
                    None => skipped.push((why, vec![entry.system])),
                },
                End::GaveUp(why) => text += &format!("gave up: {}: {why}\n", entry.system),
                End::Failed(why) => text += &format!("FAILED: {}: {why}\n", entry.system),
            }
        }
        for (why, systems) in skipped {
            text += &format!("skipped, {why}: {}\n", systems.join("; "));
        }
        text
    }

    /// Whether a system failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.end, End::Failed(_)))
    }

    fn table(&self) -> Table {
        let runs = || self.entries.iter().flat_map(|entry| &entry.runs);
        let mut columns: Vec<(&str, &str)> = Vec::new();
        for figure in runs().flat_map(|run| &run.figures) {
            if !columns.contains(&(figure.name, figure.unit)) {
                columns.push((figure.name, figure.unit));
            }
        }
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        let title = |(name, unit): &(&str, &str)| match *unit {
            "" => (*name).to_owned(),
            unit => format!("{name}, {unit}"),
        };
        let header = ["system".to_owned()].into_iter().chain(columns.iter().map(title));
        table.set_header(header.chain(["CPU given, %".to_owned(), "runs".to_owned()]));
        for entry in self.entries.iter().filter(|entry| !entry.runs.is_empty()) {
            let cells = columns.iter().map(|(name, unit)| self.cell(entry, name, unit));
            let given = sample(entry.runs.iter().map(|run| run.given));
            let kept = entry.runs.iter().filter(|run| run.is_kept).count();
            let ends = [
                given.map_or_else(String::new, |given| range(&given)),
                format!("{kept} of {}", entry.runs.len()),
            ];
            table.add_row([entry.system.to_owned()].into_iter().chain(cells).chain(ends));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    fn cell(&self, entry: &Entry, name: &str, unit: &str) -> String {
        let Some(sample) = kept(entry, name) else { return "-".to_owned() };
        let first = self.entries.first().and_then(|first| kept(first, name));
        let ratio = first.filter(|_| name == "hogs" || unit == "ns");
        let ratio = ratio.map(|first| format!(" ×{:.2}", sample.median() / first.median()));
        range(&sample) + &ratio.unwrap_or_default()
    }
}

/// Returns the figures of a name from the runs that count.
pub(crate) fn kept(entry: &Entry, name: &str) -> Option<Sample> {
    let runs = entry.runs.iter().filter(|run| run.is_kept);
    let figures = runs.flat_map(|run| &run.figures).filter(|figure| figure.name == name);
    sample(figures.map(|figure| figure.value))
}

pub(crate) fn sample(figures: impl Iterator<Item = f64>) -> Option<Sample> {
    let figures: Vec<_> = figures.collect();
    (!figures.is_empty()).then(|| Sample::new(figures))
}

pub(crate) fn range(sample: &Sample) -> String {
    let digits = |figure: f64| match figure.abs() {
        large if large >= 100.0 => format!("{figure:.0}"),
        middle if middle >= 10.0 => format!("{figure:.1}"),
        small if small >= 0.1 || small == 0.0 => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    };
    let [median, min, max] = [sample.median(), sample.min(), sample.max()].map(digits);
    if min == max { median } else { format!("{median} ({min}..{max})") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{contest::Run, figures::Figure};

    fn entry(system: &'static str, runs: &[(f64, bool)]) -> Entry {
        let run = |(hogs, is_kept): &(f64, bool)| Run {
            given: 99.0,
            is_kept: *is_kept,
            figures: vec![Figure::new("hogs", "%", *hogs)],
        };
        Entry { system, end: End::Done, runs: runs.iter().map(run).collect() }
    }

    #[test]
    fn runs_that_do_not_count_are_left_out() {
        let first = entry("one", &[(80.0, true), (40.0, false), (100.0, true)]);
        let second = entry("two", &[(60.0, true)]);
        let skipped =
            Entry { system: "three", end: End::Skipped("no hogs".to_owned()), runs: Vec::new() };
        let entries = vec![first, second, skipped];
        let answer = Answer { row: "B0", case: "hogs".to_owned(), entries };
        let text = answer.render();
        assert!(text.contains("80.0 (80.0..100) ×1.00"), "{text}");
        assert!(text.contains("60.0 ×0.75"), "{text}");
        assert!(text.contains("2 of 3"), "{text}");
        assert!(text.contains("skipped, no hogs: three"), "{text}");
        assert!(!answer.has_failed());
    }
}
