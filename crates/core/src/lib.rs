//! Control groups inside one process: trees of groups, subsystems, and their counted references.
//!
//! A [`Registry`] holds any number of [`Hierarchy`]s, each a tree of [`Cgroup`]s. A [`Subsystem`] is a
//! kind of controller; registered, it is a [`Controller`], which can be bound to one hierarchy and
//! then keeps a [`Css`], its state, for every group there. A [`Task`] is a member of one group of
//! every hierarchy.
//!
//! ```
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! use fief_core::{Css, HookError, Registry, Removal, Subsystem};
//!
//! /// Counts operations, for each group and all below it.
//! struct Operations;
//!
//! impl Subsystem for Operations {
//!     type State = AtomicU64;
//!
//!     fn name(&self) -> &str {
//!         "operations"
//!     }
//!
//!     fn new_css(&self, _parent: Option<&Css<AtomicU64>>) -> Result<AtomicU64, HookError> {
//!         Ok(AtomicU64::new(0))
//!     }
//!
//!     fn released(&self, css: &Css<AtomicU64>) {
//!         // What the group did stays counted above it.
//!         if let Some(parent) = css.parent() {
//!             parent.fetch_add(css.load(Ordering::Relaxed), Ordering::Relaxed);
//!         }
//!     }
//! }
//!
//! let registry = Registry::new();
//! let tenants = registry.create_hierarchy("by-tenant")?;
//! let operations = registry.register(Operations)?;
//! operations.bind(&tenants)?;
//!
//! let web = tenants.root().create_child("web")?;
//! let request = registry.create_task("request 1")?;
//! request.join(&web)?;
//!
//! // In the request: find the css of the group it sits in, and keep a reference.
//! let css = request.css(&operations).ok_or("unregistered")?;
//! css.fetch_add(1, Ordering::Relaxed);
//!
//! drop(request);
//! web.remove(Removal::Detach)?; // the group is gone; what is referenced stays
//! drop(css); // from any thread, in any context
//! registry.wait_reclaimed()?;
//! assert_eq!(operations.root().map(|root| root.load(Ordering::Relaxed)), Some(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Removal
//!
//! [`Removal::Detach`] removes a group whatever references are out, as above. [`Removal::Strict`] refuses
//! while there are any. Who sets [`Cgroup::set_notify_on_release`] is told when there are none:
//!
//! ```
//! # use fief_core::{Registry, Removal};
//! let registry = Registry::new();
//! let tenants = registry.create_hierarchy("by-tenant")?;
//! tenants.root().set_notify_on_release(true)?; // inherited by what is created below
//! let notices = tenants.notices();
//!
//! let request = registry.create_task("request 1")?;
//! tenants.root().create_child_with("web", &[&request])?;
//! drop(request); // the last member is gone
//!
//! let released = notices.recv()?.accept().ok_or("used again")?;
//! assert_eq!(released.path(), "/web");
//! released.remove(Removal::Strict)?; // or is refused, if somebody came in between
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guarantees
//!
//! | operation | progress | cost |
//! |---|---|---|
//! | clone or drop a [`CssRef`] of an online css | wait-free (1) | a plain add on a cell of the thread's own |
//! | [`Css::try_get`] under a guard | wait-free (1) | the same |
//! | the same of a dying css, or of a group that waits for its release | lock-free | an atomic add on a shared word |
//! | the same with [`Barrier::Fence`] | wait-free (1) | a full fence in addition |
//! | [`Cache::css`] | lock-free (2) | a few loads and stores, none locked, and a `try_get_online` |
//! | [`Task::css`] | lock-free (2) | a guard of its own in place of the stores |
//! | [`Registry::read`] and its drop | wait-free, but for a very rare retry | two locked instructions |
//! | drop the last reference to such a css | lock-free | three exchanges, at most one system call |
//! | [`Resource::try_charge`], and to give that back | lock-free; wait-free | one locked instruction a level |
//! | count an event in a [`Tally`] | wait-free | a plain add on a word of the thread's own |
//! | create, remove, bind, join, spawn, freeze, drop of a [`Task`] | one lock for the registry | hooks run under it |
//! | [`Controller::rebind`] | the same lock, until every older guard is gone; readers wait for nothing | one pointer swap to happen |
//!
//! (1) The first take near a css may lock and allocate for a moment; [`prepare_thread`] does so ahead.
//! Dropping never does.
//! (2) It repeats only when the task was moved, or its controller bound elsewhere, meanwhile.
//!
//! A call that returns an error has changed nothing. A css is freed exactly once, after its last
//! reference is gone and every guard that could have found it; where nobody is left to know that, it
//! is leaked, never freed early.
//!
//! # Features
//!
//! `serde`: statistics, limits and ids as data. `tracing`: structural operations and lifecycle edges
//! as events of target `fief`.
#![cfg_attr(
    loom,
    expect(
        dead_code,
        unreachable_pub,
        reason = "loom builds the protocols, not what stands on them"
    )
)]

