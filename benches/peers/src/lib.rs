//! Other people's memory accounting, schedulers and rate limiters beside ours: for the scoreboard and the tables.
//!
//! `tests/` asserts what each was seen to do where it goes wrong. `src/main.rs` prints what a charge
//! and its uncharge cost, `src/bin/cpu.rs` how schedulers share processors, `src/bin/io.rs` how limiters keep rates and
//! disks are shared. `README.md` has the commands.
#![expect(
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    clippy::missing_panics_doc,
    reason = "for the programs of this package, which stop where something cannot be measured"
)]

pub mod ours;
pub mod pools;
pub mod walk;
#[expect(unsafe_code, reason = "an allocator can be called only so: docs/unsafe.md")]
pub mod allocators;
pub mod contest;
pub mod throughput;
pub mod cpu;
pub mod io;
