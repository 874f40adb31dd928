//! One search: a verifier made by spin, compiled, run to its end, and what it said.

use std::fmt;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::MODEL;
use crate::command::{command, root, wait};

/// For the compiler: safety properties only, states stored in pieces, mebibytes at most.
const VERIFIER: &str = "-DSAFETY -DCOLLAPSE -DMEMLIM=3000 -o pan pan.c";

/// For the verifier: steps at most, and two to the power of this many slots for states.
const BOUNDS: [&str; 2] = ["-m100000", "-w23"];

/// A scenario, whole or with one variant broken in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Search {
    pub(super) scenario: String,
    pub(super) variant: Option<String>,
}

/// How a search ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Without an error, with nothing left to search.
    Searched(Size),
    /// With this error.
    Error(String),
    /// Before its end, for this reason.
    CutShort(String),
}

/// What a search came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Size {
    states: u64,
    mebibytes: u64,
    time: Duration,
}

impl End {
    /// What the end means for a broken variant.
    pub(super) fn of_variant(&self) -> String {
        match self {
            Self::Searched(_) => "NOT FOUND".to_owned(),
            Self::Error(error) => format!("found: {error}"),
            Self::CutShort(why) => format!("NOT FOUND, {why}"),
        }
    }

    /// Reads what the verifier wrote.
    fn read(log: &str, time: Duration) -> Self {
        if let Some(error) = log.lines().find_map(error) {
            return Self::Error(error.to_owned());
        }
        if let Some(why) = log.lines().find(|line| is_limit(line)) {
            return Self::CutShort(why.trim().to_owned());
        }
        let number = |end: &str| log.lines().find_map(|line| number(line, end));
        match (log.contains("errors: 0"), number("states, stored")) {
            (true, Some(states)) => {
                let mebibytes = number("total actual memory usage").unwrap_or_default();
                Self::Searched(Size { states, mebibytes, time })
            }
            _ => Self::CutShort("the verifier's summary is missing".to_owned()),
        }
    }
}

/// The error that a line of the verifier's tells.
fn error(line: &str) -> Option<&str> {
    let error = line.strip_prefix("pan:")?.split_once(": ")?.1;
    let is_error = error.starts_with("assertion violated") || error.contains("invalid end state");
    is_error.then_some(error)
}

/// Tells whether the line says that not everything was searched.
fn is_limit(line: &str) -> bool {
    let limits = ["max search depth too small", "MEMLIM", "out of memory", "not completed"];
    limits.iter().any(|limit| line.contains(limit))
}

/// The number at the beginning of a line about `what`.
fn number(line: &str, what: &str) -> Option<u64> {
    let (number, _) = line.split_once(what)?;
    number.trim().split('.').next()?.parse().ok()
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Searched(Size { states, mebibytes, time }) => {
                let seconds = time.as_secs_f64();
                write!(f, "passed {states:>10} states {mebibytes:>5} MiB {seconds:6.1} s")
            }
            Self::Error(error) => write!(f, "FAILED: {error}"),
            Self::CutShort(why) => write!(f, "CUT SHORT: {why}"),
        }
    }
}

impl Search {
    pub(super) fn new(scenario: &str, variant: Option<&str>) -> Self {
        Self { scenario: scenario.to_owned(), variant: variant.map(str::to_owned) }
    }

    /// Makes the verifier, compiles it, and runs it.
    ///
    /// # Errors
    ///
    /// If a program cannot be started, or spin or the compiler fails.
    pub(super) fn run(&self, limit: Duration) -> Result<End> {
        let folder = self.folder();
        // What an earlier run left is of no use, and may not be there.
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let model = root().join(MODEL);
        self.make(self.here("spin -a").args(self.defines()).arg(model), "pan.c")?;
        // A broken variant is found at once; a whole scenario takes longer than its compilation.
        let level = if self.variant.is_some() { "-O0" } else { "-O1" };
        let verifier = VERIFIER.split(' ');
        self.make(self.here("cc").arg(level).args(verifier), "pan")?;
        self.search(limit)
    }

