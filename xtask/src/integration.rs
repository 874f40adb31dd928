//! `integration`: the release binary as a user runs it, without a terminal; and scripts under load.
//!
//! Every shipped scenario runs, made short, and its invariants hold; the soak runs to its end; bad input is
//! refused with the right status and message; Ctrl-C ends both early and in order. Each script of `crates/testing/scripts` mounts controllers, populates
//! trees, rebinds and unmounts while threads charge, and its sums agree.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::command::{build, command, root, wait};
use crate::report::Outcome;

/// How long a run may take that is meant to end at once.
const SHORT: Duration = Duration::from_secs(10);

/// How long a run may take.
const LONG: Duration = Duration::from_secs(60);

/// How long a run goes on before it is interrupted.
const BEFORE_INTERRUPT: Duration = Duration::from_secs(2);

type Scene = (&'static str, fn(&Path) -> Result<()>);

const RUNS: &[Scene] = &[
    ("the soak ends in order", soak),
    ("an unknown flag is refused", unknown_flag),
    ("a value out of range is refused", out_of_range),
    ("a port in use is told", port_in_use),
    ("Ctrl-C ends the soak in order", interrupt),
    ("Ctrl-C ends the tour without a report", interrupt_tour),
];

/// The shipped scenarios, and how many times as short they are.
const SCENARIOS: [(&str, u32); 5] = [
    ("tour", 3),
    ("noisy-neighbour", 3),
    ("memory-squeeze", 2),
    ("live-rebind", 2),
    ("azure-replay", 3),
];

/// Builds the binaries and runs them.
///
/// # Errors
///
/// If a run ends otherwise than it should; what it wrote is part of the message.
pub(crate) fn run() -> Result<Outcome> {
    let fief = build(&mut command("cargo build --locked --release -p fief-cli"), "fief")?;
    for (name, run) in RUNS {
        let start = Instant::now();
        run(&fief).context(name)?;
        println!("{name:36} {:5.1} s", start.elapsed().as_secs_f64());
    }
    for (name, hurry) in SCENARIOS {
        let start = Instant::now();
        let held = scenario(&fief, name, hurry).context(name)?;
        println!("{name:36} {:5.1} s, {held} invariants held", start.elapsed().as_secs_f64());
    }
    let example = "cargo build --locked --release -p fief-testing --example rebind_load";
    let rebind_load = build(&mut command(example), "rebind_load")?;
    let scripts = scripts()?;
    for script in &scripts {
        let start = Instant::now();
        let name = script.file_stem().unwrap_or_default().to_string_lossy();
        let sums = under_load(&rebind_load, script).with_context(|| name.clone().into_owned())?;
        println!("{name:36} {:5.1} s, {sums}", start.elapsed().as_secs_f64());
    }
    let counts = (RUNS.len(), SCENARIOS.len(), scripts.len());
    let said = format!("{} runs, {} scenarios, {} scripts", counts.0, counts.1, counts.2);
    Ok(Outcome::Passed(said))
}

/// The scripts that are run under load, by name; an error if there are none.
fn scripts() -> Result<Vec<PathBuf>> {
    let folder = root().join("crates/testing/scripts");
    let files = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut scripts = Vec::new();
    for file in files {
        let path = file.with_context(|| format!("reading {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "script") {
            scripts.push(path);
        }
    }
    ensure!(!scripts.is_empty(), "there are no scripts in {}", folder.display());
    scripts.sort();
    Ok(scripts)
}

/// Runs a script, and returns what it says of its sums.
fn under_load(rebind_load: &Path, script: &Path) -> Result<String> {
    // From the root, as that may have blanks in its name.
    let script = script.strip_prefix(root()).unwrap_or(script);
    let run = Run::start(rebind_load, &script.to_string_lossy())?.end(LONG)?;
    run.ended_with(0)?;
    run.ensure(run.output.contains("sums agree"), "did not compare its sums")?;
    Ok(run.output.trim_end().to_owned())
}

/// Runs a shipped scenario, and returns how many of its invariants held.
fn scenario(fief: &Path, name: &str, hurry: u32) -> Result<usize> {
    let directory = root().join("target/integration").join(name);
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    let trace = directory.join("arrivals.csv");
    fs::write(&trace, arrivals()).with_context(|| format!("writing {}", trace.display()))?;
    let report = directory.join("report");
    // Paths may have blanks.
    let words = ["run", name, "--plain", "--hurry", &hurry.to_string(), "--out"].map(str::to_owned);
    let paths = [path(&report), "--arrivals".to_owned(), path(&trace)];
    let run = Run::start_with(fief, words.into_iter().chain(paths))?.end(LONG)?;
    run.ended_with(0)?;
    let file = report.join("report.json");
    let json = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let count = |verdict: &str| json.matches(&format!("\"verdict\": \"{verdict}\"")).count();
    run.ensure(count("broken") == 0, "broke an invariant")?;
    run.ensure(count("held") >= 4, "tested next to nothing")?;
    Ok(count("held"))
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A trace with bursts, as the Azure traces have them.
fn arrivals() -> String {
    let mut text = "TIMESTAMP,ContextTokens,GeneratedTokens\n".to_owned();
    for burst in 0..200 {
        for request in 0..20 {
            let micros = burst * 500_000 + request * 900;
            let tokens = 100 + 37 * request % 900;
            let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
            let (minutes, seconds) = (seconds / 60, seconds % 60);
            text += &format!("2023-11-16 18:{minutes:02}:{seconds:02}.{fraction:06},{tokens},10\n");
        }
    }
    text
}

fn soak(fief: &Path) -> Result<()> {
    let run = Run::start(fief, "soak --seconds 3 --plain")?.end(LONG)?;
    run.ended_with(0)?;
    run.printed_a_table()
}

fn unknown_flag(fief: &Path) -> Result<()> {
    let run = Run::start(fief, "tour --no-such-flag")?.end(SHORT)?;
    run.ended_with(2)?;
    run.complained_of("--no-such-flag")
}

fn out_of_range(fief: &Path) -> Result<()> {
    let run = Run::start(fief, "soak --seconds 0")?.end(SHORT)?;
    run.ended_with(2)?;
    run.complained_of("--seconds")
}

fn port_in_use(fief: &Path) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").context("opening a port")?;
    let port = listener.local_addr().context("asking for the port's number")?.port();
    let line = format!("soak --seconds 3 --plain --port {port}");
    let run = Run::start(fief, &line)?.end(LONG)?;
    run.ended_with(1)?;
    run.complained_of("in use")
}

fn interrupt(fief: &Path) -> Result<()> {
    if cfg!(not(unix)) {
        println!("skipped: there is no `kill -INT` here");
        return Ok(());
    }
    let run = Run::start(fief, "soak --seconds 60 --plain")?;
    thread::sleep(BEFORE_INTERRUPT);
    let kill = command(&format!("kill -INT {}", run.child.id())).status();
    ensure!(kill.context("starting `kill`")?.success(), "`kill -INT` failed");
    let run = run.end(SHORT)?;
    run.ended_with(0)?;
    run.printed_a_table()
}

fn interrupt_tour(fief: &Path) -> Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let report = root().join("target/integration/interrupted");
    let words = ["tour", "--plain", "--out"].map(str::to_owned);
    let run = Run::start_with(fief, words.into_iter().chain([path(&report)]))?;
    thread::sleep(BEFORE_INTERRUPT);
    let kill = command(&format!("kill -INT {}", run.child.id())).status();
    ensure!(kill.context("starting `kill`")?.success(), "`kill -INT` failed");
    let run = run.end(SHORT)?;
    run.ended_with(0)?;
    run.ensure(run.output.contains("no report is written"), "did not say so")?;
    run.ensure(!report.join("report.json").exists(), "wrote half a report")
}

/// A run under way.
struct Run {
    line: String,
    child: Child,
    output: JoinHandle<String>,
    errors: JoinHandle<String>,
}

impl Run {
    fn start(program: &Path, arguments: &str) -> Result<Self> {
        Self::start_with(program, arguments.split_whitespace().map(str::to_owned))
    }

    fn start_with(program: &Path, arguments: impl Iterator<Item = String>) -> Result<Self> {
        let name = program.file_stem().unwrap_or_default().to_string_lossy();
        let arguments: Vec<String> = arguments.collect();
        let line = format!("{name} {}", arguments.join(" "));
        let mut command = command(&program.to_string_lossy());
        command.args(arguments).stdin(Stdio::null());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.with_context(|| format!("starting `{line}`"))?;
        let output = collect(child.stdout.take());
        let errors = collect(child.stderr.take());
        Ok(Self { line, child, output, errors })
    }

    /// Waits for its end, which must come within the limit.
    fn end(mut self, limit: Duration) -> Result<Ended> {
        let status = wait(&mut self.child, limit)?;
        let output = self.output.join().unwrap_or_default();
        let errors = self.errors.join().unwrap_or_default();
        let Some(status) = status else {
            let limit = limit.as_secs();
            bail!("`{}` did not end within {limit} s; it wrote\n{output}{errors}", self.line);
        };
        Ok(Ended { line: self.line, status, output, errors })
    }
}

/// Reads a pipe to its end, so that the writer never waits.
fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A broken pipe ends the text, and the checks of the text say what is missing.
        pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A run that has ended, with all it wrote.
struct Ended {
    line: String,
    status: ExitStatus,
    output: String,
    errors: String,
}

impl Ended {
    fn ended_with(&self, code: i32) -> Result<()> {
        let status = self.status;
        self.ensure(status.code() == Some(code), &format!("ended with {status}, not {code}"))?;
        let is_panic = self.errors.contains("panicked at");
        self.ensure(!is_panic, "panicked")
    }

    /// One line of the errors says what was wrong, without a stack.
    fn complained_of(&self, part: &str) -> Result<()> {
        let said = self.errors.lines().any(|line| line.contains(part));
        self.ensure(said, &format!("did not write `{part}` to its errors"))
    }

    /// A table has several lines, and plain output has no escape sequences.
    fn printed_a_table(&self) -> Result<()> {
        let lines = self.output.lines().filter(|line| !line.trim().is_empty()).count();
        self.ensure(lines >= 3, "printed no table")?;
        self.ensure(!self.output.contains('\u{1b}'), "printed escape sequences in plain output")?;
        self.ensure(self.output.ends_with('\n'), "ended in the middle of a line")
    }

    fn ensure(&self, is_met: bool, what: &str) -> Result<()> {
        let Self { line, output, errors, .. } = self;
        ensure!(is_met, "`{line}` {what}; it wrote\n{output}{errors}");
        Ok(())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn ended(program: &str, arguments: &str) -> Ended {
        let run = Run::start(Path::new(program), arguments).expect("the program exists");
        run.end(SHORT).expect("the program ends at once")
    }

    #[test]
    fn a_wrong_status_is_told_with_the_output() {
        let error = ended("/bin/sh", "-c false").ended_with(0).unwrap_err();
        let expected = "`sh -c false` ended with exit status: 1, not 0; it wrote\n";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_missing_message_or_table_is_told() {
        let run = ended("/bin/ls", "/no-such-folder");
        run.complained_of("/no-such-folder").unwrap();
        assert!(run.complained_of("in use").is_err());
        assert!(run.printed_a_table().is_err());
    }

    #[test]
    fn a_run_over_its_limit_is_killed_and_told() {
        let run = Run::start(Path::new("/bin/sleep"), "60").unwrap();
        let error = run.end(Duration::from_millis(50)).err().unwrap();
        assert!(error.to_string().contains("did not end within 0 s"), "{error}");
    }
}
