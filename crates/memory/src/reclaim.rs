//! Reclaim: asks those who can give memory back for as much as is lacking.
//!
//! Who asks is short of memory at one group, the *reclaim root*: a charge that found no room there, a limit that
//! was lowered, or a user who wants some back. Only what is at that group and below can help. Nobody is asked while
//! there is room.
//!
//! 1. First what is above `memory.low` is taken: from the benign, then by eviction, and then owners are asked to
//!    spill. If that is not enough, what is above `memory.min` in the same order, with an event `low` at each group
//!    that is asked for more. What `min` keeps is never taken. The destructive come last of all, and only if the
//!    caller goes so far.
//! 2. Each of these steps goes in rounds. A round takes a snapshot of the subtree (`reclaim/walk.rs`), works out
//!    what is protected (`protect.rs`), and asks for at most half of what may be taken, each in proportion to what
//!    it has above its protection.
//! 3. If a charge is what started it, and the branch of the tree that charges uses more than its fair share, an
//!    equal part for each branch that uses anything, that branch is asked first; else it is asked last.
//! 4. What came of it is what the counters say. A reclaimer's word is kept as a figure; one after whose call usage
//!    is as it was is not asked again by the same call.
//!
//! # Users' code
//!
//! Reclaimers run under no lock, on the thread that is short, one thread at a time in each; whoever finds one
//! running goes on without it. A panic is caught and counted, and after three in a row the reclaimer is passed over.
//! While a thread is in a reclaimer its charges are not to wait for what it is about to free: what has no room is
//! charged by force, up to a reserve above the max, and does not reclaim.
//!
//! # Tests
//!
//! `tests/reclaim.rs`, `tests/protection.rs`, `tests/spill.rs`.

use std::{cell::Cell, fmt};

use fief_core::Limit;

use crate::{
    chain::{self, Refused, Why},
    css::MemoryCss,
    error::ReclaimError,
    node::{NONE, Node},
    protect::shares::DEFAULT_WEIGHT,
    spill::SpillTicket,
    sync::{Arc, Ordering},
};

pub use self::registration::{ReclaimStats, ReclaimerGuard};

pub(crate) mod registration;
mod run;
mod walk;

use self::{registration::Giver, run::Run};

/// What it costs to give memory back; the cheapest is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Pass {
    /// Nothing is lost: spare capacity, free lists.
    Benign,
    /// Something must be got again: entries of a cache.
    Evict,
    /// Something is written elsewhere, by who owns it, in its own time. See [`Spiller`](crate::Spiller).
    Spill,
    /// Work is lost: a query that is given up, a connection that is closed. Only for a charge that would have to wait.
    Destructive,
}

