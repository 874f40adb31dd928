//! `tidy`: the handful of rules that cannot be argued with and that no other tool checks.
//!
//! Every check is a function from text to findings. The folder is read once, at the start.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::command::{list, root};
use crate::report::Outcome;

mod rust;
mod unsafety;
mod markdown;
mod manifest;
mod source;

/// Folders with nothing that is checked in.
const NOT_OURS: [&str; 3] = [".git", "target", "fief-report"];

/// Checks the whole workspace.
///
/// # Errors
///
/// If a file cannot be read or breaks a rule.
pub(crate) fn run() -> Result<Outcome> {
    let tree = Tree::read(&root())?;
    let findings = tree.findings();
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    Ok(Outcome::Passed(format!("{} files", tree.files.len())))
}

/// A broken rule and where.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}\n  --> {}:{}", self.message, self.path, self.line)
    }
}

/// A text file; its path is relative to the root and has forward slashes.
#[derive(Debug)]
struct File {
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Its lines, counted from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }
}

/// The workspace's text files, and the names of all others.
#[derive(Debug, Default)]
struct Tree {
    files: Vec<File>,
    names: Vec<String>,
}

impl Tree {
    fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.visit(root, "")?;
        Ok(tree)
    }

    fn visit(&mut self, folder: &Path, name: &str) -> Result<()> {
        self.names.push(name.to_owned());
        for entry in list(folder) {
            let Some(last) = entry.file_name().and_then(|last| last.to_str()) else { continue };
            let below = if name.is_empty() { last.to_owned() } else { format!("{name}/{last}") };
            match entry.is_dir() {
                true if NOT_OURS.contains(&last) => {}
                true => self.visit(&entry, &below)?,
                false => self.enter(&entry, below)?,
            }
        }
        Ok(())
    }

    fn enter(&mut self, file: &Path, path: String) -> Result<()> {
        if [".rs", ".md", "Cargo.toml"].iter().any(|end| path.ends_with(end)) {
            let text = fs::read_to_string(file).with_context(|| format!("reading {path}"))?;
            self.files.push(File { path: path.clone(), text });
        }
        self.names.push(path);
        Ok(())
    }

    fn findings(&self) -> Vec<Finding> {
        let single = self.files.iter().flat_map(|file| self.of_file(file));
        single.chain(unsafety::list(&self.files)).collect()
    }

    fn of_file(&self, file: &File) -> Vec<Finding> {
        if file.is_rust() {
            rust::findings(file)
        } else if file.path.ends_with(".md") {
            markdown::findings(file, |path| self.names.iter().any(|name| name == path))
        } else {
            manifest::inherits(file)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `path` with `text` in it.
    pub(super) fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    /// Findings as `line: message`.
    pub(super) fn brief(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(|finding| format!("{}: {}", finding.line, finding.message)).collect()
    }

    #[test]
    fn this_workspace_is_tidy() {
        let findings = Tree::read(&root()).unwrap().findings();
        let findings: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    }

    #[test]
    fn a_finding_points_at_its_line() {
        let finding = Finding::new("crates/core/src/lib.rs", 7, "no such thing");
        assert_eq!(finding.to_string(), "error: no such thing\n  --> crates/core/src/lib.rs:7");
    }
}
