//! The shared part of one css's count: a word that never goes away.
//!
//! A header counts in one of three ways. *Spread*: the count is in the cells of the threads, and the
//! bias keeps the word away from zero; the css holds a base reference. *Exact*: the word is the number
//! of references that are out, and the base is taken off; a css with references then holds one unit of
//! its group's `Uses` and says so with [`BUSY`]. *Dead*: the word counts exactly, the base included
//! until the core lets go of it, and zero releases the css.
//!
//! `css/refcount.rs` has what users of a css do to it, `css/switch.rs` what is done under the structural
//! lock, and the invariants.

use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering, order, skip};

/// Set by the kill; no `try_get_online` succeeds after it.
pub(super) const DEAD: u64 = 1 << 63;
/// Set once, by whoever found the count at zero after the kill: the css is to be released.
const NOTIFIED: u64 = 1 << 62;
/// The count is no longer known: never release.
const STUCK: u64 = 1 << 61;
/// The id is with the reclaimer, which has not looked at it yet.
const QUEUED: u64 = 1 << 60;
/// An exact css holds a unit of its group's `Uses`.
const BUSY: u64 = 1 << 59;
const FLAGS: u64 = DEAD | NOTIFIED | STUCK | QUEUED | BUSY;
/// Keeps a count that is still spread over cells away from zero.
const BIAS: u64 = 1 << 58;
/// Keeps a count away from zero while one owner moves its share into the header.
pub(super) const PENDING: u64 = 1 << 44;
/// References from which on a css is never released.
///
/// A quarter of [`PENDING`]: beside a share that is being moved, others may give back references which
/// are part of it, and the word is then that much below the mark.
pub(super) const SATURATED: u64 = 1 << 42;

/// Cells count, and the light barrier is free.
const PER_THREAD: u32 = 0;
/// The header counts.
const ATOMIC: u32 = 1;
/// Cells count, and the light barrier is a fence.
const FENCED: u32 = 2;

/// The shared part of one css's count, at an address that belongs to the css id for ever.
///
/// # Invariants
///
/// All bits zero is a valid value.
#[derive(Debug)]
#[repr(align(32))]
#[cfg_attr(loom, derive(Default))]
pub(crate) struct Header {
    /// `PER_THREAD`, `ATOMIC` or `FENCED`. Written under the structural lock.
    mode: AtomicU32,
    /// How many css had this id before. Written at release.
    generation: AtomicU32,
    /// Flags and the count; see the invariants in `css/refcount.rs`.
    pub(super) value: AtomicU64,
    /// The css that has this id, for lookups by id; owned by `css.rs`.
    pub(crate) payload: AtomicPtr<()>,
    /// Link of the release list; owned by `css/release.rs`.
    pub(crate) next: AtomicU32,
    /// The css's place in its registry's arena; owned by `css/object.rs`.
    pub(crate) arena: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Header>() == 32 && size_of::<super::cells::Cell>() == 16);

/// How a header begins to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    /// In cells, with a light barrier that is free.
    PerThread,
    /// In cells, with a fence.
    Fenced,
    /// In the header, exactly.
    Exact,
}

impl Counting {
    /// Returns the way to count in cells.
    pub(crate) const fn spread(asymmetric: bool) -> Self {
        if asymmetric { Self::PerThread } else { Self::Fenced }
    }

    const fn mode(self) -> u32 {
        match self {
            Self::PerThread => PER_THREAD,
            Self::Fenced => FENCED,
            Self::Exact => ATOMIC,
        }
    }

    const fn value(self) -> u64 {
        match self {
            Self::PerThread | Self::Fenced => BIAS + 1,
            Self::Exact => 0,
        }
    }
}

/// What the value of a header says about its css.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing(u64);

impl Standing {
    /// Returns whether the removal is decided.
    pub(super) const fn is_dead(self) -> bool {
        self.0 & DEAD != 0
    }

