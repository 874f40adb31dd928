//! Checks of one manifest: a member takes its version, edition and lints from the workspace.

use super::{File, Finding};

/// What a member has, as `section.key`.
const INHERITED: [&str; 3] = ["package.version", "package.edition", "lints"];

/// The workspace's members inherit; workspaces of their own are left alone.
pub(super) fn inherits(file: &File) -> Vec<Finding> {
    let is_member = ["crates/", "xtask/", "benches/"].iter().any(|it| file.path.starts_with(it));
    let settings = settings(&file.text);
    let is_workspace = settings.iter().any(|(key, _)| key.starts_with("workspace"));
    let is_foreign = file.path.starts_with("benches/peers/");
    if !is_member || is_workspace || is_foreign {
        return Vec::new();
    }
    let is_set = |name: &str| {
        let (dotted, inline) = (format!("{name}.workspace"), "{ workspace = true }");
        settings.iter().any(|(key, value)| match value.as_str() {
            "true" => *key == dotted,
            value => *key == name && value == inline,
        })
    };
    let missing = INHERITED.into_iter().filter(|name| !is_set(name));
    let message = |name| format!("`{name}` is not taken from the workspace");
    missing.map(|name| Finding::new(&file.path, 1, message(name))).collect()
}

/// The settings of a manifest as `section.key` and value.
fn settings(text: &str) -> Vec<(String, String)> {
    let mut section = String::new();
    let mut settings = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            name.clone_into(&mut section);
            settings.push((section.clone(), String::new()));
        } else if let Some((key, value)) = line.split_once('=') {
            let value = value.split('#').next().unwrap_or_default();
            settings.push((format!("{section}.{}", key.trim()), value.trim().to_owned()));
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::super::tests::{brief, file};
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[&str]) {
        assert_eq!(brief(&inherits(&file(path, text))), expected);
    }

    #[test]
    fn a_member_that_inherits_is_fine() {
        let member = "[package]\nname = \"a\"\nversion.workspace = true # one\n\
                      edition = { workspace = true }\n\n[lints]\nworkspace = true\n";
        check("crates/a/Cargo.toml", member, &[]);
    }

    #[test]
    fn a_member_on_its_own_is_refused() {
        let member = "[package]\nversion = \"0.1.0\"\nedition.workspace = true\n[lints]\n";
        check(
            "crates/a/Cargo.toml",
            member,
            &[
                "1: `package.version` is not taken from the workspace",
                "1: `lints` is not taken from the workspace",
            ],
        );
    }

    #[test]
    fn other_workspaces_are_left_alone() {
        let own = "[package]\nversion = \"1.0.0\"\n[workspace]\n";
        check("benches/peers/Cargo.toml", own, &[]);
        check("integrations/a/Cargo.toml", "[package]\n", &[]);
        check("Cargo.toml", "[workspace]\n", &[]);
    }
}
