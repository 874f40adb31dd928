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
#![cfg_attr(
    loom,
    expect(
        dead_code,
        unused_imports,
        reason = "loom builds the protocols, not what stands on them"
    )
)]
#![cfg_attr(not(loom), expect(dead_code, reason = "what stands on these parts follows"))]

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
mod pocket;
mod gate;
#[cfg(not(loom))]
mod events;
#[cfg(not(loom))]
mod forced;
#[cfg(not(loom))]
mod shared;
mod sync;

#[cfg(test)]
mod tests;

#[cfg(not(loom))]
pub use crate::{
    css::MemoryCss,
    error::{ChargeError, MergeError, Over, SplitError},
    forced::ForcedCharge,
    reservation::{Reservation, shared::SharedReservation},
    subsystem::{Memory, MemoryBuilder},
};
