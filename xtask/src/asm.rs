//! `asm`: no locked instruction on the fast path, or one where that is the promise, looked for in the compiler's own output.
//!
//! Some crates have an [example](EXAMPLES) with one small function for each promise (`probe_clone`, …).
//! Each is read in the emitted assembly, with every function it reaches there. A call that leaves
//! the listing must go to a function whose name says that it is off the fast path.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use self::listing::Listing;
use crate::command::{command, list, root, run as go};
use crate::report::Outcome;

mod listing;

/// An example with probes: `name` in the package `fief-package`, whose folder is `crates/package`.
struct Example {
    package: &'static str,
    name: &'static str,
    /// The functions that it has at least.
    probes: &'static [&'static str],
    /// How many exchanges a probe may have.
    exchanges: usize,
}

/// Their names differ, as all listings land in one folder.
const EXAMPLES: [Example; 4] = [
    Example {
        package: "core",
        name: "fast_path",
        probes: &[
            "probe_clone",
            "probe_drop",
            "probe_try_get",
            "probe_try_get_online",
            "probe_cache_css",
        ],
        exchanges: 0,
    },
    Example {
        package: "memory",
        name: "charge_fast_path",
        probes: &["probe_try_charge", "probe_uncharge", "probe_grow", "probe_shrink"],
        exchanges: 0,
    },
    Example {
        package: "cpu",
        name: "checkpoint_fast_path",
        probes: &["probe_checkpoint", "probe_thread_checkpoint"],
        exchanges: 0,
    },
    Example {
        package: "io",
        name: "admit_fast_path",
        probes: &["probe_try_acquire"],
        exchanges: 1,
    },
];

/// Emits the examples' assembly and checks it.
///
/// # Errors
///
/// If there is no such example, a probe is missing, or one has what it must not have.
pub(crate) fn run() -> Result<Outcome> {
    if cfg!(not(all(target_arch = "x86_64", target_os = "linux"))) {
        return Ok(Outcome::Skipped("reads x86-64 assembly for Linux only".to_owned()));
    }
    let mut count = 0;
    for example in &EXAMPLES {
        count += check(&emit(example)?, example)?;
    }
    Ok(Outcome::Passed(format!("{count} probes")))
}

/// Returns the path of an example's listing.
fn emit(Example { package, name, .. }: &Example) -> Result<PathBuf> {
    let source = format!("crates/{package}/examples/{name}.rs");
    if !root().join(&source).is_file() {
        bail!("the example with the probes does not exist\n  --> {source}:1");
    }
    let line = format!("cargo rustc --locked --release -p fief-{package} --example {name}");
    let flags = "--target-dir target/asm -- --emit asm -C codegen-units=1 -C debuginfo=0";
    go(command(&line).args(flags.split(' ')))?;
    newest(name)
}

/// The example's listing; older builds may have left others.
fn newest(example: &str) -> Result<PathBuf> {
    let is_listing = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.strip_prefix(example).is_some_and(|rest| rest.starts_with('-')) && name.ends_with(".s")
    };
    let time = |path: &PathBuf| {
        path.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let listings = list(&root().join("target/asm/release/examples")).into_iter().filter(is_listing);
    listings.max_by_key(time).context("the compiler emitted no assembly for the example")
}

/// Checks a listing, and returns how many probes it has.
fn check(path: &Path, example: &Example) -> Result<usize> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let listing = Listing::parse(&text);
    let probes = listing.probes();
    let is_missing = |name: &&&str| !probes.iter().any(|probe| listing::is_named(probe, name));
    let missing: Vec<&str> = example.probes.iter().filter(is_missing).copied().collect();
    if !missing.is_empty() {
        bail!("no {} in {}", missing.join(", "), path.display());
    }
    let mut refusals = Vec::new();
    for probe in &probes {
        let walk = listing.walk(probe);
        println!("{probe}: {} functions, {} calls out", walk.functions, walk.leaves.len());
        walk.leaves.iter().for_each(|leaf| println!("    to {leaf}"));
        let mut exchanges = 0;
        refusals.extend(walk.refusals.into_iter().filter(|refusal| {
            let is_exchange = refusal.starts_with("`lock") && refusal.contains(" cmpxchg");
            exchanges += usize::from(is_exchange);
            !is_exchange || exchanges > example.exchanges
        }));
    }
    if !refusals.is_empty() {
        refusals.iter().for_each(|refusal| eprintln!("error: {refusal}"));
        let count = refusals.len();
        bail!("{count} findings on the fast path\n  --> {}", path.display());
    }
    Ok(probes.len())
}
