//! Memory limits for groups inside one process: a fief controller.
//!
//! ```
//! use fief_core::{Limit, Registry};
//! use fief_memory::Memory;
//!
//! let registry = Registry::new();
//! let tenants = registry.create_hierarchy("by-tenant")?;
//! let memory = registry.register(Memory::new())?;
//! memory.bind(&tenants)?;
//!
//! let web = tenants.root().create_child("web")?;
//! let css = memory.css(&web).ok_or("removed")?;
//! css.set_max(Limit::At(1 << 20));
//! css.try_charge(1 << 20)?;
//! let error = css.try_charge(1).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "memory.max of /web reached: 1048576 of 1048576 bytes in use, 1 asked",
//! );
//! css.uncharge(1 << 20);
//! assert_eq!(css.current(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What to use
//!
//! | you want to | |
//! |---|---|
//! | hold memory for an operator, a buffer, a request | [`MemoryCss::reserve`]: a [`Reservation`] is given back by itself |
//! | be refused, and do something else | [`Reservation::grow`], [`MemoryCss::try_charge`] |
//! | have caches give way first | [`MemoryCss::charge_with`] and [`Charge::Reclaim`]; [`MemoryCss::add_reclaimer`] for the cache |
//! | wait for room | [`Reservation::grow_async`], [`Reservation::grow_blocking`], [`MemoryCss::charge`] |
//! | spill what you have, at a point of your own | [`MemoryCss::spiller`] |
//! | be cancelled when nobody can go on | a task of the group, or [`MemoryCss::enter`] and [`MemoryCss::on_kill`]; [`VictimPolicy`] says who |
//! | slow down who is above a soft limit | [`MemoryCss::set_high`] and [`MemoryCss::over_high`] |
//! | count what is in use already | [`MemoryCss::charge_forced`], [`MemoryCss::forced`] |
//! | see what is going on | [`MemoryCss::stats`], [`MemoryCss::peak_reader`], [`MemoryCss::pressure_trigger`] |
//!
//! All amounts are bytes, and nothing is rounded. A charge is of 2^47 bytes at most, a limit of 2^63 − 2.
//!
//! # Control files
//!
//! | file | | |
//! |---|---|---|
//! | `memory.current` | r | bytes charged, here and below, what is charged ahead included |
//! | `memory.peak` | r | the most that ever was; see [`PeakReader`] |
//! | `memory.max`, `memory.high` | rw | a size or `max`, the default |
//! | `memory.low`, `memory.min` | rw | a size or `max`; the default is 0; not on a root |
//! | `memory.oom.group` | rw | `0` or `1`; not on a root |
//! | `memory.events`, `memory.events.local` | r | how often what happened: here and below, here; see [`MemoryEvents`] |
//! | `memory.stat` | r | what makes up the usage; see [`MemoryStats`] |
//! | `memory.pressure` | r | time lost by waiting for memory; see [`MemoryCss::pressure`] |
//! | `memory.reclaim` | w | a size: has so much given back, or says how much was; see [`MemoryCss::reclaim`] |
//!
//! The root has a limit, too: the budget of the process. `docs/control-files.md` says what differs from the
//! kernel's files, and why.
#![cfg_attr(loom, expect(dead_code, reason = "loom builds the protocols, not what stands on them"))]

#[cfg(not(loom))]
mod subsystem;
#[cfg(not(loom))]
mod css;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod node;
#[cfg(not(loom))]
mod account;
#[cfg(not(loom))]
mod pin;
#[cfg(not(loom))]
mod chain;
#[cfg(not(loom))]
mod stock;
#[cfg(not(loom))]
mod protect;
#[cfg(not(loom))]
mod reservation;
#[cfg(not(loom))]
mod reclaim;
#[cfg(not(loom))]
mod spill;
#[cfg(not(loom))]
mod high;
#[cfg(not(loom))]
mod timer;
mod pocket;
mod gate;
#[cfg(not(loom))]
mod events;
#[cfg(not(loom))]
mod forced;
#[cfg(not(loom))]
mod rare;
#[cfg(not(loom))]
mod limits;
#[cfg(not(loom))]
mod files;
#[cfg(not(loom))]
mod stat;
mod peak;
#[cfg(not(loom))]
mod pressure;
#[cfg(not(loom))]
mod trace;
#[cfg(not(loom))]
mod charge;
#[cfg(not(loom))]
mod wait;
mod line;
mod mark;
#[cfg(not(loom))]
mod keeper;
#[cfg(not(loom))]
mod oom;
#[cfg(not(loom))]
mod caught;
#[cfg(not(loom))]
mod shared;
mod sync;

#[cfg(test)]
mod tests;

#[cfg(not(loom))]
pub use crate::{
    charge::{Charge, ChargeFuture},
    css::MemoryCss,
    error::{ChargeError, MergeError, Over, ReclaimError, SplitError},
    forced::ForcedCharge,
    high::Throttle,
    keeper::Keeper,
    oom::{
        policy::{Candidate, LargestVictim, VictimPolicy},
        standing::{KillGuard, Worker},
    },
    peak::PeakReader,
    pressure::Working,
    reclaim::{Pass, ReclaimCx, ReclaimStats, Reclaimed, Reclaimer, ReclaimerGuard},
    reservation::{Reservation, shared::SharedReservation, waiting::GrowFuture},
    spill::{SpillOptions, SpillTicket, Spiller},
    stat::{Drained, MemoryEvents, MemoryStats},
    subsystem::{Memory, MemoryBuilder},
};

/// The examples of `docs/memory.md`.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/memory.md")]
struct Guide;
