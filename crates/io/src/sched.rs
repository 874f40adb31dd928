//! The lock of a device, and who waits behind it.
//!
//! Whoever comes, goes or changes something looks whether others can go on: it *pumps*. What is granted is noted
//! under the lock, and wakers are called outside of it, 32 at a time. Where only time
//! brings something, to those who wait for a limit, it is the [ticker](crate::ticker) that looks.
//!
//! # Invariants
//!
//! 1. A waiter is in the tree exactly while it is `Queued`; its ticket leads to it.
//! 2. A grant is taken by its waiter, or given back when that is dropped: once.
//! 3. Only cells in `leased` have a lease. While somebody waits there is none: who is about to wait has swept them.
//! 4. What is granted holds its place in flight until its slot is given back, if the device [counts](IoTree::is_scheduled)
//!    what is in flight.

use std::{fmt, mem, task::Waker, time::Duration};

use slab::Slab;

use crate::{
    caught::{caught, discard},
    cell::Cell,
    error::Refusal,
    node::{Figure, Node, Stall},
    op::{Kind, Op},
    sync::{Arc, Mutex, MutexGuard},
    time::Time,
    tree::{Amount, Direction, FlowId, IoTree, Lease, NodeId, Request, TicketId, Waited},
};

/// How many are woken before others may have the lock.
const BATCH: usize = 32;

/// The lock of a device.
pub(crate) struct Sched {
    state: Mutex<State>,
    pub(crate) time: Time,
}

pub(crate) struct State {
    pub(crate) tree: IoTree,
    waiters: Slab<Waiter>,
    /// The waiter of each ticket, by its place.
    by_ticket: Vec<usize>,
    running: Slab<Running>,
    leased: Vec<(Arc<Cell>, Arc<Node>)>,
    /// Who is to be woken by somebody who holds no lock.
    pending: Vec<Waker>,
    is_gone: bool,
}

/// What somebody wants of a device.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) node: &'a Arc<Node>,
    pub(crate) flow: FlowId,
    pub(crate) op: Op,
    pub(crate) request: Request,
}

/// Somebody who waits, or was granted what it waited for.
struct Waiter {
    status: Status,
    waker: Option<Waker>,
    node: Arc<Node>,
    flow: FlowId,
    op: Op,
    request: Request,
    /// While it is queued.
    stall: Option<Stall>,
}

#[derive(Clone, Copy)]
enum Status {
    Queued(TicketId),
    Granted(Granted),
    Refused(Refusal),
}

/// An operation that was granted and has not ended.
struct Running {
    node: Arc<Node>,
    cost: u64,
    since: u64,
}

/// What is granted by way of the lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granted {
    /// The place in flight, to be given back.
    pub(crate) slot: Option<usize>,
    pub(crate) cost: u64,
    pub(crate) waited: Waited,
}

/// What came of asking.
pub(crate) enum Asked {
    Granted(Granted),
    /// Wait; what has come of it is told to who asks by this number.
    Queued(usize),
    Refused(Refusal),
}

impl Sched {
    pub(crate) fn new(tree: IoTree, time: Time) -> Self {
        let state = State {
            tree,
            waiters: Slab::new(),
            by_ticket: Vec::new(),
            running: Slab::new(),
            leased: Vec::new(),
            pending: Vec::new(),
            is_gone: false,
        };
        Self { state: Mutex::new(state), time }
    }