#[cfg(not(loom))]
mod registry;
#[cfg(not(loom))]
mod hierarchy;
#[cfg(not(loom))]
mod cgroup;
#[cfg(not(loom))]
mod subsystem;
#[cfg(not(loom))]
mod controller;
#[cfg(not(loom))]
mod bind;
#[cfg(not(loom))]
mod rebind;
mod css;
#[cfg(not(loom))]
mod lifecycle;
mod world;
#[cfg(not(loom))]
mod task;
#[cfg(not(loom))]
mod migrate;
mod freeze;
#[cfg(not(loom))]
mod edit;
#[cfg(not(loom))]
mod reclaim;
mod notice;
#[cfg(not(loom))]
mod watch;
#[cfg(not(loom))]
mod agent;
mod counter;
#[cfg(not(loom))]
mod tally;
mod pressure;
#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
pub mod file;
#[cfg(not(loom))]
mod stat;
mod quote;
mod units;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod trace;
#[doc(hidden)]
pub mod sync;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod bench;

#[cfg(test)]
mod tests;

/// The crate whose receivers bring notices and events.
#[cfg(not(loom))]
pub use crossbeam_channel;

/// What the data structures of other crates are made of, which loom runs as they are.
#[cfg(loom)]
pub use crate::units::Limit;

#[cfg(not(loom))]
pub use crate::{
    agent::{ReleaseAgent, command::AgentCommand, ledger::AgentStats},
    cgroup::{
        Cgroup,
        name::NameError,
        remove::Removal,
        walk::{Ancestors, Children, DescendantsPost, DescendantsPre},
    },
    clock::{Clock, MonotonicClock, VirtualClock},
    controller::{AnyController, Controller},
    counter::{Counter, CounterStats, charge::Charge, resource::Resource},
    css::{
        Css, State,
        cells::CssId,
        handle::{CssRef, WeakCss},
        thread::prepare_thread,
    },
    edit::{Draft, Edit, Edited, Whereabouts},
    error::{
        AgentError, AgentFailure, AttachError, BindError, CapacityError, ChargeError, CreateError,
        CreateHierarchyError, CreateTaskError, CreateWithError, DestroyError, EditError,
        FreezeError, Holder, HookError, HookPanic, KillError, LimitError, ListFilesError,
        LookupError, MoverError, NotifyError, ReadFileError, RebindError, RegisterError,
        RemoveError, RenameError, RenotifyError, StructuralError, SubtreeError, UnknownFileError,
        UnregisterError, Veto, WatchError, WriteFileError,
    },
    file::{Access, ControlFile, FileInfo},
    hierarchy::Hierarchy,
    notice::Notice,
    pressure::{
        Activity, ActivityGuard, ParseThresholdError, Percent, PercentError, Pressure,
        PressureKind, PressureLine, PressurePath, PressureStats, Threshold, ThresholdError,
        Trigger,
    },
    rebind::{MemberPolicy, RebindOptions, shape::Difference},
    reclaim::Reclaimer,
    registry::{Registry, RegistryBuilder},
    stat::RegistryStats,
    subsystem::{Migration, Subsystem},
    sync::barrier::Barrier,
    tally::{Tally, TallyStats},
    task::{Member, Task},
    units::{CgroupId, HierarchyId, Limit, ParseLimitError, SubsystemId, TaskId},
    watch::{Event, Watch},
    world::{cache::Cache, guard::ReadGuard},
};
