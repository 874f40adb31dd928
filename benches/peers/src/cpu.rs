//! Other people's schedulers, and ours beside: the harness of `src/bin/cpu.rs`.
//!
//! `rows` holds the questions, `systems` those that answer; `system` is what is between them.
//! Loads are of a known size and arrivals independent of the answers; `README.md` has the rules.

pub mod rows;
pub mod systems;
pub mod system;
pub mod contest;
pub mod report;
pub mod load;
pub mod arrivals;
pub mod work;
pub mod figures;
pub mod fairness;
pub mod stalls;
pub mod machine;
pub mod cgroup;
