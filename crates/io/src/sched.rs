//! The lock of a device, and who waits behind it.
//!
//! Whoever comes, goes or changes something looks whether others can go on: it *pumps*. What is granted is noted
//! under the lock, and wakers are called outside of it, 32 at a time. Where only time
//! brings something, to those who wait for a limit, it is the [ticker](crate::ticker) that looks: whoever pumped last
//! has told it when.
//!
//! No code of others runs under the lock: wakers are cloned, called and dropped outside of it, and the clock is read
//! before.
//!
//! # Invariants
//!
//! 1. A waiter is in the tree exactly while it is `Queued`; its ticket leads to it.
//! 2. A grant is taken by its waiter, or given back when that is dropped: once.
//! 3. Only cells in `leased` have a lease. While somebody waits there is none: who is about to wait has swept them.
//!    Cells that only count are in `free`, and stay so until something is set or moved.
//! 4. What is granted has its slot until it ends, and with that its place in flight, if the device
//!    [counted](IoTree::is_scheduled) what is in flight when it was granted.
//! 5. When the lock is free, and somebody can go on at a time that is known, the alarm was set for that time.
//!
//! # Tests
//!
//! `tests/loom_wait.rs`, `tests/loom_removal.rs` and `tests/loom_lease.rs` have the models; `tests/waiting.rs`,
//! `tests/model.rs`, `tests/stress.rs`.

use std::{fmt, mem, num::NonZeroU32, task::Waker, time::Duration};

pub(crate) use self::state::{Asked, Wish};
use self::state::{State, Status};
use crate::{
    caught::{caught, discard},
    cell::Cell,
    cost::CostModel,
    device_stats::DeviceStats,
    latency::Governor,
    node::{Figure, Node},
    op::Kind,
    refusal::Refusal,
    sync::{Arc, Mutex, MutexGuard, skip},
    time::Time,
    tree::{Amount, Blocked, FlowId, IoTree, NodeId, Waited},
};

mod state;

/// How many are woken before others may have the lock; in a model each one alone.
const BATCH: usize = if cfg!(loom) { 1 } else { 32 };

/// Has somebody look in so long.
pub(crate) type Alarm = Box<dyn Fn(Duration) + Send + Sync>;

/// The lock of a device.
pub(crate) struct Sched {
    state: Mutex<State>,
    pub(crate) time: Time,
    alarm: Alarm,
    /// Forks before the process it was made in.
    #[cfg(not(loom))]
    forks: u32,
}

/// What became of a waiter: the number of what runs.
pub(crate) type Outcome = Result<usize, Refusal>;

impl Sched {
    pub(crate) fn new(tree: IoTree, governor: Option<Governor>, time: Time, alarm: Alarm) -> Self {
        Self {
            state: Mutex::new(State::new(tree, governor)),
            time,
            alarm,
            #[cfg(not(loom))]
            forks: crate::sync::forks(),
        }
    }

    /// Returns whether this process is the child of a fork, where the lock may be held for ever.
    pub(crate) fn is_inherited(&self) -> bool {
        #[cfg(not(loom))]
        return self.forks != crate::sync::forks();
        #[cfg(loom)]
        false
    }

