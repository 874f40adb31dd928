//! The one place where threads synchronise.

#[doc(hidden)]
pub mod barrier;
