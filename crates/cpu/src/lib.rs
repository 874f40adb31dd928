//! CPU time for groups inside one process: a fief controller.
//!
//! Weights, quotas and low latency for the futures, closures and threads of many tenants, by groups that can be
//! nested as deep as you like, and change while everything runs.
//!
//! ```
//! use fief_core::Registry;
//! use fief_cpu::{Cpu, Pool};
//!
//! let registry = Registry::new();
//! let tenants = registry.create_hierarchy("by-tenant")?;
//! let cpu = registry.register(Cpu::new())?;
//! cpu.bind(&tenants)?;
//! let pool = Pool::builder(&cpu).start()?;
//!
//! let web = tenants.root().create_child("web")?;
//! web.write("cpu.weight", "400")?;
//! web.write("cpu.max", "50000 100000")?; // half a CPU
//! let web = pool.group(&web)?;
//! let job = web.spawn(async { 6 * 7 })?;
//! assert_eq!(job.join()?, 42);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What to use
//!
//! | you want to | |
//! |---|---|
//! | replace `tokio::spawn`, and keep tokio's sockets and timers | `PoolBuilder::tokio`, with the feature `tokio`; then [`Group::spawn`] |
//! | the same without threads of ours | `PoolBuilder::runners` |
//! | run futures without tokio | [`Pool::builder`], [`Group::spawn`] |
//! | run closures, also ones that borrow | [`Group::spawn_fn`] and [`checkpoint`], [`Group::scope`] |
//! | count and slow down futures that somebody else spawns | [`Group::wrap`] |
//! | let threads of your own take turns | [`Group::enter`], [`Lease::checkpoint`], [`Lease::blocking`] |
//! | move, freeze or kill what runs | the [task](Group::task) of the group's handle, and its [`Cgroup`](fief_core::Cgroup) |
//! | set shares and limits | the control files below, or [`CpuCss`] |
//! | see what is going on | [`CpuCss::stats`], [`CpuCss::pressure`], [`CpuCss::long_polls`] |
//!
//! # What is promised
//!
//! *Shares.* Groups that always have something to run get CPU time by their weights, measured by the clocks of the
//! threads, to a slice of 200 µs and the longest poll for each worker. A poll cannot be interrupted: what it
//! takes is charged, and the others get it back.
//!
//! *Latency.* A group that wakes is at most a slice behind, and not before its debts are paid. With
//! [`CpuCss::set_latency`] it gets ahead by so much. Where all workers are inside long polls, the rescue lane
//! runs it beside them, up to a tenth of a CPU in all.
//!
//! *Quotas.* In no time `t` a group gets more than `quota / period · t`, and the burst or a slice, and the longest poll for
//! each worker; what is too much is paid back at once, not at the end of a period, so stalls are short.
//!
//! *Jobs.* None is lost and none runs twice, whatever is moved, bound, rebound, frozen, killed or removed meanwhile.
//!
//! # What is not seen
//!
//! What a job has others do is charged to nobody: threads that it starts, rayon's, `spawn_blocking`, a runtime of its own
//! on other threads. Have such threads [enter](Group::enter) the group, or use [`Group::scope`].
//!
//! # Control files
//!
//! | file | | |
//! |---|---|---|
//! | `cpu.weight` | rw | 1 to 10000, the default is 100; 0 is shown for an idle group; not on a root |
//! | `cpu.idle` | rw | `0` or `1`: runs only when nothing else would; not on a root |
//! | `cpu.latency` | rw | microseconds up to 10000 by which the group may be ahead of its turn; not on a root |
//! | `cpu.max` | rw | a quota in microseconds or `max`, and a period; the default is `max 100000` |
//! | `cpu.max.burst` | rw | microseconds that are saved up at most, up to the quota |
//! | `cpu.stat`, `cpu.stat.local` | r | see [`CpuStats`] |
//! | `cpu.pressure` | r | time lost by waiting for a CPU |
//!
//! `docs/control-files.md` says what differs from the kernel's files, and why.
//!
//! # Features
//!
//! `tokio`: workers on a tokio runtime. `serde`: settings and figures as data. `tracing`: what happens rarely, as
//! events.
#![cfg_attr(
    loom,
    expect(
        dead_code,
        unreachable_pub,
        reason = "loom builds the protocols, not what stands on them"
    )
)]

#[cfg(not(loom))]
mod subsystem;
#[cfg(not(loom))]
mod css;
#[cfg(not(loom))]
mod limits;
#[cfg(not(loom))]
mod stat;
mod polls;
#[cfg(not(loom))]
mod pressure;
#[cfg(not(loom))]
mod files;
#[cfg(not(loom))]
mod shared;
#[cfg(not(loom))]
mod group;
#[cfg(not(loom))]
mod member;
#[cfg(not(loom))]
mod pool;
#[cfg(not(loom))]
mod crew;
#[cfg(all(not(loom), feature = "tokio"))]
mod attach;
#[cfg(not(loom))]
mod manual;
mod worker;
#[cfg(not(loom))]
mod here;
#[cfg(not(loom))]
mod lease;
#[cfg(not(loom))]
#[expect(unsafe_code, reason = "closures that borrow; see docs/unsafe.md")]
mod scope;
#[cfg(not(loom))]
mod wrap;
mod claim;
mod ticker;
mod meter;
mod queue;
mod leaf;
mod wait;
mod rare;
mod sched;
mod rescue;
#[cfg(not(loom))]
mod error;
mod time;
mod trace;
pub mod tree;
mod stand;
mod job;
mod caught;
mod foreign;
mod sync;

#[cfg(test)]
mod tests;

#[cfg(not(loom))]
pub use crate::{
    css::CpuCss,
    error::{EnterError, GroupError, ScopeError, SettingError, SpawnError, StartError},
    group::Group,
    here::{Killed, NoYield, blocking, checkpoint, no_yield},
    lease::Lease,
    manual::{Manual, Turned},
    polls::{LongPoll, LongPolls},
    pool::{Pool, PoolBuilder},
    scope::Scope,
    stat::CpuStats,
    subsystem::{Cpu, CpuBuilder},
    tree::Bandwidth,
    wrap::Wrapped,
};

pub use crate::job::{AbortHandle, error::JoinError, join::JoinHandle};

/// The examples of `docs/cpu.md`.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/cpu.md")]
struct Guide;