/// Gives memory back when a group is short of it.
///
/// It is registered for the group that its memory is charged to, by [`MemoryCss::add_reclaimer`], and gives it back
/// by [uncharging](MemoryCss::uncharge) it, or by dropping the reservations that hold it.
///
/// # Deadlocks
///
/// `reclaim` runs inside a charge, on whatever thread makes it, and that thread may hold locks of yours. Never
/// wait for a lock there that is held anywhere across a charge: *try* it, and say [`Reclaimed::Busy`].
///
/// ```
/// use std::{collections::VecDeque, sync::Mutex};
///
/// use fief_core::CssRef;
/// use fief_memory::{MemoryCss, ReclaimCx, Reclaimed, Reclaimer};
///
/// struct Cache {
///     css: CssRef<MemoryCss>,
///     oldest_first: Mutex<VecDeque<Vec<u8>>>,
/// }
///
/// impl Reclaimer for Cache {
///     fn reclaimable(&self) -> u64 {
///         self.oldest_first.try_lock().map_or(0, |all| all.iter().map(|v| v.len() as u64).sum())
///     }
///
///     fn reclaim(&self, want: u64, _: &ReclaimCx<'_>) -> Reclaimed {
///         // Whoever charges for a new entry holds this lock: waiting for it here would be for ever.
///         let Ok(mut entries) = self.oldest_first.try_lock() else { return Reclaimed::Busy };
///         let mut freed = 0;
///         while freed < want
///             && let Some(entry) = entries.pop_front()
///         {
///             freed += entry.len() as u64;
///             self.css.uncharge(entry.len() as u64);
///         }
///         Reclaimed::Done(freed)
///     }
/// }
/// ```
///
/// # Concurrency
///
/// No method is called under a lock of this crate, nor by two threads at a time. One that takes for ever holds up the
/// thread that it runs on, and nobody else.
#[doc(alias = "shrinker")]
pub trait Reclaimer: Send + Sync + 'static {
    /// Returns in which pass it is asked; asked once, as it is registered. Default: [`Pass::Evict`].
    fn pass(&self) -> Pass {
        Pass::Evict
    }

    /// Returns how hard it is to get again what is given, from 1; asked once, as it is registered. Default: 100.
    ///
    /// One of weight 200 is asked for half the fraction of what it has that one of weight 100 is asked for.
    fn weight(&self) -> u32 {
        DEFAULT_WEIGHT
    }

    /// Returns how much it could give, about, in bytes: cheap, and without waiting. At 0 it is not asked.
    #[doc(alias = "count_objects")]
    fn reclaimable(&self) -> u64;

    /// Gives back `want` bytes, or what it has, without waiting for anything.
    ///
    /// More is welcome where entries are large. What it charges meanwhile is granted up to
    /// [a reserve](crate::MemoryBuilder::reclaim_reserve), and reclaims nothing.
    #[doc(alias = "scan_objects")]
    fn reclaim(&self, want: u64, cx: &ReclaimCx<'_>) -> Reclaimed;
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reclaimed {
    /// So many bytes were given back. A figure for [`ReclaimStats`]: counters tell what was.
    Done(u64),
    /// It is being done elsewhere, by who has [the ticket](ReclaimCx::ticket).
    Started,
    /// Nothing can be done right now, as a lock is taken.
    Busy,
}

/// The circumstances of a request.
pub struct ReclaimCx<'a> {
    at: &'a Arc<Node>,
    giver: &'a Arc<Giver>,
    want: u64,
    is_protected: bool,
}

impl ReclaimCx<'_> {
    /// Returns the path of the group that is short of memory.
    #[must_use]
    pub fn cgroup(&self) -> String {
        self.at.path()
    }

    /// Returns whether this is the second round, that takes what `memory.low` would keep.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.is_protected
    }

    /// Returns a ticket for who does what was asked for elsewhere; `None` if one is out.
    ///
    /// Until it is dropped the reclaimer is not asked again.
    #[must_use]
    pub fn ticket(&self) -> Option<SpillTicket> {
        SpillTicket::start(self.giver, self.want)
    }
}

impl fmt::Debug for ReclaimCx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReclaimCx")
            .field("cgroup", &self.cgroup())
            .field("is_protected", &self.is_protected)
            .finish_non_exhaustive()
    }
}

/// How reclaim goes about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The least worth spilling, in bytes.
    pub(crate) floor: u64,
    /// How far above its max a reclaimer may charge a group; `None` for a 64th, at least 1 MiB.
    pub(crate) reserve: Option<u64>,
}

/// What came of a reclaim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// How much less was in use after each call than before it, together.
    pub(crate) freed: u64,
    /// How much owners were asked to spill, or are about to.
    pub(crate) started: u64,
    /// Whether somebody was left out because it ran for somebody else, or said so.
    pub(crate) is_busy: bool,
}

/// When there is enough.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// There is room for so much.
    Room(u64),
    /// So much was freed.
    Freed(u64),
    /// Usage is within max, whatever that is by now.
    WithinMax,
    /// Usage is within high.
    WithinHigh,
}

thread_local! {
    static IS_RECLAIMING: Cell<bool> = const { Cell::new(false) };
}

/// Has the thread count as one that reclaims.
struct Inside;

/// Makes room for `want` at `at`, for a charge at `asker`, by passes up to `deepest`.
///
/// Nothing is done where there is room, in a reclaimer, and in the child of a fork. Does not wait, except for
/// reclaimers that it runs: passes up to [`Pass::Evict`], and [`Pass::Destructive`].
pub(crate) fn reclaim_for(at: &Arc<Node>, asker: &Arc<Node>, want: u64, deepest: Pass) -> Outcome {
    run(at, Some(asker), Goal::Room(want), deepest)
}

