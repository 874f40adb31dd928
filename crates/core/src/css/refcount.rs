//! The reference protocol alone: get, put, `try_get`, and the kill that makes a count exact.
//!
//! A count is spread over a [`Header`] and one [`Cell`] per thread slot. While the header's mode
//! is per-thread, a get or a put is a plain add on the cell of the thread's own slot: no locked
//! instruction, no shared write. Nobody can then know the sum, and nobody needs to: the css holds a
//! base reference. A kill switches the mode to atomic, passes the heavy barrier, moves every cell's
//! share into the header and from there on counts exactly. The operation that brings the header to
//! zero notifies, once.
//!
//! After Linux's `lib/percpu-refcount.c`, with two differences: the switch waits for nobody (an
//! operation that raced with it settles its own share), and zero may be reached by the switch.
//!
//! # Invariants
//!
//! `V` is the count in [`Header::value`], `k` the number of settles under way.
//!
//! 1. Only the owner of a slot stores `count`; every such store is Release. Slots change hands
//!    through the slot mutex.
//! 2. `accounted` changes by compare-exchange only, to a value that `count` had. The owner and the
//!    switcher are its only writers; a css has one switcher, as kills run under the structural lock.
//! 3. references = `V` − (`BIAS` if present) − `PENDING`·`k` + Σ(`count` − `accounted`), mod 2^64,
//!    at every instant. A share in transit between cell and header is covered: by `PENDING`, set
//!    before the owner takes it, or by `BIAS`, which the switcher removes last.
//! 4. `BIAS` is present from initialisation until the last cell was captured. So `V` = 0 is never
//!    seen while a share is in a cell or in transit.
//! 5. `NOTIFIED` is set by the one compare-exchange from (`V` = 0, `DEAD`, not `NOTIFIED`). Every
//!    step that can lower `V` ends in that check, so there is exactly one notification a death.
//! 6. Headers are type-stable, and an id is reused only after its release and a grace period.
//!    `try_get` runs under a read guard; get and put need none.
//! 7. Past [`SATURATED`] references a header is stuck for ever: its css leaks instead of being
//!    freed while referenced.
//!
//! # Orderings
//!
//! Edge `op↔kill`, Dekker's argument. An operation stores `count`, passes the light barrier, loads
//! `mode`; the kill stores `mode`, passes the heavy barrier, loads `count`. The barriers are totally
//! ordered. If the light one comes first, the kill sees the share and captures it. If the heavy one
//! comes first, the operation sees the new mode and settles. If both see each other, the
//! compare-exchange on `accounted` lets exactly one of them account for it.
//!
//! Edge `put→release`: what a holder did before its put happens before the notification. Through
//! the cell (Release store of `count`, Acquire load by the capture) or through the header (every
//! read-modify-write of `value` is part of one release sequence, and the exchange that sets
//! `NOTIFIED` acquires it).
//!
//! Edge `kill→try_get_online`: a `try_get_online` that starts after the kill returned sees the mode
//! and `DEAD`, because both were stored before. One that races with the kill may go either way.
//!
//! Edge `accounted`: each step that changes `accounted` publishes the `count` it read, and a pending
//! mark, to the next. Loom cannot weaken these four: its light barrier is a fence, which publishes the
//! count already, and its read-modify-writes never read an old value. They are argued where they
//! stand, and free on x86-64.
//!
//! # Tests
//!
//! `tests/loom_refcount.rs`; the table of mutants is in `docs/memory-model.md`.

use crate::{
    css::cells::{Cell, CssId, Domain},
    sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering, barrier, order, skip},
};

/// Set by the kill; no `try_get_online` succeeds after it.
const DEAD: u64 = 1 << 63;
/// Set once, by whoever found the count at zero after the kill.
const NOTIFIED: u64 = 1 << 62;
/// The count is no longer known: never release.
const STUCK: u64 = 1 << 61;
const FLAGS: u64 = DEAD | NOTIFIED | STUCK;
/// Keeps a count that is still spread over cells away from zero.
const BIAS: u64 = 1 << 58;
/// Keeps a count away from zero while one owner moves its share into the header.
const PENDING: u64 = 1 << 44;
/// References from which on a css is never released.
const SATURATED: u64 = 1 << 43;

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
    /// `PER_THREAD`, `ATOMIC` or `FENCED`. Written at creation and by the kill.
    mode: AtomicU32,
    /// How many css had this id before. Written at release.
    generation: AtomicU32,
    /// Flags and the count; see the module's invariants.
    value: AtomicU64,
    /// The css that has this id, for lookups by id; owned by `css.rs`.
    pub(crate) payload: AtomicPtr<()>,
    /// Link of the release list; owned by `css/release.rs`.
    pub(crate) next: AtomicU32,
    /// The css's place in its registry's arena; owned by `css/object.rs`.
    pub(crate) arena: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Header>() == 32 && size_of::<Cell>() == 16);

