#![doc = include_str!("../../../README.md")]

#[doc(inline)]
pub use fief_core::*;
