//! What is printed: a table for each case, with medians and ranges, and what ours was to reach.

use benches::statistic::{Sample, Verdict};
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

use super::{
    contest::Answer,
    rows::{Aim, Entrant},
};
use crate::cpu::{
    contest::{End, Entry},
    report::{kept, range, sample},
};

/// What is written as JSON.
#[derive(Debug, serde::Serialize)]
pub struct Report {
    /// How often each entrant had its turn.
    pub rounds: u32,
    /// What the machine was and did meanwhile.
    pub conditions: benches::system::Conditions,
    /// The cases.
    pub cases: Vec<Answer>,
}

/// A column of the table: a figure, and its aim.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Column {
    name: &'static str,
    unit: &'static str,
    aim: Option<Aim>,
}

impl Answer {
    /// Returns the table of those that took part, and who did not.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("{}: {}\n\n", self.row, self.case);
        if self.entries.iter().any(|entry| !entry.runs.is_empty()) {
            text += &format!("{}\n", self.table());
        }
        for entry in &self.entries {
            match &entry.end {
                End::Done => {}
                End::Skipped(why) => text += &format!("skipped: {}: {why}\n", entry.system),
                End::GaveUp(why) => text += &format!("gave up: {}: {why}\n", entry.system),
                End::Failed(why) => text += &format!("FAILED: {}: {why}\n", entry.system),
            }
        }
        text
    }

    fn table(&self) -> Table {
        let columns = self.columns();
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        let title = |column: &Column| {
            let name = match column.unit {
                "" => column.name.to_owned(),
                unit => format!("{}, {unit}", column.name),
            };
            [name].into_iter().chain(column.aim.map(|_| "target".to_owned()))
        };
        let header = ["system".to_owned()].into_iter().chain(columns.iter().flat_map(title));
        table.set_header(header.chain(["CPU given, %".to_owned(), "runs".to_owned()]));
        for entry in self.entries.iter().filter(|entry| !entry.runs.is_empty()) {
            let cells = columns.iter().flat_map(|column| column.cells(entry));
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

    fn columns(&self) -> Vec<Column> {
        let mut columns: Vec<Column> = Vec::new();
        let runs = self.entries.iter().flat_map(|entry| &entry.runs);
        for figure in runs.flat_map(|run| &run.figures) {
            let aim = self.aims.iter().find(|(name, _)| *name == figure.name).map(|(_, aim)| *aim);
            let column = Column { name: figure.name, unit: figure.unit, aim };
            if !columns.contains(&column) {
                columns.push(column);
            }
        }
        columns
    }
}

impl Column {
    /// Returns the figure, and how it is to the aim if there is one.
    fn cells(&self, entry: &Entry) -> impl Iterator<Item = String> {
        let sample = kept(entry, self.name);
        let verdict = self.aim.map(|aim| match &sample {
            Some(sample) if Entrant::is_ours(entry.system) => aim.judge(sample),
            _ => String::new(),
        });
        let figure = sample.as_ref().map_or_else(|| "-".to_owned(), range);
        [figure].into_iter().chain(verdict)
    }
}

impl Aim {
    /// Returns what is to be reached, and whether it is.
    fn judge(self, sample: &Sample) -> String {
        let (shown, limit, miss): (_, _, &dyn Fn(f64) -> f64) = match self {
            Self::AtMost(most) => (format!("≤ {most}"), most, &|value| value),
            Self::AtLeast(least) => (format!("≥ {least}"), -least, &|value| -value),
            Self::Within(most) => (format!("± {most}"), most, &f64::abs),
            Self::Around(middle, most) => {
                (format!("{middle} ± {most}"), most, &move |value| f64::abs(value - middle))
            }
        };
        let verdict = sample.map(miss).verdict(limit, limit);
        debug_assert!(verdict != Verdict::None, "there is an aim");
        format!("{shown}: {}", verdict.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{contest::Run, figures::Figure};

    fn judged(aim: Aim, figures: &[f64]) -> String {
        aim.judge(&Sample::new(figures.to_vec()))
    }

    #[test]
    fn aims_are_held_against_medians() {
        assert_eq!(judged(Aim::AtMost(1.6), &[1.5, 1.6, 9.0]), "≤ 1.6: ok");
        assert_eq!(judged(Aim::AtMost(1.6), &[1.7, 1.8, 1.9]), "≤ 1.6: missed");
        assert_eq!(judged(Aim::AtMost(1.6), &[1.5, 1.8, 1.9]), "≤ 1.6: no difference");
        assert_eq!(judged(Aim::AtLeast(80.0), &[85.0, 90.0]), "≥ 80: ok");
        assert_eq!(judged(Aim::AtLeast(80.0), &[70.0, 71.0]), "≥ 80: missed");
        assert_eq!(judged(Aim::Within(0.5), &[-0.4, 0.4, 0.1]), "± 0.5: ok");
        assert_eq!(judged(Aim::Within(0.5), &[-0.7, -0.6, -0.8]), "± 0.5: missed");
        assert_eq!(judged(Aim::Around(100.0, 5.0), &[96.0]), "100 ± 5: ok");
        assert_eq!(judged(Aim::Around(100.0, 5.0), &[94.0]), "100 ± 5: missed");
    }

    #[test]
    fn a_target_stands_beside_ours_only() {
        let entry = |system, value| {
            let figures = vec![Figure::new("time", "ns", value), Figure::new("other", "", 1.0)];
            Entry {
                system,
                end: End::Done,
                runs: vec![Run { given: 99.0, is_kept: true, figures }],
            }
        };
        let mut entries = vec![entry("theirs", 9.0), entry("fief", 2.0)];
        entries.push(Entry {
            system: "none",
            end: End::Skipped("no disk".to_owned()),
            runs: Vec::new(),
        });
        let aims = vec![("time", Aim::AtMost(3.0))];
        let text = Answer { row: "W0", case: "a case".to_owned(), aims, entries }.render();
        let line = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(&format!("| {name} "))).unwrap();
            line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(line("system")[1..5], ["system", "time, ns", "target", "other"]);
        assert_eq!(line("theirs")[2..5], ["9.00", "", "1.00"]);
        assert_eq!(line("fief")[2..5], ["2.00", "≤ 3: ok", "1.00"]);
        assert!(text.contains("skipped: none: no disk\n"), "{text}");
    }
}
