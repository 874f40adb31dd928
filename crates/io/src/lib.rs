//! I/O limits, shares and reservations for groups inside one process: a fief controller.
#![cfg_attr(loom, expect(dead_code, reason = "loom builds the protocols, not what stands on them"))]

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
#[cfg(not(loom))]
mod ticker;
#[cfg(not(loom))]
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