    /// Returns whether the css is to be released.
    pub(super) const fn is_notified(self) -> bool {
        self.0 & NOTIFIED != 0
    }

    /// Returns whether the count is in cells.
    pub(super) const fn is_spread(self) -> bool {
        self.0 & !FLAGS >= BIAS / 2
    }

    /// Returns whether the css counts exactly, and holds no unit of its group's `Uses`.
    pub(super) const fn is_idle(self) -> bool {
        self.0 & (DEAD | BUSY) == 0 && !self.is_spread()
    }

    /// Returns whether an exact css holds a unit of its group's `Uses`.
    #[cfg(not(loom))]
    pub(crate) const fn is_busy(self) -> bool {
        self.0 & BUSY != 0
    }

    /// Returns how many references to an exact css are out; beside a share that is being moved, one
    /// at least.
    pub(super) const fn references(self) -> u64 {
        let count = self.0 & !FLAGS;
        let references = ((count + SATURATED) % PENDING).saturating_sub(SATURATED);
        if count > 0 && references == 0 { 1 } else { references }
    }

    /// Returns what the header has of a spread count without the base, wrapping; `None` if that is not
    /// known, as a share is being moved.
    pub(super) const fn accounted(self) -> Option<u64> {
        let accounted = (self.0 & !FLAGS).wrapping_sub(BIAS + 1);
        if is_absurd(accounted) || self.0 & STUCK != 0 { None } else { Some(accounted) }
    }
}

impl Header {
    /// Makes the header count for a new css.
    ///
    /// Called when nobody can reach the css of this id, with its payload in place. Spread, it counts
    /// one reference, the base.
    pub(crate) fn init(&self, counting: Counting) {
        // Ordering: Relaxed, as below. A straggler of the id's former css that
        // sees the new mode was captured long ago: otherwise that css would still be counted, and
        // its id not reused.
        self.mode.store(counting.mode(), Ordering::Relaxed);
        // Ordering: Relaxed: the flags of a header that no css has do not change.
        let value = self.value.load(Ordering::Relaxed);
        if skip("init_by_add") {
            return self.value.store(counting.value(), Ordering::Release);
        }
        // By an add, not a store: a straggler of the former css may have its pending mark here, and
        // will take it off (see `settle`).
        // Ordering: Relaxed: published with the css itself; a straggler of the former css that wins
        // this one's notification sees it through the kill, or through the add of whoever was handed
        // the css and used it (edges init→notify and put→release).
        let fresh = counting.value().wrapping_sub(value & FLAGS);
        self.value.fetch_add(fresh, Ordering::Relaxed);
    }

    /// Returns how many css had this id before.
    pub(crate) fn generation(&self) -> u32 {
        // Ordering: Relaxed: a reader compares it under a read guard; see `retire_id`.
        self.generation.load(Ordering::Relaxed)
    }

    /// Returns whether no more css can have this id: their generations would come round, and with
    /// them weak references of long ago.
    #[cfg(not(loom))]
    pub(crate) fn is_worn_out(&self) -> bool {
        self.generation() == u32::MAX
    }

    /// Makes weak references fail, at release, before the grace period begins.
    pub(crate) fn retire_id(&self) {
        if skip("generation_bump") {
            return;
        }
        // Ordering: Relaxed: a reader that starts after the grace period's swap sees this through
        // the swap. One that started before may see either, and the css is kept for it.
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether the count passed what can be counted: the css is never released.
    #[cfg(test)]
    pub(crate) fn is_stuck(&self) -> bool {
        // Ordering: Relaxed: a statistic.
        self.value.load(Ordering::Relaxed) & STUCK != 0
    }

    #[inline(always)]
    pub(super) fn is_per_thread(&self) -> bool {
        self.mode() == PER_THREAD
    }

    #[inline(always)]
    pub(super) fn is_fenced(&self) -> bool {
        self.mode() == FENCED
    }

    /// Returns whether the header counts, and no cell.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(super) fn is_counting(&self) -> bool {
        self.mode() == ATOMIC
    }

