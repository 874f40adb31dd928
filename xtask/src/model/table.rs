//! What is in the model: its scenarios, its broken variants, and the page that has to name them.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::PAGE;
use super::search::Search;

/// How a scenario begins in the model.
const SCENARIO: &str = "#ifdef SCENARIO_";

/// How a broken variant is listed in the model, as `NAME in SCENARIO`.
const BROKEN: &str = " * broken: ";

/// The scenarios, and the broken variants with the scenario that has to find each.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    scenarios: Vec<String>,
    variants: Vec<(String, String)>,
}

impl Table {
    /// Reads the table from the model's text.
    ///
    /// # Errors
    ///
    /// If a name stands twice, a variant names a scenario that there is not, or nothing in the
    /// model depends on a variant.
    pub(super) fn read(model: &str) -> Result<Self> {
        let scenarios = model.lines().filter_map(|line| line.strip_prefix(SCENARIO));
        let scenarios: Vec<String> = scenarios.map(|name| name.trim().to_owned()).collect();
        let mut variants: Vec<(String, String)> = Vec::new();
        for line in model.lines().filter_map(|line| line.strip_prefix(BROKEN)) {
            let Some((name, scenario)) = line.trim().split_once(" in ") else { continue };
            if !scenarios.iter().any(|it| it == scenario) {
                bail!("the broken variant {name} names no scenario: {scenario}");
            }
            if !conditions(model).any(|word| word == name) {
                bail!("nothing in the model depends on the broken variant {name}");
            }
            variants.push((name.to_owned(), scenario.to_owned()));
        }
        let table = Self { scenarios, variants };
        if table.names().len() < table.scenarios.len() + table.variants.len() {
            bail!("a scenario or a broken variant stands twice");
        }
        Ok(table)
    }

    fn names(&self) -> BTreeSet<&str> {
        let variants = self.variants.iter().map(|(name, _)| name);
        self.scenarios.iter().chain(variants).map(String::as_str).collect()
    }

    /// Compares the names with those in the first columns of the page's tables.
    ///
    /// # Errors
    ///
    /// If either has one that the other lacks.
    pub(super) fn compare(&self, page: &str) -> Result<()> {
        let names = self.names();
        let told: BTreeSet<&str> = page.lines().filter_map(first_cell).collect();
        let missing: Vec<&str> = names.difference(&told).copied().collect();
        let stale: Vec<&str> = told.difference(&names).copied().collect();
        if !missing.is_empty() {
            bail!("{PAGE} does not name {}", missing.join(", "));
        }
        if !stale.is_empty() {
            bail!("{PAGE} names what does not exist: {}", stale.join(", "));
        }
        Ok(())
    }

    /// The searches that `filter` takes: scenarios and variants.
    ///
    /// The scenario of a variant is searched too: an error is the variant's only if the scenario
    /// has none without it.
    pub(super) fn searches(&self, filter: Option<&str>) -> (Vec<Search>, Vec<Search>) {
        let takes = |name: &str| filter.is_none_or(|filter| name.contains(filter));
        let variants: Vec<Search> = self
            .variants
            .iter()
            .filter(|(name, scenario)| takes(name) || takes(scenario))
            .map(|(name, scenario)| Search::new(scenario, Some(name)))
            .collect();
        let is_named = |name: &str| variants.iter().any(|search| search.scenario == name);
        let scenarios = self.scenarios.iter().filter(|name| takes(name) || is_named(name));
        (scenarios.map(|name| Search::new(name, None)).collect(), variants)
    }
}

/// The words on the lines that the preprocessor takes as conditions.
fn conditions(model: &str) -> impl Iterator<Item = &str> {
    let lines = model.lines().filter(|line| line.starts_with("#if"));
    lines.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
}

/// What stands in backticks in the first cell of a table's row.
fn first_cell(line: &str) -> Option<&str> {
    line.strip_prefix("| `")?.split('`').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "\
/*
 * broken: NO_HEAVY in kill
 * broken: LATE in arm
 */
#ifdef SCENARIO_kill
#ifdef SCENARIO_arm
#if defined(FENCED) && !defined(LATE)
#ifndef NO_HEAVY
";
    const TABLES: &str = "| scenario | what |\n|---|---|\n| `kill` | x |\n| `arm` | y |\n\n\
        | variant | what |\n|---|---|\n| `NO_HEAVY` | `z` |\n| `LATE` | |\n";

    #[test]
    fn scenarios_and_variants_are_read() {
        let table = Table::read(MODEL).unwrap();
        assert_eq!(table.scenarios, ["kill", "arm"]);
        assert_eq!(table.variants.len(), 2);
        table.compare(TABLES).unwrap();
    }

    #[test]
    fn a_variant_without_its_scenario_or_its_condition_is_refused() {
        let error = Table::read(" * broken: LATE in kill").unwrap_err();
        assert_eq!(error.to_string(), "the broken variant LATE names no scenario: kill");
        let error = Table::read(" * broken: LATE in kill\n#ifdef SCENARIO_kill").unwrap_err();
        assert_eq!(error.to_string(), "nothing in the model depends on the broken variant LATE");
    }

    #[test]
    fn a_page_that_disagrees_is_refused() {
        let table = Table::read(MODEL).unwrap();
        let error = table.compare("| `kill` | x |\n| `arm` |\n| `LATE` |\n").unwrap_err();
        assert_eq!(error.to_string(), "docs/models/README.md does not name NO_HEAVY");
        let error = table.compare(&format!("{TABLES}| `OLD` |\n")).unwrap_err();
        assert_eq!(error.to_string(), "docs/models/README.md names what does not exist: OLD");
    }

    #[test]
    fn a_variant_brings_its_scenario() {
        let table = Table::read(MODEL).unwrap();
        let (scenarios, variants) = table.searches(Some("HEAVY"));
        assert_eq!(scenarios, [Search::new("kill", None)]);
        assert_eq!(variants, [Search::new("kill", Some("NO_HEAVY"))]);
        let (scenarios, variants) = table.searches(Some("zzz"));
        assert!(scenarios.is_empty() && variants.is_empty());
    }
}
