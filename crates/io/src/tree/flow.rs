//! Requests that come, wait and are taken back; flows that open, move and close.

use super::{
    Blocked, FlowId, IoTree, NodeId, Request, TicketId, TreeError, WEIGHT_DEFAULT, Waited,
    arena::{MOST, NONE},
    charge::Charge,
    heap::Entry,
    node::{Flow, Ticket},
    queue::span,
};

impl IoTree {
    /// Opens a flow at a node: requests that are served in their order, reads and writes apart.
    ///
    /// Flows of a node share what the node gets equally. A new one begins where the others are.
    /// O(1), amortised.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`], [`TreeError::Full`].
    pub fn open_flow(&mut self, node: NodeId) -> Result<FlowId, TreeError> {
        let at = self.find(node)?;
        let flow = Flow { node: node.0, tag: self.nodes[at].own.clock, ..Flow::default() };
        let key = self.flows.insert(flow).ok_or(TreeError::Full { what: "flows", most: MOST })?;
        for places in &mut self.flow_places {
            places.resize(self.flows.len(), NONE);
        }
        Ok(FlowId(key))
    }

    /// Closes a flow, cancels what waits in it and returns that, in order: reads, then writes.
    ///
    /// Ignored if the flow is closed. O(log of the siblings at each level) for each request.
    pub fn close_flow(&mut self, flow: FlowId, now: u64) -> Vec<TicketId> {
        self.advance(now);
        let Some(at) = self.flows.find(flow.0) else { return Vec::new() };
        let cancelled = self.tickets_of(at);
        for ticket in &cancelled {
            self.cancel(*ticket, now);
        }
        self.flows.remove(at);
        cancelled
    }

    /// Moves a flow, with what waits in it, to another node. Also revives one whose node is removed.
    ///
    /// Requests keep their order and the time for which they waited. What was charged of them is given
    /// back where it was taken, and the flow begins where the others are.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`], [`TreeError::Closed`].
    pub fn move_flow(&mut self, flow: FlowId, node: NodeId, now: u64) -> Result<(), TreeError> {
        let to = self.find(node)?;
        let at = self.flows.find(flow.0).ok_or(TreeError::Closed { flow })?;
        self.advance(now);
        if self.flows[at].node == node.0 {
            return Ok(());
        }
        // Nothing waits in a flow whose node is gone.
        let tickets = self.tickets_of(at);
        for ticket in &tickets {
            self.restore(ticket.0.index);
        }
        let counts = self.detach(at);
        let clock = self.nodes[to].own.clock;
        let flow = &mut self.flows[at];
        (flow.node, flow.tag) = (node.0, clock);
        for ticket in tickets {
            let ticket = ticket.0.index;
            let plane = self.tickets[ticket].plane;
            let before = self.held_above(to, plane);
            let spent = self.tickets[ticket].held_so_far;
            self.tickets[ticket].held = before.wrapping_sub(spent);
        }
        for (plane, count) in counts.into_iter().enumerate() {
            if count > 0 {
                self.count_waiting(to, plane, count);
                self.join(at, plane);
            }
        }
        Ok(())
    }

    /// The node of a flow; `None` if the flow is closed or its node is removed.
    pub fn node_of(&self, flow: FlowId) -> Option<NodeId> {
        let node = self.flows[self.flows.find(flow.0)?].node;
        self.nodes.find(node).map(|_| NodeId(node))
    }