    #[inline(always)]
    fn mode(&self) -> u32 {
        // Ordering: Relaxed: on the fast path the light barrier orders it (edge op↔switch); off it an
        // acquire fence follows (edge resume).
        self.mode.load(Ordering::Relaxed)
    }

    /// Returns what the value says.
    pub(crate) fn standing(&self) -> Standing {
        // Ordering: Relaxed: the caller has its own reference in the count, or holds the structural
        // lock and decides by an exchange.
        Standing(self.value.load(Ordering::Relaxed))
    }

    /// Adds to the count and returns whether the caller must notify.
    pub(super) fn add(&self, delta: u64) -> bool {
        // Ordering: Release (edge put→release): what the caller did goes into the release sequence
        // that the notifier's exchange acquires.
        let before = self.value.fetch_add(delta, order("header_add", Ordering::Release));
        let after = before.wrapping_add(delta);
        if is_overfull(after) {
            self.saturate();
        }
        self.is_first_at_zero(after)
    }

    /// Sets the mark that keeps the count from zero while a share is moved.
    pub(super) fn mark(&self, pending: u64) {
        // Ordering: Relaxed: it is the exchange on `accounted` that says why.
        self.value.fetch_add(pending, Ordering::Relaxed);
    }

    #[cold]
    fn saturate(&self) {
        // Ordering: Relaxed: the flag only ever prevents a release, and is seen by the
        // compare-exchange that would decide one.
        self.value.fetch_or(STUCK, Ordering::Relaxed);
    }

    /// Returns whether the caller is the one that must notify.
    ///
    /// The caller may have been overtaken: released by somebody else, the id reused, and the next
    /// css at zero. Then it wins that one's notification, which is as good as anyone's:
    /// notifications go by id.
    fn is_first_at_zero(&self, mut value: u64) -> bool {
        while let Some(noted) = at_zero(value) {
            // Ordering: Acquire (edge put→release): every put that went through the header is in
            // the release sequence this reads from. On failure the value is only looked at, and
            // decided on by the next round.
            match self.value.compare_exchange(
                value,
                if skip("notified_once") { value } else { noted },
                order("notify_exchange", Ordering::Acquire),
                Ordering::Relaxed,
            ) {
                // Queued already, it is looked at again in any case.
                Ok(_) => return value & QUEUED == 0 || skip("queued_once"),
                Err(now) => value = now,
            }
        }
        false
    }

    /// Makes the header the place to count, from the next heavy barrier on; returns whether cells
    /// counted without a fence.
    pub(super) fn begin_switch(&self) -> bool {
        let asymmetric = self.is_per_thread();
        // Ordering: the heavy barrier follows (edge op↔switch). Release (edge resume): who sees this mode,
        // after one in which it counted in a cell, finds the bias of that time in the header.
        self.mode.store(ATOMIC, Ordering::Release);
        asymmetric
    }

    /// Takes `share`, trades the bias for `DEAD`, and returns whether the caller must notify.
    ///
    /// A `try_get_online` that comes between the two halves of a kill still succeeds, and is counted.
    pub(super) fn end_kill(&self, share: u64) -> bool {
        if is_absurd(share) {
            // Ordering: Relaxed: the flags only ever refuse.
            self.value.fetch_or(DEAD | STUCK, Ordering::Relaxed);
            return false;
        }
        self.add(share.wrapping_sub(BIAS).wrapping_add(DEAD))
    }

    /// Kills a css that counts exactly: puts the base back.
    pub(super) fn kill_exact(&self) {
        // With the base in the count nobody can bring it to zero.
        self.update(|value| (value & !BUSY).wrapping_add(DEAD + 1));
    }

