//! Spilling by who owns the data, at a safe point of its own.
//!
//! A spill takes time and needs the data's owner, so it never runs on the thread that is short of memory. That one
//! leaves a *request* with the [`Spiller`] and wakes the owner, who takes it as a [`SpillTicket`] when it is ready,
//! writes, uncharges, and drops the ticket, which ends the sweep. Nobody is paused, and nobody's data is touched by
//! others.
//!
//! 1. The owner says how much it could spill. Reclaim (`reclaim/run.rs`) asks in proportion, as it asks everybody.
//! 2. While a request or a ticket is open, what it asks for counts as under way: it is not asked of others, and whoever
//!    is blocked on the group is not yet lost.
//! 3. That lasts for a second, by the controller's clock, from when it was asked for, taken, or last made progress:
//!    usage of the group fell, or the owner [says so](SpillTicket::progress).
//! 4. A ticket that ends with usage as it was, and the owner's estimate too, came to nothing. The owner is asked again
//!    after a second, or once it says to have more than it had then.
//!
//! In shape after gRPC's reclamation sweep, whose token ends the sweep when it is dropped.
//!
//! # Tests
//!
//! `tests/spill.rs`.

use std::{
    fmt,
    future::poll_fn,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    account::Account,
    caught::caught,
    css::MemoryCss,
    node::Node,
    reclaim::registration::Giver,
    sync::{Arc, AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, PoisonError},
};

/// A request or a ticket without progress counts for so long, by the controller's clock.
const STALL: Duration = Duration::from_secs(1);

/// How often who waits on a thread looks at the controller's clock.
const LOOK: Duration = Duration::from_millis(20);

/// The owner's end: says what could be spilled, and takes requests.
///
/// Made by [`MemoryCss::spiller`]; unregistered when it is dropped.
///
/// An owner that waits for memory itself takes no requests, unless another thread or task does so for it. Nobody
/// can know: who then waits with it for the same room waits a second for its spill, before there is a
/// [victim](crate::VictimPolicy). So [set](Self::set_spillable) 0 before such a wait.
///
/// ```
/// # use fief_core::{Limit, Registry};
/// # use fief_memory::{Memory, SpillOptions};
/// # let registry = Registry::new();
/// # let hierarchy = registry.create_hierarchy("h")?;
/// # let memory = registry.register(Memory::new())?;
/// # memory.bind(&hierarchy)?;
/// let css = memory.css(&hierarchy.root().create_child("query")?).ok_or("removed")?;
/// let spiller = css.spiller(SpillOptions::new());
/// css.try_charge(1 << 20)?;
/// spiller.set_spillable(1 << 20);
///
/// css.set_max(Limit::At(1 << 18));
///
/// // At a safe point: between two batches, say.
/// if spiller.requested() > 0
///     && let Some(ticket) = spiller.try_next()
/// {
///     let written = ticket.want(); // to a file, say
///     css.uncharge(written);
///     spiller.set_spillable((1 << 20) - written);
/// }
/// assert!(css.current() <= 1 << 18);
/// # css.uncharge(css.current());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Spiller(Arc<Giver>);

/// How a spiller is to be asked.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct SpillOptions {
    weight: u32,
}

/// A request that was taken; dropping it ends the sweep, whatever was done.
#[must_use = "dropping it says that the spill is done"]
pub struct SpillTicket {
    giver: Arc<Giver>,
    want: u64,
}

/// What a giver was asked to do elsewhere.
#[derive(Default)]
pub(crate) struct Sweep {
    spillable: AtomicU64,
    /// What is asked for and not taken.
    requested: AtomicU64,
    is_closed: AtomicBool,
    state: Mutex<State>,
    /// For who waits on a thread.
    asked: Condvar,
}

#[derive(Default)]
struct State {
    stage: Stage,
    want: u64,
    /// When it was asked for, or taken, or last made progress.
    since: Duration,
    /// What the group used when it was asked for.
    usage: u64,
    /// The least that it used since.
    lowest: u64,
    /// What there was to spill when it was asked for.
    spillable: u64,
    /// When a reclaimer was last called.
    called: Duration,
    /// When a sweep came to nothing, and what there was to spill then.
    futile: Option<(Duration, u64)>,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    Asked,
    /// A ticket is out.
    Out,
}

impl MemoryCss {
    /// Registers an owner of data that is charged to this group, and that it can spill.
    ///
    /// If the group is removed meanwhile, what is charged to it is its parent's, and so is the spiller.
    pub fn spiller(&self, options: SpillOptions) -> Spiller {
        let giver = Giver::owner(Arc::clone(&self.account), options.weight);
        giver.register();
        Spiller(giver)
    }
}

impl SpillOptions {
    /// Makes the default: weight 100.
    pub const fn new() -> Self {
        Self { weight: 100 }
    }

