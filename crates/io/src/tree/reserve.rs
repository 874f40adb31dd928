//! Reservations: who is short of what is reserved for him goes first.
//!
//! A reservation is a bucket that its rate fills and that everything drains which is served at the node
//! or below it, so it is above 0 exactly while less came than is reserved. Nodes with a reservation in
//! which something waits are in a heap by when their bucket was at 0, or will be: the earliest is the
//! most urgent. What is served that way counts for the shares of the ancestors, not for the node's own:
//! so a node gets its reservation or its share, whichever is more.
//!
//! Limits always win: a node that a limit of its own or above it holds back is *parked* until that may be
//! open again.
//!
//! Source: A. Gulati, A. Merchant, P. Varman, "mClock: handling throughput variability for hypervisor
//! IO scheduling", 2010 (reservation before share, and that shares pay the reservation back).

use fief_core::Limit;

use super::{IoTree, Min, NodeId, TreeError, arena::NONE, heap::Entry, node::Reserve};

impl IoTree {
    /// Sets what is reserved for the node and all below it. The root has none.
    ///
    /// A new reservation begins at 0: it has nothing saved. O(log of those that have one).
    ///
    /// # Errors
    ///
    /// [`TreeError::Min`] if it is more than the limits of the node allow, or with that of the siblings
    /// more than the parent's reservation, if it has one, or its limits; [`TreeError::MinBelow`] if it
    /// is less than what the children have; [`TreeError::Rate`] above 2^63 - 1; [`TreeError::Root`],
    /// [`TreeError::Removed`].
    pub fn set_min(&mut self, node: NodeId, min: Min, now: u64) -> Result<(), TreeError> {
        let at = self.below_root(node, "reservation")?;
        self.check_min(at, min)?;
        self.advance(now);
        let (now, credit) = (self.now, self.settings.credit());
        let former = self.min_of(at).rates();
        if min == Min::NONE && self.nodes[at].reserve.is_none() {
            return Ok(());
        }
        self.withdraw(at);
        let reserve = self.nodes[at].reserve.get_or_insert_default();
        reserve.refill(now, credit);
        reserve.set(min, now);
        self.drop_reserve(at);
        let parent = self.nodes[at].parent;
        let sums = &mut self.nodes[parent].reserve.get_or_insert_default().children;
        for ((sum, former), rate) in sums.iter_mut().zip(former).zip(min.rates()) {
            *sum = *sum - u128::from(former) + u128::from(rate);
        }
        self.drop_reserve(parent);
        if self.nodes[at].content() != [false; 2] {
            self.enrol(at);
        }
        Ok(())
    }

    /// What is reserved.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`].
    pub fn min(&self, node: NodeId) -> Result<Min, TreeError> {
        Ok(self.min_of(self.find(node)?))
    }

    /// Something waits at or below the node: it may be its turn.
    pub(super) fn enrol(&mut self, at: u32) {
        if self.nodes[at].reserve.is_none() || self.reserved_places[at as usize] != NONE {
            return;
        }
        if self.parked_places[at as usize] != NONE {
            // What has come may be of the direction that is not held back.
            self.parked.remove(at, &mut self.parked_places);
        }
        let (now, credit) = (self.now, self.settings.credit());
        let Some(reserve) = self.nodes[at].reserve.as_deref_mut() else { return };
        if reserve.is_active() {
            reserve.refill(now, credit);
            let key = u128::from(reserve.deadline());
            let entry = Entry { key, number: 0, id: at };
            self.reserved.push(entry, &mut self.reserved_places);
        }
    }

    /// Nothing waits there any more that can be served, in neither plane.
    pub(super) fn strike(&mut self, at: u32) {
        if self.nodes[at].reserve.is_none() || self.nodes[at].content() != [false; 2] {
            return;
        }
        self.withdraw(at);
    }

    /// A reservation was drained or filled.
    pub(super) fn rerank(&mut self, at: u32) {
        if self.reserved_places[at as usize] == NONE {
            return;
        }
        let Some(reserve) = self.nodes[at].reserve.as_deref() else { return };
        let entry = Entry { key: u128::from(reserve.deadline()), number: 0, id: at };
        self.reserved.update(entry, &mut self.reserved_places);
    }

    /// The node that is most short of its reservation and may be served, and in which planes.
    pub(super) fn most_urgent(&mut self) -> Option<(u32, [bool; 2])> {
        while let Some(first) = self.reserved.first()
            && first.key <= u128::from(self.now)
        {
            let at = first.id;
            let mask = self.open_above(at);
            if mask != [false; 2] {
                return Some((at, mask));
            }
        }
        None
    }

