//! `Counter`: how much of something is in use, and how much may be.
//!
//! A counter is one level; a charge is counted at a chain of them, from the leaf to the root.
//! [`try_charge`] never takes a level above its max, and leaves every level as it was when one
//! refuses. No step waits for another thread.
//!
//! 1. Look, without a write, whether every level has room. A charge that the root has no room for
//!    thus takes none below, where a smaller one could miss it.
//! 2. At each level, leaf first: load usage and max, and compare-exchange the usage if there is room.
//! 3. Pass the light barrier and load the max again. If a lowered one does not allow what the exchange
//!    made, take it back and go to 2.
//! 4. When a level refuses after all, give back what was taken below it.
//!
//! [`Counter::set_max`] stores the max first, passes the heavy barrier, and looks at the usage then. It is
//! never refused; a usage above it only falls.
//!
//! After Linux's `mm/page_counter.c` in what it does, not in how: there a charge adds first and looks
//! then, so that the usage is seen above its max, and a large charge that fails refuses small ones.
//! What remains of that: a charge that found room in step 1 and lost it to another before step 4 holds
//! room below meanwhile; and one that overlaps with a `set_max` may for a moment be seen above the new max.
//!
//! # Invariants
//!
//! 1. A usage above [`MOST`] stands for a negative number: more was uncharged than charged. Who makes it
//!    so, or finds it when charging, sets it to zero; everybody reads it as zero.
//! 2. `max` is at most `MOST`, which stands for no bound.
//!
//! # Orderings
//!
//! Edge `charge↔set_max`, Dekker's argument. A charge changes `usage`, passes the light barrier, loads
//! `max`; a setter stores `max`, passes the heavy barrier, loads `usage`. The barriers are totally ordered.
//! If the light one comes first, the setter sees the charge, and its result has it. If the heavy one comes
//! first, the charge sees the new max, or a later one, and takes itself back if that does not allow it. So a
//! charge that stays and was not in what `set_max` found is within the new max.
//!
//! Every other access is Relaxed: a counter tells about itself and orders nothing else. Who hands over what
//! was charged for orders that by its own means.
//!
//! # Tests
//!
//! `tests/loom_counter.rs`; properties and stress in `crates/testing/tests/counters.rs`.

#[cfg(not(loom))]
pub(crate) mod charge;
#[cfg(not(loom))]
pub(crate) mod resource;

use std::ops::Deref;

use crate::{
    sync::{AtomicU64, Ordering, barrier, skip},
    units::Limit,
};

/// How much of something is in use at one group and below, and how much may be.
///
/// A controller keeps one in its state for each thing that it limits, and charges it by way of a
/// [`Resource`](crate::Resource), together with those of the groups above.
///
/// The usage is from 0 to 2^63 − 1, in whatever the controller counts.
///
/// # Concurrency
///
/// All methods are lock-free; those that only read are wait-free.
#[doc(alias = "page_counter")]
#[derive(Debug)]
#[repr(align(64))] // of different groups, on different processors
pub struct Counter {
    usage: AtomicU64,
    max: AtomicU64,
    peak: AtomicU64,
    max_events: AtomicU64,
    accounting_bugs: AtomicU64,
    /// Whether the light barrier may be a compiler fence.
    is_asymmetric: bool,
}

/// A counter's figures, as of one moment each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct CounterStats {
    /// See [`Counter::current`].
    pub current: u64,
    /// See [`Counter::max`].
    pub max: Limit,
    /// See [`Counter::peak`].
    pub peak: u64,
    /// See [`Counter::max_events`].
    pub max_events: u64,
    /// See [`Counter::accounting_bugs`].
    pub accounting_bugs: u64,
}

/// A level had no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Levels below the one that refused.
    pub(crate) level: usize,
    /// What was in use there.
    pub(crate) current: u64,
    /// Its max.
    pub(crate) max: Limit,
}

/// The usage and the max by which a level refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Full {
    usage: u64,
    max: u64,
}

/// The highest usage; as a max it stands for none.
const MOST: u64 = i64::MAX as u64;

#[cfg(not(loom))]
const _: () = assert!(size_of::<Counter>() == 64);

impl Counter {
    /// Makes a counter with nothing in use and no bound.
    ///
    /// Its charges use the cheapest barrier that the process has; see [`Counter::with_barrier`].
    #[must_use]
    #[cfg(not(loom))]
    pub fn new() -> Self {
        Self::with_barrier(barrier::Barrier::Auto)
    }

    /// Makes a counter with nothing in use and no bound, whose charges pay for `barrier`.
    ///
    /// [`Barrier::Fence`](barrier::Barrier::Fence) is for processes that forbid themselves `membarrier(2)` after they started.
    #[must_use]
    #[cfg(not(loom))]
    pub fn with_barrier(barrier: barrier::Barrier) -> Self {
        Self::make(barrier.is_asymmetric())
    }