    /// Lets a request wait until it is [picked](Self::pick). Nothing is charged yet.
    ///
    /// O(depth), and O(log of the siblings) at each level at which nothing waited.
    ///
    /// # Errors
    ///
    /// [`TreeError::Closed`] if the flow or its node is gone, [`TreeError::Full`].
    pub fn enqueue(
        &mut self,
        flow: FlowId,
        request: Request,
        now: u64,
    ) -> Result<TicketId, TreeError> {
        let (at, node) = self.find_flow(flow).ok_or(TreeError::Closed { flow })?;
        self.advance(now);
        let plane = request.direction as usize;
        let ticket = Ticket {
            flow: at,
            plane,
            previous: self.flows[at].tails[plane],
            next: NONE,
            bytes: request.bytes,
            cost: request.cost,
            all_bytes: request.bytes,
            all_cost: request.cost,
            is_begun: false,
            since: self.now,
            held: self.held_above(node, plane),
            held_so_far: 0,
            number: self.next_number(),
        };
        let key = self.tickets.insert(ticket);
        let key = key.ok_or(TreeError::Full { what: "tickets", most: MOST })?;
        self.count_waiting(node, plane, 1);
        let last = std::mem::replace(&mut self.flows[at].tails[plane], key.index);
        if last == NONE {
            self.flows[at].heads[plane] = key.index;
            self.join(at, plane);
        } else {
            self.tickets[last].next = key.index;
        }
        Ok(TicketId(key))
    }

    /// Takes a request that waits back and gives back what was charged of it, exactly.
    ///
    /// Returns how long it waited; `None`, and nothing happens, if it does not wait: it was granted,
    /// cancelled, or never there.
    pub fn cancel(&mut self, ticket: TicketId, now: u64) -> Option<Waited> {
        self.advance(now);
        let at = self.tickets.find(ticket.0)?;
        let waited = self.waited(at);
        self.restore(at);
        self.unlink(at);
        Some(waited)
    }

    /// Grants a request at once, or not at all.
    ///
    /// The same as [`enqueue`](Self::enqueue) and a [`pick`](Self::pick) that finds it, so nobody
    /// gets past those who wait, and a large request does not get past its pieces.
    ///
    /// # Errors
    ///
    /// [`Blocked`] says why; nothing is charged.
    pub fn try_grant(&mut self, flow: FlowId, request: Request, now: u64) -> Result<(), Blocked> {
        let (at, node) = self.find_flow(flow).ok_or(Blocked::Closed { flow })?;
        self.advance(now);
        if !self.has_room() {
            return Err(Blocked::Depth);
        }
        self.release_due();
        let plane = request.direction as usize;
        if self.root_mask() != [false; 2] || self.flows[at].heads[plane] != NONE {
            return Err(Blocked::Queue);
        }
        self.check_limits(node, plane, request.bytes)?;
        // Full of tickets means that others wait.
        let ticket = self.enqueue(flow, request, now).map_err(|_| Blocked::Queue)?;
        self.pass(at, node);
        while self.serve(at, plane, NONE).is_none() {}
        debug_assert!(self.tickets.find(ticket.0).is_none());
        Ok(())
    }

    /// Charges a request whatever the limits and the depth say, and grants it: for operations that
    /// others wait for, such as a write under a lock. Debt is paid back before the next grant.
    ///
    /// # Errors
    ///
    /// [`TreeError::Closed`].
    pub fn force(&mut self, flow: FlowId, request: Request, now: u64) -> Result<(), TreeError> {
        let (at, node) = self.find_flow(flow).ok_or(TreeError::Closed { flow })?;
        self.advance(now);
        self.freshen(at, node);
        let Request { direction, bytes, cost } = request;
        let charge = Charge { plane: direction as usize, bytes, ops: 1, cost };
        self.charge(at, charge, NONE);
        #[cfg(test)]
        self.log.push((node, charge, false));
        self.depart(cost);
        Ok(())
    }

    /// Where a flow and its node are.
    pub(super) fn find_flow(&self, flow: FlowId) -> Option<(u32, u32)> {
        let at = self.flows.find(flow.0)?;
        Some((at, self.nodes.find(self.flows[at].node)?))
    }

    /// Where the node of a flow is in which something waits.
    pub(super) fn node_at(&self, flow: u32) -> u32 {
        self.flows[flow].node.index
    }

