//! What a script itself refuses, before the core is asked: names that stand for nothing, or for
//! something already.

use thiserror::Error;

/// A command that names the wrong thing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant says it")]
pub enum Refusal {
    #[error("no hierarchy is selected")]
    NothingSelected,
    #[error("no hierarchy {0}")]
    UnknownHierarchy(String),
    #[error("no subsystem {0}")]
    UnknownSubsystem(String),
    #[error("no task {0}")]
    UnknownTask(String),
    #[error("no reference {0}")]
    UnknownReference(String),
    #[error("no notice {0}")]
    UnknownNotice(String),
    #[error("no watch {0}")]
    UnknownWatch(String),
    #[error("{0} stands for something already")]
    Taken(String),
    #[error("{subsystem} has no css here")]
    NoCss { subsystem: String },
    #[error("the css is gone")]
    Gone,
}

/// A command that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The variant of the error.
    pub kind: String,
    /// Its display.
    pub text: String,
}

impl Failure {
    /// Returns what the model foretells: the kind, or what exactly is in the way.
    #[must_use]
    pub fn gist(&self) -> &str {
        if matches!(&*self.kind, "InUse" | "Differs" | "Members" | "MoverError") {
            &self.text
        } else {
            &self.kind
        }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        // The variant's name is what its `Debug` begins with.
        let debug = format!("{error:?}");
        let kind = debug.split(|char: char| !char.is_alphanumeric()).next().unwrap_or_default();
        Self { kind: kind.to_owned(), text: error.to_string() }
    }
}
