//! Control groups inside one process: trees of groups, subsystems, and their counted references.
//!
//! `fief-core` knows no controller by name and no async runtime.

pub mod sync;