    pub(crate) fn make(is_asymmetric: bool) -> Self {
        Self {
            usage: AtomicU64::new(0),
            max: AtomicU64::new(MOST),
            peak: AtomicU64::new(0),
            max_events: AtomicU64::new(0),
            accounting_bugs: AtomicU64::new(0),
            is_asymmetric,
        }
    }

    /// Sets the bound, and returns the usage that it found; the default is [`Limit::Max`].
    ///
    /// A bound below the usage is accepted: nothing is taken from anybody, and the level grows no more
    /// until it is below. A number above 2^63 − 2 bounds nothing, and reads back as [`Limit::Max`].
    ///
    /// # Concurrency
    ///
    /// When it returns no `try_charge` can leave the level above the bound, but for what the result has: the
    /// usage found counts every charge that stays and did not heed the new bound. Charges that are forced
    /// heed none. Of two calls at the same time one is the last. Costs a store, and the heavy side of an
    /// asymmetric fence: one `membarrier(2)` where there is one.
    ///
    /// # Panics
    ///
    /// If a system-call filter forbids `membarrier` since the process first used it; see
    /// [`Counter::with_barrier`].
    pub fn set_max(&self, max: Limit) -> u64 {
        let bound = match max {
            Limit::At(bound) => bound.min(MOST),
            Limit::Max => MOST,
        };
        if skip("max_published_first") {
            let found = self.current();
            self.max.store(bound, Ordering::Relaxed);
            barrier::heavy(self.is_asymmetric);
            return found;
        }
        // Ordering: Relaxed (edge charge↔set_max): ordered before the load of the usage by the barrier.
        self.max.store(bound, Ordering::Relaxed);
        if !skip("set_max_barrier") {
            barrier::heavy(self.is_asymmetric);
        }
        self.current()
    }

    /// Returns the bound.
    #[must_use]
    pub fn max(&self) -> Limit {
        // Ordering: Relaxed: a figure.
        limit(self.max.load(Ordering::Relaxed))
    }

    /// Returns how much is in use here and below.
    ///
    /// Charges that are under way are in it from leaf to root, so that a group may for a moment show
    /// more than the one above.
    #[must_use]
    #[doc(alias = "usage")]
    pub fn current(&self) -> u64 {
        // Ordering: Relaxed: a figure; in `set_max` the heavy barrier comes before (edge charge↔set_max).
        in_use(self.usage.load(Ordering::Relaxed))
    }

    /// Returns the highest usage there ever was.
    ///
    /// A charge that found room everywhere and lost it to another on its way up is in it, too.
    #[must_use]
    #[doc(alias = "watermark")]
    pub fn peak(&self) -> u64 {
        // Ordering: Relaxed: a figure.
        self.peak.load(Ordering::Relaxed)
    }

    /// Returns how often this level's max refused a charge, made here or below.
    #[must_use]
    #[doc(alias = "failcnt")]
    pub fn max_events(&self) -> u64 {
        // Ordering: Relaxed: a figure.
        self.max_events.load(Ordering::Relaxed)
    }

    /// Returns how often this level was found to be wrong; 0 unless a controller errs.
    ///
    /// That is, how often more was uncharged than in use, and the usage was set to 0; and how often a
    /// forced charge went beyond 2^63 − 1, and was cut off there.
    #[must_use]
    pub fn accounting_bugs(&self) -> u64 {
        // Ordering: Relaxed: a figure.
        self.accounting_bugs.load(Ordering::Relaxed)
    }

    /// Returns all figures, as of one moment each.
    #[must_use]
    pub fn stats(&self) -> CounterStats {
        CounterStats {
            current: self.current(),
            max: self.max(),
            peak: self.peak(),
            max_events: self.max_events(),
            accounting_bugs: self.accounting_bugs(),
        }
    }

    /// Charges this level alone if it has room, and returns the usage that this made.
    ///
    /// For a controller that does something of its own at each level; others use a
    /// [`Resource`](crate::Resource), which charges all levels or none. A refusal is counted by nobody.
    ///
    /// # Concurrency
    ///
    /// Lock-free: one compare-exchange, again if another charge came between; see [`Counter::set_max`].
    ///
    /// # Errors
    ///
    /// The usage by which it was refused; nothing is charged.
    #[inline]
    pub fn try_charge_level(&self, amount: u64) -> Result<u64, u64> {
        self.grow(amount).map_err(|full| full.usage)
    }

    /// Charges this level alone, whatever its max, and returns the usage that this made.
    ///
    /// # Concurrency
    ///
    /// Lock-free: one compare-exchange, again if another charge came between.
    pub fn charge_level(&self, amount: u64) -> u64 {
        self.force(amount)
    }

