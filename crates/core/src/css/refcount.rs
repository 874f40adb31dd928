//! The reference protocol as users of a css see it: get, put and `try_get`.
//!
//! A count is spread over a [`Header`] and one [`Cell`] per thread slot. While the header's mode
//! is per-thread, a get or a put is a plain add on the cell of the thread's own slot: no locked
//! instruction, no shared write. Nobody can then know the sum, and nobody needs to: the css holds a
//! base reference. A *switch* (`css/switch.rs`) changes the mode to atomic, passes the heavy barrier,
//! moves every cell's share into the header, and from there on the header counts exactly: to kill the
//! css, or to know when its group is in use no more. The operation that brings an exact header to zero
//! notifies, once.
//!
//! After Linux's `lib/percpu-refcount.c`, with two differences: the switch waits for nobody (an
//! operation that raced with it settles its own share), and zero may be reached by the switch.
//!
//! # Invariants
//!
//! `V` is the count in the header's value, `k` the number of settles under way.
//!
//! 1. Only the owner of a slot stores `count`; every such store is Release. Slots change hands
//!    through the slot mutex.
//! 2. `accounted` changes by compare-exchange only, to a value that `count` had. The owner and the
//!    switcher are its only writers; a css has one switcher, as switches run under the structural lock.
//! 3. references, the base among them if it is in, = `V` − (`BIAS` if present) − `PENDING`·`k` +
//!    Σ(`count` − `accounted`), mod 2^64, at every instant. A share in transit between cell and header
//!    is covered: by `PENDING`, set before the owner takes it, or by `BIAS`, which the switcher removes
//!    last.
//! 4. `BIAS` is present, and the base is in, from initialisation (unless the css is born exact), and
//!    from before the mode goes back to per-thread, until the last cell was captured. So `V` = 0 is
//!    never seen while a share is in a cell or in transit.
//! 5. `NOTIFIED` is set by the one compare-exchange from (`V` = 0, `DEAD`, not `NOTIFIED`). Every
//!    step that can lower `V` ends in that check, so there is exactly one notification a death.
//! 6. Headers are type-stable, and an id is reused only after its release and a grace period.
//!    `try_get` runs under a read guard, or beside another reference; get and put need none.
//! 7. Past `SATURATED` references a header is stuck for ever: its css leaks instead of being freed
//!    while referenced.
//! 8. An exact css that is not dead holds a unit of its group's `Uses` if it is marked `BUSY`, and is
//!    marked before the first `try_get` from zero returns. The mark is taken off, with the unit, only
//!    at `V` = 0 and under the structural lock.
//! 9. An id is on its registry's release list, or taken from it and not looked at, exactly while
//!    `QUEUED` is set and its setter has pushed it. A css is released only when the reclaimer looks at
//!    its id.
//!
//! # Orderings
//!
//! Edge `op↔switch`, Dekker's argument. An operation stores `count`, passes the light barrier, loads
//! `mode`; the switch stores `mode`, passes the heavy barrier, loads `count`. The barriers are totally
//! ordered. If the light one comes first, the switch sees the share and captures it. If the heavy one
//! comes first, the operation sees the new mode and settles. If both see each other, the
//! compare-exchange on `accounted` lets exactly one of them account for it.
//!
//! Edge `put→release`: what a holder did before its put happens before the notification, and before a
//! strict removal that found the reference gone. Through the cell (Release store of `count`, Acquire
//! load by the capture) or through the header (every read-modify-write of `value` is part of one
//! release sequence, and the exchange that notifies or collects acquires it).
//!
//! Edge `kill→try_get_online`: a `try_get_online` that starts after the kill returned sees the mode
//! and `DEAD`, because both were stored before. One that races with the kill may go either way.
//!
//! Edge `accounted`: each step that changes `accounted` publishes the `count` it read, and a pending
//! mark, to the next. Loom cannot weaken these four: its light barrier is a fence, which publishes the
//! count already, and its read-modify-writes never read an old value. They are argued where they
//! stand, and free on x86-64.
//!
//! Edge `home`: whoever finds a css exact and idle finds the group it counts for; see `css/home.rs`.
//!
//! Edge `resume`: whoever counts in a cell because the mode went back to per-thread, and whoever is
//! handed such a reference, finds the bias in the header when it comes to that.
//!
//! # Tests
//!
//! `tests/loom_refcount.rs`, `tests/loom_strict.rs`, and the Promela model in `docs/models/`; the table
//! of mutants is in `docs/memory-model.md`.

use crate::{
    css::{
        cells::Cell,
        header::{Header, PENDING},
        uses::{Decision, Uses},
    },
    sync::{Ordering, barrier, fence, order, skip},
};

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
#[must_use]
pub(crate) struct Got {
    /// One reference more; otherwise it came too late.
    pub(crate) is_reference: bool,
    /// It brought the count to zero on its way: the caller must notify.
    pub(crate) is_zero: bool,
}

