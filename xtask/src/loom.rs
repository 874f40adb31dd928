//! `loom`: the models, then every mutant against the model that must refuse it.
//!
//! For each of the [crates](CRATES) with models:
//!
//! 1. Build its unit tests under `--cfg loom`, once.
//! 2. Run each model in a process of its own, under a time limit: a failing model can hang or
//!    abort the test runner, and takes its neighbours with it.
//! 3. Ask the binary for its mutants (a weakened ordering, a fence left out), and run each one's
//!    model with the mutant switched on through `FIEF_MUTANT`. The model has to fail.
//! 4. Compare the mutants with those that its sources mark.
//!
//! Then compare the mutants of all crates with the tables of `docs/memory-model.md`, both ways.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::mutant::Mutant;
use self::process::{End, Job, run_all};
use crate::command::{build, command, list, output, root};
use crate::report::Outcome;

mod mutant;
mod process;

/// The crates with models: `name` is the package `fief-name` in the folder `crates/name`.
pub(crate) const CRATES: [&str; 5] = ["core", "memory", "alloc", "cpu", "io"];

/// Where the models live, as a prefix of their tests' names.
const MODELS: &str = "tests::loom_";

/// The test that prints the mutants.
const LIST: &str = "tests::mutants::list";

/// The page whose tables name every edge and its mutant.
const PAGE: &str = "docs/memory-model.md";

/// Which models to run, and how far.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Runs only the models and mutants whose name has this in it.
    filter: Option<String>,
    /// How often a thread may be preempted.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    preemptions: u32,
    /// How long a model may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    limit: u64,
    /// Runs the models that are marked `#[ignore]` too.
    #[arg(long)]
    ignored: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { filter: None, preemptions: 2, limit: 120, ignored: false }
    }
}

impl Options {
    /// The long lane's.
    pub(crate) fn deeper() -> Self {
        Self { preemptions: 3, limit: 900, ignored: true, ..Self::default() }
    }

    /// Refuses a filter that takes nothing.
    fn found(&self, count: usize) -> Result<()> {
        if let (0, Some(filter)) = (count, &self.filter) {
            bail!("no model or mutant has `{filter}` in its name");
        }
        Ok(())
    }

    fn takes(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| name.contains(filter))
    }
}

/// Runs models and mutants.
///
/// # Errors
///
/// If a model fails, a mutant survives, or the mutants and their page disagree.
pub(crate) fn run(options: &Options) -> Result<Outcome> {
    let suites = CRATES.map(|name| Suite::build(name, options));
    let suites = suites.into_iter().collect::<Result<Vec<_>>>()?;
    let (mut models, mut mutants) = (0, 0);
    for suite in &suites {
        let counts = suite.run()?;
        models += counts.0;
        mutants += counts.1;
    }
    options.found(models + mutants)?;
    let page = fs::read_to_string(root().join(PAGE)).unwrap_or_default();
    let built = suites.iter().flat_map(|suite| &suite.mutants);
    mutant::compare(&built.map(|mutant| mutant.name.as_str()).collect(), &page)?;
    Ok(Outcome::Passed(format!("{models} models, {mutants} mutants killed")))
}

/// The texts of all Rust files in a folder and below.
fn sources(folder: &Path) -> Vec<String> {
    let (folders, files): (Vec<_>, Vec<_>) = list(folder).into_iter().partition(|it| it.is_dir());
    let rust = files.iter().filter(|file| file.extension().is_some_and(|end| end == "rs"));
    let texts = rust.filter_map(|file| fs::read_to_string(file).ok());
    texts.chain(folders.iter().flat_map(|folder| sources(folder))).collect()
}

/// The built tests of a crate and what is in them.
struct Suite<'a> {
    name: &'static str,
    options: &'a Options,
    binary: PathBuf,
    models: Vec<String>,
    mutants: Vec<Mutant>,
}

impl<'a> Suite<'a> {
    fn build(name: &'static str, options: &'a Options) -> Result<Self> {
        let line = format!("cargo test --locked -p fief-{name} --lib --profile loom --no-run");
        let mut cargo = command(&line);
        cargo.args(["--target-dir", "target/loom"]).env("RUSTFLAGS", "--cfg loom");
        let binary = build(&mut cargo, &format!("fief_{name}"))?;
        let tests = names(&binary, &[])?;
        let skipped =
            if options.ignored { BTreeSet::new() } else { names(&binary, &["--ignored"])? };
        let mutants = mutants(&binary, &tests)?;
        let models = tests.difference(&skipped).filter(|test| test.starts_with(MODELS));
        let models: Vec<String> = models.cloned().collect();
        if models.is_empty() {
            bail!("crates/{name} has no loom models: no test is called {MODELS}…");
        }
        Ok(Self { name, options, models, binary, mutants })
    }