    /// Those that were parked come back whose time has come.
    pub(super) fn unpark_due(&mut self) {
        while let Some(first) = self.parked.first()
            && first.key <= u128::from(self.now)
        {
            self.parked.remove(first.id, &mut self.parked_places);
            self.enrol(first.id);
        }
    }

    /// A limit opened before its time: whoever is parked looks again.
    pub(super) fn unpark_all(&mut self) {
        while let Some(first) = self.parked.first() {
            self.parked.remove(first.id, &mut self.parked_places);
            self.enrol(first.id);
        }
    }

    /// The reservation of a node that goes is free again.
    pub(super) fn release_min(&mut self, at: u32) {
        self.withdraw(at);
        let former = self.min_of(at).rates();
        let parent = self.nodes[at].parent;
        if let Some(reserve) = self.nodes[parent].reserve.as_deref_mut() {
            for (sum, former) in reserve.children.iter_mut().zip(former) {
                *sum -= u128::from(former);
            }
        }
        self.drop_reserve(parent);
    }

    fn withdraw(&mut self, at: u32) {
        if self.reserved_places[at as usize] != NONE {
            self.reserved.remove(at, &mut self.reserved_places);
        }
        if self.parked_places[at as usize] != NONE {
            self.parked.remove(at, &mut self.parked_places);
        }
    }

    /// The planes in which neither the limits of the node nor those above it hold it back. If there are
    /// none, it is parked, or has just left.
    fn open_above(&mut self, at: u32) -> [bool; 2] {
        let content = self.nodes[at].content();
        let mut mask = content;
        let mut opens_at = [0; 2];
        let mut next = Some(at);
        while let Some(above) = next {
            for plane in 0..2 {
                if content[plane] && self.is_held(above, plane) {
                    mask[plane] = false;
                    opens_at[plane] = self.opens_at(above, plane).max(opens_at[plane]);
                }
            }
            let open = self.open_planes(above, mask);
            for plane in 0..2 {
                if mask[plane] && !open[plane] {
                    opens_at[plane] = self.opens_at(above, plane).max(opens_at[plane]);
                }
            }
            mask = open;
            next = self.parent_of(above);
        }
        if mask == [false; 2] && self.reserved_places[at as usize] != NONE {
            let times = (0..2).filter(|plane| content[*plane]).map(|plane| opens_at[plane]);
            let key = u128::from(times.min().unwrap_or(u64::MAX));
            self.reserved.remove(at, &mut self.reserved_places);
            self.parked.push(Entry { key, number: 0, id: at }, &mut self.parked_places);
        }
        mask
    }

    fn min_of(&self, at: u32) -> Min {
        self.nodes[at].reserve.as_ref().map_or(Min::NONE, |reserve| reserve.min())
    }

    /// Drops the record of a node that neither has a reservation nor children with one.
    fn drop_reserve(&mut self, at: u32) {
        let node = &mut self.nodes[at];
        node.reserve.take_if(|reserve| !reserve.is_active() && reserve.children == [0; 2]);
    }

    fn check_min(&self, at: u32, min: Min) -> Result<(), TreeError> {
        let node = NodeId(self.nodes.key(at));
        let parent = self.nodes[at].parent;
        let above = NodeId(self.nodes.key(parent));
        let sums = |at: u32| {
            self.nodes[at].reserve.as_deref().map_or([0; 2], |reserve: &Reserve| reserve.children)
        };
        let former = self.min_of(at).rates();
        let (own, parents) = (self.limits_of(at).most(), self.limits_of(parent).most());
        let reserved = self.min_of(parent).rates();
        for (kind, min) in min.rates().into_iter().enumerate() {
            let (what, dimension) = super::limits::KINDS[kind];
            if min > super::RATE_MAX {
                return Err(TreeError::Rate { dimension, rate: min });
            }
            let below = sums(at)[kind];
            if min > 0 && below > u128::from(min) {
                return Err(TreeError::MinBelow { node, what, min, sum: below });
            }
            let sum = sums(parent)[kind] - u128::from(former[kind]) + u128::from(min);
            let exceeds = |most: Limit| match most {
                Limit::At(most) => min > 0 && sum > u128::from(most),
                Limit::Max => false,
            };
            if let Limit::At(most) = own[kind]
                && min > most
            {
                let sum = u128::from(min);
                return Err(TreeError::Min { node, what, min, sum, above: node, most: own[kind] });
            }
            let most = match reserved[kind] {
                0 => parents[kind],
                reserved => parents[kind].min(Limit::At(reserved)),
            };
            if exceeds(most) {
                return Err(TreeError::Min { node, what, min, sum, above, most });
            }
        }
        Ok(())
    }
}
