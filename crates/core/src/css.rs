//! The state of one subsystem for one group, and everything that keeps it alive.
//!
//! A [`Css`] goes through the stages of [`State`]. It is made when its group is created or its
//! controller registered, counted by `css/refcount.rs` from then on, killed when its group's removal
//! is decided, released when the last reference goes, and freed a grace period later.
//!
//! # Invariants
//!
//! 1. While a css is not freed, the header of its id has the css as payload, and the registry's
//!    arena or the grace period's garbage keeps its allocation.
//! 2. It is freed only a grace period after its notification, and notified only when no reference
//!    is counted any more. So it is live for whoever holds a reference, or found it under a read
//!    guard that is still held, or has won its notification and not yet delivered it.

#[expect(unsafe_code, reason = "type-stable memory behind atomic pointers; see docs/unsafe.md")]
pub(crate) mod cells;
#[expect(unsafe_code, reason = "counted pointers; see docs/unsafe.md")]
#[cfg(not(loom))]
pub(crate) mod handle;
pub(crate) mod header;
pub(crate) mod home;
pub(crate) mod mailbox;
pub(crate) mod refcount;
pub(crate) mod release;
pub(crate) mod switch;
#[cfg(not(loom))]
pub(crate) mod thread;
pub(crate) mod uses;

#[cfg(not(loom))]
pub(crate) use self::object::{AnyCss, Core, Pin, Seed};
#[cfg(not(loom))]
pub use self::object::{Css, State};

#[cfg(not(loom))]
#[expect(unsafe_code, reason = "a css is reached by its core; see docs/unsafe.md")]
mod object;