    /// Does something to the tree, and then what that makes possible. Leases are given back before.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut IoTree, u64) -> R) -> R {
        let (mut state, now) = self.lock();
        state.sweep_all(now);
        let result = change(&mut state.tree, now);
        self.pump(state, now);
        result
    }

    /// Does something to the tree; somebody else has to pump.
    pub(crate) fn adjust<R>(&self, change: impl FnOnce(&mut IoTree, u64) -> R) -> R {
        let (mut state, now) = self.lock();
        state.sweep_all(now);
        change(&mut state.tree, now)
    }

    /// Looks at the tree.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&IoTree, u64) -> R) -> R {
        let (state, now) = self.lock();
        look(&state.tree, now)
    }

    /// Grants a wish now, or says why not.
    pub(crate) fn try_acquire(
        &self,
        wish: Wish<'_>,
        cell: Option<&'static Cell>,
    ) -> Result<usize, Refusal> {
        let (mut state, now) = self.lock();
        let why = match state.grant_now(wish, cell, now)? {
            Ok(slot) => return Ok(slot),
            Err(why) => why,
        };
        let own = if let Blocked::Limit { until, .. } = why { Some(until) } else { None };
        let next = own.max(state.tree.next_at(now));
        let retry_in = next.map(|next| Duration::from_nanos(next.saturating_sub(now)));
        Err(Refusal::WouldBlock { retry_in })
    }

    /// Grants a wish now, or has it wait; not if it would surely wait for longer than `most`.
    pub(crate) fn acquire(
        &self,
        wish: Wish<'_>,
        cell: Option<&'static Cell>,
        most: Option<Duration>,
    ) -> Asked {
        let (mut state, now) = self.lock();
        let why = match state.grant_now(wish, cell, now) {
            Err(why) => return Asked::Refused(why),
            Ok(Ok(slot)) => return Asked::Granted(slot),
            Ok(Err(why)) => why,
        };
        if let (Some(most), Blocked::Limit { until, .. }) = (most, why) {
            let wait = Duration::from_nanos(until.saturating_sub(now));
            if wait > most {
                return Asked::Refused(Refusal::WouldBlock { retry_in: Some(wait) });
            }
        }
        match state.enqueue(wish, now) {
            Ok(key) => {
                self.pump(state, now);
                Asked::Queued(key)
            }
            Err(why) => Asked::Refused(why),
        }
    }

    /// Returns what became of a waiter, who is gone if so; else it is `waker` that is woken then.
    pub(crate) fn poll(&self, key: usize, waker: &Waker) -> Option<Outcome> {
        let mut own = None;
        loop {
            let mut state = self.state.lock();
            let waiter = state.waiters.get_mut(key)?;
            let outcome = match waiter.status {
                Status::Granted(slot) if !(own.is_some() && skip("wait_looks_again")) => Ok(slot),
                Status::Refused(why) => Err(why),
                Status::Queued(_) | Status::Granted(_) => {
                    if waiter.waker.as_ref().is_some_and(|former| former.will_wake(waker)) {
                        return None;
                    }
                    let Some(own) = own.take() else {
                        drop(state);
                        own = Some(waker.clone()); // whatever that does, it does it under no lock
                        continue;
                    };
                    let former = waiter.waker.replace(own);
                    drop(state);
                    discard(former);
                    return None;
                }
            };
            let waiter = state.waiters.remove(key);
            drop(state);
            discard(own);
            discard(waiter.waker);
            return Some(outcome);
        }
    }

    /// Lets go on who can, now that time has passed; returns in how long it may make sense again.
    pub(crate) fn pump_now(&self) -> Option<Duration> {
        let (state, now) = self.lock();
        self.pump(state, now)
    }

    /// Returns in how long somebody may be able to go on by the passing of time.
    pub(crate) fn next(&self) -> Option<Duration> {
        let (state, now) = self.lock();
        state.next(now)
    }

    /// Ends a wait, or gives back what was granted meanwhile.
    pub(crate) fn cancel(&self, key: usize) {
        let (mut state, now) = self.lock();
        let mut waiter = state.waiters.try_remove(key);
        let running = waiter.as_mut().and_then(|waiter| state.leave(waiter, now));
        if !skip("cancel_pumps") {
            self.pump(state, now);
        }
        discard(waiter);
        drop(running);
    }

    /// Ends all waits of a flow.
    pub(crate) fn refuse_flow(&self, flow: FlowId, why: Refusal) {
        let (mut state, now) = self.lock();
        state.refuse_all(|waiter| waiter.flow == flow, why, now);
        self.pump(state, now);
    }

    /// Ends an operation, which did not use so many of its bytes.
    pub(crate) fn finish(&self, slot: usize, rest: u64, model: &CostModel) {
        let (mut state, now) = self.lock();
        let running = state.end(slot, now);
        if let Some(running) = &running {
            state.note(running, now);
            if rest > 0 {
                state.shorten(running, rest, model, now);
            }
        }
        if !skip("finish_pumps") {
            self.pump(state, now);
        }
        drop(running);
    }

    /// Returns how long an operation waited that runs.
    pub(crate) fn waited(&self, slot: usize) -> Waited {
        self.state.lock().waited(slot)
    }

    /// Returns the node to which what runs was charged.
    #[cfg(loom)]
    pub(crate) fn node_of(&self, slot: usize) -> Option<Arc<Node>> {
        self.state.lock().node_of(slot)
    }

    /// Gives back what an operation did not use that was not admitted here.
    pub(crate) fn refund(&self, node: &Node, flow: FlowId, kind: Kind, amount: Amount) {
        let (mut state, now) = self.lock();
        state.give_back(node, flow, kind, amount, now);
        if !skip("refund_pumps") {
            self.pump(state, now);
        }
    }

    /// Charges an operation that does not wait.
    pub(crate) fn force(&self, wish: Wish<'_>) -> Result<usize, Refusal> {
        let (mut state, now) = self.lock();
        state.check(wish)?;
        state.sweep(now);
        let forced = state.tree.force(wish.flow, wish.request, now);
        forced.map_err(|_| Refusal::Removed)?;
        wish.node.add(Figure::Urgent, 1);
        Ok(state.granted(wish, Waited::default(), now))
    }

    /// Folds a cell that nobody uses any more, and gives back its leases.
    pub(crate) fn fold(&self, cell: &'static Cell, node: &Node) {
        let (mut state, now) = self.lock();
        node.fold(cell);
        state.unlist(cell, node.id, now);
        self.pump(state, now);
        cell.leave();
    }

    /// Adds a node below that of the group above, or the root's; `None` if that is retired, or the device removed.
    pub(crate) fn add(
        &self,
        above: Option<Arc<Node>>,
        weight: u32,
        make: impl FnOnce(NodeId, Option<Arc<Node>>) -> Arc<Node>,
    ) -> Option<Arc<Node>> {
        let (mut state, now) = self.lock();
        if state.is_gone {
            return None;
        }
        let Some(above) = above else { return Some(make(state.tree.root(), None)) };
        if above.is_retired() {
            return None;
        }
        let id = state.tree.add(above.id).ok()?;
        // In its range: it was checked when it was set.
        let _in_range = state.tree.set_weight(id, weight, now);
        let node = make(id, Some(Arc::clone(&above)));
        above.adopt(&node);
        Some(node)
    }

    /// Opens a flow at a node, unless that is retired or the device removed.
    pub(crate) fn open(&self, node: &Node) -> Option<FlowId> {
        let mut state = self.state.lock();
        if state.is_gone || node.is_retired() { None } else { state.tree.open_flow(node.id).ok() }
    }

    /// Closes a flow whose stream is gone. Who is still there was forgotten, and never comes back.
    pub(crate) fn shut(&self, flow: FlowId) {
        let (mut state, now) = self.lock();
        let forgotten = state.extract(flow, now);
        // All are out of the tree already.
        let waiting = state.tree.close_flow(flow, now);
        debug_assert!(waiting.is_empty(), "a ticket belongs to a waiter");
        self.pump(state, now);
        forgotten.into_iter().for_each(discard);
    }

    /// Moves a flow, and who waits there, to another node; somebody else has to pump.
    pub(crate) fn move_flow(&self, flow: FlowId, node: &Arc<Node>) -> bool {
        let (mut state, now) = self.lock();
        if node.is_retired() || state.tree.move_flow(flow, node.id, now).is_err() {
            return false;
        }
        state.sweep_all(now);
        if !skip("move_readdresses") {
            state.readdress(flow, node);
        }
        true
    }

    /// Takes a node out of the tree; whoever waits there is refused. Somebody else has to pump.
    pub(crate) fn retire(&self, node: &Node) {
        let (mut state, now) = self.lock();
        if !skip("retire_sweeps") {
            state.sweep_all(now);
        }
        state.refuse_all(|waiter| waiter.node.key == node.key, Refusal::Removed, now);
        // Children went before. The root stays, for the next hierarchy.
        let waiting = state.tree.remove(node.id, now).unwrap_or_default();
        debug_assert!(waiting.is_empty(), "a ticket belongs to a waiter");
        node.retire();
    }

    /// Ends everything: who waits is refused.
    pub(crate) fn close(&self) {
        let (mut state, now) = self.lock();
        state.is_gone = true;
        state.sweep_all(now);
        state.refuse_all(|_| true, Refusal::DeviceGone, now);
        self.pump(state, now);
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.state.lock().is_gone
    }

    /// Sets how many may be in flight: `None` for any number.
    pub(crate) fn set_depth(&self, depth: Option<NonZeroU32>) {
        let (mut state, now) = self.lock();
        state.sweep_all(now);
        let depth = state.govern(depth);
        state.tree.set_depth(depth);
        self.pump(state, now);
    }

    /// Sets after what time an operation in flight is overdue, in nanoseconds.
    pub(crate) fn set_patience(&self, patience: u64) {
        self.state.lock().watch.patience = patience;
    }

    pub(crate) fn stats(&self) -> DeviceStats {
        let (mut state, now) = self.lock();
        state.stats(now)
    }

    /// Takes the lock; returns what time it was before.
    fn lock(&self) -> (MutexGuard<'_, State>, u64) {
        let now = self.time.now();
        (self.state.lock(), now)
    }

    /// Grants what can be granted, and wakes whom that concerns, under no lock; returns in how long it may make sense
    /// again, for which the alarm is set.
    fn pump<'a>(&'a self, mut state: MutexGuard<'a, State>, now: u64) -> Option<Duration> {
        loop {
            let mut woken = mem::take(&mut state.pending);
            while woken.len() < BATCH
                && let Some(grant) = state.tree.pick(now)
            {
                state.watch.looked(now);
                let key = state.by_ticket[grant.ticket.index()];
                woken.extend(state.hand_over(key, grant.waited, now));
            }
            let is_done = woken.len() < BATCH || skip("pump_goes_on");
            let next = if is_done { state.rest(now) } else { None };
            drop(state);
            wake(woken);
            if is_done {
                if let Some(next) = next
                    && !skip("pump_sets_alarm")
                {
                    (self.alarm)(next);
                }
                return next;
            }
            state = self.state.lock();
        }
    }
}

fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        if let Err(payload) = caught(|| waker.wake()) {
            discard(payload);
        }
    }
}

impl fmt::Debug for Sched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        let (waiting, running) = (state.waiters.len(), state.running.len());
        drop(state);
        f.debug_struct("Sched")
            .field("waiting", &waiting)
            .field("running", &running)
            .finish_non_exhaustive()
    }
}
