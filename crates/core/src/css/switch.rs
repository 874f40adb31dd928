//! What is done to counts under the structural lock: the switch to exact counting and back, and the kill.
//!
//! See `css/refcount.rs` for the protocol, its invariants and its orderings, and `css/uses.rs` for the
//! word that the css of a group share.
//!
//! # Tests
//!
//! `tests/loom_refcount.rs`, `tests/loom_strict.rs`.

use crate::{
    css::{
        cells::{Cell, CssId, Domain},
        header::{Counting, Header, SATURATED},
        uses::Uses,
    },
    sync::{Ordering, barrier, order, skip},
};

/// A css whose count is to be switched.
pub(crate) type Counted = (CssId, &'static Header);

impl Cell {
    /// Takes this cell's share for the header, as the switcher; returns it, wrapping.
    pub(super) fn capture(&self) -> u64 {
        let mut sum = 0_u64;
        loop {
            // Ordering: Acquire (edge accounted): if the owner settled this much, we see its
            // pending mark.
            let accounted = self.accounted.load(Ordering::Acquire);
            // Ordering: Acquire (edge put→release): pairs with the owner's store in `bump`.
            let count = self.count.load(order("capture_load", Ordering::Acquire));
            if accounted == count {
                return sum;
            }
            // Ordering: Acquire (edge accounted): if the owner looked or settled before us, we see
            // its count in the next round.
            let won = self.accounted.compare_exchange(
                accounted,
                count,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            if won.is_ok() {
                sum = sum.wrapping_add(count.wrapping_sub(accounted));
                if skip("capture_looks_once") {
                    return sum;
                }
            }
        }
    }

    /// Returns what the header does not have of this cell, wrapping, as of some moment each.
    fn peek(&self) -> u64 {
        // Ordering: Acquire: an estimate, but what the puts it saw were preceded by is seen.
        let accounted = self.accounted.load(Ordering::Acquire);
        self.count.load(Ordering::Acquire).wrapping_sub(accounted)
    }
}

/// Makes the header the place to count for every css of `batch`, with one barrier if any was spread.
fn begin(batch: &[Counted]) {
    let mut spread = batch.iter().filter(|(_, header)| header.standing().is_spread()).peekable();
    if spread.peek().is_none() {
        return;
    }
    let mut asymmetric = false;
    for (_, header) in spread {
        asymmetric |= header.begin_switch();
    }
    barrier::heavy(asymmetric);
}

/// Moves what the cells hold of a css's count out of them; returns it, wrapping.
fn capture(domain: &Domain, id: CssId) -> u64 {
    let mut share = 0_u64;
    domain.for_each_cell(id, |cell| share = share.wrapping_add(cell.capture()));
    share
}

/// Kills every css of `batch` with one barrier, and calls `notify` for each that is at zero.
///
/// When it returns no `try_get_online` that starts succeeds, and every count is exact, the base in it.
/// Callers hold the structural lock, and kill a css once. Waits for nobody; one heavy barrier in all if
/// any css is not exact already, and for each that is not two loads a thread that ever counted near it.
pub(crate) fn kill(domain: &Domain, batch: &[Counted], notify: impl Fn(CssId)) {
    begin(batch);
    for (id, header) in batch {
        if header.standing().is_spread() {
            if header.end_kill(capture(domain, *id)) {
                notify(*id);
            }
        } else {
            header.kill_exact();
        }
    }
}

/// A css whose use its group wants to know.
#[derive(Clone, Copy)]
pub(crate) struct Watched<'u> {
    pub(crate) counted: Counted,
    pub(crate) uses: &'u Uses,
}

/// Makes the count of every css of `batch` exact, with one barrier if any is not; each of those then
/// holds a unit of its group's `Uses`, until [`collect`] finds that it needs none.
///
/// Callers hold the structural lock, and the groups have their structural unit.
pub(crate) fn make_exact(domain: &Domain, batch: &[Watched<'_>]) {
    let counted: Vec<Counted> = batch.iter().map(|watched| watched.counted).collect();
    begin(&counted);
    for Watched { counted: (id, header), uses } in batch {
        if header.standing().is_spread() {
            let share = capture(domain, *id);
            uses.add();
            header.end_switch(share);
        }
    }
}

/// Takes a unit back that an exact css needs no more; returns how many references are out, and whether
/// it was the last unit of the group.
///
/// Callers hold the structural lock.
pub(crate) fn collect(header: &Header, uses: &Uses) -> (u64, bool) {
    let (had_unit, references) = header.collect();
    (references, had_unit && uses.leave())
}

/// Lets an exact css count in cells again.
///
/// Callers hold the structural lock, and have given the group its structural unit.
pub(crate) fn resume(header: &Header, uses: &Uses, counting: Counting) {
    if !header.standing().is_spread() && header.resume(counting) {
        uses.leave();
    }
}

/// Returns how many references are certainly out, or were a moment ago; 0 says nothing.
///
/// Costs no barrier. Callers hold the structural lock.
pub(crate) fn references(domain: &Domain, counted: Counted) -> u64 {
    let standing = counted.1.standing();
    if standing.is_spread() {
        return estimate(domain, counted).unwrap_or(0);
    }
    // What an idle css shows may be the pending mark of a straggler, which no edge follows. A `try_get`
    // that has not told its group yet is seen in the group's word, or comes too late.
    if standing.is_idle() && !skip("idle_is_not_in_use") { 0 } else { standing.references() }
}

/// Returns how many references are out, as a look at the cells without a barrier tells; `None` if it
/// does not.
///
/// More than none: some reference whose put does not happen before this call was out at a moment of it.
fn estimate(domain: &Domain, (id, header): Counted) -> Option<u64> {
    let before = header.standing();
    let mut sum = before.accounted()?;
    domain.for_each_cell(id, |cell| sum = sum.wrapping_add(cell.peek()));
    // A share that was moved meanwhile may have been missed.
    (header.standing() == before).then_some(sum).filter(|sum| *sum < SATURATED)
}