/// What a step came to on the fast path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The share is in the cell.
    Done,
    /// The share is in the cell, and a kill runs: settle it.
    Raced,
    /// Nothing was counted: the header counts, or the mode has a fence.
    Elsewhere,
}

/// What a `try_get` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Any css that is not released.
    Unreleased,
    /// A css whose removal is not decided.
    Online,
}

/// What a `try_get` came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// One reference more.
    Reference,
    /// Too late, nothing changed.
    Nothing,
    /// Too late, and taking the attempt back brought the count to zero: the caller must notify.
    NothingAndZero,
}

impl Want {
    const fn is_refused_by(self, value: u64) -> bool {
        value & NOTIFIED != 0 || (matches!(self, Self::Online) && value & DEAD != 0)
    }
}

impl Cell {
    /// Adds `delta`, wrapping; owner only.
    #[inline(always)]
    fn bump(&self, delta: u64) {
        // Ordering: Relaxed: only we store (invariant 1).
        let count = self.count.load(Ordering::Relaxed).wrapping_add(delta);
        // Ordering: Release (edge put→release): whoever captures this share sees what we did.
        self.count.store(count, order("cell_store", Ordering::Release));
    }

    /// Takes this cell's share for the header, as the switcher; returns it, wrapping.
    fn capture(&self) -> u64 {
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
}

impl Header {
    /// Makes the header count one reference, the base, in the cheapest mode there is.
    ///
    /// Called when nobody can reach the css of this id, with its payload in place.
    pub(crate) fn init(&self, asymmetric: bool) {
        // Ordering: Relaxed, as below. A straggler of the id's former css that
        // sees the new mode was captured long ago: otherwise that css would still be counted, and
        // its id not reused.
        self.mode.store(if asymmetric { PER_THREAD } else { FENCED }, Ordering::Relaxed);
        // Ordering: Relaxed: the flags of a header that no css has do not change.
        let value = self.value.load(Ordering::Relaxed);
        if skip("init_by_add") {
            return self.value.store(BIAS + 1, Ordering::Release);
        }
        // By an add, not a store: a straggler of the former css may have its pending mark here, and
        // will take it off (see `settle`).
        // Ordering: Relaxed: published with the css itself; a straggler of the former css that wins
        // this one's notification sees it through the kill (edge put→release).
        let fresh = (BIAS + 1).wrapping_sub(value & FLAGS);
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
    fn mode(&self) -> u32 {
        // Ordering: Relaxed: on the fast path the light barrier orders it (edge op↔kill); elsewhere
        // the decision is taken by a read-modify-write that follows.
        self.mode.load(Ordering::Relaxed)
    }

    /// Adds to the header and returns the value after it.
    fn add(&self, delta: u64) -> u64 {
        // Ordering: Release (edge put→release): what the caller did goes into the release sequence
        // that the notifier's exchange acquires.
        let before = self.value.fetch_add(delta, order("header_add", Ordering::Release));
        let after = before.wrapping_add(delta);
        if is_overfull(after) {
            self.saturate();
        }
        after
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
    /// css killed and at zero. Then it wins that one's notification, which is as good as anyone's:
    /// notifications go by id.
    fn is_first_at_zero(&self, mut value: u64) -> bool {
        while value == DEAD {
            // Ordering: Acquire (edge put→release): every put that went through the header is in
            // the release sequence this reads from. On failure the value is only looked at, and
            // decided on by the next round.
            match self.value.compare_exchange(
                DEAD,
                if skip("notified_once") { DEAD } else { DEAD | NOTIFIED },
                order("notify_exchange", Ordering::Acquire),
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => value = now,
            }
        }
        false
    }

    /// Makes the header the place to count, from the next heavy barrier on; returns whether cells
    /// counted without a fence.
    fn begin_kill(&self) -> bool {
        let asymmetric = self.mode() == PER_THREAD;
        // Ordering: Relaxed: the heavy barrier follows (edge op↔kill).
        self.mode.store(ATOMIC, Ordering::Relaxed);
        asymmetric
    }

    /// Takes `share`, trades the bias for `DEAD`, and returns whether the caller must notify.
    ///
    /// A `try_get_online` that comes between the two halves of a kill still succeeds, and is counted.
    fn end_kill(&self, share: u64) -> bool {
        if share.wrapping_add(SATURATED) > 2 * SATURATED {
            // Ordering: Relaxed: the flags only ever refuse.
            self.value.fetch_or(DEAD | STUCK, Ordering::Relaxed);
            return false;
        }
        self.is_first_at_zero(self.add(share.wrapping_sub(BIAS).wrapping_add(DEAD)))
    }
}

/// Tells whether the count in `value`, once free of the bias, left the range that can be trusted.
const fn is_overfull(value: u64) -> bool {
    let count = value & !FLAGS;
    count < BIAS / 2 && count % PENDING >= SATURATED
}

/// Adds `delta` to the cell if cells count without a fence.
#[inline(always)]
pub(crate) fn fast(cell: &Cell, header: &Header, delta: u64) -> Step {
    if header.mode() != PER_THREAD {
        return Step::Elsewhere;
    }
    cell.bump(delta);
    barrier::light();
    if header.mode() == PER_THREAD || skip("op_looks_once") { Step::Done } else { Step::Raced }
}

/// Adds `delta` to the cell if cells count with a fence.
fn fenced(cell: &Cell, header: &Header, delta: u64) -> Step {
    if header.mode() != FENCED {
        return Step::Elsewhere;
    }
    cell.bump(delta);
    barrier::light_fenced();
    if header.mode() == FENCED || skip("op_looks_once") { Step::Done } else { Step::Raced }
}

/// Adds `delta` to the cell, or to the header when cells do not count; returns whether the caller
/// must notify.
fn add_slow(cell: Option<&Cell>, header: &Header, delta: u64) -> bool {
    let step = cell.map_or(Step::Elsewhere, |cell| {
        let step = fast(cell, header, delta);
        if step == Step::Elsewhere { fenced(cell, header, delta) } else { step }
    });
    match (step, cell) {
        (Step::Done, _) => false,
        (Step::Raced, Some(cell)) => settle(cell, header),
        (Step::Raced | Step::Elsewhere, _) => header.is_first_at_zero(header.add(delta)),
    }
}

/// Moves the owner's share into the header, if the switcher has not taken it; returns whether the
/// caller must notify.
///
/// A put that finds its share taken has no css any more: it may be released, and its id reused. It
/// then touches nothing but the cell, or marks and unmarks the header, whichever css that counts
/// by now. At most three rounds: `accounted` moves at most twice while the owner stands still.
#[cold]
pub(crate) fn settle(cell: &Cell, header: &Header) -> bool {
    // Ordering: Relaxed: only we store (invariant 1).
    let count = cell.count.load(Ordering::Relaxed);
    loop {
        let accounted = match look_at_accounted(cell, count) {
            Ok(()) => return false,
            Err(accounted) => accounted,
        };
        let pending = if skip("pending") { 0 } else { PENDING };
        // Ordering: Relaxed: keeps zero away; it is the exchange below that says why.
        header.value.fetch_add(pending, Ordering::Relaxed);
        // Ordering: Release (edge accounted): a switcher that sees this exchange sees our count, and
        // the mark.
        let exchanged =
            cell.accounted.compare_exchange(accounted, count, Ordering::Release, Ordering::Relaxed);
        if exchanged.is_ok() {
            let share = count.wrapping_sub(accounted);
            return header.is_first_at_zero(header.add(share.wrapping_sub(pending)));
        }
        if header.is_first_at_zero(header.add(pending.wrapping_neg())) {
            return true;
        }
    }
}

/// Returns what `accounted` is, if it is not `count`.
///
/// A compare-exchange even though it would change nothing: a switcher that stands between its own
/// load and its exchange then either fails, or follows us and looks again. A plain load here lost a
/// reference when a put and a get had brought the count back to an older value.
fn look_at_accounted(cell: &Cell, count: u64) -> Result<(), u64> {
    if skip("settle_by_load") {
        // Ordering: Acquire: as strong as a load can be, and not enough.
        let accounted = cell.accounted.load(Ordering::Acquire);
        return if accounted == count { Ok(()) } else { Err(accounted) };
    }
    // Ordering: Release (edge accounted): the switcher whose exchange follows ours sees our count
    // when it looks again.
    cell.accounted.compare_exchange(count, count, Ordering::Release, Ordering::Relaxed).map(drop)
}

/// Takes one reference more, off the fast path; the caller holds one already.
pub(crate) fn get_slow(cell: Option<&Cell>, header: &Header) {
    let is_zero = add_slow(cell, header, 1);
    debug_assert!(!is_zero, "a css with a reference taken is not at zero");
}

/// Gives one reference back, off the fast path; returns whether the caller must notify.
#[must_use]
pub(crate) fn put_slow(cell: Option<&Cell>, header: &Header) -> bool {
    add_slow(cell, header, 1_u64.wrapping_neg())
}

/// Takes a reference if the css is still what `want` asks for, off the fast path.
///
/// The caller is under a read guard, or holds the css in another way, so that the id is not reused.
#[must_use]
pub(crate) fn try_get_slow(cell: Option<&Cell>, header: &Header, want: Want) -> Got {
    let is_zero = add_slow(cell, header, 1);
    debug_assert!(!is_zero, "the reference just taken is counted");
    confirm(header, want)
}

/// Keeps the reference just counted, or takes it back if it came too late.
#[must_use]
pub(crate) fn confirm(header: &Header, want: Want) -> Got {
    // Ordering: Relaxed: our reference is in the count. Had the css been released before that, our
    // own step on `value` saw it; had the kill returned before we began, we see `DEAD` because it
    // happened before us (edge kill→try_get_online).
    let value = header.value.load(Ordering::Relaxed);
    if !want.is_refused_by(value) || skip("confirm") {
        return Got::Reference;
    }
    if header.is_first_at_zero(header.add(1_u64.wrapping_neg())) {
        Got::NothingAndZero
    } else {
        Got::Nothing
    }
}

/// Kills every css of `batch` with one barrier, and calls `notify` for each that is at zero.
///
/// When it returns no `try_get_online` that starts succeeds, and every count is exact. Callers hold
/// the structural lock, and kill a css once. Waits for nobody; one heavy barrier in all, and for
/// each css two loads a thread that ever counted near it.
pub(crate) fn kill(domain: &Domain, batch: &[(CssId, &'static Header)], notify: impl Fn(CssId)) {
    let mut asymmetric = false;
    for (_, header) in batch {
        asymmetric |= header.begin_kill();
    }
    barrier::heavy(asymmetric);
    for (id, header) in batch {
        let mut share = 0_u64;
        domain.for_each_cell(*id, |cell| share = share.wrapping_add(cell.capture()));
        if header.end_kill(share) {
            notify(*id);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A header and a cell, apart from every thread's own.
    fn counted(asymmetric: bool) -> (&'static Header, &'static Domain, Cell) {
        let domain = Domain::new_for_test();
        let id = domain.take_ids(1).expect("an empty domain")[0];
        let header = domain.header(id).expect("just taken");
        header.init(asymmetric);
        let cell = Cell { count: AtomicU64::new(0), accounted: AtomicU64::new(0) };
        (header, domain, cell)
    }

    fn kill_with(header: &Header, cell: &Cell) -> bool {
        header.begin_kill();
        header.end_kill(cell.capture())
    }

    #[test]
    fn a_count_past_the_limit_is_never_released() {
        let (header, _domain, cell) = counted(true);
        cell.bump(SATURATED + 1);
        assert!(!kill_with(header, &cell));
        assert!(header.is_stuck());
        cell.bump((SATURATED + 1).wrapping_neg());
        assert!(!put_slow(None, header), "a stuck css leaks");
    }

    #[test]
    fn an_atomic_count_past_the_limit_is_never_released() {
        let (header, _domain, cell) = counted(false);
        assert!(!kill_with(header, &cell));
        header.add(SATURATED - 2);
        assert!(!header.is_stuck());
        get_slow(None, header);
        assert!(header.is_stuck());
        header.add(SATURATED.wrapping_neg());
        assert!(!header.is_first_at_zero(header.value.load(Ordering::Relaxed)));
    }

    #[test]
    fn the_last_put_after_a_kill_notifies_once() {
        for asymmetric in [true, false] {
            let (header, _domain, cell) = counted(asymmetric);
            get_slow(Some(&cell), header);
            assert!(!kill_with(header, &cell), "the base and one reference are out");
            assert_eq!(try_get_slow(Some(&cell), header, Want::Online), Got::Nothing);
            assert_eq!(try_get_slow(Some(&cell), header, Want::Unreleased), Got::Reference);
            assert!(!put_slow(Some(&cell), header));
            assert!(!put_slow(None, header), "the base is out");
            assert!(put_slow(Some(&cell), header));
            assert_eq!(try_get_slow(None, header, Want::Unreleased), Got::Nothing);
        }
    }

    #[test]
    fn references_may_wander_between_cells() {
        let (header, _domain, here) = counted(true);
        let there = Cell { count: AtomicU64::new(0), accounted: AtomicU64::new(0) };
        for _ in 0..3 {
            assert_eq!(fast(&here, header, 1), Step::Done);
            assert_eq!(fast(&there, header, 1_u64.wrapping_neg()), Step::Done);
        }
        header.begin_kill();
        let shares = [&here, &there].map(Cell::capture);
        assert_eq!(shares[0].wrapping_add(shares[1]), 0);
        assert!(!header.end_kill(0) && put_slow(None, header));
    }
}
