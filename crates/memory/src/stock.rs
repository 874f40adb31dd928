//! What a thread has charged ahead: a pocket for each group that it charges, found by the group's key.
//!
//! The table is direct-mapped, 64 places; keys count up, so 64 groups that were made one after the other
//! do not meet. A charge takes from the pocket, an uncharge puts there, and only what the pocket cannot do
//! goes to the counters: a refill of twice the size that the last one had, up to 64 KiB; and half of what
//! a full pocket holds. No batch is more than a sixteenth of what is left at the tightest level above;
//! below 2 KiB there is none, so near a limit every charge is exact.
//! Where room had to be called in for a charge, none is charged ahead for the next 1,024 attempts. A thread holds 512 KiB at most.
//!
//! A pocket's home, the node whose room it is, is known to the thread and to the list at the node, by
//! which drainers come (`drain.rs`).
//!
//! # Orderings
//!
//! None of its own: `pocket.rs` and `gate.rs` have them.
//!
//! # Tests
//!
//! `tests/loom_pocket.rs` for the protocols; `tests/stock.rs`.

pub(crate) mod drain;

use std::cell::{Cell, RefCell};

use slab::Slab;

use crate::{
    account::Account,
    chain::{self, MOST, Refused, Why},
    gate::{self, Gate},
    node::Node,
    pocket::{Pocket, Step, Turn},
    reclaim,
    sync::{Arc, Mutex, forks},
};

/// Places in a thread's table.
const PLACES: usize = 64;

/// The least that is charged ahead.
pub(crate) const MIN_BATCH: u64 = 2 << 10;

/// The most that is charged ahead in one pocket.
pub(crate) const MAX_BATCH: u64 = 64 << 10;

/// How much the pockets of a thread may hold beyond the least: with that, 512 KiB.
const GROWTH: u64 = 256 << 10;

/// A batch is so small a part of what is left.
const PART: u64 = 16;

static EMPTY: Pocket = Pocket::new();

/// Pockets of threads that have ended.
static POOL: Mutex<Vec<&'static Pocket>> = Mutex::new(Vec::new());

thread_local! {
    static TABLE: [Cell<&'static Pocket>; PLACES] =
        const { [const { Cell::new(&EMPTY) }; PLACES] };
    static JANITOR: Janitor = const { Janitor { homes: RefCell::new(Vec::new()), grown: Cell::new(0) } };
}

/// Gives back what a thread has charged ahead when the thread ends.
#[derive(Debug)]
struct Janitor {
    homes: RefCell<Vec<Home>>,
    /// How much the caps are beyond the least.
    grown: Cell<u64>,
}

/// Whose room a pocket of this thread holds.
#[derive(Debug)]
struct Home {
    place: usize,
    node: Arc<Node>,
    entry: usize,
}

/// A way to a pocket, for drainers.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) pocket: Whose,
    pub(crate) turn: Turn,
}

/// A pocket and what keeps it.
#[derive(Clone, Debug)]
pub(crate) enum Whose {
    /// A thread's: they are never freed.
    Thread(&'static Pocket),
    /// A reservation's.
    Reservation(Arc<Pocket>),
}

/// Pockets that are filled for a node.
#[derive(Debug)]
pub(crate) struct Pockets {
    /// `None` until the first.
    pub(crate) list: Mutex<Option<Box<Slab<Entry>>>>,
    pub(crate) gate: Gate,
}

/// Charges `amount`, from the thread's pocket if it has as much.
#[inline(always)]
pub(crate) fn charge(key: u64, node: &Arc<Node>, amount: u64) -> Result<(), Refused> {
    match pocket(key).take(key, amount) {
        Step::Done => Ok(()),
        step => charge_slow(node, amount, step),
    }
}

/// Uncharges `amount`, into the thread's pocket if that has place.
#[inline(always)]
pub(crate) fn uncharge(key: u64, node: &Arc<Node>, amount: u64) {
    match pocket(key).put(key, amount) {
        Step::Done => {}
        step => uncharge_slow(node, amount, step),
    }
}

/// Charges `amount` where `account` leads, from the thread's pocket if it has as much; `key` is that of the
/// group that the account was made for, which refuses once it is removed.
#[inline]
pub(crate) fn charge_account(key: u64, account: &Account, amount: u64) -> Result<(), Refused> {
    let step = pocket(key).take(key, amount);
    if step == Step::Done {
        return Ok(());
    }
    let node = account.node();
    if node.key == key {
        return charge_slow(&node, amount, step);
    }
    settle_revoked(key);
    if step == Step::Revoked || amount == 0 {
        return Ok(());
    }
    Err(Refused { node: Arc::clone(&node), usage: 0, why: Why::Removed })
}

/// Uncharges `amount` where `account` leads, into the thread's pocket for `key` if that has place.
#[inline]
pub(crate) fn uncharge_account(key: u64, account: &Account, amount: u64) {
    let step = pocket(key).put(key, amount);
    if step == Step::Done {
        return;
    }
    let node = account.node();
    if node.key == key && !node.is_closed() {
        return uncharge_slow(&node, amount, step);
    }
    settle_revoked(key);
    if step != Step::Revoked {
        chain::uncharge(&node, amount);
    }
}

/// Settles the thread's pocket in the place of `key`, if it is called in.
#[cold]
fn settle_revoked(key: u64) {
    let pocket = pocket(key);
    if !pocket.is_busy() {
        let settled = JANITOR.try_with(|janitor| janitor.settle_if_revoked(place(key), pocket));
        settled.ok(); // past the thread-locals' destructors there is nothing in it
    }
}

#[inline(always)]
fn pocket(key: u64) -> &'static Pocket {
    TABLE.with(|table| table[place(key)].get())
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "only the low bits count")]
const fn place(key: u64) -> usize {
    key as usize % PLACES
}

