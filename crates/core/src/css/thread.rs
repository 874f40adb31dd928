//! Which thread slot the calling thread counts in, and the fast paths that use it.
//!
//! The hot key is a plain pointer without a destructor, so that reaching it is one load. It points
//! to an empty block until the thread owns a slot, and again after the thread's [`Janitor`] gave
//! the slot back: then every operation goes through the header, which is always correct.

use std::{cell::Cell as StdCell, ptr};

use crate::{
    css::{
        Core,
        cells::{self, Block, Cell, CssId, Domain},
        header::Header,
        refcount::{self, Step, Want},
    },
    sync::fork,
};

/// The process's one domain.
static DOMAIN: Domain = Domain::new();
static EMPTY: Block = Block::new();

thread_local! {
    static BLOCK: StdCell<&'static Block> = const { StdCell::new(&EMPTY) };
    static JANITOR: Janitor = const { Janitor { slot: StdCell::new(None), skipped: StdCell::new(0) } };
}

/// Gives the thread's slot back when the thread ends.
#[derive(Debug)]
struct Janitor {
    slot: StdCell<Option<usize>>,
    /// Operations that still go by before the thread asks for a slot again.
    skipped: StdCell<u32>,
}

/// After a refusal a thread asks for a slot again at every so many operations: asking takes a lock.
const ASK_AGAIN: u32 = 1024;

/// The locks of the process's domain.
pub(crate) type Locks = cells::Locks<'static>;

/// Takes every lock of the process's domain.
pub(crate) fn lock_all() -> Locks {
    DOMAIN.lock_all()
}

/// Returns the process's headers, slots and ids.
pub(crate) fn domain() -> &'static Domain {
    &DOMAIN
}

/// Makes the calling thread's counting cells ahead, for every css there is so far.
///
/// A thread makes its cells when it first *takes* a reference to a css. A thread that only drops
/// references made elsewhere has none, and pays an atomic add on a shared word for each drop;
/// after this call it does not. Css made later may need another call. Costs at most 4 KiB for each
/// 256 css ids in use.
///
/// Returns whether the thread now counts in cells of its own: not when 4,096 threads do already, or
/// memory is out. References stay exact either way.
pub fn prepare_thread() -> bool {
    let Some(block) = own_block() else { return false };
    DOMAIN.ids_in_use().all(|id| DOMAIN.cell(block, id).is_some())
}

/// Returns the slot that the calling thread owns, taking one if it has none; `None` if it gets none.
///
/// What only the owner of a slot writes is passed on with it (edge slot of `css/cells.rs`).
#[inline(always)]
pub(crate) fn slot() -> Option<usize> {
    own_block().map(Block::slot)
}

/// Takes one reference more; the caller holds one.
#[inline(always)]
pub(crate) fn get(id: CssId, header: &Header) {
    match fast(id, header, 1) {
        Step::Done => {}
        step => get_slow(id, header, step),
    }
}

/// Gives one reference back.
#[inline(always)]
pub(crate) fn put(id: CssId, header: &Header) {
    match fast(id, header, 1_u64.wrapping_neg()) {
        Step::Done => {}
        step => put_slow(id, header, step),
    }
}

/// Takes a reference if the css is still what `want` asks for.
#[inline(always)]
pub(crate) fn try_get(id: CssId, header: &Header, want: Want) -> bool {
    match fast(id, header, 1) {
        Step::Done => true,
        step => try_get_slow(id, header, want, step),
    }
}

#[inline(always)]
fn fast(id: CssId, header: &Header, delta: u64) -> Step {
    match BLOCK.get().cell(id) {
        Some(cell) => refcount::fast(cell, header, delta),
        None => Step::Elsewhere,
    }
}

#[cold]
#[inline(never)]
fn get_slow(id: CssId, header: &Header, step: Step) {
    match raced(id, step) {
        Some(cell) => {
            let is_zero = refcount::settle(cell, header);
            debug_assert!(!is_zero, "the caller holds a reference");
        }
        None => refcount::get_slow(own_cell(id, header), header),
    }
}

#[cold]
#[inline(never)]
fn put_slow(id: CssId, header: &Header, step: Step) {
    let is_zero = match raced(id, step) {
        Some(cell) => refcount::settle(cell, header),
        None if header.is_counting() => refcount::put_slow(None, header),
        None => refcount::put_slow(BLOCK.get().cell(id), header),
    };
    if is_zero {
        Core::notify(id);
    }
}

#[cold]
#[inline(never)]
fn try_get_slow(id: CssId, header: &Header, want: Want, step: Step) -> bool {
    let got = match raced(id, step) {
        Some(cell) => {
            let is_zero = refcount::settle(cell, header);
            refcount::confirm(header, want, is_zero, || Core::group_of(header))
        }
        None => {
            let cell = own_cell(id, header);
            refcount::try_get_slow(cell, header, want, || Core::group_of(header))
        }
    };
    if got.is_zero {
        Core::notify(id);
    }
    got.is_reference
}

/// Returns the cell whose share a kill raced with.
fn raced(id: CssId, step: Step) -> Option<&'static Cell> {
    if step == Step::Raced { BLOCK.get().cell(id) } else { None }
}

/// Returns the calling thread's cell, making it if need be; none where the header counts.
///
/// Without a cell the count goes to the header, which is correct whatever its mode is by then.
fn own_cell(id: CssId, header: &Header) -> Option<&'static Cell> {
    if header.is_counting() {
        return None;
    }
    own_block().and_then(|block| DOMAIN.cell(block, id))
}

/// Returns the calling thread's block, taking a slot for it if it has none.
#[inline]
fn own_block() -> Option<&'static Block> {
    let block = BLOCK.get();
    if !ptr::eq(block, &raw const EMPTY) {
        return Some(block);
    }
    // The thread may be past its thread-locals' destructors: then it counts in headers.
    JANITOR.try_with(Janitor::take_slot).ok().flatten()
}

impl Janitor {
    fn take_slot(&self) -> Option<&'static Block> {
        let skipped = self.skipped.get();
        self.skipped.set(skipped.saturating_sub(1));
        if skipped > 0 {
            return None;
        }
        fork::generation(); // from the first slot on, forks wait for its lock
        let Some((slot, block)) = DOMAIN.take_slot() else {
            self.skipped.set(ASK_AGAIN);
            return None;
        };
        self.slot.set(Some(slot));
        BLOCK.set(block);
        Some(block)
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            // First the hot key, so that nothing of this thread counts in the slot afterwards.
            BLOCK.set(&EMPTY);
            DOMAIN.give_back_slot(slot);
        }
    }
}