/// Reclaims at `at` until `goal` is reached, by passes up to `deepest`.
pub(crate) fn run(at: &Arc<Node>, asker: Option<&Arc<Node>>, goal: Goal, deepest: Pass) -> Outcome {
    if !at.has_givers_below() || is_reclaiming() || at.shared.is_inherited() {
        return Outcome::default();
    }
    // Whoever has to free memory before it goes on stalls meanwhile.
    let stalling = asker.map(|asker| asker.stall_here());
    let inside = Inside::enter();
    let outcome = Run::new(at, asker, goal).run(deepest);
    drop(inside);
    drop(stalling);
    outcome
}

/// Returns whether the thread is in a reclaimer: it is not to reclaim, nor to wait.
pub(crate) fn is_reclaiming() -> bool {
    IS_RECLAIMING.with(Cell::get)
}

/// Charges by force what was refused to a reclaimer, if the reserve allows it.
pub(crate) fn lend(node: &Arc<Node>, amount: u64, refused: Refused) -> Result<(), Refused> {
    if refused.why != Why::Max || !is_reclaiming() {
        return Err(refused);
    }
    // Looked at and charged in two steps: threads that reclaim at the same time may be a charge each above it.
    let fits = node.levels().all(|level| match level.counter.max() {
        Limit::Max => true,
        Limit::At(max) => {
            let most = max.saturating_add(level.shared.reclaim.reserve_above(max));
            level.counter.current().saturating_add(amount) <= most
        }
    });
    if !fits {
        return Err(refused);
    }
    chain::force(node, amount);
    Ok(())
}

impl MemoryCss {
    /// Has `reclaimer` asked when this group, or one above it, is short of memory, until the guard is dropped.
    ///
    /// If the group is removed meanwhile, what is charged to it is its parent's, and so is the reclaimer.
    ///
    /// # Concurrency
    ///
    /// The guard may be dropped anywhere, inside `reclaim` too; a call that is under way goes on, and none follows.
    pub fn add_reclaimer(&self, reclaimer: Arc<dyn Reclaimer>) -> ReclaimerGuard {
        ReclaimerGuard::new(Giver::of(reclaimer, Arc::clone(&self.account)))
    }

    /// Takes `bytes` back from this group and those below, and returns how much was: benign, then evicted.
    ///
    /// Owners are asked to spill what is lacking; that comes later, and does not count. Protection is heeded, but for
    /// this group's own. May take more than was asked for. With 0 bytes it does nothing.
    ///
    /// # Concurrency
    ///
    /// Runs reclaimers on this thread. What others charge meanwhile does not count against it.
    ///
    /// # Errors
    ///
    /// [`ReclaimError`], if it was less; what it says was freed is freed. Inside a reclaimer it is nothing.
    #[doc(alias = "memory.reclaim")]
    pub fn reclaim(&self, bytes: u64) -> Result<u64, ReclaimError> {
        let node = Arc::clone(&self.account.node());
        let Outcome { freed, started, .. } = run(&node, None, Goal::Freed(bytes), Pass::Spill);
        if freed < bytes {
            return Err(ReclaimError { cgroup: node.path(), asked: bytes, freed, started });
        }
        Ok(freed)
    }

    /// Returns what reclaim got from this group's own reclaimers and spillers.
    #[must_use]
    pub fn reclaim_stats(&self) -> ReclaimStats {
        let node = self.account.node();
        node.rare.get().map(|rare| rare.givers.stats()).unwrap_or_default()
    }
}

impl Settings {
    pub(crate) const DEFAULT: Self = Self { floor: 1 << 20, reserve: None };

    fn reserve_above(self, max: u64) -> u64 {
        self.reserve.unwrap_or_else(|| (max / 64).max(1 << 20))
    }
}

impl Goal {
    /// Returns how much is lacking at `at`, of which `freed` was freed.
    fn left(self, at: &Node, freed: u64) -> u64 {
        let current = at.counter.current();
        match self {
            Self::Room(want) => want.saturating_sub(at.headroom()),
            Self::Freed(want) => want.saturating_sub(freed).min(current),
            Self::WithinMax => match at.counter.max() {
                Limit::Max => 0,
                Limit::At(max) => current.saturating_sub(max),
            },
            // Ordering: Relaxed: a setting.
            Self::WithinHigh => match at.high.load(Ordering::Relaxed) {
                NONE => 0,
                high => current.saturating_sub(high),
            },
        }
    }
}

impl Inside {
    fn enter() -> Self {
        IS_RECLAIMING.with(|flag| flag.set(true));
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        IS_RECLAIMING.with(|flag| flag.set(false));
    }
}