    /// Does something to the tree, and then what that makes possible. Leases are given back before.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut IoTree, u64) -> R) -> R {
        let mut state = self.state.lock();
        let now = self.time.now();
        state.sweep(now);
        let result = change(&mut state.tree, now);
        self.pump(state, now);
        result
    }

    /// Does something to the tree; somebody else has to pump.
    pub(crate) fn adjust<R>(&self, change: impl FnOnce(&mut IoTree, u64) -> R) -> R {
        let mut state = self.state.lock();
        let now = self.time.now();
        state.sweep(now);
        change(&mut state.tree, now)
    }

    /// Looks at the tree.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&IoTree, u64) -> R) -> R {
        let state = self.state.lock();
        look(&state.tree, self.time.now())
    }

    /// Grants a wish now, or says why not.
    pub(crate) fn try_acquire(
        &self,
        wish: Wish<'_>,
        cell: Option<&Arc<Cell>>,
    ) -> Result<Granted, Refusal> {
        let mut state = self.state.lock();
        let now = self.time.now();
        if let Some(granted) = state.grant_now(wish, cell, now)? {
            return Ok(granted);
        }
        let next = state.tree.next_at(now);
        let retry_in = next.map(|next| Duration::from_nanos(next.saturating_sub(now)));
        Err(Refusal::WouldBlock { retry_in })
    }

    /// Grants a wish now, or has it wait.
    pub(crate) fn acquire(&self, wish: Wish<'_>, cell: Option<&Arc<Cell>>) -> Asked {
        let mut state = self.state.lock();
        let now = self.time.now();
        match state.grant_now(wish, cell, now) {
            Err(why) => return Asked::Refused(why),
            Ok(Some(granted)) => return Asked::Granted(granted),
            Ok(None) => {}
        }
        state.sweep(now);
        match state.enqueue(wish, now) {
            Ok(key) => {
                self.pump(state, now);
                Asked::Queued(key)
            }
            Err(why) => Asked::Refused(why),
        }
    }

    /// Returns what became of a waiter, who is gone if so; else it is `waker` that is woken then.
    pub(crate) fn poll(
        &self,
        key: usize,
        waker: &Waker,
    ) -> Option<Result<(Granted, Arc<Node>), Refusal>> {
        let mut state = self.state.lock();
        let waiter = state.waiters.get_mut(key)?;
        let result = match waiter.status {
            Status::Granted(granted) => Ok(granted),
            Status::Refused(why) => Err(why),
            Status::Queued(_) => {
                let former = match &mut waiter.waker {
                    Some(former) if former.will_wake(waker) => None,
                    place => place.replace(waker.clone()),
                };
                drop(state);
                drop(former);
                return None;
            }
        };
        let waiter = state.forget(key);
        drop(state);
        Some(result.map(|granted| (granted, waiter.node)))
    }

    /// Lets go on who can, now that time has passed; returns in how long it may make sense again.
    pub(crate) fn pump_now(&self) -> Option<Duration> {
        let mut state = self.state.lock();
        let pending = mem::take(&mut state.pending);
        drop(state);
        wake(pending);
        let state = self.state.lock();
        let now = self.time.now();
        self.pump(state, now);
        self.next()
    }

    /// Returns in how long somebody may be able to go on by the passing of time.
    pub(crate) fn next(&self) -> Option<Duration> {
        let state = self.state.lock();
        let now = self.time.now();
        state.next(now)
    }

    /// Ends a wait, or gives back what was granted meanwhile.
    pub(crate) fn cancel(&self, key: usize) {
        let mut state = self.state.lock();
        let now = self.time.now();
        let mut waiter = state.forget(key);
        drop(waiter.stall.take());
        match waiter.status {
            Status::Queued(ticket) => {
                state.tree.cancel(ticket, now);
            }
            Status::Granted(granted) => {
                let op = waiter.op;
                waiter.node.uncount(op.kind, 1, op.bytes);
                waiter.node.add(Figure::Cost, granted.cost.wrapping_neg());
                let amount = Amount { bytes: op.bytes, ops: 1, cost: granted.cost };
                state.tree.refund(waiter.node.id, waiter.flow, op.direction(), amount, now);
                state.end(granted.slot, now);
            }
            Status::Refused(_) => {}
        }
        self.pump(state, now);
        drop(waiter);
    }

    /// Ends all waits of a flow.
    pub(crate) fn refuse_flow(&self, flow: FlowId, why: Refusal) {
        let mut state = self.state.lock();
        let now = self.time.now();
        let waits = |(key, waiter): (usize, &Waiter)| (waiter.flow == flow).then_some(key);
        let keys: Vec<_> = state.waiters.iter().filter_map(waits).collect();
        keys.into_iter().for_each(|key| state.refuse(key, why, now));
        self.pump(state, now);
    }

    /// Ends an operation that had a place in flight.
    pub(crate) fn finish(&self, slot: usize) {
        let mut state = self.state.lock();
        let now = self.time.now();
        let running = state.end(Some(slot), now);
        self.pump(state, now);
        drop(running);
    }

    /// Gives back what an operation did not use.
    pub(crate) fn refund(&self, node: &Node, flow: FlowId, kind: Kind, amount: Amount) {
        let mut state = self.state.lock();
        let now = self.time.now();
        node.uncount(kind, amount.ops, amount.bytes);
        node.add(Figure::Cost, amount.cost.wrapping_neg());
        state.tree.refund(node.id, flow, kind.direction(), amount, now);
        self.pump(state, now);
    }

    /// Charges an operation that does not wait.
    pub(crate) fn force(&self, wish: Wish<'_>) -> Result<Granted, Refusal> {
        let mut state = self.state.lock();
        let now = self.time.now();
        state.sweep(now);
        if state.is_gone {
            return Err(Refusal::DeviceGone);
        }
        let forced = state.tree.force(wish.flow, wish.request, now);
        forced.map_err(|_| Refusal::Removed)?;
        wish.node.add(Figure::Urgent, 1);
        Ok(state.granted(wish.node, wish.op, wish.request.cost, Waited::default(), now))
    }

    /// Folds a cell that nobody uses any more, and gives back its leases.
    pub(crate) fn fold(&self, cell: &Arc<Cell>, node: &Node) {
        let mut state = self.state.lock();
        node.fold(cell);
        if let Some(at) = state.leased.iter().position(|(other, _)| Arc::ptr_eq(other, cell)) {
            let (cell, node) = state.leased.swap_remove(at);
            let now = self.time.now();
            state.take_back(&cell, &node, now);
            drop(state);
            drop((cell, node));
        }
    }

    /// Adds a node below that of the group above, or the root's; `None` if that is retired.
    pub(crate) fn add(
        &self,
        above: Option<Arc<Node>>,
        weight: u32,
        make: impl FnOnce(NodeId, Option<Arc<Node>>) -> Arc<Node>,
    ) -> Option<Arc<Node>> {
        let mut state = self.state.lock();
        let Some(above) = above else { return Some(make(state.tree.root(), None)) };
        let id = state.tree.add(above.id).ok()?;
        let now = self.time.now();
        // In its range: it was checked when it was set.
        let _in_range = state.tree.set_weight(id, weight, now);
        let node = make(id, Some(Arc::clone(&above)));
        above.adopt(&node);
        Some(node)
    }

    /// Opens a flow at a node, unless that is retired.
    pub(crate) fn open(&self, node: &Node) -> Option<FlowId> {
        self.state.lock().tree.open_flow(node.id).ok()
    }

    /// Closes a flow in which nobody waits.
    pub(crate) fn shut(&self, flow: FlowId) {
        let mut state = self.state.lock();
        let now = self.time.now();
        let waiting = state.tree.close_flow(flow, now);
        debug_assert!(waiting.is_empty(), "who waits holds the stream");
    }

    /// Moves a flow, and who waits there, to another node; somebody else has to pump.
    pub(crate) fn move_flow(&self, flow: FlowId, node: &Arc<Node>) -> bool {
        let mut state = self.state.lock();
        let now = self.time.now();
        state.sweep(now);
        let is_moved = state.tree.move_flow(flow, node.id, now).is_ok();
        if is_moved {
            let waiters = state.waiters.iter_mut().map(|(_, waiter)| waiter);
            let waiters = waiters.filter(|waiter| waiter.flow == flow);
            let queued = waiters.filter(|waiter| matches!(waiter.status, Status::Queued(_)));
            queued.for_each(|waiter| {
                waiter.node = Arc::clone(node);
                waiter.stall = Some(node.stall());
            });
        }
        is_moved
    }

    /// Takes a node out of the tree; whoever waits there is refused. Somebody else has to pump.
    pub(crate) fn retire(&self, node: &Node) {
        let mut state = self.state.lock();
        let now = self.time.now();
        state.sweep(now);
        // Children went before.
        for ticket in state.tree.remove(node.id, now).unwrap_or_default() {
            let key = state.by_ticket[ticket.index()];
            state.refuse(key, Refusal::Removed, now);
        }
        node.retire();
    }

    /// Ends everything: who waits is refused.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        let now = self.time.now();
        state.is_gone = true;
        let keys: Vec<_> = state.waiters.iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| state.refuse(key, Refusal::DeviceGone, now));
        self.pump(state, now);
    }

    /// Grants what can be granted, and wakes whom that concerns, under no lock.
    fn pump<'a>(&'a self, mut state: MutexGuard<'a, State>, now: u64) {
        loop {
            let mut woken = mem::take(&mut state.pending);
            while woken.len() < BATCH
                && let Some(grant) = state.tree.pick(now)
            {
                let key = state.by_ticket[grant.ticket.index()];
                woken.extend(state.hand_over(key, grant.waited, now));
            }
            let is_done = woken.len() < BATCH;
            drop(state);
            wake(woken);
            if is_done {
                return;
            }
            state = self.state.lock();
        }
    }
}

