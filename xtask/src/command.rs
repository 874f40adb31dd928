//! Child processes: how they are written down, started and waited for.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::report::Outcome;

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().map_or_else(|| here.clone(), Path::to_path_buf)
}

/// A command from a line of words without quoting, to be run at the root.
///
/// Flags of an enclosing cargo are kept from it, and no child may rewrite a snapshot.
pub(crate) fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = match words.next() {
        Some("cargo") => Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
        program => Command::new(program.unwrap_or_default()),
    };
    command.args(words).current_dir(root());
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").env("INSTA_UPDATE", "no");
    command
}

/// The command as one would type it.
pub(crate) fn render(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or_default();
    let variables = command.get_envs().filter(|(name, _)| *name != OsStr::new("INSTA_UPDATE"));
    let mut words: Vec<String> = variables
        .filter_map(|(name, value)| Some((name.to_string_lossy(), value?.to_string_lossy())))
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    words.push(program.to_string_lossy().into_owned());
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Runs a command with the terminal's input and output.
///
/// # Errors
///
/// If it cannot be started or does not end with status 0.
pub(crate) fn run(command: &mut Command) -> Result<Outcome> {
    let line = render(command);
    println!("$ {line}");
    let status = command.status().with_context(|| format!("starting `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(Outcome::passed())
}

/// Runs a command and returns what it wrote to its standard output.
///
/// # Errors
///
/// If it cannot be started or does not end with status 0.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = render(command);
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("starting `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("reading from `{line}`"))
}

/// Whether a tool is installed: whether asking for its version works.
pub(crate) fn is_installed(version: &str) -> bool {
    let status = command(version).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Builds with cargo and returns the executable of the target called `name`.
///
/// # Errors
///
/// If the build fails or makes no such executable.
pub(crate) fn build(command: &mut Command, name: &str) -> Result<PathBuf> {
    println!("$ {}", render(command));
    let messages = output(command.arg("--message-format=json-render-diagnostics"))?;
    let found = messages.lines().find_map(|line| executable(line, name));
    found.with_context(|| format!("`{}` built no executable `{name}`", render(command)))
}

/// The executable that a line of cargo's messages announces for the target called `name`.
fn executable(message: &str, name: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_target = message["target"]["name"] == name;
    is_target.then(|| message["executable"].as_str().map(PathBuf::from))?
}

/// Waits for a child up to `limit`; one that takes longer is killed, which gives `None`.
///
/// # Errors
///
/// If the child cannot be waited for.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().context("waiting for a child process")? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill().context("killing a child process")?;
            child.wait().context("waiting for a killed process")?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Does all jobs, two at a time, tells each end as it comes, and returns them in the jobs' order.
///
/// # Errors
///
/// The first failing job's.
pub(crate) fn two_at_a_time<J: Sync, E: Send>(
    jobs: &[J],
    work: impl Fn(&J) -> Result<E> + Sync,
    tell: impl Fn(&J, &E) + Sync,
) -> Result<Vec<E>> {
    let next = AtomicUsize::new(0);
    let ends: Mutex<Vec<(usize, Result<E>)>> = Mutex::default();
    let worker = || {
        loop {
            // Ordering: Relaxed: only the index is shared; the scope's join orders the rest.
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(index) else { return };
            let end = work(job);
            let mut ends = ends.lock().expect("no holder of the lock panics");
            end.iter().for_each(|end| tell(job, end));
            ends.push((index, end));
        }
    };
    thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(worker))));
    let mut ends = ends.into_inner().expect("no holder of the lock panics");
    ends.sort_by_key(|(index, _)| *index);
    ends.into_iter().map(|(_, end)| end).collect()
}

/// The files directly in a folder, in order of name; none if there is no such folder.
pub(crate) fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_failing_command_is_named() {
        let error = run(&mut command("false")).unwrap_err();
        assert_eq!(error.to_string(), "`false` failed (exit status: 1)");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut command("no-such-program --flag")).unwrap_err();
        assert_eq!(error.to_string(), "starting `no-such-program --flag`");
        assert!(!is_installed("no-such-program --version"));
    }

    #[test]
    fn a_command_is_shown_with_its_variables() {
        let mut command = command("cargo test -p fief-core");
        command.env("RUSTFLAGS", "--cfg loom");
        assert_eq!(render(&command), "RUSTFLAGS=\"--cfg loom\" cargo test -p fief-core");
    }

    #[test]
    fn the_executable_is_found_by_its_target() {
        let made = r#"{"target":{"name":"fief"},"executable":"/t/fief"}"#;
        let lib = r#"{"target":{"name":"fief"},"executable":null}"#;
        assert_eq!(executable(made, "fief"), Some(PathBuf::from("/t/fief")));
        assert_eq!(executable(made, "fief_core"), None);
        assert_eq!(executable(lib, "fief"), None);
        assert_eq!(executable("   Compiling fief", "fief"), None);
    }
}
