//! Mutants: the binary's list of them, and the page that has to name them all.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

/// A weakened build of a crate, and the model that must refuse it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mutant {
    pub(super) name: String,
    pub(super) model: String,
}

/// Reads the lines `mutant <name> <model>` from among others.
///
/// # Errors
///
/// If such a line has other than two words, or a name stands twice.
pub(super) fn parse(text: &str) -> Result<Vec<Mutant>> {
    let mut mutants: Vec<Mutant> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, model) = match words.as_slice() {
            ["mutant", name, model] => (*name, *model),
            ["mutant", ..] => bail!("expected `mutant <name> <model>`, found `{line}`"),
            _ => continue,
        };
        if mutants.iter().any(|mutant| mutant.name == name) {
            bail!("mutant {name} is listed twice");
        }
        mutants.push(Mutant { name: name.to_owned(), model: model.to_owned() });
    }
    Ok(mutants)
}

/// Compares the names of the mutants of all crates with those in the page's tables.
///
/// A crate may list a mutant of another's too, if its own models stand on the same step.
///
/// # Errors
///
/// If either has one that the other lacks.
pub(super) fn compare(built: &BTreeSet<&str>, page: &str) -> Result<()> {
    let told = tabled(page);
    let missing: Vec<&str> = built.difference(&told).copied().collect();
    let stale: Vec<&str> = told.difference(built).copied().collect();
    if !missing.is_empty() {
        bail!("{} does not name the mutants {}", super::PAGE, missing.join(", "));
    }
    if !stale.is_empty() {
        bail!("{} names mutants that do not exist: {}", super::PAGE, stale.join(", "));
    }
    Ok(())
}

/// Compares the mutants of a crate with those that its sources mark.
///
/// # Errors
///
/// If the sources mark one that no model has to refuse.
pub(super) fn cover(mutants: &[Mutant], sources: &[String]) -> Result<()> {
    let marked: BTreeSet<&str> = sources.iter().flat_map(|text| marked(text)).collect();
    let is_listed = |name: &&str| mutants.iter().any(|mutant| mutant.name == *name);
    let missing: Vec<&str> = marked.into_iter().filter(|name| !is_listed(name)).collect();
    if !missing.is_empty() {
        bail!("no model has to refuse the mutants {}", missing.join(", "));
    }
    Ok(())
}

/// The names in `order("name", …)` and `skip("name")`.
fn marked(text: &str) -> Vec<&str> {
    let calls = ["order(", "skip("].into_iter().flat_map(|call| text.split(call).skip(1));
    let names = calls.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    names.collect()
}

/// The names in backticks in the last column of every table whose last column is `mutant`.
fn tabled(page: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut is_header = true;
    let mut is_listing = false;
    for line in page.lines() {
        let Some(row) = line.trim().strip_prefix('|') else {
            is_header = true;
            continue;
        };
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default().trim();
        if is_header {
            is_listing = last.eq_ignore_ascii_case("mutant");
        } else if is_listing {
            names.extend(last.split('`').skip(1).step_by(2));
        }
        is_header = false;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# Edges

| edge | test | mutant |
|---|---|---|
| a | `loom_a` | `no-fence`, `late` |
| b | `loom_b` | none: read only |

| file | what |
|---|---|
| c | `other` |
";

    fn mutants(names: &[&str]) -> Vec<Mutant> {
        let mutant = |name: &&str| Mutant { name: (*name).to_owned(), model: "m".to_owned() };
        names.iter().map(mutant).collect()
    }

    #[test]
    fn mutants_are_found_among_the_runner_s_lines() {
        let text = "\nrunning 1 test\nmutant no-fence tests::loom_a::b\ntest x ... ok\n";
        let model = "tests::loom_a::b".to_owned();
        assert_eq!(parse(text).unwrap(), [Mutant { name: "no-fence".to_owned(), model }]);
    }

    #[test]
    fn a_bad_line_is_refused() {
        let error = parse("mutant no-fence").unwrap_err();
        assert_eq!(error.to_string(), "expected `mutant <name> <model>`, found `mutant no-fence`");
        let error = parse("mutant a b\nmutant a c").unwrap_err();
        assert_eq!(error.to_string(), "mutant a is listed twice");
    }

    #[test]
    fn the_page_and_the_binary_agree() {
        compare(&["late", "no-fence"].into(), PAGE).unwrap();
        compare(&BTreeSet::new(), "").unwrap();
    }

    #[test]
    fn a_marked_mutant_needs_a_model() {
        let text = "x.load(order(\n    \"late\", Acquire));\nif !skip(\"no-fence\") { fence() }\n\
                    names.iter().skip(1)";
        let sources = [text.to_owned()];
        cover(&mutants(&["late", "no-fence"]), &sources).unwrap();
        let error = cover(&mutants(&["late"]), &sources).unwrap_err();
        assert_eq!(error.to_string(), "no model has to refuse the mutants no-fence");
    }

    #[test]
    fn a_mutant_missing_on_either_side_is_refused() {
        let error = compare(&["late", "no-fence", "new"].into(), PAGE).unwrap_err();
        assert_eq!(error.to_string(), "docs/memory-model.md does not name the mutants new");
        let error = compare(&["late"].into(), PAGE).unwrap_err();
        let expected = "docs/memory-model.md names mutants that do not exist: no-fence";
        assert_eq!(error.to_string(), expected);
    }
}
