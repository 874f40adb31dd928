//! What the lock of a device protects.

use std::{mem, num::NonZeroU32, ptr, task::Waker, time::Duration};

use slab::Slab;

use crate::{
    cell::{Cell, List},
    cost::CostModel,
    device_stats::{DeviceStats, Watch},
    latency::Governor,
    node::{Figure, Node, Stall},
    op::{Kind, Op},
    refusal::Refusal,
    sync::{Arc, skip},
    tree::{Amount, Blocked, Direction, FlowId, IoTree, Lease, NodeId, Request, TicketId, Waited},
};

pub(crate) struct State {
    pub(crate) tree: IoTree,
    pub(super) governor: Option<Governor>,
    pub(super) waiters: Slab<Waiter>,
    /// The waiter of each ticket, by its place.
    pub(super) by_ticket: Vec<usize>,
    pub(super) running: Slab<Running>,
    /// Cells that have a lease.
    leased: Vec<(&'static Cell, NodeId)>,
    /// Cells that only count.
    free: Vec<&'static Cell>,
    /// Who is to be woken by somebody who holds no lock.
    pub(super) pending: Vec<Waker>,
    pub(super) watch: Watch,
    pub(super) is_gone: bool,
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
pub(crate) struct Waiter {
    pub(super) status: Status,
    pub(super) waker: Option<Waker>,
    pub(super) node: Arc<Node>,
    pub(super) flow: FlowId,
    op: Op,
    request: Request,
    /// While it is queued.
    stall: Option<Stall>,
}

#[derive(Clone, Copy)]
pub(super) enum Status {
    Queued(TicketId),
    /// It runs, by this number.
    Granted(usize),
    Refused(Refusal),
}

/// An operation that was granted and has not ended.
pub(crate) struct Running {
    node: Arc<Node>,
    flow: FlowId,
    op: Op,
    cost: u64,
    waited: Waited,
    since: u64,
    /// Whether it has a place in flight, to be given back.
    is_placed: bool,
    /// Whether it was counted as overdue.
    is_overdue: bool,
}

/// What came of asking.
pub(crate) enum Asked {
    /// It runs, by this number.
    Granted(usize),
    /// Wait; what has come of it is told to who asks by this number.
    Queued(usize),
    Refused(Refusal),
}

impl State {
    pub(super) fn new(tree: IoTree, governor: Option<Governor>) -> Self {
        Self {
            tree,
            governor,
            waiters: Slab::new(),
            by_ticket: Vec::new(),
            running: Slab::new(),
            leased: Vec::new(),
            free: Vec::new(),
            pending: Vec::new(),
            watch: Watch::default(),
            is_gone: false,
        }
    }

    /// Returns why a wish can never be granted, if that is so.
    pub(super) fn check(&self, wish: Wish<'_>) -> Result<(), Refusal> {
        if self.is_gone {
            return Err(Refusal::DeviceGone);
        }
        if skip("wish_is_checked") {
            return Ok(());
        }
        let is_there = self.tree.node_of(wish.flow) == Some(wish.node.id);
        if is_there && !wish.node.is_retired() { Ok(()) } else { Err(Refusal::Removed) }
    }

    /// Grants a wish, if it need not wait.
    pub(super) fn grant_now(
        &mut self,
        wish: Wish<'_>,
        cell: Option<&'static Cell>,
        now: u64,
    ) -> Result<Result<usize, Blocked>, Refusal> {
        self.check(wish)?;
        let mut result = self.tree.try_grant(wish.flow, wish.request, now);
        if result.is_err() && !self.leased.is_empty() && !skip("grant_sweeps") {
            self.sweep(now); // others have what it lacks
            result = self.tree.try_grant(wish.flow, wish.request, now);
        }
        if let Err(why) = result {
            return Ok(Err(why));
        }
        if let Some(cell) = cell {
            self.lease(cell, wish, now);
        }
        Ok(Ok(self.granted(wish, Waited::default(), now)))
    }

    /// Gives a cell room for what comes after.
    fn lease(&mut self, cell: &'static Cell, wish: Wish<'_>, now: u64) {
        let (id, direction) = (wish.node.id, wish.request.direction);
        if self.tree.is_free(id, direction) {
            // What may be left in it was for limits that are gone.
            let left = cell.sweep(direction);
            self.unlease(id, direction, left, now);
            cell.set_free(direction);
            if cell.list(List::Free) {
                self.free.push(cell);
            }
            return;
        }
        if self.tree.waiting() > 0 || self.tree.is_scheduled() {
            return;
        }
        // What was left of the one before is given back first, so that nothing overflows.
        let left = cell.sweep(direction);
        if !skip("lease_gives_back") {
            self.unlease(id, direction, left, now);
        }
        if let Some(lease) = self.tree.lease(id, direction, now) {
            cell.put(direction, lease);
            if cell.list(List::Leased) {
                self.leased.push((cell, id));
            }
        }
    }

    /// Takes back all leases.
    pub(super) fn sweep(&mut self, now: u64) {
        for (cell, id) in mem::take(&mut self.leased) {
            cell.unlist(List::Leased);
            for direction in Direction::ALL {
                let lease = cell.sweep_lease(direction);
                self.unlease(id, direction, lease, now);
            }
        }
    }

    /// Takes back all leases, and has cells that only count ask again.
    pub(super) fn sweep_all(&mut self, now: u64) {
        self.sweep(now);
        for cell in mem::take(&mut self.free) {
            cell.unlist(List::Free);
            if skip("sweep_ends_free") {
                continue;
            }
            Direction::ALL.into_iter().for_each(|direction| {
                cell.sweep(direction);
            });
        }
    }

    /// Takes a cell out of the lists, and what it has back.
    pub(super) fn unlist(&mut self, cell: &'static Cell, id: NodeId, now: u64) {
        let is_it = |other: &&Cell| ptr::eq(*other, cell);
        if cell.unlist(List::Leased)
            && let Some(at) = self.leased.iter().position(|(other, _)| is_it(other))
        {
            self.leased.swap_remove(at);
        }
        if cell.unlist(List::Free)
            && let Some(at) = self.free.iter().position(is_it)
        {
            self.free.swap_remove(at);
        }
        for direction in Direction::ALL {
            let lease = cell.sweep(direction);
            if !skip("fold_gives_back") {
                self.unlease(id, direction, lease, now);
            }
        }
    }

    fn unlease(&mut self, id: NodeId, direction: Direction, lease: Lease, now: u64) {
        if lease != Lease::default() {
            self.tree.unlease(id, direction, lease, now);
        }
    }

    pub(super) fn enqueue(&mut self, wish: Wish<'_>, now: u64) -> Result<usize, Refusal> {
        let Wish { node, flow, op, request } = wish;
        self.sweep(now); // while somebody waits, nobody is before it
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

    /// Ends what a waiter has that was taken out: its wait, or its grant.
    pub(super) fn leave(&mut self, waiter: &mut Waiter, now: u64) -> Option<Running> {
        drop(waiter.stall.take());
        match waiter.status {
            Status::Queued(ticket) => {
                self.tree.cancel(ticket, now);
                None
            }
            Status::Granted(_) if skip("wait_gives_back") => None,
            Status::Granted(slot) => {
                let running = self.end(slot, now)?;
                let amount = Amount { bytes: running.op.bytes, ops: 1, cost: running.cost };
                self.give_back(&running.node, running.flow, running.op.kind, amount, now);
                Some(running)
            }
            Status::Refused(_) => None,
        }
    }

    /// Takes out all waiters of a flow.
    pub(super) fn extract(&mut self, flow: FlowId, now: u64) -> Vec<(Waiter, Option<Running>)> {
        if self.waiters.is_empty() {
            return Vec::new();
        }
        let keys = self.keys(|waiter| waiter.flow == flow);
        let take = |key| {
            let mut waiter = self.waiters.remove(key);
            let running = self.leave(&mut waiter, now);
            (waiter, running)
        };
        keys.into_iter().map(take).collect()
    }

    fn keys(&self, which: impl Fn(&Waiter) -> bool) -> Vec<usize> {
        self.waiters.iter().filter_map(|(key, waiter)| which(waiter).then_some(key)).collect()
    }

    /// Has who waits in a flow that was moved wait at its new node.
    pub(super) fn readdress(&mut self, flow: FlowId, node: &Arc<Node>) {
        let waiters = self.waiters.iter_mut().map(|(_, waiter)| waiter);
        let queued = waiters
            .filter(|waiter| waiter.flow == flow && matches!(waiter.status, Status::Queued(_)));
        queued.for_each(|waiter| {
            waiter.node = Arc::clone(node);
            waiter.stall = Some(node.stall());
        });
    }

    /// Gives back what was charged, and counted, and not used.
    pub(super) fn give_back(
        &mut self,
        node: &Node,
        flow: FlowId,
        kind: Kind,
        amount: Amount,
        now: u64,
    ) {
        node.uncount(kind, amount.ops, amount.bytes);
        node.add(Figure::Cost, amount.cost.wrapping_neg());
        self.tree.refund(node.answering_id(), flow, kind.direction(), amount, now);
    }

    /// Notes that a waiter's turn has come; returns whom to wake.
    pub(super) fn hand_over(&mut self, key: usize, waited: Waited, now: u64) -> Option<Waker> {
        let Waiter { flow, op, request, ref node, .. } = self.waiters[key];
        let node = Arc::clone(node);
        let slot = self.granted(Wish { node: &node, flow, op, request }, waited, now);
        let waiter = &mut self.waiters[key];
        waiter.status = Status::Granted(slot);
        drop(waiter.stall.take());
        waiter.waker.take()
    }

    /// Counts what was granted, and notes that it runs.
    pub(super) fn granted(&mut self, wish: Wish<'_>, waited: Waited, now: u64) -> usize {
        let Wish { node, flow, op, request: Request { cost, .. } } = wish;
        self.watch.grants = self.watch.grants.wrapping_add(1);
        node.count(op);
        node.add(Figure::Cost, cost);
        node.add(Figure::LimitWait, waited.limit);
        node.add(Figure::QueueWait, waited.queue);
        let is_placed = self.tree.is_scheduled();
        if is_placed {
            node.depart();
        }
        let (node, since, is_overdue) = (Arc::clone(node), now, false);
        self.running.insert(Running { node, flow, op, cost, waited, since, is_placed, is_overdue })
    }

    /// Returns how long what runs waited.
    pub(super) fn waited(&self, slot: usize) -> Waited {
        self.running.get(slot).map_or(Waited::default(), |running| running.waited)
    }

    #[cfg(loom)]
    pub(super) fn node_of(&self, slot: usize) -> Option<Arc<Node>> {
        self.running.get(slot).map(|running| Arc::clone(&running.node))
    }

    /// Has another depth be the most; returns what it is now.
    pub(super) fn govern(&mut self, most: Option<NonZeroU32>) -> Option<NonZeroU32> {
        let has_target = self.governor.as_ref().is_some_and(Governor::is_target_set);
        if most.is_none() && !has_target {
            self.governor = None;
            return None;
        }
        let governor = self.governor.get_or_insert_with(|| Governor::new(None, most));
        Some(governor.set_most(most))
    }

    /// Ends what runs, and gives back its place in flight.
    pub(super) fn end(&mut self, slot: usize, now: u64) -> Option<Running> {
        let running = self.running.try_remove(slot)?;
        if running.is_placed {
            running.node.come_back();
            self.tree.complete(running.cost, now);
        }
        Some(running)
    }

    /// Gives back bytes that were not used, with what they cost; that it was one operation stays.
    pub(super) fn shorten(&mut self, running: &Running, rest: u64, model: &CostModel, now: u64) {
        let Running { ref node, flow, op, .. } = *running;
        let used = Op { bytes: op.bytes.saturating_sub(rest), ..op };
        let cost = model.cost(op, op.offset).saturating_sub(model.cost(used, op.offset));
        self.give_back(node, flow, op.kind, Amount { bytes: rest, ops: 0, cost }, now);
    }

    /// Learns from how long an operation took.
    pub(super) fn note(&mut self, running: &Running, now: u64) {
        if !running.is_placed {
            return;
        }
        let took = now.saturating_sub(running.since);
        if took > self.watch.patience && !running.is_overdue {
            self.watch.overdue += 1;
        }
        let is_waited_for = self.tree.waiting() > 0;
        if let Some(governor) = &mut self.governor
            && let Some(depth) = governor.note(running.node.target(), took, is_waited_for, now)
        {
            self.tree.set_depth(Some(depth));
        }
    }

    /// Ends waits; whoever pumps next wakes them.
    pub(super) fn refuse_all(&mut self, which: impl Fn(&Waiter) -> bool, why: Refusal, now: u64) {
        for key in self.keys(which) {
            let waiter = &mut self.waiters[key];
            if let Status::Queued(ticket) = waiter.status {
                waiter.status = Status::Refused(why);
                drop(waiter.stall.take());
                if !skip("refusal_wakes") {
                    self.pending.extend(waiter.waker.take());
                }
                self.tree.cancel(ticket, now);
            }
        }
    }

    /// Returns in how long somebody may go on.
    pub(super) fn next(&self, now: u64) -> Option<Duration> {
        if !self.pending.is_empty() && !skip("next_tells_of_the_refused") {
            return Some(Duration::ZERO);
        }
        let next = self.tree.next_at(now)?;
        Some(Duration::from_nanos(next.saturating_sub(now)))
    }

    /// As [`next`](Self::next), after all was granted that could be.
    pub(super) fn rest(&mut self, now: u64) -> Option<Duration> {
        self.watch.due = self.tree.next_at(now);
        self.next(now)
    }

    pub(super) fn stats(&mut self, now: u64) -> DeviceStats {
        for (_, running) in &mut self.running {
            if running.is_placed
                && !running.is_overdue
                && now.saturating_sub(running.since) > self.watch.patience
            {
                running.is_overdue = true;
                self.watch.overdue += 1;
            }
        }
        self.watch.stats(self.tree.waiting(), self.tree.in_flight(), self.tree.settings().depth())
    }
}
