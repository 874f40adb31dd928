//! Tests that need internals.
