//! Steps: their names, times and verdicts, and the table at the end.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How a step ended that did not fail.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It passed; the text says what was looked at and may be empty.
    Passed(String),
    /// It could not run here; the text says why.
    Skipped(String),
}

impl Outcome {
    /// A pass about which there is nothing to say.
    pub(crate) fn passed() -> Self {
        Self::Passed(String::new())
    }
}

/// The steps so far, in order.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: String,
    time: Option<Duration>,
    verdict: &'static str,
    note: String,
}

impl Report {
    /// Runs a step and enters its verdict and time.
    ///
    /// # Errors
    ///
    /// The step's own, with the step's name before it.
    pub(crate) fn step(
        &mut self,
        name: &str,
        step: impl FnOnce() -> Result<Outcome>,
    ) -> Result<()> {
        println!("\n=== {name}");
        let start = Instant::now();
        let result = step();
        let time = Some(start.elapsed());
        match &result {
            Ok(Outcome::Passed(note)) => self.enter(name, time, "passed", note),
            Ok(Outcome::Skipped(why)) => self.enter(name, None, "skipped", why),
            Err(_) => self.enter(name, time, "FAILED", ""),
        }
        result.map(drop).with_context(|| name.to_owned())
    }

    /// Enters a step that an earlier failure kept from running.
    pub(crate) fn not_run(&mut self, name: &str) {
        self.enter(name, None, "not run", "");
    }

    fn enter(&mut self, name: &str, time: Option<Duration>, verdict: &'static str, note: &str) {
        self.rows.push(Row { name: name.to_owned(), time, verdict, note: note.to_owned() });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        writeln!(f, "\n=== summary")?;
        for Row { name, time, verdict, note } in &self.rows {
            let line = format!("{name:width$} {}  {verdict:7}  {note}", seconds(*time));
            writeln!(f, "{}", line.trim_end())?;
        }
        let total = self.rows.iter().filter_map(|row| row.time).sum();
        writeln!(f, "{:width$} {}", "total", seconds(Some(total)))
    }
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| format!("{:>10}", "-"), |time| format!("{:>8.1} s", time.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_failure_carries_the_name_of_its_step() {
        let error = Report::default().step("fmt", || bail!("ugly")).unwrap_err();
        assert_eq!(format!("{error:#}"), "fmt: ugly");
    }

    #[test]
    fn the_summary_has_a_row_for_every_step() {
        let mut report = Report::default();
        report.enter("fmt", Some(Duration::from_millis(250)), "passed", "");
        report.enter("cargo-hack", None, "skipped", "not installed");
        report.enter("test", Some(Duration::from_secs(12)), "FAILED", "");
        report.not_run("doc");
        let expected = "
=== summary
fmt             0.2 s  passed
cargo-hack          -  skipped  not installed
test           12.0 s  FAILED
doc                 -  not run
total          12.2 s
";
        assert_eq!(report.to_string(), expected);
    }
}
