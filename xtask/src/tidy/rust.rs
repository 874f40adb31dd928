//! Checks of one Rust file: its module doc, its size, what it may name, what its docs may hide.

use super::source::{code, lines_before_tests, paths};
use super::{File, Finding};

/// The most lines a file may have before its tests.
const LINES_MAX: usize = 600;

/// The crates in which all synchronisation goes through one module, `sync`; the others are programs.
const LIBRARIES: [&str; 7] = ["core", "memory", "alloc", "cpu", "io", "tasks", "fief"];

/// The only files that may name `arc_swap`.
const PUBLISHERS: [&str; 2] = ["crates/core/src/world/publish.rs", "crates/memory/src/account.rs"];

/// All findings in a Rust file.
pub(super) fn findings(file: &File) -> Vec<Finding> {
    [module_doc, size, confined, fences, ignored].iter().flat_map(|check| check(file)).collect()
}

/// A file begins by saying what it is.
fn module_doc(file: &File) -> Vec<Finding> {
    let is_held = library(&file.path).is_some()
        || ["xtask/", "benches/"].iter().any(|folder| file.path.starts_with(folder))
        || (file.path.starts_with("crates/") && file.path.contains("/src/"));
    let first = file.text.lines().next().unwrap_or_default();
    if !is_held || first.starts_with("//!") || first.starts_with("#![doc = include_str!(") {
        return Vec::new();
    }
    vec![Finding::new(&file.path, 1, "line 1 is not a module doc (`//! …`)")]
}

/// A file is small enough to be read in one go.
fn size(file: &File) -> Vec<Finding> {
    let lines = lines_before_tests(&file.text);
    if is_test(&file.path) || lines <= LINES_MAX {
        return Vec::new();
    }
    let message = format!("{lines} lines before the tests; the most is {LINES_MAX}");
    vec![Finding::new(&file.path, LINES_MAX + 1, message)]
}

/// Names that belong to one module stay there.
fn confined(file: &File) -> Vec<Finding> {
    let Some(library) = library(&file.path).filter(|_| !is_test(&file.path)) else {
        return Vec::new();
    };
    let last = lines_before_tests(&file.text);
    let paths = paths(&code(&file.text)).into_iter().filter(|(line, _)| *line <= last);
    let findings = paths.filter_map(|(line, path)| {
        let message = misplaced(library, &file.path, &path)?;
        Some(Finding::new(&file.path, line, message))
    });
    findings.collect()
}

/// Why this file of a library may not name this path, if it may not.
fn misplaced(library: &str, file: &str, path: &str) -> Option<String> {
    let sync = format!("crates/{library}/src/sync");
    let is_sync = file == format!("{sync}.rs") || file.starts_with(&format!("{sync}/"));
    let segments: Vec<&str> = path.split("::").collect();
    let is_arc_swap = segments.contains(&"arc_swap") && !PUBLISHERS.contains(&file);
    let is_primitive = match segments.as_slice() {
        ["std" | "core" | "loom", "sync", "atomic", ..] => true,
        ["std" | "loom", "thread", ..] => true,
        // The whole module, through which the names above could slip in.
        ["std" | "core", "*"] => true,
        ["std" | "core", "sync" | "cell"] => true,
        ["std" | "core", "sync" | "cell", "self" | "*"] => true,
        segments => segments.contains(&"UnsafeCell"),
    };
    if is_arc_swap {
        return Some(format!("`{path}` outside {}", PUBLISHERS.join(" and ")));
    }
    (is_primitive && !is_sync).then(|| format!("`{path}` outside {sync}.rs and {sync}/"))
}

/// An example that does not compile is no example.
fn fences(file: &File) -> Vec<Finding> {
    let is_ignored = |line: &str| {
        let line = line.trim_start();
        let doc = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
        doc.is_some_and(is_ignored_fence)
    };
    let lines = file.lines().filter(|(_, line)| is_ignored(line));
    lines.map(|(line, _)| Finding::new(&file.path, line, "an example marked `ignore`")).collect()
}

/// Whether a line opens a code block that is marked `ignore`.
pub(super) fn is_ignored_fence(line: &str) -> bool {
    let line = line.trim();
    let info = line.strip_prefix("```").or_else(|| line.strip_prefix("~~~"));
    let is_ignore = |word: &str| word == "ignore" || word.starts_with("ignore-");
    info.is_some_and(|info| info.split([',', ' ', '{', '}', '`', '~']).any(is_ignore))
}

/// A test that does not run says why.
fn ignored(file: &File) -> Vec<Finding> {
    let code = code(&file.text);
    let lines = (1..).zip(code.lines()).filter(|(_, line)| {
        let line: String = line.split_whitespace().collect();
        line.contains("#[ignore]") || (line.contains("cfg_attr(") && line.contains(",ignore)"))
    });
    let message = "a test ignored without a reason";
    lines.map(|(line, _)| Finding::new(&file.path, line, message)).collect()
}

/// The library crate whose sources the file belongs to.
fn library(path: &str) -> Option<&str> {
    let (name, rest) = path.strip_prefix("crates/")?.split_once('/')?;
    (LIBRARIES.contains(&name) && rest.starts_with("src/")).then_some(name)
}