    /// Gives back what this level alone was charged, and returns the usage that this made, and how much of it
    /// was given back: less than `amount` if there was less.
    ///
    /// # Concurrency
    ///
    /// Wait-free: one atomic subtraction.
    ///
    /// # Panics
    ///
    /// As [`Resource::uncharge`](crate::Resource::uncharge).
    #[inline]
    pub fn uncharge_level(&self, amount: u64) -> (u64, u64) {
        let (usage, given_back) = self.take(amount);
        (in_use(usage), given_back)
    }

    /// Returns whether there is room for `amount`, at this moment.
    #[inline(always)]
    fn look(&self, amount: u64) -> Result<(), Full> {
        // Ordering: Relaxed: a hint; `grow` decides.
        let usage = in_use(self.usage.load(Ordering::Relaxed));
        fits(usage, amount, self.max.load(Ordering::Relaxed))
    }

    /// Charges this level if there is room and nobody comes between, and returns the usage that it made;
    /// `None` says nothing.
    #[inline(always)]
    fn grow_at_once(&self, amount: u64) -> Option<u64> {
        // Ordering: Relaxed, both: the exchange and the second look decide.
        let usage = self.usage.load(Ordering::Relaxed);
        let max = self.max.load(Ordering::Relaxed);
        // A negative usage is above every max.
        if usage > max || amount > max - usage || self.replace(usage, usage + amount).is_err() {
            return None;
        }
        if self.is_within_max(usage + amount) {
            return Some(usage + amount);
        }
        self.shrink(amount);
        None
    }

    /// Charges this level if there is room; returns the usage that it made.
    #[inline(always)]
    fn grow(&self, amount: u64) -> Result<u64, Full> {
        self.grow_at_once(amount).map_or_else(|| self.grow_slowly(amount), Ok)
    }

    #[cold]
    #[inline(never)]
    fn grow_slowly(&self, amount: u64) -> Result<u64, Full> {
        if amount == 0 {
            return Ok(self.current()); // though that may be above the max
        }
        // Ordering: Relaxed, here and in the loop, as above.
        let mut usage = self.usage.load(Ordering::Relaxed);
        loop {
            let held = in_use(usage);
            fits(held, amount, self.max.load(Ordering::Relaxed))?;
            match self.replace(usage, held + amount) {
                Ok(()) if self.is_within_max(held + amount) => return Ok(held + amount),
                Ok(()) => usage = self.shrink(amount),
                Err(now) => usage = now,
            }
        }
    }

    /// Comes after the exchange that made the usage `wanted`: looks whether the max still allows that.
    #[inline(always)]
    fn is_within_max(&self, wanted: u64) -> bool {
        self.light_barrier();
        // Ordering: Relaxed (edge charge↔set_max): ordered after the exchange by the barrier.
        if wanted > self.max.load(Ordering::Relaxed) && !skip("charge_looks_again") {
            return false;
        }
        self.note_peak(wanted);
        true
    }

    /// Makes the usage `wanted` if it is `usage`; the error is what it is.
    #[inline(always)]
    fn replace(&self, usage: u64, wanted: u64) -> Result<(), u64> {
        if skip("charge_exchanges") {
            self.usage.fetch_add(wanted.wrapping_sub(usage), Ordering::Relaxed);
            return Ok(());
        }
        // Ordering: Relaxed (edge charge↔set_max): ordered before the second look by the barrier. On
        // failure nothing is done.
        self.usage
            .compare_exchange_weak(usage, wanted, Ordering::Relaxed, Ordering::Relaxed)
            .map(drop)
    }

    #[inline(always)]
    fn light_barrier(&self) {
        if skip("charge_barrier") {
            return;
        }
        if self.is_asymmetric {
            barrier::light();
        } else {
            barrier::light_fenced();
        }
    }