impl State {
    /// Grants a wish, if it need not wait.
    fn grant_now(
        &mut self,
        wish: Wish<'_>,
        cell: Option<&Arc<Cell>>,
        now: u64,
    ) -> Result<Option<Granted>, Refusal> {
        if self.is_gone {
            return Err(Refusal::DeviceGone);
        }
        if self.tree.node_of(wish.flow) != Some(wish.node.id) {
            return Err(Refusal::Removed); // or moved meanwhile
        }
        let mut is_granted = self.tree.try_grant(wish.flow, wish.request, now).is_ok();
        if !is_granted && !self.leased.is_empty() {
            self.sweep(now); // others have what it lacks
            is_granted = self.tree.try_grant(wish.flow, wish.request, now).is_ok();
        }
        if !is_granted {
            return Ok(None);
        }
        if let Some(cell) = cell {
            self.lease(cell, wish, now);
        }
        Ok(Some(self.granted(wish.node, wish.op, wish.request.cost, Waited::default(), now)))
    }

    /// Gives a cell room for what comes after.
    fn lease(&mut self, cell: &Arc<Cell>, wish: Wish<'_>, now: u64) {
        let direction = wish.request.direction;
        let is_free = self.tree.is_free(wish.node.id, direction);
        if is_free {
            cell.set_free(direction);
        }
        let lease = if is_free { None } else { self.tree.lease(wish.node.id, direction, now) };
        if let Some(lease) = lease {
            // What was left of the one before is given back first, so that nothing overflows.
            let left = cell.sweep(direction);
            self.tree.unlease(wish.node.id, direction, left, now);
            cell.put(direction, lease);
        }
        if is_free || lease.is_some() {
            if !self.leased.iter().any(|(other, _)| Arc::ptr_eq(other, cell)) {
                self.leased.push((Arc::clone(cell), Arc::clone(wish.node)));
            }
        }
    }