#[cold]
#[inline(never)]
fn charge_slow(node: &Arc<Node>, amount: u64, step: Step) -> Result<(), Refused> {
    if amount == 0 && step != Step::Revoked {
        return Ok(());
    }
    if amount > MOST {
        return Err(Refused { node: Arc::clone(node), usage: 0, why: Why::TooLarge });
    }
    if node.shared.is_inherited() {
        return chain::try_charge(node, amount);
    }
    let by_stock = JANITOR.try_with(|janitor| janitor.charge(node, amount, step));
    match by_stock.ok().flatten() {
        Some(charged) => charged,
        // A thread in its thread-locals' destructors, which settles the pocket there.
        None if step == Step::Revoked => Ok(()),
        None => charge_exactly(node, amount),
    }
}

#[cold]
#[inline(never)]
fn uncharge_slow(node: &Arc<Node>, amount: u64, step: Step) {
    if node.is_closed() && step == Step::Missed {
        settle_revoked(node.key); // what it has now goes elsewhere
    }
    let node = if step == Step::Revoked { node } else { node.answering() };
    if node.shared.is_inherited() {
        return chain::uncharge(node, amount);
    }
    let by_stock = JANITOR.try_with(|janitor| janitor.uncharge(node, amount, step));
    if by_stock != Ok(true) && step != Step::Revoked {
        chain::uncharge(node, amount);
    }
}

/// Charges `amount`, and nothing ahead; calls in what others have charged ahead if it must.
pub(crate) fn charge_exactly(node: &Arc<Node>, amount: u64) -> Result<(), Refused> {
    match calling_in(node, || chain::try_charge(node, amount)) {
        Err(refused) if !refused.is_final() && node.is_killed() => {
            chain::force(node, amount); // so that a victim can unwind
            Ok(())
        }
        Err(refused) => reclaim::lend(node, amount, refused),
        charged => charged,
    }
}

/// Charges `node` by `charge`, and calls in what others have charged ahead at whatever level refuses.
///
/// Once room is made at one level the next may refuse, so there is a try for each.
pub(crate) fn calling_in(
    node: &Arc<Node>,
    charge: impl Fn() -> Result<(), Refused>,
) -> Result<(), Refused> {
    for _ in node.levels() {
        match charge() {
            Err(refused) if refused.why == Why::Max => {
                if drain::drain(&refused.node).is_idle() {
                    return Err(refused);
                }
                refused.node.pockets.gate.rest();
            }
            charged => return charged,
        }
    }
    charge()
}

/// Charges `amount`, whatever the limits; what others have charged ahead is called in before a max is
/// exceeded, so nobody grows by that until it is paid back.
pub(crate) fn force(node: &Arc<Node>, amount: u64) {
    if calling_in(node, || chain::try_charge(node, amount)).is_ok() {
        return;
    }
    chain::force(node, amount);
    let exceeded = |level: &&Arc<Node>| !level.counter.max().allows(level.counter.current());
    for level in node.levels().filter(exceeded) {
        drain::drain(level);
    }
}

