#![doc = include_str!("../../../README.md")]

#[cfg(all(feature = "cpu", feature = "io", feature = "memory"))]
mod fief;
#[cfg(all(feature = "cpu", feature = "io", feature = "memory"))]
mod group;
#[cfg(all(feature = "cpu", feature = "io", feature = "memory"))]
mod here;
#[cfg(all(feature = "cpu", feature = "io", feature = "memory"))]
mod run;
#[cfg(all(feature = "cpu", feature = "io", feature = "memory"))]
mod error;
pub mod prelude;

#[cfg(feature = "alloc")]
#[doc(inline)]
pub use fief_alloc as alloc;
#[doc(inline)]
pub use fief_core::*;
#[cfg(feature = "cpu")]
#[doc(inline)]
pub use fief_cpu as cpu;
#[cfg(feature = "io")]
#[doc(inline)]
pub use fief_io as io;
#[cfg(feature = "memory")]
#[doc(inline)]
pub use fief_memory as memory;
#[cfg(feature = "tasks")]
#[doc(inline)]
pub use fief_tasks as tasks;

#[cfg(all(feature = "cpu", feature = "io", feature = "memory"))]
pub use crate::{
    error::{GoneError, GroupError, RunError, StartError},
    fief::{Fief, FiefBuilder},
    group::Group,
    here::{Here, here},
    run::Run,
};