    /// How long a request has waited.
    pub(super) fn waited(&self, at: u32) -> Waited {
        let ticket = &self.tickets[at];
        let total = self.now - ticket.since;
        let held = self.held_above(self.node_at(ticket.flow), ticket.plane);
        // A limiter that was taken away takes its time with it.
        let limit = held.wrapping_sub(ticket.held);
        let limit = if limit > u64::MAX / 2 { 0 } else { limit.min(total) };
        Waited { limit, queue: total - limit }
    }

    /// Takes a request out of its flow.
    pub(super) fn unlink(&mut self, at: u32) {
        let Ticket { flow, plane, previous, next, .. } = self.tickets.remove(at);
        let node = self.node_at(flow);
        match previous {
            NONE => self.flows[flow].heads[plane] = next,
            previous => self.tickets[previous].next = next,
        }
        match next {
            NONE => self.flows[flow].tails[plane] = previous,
            next => self.tickets[next].previous = previous,
        }
        self.discount_waiting(node, plane, 1);
        if self.flows[flow].heads[plane] == NONE {
            self.quit(flow, plane);
        }
    }

    /// Gives a flow another tag among the flows of its node.
    pub(super) fn set_flow_tag(&mut self, flow: u32, tag: u128) {
        let number = self.next_number();
        let node = self.node_at(flow);
        (self.flows[flow].tag, self.flows[flow].number) = (tag, number);
        let own = &mut self.nodes[node].own;
        own.reach(tag);
        for plane in 0..2 {
            let places = &mut self.flow_places[plane];
            if places[flow as usize] != NONE {
                own.planes[plane].update(Entry { key: tag, number, id: flow }, places);
            }
        }
    }

    pub(super) fn set_own_tag(&mut self, at: u32, tag: u128) {
        let number = self.next_number();
        let node = &mut self.nodes[at];
        (node.own_tag, node.own_number) = (tag, number);
        node.nodes.reach(tag);
    }

    /// All requests that wait in a flow, in order: reads, then writes.
    pub(super) fn tickets_of(&self, flow: u32) -> Vec<TicketId> {
        let mut found = Vec::new();
        for head in self.flows[flow].heads {
            let mut next = head;
            while next != NONE {
                found.push(TicketId(self.tickets.key(next)));
                next = self.tickets[next].next;
            }
        }
        found
    }

    /// The first request of the flow in this direction has come.
    fn join(&mut self, flow: u32, plane: usize) {
        let (now, tau) = (self.now, self.settings.tau());
        let at = self.node_at(flow);
        let is_first = self.nodes[at].own.is_empty();
        if is_first {
            let number = self.next_number();
            let is_idle = self.is_idle(at);
            let node = &mut self.nodes[at];
            node.own_tag = node.nodes.come(node.own_tag, is_idle, now, tau);
            node.own_number = number;
        }
        if self.flow_places[1 - plane][flow as usize] == NONE {
            let number = self.next_number();
            let tag = self.nodes[at].own.come(self.flows[flow].tag, is_first, now, tau);
            (self.flows[flow].tag, self.flows[flow].number) = (tag, number);
        }
        let Flow { tag, number, .. } = self.flows[flow];
        let heap = &mut self.nodes[at].own.planes[plane];
        heap.push(Entry { key: tag, number, id: flow }, &mut self.flow_places[plane]);
        self.wake(at, plane);
    }

    /// The last request of the flow in this direction has gone.
    fn quit(&mut self, flow: u32, plane: usize) {
        let at = self.node_at(flow);
        self.nodes[at].own.planes[plane].remove(flow, &mut self.flow_places[plane]);
        self.sleep(at, plane);
    }

    /// Takes a flow with all that waits in it out of its node; says how much that is.
    fn detach(&mut self, flow: u32) -> [u32; 2] {
        let mut counts = [0; 2];
        for ticket in self.tickets_of(flow) {
            counts[self.tickets[ticket.0.index].plane] += 1;
        }
        for (plane, count) in counts.into_iter().enumerate() {
            if count > 0 {
                self.discount_waiting(self.node_at(flow), plane, count);
                self.quit(flow, plane);
            }
        }
        counts
    }

