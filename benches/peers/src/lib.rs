//! Other people's memory accounting beside ours: for the scoreboard.
//!
//! `tests/` asserts what each was seen to do where it goes wrong. `README.md` has the command.
#![expect(
    clippy::exhaustive_structs,
    reason = "for the programs of this package, which stop where something cannot be measured"
)]

pub mod ours;
pub mod pools;
pub mod contest;