impl Janitor {
    /// Charges `amount`, and a batch ahead; `None` if that is not for this thread's stock.
    fn charge(&self, node: &Arc<Node>, amount: u64, step: Step) -> Option<Result<(), Refused>> {
        let place = place(node.key);
        let pocket = pocket(node.key);
        if pocket.is_busy() {
            return None; // a signal handler, in the middle of a charge of its thread's
        }
        self.settle_if_revoked(place, pocket);
        if step == Step::Revoked {
            return Some(Ok(()));
        }
        if pocket.is_for(node.key) {
            return Some(self.refill(node, pocket, amount));
        }
        let batch = node.batch(MIN_BATCH);
        if batch == 0 || chain::try_charge(node, amount + batch).is_err() {
            return None;
        }
        self.install(node, batch);
        Some(Ok(()))
    }

    /// Charges `amount` in part from a pocket that has not as much, and fills that again.
    fn refill(
        &self,
        node: &Arc<Node>,
        pocket: &'static Pocket,
        amount: u64,
    ) -> Result<(), Refused> {
        let (place, key) = (place(node.key), node.key);
        let room = self.empty(place, pocket, key);
        let lacking = amount.saturating_sub(room);
        let batch = node.batch(self.grow(pocket));
        if batch > 0 && chain::try_charge(node, lacking + batch).is_ok() {
            self.put_back(place, pocket, node, batch + room.saturating_sub(amount));
            return Ok(());
        }
        let charged = charge_exactly(node, lacking);
        let left = if charged.is_ok() { room.saturating_sub(amount) } else { room };
        self.put_back(place, pocket, node, left);
        charged
    }

    /// Uncharges `amount`, of which as much as fits stays in the pocket; false if that is not for this
    /// thread's stock.
    fn uncharge(&self, node: &Arc<Node>, amount: u64, step: Step) -> bool {
        let (place, key) = (place(node.key), node.key);
        let pocket = pocket(key);
        if pocket.is_busy() {
            return false;
        }
        self.settle_if_revoked(place, pocket);
        if step == Step::Revoked {
            return true;
        }
        if pocket.is_for(key) {
            let room = self.empty(place, pocket, key).saturating_add(amount);
            let kept = room.min(pocket.cap() / 2);
            self.put_back(place, pocket, node, kept);
            chain::uncharge(node, room - kept);
            return true;
        }
        let is_small = amount <= MIN_BATCH && node.batch(MIN_BATCH) > 0;
        if is_small {
            self.install(node, amount);
        }
        is_small
    }

    /// Takes all out of a pocket that is filled for `key`.
    fn empty(&self, place: usize, pocket: &'static Pocket, key: u64) -> u64 {
        let room = pocket.look();
        match pocket.take(key, room) {
            Step::Done => room,
            Step::Revoked => {
                self.settle(place, pocket);
                room
            }
            Step::Missed => {
                self.settle(place, pocket);
                0
            }
        }
    }

    /// Puts what is charged into the pocket, or back.
    fn put_back(&self, place: usize, pocket: &'static Pocket, node: &Arc<Node>, room: u64) {
        match pocket.put(node.key, room) {
            Step::Done => {}
            Step::Revoked => self.settle(place, pocket),
            Step::Missed => {
                self.settle_if_revoked(place, pocket);
                chain::uncharge(node, room);
            }
        }
    }

    /// Lets a pocket hold twice as much, if the thread may; returns how much to charge ahead.
    fn grow(&self, pocket: &'static Pocket) -> u64 {
        let cap = pocket.cap();
        if pocket.is_filled() && cap < 2 * MAX_BATCH && self.grown.get() + cap <= GROWTH {
            self.grown.set(self.grown.get() + cap);
            pocket.set_cap(2 * cap);
        }
        pocket.cap() / 2
    }

    /// Has the thread hold `room`, which is charged, for `node`.
    fn install(&self, node: &Arc<Node>, room: u64) {
        let place = place(node.key);
        let pocket = self.make(place);
        self.settle(place, pocket);
        if pocket.is_filled() {
            return chain::uncharge(node, room); // a waker charged here meanwhile
        }
        match node.fill(Whose::Thread(pocket), room, 2 * MIN_BATCH) {
            Some(entry) => {
                self.homes.borrow_mut().push(Home { place, node: Arc::clone(node), entry });
            }
            None => chain::uncharge(node, room),
        }
    }

