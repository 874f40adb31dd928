//! I/O limits, shares and reservations for groups inside one process: a fief controller.
//!
//! So much a second for the files, sockets and requests of many tenants, and so much of a disk for each, by groups that
//! can be nested as deep as you like, and change while everything runs.
//!
//! ```
//! use std::io::Write as _;
//!
//! use fief_core::Registry;
//! use fief_io::{Device, Io, Op};
//!
//! let registry = Registry::new();
//! let tenants = registry.create_hierarchy("by-tenant")?;
//! let io = registry.register(Io::new())?;
//! io.bind(&tenants)?;
//! let disk = Device::builder("disk").depth(4).register(&io)?;
//!
//! let web = tenants.root().create_child("web")?;
//! web.write("io.max", "disk rbps=50M wbps=20M")?;
//! web.write("io.weight", "disk 400")?;
//! let stream = disk.stream(&web)?;
//!
//! // An operation of one's own: ask, do it, say what it came to.
//! let permit = stream.acquire_blocking(Op::read(4096))?;
//! permit.done(1024);
//! // Or a file, which asks for itself.
//! let mut file = stream.limit(tempfile::tempfile()?);
//! file.write_all(b"charged to web")?;
//!
//! let stats = io.css(&web).ok_or("removed")?.stats(&disk);
//! assert_eq!((stats.rbytes, stats.wbytes, stats.inflight), (1024, 14, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Device`] is a capacity: a disk, a mount, a network, a bucket. What is *limited* goes by time, and needs no more
//! than a device by name. What is *shared* goes by completions: it needs to know how much the device does at a time, its
//! [depth](DeviceBuilder::depth), which `fief calibrate` measures.
//!
//! # What to use
//!
//! | you want to | |
//! |---|---|
//! | wait for an operation's turn, on this thread | [`Stream::acquire_blocking`], [`Stream::acquire_timeout`], [`Stream::acquire_until`] |
//! | the same in a future, on any runtime | [`Stream::acquire`], [`Stream::acquire_owned`] |
//! | be told that it would have to wait, and for how long | [`Stream::try_acquire`] |
//! | give back what an operation did not use | [`Permit::done`] |
//! | keep the wait out of an operation's own time | [`Permit::waited`], [`Limited::waited`] |
//! | wrap a file of the standard library | [`Stream::limit`]: reads, writes, seeks, and those at a place |
//! | wrap a file or stream of tokio | the same, with the feature `tokio`; [`Stream::limit_socket`] for what waits for a peer |
//! | limit the requests of a service | `IoLayer`, with the feature `tower` |
//! | wrap what is wrapped already, and pay once | nothing: wrappers see it; [`Permit::cover`] for operations of your own |
//! | charge what cannot wait | [`Stream::charge_urgent`]: it runs into debt, which is paid before anything else |
//! | charge a task, wherever it is moved | [`Device::stream_for`]; [`Device::stream`] makes one, [`Device::stream_at`] stays with a group |
//! | set limits, weights, reservations | the control files below, or [`IoCss`] |
//! | bound how long operations take | [`DeviceBuilder::latency_target`], [`IoCss::set_latency`] |
//! | find out what a disk can do | `fief calibrate`, which writes a [`DeviceConfig`]; [`CostModel`] |
//! | see what is going on | [`IoCss::stats`], [`IoCss::pressure`], [`Device::stats`], [`Io::process_stats`] |
//! | have the algorithm alone, behind a front end of your own | [`tree::IoTree`] |
//! | go on in the child of a fork | a registry of its own: what was inherited refuses with [`Refusal::Forked`] |
//!
//! `docs/io.md` has a page of examples for these.
//!
//! # What is promised
//!
//! *Limits.* In no time `t` a group and all below it are charged more than `rate · t`, the burst and a
//! [quantum](DeviceBuilder::quantum), exactly, at every rate from 1 to 2^63 − 1 a second; while operations wait, what comes
//! in for 100 ms is kept if that is more than the burst, so a late wake-up costs time, not rate. No operation is admitted
//! before all of it is charged, at every level above; nothing is charged at one level and refused at another. A thread
//! has half a millisecond of the rate charged ahead, 256 KiB at most. [Urgent](Stream::charge_urgent) operations come
//! on top, and are paid back first.
//!
//! *Shares.* Groups that always have operations waiting get the device's time by their weights, to one quantum each; what
//! one does not use goes to the others. Operations that are larger wait until all their quanta had their turn, so small
//! ones pass them.
//!
//! *Reservations.* A group that waits and has had less than its [`Min`] is served first, if no limit is in the way.
//!
//! *Order.* Operations of one stream are served as they were asked for. Streams of a group share equally.
//!
//! *Changes.* What is set reaches who waits at once. Operations that wait or run while anything is moved, bound, rebound
//! or removed are granted once or refused, and what is charged is what was granted.
//!
//! *Waiting.* One that is given up costs nothing, in whatever state it is. Nobody waits for a thread of ours but where
//! time alone brings something: whoever comes, ends or changes something lets others go on.
//!
//! # What it costs
//!
//! | | |
//! |---|---|
//! | nothing above limits it, no depth | plain stores to a line of the thread's own; no clock, no lock, however many levels |
//! | limited, and within what the thread has charged ahead | one exchange of a word of the thread's own, likewise |
//! | all else; always on a device with a depth | the device's lock and the clock, and work for each level; once more at the end, with a depth |
//! | a group that uses a device | about 1.2 KiB with limits, and 136 bytes for each thread that uses it |
//! | a controller | one thread, while operations wait for time to pass |
//!
//! # What is not seen
//!
//! What does not ask. Nor what the machine makes of an operation: a read that the page cache serves is a read, and a write
//! is charged when it is copied there, not when it goes to the disk. Where that matters, open files with `O_DIRECT`, or
//! have them [written back](Limited::sync_every) every few MiB. Memory that is mapped is read and written without asking.
//!
//! One limit for one stream, without a tree, is had with less: by a token bucket of any rate limiter. What other processes
//! do is the kernel's `io` controller to limit.
//!
//! # Control files
//!
//! | file | | |
//! |---|---|---|
//! | `io.max` | rw | `DEV rbps= wbps= riops= wiops= bps= iops=`, each a rate a second or `max`; and their bursts, as `rbps_burst=` |
//! | `io.weight` | rw | `default W` and `DEV W`, 1 to 10000, the default is 100; not on a root |
//! | `io.min` | rw | `DEV bps= iops=`: what is reserved, a second; the default is 0; not on a root |
//! | `io.latency` | rw | `DEV target=` in microseconds, or `max` |
//! | `io.stat`, `io.stat.local` | r | what was done, and how long it waited: here and below, here; see [`IoStats`] |
//! | `io.pressure` | r | time lost by waiting for I/O; see [`IoCss::pressure`] |
//!
//! The root has limits, too: the budget of the process. `docs/control-files.md` says what differs from the
//! kernel's files, and why.
//!
//! # Features
//!
//! `tokio`: wrappers are tokio's streams and files as well. `tower`: a layer for services. `serde`: settings and figures
//! as data. `tracing`: what happens rarely, as events.
#![cfg_attr(
    all(loom, not(test)),
    expect(dead_code, reason = "loom builds the protocols, not what stands on them")
)]
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
mod files;
#[cfg(not(loom))]
mod stat;
#[cfg(not(loom))]
mod pressure;
#[cfg(not(loom))]
mod trace;
#[cfg(all(feature = "serde", not(loom)))]
mod data;
#[cfg(not(loom))]
mod device;
#[cfg(not(loom))]
mod stream;
#[cfg(not(loom))]
mod acquire;
#[cfg(not(loom))]
mod owned;
#[cfg(not(loom))]
mod permit;
#[cfg(not(loom))]
mod paid;
#[cfg(not(loom))]
mod limited;
#[cfg(all(feature = "tower", not(loom)))]
mod tower;
#[cfg(not(loom))]
mod shared;
mod node;
mod sched;
mod latency;
mod device_stats;
#[cfg(not(loom))]
mod table;
mod ticker;
mod cost;
#[cfg(not(loom))]
mod config;
#[cfg(not(loom))]
mod error;
mod caught;
mod foreign;
mod time;
mod refusal;
mod op;
mod cell;
mod sync;
pub mod tree;

#[cfg(test)]
mod tests;

#[cfg(all(feature = "tower", not(loom)))]
pub use crate::tower::{IoLayer, Limit, LimitError, LimitFuture};
#[cfg(not(loom))]
pub use crate::{
    acquire::Acquire,
    config::DeviceConfig,
    cost::{CostModel, OpCost},
    css::IoCss,
    device::{Device, DeviceBuilder},
    device_stats::DeviceStats,
    error::{AcquireError, DeviceError, Refusal, SetError, StreamError, UnknownDeviceError},
    limited::Limited,
    op::Op,
    owned::AcquireOwned,
    permit::{OwnedPermit, Permit, Wait},
    stat::{IoStats, ProcessStats},
    stream::Stream,
    subsystem::{Io, IoBuilder},
    tree::{Dimension, Limits, Min},
};

/// The examples of `docs/io.md`.
#[cfg(all(doctest, feature = "tower"))]
#[doc = include_str!("../../../docs/io.md")]
struct Guide;