/// Whether a file is compiled for tests only.
fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{brief, file};
    use super::*;

    const CSS: &str = "crates/core/src/css.rs";

    #[track_caller]
    fn check(check: fn(&File) -> Vec<Finding>, path: &str, text: &str, expected: &[&str]) {
        assert_eq!(brief(&check(&file(path, text))), expected);
    }

    #[test]
    fn a_file_without_module_doc_is_refused() {
        let refusal = ["1: line 1 is not a module doc (`//! …`)"];
        check(module_doc, CSS, "//! The css.\n", &[]);
        check(module_doc, CSS, "\n//! The css.\n", &refusal);
        check(module_doc, "xtask/src/main.rs", "fn main() {}\n", &refusal);
        check(module_doc, "benches/src/lib.rs", "", &refusal);
        check(module_doc, "crates/cli/src/main.rs", "mod a;\n", &refusal);
        check(module_doc, "crates/core/tests/a.rs", "mod a;\n", &[]);
        check(module_doc, "crates/fief/src/lib.rs", "#![doc = include_str!(\"R\")]\n", &[]);
    }

    #[test]
    fn a_long_file_is_refused() {
        let long = "//! Long.\n".repeat(601);
        let tested = format!("{}#[cfg(test)]\nmod tests {{\n{long}}}\n", "x\n".repeat(600));
        check(size, CSS, &long, &["601: 601 lines before the tests; the most is 600"]);
        check(size, CSS, &tested, &[]);
        check(size, "crates/core/tests/a.rs", &long, &[]);
    }

    #[test]
    fn atomics_threads_and_cells_stay_in_one_module() {
        let outside = "outside crates/core/src/sync.rs and crates/core/src/sync/";
        let refused = |path: &str| format!("1: `{path}` {outside}");
        for (text, path) in [
            ("use std::sync::{Arc, atomic::AtomicU64};", "std::sync::atomic::AtomicU64"),
            ("use core::sync::atomic;", "core::sync::atomic"),
            ("fn f() { std::thread::yield_now() }", "std::thread::yield_now"),
            ("use std::{cell::UnsafeCell, fmt};", "std::cell::UnsafeCell"),
            ("use std::{fmt, sync};", "std::sync"),
            ("use std::sync::*;", "std::sync::*"),
            ("use loom::thread;", "loom::thread"),
        ] {
            check(confined, CSS, text, &[&refused(path)]);
            check(confined, "crates/core/src/sync.rs", text, &[]);
            check(confined, "crates/core/src/sync/barrier.rs", text, &[]);
            check(confined, "crates/core/src/tests/loom_css.rs", text, &[]);
            check(confined, "crates/cli/src/main.rs", text, &[]);
            check(confined, "crates/testing/src/stress.rs", text, &[]);
        }
    }

    #[test]
    fn every_library_has_a_sync_module_of_its_own() {
        let text = "use std::sync::atomic::AtomicI64;";
        let outside = "outside crates/memory/src/sync.rs and crates/memory/src/sync/";
        let refused = format!("1: `std::sync::atomic::AtomicI64` {outside}");
        check(confined, "crates/memory/src/sync.rs", text, &[]);
        check(confined, "crates/memory/src/sync/barrier.rs", text, &[]);
        check(confined, "crates/memory/src/stock.rs", text, &[&refused]);
        check(confined, "crates/memory/src/stock/sync.rs", text, &[&refused]);
    }

    #[test]
    fn our_own_sync_module_is_free_to_use() {
        check(confined, CSS, "use crate::sync::atomic::AtomicU64;\nuse std::sync::Arc;", &[]);
        check(confined, CSS, "//! std::thread\n// std::sync::atomic\n", &[]);
        let tested = "//! A.\n#[cfg(test)]\nmod tests {\n    use std::thread;\n}\n";
        check(confined, CSS, tested, &[]);
    }

    #[test]
    fn only_the_publishers_name_arc_swap() {
        let text = "use arc_swap::ArcSwap;";
        let refusal = format!("1: `arc_swap::ArcSwap` outside {}", PUBLISHERS.join(" and "));
        check(confined, "crates/core/src/sync.rs", text, &[&refusal]);
        check(confined, "crates/memory/src/lib.rs", text, &[&refusal]);
        PUBLISHERS.iter().for_each(|file| check(confined, file, text, &[]));
        check(confined, "benches/benches/lookup.rs", text, &[]);
    }

    #[test]
    fn an_ignored_example_is_refused() {
        let refusal = ["2: an example marked `ignore`"];
        check(fences, CSS, "//! A.\n//! ```ignore\n", &refusal);
        check(fences, CSS, "//! A.\n    /// ```rust,ignore\n", &refusal);
        check(fences, CSS, "//! A.\n//! ~~~ ignore-x86_64\n", &refusal);
        check(fences, CSS, "/// ```\n/// ignore\n/// ```no_run\n", &[]);
    }

    #[test]
    fn a_test_ignored_without_reason_is_refused() {
        let refusal = ["1: a test ignored without a reason"];
        check(ignored, CSS, "#[ignore]", &refusal);
        check(ignored, CSS, "#[cfg_attr(loom, ignore)]", &refusal);
        check(ignored, CSS, "#[ignore = \"minutes; run by xtask ci --full\"]", &[]);
        check(ignored, CSS, "// #[ignore]", &[]);
    }
}