    /// Takes `share`, and takes off the bias and the base: from here on the word is exact.
    ///
    /// The css holds a unit of its group's `Uses`, which the caller has added.
    pub(super) fn end_switch(&self, share: u64) {
        let known = if is_absurd(share) {
            self.saturate();
            SATURATED
        } else {
            share
        };
        let exact = known.wrapping_sub(BIAS + 1).wrapping_add(BUSY);
        // Ordering: Release (edge put→release).
        let before = self.value.fetch_add(exact, Ordering::Release);
        if is_overfull(before.wrapping_add(exact)) {
            self.saturate();
        }
    }

    /// Goes back to counting in cells; returns whether the css held a unit.
    pub(super) fn resume(&self, counting: Counting) -> bool {
        let before = self.update(|value| (value & !BUSY).wrapping_add(counting.value()));
        // Ordering: Release (edge resume), as in `begin_switch`.
        self.mode.store(counting.mode(), Ordering::Release);
        before & BUSY != 0
    }

    /// Marks an idle css as holding the unit that the caller added; returns false if it is not idle.
    pub(super) fn mark_busy(&self) -> bool {
        // Ordering: Relaxed: our own reference is in the count.
        let mut value = self.value.load(Ordering::Relaxed);
        while Standing(value).is_idle() {
            // Ordering: Release (edge unit): the unit was added before.
            match self.value.compare_exchange(
                value,
                value | BUSY,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => value = now,
            }
        }
        false
    }

    /// Takes the unit of an exact css that has no references; returns whether it had one, and how many
    /// references are out.
    ///
    /// Callers hold the structural lock.
    pub(super) fn collect(&self) -> (bool, u64) {
        let mut has_unit = false;
        let before = self.update(|value| {
            has_unit = value & (BUSY | !FLAGS | STUCK) == BUSY || skip("collect_looks");
            if has_unit { value & !BUSY } else { value }
        });
        let references = Standing(before).references();
        let is_known = before & STUCK == 0;
        (has_unit, if is_known { references } else { references.max(SATURATED) })
    }

    /// Takes the id back from the reclaimer's list; returns whether the css is to be released.
    ///
    /// The reclaimer calls it, under the structural lock.
    pub(crate) fn dequeue(&self) -> bool {
        let take = |value: u64| if value & NOTIFIED == 0 { value & !QUEUED } else { value };
        self.update(take) & NOTIFIED != 0
    }

    /// Replaces the value by what `change` makes of it; returns the one before.
    fn update(&self, mut change: impl FnMut(u64) -> u64) -> u64 {
        // Ordering: Relaxed: only looked at, and decided on by the exchange.
        let mut value = self.value.load(Ordering::Relaxed);
        loop {
            // Ordering: AcqRel: Acquire (edges put→release and unit), what holders did before they put
            // comes before what the caller does; Release, as every add.
            match self.value.compare_exchange_weak(
                value,
                change(value),
                order("update_exchange", Ordering::AcqRel),
                Ordering::Relaxed,
            ) {
                Ok(before) => return before,
                Err(now) => value = now,
            }
        }
    }
}

/// Returns what a value becomes when somebody who finds the count at zero is to notify.
fn at_zero(value: u64) -> Option<u64> {
    if value & !(DEAD | QUEUED | BUSY) != 0 {
        return None;
    }
    if value & DEAD != 0 {
        return Some(value | NOTIFIED | QUEUED);
    }
    let is_new = value & (BUSY | QUEUED) == BUSY || skip("queued_once");
    is_new.then_some(value | QUEUED)
}

/// Tells whether the count in `value`, once free of the bias, left the range that can be trusted.
const fn is_overfull(value: u64) -> bool {
    let count = value & !FLAGS;
    count < BIAS / 2 && (count + SATURATED) % PENDING >= 2 * SATURATED
}

/// Tells whether a sum over cells left the range that can be trusted.
const fn is_absurd(share: u64) -> bool {
    share.wrapping_add(SATURATED) > 2 * SATURATED
}