    /// Gives back what was charged of a request that waits.
    fn restore(&mut self, at: u32) {
        let ticket = &self.tickets[at];
        let (flow, plane) = (ticket.flow, ticket.plane);
        let node = self.node_at(flow);
        let so_far = self.waited(at).limit;
        let ticket = &mut self.tickets[at];
        ticket.held_so_far = so_far;
        if !ticket.is_begun {
            return;
        }
        let bytes = ticket.all_bytes - ticket.bytes;
        let cost = ticket.all_cost - ticket.cost;
        (ticket.bytes, ticket.cost, ticket.is_begun) = (ticket.all_bytes, ticket.all_cost, false);
        self.give_back(node, Some(flow), Charge { plane, bytes, ops: 1, cost });
    }

    /// Whether all pieces of a request could be taken one after the other now.
    fn check_limits(&mut self, node: u32, plane: usize, bytes: u64) -> Result<(), Blocked> {
        let (now, credit) = (self.now, self.settings.credit());
        let quantum = self.settings.piece(bytes);
        let before_last = (bytes.max(1) - 1) / quantum * quantum;
        let ops = u64::from(before_last > 0);
        let mut next = Some(node);
        let mut blocked = None;
        while let Some(at) = next {
            if let Some(limiter) = self.nodes[at].limiter(now, credit) {
                let wait = limiter.wait(plane, before_last, ops);
                if wait > 0 && blocked.is_none_or(|(longest, _)| wait > longest) {
                    blocked = Some((wait, at));
                }
            }
            next = self.parent_of(at);
        }
        let Some((wait, at)) = blocked else { return Ok(()) };
        let node = NodeId(self.nodes.key(at));
        Err(Blocked::Limit { node, until: now.saturating_add(wait) })
    }

    /// The flow and all above it come as if they had waited, where they do not.
    fn freshen(&mut self, flow: u32, node: u32) {
        let (now, tau) = (self.now, self.settings.tau());
        let is_none = |places: &[Vec<u32>; 2], at: u32| {
            places.iter().all(|places| places[at as usize] == NONE)
        };
        let is_own_idle = self.nodes[node].own.is_empty();
        if is_none(&self.flow_places, flow) {
            let tag = self.nodes[node].own.come(self.flows[flow].tag, is_own_idle, now, tau);
            self.flows[flow].tag = tag;
        }
        if is_own_idle {
            let is_idle = self.is_idle(node);
            let node = &mut self.nodes[node];
            node.own_tag = node.nodes.come(node.own_tag, is_idle, now, tau);
        }
        let mut at = node;
        while let Some(parent) = self.parent_of(at) {
            if is_none(&self.node_places, at) {
                let is_idle = self.is_idle(parent);
                let tag = self.nodes[at].tag;
                let tag = self.nodes[parent].nodes.come(tag, is_idle, now, tau);
                self.nodes[at].tag = tag;
            }
            at = parent;
        }
    }

    /// The clocks go on to the flow and all above it, though nobody chose it.
    fn pass(&mut self, flow: u32, node: u32) {
        let (now, tau) = (self.now, self.settings.tau());
        let tag = self.flows[flow].tag;
        self.nodes[node].own.serve(tag, now, tau);
        let tag = self.nodes[node].own_tag;
        self.nodes[node].nodes.serve(tag, now, tau);
        let mut at = node;
        while let Some(parent) = self.parent_of(at) {
            let tag = self.nodes[at].tag;
            self.nodes[parent].nodes.serve(tag, now, tau);
            at = parent;
        }
    }

    /// How far a piece takes a flow, and the own flows of a node together.
    pub(super) fn own_span(cost: u64) -> u128 {
        span(cost, WEIGHT_DEFAULT)
    }
}
