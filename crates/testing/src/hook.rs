//! The callbacks of a subsystem, by name.

use std::fmt;

/// One callback of the core's `Subsystem` trait, or the drop of a css's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
#[expect(missing_docs, reason = "named after the methods of `Subsystem`; `Free` is the drop")]
pub enum Hook {
    NewCss,
    Online,
    Killed,
    Offline,
    Released,
    Drain,
    Bound,
    Rebound,
    CanAttach,
    CancelAttach,
    Attach,
    PostAttach,
    CanFork,
    CancelFork,
    Fork,
    Exit,
    ReadFile,
    WriteFile,
    Free,
}

impl Hook {
    /// Every hook, in the order of a life.
    pub const ALL: [Self; 19] = [
        Self::NewCss,
        Self::Online,
        Self::Killed,
        Self::Offline,
        Self::Released,
        Self::Drain,
        Self::Bound,
        Self::Rebound,
        Self::CanAttach,
        Self::CancelAttach,
        Self::Attach,
        Self::PostAttach,
        Self::CanFork,
        Self::CancelFork,
        Self::Fork,
        Self::Exit,
        Self::ReadFile,
        Self::WriteFile,
        Self::Free,
    ];

    /// Finds a hook by the name of its method.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.name() == name)
    }

    /// Returns the name of its method; `free` for the drop of the state.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewCss => "new_css",
            Self::Online => "online",
            Self::Killed => "killed",
            Self::Offline => "offline",
            Self::Released => "released",
            Self::Drain => "drain",
            Self::Bound => "bound",
            Self::Rebound => "rebound",
            Self::CanAttach => "can_attach",
            Self::CancelAttach => "cancel_attach",
            Self::Attach => "attach",
            Self::PostAttach => "post_attach",
            Self::CanFork => "can_fork",
            Self::CancelFork => "cancel_fork",
            Self::Fork => "fork",
            Self::Exit => "exit",
            Self::ReadFile => "read_file",
            Self::WriteFile => "write_file",
            Self::Free => "free",
        }
    }

    /// Tells whether an error from this hook refuses the operation.
    #[must_use]
    pub const fn can_veto(self) -> bool {
        matches!(
            self,
            Self::NewCss
                | Self::Online
                | Self::CanAttach
                | Self::CanFork
                | Self::ReadFile
                | Self::WriteFile
        )
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
