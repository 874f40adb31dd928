//! Control groups inside one process.

#[doc(inline)]
pub use fief_core as core;