    #[inline(always)]
    fn note_peak(&self, usage: u64) {
        // Ordering: Relaxed: a figure; it only grows, so an old value is one that is too small.
        if usage > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(usage, Ordering::Relaxed);
        }
    }

    /// Charges this level, whatever its max; returns the usage that it made.
    fn force(&self, amount: u64) -> u64 {
        // Ordering: Relaxed: forced charges heed no max, so no edge is needed.
        let mut usage = self.usage.load(Ordering::Relaxed);
        loop {
            let wanted = in_use(usage).saturating_add(amount);
            let exchanged = self.usage.compare_exchange_weak(
                usage,
                wanted.min(MOST),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match exchanged {
                Err(now) => usage = now,
                Ok(_) => {
                    if wanted > MOST {
                        self.note_bug();
                    }
                    self.note_peak(wanted.min(MOST));
                    return wanted.min(MOST);
                }
            }
        }
    }

    /// Uncharges this level; returns the usage after that, as it is in the word.
    #[inline(always)]
    fn shrink(&self, amount: u64) -> u64 {
        self.take(amount).0
    }

    /// Uncharges this level; returns the usage after that, as it is in the word, and how much there was of
    /// `amount`.
    #[inline(always)]
    fn take(&self, amount: u64) -> (u64, u64) {
        // More than `MOST` is never in use; taken off, it could come round to a usage again.
        let amount = amount.min(MOST);
        // Ordering: Relaxed: what was held is handed over by other means.
        let before = self.usage.fetch_sub(amount, Ordering::Relaxed);
        if amount > in_use(before) {
            return (self.clamp(), in_use(before));
        }
        (before - amount, amount)
    }

    /// Sets a negative usage to zero (invariant 1), and counts the bug; returns the usage after that.
    #[cold]
    #[inline(never)]
    fn clamp(&self) -> u64 {
        let earlier = self.note_bug();
        // Ordering: Relaxed, all: the exchange decides.
        let mut usage = self.usage.load(Ordering::Relaxed);
        while usage > MOST {
            let exchanged =
                self.usage.compare_exchange_weak(usage, 0, Ordering::Relaxed, Ordering::Relaxed);
            usage = exchanged.map_or_else(|now| now, |_| 0);
        }
        // Last: whoever catches the panic is to find a usage that is one.
        debug_assert!(earlier > 0, "more is uncharged than was charged");
        usage
    }

    /// Returns how many there were before.
    #[cold]
    fn note_bug(&self) -> u64 {
        // Ordering: Relaxed: a figure.
        self.accounting_bugs.fetch_add(1, Ordering::Relaxed)
    }

    #[cold]
    #[inline(never)]
    fn refuse(&self, level: usize, full: Full) -> Refused {
        // Ordering: Relaxed: a figure.
        self.max_events.fetch_add(1, Ordering::Relaxed);
        Refused { level, current: full.usage, max: limit(full.max) }
    }
}

#[cfg(not(loom))]
impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

/// Charges the only one of `levels` if there is room and nobody comes between; false says nothing.
///
/// The shortest way that there is, for the shallowest trees: nothing but the charge is stored, as a
/// locked instruction waits for every store before it.
#[inline(always)]
pub(crate) fn try_charge_alone(
    mut levels: impl Iterator<Item: Deref<Target = Counter>>,
    amount: u64,
) -> bool {
    match (levels.next(), levels.next()) {
        (Some(only), None) => only.grow_at_once(amount).is_some(),
        _ => false,
    }
}

/// Charges `amount` at every one of `levels`, leaf first, or at none.
///
/// Two locked instructions a level for a charge and its uncharge; lock-free.
#[inline]
pub(crate) fn try_charge(
    levels: impl Iterator<Item: Deref<Target = Counter>> + Clone,
    amount: u64,
) -> Result<(), Refused> {
    if !skip("charge_looks_ahead") {
        for (level, counter) in levels.clone().enumerate() {
            counter.look(amount).map_err(|full| counter.refuse(level, full))?;
        }
    }
    for (level, counter) in levels.clone().enumerate() {
        if let Err(full) = counter.grow(amount) {
            give_back(levels.take(level), amount);
            return Err(counter.refuse(level, full));
        }
    }
    Ok(())
}

/// Takes back what a charge took below the level that refused.
#[cold]
fn give_back(levels: impl Iterator<Item: Deref<Target = Counter>>, amount: u64) {
    if !skip("charge_gives_back") {
        levels.for_each(|counter| {
            counter.shrink(amount);
        });
    }
}

/// Charges `amount` at every one of `levels`, whatever their max.
pub(crate) fn charge(levels: impl Iterator<Item: Deref<Target = Counter>>, amount: u64) {
    levels.for_each(|counter| {
        counter.force(amount);
    });
}

/// Uncharges `amount` at every one of `levels`.
#[inline(always)]
pub(crate) fn uncharge(levels: impl Iterator<Item: Deref<Target = Counter>>, amount: u64) {
    levels.for_each(|counter| {
        counter.shrink(amount);
    });
}

/// Returns what a usage word stands for (invariant 1).
#[inline(always)]
const fn in_use(usage: u64) -> u64 {
    if usage > MOST { 0 } else { usage }
}

#[inline(always)]
const fn fits(usage: u64, amount: u64, max: u64) -> Result<(), Full> {
    // No sum that could overflow: a usage may be above a max that was lowered.
    if amount <= max.saturating_sub(usage) { Ok(()) } else { Err(Full { usage, max }) }
}

const fn limit(max: u64) -> Limit {
    if max == MOST { Limit::Max } else { Limit::At(max) }
}

#[cfg(all(test, not(loom)))]
mod tests;