    /// Takes back all leases.
    fn sweep(&mut self, now: u64) {
        for (cell, node) in mem::take(&mut self.leased) {
            self.take_back(&cell, &node, now);
        }
    }

    fn take_back(&mut self, cell: &Cell, node: &Node, now: u64) {
        for direction in Direction::ALL {
            let lease = cell.sweep(direction);
            if lease != Lease::default() {
                self.tree.unlease(node.id, direction, lease, now);
            }
        }
    }

    fn enqueue(&mut self, wish: Wish<'_>, now: u64) -> Result<usize, Refusal> {
        let Wish { node, flow, op, request } = wish;
        let ticket = self.tree.enqueue(flow, request, now).map_err(|_| Refusal::Removed)?;
        let (stall, status) = (Some(node.stall()), Status::Queued(ticket));
        let node = Arc::clone(node);
        let waiter = Waiter { status, waker: None, node, flow, op, request, stall };
        let key = self.waiters.insert(waiter);
        if self.by_ticket.len() <= ticket.index() {
            self.by_ticket.resize(ticket.index() + 1, usize::MAX);
        }
        self.by_ticket[ticket.index()] = key;
        Ok(key)
    }

    fn forget(&mut self, key: usize) -> Waiter {
        self.waiters.remove(key)
    }

    /// Notes that a waiter's turn has come; returns whom to wake.
    fn hand_over(&mut self, key: usize, waited: Waited, now: u64) -> Option<Waker> {
        let waiter = &self.waiters[key];
        let (node, op, cost) = (Arc::clone(&waiter.node), waiter.op, waiter.request.cost);
        let granted = self.granted(&node, op, cost, waited, now);
        let waiter = &mut self.waiters[key];
        waiter.status = Status::Granted(granted);
        drop(waiter.stall.take());
        waiter.waker.take()
    }

    /// Counts what was granted, and gives it its place in flight.
    fn granted(
        &mut self,
        node: &Arc<Node>,
        op: Op,
        cost: u64,
        waited: Waited,
        now: u64,
    ) -> Granted {
        node.count(op);
        node.add(Figure::Cost, cost);
        node.add(Figure::LimitWait, waited.limit);
        node.add(Figure::QueueWait, waited.queue);
        let slot = self.tree.is_scheduled().then(|| {
            node.add(Figure::InFlight, 1);
            self.running.insert(Running { node: Arc::clone(node), cost, since: now })
        });
        Granted { slot, cost, waited }
    }

    fn end(&mut self, slot: Option<usize>, now: u64) -> Option<Running> {
        let running = self.running.try_remove(slot?)?;
        running.node.add(Figure::InFlight, 1u64.wrapping_neg());
        self.tree.complete(running.cost, now);
        Some(running)
    }

    /// Ends a wait; whoever pumps next wakes it.
    fn refuse(&mut self, key: usize, why: Refusal, now: u64) {
        let waiter = &mut self.waiters[key];
        if let Status::Queued(ticket) = waiter.status {
            waiter.status = Status::Refused(why);
            drop(waiter.stall.take());
            self.pending.extend(waiter.waker.take());
            self.tree.cancel(ticket, now);
        }
    }

    /// Returns in how long somebody may go on.
    fn next(&self, now: u64) -> Option<Duration> {
        if !self.pending.is_empty() {
            return Some(Duration::ZERO);
        }
        let next = self.tree.next_at(now)?;
        Some(Duration::from_nanos(next.saturating_sub(now)))
    }
}

fn wake(wakers: Vec<Waker>) {
    for waker in wakers {
        if let Err(panic) = caught(|| waker.wake()) {
            discard(panic);
        }
    }
}

impl fmt::Debug for Sched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        let (waiting, running) = (state.waiters.len(), state.running.len());
        f.debug_struct("Sched")
            .field("waiting", &waiting)
            .field("running", &running)
            .finish_non_exhaustive()
    }
}
