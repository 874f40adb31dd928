//! `model`: the Promela model of the reference protocol, then its broken variants.
//!
//! 1. Read the scenarios and the broken variants from the model, and compare them with the tables
//!    of the page beside it, both ways.
//! 2. Run each scenario with spin to the end of its state space: no error, nothing cut short.
//! 3. Run each broken variant in its scenario: spin has to find an error.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::search::{End, Search};
use self::table::Table;
use crate::command::{is_installed, root, two_at_a_time};
use crate::report::Outcome;

mod table;
mod search;

/// The model.
const MODEL: &str = "docs/models/reference.pml";

/// The page whose tables name every scenario and every broken variant.
const PAGE: &str = "docs/models/README.md";

/// What there has to be, as a question for its version, and the Debian package.
const NEEDED: [(&str, &str); 2] = [("spin -V", "spin"), ("cc --version", "gcc")];

/// Which scenarios and variants to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Runs only the scenarios and variants whose name has this in it.
    filter: Option<String>,
    /// How long a search may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    limit: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { filter: None, limit: 600 }
    }
}

/// Runs scenarios and broken variants.
///
/// # Errors
///
/// If spin or a compiler is missing, a scenario has an error or is not searched to its end, a
/// variant's error is not found, or the model and its page disagree.
pub(crate) fn run(options: &Options) -> Result<Outcome> {
    if let Some(why) = missing() {
        bail!("{why}");
    }
    let read =
        |path| fs::read_to_string(root().join(path)).with_context(|| format!("reading {path}"));
    let table = Table::read(&read(MODEL)?)?;
    table.compare(&read(PAGE)?)?;
    let (scenarios, variants) = table.searches(options.filter.as_deref());
    if scenarios.is_empty() && variants.is_empty() {
        bail!(
            "no scenario or variant has `{}` in its name",
            options.filter.as_deref().unwrap_or("")
        );
    }
    let limit = Duration::from_secs(options.limit);
    run_scenarios(&scenarios, limit)?;
    run_variants(&variants, limit)?;
    Ok(Outcome::Passed(format!("{} scenarios, {} variants found", scenarios.len(), variants.len())))
}

/// Runs all of it, or says what is missing.
///
/// # Errors
///
/// As [`run`], but for a missing tool.
pub(crate) fn run_where_installed() -> Result<Outcome> {
    if let Some(why) = missing() {
        println!("{why}");
        return Ok(Outcome::Skipped(why));
    }
    run(&Options::default())
}

/// The first tool that is not there.
fn missing() -> Option<String> {
    let (version, package) = NEEDED.iter().find(|(version, _)| !is_installed(version))?;
    let tool = version.split(' ').next().unwrap_or_default();
    Some(format!("{tool} is not installed (Debian: {package})"))
}

fn run_scenarios(searches: &[Search], limit: Duration) -> Result<()> {
    if !searches.is_empty() {
        println!("\n{:12} verdict", "scenario");
    }
    let ends = two_at_a_time(
        searches,
        |search| search.run(limit),
        |search, end| println!("{:12} {end}", search.scenario),
    )?;
    let failed = searches.iter().zip(&ends).filter(|(_, end)| !matches!(end, End::Searched(_)));
    let failed: Vec<&Search> = failed.map(|(search, _)| search).collect();
    for search in &failed {
        println!("to read the trail of {}: {}", search.scenario, search.replay());
    }
    let failed: Vec<&str> = failed.iter().map(|search| search.scenario.as_str()).collect();
    if !failed.is_empty() {
        bail!("{} of {} scenarios failed: {}", failed.len(), ends.len(), failed.join(", "));
    }
    Ok(())
}

fn run_variants(searches: &[Search], limit: Duration) -> Result<()> {
    if !searches.is_empty() {
        println!("\n{:24} {:12} verdict", "broken variant", "scenario");
    }
    let name = |search: &Search| search.variant.clone().unwrap_or_default();
    let ends = two_at_a_time(
        searches,
        |search| search.run(limit),
        |search, end| {
            println!("{:24} {:12} {}", name(search), search.scenario, end.of_variant());
        },
    )?;
    let missed = searches.iter().zip(&ends).filter(|(_, end)| !matches!(end, End::Error(_)));
    let missed: Vec<String> = missed.map(|(search, _)| name(search)).collect();
    if !missed.is_empty() {
        bail!("broken variants not found: {}", missed.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_and_its_page_agree() {
        let text = |path| fs::read_to_string(root().join(path)).unwrap();
        let table = Table::read(&text(MODEL)).unwrap();
        table.compare(&text(PAGE)).unwrap();
        let (scenarios, variants) = table.searches(None);
        assert!(scenarios.len() >= 8 && variants.len() >= 20);
    }
}
