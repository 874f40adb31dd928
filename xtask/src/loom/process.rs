//! One test in one process: started, limited in time, its end told.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::command::{command, two_at_a_time, wait};

/// How many lines of a failing model are shown.
const LINES_SHOWN: usize = 60;

/// A test to be run alone.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) binary: PathBuf,
    pub(super) test: String,
    pub(super) mutant: Option<String>,
    pub(super) preemptions: u32,
    pub(super) limit: Duration,
}

/// How a test ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With status 0, after this time.
    Passed(Duration),
    /// With the status of a failing test.
    Failed,
    /// Otherwise: by a signal, or with a status of its own.
    Crashed(String),
    /// Not within the limit.
    TimedOut,
}

impl End {
    fn new(status: Option<ExitStatus>, time: Duration) -> Self {
        match status {
            None => Self::TimedOut,
            Some(status) if status.success() => Self::Passed(time),
            Some(status) if status.code() == Some(101) => Self::Failed,
            Some(status) => Self::Crashed(status.to_string()),
        }
    }

    /// What the end means for a mutant.
    pub(super) fn verdict(&self) -> String {
        match self {
            Self::Passed(_) => "SURVIVED".to_owned(),
            Self::Failed => "killed".to_owned(),
            end => format!("killed ({end})"),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed(time) => write!(f, "passed {:6.1} s", time.as_secs_f64()),
            Self::Failed => write!(f, "FAILED"),
            Self::Crashed(status) => write!(f, "CRASHED, {status}"),
            Self::TimedOut => write!(f, "TIMED OUT"),
        }
    }
}

/// Runs all jobs, tells each end as it comes, and returns them in the jobs' order.
///
/// # Errors
///
/// If a process cannot be started or waited for.
pub(super) fn run_all(jobs: &[Job], tell: impl Fn(&Job, &End) + Sync) -> Result<Vec<End>> {
    two_at_a_time(jobs, Job::run, tell)
}

impl Job {
    fn run(&self) -> Result<End> {
        let path = self.log();
        let log = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        let mut command = command(&self.binary.to_string_lossy());
        command.args([&self.test, "--exact", "--include-ignored", "--nocapture"]);
        command.env("LOOM_MAX_PREEMPTIONS", self.preemptions.to_string());
        match &self.mutant {
            Some(mutant) => command.env("FIEF_MUTANT", mutant),
            None => command.env_remove("FIEF_MUTANT"),
        };
        command.stderr(log.try_clone().context("sharing the log")?).stdout(log);
        let start = Instant::now();
        let mut child = command.spawn().with_context(|| format!("starting {}", self.test))?;
        let end = End::new(wait(&mut child, self.limit)?, start.elapsed());
        if self.mutant.is_none() && !matches!(end, End::Passed(_)) {
            show(&path);
        }
        Ok(end)
    }

    /// The file for what the test writes.
    fn log(&self) -> PathBuf {
        let mutant = self.mutant.as_deref().unwrap_or("none");
        let name = format!("{}.{mutant}.log", self.test.replace("::", "."));
        self.binary.with_file_name(name)
    }
}

/// Shows the end of a log.
fn show(path: &Path) {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let shown = lines.len().saturating_sub(LINES_SHOWN);
    println!("--- {}\n{}\n---", path.display(), lines[shown..].join("\n"));
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn only_a_pass_lets_a_mutant_survive() {
        let end = |status: Option<i32>| End::new(status.map(ExitStatus::from_raw), Duration::ZERO);
        assert_eq!(end(Some(0)).verdict(), "SURVIVED");
        assert_eq!(end(Some(101 << 8)).verdict(), "killed");
        assert_eq!(end(Some(6)).verdict(), "killed (CRASHED, signal: 6 (SIGABRT))");
        assert_eq!(end(None).verdict(), "killed (TIMED OUT)");
    }

    #[test]
    fn a_process_over_its_limit_is_killed() {
        let mut child = command("sleep 60").spawn().unwrap();
        assert_eq!(wait(&mut child, Duration::from_millis(50)).unwrap(), None);
    }

    #[test]
    fn every_job_ends_in_order() {
        let job = |name: &str| Job {
            binary: std::env::current_exe().unwrap(),
            test: name.to_owned(),
            mutant: None,
            preemptions: 2,
            limit: Duration::from_secs(60),
        };
        let jobs = [job("no::such::test"), job("no::such::other"), job("no::such::third")];
        let ends = run_all(&jobs, |_, _| ()).unwrap();
        assert_eq!(ends.len(), 3);
        assert!(ends.iter().all(|end| matches!(end, End::Passed(_))), "{ends:?}");
    }
}
