//! Script language, reference model and stress harness for fief.
//!
//! A behaviour test is a script and a snapshot: `assert_snapshot!(check("…"), @"…")`. The same
//! scripts run against a reference model in `tests/model.rs`, with commands made at random.

pub mod script;
pub mod hook;
pub mod inject;
pub mod refusal;
mod names;
pub mod view;
pub mod render;
pub mod recorder;
pub mod check;
pub mod model;
pub mod stress;
pub mod load;
pub mod world;
mod sync;