/// The group of a css, as far as counting goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group<'g> {
    pub(crate) uses: &'g Uses,
    pub(crate) decision: &'g Decision,
}

impl Cell {
    /// Returns whether the header has everything that was counted here; nobody is counting.
    #[cfg(all(test, loom))]
    pub(crate) fn is_settled(&self) -> bool {
        // Ordering: Relaxed: the threads that counted are joined.
        self.count.load(Ordering::Relaxed) == self.accounted.load(Ordering::Relaxed)
    }

    /// Adds `delta`, wrapping; owner only.
    #[inline(always)]
    fn bump(&self, delta: u64) {
        // Ordering: Relaxed: only we store (invariant 1).
        let count = self.count.load(Ordering::Relaxed).wrapping_add(delta);
        // Ordering: Release (edge put→release): whoever captures this share sees what we did.
        self.count.store(count, order("cell_store", Ordering::Release));
    }
}

/// Adds `delta` to the cell if cells count without a fence.
#[inline(always)]
pub(crate) fn fast(cell: &Cell, header: &Header, delta: u64) -> Step {
    if !header.is_per_thread() {
        return Step::Elsewhere;
    }
    cell.bump(delta);
    barrier::light();
    if header.is_per_thread() || skip("op_looks_once") { Step::Done } else { Step::Raced }
}

/// Adds `delta` to the cell if cells count with a fence.
fn fenced(cell: &Cell, header: &Header, delta: u64) -> Step {
    if !header.is_fenced() {
        return Step::Elsewhere;
    }
    cell.bump(delta);
    barrier::light_fenced();
    if header.is_fenced() || skip("op_looks_once") { Step::Done } else { Step::Raced }
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
        (Step::Raced | Step::Elsewhere, _) => {
            after_mode();
            header.add(delta)
        }
    }
}

/// Comes after a look at the mode, before the header counts on the strength of it.
fn after_mode() {
    // Ordering: Acquire (edge resume): if the bias was put back before the mode we saw was stored, our
    // add to the header comes after it.
    fence(Ordering::Acquire);
}

/// Moves the owner's share into the header, if the switcher has not taken it; returns whether the
/// caller must notify.
///
/// A put that finds its share taken has no css any more: it may be released, and its id reused. It
/// then touches nothing but the cell, or marks and unmarks the header, whichever css that counts
/// by now. At most three rounds: `accounted` moves at most twice while the owner stands still.
#[cold]
pub(crate) fn settle(cell: &Cell, header: &Header) -> bool {
    after_mode();
    // Ordering: Relaxed: only we store (invariant 1).
    let count = cell.count.load(Ordering::Relaxed);
    let mut is_zero = false;
    loop {
        let accounted = match look_at_accounted(cell, count) {
            Ok(()) => return is_zero,
            Err(accounted) => accounted,
        };
        let pending = if skip("pending") { 0 } else { PENDING };
        header.mark(pending);
        // Ordering: Release (edge accounted): a switcher that sees this exchange sees our count, and
        // the mark.
        let exchanged =
            cell.accounted.compare_exchange(accounted, count, Ordering::Release, Ordering::Relaxed);
        if exchanged.is_ok() {
            let share = count.wrapping_sub(accounted);
            return header.add(share.wrapping_sub(pending)) || is_zero;
        }
        // The mark may have been all there was, and then we are the one to notify. Our share is not
        // settled for that: the switcher may have taken an older part of it only.
        is_zero |= header.add(pending.wrapping_neg());
        if is_zero && skip("settle_goes_on") {
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
pub(crate) fn try_get_slow<'g>(
    cell: Option<&Cell>,
    header: &Header,
    want: Want,
    group: impl FnOnce() -> Group<'g>,
) -> Got {
    let is_zero = add_slow(cell, header, 1);
    confirm(header, want, is_zero, group)
}

/// Keeps the reference just counted, or takes it back if it came too late.
///
/// The first from zero tells the `group`, which is asked for only then.
pub(crate) fn confirm<'g>(
    header: &Header,
    want: Want,
    is_zero: bool,
    group: impl FnOnce() -> Group<'g>,
) -> Got {
    let is_reference = is_in_time(header, want, group);
    let is_zero = is_zero | (!is_reference && header.add(1_u64.wrapping_neg()));
    Got { is_reference, is_zero }
}

/// Returns whether the reference just counted may be kept.
fn is_in_time<'g>(header: &Header, want: Want, group: impl FnOnce() -> Group<'g>) -> bool {
    // Our reference is in the count. Had the css been released before that, our own step on the value
    // saw it; had the kill returned before we began, we see `DEAD` because it happened before us (edge
    // kill→try_get_online).
    let standing = header.standing();
    if standing.is_dead() {
        return (want == Want::Unreleased && !standing.is_notified()) || skip("confirm");
    }
    if !standing.is_idle() || skip("tells_group") {
        return true;
    }
    if !skip("home_fence") {
        // Ordering: Acquire (edge home): the css was made exact after it came to its group, by an exchange
        // that heads what we read; so we see which group that is.
        fence(Ordering::Acquire);
    }
    // If the removal of the group is decided, its css is as good as dead, and not released.
    begin_use(header, group()) || want == Want::Unreleased
}

