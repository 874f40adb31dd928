//! `ci`: the gate, as a table of steps; `--full` adds the long lane.

use anyhow::{Context, Result};

use crate::command::{command, is_installed, list, render, root, run as go};
use crate::report::{Outcome, Report};
use crate::{asm, integration, loom, model, sanitize, tidy};

/// How much to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Adds stress, the sanitizer, more of every random and loom test, the Promela model, and the
    /// optional tools.
    #[arg(long)]
    full: bool,
}

type Step = (&'static str, fn() -> Result<Outcome>);

const LOOM: &str = "--cfg loom";
const PORTABLE: &str = "--cfg fief_portable";

/// What every change passes; needs cargo, rustfmt and clippy.
const GATE: &[Step] = &[
    ("fmt", || go(&mut command("cargo fmt --all --check"))),
    ("tidy", tidy::run),
    ("clippy", || {
        go(&mut command("cargo clippy --locked --workspace --all-targets -- -Dwarnings"))
    }),
    ("clippy, all features", || {
        let line = "cargo clippy --locked --workspace --all-targets --all-features -- -Dwarnings";
        go(&mut command(line))
    }),
    ("clippy, loom", || {
        // The test profile checks the library's own tests; those in `tests/` need all of it.
        let packages = loom::CRATES.map(|name| format!("--package=fief-{name}"));
        let line = "cargo clippy --locked --lib --profile test --target-dir target/loom";
        let warnings = ["--", "-Dwarnings"];
        go(command(line).args(packages).args(warnings).env("RUSTFLAGS", LOOM))
    }),
    ("test", || go(&mut command("cargo test --locked --workspace"))),
    ("test, all features", || {
        let line = "cargo test --locked -p fief-core -p fief-cpu -p fief-io -p fief-memory -p fief-tasks \
                    --all-features";
        go(&mut command(line))
    }),
    ("doc", || {
        let line = "cargo doc --locked --workspace --all-features --no-deps";
        go(command(line).env("RUSTDOCFLAGS", "-Dwarnings"))
    }),
    ("loom", || loom::run(&loom::Options::default())),
    ("asm", asm::run),
    ("integration", integration::run),
    ("benches once", || go(&mut command("cargo bench --locked -p benches -- --test"))),
];

/// What takes minutes.
const LONG: &[Step] = &[
    ("stress", || {
        let line = "cargo test --locked --release --workspace -- --ignored --test-threads=1";
        go(command(line).arg("--nocapture"))
    }),
    ("properties", || {
        let line = "cargo test --locked --release --workspace --lib --bins --tests";
        go(command(line).env("PROPTEST_CASES", "2000"))
    }),
    ("loom, deeper", || loom::run(&loom::Options::deeper())),
    ("model", model::run_where_installed),
    ("sanitize", sanitize::run),
    ("portable", || {
        let line = "cargo test --locked -p fief-core -p fief-memory -p fief-cpu -p fief-io \
                    --features fief-cpu/tokio,fief-io/tokio --target-dir target/portable";
        go(command(line).env("RUSTFLAGS", PORTABLE))
    }),
];

/// A tool that runs where it is installed.
struct Tool {
    name: &'static str,
    version: &'static str,
    line: &'static str,
    install: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "nextest",
        version: "cargo nextest --version",
        line: "cargo nextest run --locked --workspace",
        install: "cargo install --locked cargo-nextest",
    },
    Tool {
        name: "hack",
        version: "cargo hack --version",
        line: "cargo hack check --locked --feature-powerset -p fief-core -p fief-cpu -p fief-io \
               -p fief-memory -p fief-tasks -p fief",
        install: "cargo install --locked cargo-hack",
    },
    Tool {
        name: "typos",
        version: "typos --version",
        line: "typos",
        install: "cargo install --locked typos-cli",
    },
    Tool {
        name: "machete",
        version: "cargo machete --version",
        line: "cargo machete",
        install: "cargo install --locked cargo-machete",
    },
    Tool {
        name: "deny",
        version: "cargo deny --version",
        line: "cargo deny --locked check bans licenses sources",
        install: "cargo install --locked cargo-deny",
    },
];

/// Runs the gate up to its first failure; the steps behind it are listed as not run.
///
/// # Errors
///
/// The first failing step's.
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let mut result = steps(GATE, report, Ok(()));
    if options.full {
        result = steps(LONG, report, result);
        for tool in TOOLS {
            result = next(report, tool.name, result, || optional(tool));
        }
        for workspace in workspaces() {
            result = next(report, &workspace, result, || foreign(&workspace));
        }
    }
    result
}