    /// Sets how hard it is to get back what is spilled, from 1: see [`Reclaimer::weight`](crate::Reclaimer::weight).
    pub const fn weight(self, weight: u32) -> Self {
        Self { weight }
    }
}

impl Default for SpillOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl Spiller {
    /// Says how much could be spilled, in bytes, about. One store; the default is 0, and then it is not asked.
    pub fn set_spillable(&self, bytes: u64) {
        // Ordering: Relaxed: an estimate.
        self.0.sweep.spillable.store(bytes, Ordering::Relaxed);
    }

    /// Returns how much is asked for, in bytes, and not taken: one load, for checks at safe points.
    #[must_use]
    pub fn requested(&self) -> u64 {
        // Ordering: Relaxed: `try_next` decides.
        self.0.sweep.requested.load(Ordering::Relaxed)
    }

    /// Takes the request, if there is one.
    #[must_use]
    pub fn try_next(&self) -> Option<SpillTicket> {
        if self.requested() == 0 || self.0.home.node().shared.is_inherited() {
            return None;
        }
        self.0.sweep.take(&self.0)
    }

    /// Waits for a request, and takes it. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> SpillTicket {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Takes the request, or has the task woken when there is one.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<SpillTicket> {
        let waker = cx.waker().clone();
        let replaced = self.0.sweep.state.lock().waker.replace(waker);
        drop(replaced);
        // A request that came before that is found now; one that comes after it finds the waker.
        self.try_next().map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits for a request on this thread, for `timeout` by the controller's clock, and takes it.
    #[must_use]
    pub fn wait_blocking(&self, timeout: Duration) -> Option<SpillTicket> {
        let clock = &Arc::clone(&self.0.home.node().shared).clock;
        let deadline = clock.now().saturating_add(timeout);
        loop {
            if let Some(ticket) = self.try_next() {
                return Some(ticket);
            }
            let left = deadline.checked_sub(clock.now()).filter(|left| !left.is_zero())?;
            self.0.sweep.wait(left.min(LOOK));
        }
    }
}

impl Drop for Spiller {
    fn drop(&mut self) {
        self.0.unregister();
    }
}

impl fmt::Debug for Spiller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spiller")
            .field("cgroup", &self.0.home.node().path())
            .field("spillable", &self.0.sweep.spillable())
            .field("requested", &self.requested())
            .finish()
    }
}

impl SpillTicket {
    /// Makes the ticket of a reclaimer that was asked for `want`; `None` if one is out.
    pub(crate) fn start(giver: &Arc<Giver>, want: u64) -> Option<Self> {
        let (now, usage) = moment(&giver.home);
        let mut state = giver.sweep.state.lock();
        if state.stage != Stage::Idle {
            return None;
        }
        state.begin(Stage::Out, want, (now, usage), giver.sweep.spillable());
        drop(state);
        Some(Self { giver: Arc::clone(giver), want })
    }

    /// Returns how much is asked for, in bytes. Less is welcome, and so is more.
    #[must_use]
    pub fn want(&self) -> u64 {
        self.want
    }

    /// Says that the spill goes on, though nothing was uncharged yet: it counts for another second.
    pub fn progress(&self) {
        if self.giver.home.node().shared.is_inherited() {
            return; // a thread that is not there may hold the lock
        }
        let (now, _) = moment(&self.giver.home);
        self.giver.sweep.state.lock().since = now;
    }
}

impl Drop for SpillTicket {
    fn drop(&mut self) {
        if !self.giver.home.node().shared.is_inherited() {
            self.giver.sweep.end(&self.giver);
        }
    }
}

impl fmt::Debug for SpillTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpillTicket")
            .field("cgroup", &self.giver.home.node().path())
            .field("want", &self.want)
            .finish()
    }
}

impl Sweep {
    pub(crate) fn spillable(&self) -> u64 {
        // Ordering: Relaxed: an estimate.
        self.spillable.load(Ordering::Relaxed)
    }

