//! I/O limits, shares and reservations for groups inside one process: a fief controller.
#![cfg_attr(loom, expect(dead_code, reason = "loom builds the protocols, not what stands on them"))]

pub mod tree;
