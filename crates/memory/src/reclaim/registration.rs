//! Who gives memory back, for which group, and how that goes.
//!
//! A *giver* is a reclaimer that is called, or an owner that is asked (`spill.rs`). Each node has a roll of those
//! that are registered there, and counts those there and below, so that a walk leaves out what cannot help. When a
//! group goes offline its roll is handed to the node above, as its charges are.
//!
//! The lock of a roll is held for a push or a copy; no user's code runs, and no user's value is dropped, under it.

use std::fmt;

use crate::{
    account::Account,
    caught::caught,
    node::Node,
    reclaim::{Pass, ReclaimCx, Reclaimed, Reclaimer},
    spill::Sweep,
    sync::{Arc, AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering},
};

/// After so many panics in a row a reclaimer is passed over.
const PATIENCE: u32 = 3;

/// Somebody who gives memory back.
pub(crate) struct Giver {
    /// Leads to the node whose memory it gives.
    pub(crate) home: Arc<Account>,
    pub(crate) pass: Pass,
    pub(crate) weight: u32,
    /// `None` for an owner, and after the end.
    reclaimer: Mutex<Option<Arc<dyn Reclaimer>>>,
    is_owner: bool,
    is_running: AtomicBool,
    /// How many calls in a row panicked.
    panics: AtomicU32,
    pub(crate) sweep: Sweep,
}

/// Keeps a reclaimer registered.
#[must_use = "a reclaimer is asked for as long as its guard lives"]
pub struct ReclaimerGuard(Arc<Giver>);

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Called<R> {
    Returned(R),
    /// It runs on another thread.
    Busy,
    Panicked,
    /// There is nobody to call.
    Gone,
}

/// The givers of a node.
#[derive(Debug, Default)]
pub(crate) struct Givers {
    roll: Mutex<Roll>,
    /// How many there are here and below; about, for a moment.
    below: AtomicU64,
}

#[derive(Debug, Default)]
enum Roll {
    #[default]
    Empty,
    Open(Box<Open>),
    /// They were handed over, and so is whoever comes.
    Closed,
}

#[derive(Debug, Default)]
struct Open {
    givers: Vec<Arc<Giver>>,
    stats: ReclaimStats,
}

/// What reclaim got from a group's own reclaimers and spillers, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ReclaimStats {
    /// How often one was asked.
    pub asked: u64,
    /// How much was given, in bytes, by the counters.
    pub freed: u64,
    /// How much was given, in bytes, by their own word.
    pub reported: u64,
    /// How often one was left out because it was running, or said that it is busy.
    pub busy: u64,
    /// How often one panicked.
    pub panics: u64,
    /// How often one was passed over from then on, after three panics in a row.
    pub passed_over: u64,
}

/// Has a giver count as running.
struct Running<'a>(&'a Giver);

impl Giver {
    pub(crate) fn of(reclaimer: Arc<dyn Reclaimer>, home: Arc<Account>) -> Arc<Self> {
        let (pass, weight) = (reclaimer.pass(), reclaimer.weight());
        Arc::new(Self { reclaimer: Mutex::new(Some(reclaimer)), ..Self::make(home, pass, weight) })
    }

    pub(crate) fn owner(home: Arc<Account>, weight: u32) -> Arc<Self> {
        Arc::new(Self { is_owner: true, ..Self::make(home, Pass::Spill, weight) })
    }

    fn make(home: Arc<Account>, pass: Pass, weight: u32) -> Self {
        Self {
            home,
            pass,
            weight,
            reclaimer: Mutex::new(None),
            is_owner: false,
            is_running: AtomicBool::new(false),
            panics: AtomicU32::new(0),
            sweep: Sweep::default(),
        }
    }

    /// Returns whether it is asked by way of its sweep, and not called.
    pub(crate) fn is_owner(&self) -> bool {
        self.is_owner
    }

    pub(crate) fn is_running(&self) -> bool {
        // Ordering: Relaxed: a hint.
        self.is_running.load(Ordering::Relaxed)
    }

    /// Calls `user` with the reclaimer, unless it runs, is passed over, or is gone.
    fn call<R>(&self, user: impl FnOnce(&dyn Reclaimer) -> R) -> Called<R> {
        if self.is_passed_over() {
            return Called::Gone;
        }
        // Ordering: Acquire: what the last call did is seen by this one.
        if self.is_running.swap(true, Ordering::Acquire) {
            return Called::Busy;
        }
        let running = Running(self);
        let Some(reclaimer) = self.reclaimer.lock().clone() else { return Called::Gone };
        let returned = caught(|| user(&*reclaimer));
        // The guard may be gone by now, and this the last of it.
        let dropped = caught(move || drop(reclaimer));
        let called = match (returned, dropped) {
            (Some(returned), Some(())) => Called::Returned(returned),
            _ => {
                // Ordering: Relaxed: a count, by one caller at a time.
                let panics = self.panics.fetch_add(1, Ordering::Relaxed) + 1;
                self.note(|stats| {
                    stats.panics += 1;
                    stats.passed_over += u64::from(panics == PATIENCE);
                });
                Called::Panicked
            }
        };
        drop(running);
        called
    }

    fn is_passed_over(&self) -> bool {
        // Ordering: Relaxed: a count.
        self.panics.load(Ordering::Relaxed) >= PATIENCE
    }

    /// Returns how much it could give, in bytes; nothing if it cannot be asked.
    pub(crate) fn estimate(&self) -> Called<u64> {
        if self.is_owner && self.sweep.is_closed() {
            return Called::Gone; // unregistered as its roll was handed over
        }
        if self.is_owner {
            return Called::Returned(self.sweep.spillable());
        }
        self.call(|reclaimer| reclaimer.reclaimable())
    }

