//! Other people's memory accounting beside ours: for the scoreboard and the table.
//!
//! `tests/` asserts what each was seen to do where it goes wrong. `src/main.rs` prints what a charge
//! and its uncharge cost. `README.md` has the two commands.
#![expect(
    clippy::exhaustive_structs,
    reason = "for the programs of this package, which stop where something cannot be measured"
)]

pub mod ours;
pub mod pools;
pub mod walk;
#[expect(unsafe_code, reason = "an allocator can be called only so: docs/unsafe.md")]
pub mod allocators;
pub mod contest;
pub mod throughput;