    /// Runs a command that has to make a file.
    fn make(&self, command: &mut Command, file: &str) -> Result<()> {
        let output = command.output().with_context(|| format!("making {file}"))?;
        if !output.status.success() || !self.folder().join(file).is_file() {
            let said = [output.stdout, output.stderr].concat();
            bail!("no {file} of {}:\n{}", self.name(), String::from_utf8_lossy(&said));
        }
        Ok(())
    }

    fn search(&self, limit: Duration) -> Result<End> {
        let path = self.folder().join("pan.log");
        let log = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        let mut pan = self.here(&self.folder().join("pan").to_string_lossy());
        pan.args(BOUNDS).stderr(log.try_clone().context("sharing the log")?).stdout(log);
        let start = Instant::now();
        let mut pan = pan.spawn().with_context(|| format!("starting {}", self.name()))?;
        if wait(&mut pan, limit)?.is_none() {
            return Ok(End::CutShort(format!("over {} s", limit.as_secs())));
        }
        let log = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok(End::read(&String::from_utf8_lossy(&log), start.elapsed()))
    }

    /// How to have the steps of the error printed.
    pub(super) fn replay(&self) -> String {
        let trail = format!("target/model/{}/reference.pml.trail", self.name());
        format!("spin -k {trail} -t -p -g -l {} {MODEL}", self.defines().join(" "))
    }

    fn defines(&self) -> Vec<String> {
        let names = [format!("SCENARIO_{}", self.scenario)].into_iter().chain(self.variant.clone());
        names.map(|name| format!("-D{name}")).collect()
    }

    /// A command to be run in the search's own folder.
    fn here(&self, line: &str) -> Command {
        let mut command = command(line);
        command.current_dir(self.folder());
        command
    }

    fn folder(&self) -> PathBuf {
        root().join("target/model").join(self.name())
    }

    fn name(&self) -> String {
        let variant = self.variant.iter().map(|variant| format!(".{variant}"));
        self.scenario.clone() + &variant.collect::<String>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str = "\
Full statespace search for:
	assertion violations	+
	invalid end states	+
State-vector 176 byte, depth reached 204, errors: 0
  2607120 states, stored
  242.096	total actual memory usage
";

    fn read(log: &str) -> End {
        End::read(log, Duration::ZERO)
    }

    #[test]
    fn a_search_to_its_end_is_told_from_one_cut_short() {
        let size = Size { states: 2_607_120, mebibytes: 242, time: Duration::ZERO };
        assert_eq!(read(SUMMARY), End::Searched(size));
        for line in [
            "error: max search depth too small",
            "pan: reached -DMEMLIM bound",
            "Warning: Search not completed",
        ] {
            assert_eq!(read(&format!("{line}\n{SUMMARY}")), End::CutShort(line.to_owned()));
        }
        assert!(matches!(read("Segmentation fault"), End::CutShort(_)));
    }

    #[test]
    fn an_error_is_found() {
        let log = "pan:1: assertion violated (refs[c]==0) (at depth 72)\n\
                   Warning: Search not completed\nerrors: 1\n";
        let end = read(log);
        assert_eq!(end.of_variant(), "found: assertion violated (refs[c]==0) (at depth 72)");
        assert_eq!(read(SUMMARY).of_variant(), "NOT FOUND");
    }

    #[test]
    fn the_trail_of_a_variant_is_replayed_with_its_defines() {
        let line = Search::new("kill", Some("NO_HEAVY")).replay();
        let trail = "target/model/kill.NO_HEAVY/reference.pml.trail";
        let defines = "-DSCENARIO_kill -DNO_HEAVY";
        assert_eq!(line, format!("spin -k {trail} -t -p -g -l {defines} {MODEL}"));
    }
}
