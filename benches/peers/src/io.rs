//! Other people's rate limiters and shared disks, and ours beside: the harness of `src/bin/io.rs`.
//!
//! `rows` holds the questions. `limiters` are asked those about rates, `disk` has a real file and those who share it;
//! `contest` lets them take turns. `README.md` has the rules.

pub mod rows;
pub mod contest;
pub mod report;
pub mod limiters;
pub mod world;
pub mod windows;
pub mod disk;
