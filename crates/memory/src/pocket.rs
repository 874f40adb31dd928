//! Room that is charged ahead of its use: one owner takes from it and gives to it with plain loads and
//! stores, and anybody may call it in.
//!
//! What is in a pocket is counted at every level already. Its owner is a thread, or whoever holds a
//! reservation; everybody else who touches it is a *drainer*, who wants the room back for others.
//!
//! The owner, to take or give:
//!
//! 1. Load the room, and store `BUSY` in its place.
//! 2. Pass the light barrier, and load the key. If it is not the expected one, restore the room, and
//!    miss.
//! 3. Store the new room.
//! 4. Pass the light barrier, and load the key again. If it is not the expected one, [settle](Pocket::settle).
//!
//! A drainer, of any number of pockets:
//!
//! 1. [Revoke](Pocket::revoke): store 0 as the key, under the lock of the list that leads to the pocket.
//! 2. Pass the heavy barrier, once for all.
//! 3. [Call in](Pocket::call_in): load the room. If that is `BUSY` leave the pocket to its owner, who
//!    settles it before its call returns. Else settle it.
//!
//! Nobody waits for anybody. Whoever misses or settles goes on in the slow path, which settles what was
//! revoked before it fills a pocket again.
//!
//! # Invariants
//!
//! 1. Only the owner writes `room` and `cap`.
//! 2. `turn` is odd while the pocket is filled, and goes up by one when it is filled, by its owner, and
//!    when it is settled, by whoever exchanges it first. So the room is given back once.
//! 3. The key is stored by the owner when it fills an empty pocket, and then set to 0: by drainers, under
//!    the lock of the list, or by the owner as it settles. So a settled pocket has none, and nothing is taken
//!    from it. An entry that a drainer has yet to take off a list is of an earlier turn, and ends none.
//!
//! # Orderings
//!
//! Edge `owner↔revoke`, Dekker's argument, twice. The owner stores `BUSY`, passes the light barrier, loads
//! the key; the drainer stores the key, passes the heavy barrier, loads the room. The barriers are totally
//! ordered. If the heavy one comes first, the owner sees the key gone and changes nothing: the room that the
//! drainer reads, `BUSY` or not, stays. If it comes second, the drainer sees `BUSY` or what came after.
//! In the same way for the end: if the drainer finds `BUSY`, its barrier came before the owner's last one,
//! and the owner's second look finds the key gone.
//!
//! That a drainer reads the room of the turn it ends, and not of an earlier one, is the list's lock: it has
//! the turn from there, and the owner filled the pocket under it. And not of a later one: edge
//! `called in→filled`, by `turn`. The drainer ends the turn by a Release after its load of the room, and the
//! owner fills the pocket after an Acquire that sees the end. All other accesses order nothing.
//!
//! # Tests
//!
//! `tests/loom_pocket.rs`; stress in `tests/stock.rs`.

use crate::sync::{AtomicU32, AtomicU64, Ordering, heavy, light, light_fenced, skip};

/// Room charged ahead.
#[derive(Debug)]
pub(crate) struct Pocket {
    /// Whose room; 0 if it is called in, or there is none.
    key: AtomicU64,
    /// How much; `BUSY` while the owner is inside.
    room: AtomicU64,
    /// How much there may be.
    cap: AtomicU32,
    turn: AtomicU32,
}

/// How the owner's attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is done.
    Done,
    /// It is done, and the pocket is called in: the owner is to settle it.
    Revoked,
    /// Nothing was done.
    Missed,
}

/// What a drainer got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Called {
    /// All there was; it is the caller's to uncharge.
    In(u64),
    /// Its owner was inside, and settles it.
    Busy,
    /// It was settled before.
    Gone,
}

/// The turn that a drainer revoked.
pub(crate) type Turn = u32;

/// Stands for the room while the owner is inside.
const BUSY: u64 = u64::MAX;

/// The most room there may be.
pub(crate) const MOST_ROOM: u64 = 1 << 20;

/// Marks keys whose owners pay a full fence as the light barrier.
pub(crate) const FENCED: u64 = 1 << 63;

