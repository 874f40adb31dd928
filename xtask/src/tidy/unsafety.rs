//! Unsafe code stands only in the modules that `docs/unsafe.md` lists, and in all of them.

use super::source::{code, paths};
use super::{File, Finding};

/// The page that lists the modules.
const PAGE: &str = "docs/unsafe.md";

/// A place that says something about a module: its file and line, and the module's path.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    file: String,
    line: usize,
    module: String,
}

/// Compares the page, the lint attributes and the code, each way.
pub(super) fn list(files: &[File]) -> Vec<Finding> {
    let rust = || files.iter().filter(|file| file.is_rust());
    let codes: Vec<Place> = rust().filter_map(unsafe_code).collect();
    let expectations: Vec<Place> = rust().flat_map(expectations).collect();
    let listed: Vec<Place> =
        files.iter().filter(|file| file.path == PAGE).flat_map(listed).collect();
    let stray = |place: &Place| {
        let Place { file, line, module } = place;
        let is_stray = !names(&listed, module);
        is_stray.then(|| Finding::new(file, *line, format!("{PAGE} does not list {module}")))
    };
    let strays = expectations.iter().chain(&codes).filter_map(stray);
    strays.chain(stale(&listed, &codes, &expectations)).collect()
}

/// What the page lists although there is nothing to list.
fn stale(listed: &[Place], codes: &[Place], expectations: &[Place]) -> Vec<Finding> {
    let finding = |Place { file, line, module }: &Place| {
        let message = match (names(codes, module), names(expectations, module)) {
            (false, _) => format!("{module} does not exist or has no unsafe code"),
            (true, false) => format!("{module} has no `#[expect(unsafe_code, …)]` of its own"),
            (true, true) => return None,
        };
        Some(Finding::new(file, *line, message))
    };
    listed.iter().filter_map(finding).collect()
}

fn names(places: &[Place], module: &str) -> bool {
    places.iter().any(|place| place.module == module)
}

/// The Rust files that the page has in backticks.
fn listed(page: &File) -> Vec<Place> {
    let words = page
        .lines()
        .flat_map(|(line, text)| text.split('`').skip(1).step_by(2).map(move |word| (line, word)));
    let modules = words.filter(|(_, word)| word.contains('/') && word.ends_with(".rs"));
    let place = |(line, module): (usize, &str)| Place {
        file: page.path.clone(),
        line,
        module: module.to_owned(),
    };
    modules.map(place).collect()
}

/// The first unsafe code in a file.
fn unsafe_code(file: &File) -> Option<Place> {
    let (line, _) = paths(&code(&file.text)).into_iter().find(|(_, word)| word == "unsafe")?;
    Some(Place { file: file.path.clone(), line, module: file.path.clone() })
}

/// The modules for which a file expects unsafe code.
fn expectations(file: &File) -> Vec<Place> {
    let code = code(&file.text);
    let lints = code.match_indices("unsafe_code").map(|(at, _)| at).filter(|at| {
        let before = code[..*at].trim_end();
        before.ends_with("expect(") || before.ends_with("allow(")
    });
    let place = |at| Place {
        file: file.path.clone(),
        line: code[..at].matches('\n').count() + 1,
        module: module_after(&file.path, &code, at),
    };
    lints.map(place).collect()
}

/// The file of the module that the attribute around `at` stands on, else the file itself.
fn module_after(path: &str, code: &str, at: usize) -> String {
    let start = code[..at].rfind('#').unwrap_or(at);
    let is_inner = code[start..].starts_with("#!");
    let declared = if is_inner { None } else { declared_module(&code[at..]) };
    let Some(name) = declared else { return path.to_owned() };
    let folder = path.trim_end_matches(".rs");
    let folder = folder.strip_suffix("/lib").or_else(|| folder.strip_suffix("/main"));
    format!("{}/{name}.rs", folder.unwrap_or_else(|| path.trim_end_matches(".rs")))
}