    /// Asks a reclaimer for `want`.
    pub(crate) fn ask(
        self: &Arc<Self>,
        at: &Arc<Node>,
        want: u64,
        is_protected: bool,
    ) -> Called<Reclaimed> {
        let called = self.call(|reclaimer| {
            let cx = ReclaimCx { at, giver: self, want, is_protected };
            reclaimer.reclaim(want, &cx)
        });
        if let Called::Returned(_) = called {
            // Ordering: Relaxed: as in `call`. An estimate that comes off forgives nothing.
            self.panics.store(0, Ordering::Relaxed);
        }
        called
    }

    /// Changes the figures of the node that it gives for.
    pub(crate) fn note(&self, change: impl FnOnce(&mut ReclaimStats)) {
        let node = self.home.node();
        let Some(rare) = node.rare.get() else { return };
        if let Roll::Open(open) = &mut *rare.givers.roll.lock() {
            change(&mut open.stats);
        }
    }

    /// Registers it at the node that its home leads to.
    pub(crate) fn register(self: &Arc<Self>) {
        let home = Arc::clone(&self.home.node());
        // Closed ones are those of removed groups; their charges are those of the node above.
        let taken = home.levels().find(|level| level.rare().givers.push(self));
        let levels = taken.into_iter().flat_map(Node::levels);
        levels.for_each(|level| {
            // Ordering: Relaxed, here and below: a hint for walks, which look at the roll.
            level.rare().givers.below.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// Takes it off the roll. What it holds of the user's is dropped here, under no lock.
    pub(crate) fn unregister(self: &Arc<Self>) {
        let node = Arc::clone(&self.home.node());
        if node.shared.is_inherited() {
            return; // a thread that is not there may hold the lock of the roll
        }
        // Handed over meanwhile it stays on the roll above, as one that is gone, until that is read.
        node.rare().givers.remove(self);
        for level in node.levels() {
            level.rare().givers.below.fetch_sub(1, Ordering::Relaxed);
        }
        self.sweep.close();
        let reclaimer = self.reclaimer.lock().take();
        drop(reclaimer);
    }
}

impl ReclaimerGuard {
    pub(crate) fn new(giver: Arc<Giver>) -> Self {
        giver.register();
        Self(giver)
    }

    /// Returns whether the reclaimer is asked no more, as it panicked three times in a row.
    #[must_use]
    pub fn is_passed_over(&self) -> bool {
        self.0.is_passed_over()
    }
}

impl Drop for ReclaimerGuard {
    fn drop(&mut self) {
        self.0.unregister();
    }
}

impl fmt::Debug for ReclaimerGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReclaimerGuard").field(&self.0).finish()
    }
}

impl fmt::Debug for Giver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Giver")
            .field("cgroup", &self.home.node().path())
            .field("pass", &self.pass)
            .field("weight", &self.weight)
            .field("is_running", &self.is_running())
            .finish_non_exhaustive()
    }
}

impl Givers {
    /// Hands all to `heir`, and whoever comes later.
    fn hand_over(&self, heir: &Node) {
        let roll = std::mem::replace(&mut *self.roll.lock(), Roll::Closed);
        let Roll::Open(open) = roll else { return };
        // Nodes retire one after the other, children first: the heir is open.
        for giver in &open.givers {
            heir.rare().givers.push(giver);
        }
    }

    pub(crate) fn stats(&self) -> ReclaimStats {
        match &*self.roll.lock() {
            Roll::Open(open) => open.stats,
            Roll::Empty | Roll::Closed => ReclaimStats::default(),
        }
    }

    /// Puts a giver on the roll; false if that is closed.
    fn push(&self, giver: &Arc<Giver>) -> bool {
        let mut roll = self.roll.lock();
        if let Roll::Empty = *roll {
            *roll = Roll::Open(Box::default());
        }
        match &mut *roll {
            Roll::Open(open) => {
                open.givers.retain(|giver| !giver.sweep.is_closed());
                open.givers.push(Arc::clone(giver));
                true
            }
            Roll::Empty | Roll::Closed => false,
        }
    }

    fn remove(&self, giver: &Arc<Giver>) {
        if let Roll::Open(open) = &mut *self.roll.lock() {
            open.givers.retain(|other| !Arc::ptr_eq(other, giver));
        }
    }
}

impl Node {
    /// Returns whether anybody gives memory back here or below.
    pub(crate) fn has_givers_below(&self) -> bool {
        // Ordering: Relaxed: a hint; walks look at the rolls.
        self.rare.get().is_some_and(|rare| rare.givers.below.load(Ordering::Relaxed) > 0)
    }

    /// Returns those registered here; `None` if they were handed over, as the group is gone.
    pub(crate) fn givers(&self) -> Option<Vec<Arc<Giver>>> {
        let Some(rare) = self.rare.get() else { return Some(Vec::new()) };
        match &*rare.givers.roll.lock() {
            Roll::Empty => Some(Vec::new()),
            Roll::Open(open) => Some(open.givers.clone()),
            Roll::Closed => None,
        }
    }

    /// Hands all that are registered here to `heir`, and whoever comes later.
    pub(crate) fn hand_over_givers(&self, heir: &Self) {
        self.rare().givers.hand_over(heir);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Ordering: Release: pairs with the Acquire of the next call.
        self.0.is_running.store(false, Ordering::Release);
    }
}
