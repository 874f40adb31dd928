//! `fief run`: tenants with real work, acts with a timeline, and what came of it.
//!
//! A scenario says who works, in which groups, and what is done when: controllers bound, limits written, trees
//! rebound, tenants removed. The tour is one of those that are shipped.

use std::{env, path::Path};

use anyhow::{Result, anyhow, bail};
use tempfile::TempDir;

use crate::{
    options::{Compare, StageOptions},
    output::Output,
    scenario::{
        conduct::Settings,
        config::Scenario,
        shipped::{SHIPPED, find},
    },
    signal,
    soak::Exit,
};

mod config;
mod check;
mod shipped;
mod conduct;
mod world;
mod tenant;
mod member;
mod record;
mod requests;
mod client;
mod arrivals;
mod queries;
mod sorting;
mod backup;
mod disk;
mod deeds;
mod belongings;
mod checks;
mod sampler;
mod machine;
mod score;
mod outcome;
mod show;
mod table;
mod plot;
mod html;
mod files;

/// Runs a scenario and prints its report.
///
/// # Errors
///
/// When it cannot run, and when something does not hold that has to.
pub(crate) fn run(name: &str, options: &StageOptions) -> Result<Exit> {
    let mut scenario = load(name)?;
    scenario.seed = options.seed.unwrap_or(scenario.seed);
    let report = files::Directory::make(&options.out)?;
    let parent = options.dir.clone().unwrap_or_else(env::temp_dir);
    let directory = temporary(&parent)?;
    let (sender, events) = crossbeam_channel::unbounded();
    let stop = signal::watch(sender, Some(directory.path().to_owned()))?;
    let mut output = Output::stdout();
    output.line(format_args!("{}\n{}\n", scenario.title, scenario.about.trim_end()));
    let settings = Settings {
        plain: options.plain,
        port: options.port,
        dir: directory.path().to_owned(),
        hurry: options.hurry,
        arrivals: options.arrivals.clone(),
    };
    let outcome = conduct::run(&scenario, &settings, (&events, &stop), &mut output)?;
    let Some(mut outcome) = outcome else { return Ok(Exit::Interrupted) };
    if options.compare == Some(Compare::None) && !outcome.is_interrupted {
        output.line("\nThe same again, with nothing bound.\n");
        let without = scenario.without_control();
        let Some(plain) = conduct::run(&without, &settings, (&events, &stop), &mut output)? else {
            return Ok(Exit::Interrupted);
        };
        outcome.is_interrupted |= plain.is_interrupted;
        outcome.plain = Some(plain.acts);
    }
    output.line(table::text(&outcome));
    if outcome.is_interrupted {
        output.line("It was ended early: no report is written.");
    } else {
        report.write(&outcome)?;
        output.line(format_args!("Report: {}", report.path().join("report.html").display()));
    }
    output.finish()?;
    let broken = outcome.invariants.iter().filter(|one| one.verdict == checks::Verdict::Broken);
    match broken.count() {
        0 => Ok(Exit::Success),
        1 => bail!("1 invariant is broken"),
        broken => bail!("{broken} invariants are broken"),
    }
}

/// Makes a directory for what is not kept.
fn temporary(parent: &Path) -> Result<TempDir> {
    let directory = tempfile::Builder::new().prefix("fief-").tempdir_in(parent);
    directory.map_err(|error| {
        anyhow!("cannot make a directory: {error}; choose another place with --dir")
    })
}

/// Finds a scenario: a shipped one by its name, any other by its path.
fn load(name: &str) -> Result<Scenario> {
    if let Some(shipped) = find(name) {
        return check::read(shipped.name, shipped.text);
    }
    let path = Path::new(name);
    let is_path = path.extension().is_some() || path.components().count() > 1;
    if !is_path && !path.exists() {
        let names: Vec<&str> = SHIPPED.iter().map(|shipped| shipped.name).collect();
        bail!("there is no scenario {name:?}; those shipped are {}", names.join(", "));
    }
    check::read_file(path)
}
