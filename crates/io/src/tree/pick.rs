//! Who is next: first whoever is short of what is reserved for him, then whoever is furthest behind.

use super::{Grant, IoTree, TicketId, arena::NONE};

/// What is picked at one level.
enum Choice {
    Own,
    Child(u32),
}

impl IoTree {
    /// Grants the request that is next, if there is one that may go now.
    ///
    /// Everything is charged, at every level, when it returns. To be called again until it returns
    /// `None`: then nothing that waits may go now. O(depth · log of the siblings) for each piece that it
    /// charges and each limit that it finds closed; it never looks at nodes in which nothing waits.
    pub fn pick(&mut self, now: u64) -> Option<Grant> {
        self.advance(now);
        if self.waiting == 0 || !self.has_room() {
            return None;
        }
        self.release_due();
        self.unpark_due();
        loop {
            let (start, mask, reserved) = match self.most_urgent() {
                Some((at, mask)) => (at, mask, at),
                None => (0, self.root_mask(), NONE),
            };
            let mask = if reserved == NONE { self.open_planes(start, mask) } else { mask };
            if mask == [false; 2] {
                return None;
            }
            let Some((flow, plane)) = self.descend(start, mask) else { continue };
            if let Some(grant) = self.serve(flow, plane, reserved) {
                return Some(grant);
            }
        }
    }

    /// When [`pick`](Self::pick) may find something that it does not find at `now`.
    ///
    /// At once (`now`, or before) if it was not called until it returned `None`; `None` if nothing waits,
    /// or if only a [`complete`](Self::complete) helps. O(1).
    pub fn next_at(&self, now: u64) -> Option<u64> {
        if self.waiting == 0 || !self.has_room() {
            return None;
        }
        if self.root_mask() != [false; 2] {
            return Some(now);
        }
        let first = self.due.first()?;
        Some(u64::try_from(first.key).unwrap_or(u64::MAX))
    }

    /// The planes in which something below the root is not held back, as far as is known.
    pub(super) fn root_mask(&self) -> [bool; 2] {
        [0, 1].map(|plane| self.nodes[0].has_content(plane) && !self.is_held(0, plane))
    }

    /// Charges one piece of the first request of a flow; the grant, if it was the last one.
    pub(super) fn serve(&mut self, flow: u32, plane: usize, reserved: u32) -> Option<Grant> {
        let at = self.flows[flow].heads[plane];
        let piece = self.piece(at);
        #[cfg(test)]
        self.log.push((self.node_at(flow), piece, true));
        let ticket = &mut self.tickets[at];
        ticket.bytes -= piece.bytes;
        ticket.cost -= piece.cost;
        ticket.is_begun = true;
        if ticket.bytes > 0 {
            self.charge(flow, piece, reserved);
            return None;
        }
        let all_cost = ticket.all_cost;
        let grant = Grant { ticket: TicketId(self.tickets.key(at)), waited: self.waited(at) };
        // Who leaves his queues is not put in order there for it before.
        self.unlink(at);
        self.charge(flow, piece, reserved);
        self.depart(all_cost);
        Some(grant)
    }

    /// Goes down to the flow that is next; `None` if a limit was found closed on the way.
    fn descend(&mut self, mut at: u32, mut mask: [bool; 2]) -> Option<(u32, usize)> {
        let (now, tau) = (self.now, self.settings.tau());
        while let Choice::Child(child) = self.choose(at, mask)? {
            let tag = self.nodes[child].tag;
            let below = [0, 1].map(|plane| mask[plane] && self.is_queued(child, plane));
            mask = self.open_planes(child, below);
            if mask == [false; 2] {
                return None;
            }
            self.nodes[at].nodes.serve(tag, now, tau);
            at = child;
        }
        let node = &mut self.nodes[at];
        node.nodes.serve(node.own_tag, now, tau);
        let first = node.own.first(mask)?;
        node.own.serve(first.key, now, tau);
        let flow = &self.flows[first.id];
        let number = |plane: usize| match flow.heads[plane] {
            head if mask[plane] && head != NONE => self.tickets[head].number,
            _ => u64::MAX,
        };
        Some((first.id, usize::from(number(1) < number(0))))
    }

    fn choose(&self, at: u32, mask: [bool; 2]) -> Option<Choice> {
        let node = &self.nodes[at];
        let first = node.nodes.first(mask);
        let own = node.own.first(mask).map(|_| (node.own_tag, node.own_number));
        match (own, first) {
            (Some(own), Some(first)) if own <= (first.key, first.number) => Some(Choice::Own),
            (Some(_), None) => Some(Choice::Own),
            (_, Some(first)) => Some(Choice::Child(first.id)),
            (None, None) => None,
        }
    }

    /// The planes of `mask` in which the limits of the node are open; in the others it is held from now
    /// on. Something waits below it in all of them.
    pub(super) fn open_planes(&mut self, at: u32, mask: [bool; 2]) -> [bool; 2] {
        if self.nodes[at].limiter.is_none() {
            return mask;
        }
        let (now, credit) = (self.now, self.settings.credit());
        [0, 1].map(|plane| {
            let is_closed = mask[plane] && self.nodes[at].is_closed(plane, now, credit);
            if is_closed {
                self.hold(at, plane);
            }
            mask[plane] && !is_closed
        })
    }
}