/// The name in `mod name;` if that is the item behind this attribute.
fn declared_module(attribute: &str) -> Option<&str> {
    let mut item = &attribute[attribute.find(']')? + 1..];
    while let Some(next) = item.trim_start().strip_prefix("#[") {
        item = &next[next.find(']')? + 1..];
    }
    let (item, _) = item.split_once([';', '{'])?;
    let mut words = item.split_whitespace().skip_while(|word| word.starts_with("pub"));
    if words.next()? == "mod" { words.next() } else { None }
}

#[cfg(test)]
mod tests {
    use super::super::tests::file;
    use super::*;

    const LIB: &str = "crates/core/src/css.rs";
    const CELLS: &str = "crates/core/src/css/cells.rs";
    const ON_MOD: &str = "//! A.\n#[expect(unsafe_code, reason = \"x\")]\nmod cells;\n";
    const UNSAFE: &str = "//! B.\n\nunsafe fn f() {}\n";

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let files: Vec<File> = files.iter().map(|(path, text)| file(path, text)).collect();
        let findings: Vec<String> = list(&files)
            .iter()
            .map(|finding| format!("{}:{}: {}", finding.path, finding.line, finding.message))
            .collect();
        assert_eq!(findings, expected);
    }

    #[test]
    fn a_listed_expected_module_is_fine() {
        let page = "# Unsafe\n\n| `crates/core/src/css/cells.rs` | why |\n";
        check(&[(LIB, ON_MOD), (CELLS, UNSAFE), (PAGE, page)], &[]);
        let inner = "#![expect(unsafe_code, reason = \"x\")]\nunsafe impl Send for A {}";
        check(&[(CELLS, inner), (PAGE, page)], &[]);
    }

    #[test]
    fn unlisted_unsafe_code_is_refused() {
        check(
            &[(LIB, ON_MOD), (CELLS, UNSAFE)],
            &[
                "crates/core/src/css.rs:2: docs/unsafe.md does not list \
                 crates/core/src/css/cells.rs",
                "crates/core/src/css/cells.rs:3: docs/unsafe.md does not list \
                 crates/core/src/css/cells.rs",
            ],
        );
    }

    #[test]
    fn a_listed_file_that_has_none_is_refused() {
        let page = "`crates/core/src/css/cells.rs`\n`crates/core/src/gone.rs` `unsafe` `a.rs`\n";
        check(
            &[(CELLS, "//! Says unsafe.\nfn f() {}\n"), (PAGE, page)],
            &[
                "docs/unsafe.md:1: crates/core/src/css/cells.rs does not exist or has no unsafe \
                 code",
                "docs/unsafe.md:2: crates/core/src/gone.rs does not exist or has no unsafe code",
            ],
        );
    }

    #[test]
    fn a_listed_file_needs_an_expectation_of_its_own() {
        check(
            &[(CELLS, UNSAFE), (PAGE, "`crates/core/src/css/cells.rs`")],
            &["docs/unsafe.md:1: crates/core/src/css/cells.rs has no `#[expect(unsafe_code, …)]` \
              of its own"],
        );
    }

    #[test]
    fn an_attribute_belongs_to_the_module_behind_it() {
        let of = |path, text: &str| {
            let places = expectations(&file(path, text));
            places.into_iter().map(|place| (place.line, place.module)).collect::<Vec<_>>()
        };
        let text =
            "#[expect(\n    unsafe_code,\n    reason = \"]\"\n)]\n#[doc(hidden)]\npub mod a;";
        assert_eq!(of("crates/x/src/lib.rs", text), [(2, "crates/x/src/a.rs".to_owned())]);
        assert_eq!(of(LIB, "#[expect(unsafe_code)]\nfn f() {}"), [(1, LIB.to_owned())]);
        assert_eq!(of(LIB, "#[expect(unsafe_code)] pub(crate) mod cells;")[0].1, CELLS);
        assert_eq!(of(LIB, "#![deny(unsafe_code)]"), []);
    }
}