fn steps(steps: &[Step], report: &mut Report, before: Result<()>) -> Result<()> {
    steps.iter().fold(before, |result, (name, step)| next(report, name, result, step))
}

/// Runs a step unless one before it failed.
fn next(
    report: &mut Report,
    name: &str,
    before: Result<()>,
    step: impl FnOnce() -> Result<Outcome>,
) -> Result<()> {
    if before.is_err() {
        report.not_run(name);
        return before;
    }
    report.step(name, step)
}

fn optional(tool: &Tool) -> Result<Outcome> {
    if is_installed(tool.version) {
        return go(&mut command(tool.line));
    }
    println!("not installed; to have it: {}", tool.install);
    Ok(Outcome::Skipped(format!("not installed: {}", tool.install)))
}

/// The workspaces beside the main one, which nobody should build by accident.
fn workspaces() -> Vec<String> {
    let root = root();
    let mut folders = vec![root.join("benches/peers")];
    folders.extend(list(&root.join("integrations")));
    folders.retain(|folder| folder.join("Cargo.toml").is_file());
    let name = |folder: &std::path::Path| {
        folder.strip_prefix(&root).ok().map(|path| path.to_string_lossy().into_owned())
    };
    folders.iter().filter_map(|folder| name(folder)).collect()
}

/// Formats, lints and tests a workspace of its own, in its own `target`, where its crates can be
/// had.
fn foreign(folder: &str) -> Result<Outcome> {
    let manifest = format!("--manifest-path={folder}/Cargo.toml");
    let manifest = manifest.as_str();
    let mut fetch = command("cargo fetch --locked --target host-tuple");
    let line = render(fetch.arg(manifest));
    println!("$ {line}");
    let fetched = fetch.output().with_context(|| format!("starting `{line}`"))?;
    let errors = String::from_utf8_lossy(&fetched.stderr);
    eprint!("{errors}");
    if !fetched.status.success() && is_out_of_reach(&errors) {
        return Ok(Outcome::Skipped("needs crates that cannot be fetched here".to_owned()));
    }
    go(command("cargo fmt --all --check").arg(manifest)).context("formatting")?;
    let built = ["--locked", manifest];
    go(command("cargo clippy --workspace --all-targets").args(built).args(["--", "-Dwarnings"]))?;
    go(command("cargo test --workspace").args(built))
}

/// Whether cargo could not fetch for want of the network; what else it stumbles over is an error.
fn is_out_of_reach(errors: &str) -> bool {
    ["failed to download", "failed to fetch", "offline mode", "--offline was specified"]
        .iter()
        .any(|reason| errors.contains(reason))
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_failure_stops_the_gate_and_names_what_did_not_run() {
        let all: [Step; 3] =
            [("a", || Ok(Outcome::passed())), ("b", || bail!("broken")), ("c", || bail!("late"))];
        let mut report = Report::default();
        let error = steps(&all, &mut report, Ok(())).unwrap_err();
        let summary = report.to_string();
        assert_eq!(format!("{error:#}"), "b: broken");
        assert!(summary.contains("\nc          -  not run\n"), "{summary}");
    }

    #[test]
    fn a_missing_tool_is_skipped_with_its_install_line() {
        let tool = Tool {
            name: "none",
            version: "no-such-tool --version",
            line: "no-such-tool",
            install: "cargo install no-such-tool",
        };
        let Outcome::Skipped(why) = optional(&tool).unwrap() else { panic!("not skipped") };
        assert_eq!(why, "not installed: cargo install no-such-tool");
    }

    #[test]
    fn crates_out_of_reach_are_told_from_a_stale_lock_file() {
        let refused = "error: failed to get `cap` as a dependency of package `peers v0.1.0`\n\n\
                       Caused by:\n  failed to download from `https://index/config.json`\n";
        let offline = "error: no matching package named `cap` found\n\
                       As a reminder, you're using offline mode (--offline)\n";
        let stale = "error: cannot update the lock file peers/Cargo.lock because --locked was \
                     passed to prevent this\nhelp: to generate the lock file without accessing \
                     the network, remove the --locked flag and use --offline instead.\n";
        assert_eq!([refused, offline, stale].map(is_out_of_reach), [true, true, false]);
    }
}