impl Pocket {
    /// Makes one without any room: every attempt misses, and writes nothing.
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self {
            key: AtomicU64::new(0),
            room: AtomicU64::new(BUSY),
            cap: AtomicU32::new(0),
            turn: AtomicU32::new(0),
        }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self {
            key: AtomicU64::new(0),
            room: AtomicU64::new(BUSY),
            cap: AtomicU32::new(0),
            turn: AtomicU32::new(0),
        }
    }

    /// Takes `amount` out, if there is as much.
    #[inline(always)]
    pub(crate) fn take(&self, key: u64, amount: u64) -> Step {
        // Ordering: Relaxed: only we write it (invariant 1).
        let room = self.room.load(Ordering::Relaxed);
        if room > MOST_ROOM || amount > room {
            return Step::Missed;
        }
        self.change(key, room, room - amount)
    }

    /// Puts `amount` in, if there is place.
    #[inline(always)]
    pub(crate) fn put(&self, key: u64, amount: u64) -> Step {
        // Ordering: Relaxed, both: only we write them (invariant 1).
        let room = self.room.load(Ordering::Relaxed);
        let cap = u64::from(self.cap.load(Ordering::Relaxed));
        if room > cap || amount > cap - room {
            return Step::Missed;
        }
        self.change(key, room, room + amount)
    }

    #[inline(always)]
    fn change(&self, key: u64, before: u64, after: u64) -> Step {
        if key & FENCED == 0 {
            self.change_past(light, key, before, after)
        } else {
            self.change_slowly(key, before, after)
        }
    }

    /// Keeps the fence out of the code of those who need none.
    #[cold]
    #[inline(never)]
    fn change_slowly(&self, key: u64, before: u64, after: u64) -> Step {
        self.change_past(light_fenced, key, before, after)
    }

    #[inline(always)]
    fn change_past(&self, barrier: impl Fn(), key: u64, before: u64, after: u64) -> Step {
        if !skip("pocket_busy") {
            // Ordering: Relaxed (edge owner↔revoke): ordered before the look by the barrier.
            self.room.store(BUSY, Ordering::Relaxed);
        }
        barrier();
        // Ordering: Relaxed (edge owner↔revoke): ordered after the store by the barrier.
        if self.key.load(Ordering::Relaxed) != key && !skip("pocket_looks") {
            // Ordering: Relaxed: it is as it was.
            self.room.store(before, Ordering::Relaxed);
            return Step::Missed;
        }
        // Ordering: Relaxed (edge owner↔revoke): ordered before the second look by the barrier.
        self.room.store(after, Ordering::Relaxed);
        barrier();
        // Ordering: Relaxed (edge owner↔revoke).
        if self.key.load(Ordering::Relaxed) != key && !skip("pocket_looks_again") {
            return Step::Revoked;
        }
        Step::Done
    }

    /// Returns whether the owner is inside, as a signal handler of its thread may find it.
    pub(crate) fn is_busy(&self) -> bool {
        // Ordering: Relaxed: only the owner asks.
        self.is_filled() && self.room.load(Ordering::Relaxed) == BUSY
    }

    /// Returns whether the pocket is filled and not yet settled.
    pub(crate) fn is_filled(&self) -> bool {
        // Ordering: Relaxed: who settles decides by an exchange.
        self.turn.load(Ordering::Relaxed) % 2 == 1
    }

    /// Returns whether it is filled for `key`, and not called in.
    pub(crate) fn is_for(&self, key: u64) -> bool {
        // Ordering: Relaxed: a hint; attempts look again.
        self.key.load(Ordering::Relaxed) == key
    }

    /// Returns how much there may be; owner only.
    pub(crate) fn cap(&self) -> u64 {
        // Ordering: Relaxed: only we write it (invariant 1).
        self.cap.load(Ordering::Relaxed).into()
    }

    /// Sets how much there may be; owner only.
    pub(crate) fn set_cap(&self, cap: u64) {
        let cap = u32::try_from(cap.min(MOST_ROOM)).unwrap_or(0);
        // Ordering: Relaxed: only the owner reads it.
        self.cap.store(cap, Ordering::Relaxed);
    }

    /// Returns how much there is, or was when somebody settled it; owner only, and not inside.
    ///
    /// A drainer takes what the owner left, and the owner changes a pocket no more once it is called in: so
    /// the room that stays here is what the drainer took.
    pub(crate) fn room(&self) -> u64 {
        // Ordering: Relaxed: only we write it (invariant 1).
        self.room.load(Ordering::Relaxed)
    }

    /// Returns how much there is, about; for figures.
    pub(crate) fn look(&self) -> u64 {
        // Ordering: Relaxed: a figure.
        match self.room.load(Ordering::Relaxed) {
            room if room <= MOST_ROOM && self.is_filled() => room,
            _ => 0,
        }
    }

    /// Fills a settled pocket; owner only, under the lock of the list that is to lead to it.
    ///
    /// The caller puts it into the list, with the turn that is returned, before it gives up the lock.
    pub(crate) fn fill(&self, key: u64, room: u64, cap: u64) -> Turn {
        debug_assert!(!self.is_filled(), "a pocket is settled before it is filled");
        // Ordering: Acquire (edge called in→filled): who settled the last turn has loaded the room.
        let turn = self.turn.load(Ordering::Acquire).wrapping_add(1);
        // INVARIANT: 1, we are the owner.
        self.set_cap(cap);
        self.room.store(room, Ordering::Relaxed);
        // INVARIANT: 2.
        // Ordering: Relaxed, all: drainers come to it by the list's lock.
        self.turn.store(turn, Ordering::Relaxed);
        // INVARIANT: 3, by what the caller does.
        self.key.store(key, Ordering::Relaxed);
        turn
    }

    /// Calls the pocket in; a drainer, under the lock of the list. The heavy barrier is to follow.
    pub(crate) fn revoke(&self) {
        if !skip("pocket_revokes") {
            // Ordering: Relaxed (edge owner↔revoke): ordered before the load of the room by the barrier.
            self.key.store(0, Ordering::Relaxed);
        }
    }

    /// Takes all that is in the turn `turn`, which the caller revoked, unless its owner is inside.
    pub(crate) fn call_in(&self, turn: Turn) -> Called {
        // Ordering: Relaxed (edge owner↔revoke): ordered after the store of the key by the barrier.
        let room = self.room.load(Ordering::Relaxed);
        if room == BUSY && !skip("pocket_leaves_the_busy") {
            return Called::Busy;
        }
        match self.end(turn) {
            true => Called::In(room),
            false => Called::Gone,
        }
    }

    /// Takes all that is in the pocket; owner only, and not inside. `None` if a drainer was first, or
    /// there is nothing to settle.
    pub(crate) fn settle(&self) -> Option<u64> {
        // Ordering: Relaxed: what we filled ourselves, or a drainer's exchange.
        let turn = self.turn.load(Ordering::Relaxed);
        if turn.is_multiple_of(2) {
            return None;
        }
        // INVARIANT: 3. Ordering: Relaxed: for ourselves, so that nothing is taken from what is given back.
        self.key.store(0, Ordering::Relaxed);
        // Ordering: Relaxed: only we write it (invariant 1).
        let room = self.room.load(Ordering::Relaxed);
        self.end(turn).then_some(room)
    }

    /// Ends a turn; false if somebody else has.
    fn end(&self, turn: Turn) -> bool {
        if skip("pocket_ends_once") {
            return true;
        }
        // INVARIANT: 2.
        // Ordering: Release (edge called in→filled): the room was loaded before. Relaxed on failure: nothing
        // is taken then.
        let ended = turn.wrapping_add(1);
        self.turn.compare_exchange(turn, ended, Ordering::Release, Ordering::Relaxed).is_ok()
    }
}

/// The light barrier, as the key's controller pays for it.
#[inline(always)]
pub(crate) fn barrier(key: u64) {
    if key & FENCED == 0 { light() } else { light_fenced() }
}

/// The heavy barrier that goes with keys of that kind.
pub(crate) fn heavy_for(key: u64) {
    heavy(key & FENCED == 0);
}