    /// Runs what the filter takes; returns how many models and mutants those were.
    fn run(&self) -> Result<(usize, usize)> {
        let takes = |name: &str| self.options.takes(name);
        let models: Vec<&String> = self.models.iter().filter(|name| takes(name)).collect();
        let mutants = self.mutants.iter();
        let mutants: Vec<&Mutant> =
            mutants.filter(|mutant| takes(&mutant.name) || takes(&mutant.model)).collect();
        self.run_models(&models, &mutants)?;
        self.run_mutants(&mutants)?;
        mutant::cover(&self.mutants, &sources(&root().join(format!("crates/{}/src", self.name))))
            .with_context(|| format!("crates/{}", self.name))?;
        Ok((models.len(), mutants.len()))
    }

    /// Runs the models, and those that the mutants name: they must pass without their mutant.
    fn run_models(&self, models: &[&String], mutants: &[&Mutant]) -> Result<()> {
        let named = mutants.iter().map(|mutant| &mutant.model);
        let names: BTreeSet<&String> = models.iter().copied().chain(named).collect();
        let jobs: Vec<Job> = names.into_iter().map(|name| self.job(name, None)).collect();
        if !jobs.is_empty() {
            println!("\nmodel of fief-{}", self.name);
        }
        let ends = run_all(&jobs, |job, end| println!("{:72} {end}", job.test))?;
        let failed = jobs.iter().zip(&ends).filter(|(_, end)| !matches!(end, End::Passed(_)));
        let failed: Vec<&str> = failed.map(|(job, _)| job.test.as_str()).collect();
        if !failed.is_empty() {
            bail!("{} of {} models failed: {}", failed.len(), jobs.len(), failed.join(", "));
        }
        Ok(())
    }

    fn run_mutants(&self, mutants: &[&Mutant]) -> Result<()> {
        let jobs: Vec<Job> =
            mutants.iter().map(|mutant| self.job(&mutant.model, Some(&mutant.name))).collect();
        if !jobs.is_empty() {
            let title = format!("mutant of fief-{}", self.name);
            println!("\n{title:32} {:64} verdict", "model");
        }
        let ends = run_all(&jobs, |job, end| {
            let name = job.mutant.as_deref().unwrap_or_default();
            println!("{name:32} {:64} {}", job.test, end.verdict());
        })?;
        let survivors = mutants.iter().zip(&ends).filter(|(_, end)| matches!(end, End::Passed(_)));
        let survivors: Vec<&str> = survivors.map(|(mutant, _)| mutant.name.as_str()).collect();
        if !survivors.is_empty() {
            bail!("mutants survived: {}", survivors.join(", "));
        }
        Ok(())
    }

    fn job(&self, test: &str, mutant: Option<&str>) -> Job {
        Job {
            binary: self.binary.clone(),
            test: test.to_owned(),
            mutant: mutant.map(str::to_owned),
            preemptions: self.options.preemptions,
            limit: Duration::from_secs(self.options.limit),
        }
    }
}

/// The names of the tests in a binary.
fn names(binary: &Path, arguments: &[&str]) -> Result<BTreeSet<String>> {
    let mut binary = command(&binary.to_string_lossy());
    let text = output(binary.args(["--list", "--format", "terse"]).args(arguments))?;
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(str::to_owned).collect())
}

/// The mutants in a binary; each names a test of this binary.
fn mutants(binary: &Path, tests: &BTreeSet<String>) -> Result<Vec<Mutant>> {
    if !tests.contains(LIST) {
        return Ok(Vec::new());
    }
    let mut binary = command(&binary.to_string_lossy());
    let text = output(binary.args([LIST, "--exact", "--nocapture", "--include-ignored"]))?;
    let mutants = mutant::parse(&text).context("reading the list of mutants")?;
    if let Some(stray) = mutants.iter().find(|mutant| !tests.contains(&mutant.model)) {
        bail!("mutant {} names a test that does not exist: {}", stray.name, stray.model);
    }
    Ok(mutants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_takes_what_has_it_in_its_name() {
        let options = Options { filter: Some("refcount".to_owned()), ..Options::default() };
        assert!(options.takes("tests::loom_refcount::kill_is_exact"));
        assert!(!options.takes("tests::loom_world::publish"));
        assert!(Options::default().takes("anything"));
    }

    #[test]
    fn a_filter_that_takes_nothing_is_an_error() {
        let options = Options { filter: Some("zzz".to_owned()), ..Options::default() };
        let error = options.found(0).unwrap_err();
        assert_eq!(error.to_string(), "no model or mutant has `zzz` in its name");
        options.found(1).unwrap();
    }
}
