//! The `fief` binary.

fn main() {}
