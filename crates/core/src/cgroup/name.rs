//! Which names a group, a hierarchy, a subsystem and a task may have.

use thiserror::Error;

/// Bytes in a group's name.
const LONGEST: usize = 255;

/// A group's name breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NameError {
    /// It is empty.
    #[error("a name cannot be empty")]
    Empty,
    /// It is `.` or `..`.
    #[error("{name:?} cannot be a name")]
    Dots {
        /// The name.
        name: String,
    },
    /// It holds `/`, a newline or NUL.
    #[error("name {name:?} holds {character:?}")]
    Character {
        /// The name.
        name: String,
        /// The character.
        character: char,
    },
    /// It exceeds 255 bytes.
    #[error("a name of {length} bytes exceeds {LONGEST}")]
    TooLong {
        /// Its bytes.
        length: usize,
    },
    /// It begins as a control file's name does.
    #[error("name {name:?} is reserved for control files: {prefix}")]
    Reserved {
        /// The name.
        name: String,
        /// What is reserved.
        prefix: String,
    },
}

/// Checks `name` as a group's, beside control files of `subsystems`.
pub(crate) fn check<'s, I>(name: &str, subsystems: I) -> Result<(), NameError>
where
    I: Iterator<Item = &'s str>,
{
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name == "." || name == ".." {
        return Err(NameError::Dots { name: name.to_owned() });
    }
    if let Some(character) = name.chars().find(|c| matches!(c, '/' | '\n' | '\0')) {
        return Err(NameError::Character { name: name.to_owned(), character });
    }
    if name.len() > LONGEST {
        return Err(NameError::TooLong { length: name.len() });
    }
    reserved(name, subsystems)
}

fn reserved<'s, I>(name: &str, subsystems: I) -> Result<(), NameError>
where
    I: Iterator<Item = &'s str>,
{
    let refuse = |prefix| Err(NameError::Reserved { name: name.to_owned(), prefix });
    if name == "notify_on_release" {
        return refuse(name.to_owned());
    }
    match ["cgroup"].into_iter().chain(subsystems).find(|prefix| has_prefix(name, prefix)) {
        Some(prefix) => refuse(format!("{prefix}.*")),
        None => Ok(()),
    }
}

/// Returns whether `name` is `subsystem.` and more, or nothing more.
pub(crate) fn has_prefix(name: &str, subsystem: &str) -> bool {
    name.strip_prefix(subsystem).is_some_and(|rest| rest.starts_with('.'))
}

/// Returns whether `name` can be a hierarchy's: 1 to 63 of `A-Z a-z 0-9 _ . -`.
pub(crate) fn is_hierarchy(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// Returns whether `name` can be a subsystem's: a letter and up to 31 of `a-z 0-9 _`.
pub(crate) fn is_subsystem(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=32).contains(&name.len())
        && name.bytes().all(word)
        && name.as_bytes()[0].is_ascii_lowercase()
        && name != "cgroup"
}

/// Returns whether `name` can be a task's; unlike a group's it may be empty or hold `/`.
pub(crate) fn is_task(name: &str) -> bool {
    name.len() <= LONGEST && !name.contains(['\n', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str) -> String {
        check(name, ["memory"].into_iter()).unwrap_err().to_string()
    }

    #[test]
    fn every_rule_names_itself() {
        assert_eq!(refusal(""), "a name cannot be empty");
        assert_eq!(refusal(".."), r#"".." cannot be a name"#);
        assert_eq!(refusal("a/b"), r#"name "a/b" holds '/'"#);
        assert_eq!(refusal("a\nb"), r#"name "a\nb" holds '\n'"#);
        assert_eq!(refusal("a\0"), r#"name "a\0" holds '\0'"#);
        assert_eq!(refusal(&"x".repeat(256)), "a name of 256 bytes exceeds 255");
        let reserved = |name, what| format!("name {name:?} is reserved for control files: {what}");
        assert_eq!(refusal("cgroup.procs"), reserved("cgroup.procs", "cgroup.*"));
        assert_eq!(refusal("memory.max"), reserved("memory.max", "memory.*"));
        assert_eq!(
            refusal("notify_on_release"),
            reserved("notify_on_release", "notify_on_release")
        );
    }

    #[test]
    fn names_near_the_rules_pass() {
        let longest = "x".repeat(255);
        for name in ["...", "cgroup", "memory", "memory2.max", " ", "ümläut", &longest] {
            assert_eq!(check(name, ["memory"].into_iter()), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn other_names_have_rules_of_their_own() {
        assert!(is_hierarchy("by-tenant") && !is_hierarchy("") && !is_hierarchy("a b"));
        assert!(!is_hierarchy(&"x".repeat(64)));
        assert!(is_subsystem("memory") && !is_subsystem("Memory") && !is_subsystem("cgroup"));
        assert!(!is_subsystem("") && !is_subsystem("1st") && !is_subsystem("a.b"));
        assert!(is_task("") && is_task("a/b") && !is_task("a\nb"));
    }
}
