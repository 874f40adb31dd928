//! Unsafe code stands only in the modules that `docs/unsafe.md` lists, and in all of them.

use std::collections::BTreeSet;

use super::source::{code, paths};
use super::{File, Finding};

/// The page that lists the modules.
const PAGE: &str = "docs/unsafe.md";

/// Compares the page, the lint attributes and the code, each way.
pub(super) fn list(files: &[File]) -> Vec<Finding> {
    let listed = files.iter().find(|file| file.path == PAGE).map(listed).unwrap_or_default();
    let is_listed = |path: &str| listed.iter().any(|(_, name)| name == path);
    let mut findings = Vec::new();
    let mut with_attribute = BTreeSet::new();
    let mut with_code = BTreeSet::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let code = code(&file.text);
        if let Some(line) = unsafe_line(&code) {
            let message = format!("unsafe code in a module that {PAGE} does not list");
            findings
                .extend((!is_listed(&file.path)).then(|| Finding::new(&file.path, line, message)));
            with_code.insert(file.path.as_str());
        }
        for (line, module) in expectations(&file.path, &code) {
            let message = format!("`unsafe_code` is expected in {module}, not listed in {PAGE}");
            findings.extend((!is_listed(&module)).then(|| Finding::new(&file.path, line, message)));
            with_attribute.insert(module);
        }
    }
    findings.extend(listed.iter().filter_map(|(line, path)| {
        let message = match (with_code.contains(path.as_str()), with_attribute.contains(path)) {
            (false, _) => format!("{path} does not exist or has no unsafe code"),
            (true, false) => format!("{path} has no `#[expect(unsafe_code, …)]` of its own"),
            (true, true) => return None,
        };
        Some(Finding::new(PAGE, *line, message))
    }));
    findings
}

/// The paths of Rust files that a page has in backticks.
fn listed(page: &File) -> Vec<(usize, String)> {
    let is_path = |word: &&str| word.ends_with(".rs") && word.contains('/');
    let of_line = |(number, line)| move_number(number, line).filter(move |(_, w)| is_path(w));
    page.lines().flat_map(of_line).map(|(line, word)| (line, word.to_owned())).collect()
}

/// The words of a line that stand in backticks, each with the line's number.
fn move_number(number: usize, line: &str) -> impl Iterator<Item = (usize, &str)> {
    line.split('`').skip(1).step_by(2).map(move |word| (number, word))
}

/// The first line with unsafe code.
fn unsafe_line(code: &str) -> Option<usize> {
    paths(code).into_iter().find(|(_, word)| word == "unsafe").map(|(line, _)| line)
}

/// The modules for which this file expects unsafe code, each with the line that says so.
fn expectations(path: &str, code: &str) -> Vec<(usize, String)> {
    let starts = code.match_indices("unsafe_code").filter(|(at, _)| {
        let before = code[..*at].trim_end();
        before.ends_with("expect(") || before.ends_with("allow(")
    });
    let module = |(at, _): (usize, &str)| {
        let line = code[..at].matches('\n').count() + 1;
        (line, module_after(path, code, at))
    };
    starts.map(module).collect()
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
                "crates/core/src/css.rs:2: `unsafe_code` is expected in \
                 crates/core/src/css/cells.rs, not listed in docs/unsafe.md",
                "crates/core/src/css/cells.rs:3: unsafe code in a module that docs/unsafe.md \
                 does not list",
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
        let of = |path, text: &str| expectations(path, &code(text));
        let text =
            "#[expect(\n    unsafe_code,\n    reason = \"]\"\n)]\n#[doc(hidden)]\npub mod a;";
        assert_eq!(of("crates/x/src/lib.rs", text), [(2, "crates/x/src/a.rs".to_owned())]);
        assert_eq!(of(LIB, "#[expect(unsafe_code)]\nfn f() {}"), [(1, LIB.to_owned())]);
        assert_eq!(of(LIB, "#[expect(unsafe_code)] pub(crate) mod cells;")[0].1, CELLS);
        assert_eq!(of(LIB, "#![deny(unsafe_code)]"), []);
    }
}
