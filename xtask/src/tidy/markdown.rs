//! Checks of one Markdown page: its relative links, its examples.

use super::rust::is_ignored_fence;
use super::{File, Finding};

/// All findings in a page; `exists` knows the files and folders of the workspace.
pub(super) fn findings(file: &File, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut is_code = false;
    for (line, text) in file.lines() {
        if text.trim_start().starts_with("```") {
            is_code = !is_code;
            let message = "an example marked `ignore`";
            findings
                .extend(is_ignored_fence(text).then(|| Finding::new(&file.path, line, message)));
        } else if !is_code {
            let dead = links(text).into_iter().filter(|link| !exists(&resolve(&file.path, link)));
            let finding = |link| Finding::new(&file.path, line, format!("no such file: {link}"));
            findings.extend(dead.map(finding));
        }
    }
    findings
}

/// The relative links of a line, without their fragments.
fn links(line: &str) -> Vec<String> {
    let prose: String = line.split('`').step_by(2).collect();
    let mut targets: Vec<&str> = prose.split("](").skip(1).filter_map(inline_target).collect();
    if prose.trim_start().starts_with('[') {
        targets
            .extend(prose.split_once("]: ").and_then(|(_, rest)| rest.split_whitespace().next()));
    }
    targets.iter().filter_map(|target| relative(target)).collect()
}

/// The target in what follows `](`.
fn inline_target(rest: &str) -> Option<&str> {
    let (inside, _) = rest.split_once(')')?;
    inside.split_whitespace().next().map(|target| target.trim_matches(['<', '>']))
}

/// The path of a link into the workspace, if it is one.
fn relative(target: &str) -> Option<String> {
    let path = target.split('#').next().unwrap_or_default();
    let is_elsewhere = path.contains("://") || path.starts_with("mailto:");
    (!path.is_empty() && !is_elsewhere).then(|| path.to_owned())
}

/// The path from the root of a link on a page.
fn resolve(page: &str, link: &str) -> String {
    let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
    let start = if link.starts_with('/') { "" } else { folder };
    let mut parts: Vec<&str> = start.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => return link.to_owned(),
            ".." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{brief, file};
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[&str]) {
        let exists = |name: &str| ["", "README.md", "docs", "docs/a.md"].contains(&name);
        assert_eq!(brief(&findings(&file(path, text), exists)), expected);
    }

    #[test]
    fn a_link_to_nothing_is_refused() {
        check("README.md", "see [a](docs/b.md)", &["1: no such file: docs/b.md"]);
        check("README.md", "x\n[a]: docs/b.md#top", &["2: no such file: docs/b.md"]);
        check("docs/a.md", "[a](../../README.md)", &["1: no such file: ../../README.md"]);
        check(
            "docs/a.md",
            "[a](README.md) [b](c \"title\")",
            &["1: no such file: README.md", "1: no such file: c"],
        );
    }

    #[test]
    fn a_link_to_a_file_or_folder_is_fine() {
        check("README.md", "[a](docs/a.md#part) [b](docs/) [c](./docs)\n[d]: docs/a.md", &[]);
        check("docs/a.md", "[a](../README.md) [b](a.md) [c](/docs/a.md) [d](..)", &[]);
    }

    #[test]
    fn other_links_and_code_are_left_alone() {
        check("README.md", "[a](https://example.org/x) [b](#part) [c](mailto:a@b)", &[]);
        check("README.md", "`[a](b)`\n```text\n[a](b)\n```", &[]);
    }

    #[test]
    fn an_ignored_example_is_refused() {
        check("README.md", "```rust,ignore\n```", &["1: an example marked `ignore`"]);
    }
}
