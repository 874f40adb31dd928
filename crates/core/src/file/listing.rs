//! Which files there are, and what can be done with them.

use std::{collections::HashSet, fmt};

use crate::{
    controller::caught,
    error::{RegisterError, Veto},
    subsystem::Subsystem,
};

/// Bytes in a control file's name, without the subsystem's.
const LONGEST: usize = 64;

/// What can be done with a control file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[expect(clippy::exhaustive_enums, reason = "there is nothing else to do with a file")]
pub enum Access {
    /// It can be read.
    Read,
    /// It can be written.
    Write,
    /// Both.
    ReadWrite,
}

/// A control file of a group; from [`Cgroup::files`](crate::Cgroup::files).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct FileInfo {
    /// The whole name: `memory.max`.
    pub name: String,
    /// What can be done with it.
    pub access: Access,
}

/// A control file as its subsystem lists it; from [`Subsystem::files`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlFile {
    name: &'static str,
    access: Access,
    place: Where,
}

/// Which groups have a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Everywhere,
    NotOnRoot,
    OnlyOnRoot,
}

impl Access {
    /// Returns whether the file can be read.
    #[must_use]
    pub const fn is_readable(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    /// Returns whether the file can be written.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}

impl fmt::Display for Access {
    /// Writes `r-`, `-w` or `rw`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "r-",
            Self::Write => "-w",
            Self::ReadWrite => "rw",
        })
    }
}

impl ControlFile {
    /// Describes a file that can be read; `name` is without the subsystem's, and goes by
    /// [`Subsystem::files`].
    #[must_use]
    pub const fn read_only(name: &'static str) -> Self {
        Self::new(name, Access::Read)
    }

    /// Describes a file that can be written.
    #[must_use]
    pub const fn write_only(name: &'static str) -> Self {
        Self::new(name, Access::Write)
    }

    /// Describes a file that can be read and written.
    #[must_use]
    pub const fn read_write(name: &'static str) -> Self {
        Self::new(name, Access::ReadWrite)
    }

    /// Says that every group but the root has it; otherwise all groups have.
    #[must_use]
    pub const fn not_on_root(self) -> Self {
        Self { place: Where::NotOnRoot, ..self }
    }

    /// Says that only the root has it; otherwise all groups have.
    #[must_use]
    pub const fn only_on_root(self) -> Self {
        Self { place: Where::OnlyOnRoot, ..self }
    }

    /// Returns the name, without the subsystem's.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns what can be done with it.
    #[must_use]
    pub const fn access(&self) -> Access {
        self.access
    }

    const fn new(name: &'static str, access: Access) -> Self {
        Self { name, access, place: Where::Everywhere }
    }

    /// Returns whether a root, or any other group, has the file.
    pub(crate) const fn is_on(&self, is_root: bool) -> bool {
        match self.place {
            Where::Everywhere => true,
            Where::NotOnRoot => !is_root,
            Where::OnlyOnRoot => is_root,
        }
    }
}

/// A subsystem's files, checked.
pub(crate) type Listing = Box<[ControlFile]>;

/// Asks a subsystem for its files, and checks their names.
pub(crate) fn list<S: Subsystem>(subsystem: &S) -> Result<Listing, RegisterError> {
    let name = || caught(|| subsystem.name().to_owned()).unwrap_or_default();
    let listed: Listing = caught(|| subsystem.files().into()).map_err(|cause| {
        let cgroup = "/".to_owned();
        RegisterError::Vetoed(Veto { cgroup, subsystem: name(), hook: "files", cause })
    })?;
    let mut names = HashSet::new();
    for ControlFile { name: file, .. } in &listed {
        let owned = || (*file).to_owned();
        if !is_file(file) {
            return Err(RegisterError::File { name: name(), file: owned() });
        }
        if !names.insert(*file) {
            return Err(RegisterError::FileTwice { name: name(), file: owned() });
        }
    }
    Ok(listed)
}

/// Returns whether `name` is words of `a-z 0-9 _`, each with a letter first, joined by dots.
fn is_file(name: &str) -> bool {
    let is_letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase()) && word.bytes().all(is_letter)
    };
    name.len() <= LONGEST && name.split('.').all(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_words_joined_by_dots() {
        let longest = "x".repeat(LONGEST);
        for name in ["max", "stat.local", "oom.group", "p99_us", &longest] {
            assert!(is_file(name), "{name:?}");
        }
        let too_long = "x".repeat(LONGEST + 1);
        for name in [
            "", ".", ".max", "max.", "a..b", "Max", "1max", "a.1b", "_a", "a b", "a/b", "a\n",
            "a-b", "mäx", "a\0", &too_long,
        ] {
            assert!(!is_file(name), "{name:?}");
        }
    }

    #[test]
    fn a_root_has_what_is_said_to_be_there() {
        let file = ControlFile::read_write("max");
        assert!(file.is_on(true) && file.is_on(false));
        assert!(!file.not_on_root().is_on(true) && file.not_on_root().is_on(false));
        assert!(file.only_on_root().is_on(true) && !file.only_on_root().is_on(false));
    }
}
