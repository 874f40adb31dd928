//! The systems that take part.

mod shards;
mod tokio;
#[cfg(feature = "glommio")]
mod glommio;
mod clockworker;
mod async_runtime;
mod rayon;
mod kernel;
mod fief;

use std::time::Duration;

use super::system::System;

/// The first is what the others' throughput is compared with.
#[must_use]
pub fn all() -> Vec<Box<dyn System>> {
    let kernel = |name, period| Box::new(kernel::Groups { name, period });
    let fief = |name, ground| Box::new(fief::Fief { name, ground });
    vec![
        Box::new(tokio::Tokio),
        Box::new(tokio::TwoTokios),
        #[cfg(feature = "glommio")]
        Box::new(glommio::Glommio),
        Box::new(clockworker::Clockworker),
        Box::new(async_runtime::AsyncRuntime),
        Box::new(rayon::Rayon),
        fief("fief threads", fief::Ground::Threads),
        fief("fief attached", fief::Ground::Attached),
        fief("fief runners", fief::Ground::Runners),
        fief("fief wrapped", fief::Ground::Wrapped),
        kernel("kernel cgroup", kernel::DEFAULT_PERIOD),
        kernel("kernel cgroup, 10 ms", Duration::from_millis(10)),
        kernel("kernel cgroup, 5 ms", Duration::from_millis(5)),
    ]
}
