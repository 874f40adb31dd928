//! What most programs name: `use fief::prelude::*`.

pub use fief_core::{
    Cgroup, Controller, CssRef, Hierarchy, Limit, RebindOptions, Registry, Removal, Task,
};
#[cfg(feature = "io")]
pub use fief_io::{Device, Op};

#[cfg(all(feature = "cpu", feature = "io", feature = "memory"))]
pub use crate::{Fief, Group, Here, here};
