//! Ours: bytes charged at some depth, to the memory controller or to the core's bare counters.

use std::{fmt::Debug, hint::black_box};

use benches::{forest::manual, pair::Pair};
use fief_core::{Counter, Css, CssRef, HookError, Limit, Registry, Resource, Subsystem};
use fief_memory::{MemoryCss, Reservation, SharedReservation};

use crate::pools::BYTES;

/// A chain of groups with a limit at its top, of which the last one is charged.
pub trait Ours: Debug + Sync {
    /// Charges `bytes`, if there is room; returns whether there is.
    fn try_charge(&self, bytes: usize) -> bool;
    /// Gives back `bytes` that were charged.
    fn uncharge(&self, bytes: usize);
    /// Returns how many bytes are charged at the top.
    fn current(&self) -> u64;
}

/// Bytes that are charged until this is dropped.
#[derive(Debug)]
pub struct Held<'o> {
    ours: &'o dyn Ours,
    bytes: usize,
}

impl<'o> Held<'o> {
    /// Charges `bytes`, if there is room.
    pub fn new(ours: &'o dyn Ours, bytes: usize) -> Option<Self> {
        // Made only once it is charged: a drop uncharges.
        ours.try_charge(bytes).then(|| Self { ours, bytes })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.ours.uncharge(self.bytes);
    }
}

/// The memory controller.
#[derive(Debug)]
pub struct Memory(Chain<MemoryCss>);

impl Memory {
    /// Makes a chain of so many levels, the root one of them, where `limit` bytes are all there is.
    #[must_use]
    pub fn new(levels: usize, limit: usize) -> Self {
        let chain = Chain::new(fief_memory::Memory::new(), levels);
        chain.top.set_max(Limit::At(wide(limit)));
        Self(chain)
    }

    /// Returns a reservation of the last group.
    pub fn reserve(&self) -> Reservation {
        self.0.leaf.reserve()
    }

    /// Returns a reservation of the last group that may be shared.
    pub fn reserve_shared(&self) -> SharedReservation {
        self.0.leaf.reserve_shared()
    }
}

impl Ours for Memory {
    fn try_charge(&self, bytes: usize) -> bool {
        self.0.leaf.try_charge(wide(bytes)).is_ok()
    }

    fn uncharge(&self, bytes: usize) {
        self.0.leaf.uncharge(wide(bytes));
    }

    fn current(&self) -> u64 {
        self.0.top.current()
    }
}

impl Pair for Memory {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            let css = black_box(&self.0.leaf);
            assert!(css.try_charge(wide(BYTES)).is_ok(), "the limit is far");
            css.uncharge(wide(BYTES));
        }
    }
}

/// Reservations of the memory controller; each run has its own.
#[derive(Debug)]
pub struct Reserved(pub Memory);

impl Pair for Reserved {
    fn run(&self, pairs: u64) {
        let mut reservation = self.0.reserve();
        for _ in 0..pairs {
            let reservation = black_box(&mut reservation);
            assert!(reservation.grow(wide(BYTES)).is_ok(), "the limit is far");
            reservation.shrink(wide(BYTES));
        }
    }
}

/// Reservations that may be shared; each run has its own nevertheless.
#[derive(Debug)]
pub struct ReservedShared(pub Memory);

impl Pair for ReservedShared {
    fn run(&self, pairs: u64) {
        let reservation = self.0.reserve_shared();
        for _ in 0..pairs {
            let reservation = black_box(&reservation);
            assert!(reservation.try_grow(wide(BYTES)).is_ok(), "the limit is far");
            reservation.shrink(wide(BYTES));
        }
    }
}

/// The core's counters, which charge nothing ahead.
#[derive(Debug)]
pub struct Counters(Chain<Counter>);

const USAGE: Resource<Counter> =
    Resource::new("bytes.max", |usage: &Counter| usage).with_unit("bytes");

impl Counters {
    /// Makes a chain of so many levels, the root one of them, where `limit` bytes are all there is.
    #[must_use]
    pub fn new(levels: usize, limit: usize) -> Self {
        let chain = Chain::new(Bytes, levels);
        chain.top.set_max(Limit::At(wide(limit)));
        Self(chain)
    }
}

impl Ours for Counters {
    fn try_charge(&self, bytes: usize) -> bool {
        USAGE.try_charge(&self.0.leaf, wide(bytes)).is_ok()
    }

    fn uncharge(&self, bytes: usize) {
        USAGE.uncharge(&self.0.leaf, wide(bytes));
    }

    fn current(&self) -> u64 {
        self.0.top.current()
    }
}

impl Pair for Counters {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            let css = black_box(&self.0.leaf);
            assert!(USAGE.try_charge(css, wide(BYTES)).is_ok(), "the limit is far");
            USAGE.uncharge(css, wide(BYTES));
        }
    }
}

/// Counts bytes, and nothing else.
#[derive(Debug)]
struct Bytes;

impl Subsystem for Bytes {
    type State = Counter;

    fn name(&self) -> &'static str {
        "bytes"
    }

    fn new_css(&self, _parent: Option<&Css<Counter>>) -> Result<Counter, HookError> {
        Ok(Counter::new())
    }
}

/// The first and the last of some groups, each below the one before.
#[derive(Debug)]
struct Chain<T> {
    top: CssRef<T>,
    leaf: CssRef<T>,
    _registry: Registry,
}

impl<T: Debug + Send + Sync + 'static> Chain<T> {
    fn new(subsystem: impl Subsystem<State = T>, levels: usize) -> Self {
        let registry = manual();
        let hierarchy = registry.create_hierarchy("tenants").expect("the name is free");
        let controller = registry.register(subsystem).expect("the name is free");
        controller.bind(&hierarchy).expect("no groups yet");
        let leaf = (1..levels).fold(hierarchy.root(), |group, _| {
            group.create_child("below").expect("the name is free")
        });
        let top = controller.css(&hierarchy.root()).expect("the root is online");
        let leaf = controller.css(&leaf).expect("the group is online");
        Self { top, leaf, _registry: registry }
    }
}

/// Returns the same number of bytes.
fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("no machine has wider addresses")
}