/// Sees to it that an exact css holds a unit; returns false if the group's removal is decided.
#[cold]
fn begin_use(header: &Header, group: Group<'_>) -> bool {
    if !group.uses.enter(group.decision) {
        return false;
    }
    if !header.mark_busy() {
        // Somebody else was faster, or the css is not exact any more. It is not the last unit: our own
        // reference keeps the css's, or the group has its structural one: a css that leaves a group which
        // lives on does so while that group rests, for longer than we hold our guard (`arm::rest`).
        group.uses.leave();
    }
    true
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{
        css::{
            cells::{CssId, Domain},
            header::{Counting, SATURATED},
            switch::{self, Watched},
        },
        sync::{AtomicU64, barrier::Barrier},
    };

    /// A css with a cell of its own and a group of its own.
    struct Scene {
        domain: &'static Domain,
        id: CssId,
        header: &'static Header,
        cell: Cell,
        uses: Uses,
        decision: Decision,
    }

    /// What cells count with where there is the cheapest barrier; asks for that barrier.
    fn cheapest() -> Counting {
        Counting::spread(Barrier::Auto.is_asymmetric())
    }

    impl Scene {
        fn new(counting: Counting) -> Self {
            let domain = Domain::new_for_test();
            let id = domain.take_ids(1).expect("an empty domain")[0];
            let header = domain.header(id).expect("just taken");
            header.init(counting);
            let cell = Cell { count: AtomicU64::new(0), accounted: AtomicU64::new(0) };
            Self { domain, id, header, cell, uses: Uses::new(), decision: Decision::new() }
        }

        fn kill(&self) -> bool {
            self.header.begin_switch();
            self.header.end_kill(self.cell.capture())
        }

        fn make_exact(&self) {
            let counted = (self.id, self.header);
            switch::make_exact(self.domain, &[Watched { counted, uses: &self.uses }]);
        }

        fn collect(&self) -> (u64, bool) {
            switch::collect(self.header, &self.uses)
        }

        fn group(&self) -> Group<'_> {
            Group { uses: &self.uses, decision: &self.decision }
        }

        fn try_get(&self, want: Want) -> bool {
            let got = try_get_slow(Some(&self.cell), self.header, want, || self.group());
            assert!(!got.is_zero);
            got.is_reference
        }

        fn put(&self) -> bool {
            put_slow(Some(&self.cell), self.header)
        }
    }

    #[test]
    fn a_count_past_the_limit_is_never_released() {
        let scene = Scene::new(Counting::PerThread);
        scene.cell.bump(SATURATED + 1);
        assert!(!scene.kill());
        assert!(scene.header.is_stuck());
        scene.cell.bump((SATURATED + 1).wrapping_neg());
        assert!(!put_slow(None, scene.header), "a stuck css leaks");
    }

    #[test]
    fn an_atomic_count_past_the_limit_is_never_released() {
        let scene = Scene::new(Counting::Fenced);
        assert!(!scene.kill());
        assert!(!scene.header.add(SATURATED - 2));
        assert!(!scene.header.is_stuck());
        get_slow(None, scene.header);
        assert!(scene.header.is_stuck());
        assert!(!scene.header.add(SATURATED.wrapping_neg()), "a stuck css leaks");
    }

    #[test]
    fn an_exact_count_past_the_limit_never_lets_its_group_go() {
        let scene = Scene::new(cheapest());
        scene.header.add(SATURATED + 1);
        scene.make_exact();
        scene.uses.leave();
        assert_eq!(scene.collect(), (SATURATED + 1, false));
        scene.header.add(SATURATED.wrapping_neg());
        assert!(!scene.uses.is_zero());
    }

    /// References that are part of a share on its way to the header are put before it arrives.
    #[test]
    fn a_count_may_be_below_its_pending_mark() {
        let scene = Scene::new(Counting::PerThread);
        assert!(!scene.kill());
        scene.header.mark(PENDING);
        (0..5).for_each(|_| assert!(!put_slow(None, scene.header)));
        assert!(!scene.header.is_stuck());
        assert!(
            scene.header.add(4_u64.wrapping_sub(PENDING)),
            "four arrive, five are put, and the base"
        );
    }

    #[test]
    fn the_last_put_after_a_kill_notifies_once() {
        for counting in [Counting::PerThread, Counting::Fenced] {
            let scene = Scene::new(counting);
            get_slow(Some(&scene.cell), scene.header);
            assert!(!scene.kill(), "the base and one reference are out");
            assert!(!scene.try_get(Want::Online));
            assert!(scene.try_get(Want::Unreleased));
            assert!(!scene.put());
            assert!(!put_slow(None, scene.header), "the base is out");
            assert!(scene.put());
            assert!(!scene.try_get(Want::Unreleased));
        }
    }

    #[test]
    fn references_may_wander_between_cells() {
        let scene = Scene::new(Counting::PerThread);
        let there = Cell { count: AtomicU64::new(0), accounted: AtomicU64::new(0) };
        for _ in 0..3 {
            assert_eq!(fast(&scene.cell, scene.header, 1), Step::Done);
            assert_eq!(fast(&there, scene.header, 1_u64.wrapping_neg()), Step::Done);
        }
        scene.header.begin_switch();
        let shares = [&scene.cell, &there].map(Cell::capture);
        assert_eq!(shares[0].wrapping_add(shares[1]), 0);
        assert!(!scene.header.end_kill(0) && put_slow(None, scene.header));
    }

    #[test]
    fn an_exact_css_tells_when_it_goes_to_zero_and_its_group_when_it_comes_from_there() {
        for counting in [cheapest(), Counting::Fenced, Counting::Exact] {
            let scene = Scene::new(counting);
            scene.make_exact();
            scene.collect();
            assert!(scene.uses.leave(), "nothing is out: the structural unit was the last");
            assert!(scene.try_get(Want::Online));
            assert!(!scene.uses.is_zero());
            assert!(scene.try_get(Want::Online));
            assert_eq!(scene.collect(), (2, false));
            assert!(!scene.put());
            assert!(scene.put(), "the last put is told");
            assert!(!scene.uses.is_zero(), "not before somebody looks");
            assert!(scene.try_get(Want::Online));
            assert!(!scene.put(), "told already, and not looked at");
            assert!(!scene.header.dequeue());
            assert_eq!(scene.collect(), (0, true));
        }
    }

    #[test]
    fn a_css_of_a_removed_group_is_as_good_as_dead() {
        let scene = Scene::new(Counting::Exact);
        scene.uses.leave();
        assert!(scene.decision.close(&[&scene.uses]));
        assert!(!scene.try_get(Want::Online));
        assert!(scene.try_get(Want::Unreleased));
        switch::kill(scene.domain, &[(scene.id, scene.header)], |_| panic!("the base is counted"));
        assert!(!scene.put());
        assert!(put_slow(None, scene.header) && scene.header.dequeue());
    }

    #[test]
    fn a_css_that_dies_while_it_is_queued_is_queued_once_and_released() {
        let scene = Scene::new(Counting::Exact);
        scene.uses.leave();
        assert!(scene.try_get(Want::Online));
        assert!(scene.put(), "queued");
        switch::kill(scene.domain, &[(scene.id, scene.header)], |_| panic!("the base is counted"));
        assert!(!put_slow(None, scene.header), "queued already");
        assert!(scene.header.dequeue(), "and to be released");
    }

    #[test]
    fn a_css_that_resumes_counts_in_cells_with_what_was_out() {
        for counting in [Counting::PerThread, Counting::Fenced] {
            let scene = Scene::new(Counting::Exact);
            assert!(scene.try_get(Want::Online));
            switch::resume(scene.header, &scene.uses, counting);
            assert!(!scene.put(), "in the cell");
            assert_eq!(scene.cell.count.load(Ordering::Relaxed), 1_u64.wrapping_neg());
            assert!(!scene.kill());
            assert!(put_slow(None, scene.header), "only the base was out");
        }
    }

    #[test]
    fn an_estimate_counts_what_is_out() {
        let scene = Scene::new(Counting::PerThread);
        let (_, block) = scene.domain.take_slot().expect("a slot");
        let cell = scene.domain.cell(block, scene.id).expect("memory");
        let estimate = || switch::references(scene.domain, (scene.id, scene.header));
        assert_eq!(estimate(), 0);
        get_slow(Some(cell), scene.header);
        get_slow(Some(cell), scene.header);
        get_slow(None, scene.header);
        assert_eq!(estimate(), 3);
        scene.header.mark(PENDING);
        assert_eq!(estimate(), 0, "a share is being moved");
    }
}
