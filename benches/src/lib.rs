//! What the benches and `ratios` share: things to measure, ways to measure them, and verdicts.
//!
//! `benches/*.rs` ask criterion, one question a file. `src/bin/ratios.rs` holds the figures of one
//! process against their targets. `examples/count.rs` is for profilers. `docs/benchmarks.md` says
//! how to run them and what came out.
#![expect(
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    clippy::missing_panics_doc,
    reason = "for the programs of this package, which stop where something cannot be measured"
)]

pub mod forest;
pub mod pair;
pub mod race;
pub mod handed;
pub mod charged;
pub mod memory;
pub mod io;
pub mod armed;
pub mod lifecycle;
pub mod rebound;
pub mod around;
pub mod farewell;
pub mod notices;
pub mod footprint;
pub mod system;
pub mod compare;
pub mod statistic;
pub mod question;
pub mod rounds;