    /// Whether its giver is registered no more.
    pub(crate) fn is_closed(&self) -> bool {
        // Ordering: Relaxed: a hint for who clears a roll.
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Comes as its giver is unregistered: nothing is asked for any more.
    pub(crate) fn close(&self) {
        // Ordering: Relaxed, both: hints; who asks once more after this is heard by nobody.
        self.is_closed.store(true, Ordering::Relaxed);
        self.requested.store(0, Ordering::Relaxed);
        let waker = self.state.lock().waker.take();
        drop(waker);
    }

    /// Notes that the reclaimer is about to be called.
    pub(crate) fn begin(&self, giver: &Giver) {
        let (now, _) = moment(&giver.home);
        self.state.lock().called = now;
    }

    /// Returns whether it is not to be asked now: a ticket is out, or the last one came to nothing.
    pub(crate) fn is_out_or_futile(&self, giver: &Giver) -> bool {
        let (now, _) = moment(&giver.home);
        let state = self.state.lock();
        let is_futile = state.futile.is_some_and(|(when, spillable)| {
            now.saturating_sub(when) < STALL && self.spillable() <= spillable
        });
        state.stage == Stage::Out || is_futile
    }

    /// Returns how much is under way, in bytes; nothing if it makes no progress.
    pub(crate) fn under_way(&self, giver: &Giver) -> u64 {
        let (now, usage) = moment(&giver.home);
        let mut state = self.state.lock();
        if state.stage != Stage::Idle && state.goes_on(now, usage) { state.want } else { 0 }
    }

    /// Asks the owner for `want`, and returns by how much more that is to come.
    pub(crate) fn ask(&self, giver: &Giver, want: u64) -> u64 {
        let (now, usage) = moment(&giver.home);
        let mut state = self.state.lock();
        let before = state.want;
        let started = match state.stage {
            Stage::Out => return 0,
            Stage::Idle => {
                state.begin(Stage::Asked, want, (now, usage), self.spillable());
                want
            }
            Stage::Asked => {
                let is_taken_up = state.goes_on(now, usage);
                let more = before.saturating_add(want).min(self.spillable()).max(before);
                // If it was not taken for long, it is asked for once more, and not counted upon.
                state.want = if is_taken_up { more } else { before.max(want) };
                if is_taken_up { more - before } else { 0 }
            }
        };
        // Ordering: Relaxed: who takes it takes it under the lock.
        self.requested.store(state.want, Ordering::Relaxed);
        let waker = state.waker.take();
        drop(state);
        self.asked.notify_all();
        if let Some(waker) = waker {
            caught(|| waker.wake());
        }
        started
    }

    fn take(&self, giver: &Arc<Giver>) -> Option<SpillTicket> {
        let (now, _) = moment(&giver.home);
        let mut state = self.state.lock();
        if state.stage != Stage::Asked {
            return None;
        }
        state.stage = Stage::Out;
        state.since = now;
        let want = state.want;
        // Ordering: Relaxed: as in `ask`.
        self.requested.store(0, Ordering::Relaxed);
        drop(state);
        Some(SpillTicket { giver: Arc::clone(giver), want })
    }

    fn end(&self, giver: &Giver) {
        let (now, usage) = moment(&giver.home);
        let mut state = self.state.lock();
        let freed = state.usage.saturating_sub(state.lowest.min(usage));
        state.stage = Stage::Idle;
        let is_futile = freed == 0 && self.spillable() >= state.spillable;
        state.futile = is_futile.then(|| (now, self.spillable()));
        drop(state);
        giver.note(|stats| stats.freed += freed);
    }

    fn wait(&self, most: Duration) {
        let state = self.state.lock();
        if state.stage != Stage::Asked {
            let waited: Result<(MutexGuard<'_, State>, _), _> =
                self.asked.wait_timeout(state, most);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl State {
    fn begin(&mut self, stage: Stage, want: u64, (now, usage): (Duration, u64), spillable: u64) {
        (self.stage, self.want, self.since) = (stage, want, now);
        (self.usage, self.lowest, self.spillable) = (usage, usage, spillable);
    }

    /// Returns whether there was progress within the last second, of which a lower usage is one.
    fn goes_on(&mut self, now: Duration, usage: u64) -> bool {
        if usage < self.lowest {
            (self.lowest, self.since) = (usage, now);
        }
        now.saturating_sub(self.since) < STALL
    }
}

impl Node {
    /// Returns how many givers here and below are at work, or asked to be, and not without progress for long.
    pub(crate) fn spills_under_way(self: &Arc<Self>) -> usize {
        let mut count = 0;
        let mut found = vec![Arc::clone(self)];
        while let Some(node) = found.pop() {
            if !node.has_givers_below() {
                continue;
            }
            let givers = node.givers().unwrap_or_default();
            count += givers.iter().filter(|giver| is_at_work(giver)).count();
            found.extend(node.children());
        }
        count
    }
}

fn is_at_work(giver: &Giver) -> bool {
    if giver.sweep.under_way(giver) > 0 {
        return true;
    }
    let (now, _) = moment(&giver.home);
    giver.is_running() && now.saturating_sub(giver.sweep.state.lock().called) < STALL
}

/// Returns the time, and what the group uses.
fn moment(home: &Account) -> (Duration, u64) {
    let node = home.node();
    (node.shared.clock.now(), node.counter.current())
}

impl fmt::Debug for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweep").field("spillable", &self.spillable()).finish_non_exhaustive()
    }
}
