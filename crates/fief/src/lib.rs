#![doc = include_str!("../../../README.md")]

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
