//! Memory charged and uncharged where it is charged ahead, beside the walk over all levels.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
};

use fief_core::{Cgroup, Controller, CssRef, Hierarchy, Registry};
use fief_memory::{ChargeError, Memory, MemoryCss, Reservation};
use parking_lot::Mutex;

use crate::{forest::manual, pair::Pair};

pub mod footprint;
pub mod full;
pub mod hook;
pub mod victim;

/// What a pair charges and uncharges.
const BYTES: u64 = 64;

/// A hierarchy with the memory controller bound to it.
#[derive(Debug)]
pub(crate) struct Grove {
    pub(crate) hierarchy: Hierarchy,
    pub(crate) memory: Controller<Memory>,
    _registry: Registry,
}

impl Grove {
    pub(crate) fn new() -> Self {
        let registry = manual();
        let hierarchy = registry.create_hierarchy("grove").expect("the name is free");
        let memory = registry.register(Memory::new()).expect("the name is free");
        memory.bind(&hierarchy).expect("no groups yet");
        Self { hierarchy, memory, _registry: registry }
    }

    /// Makes so many groups below the root.
    pub(crate) fn siblings(&self, count: usize) -> Vec<CssRef<MemoryCss>> {
        let root = self.hierarchy.root();
        let child = |number| root.create_child(&format!("group{number}")).expect("a free name");
        (0..count).map(|number| self.css(&child(number))).collect()
    }

    pub(crate) fn css(&self, group: &Cgroup) -> CssRef<MemoryCss> {
        self.memory.css(group).expect("the group is online")
    }
}

/// One group, at the end of a chain.
#[derive(Debug)]
pub struct Charged {
    css: CssRef<MemoryCss>,
    _grove: Grove,
}

impl Charged {
    /// Makes a chain of so many levels, the root one of them.
    #[must_use]
    pub fn new(levels: usize) -> Self {
        let grove = Grove::new();
        let leaf = (1..levels).fold(grove.hierarchy.root(), |group, _| {
            group.create_child("below").expect("the name is free")
        });
        Self { css: grove.css(&leaf), _grove: grove }
    }
}

impl Pair for Charged {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            charge_and_uncharge(black_box(&self.css));
        }
    }
}

/// Groups that one thread charges in turn.
#[derive(Debug)]
pub struct InTurn {
    css: Vec<CssRef<MemoryCss>>,
    _grove: Grove,
}

impl InTurn {
    /// Makes so many groups below a root.
    #[must_use]
    pub fn new(groups: usize) -> Self {
        let grove = Grove::new();
        Self { css: grove.siblings(groups), _grove: grove }
    }
}

impl Pair for InTurn {
    fn run(&self, pairs: u64) {
        let pairs = usize::try_from(pairs).expect("a batch is small");
        for css in self.css.iter().cycle().take(pairs) {
            charge_and_uncharge(black_box(css));
        }
    }
}

#[inline(always)]
fn charge_and_uncharge(css: &MemoryCss) {
    match css.try_charge(BYTES) {
        Ok(()) => css.uncharge(BYTES),
        Err(error) => refused(error),
    }
}

/// Drops the error here, and not in the code that is timed.
#[cold]
fn refused(error: ChargeError) -> ! {
    panic!("there is no limit: {error}")
}

/// A reservation that grows and shrinks.
#[derive(Debug)]
pub struct Reserved {
    reservation: Mutex<Reservation>,
    _grove: Grove,
}

impl Reserved {
    /// Makes an empty one, of a group below a root.
    #[must_use]
    pub fn new() -> Self {
        let grove = Grove::new();
        Self { reservation: Mutex::new(grove.siblings(1)[0].reserve()), _grove: grove }
    }
}

impl Default for Reserved {
    fn default() -> Self {
        Self::new()
    }
}

impl Pair for Reserved {
    fn run(&self, pairs: u64) {
        let mut reservation = self.reservation.lock();
        for _ in 0..pairs {
            let reservation = black_box(&mut *reservation);
            match reservation.grow(BYTES) {
                Ok(()) => reservation.shrink(BYTES),
                Err(error) => refused(error),
            };
        }
    }
}

/// The peer: counters one above the other, all of which each charge goes to, as the kernel's
/// `page_counter_try_charge` does.
#[derive(Debug)]
pub struct Walk(Vec<Level>);

/// A counter, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Level {
    usage: AtomicU64,
    max: AtomicU64,
    watermark: AtomicU64,
}

impl Walk {
    /// Makes so many levels.
    #[must_use]
    pub fn new(levels: usize) -> Self {
        let level = |_| Level {
            usage: AtomicU64::new(0),
            max: AtomicU64::new(u64::MAX),
            watermark: AtomicU64::new(0),
        };
        Self((0..levels).map(level).collect())
    }

    fn try_charge(&self, amount: u64) -> bool {
        for (below, level) in self.0.iter().enumerate() {
            // Ordering: Relaxed, all: what the kernel orders here beyond the counts is free on x86.
            let usage = level.usage.fetch_add(amount, Ordering::Relaxed) + amount;
            if usage > level.max.load(Ordering::Relaxed) {
                self.0[..=below].iter().for_each(|level| level.uncharge(amount));
                return false;
            }
            if usage > level.watermark.load(Ordering::Relaxed) {
                level.watermark.store(usage, Ordering::Relaxed);
            }
        }
        true
    }
}

impl Level {
    fn uncharge(&self, amount: u64) {
        // Ordering: Relaxed: a count.
        self.usage.fetch_sub(amount, Ordering::Relaxed);
    }
}

impl Pair for Walk {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            let walk = black_box(self);
            if walk.try_charge(BYTES) {
                walk.0.iter().for_each(|level| level.uncharge(BYTES));
            }
        }
    }
}
