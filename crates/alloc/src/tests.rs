//! Tests that need internals: models of the protocols, for loom.

mod loom_block;
mod loom_due;
mod mutants;