    /// Returns the pocket at a place, which it makes if there is none.
    fn make(&self, place: usize) -> &'static Pocket {
        TABLE.with(|table| {
            if std::ptr::eq(table[place].get(), &raw const EMPTY) {
                let used = if forks() == 0 { POOL.lock().pop() } else { None };
                table[place].set(used.unwrap_or_else(|| Box::leak(Box::new(Pocket::new()))));
            }
            table[place].get()
        })
    }

    fn settle_if_revoked(&self, place: usize, pocket: &'static Pocket) {
        if pocket.is_filled() && pocket.is_for(0) {
            self.settle(place, pocket);
        }
    }

    /// Gives back what a pocket holds, for whatever node, unless a drainer has.
    fn settle(&self, place: usize, pocket: &'static Pocket) {
        let mut homes = self.homes.borrow_mut();
        let Some(index) = homes.iter().position(|home| home.place == place) else { return };
        let Home { node, entry, .. } = homes.swap_remove(index);
        drop(homes);
        self.grown.set(self.grown.get() - (pocket.cap() - 2 * MIN_BATCH));
        if node.shared.is_inherited() {
            return; // the list may be locked for ever
        }
        if let Some(room) = pocket.settle() {
            chain::uncharge(&node, room);
            node.forget(entry);
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        let table = TABLE.with(|table| table.each_ref().map(Cell::get));
        for (place, pocket) in table.into_iter().enumerate() {
            if std::ptr::eq(pocket, &raw const EMPTY) {
                continue;
            }
            self.settle(place, pocket);
            // What the thread charges from here on goes to the counters.
            TABLE.with(|table| table[place].set(&EMPTY));
            if forks() == 0 {
                POOL.lock().push(pocket); // in a forked child it may be locked for ever: a few bytes are lost
            }
        }
    }
}

impl Node {
    /// Returns how much of `wanted` may be charged ahead, at this moment.
    pub(crate) fn batch(self: &Arc<Self>, wanted: u64) -> u64 {
        let left = self.levels().map(|level| level.ease()).min().unwrap_or(0) / PART;
        if left < MIN_BATCH || self.is_stock_forbidden() {
            self.reconsider();
            return 0;
        }
        // Last: only what would be charged ahead counts as an attempt.
        if self.levels().any(|level| level.pockets.gate.is_resting()) {
            return 0;
        }
        wanted.min(left)
    }

    /// Fills a settled pocket with `room`, which is charged; `None` if that is forbidden.
    pub(crate) fn fill(self: &Arc<Self>, pocket: Whose, room: u64, cap: u64) -> Option<usize> {
        if self.shared.is_inherited() {
            return None;
        }
        self.levels().for_each(|level| level.pockets.gate.enter());
        gate::look_ahead(self.key);
        let mut list = self.pockets.list.lock();
        if self.is_stock_forbidden() {
            drop(list);
            self.count_one_less();
            return None;
        }
        let turn = pocket.fill(self.key, room, cap);
        let list = list.get_or_insert_with(|| Box::new(Slab::with_capacity(1)));
        Some(list.insert(Entry { pocket, turn }))
    }

    /// Takes a pocket that was settled off the list.
    pub(crate) fn forget(self: &Arc<Self>, entry: usize) {
        if !self.shared.is_inherited() {
            let forgotten =
                self.pockets.list.lock().as_mut().and_then(|list| list.try_remove(entry));
            drop(forgotten);
        }
        self.count_one_less();
    }

    fn count_one_less(self: &Arc<Self>) {
        self.levels().for_each(|level| level.pockets.gate.leave());
    }

    fn is_stock_forbidden(self: &Arc<Self>) -> bool {
        self.is_closed()
            || self.is_exact()
            || self.levels().any(|level| level.pockets.gate.is_forbidden())
    }
}

impl Pockets {
    pub(crate) fn new() -> Self {
        Self { list: Mutex::new(None), gate: Gate::new() }
    }
}

impl std::ops::Deref for Whose {
    type Target = Pocket;

    fn deref(&self) -> &Pocket {
        match self {
            Self::Thread(pocket) => pocket,
            Self::Reservation(pocket) => pocket,
        }
    }
}

#[cfg(test)]
mod tests;
