//! What a reservation has charged ahead: a pocket of its own, which drainers may call in at any time.
//!
//! The reservation is the pocket's owner, in the words of `pocket.rs`. It settles a pocket that was called
//! in as soon as it comes by, in its slow path; until then it knows what it lost.
//!
//! # Invariants
//!
//! 1. What the reservation was granted is what it uses and what the pocket's room says, whether or not the
//!    pocket is called in or settled: only the owner writes the room, and once the key is gone it changes
//!    it no more. So whoever settled the pocket took exactly that.
//! 2. `home` is there from the filling of the pocket to the moment at which the owner settles it, or finds
//!    that somebody has. Without it there is no room.
//! 3. A pocket that a drainer settled is not filled again, as the drainer may not have taken it off its
//!    list yet; the next one is new.

use crate::{
    chain,
    node::Node,
    pocket::{Pocket, Step},
    stock::{MAX_BATCH, MIN_BATCH, Whose},
    sync::Arc,
};

/// Room of one reservation.
#[derive(Debug)]
pub(super) struct Slack {
    /// The key of the group's node.
    key: u64,
    pocket: Option<Arc<Pocket>>,
    home: Option<Home>,
    /// How much to charge ahead next time, in bytes.
    batch: u64,
}

/// Where the pocket is listed.
#[derive(Debug)]
struct Home {
    node: Arc<Node>,
    entry: usize,
}

impl Slack {
    /// Makes one without a pocket, for the group whose node has `key`.
    pub(super) fn of(key: u64) -> Self {
        Self { key, pocket: None, home: None, batch: MIN_BATCH }
    }

    pub(super) fn key(&self) -> u64 {
        self.key
    }

    /// Takes `bytes` out of the pocket, if there is as much.
    #[inline(always)]
    pub(super) fn take(&mut self, bytes: u64) -> Step {
        self.pocket.as_ref().map_or(Step::Missed, |pocket| pocket.take(self.key, bytes))
    }

    /// Puts `bytes` into the pocket, if there is place.
    #[inline(always)]
    pub(super) fn put(&mut self, bytes: u64) -> Step {
        self.pocket.as_ref().map_or(Step::Missed, |pocket| pocket.put(self.key, bytes))
    }

    /// Returns how much of what was granted is in the pocket, or was taken out of it (invariant 1).
    #[inline]
    pub(super) fn room(&self) -> u64 {
        match (&self.home, &self.pocket) {
            (Some(_), Some(pocket)) => pocket.room(),
            _ => 0,
        }
    }

    /// Returns whether the pocket is called in, and not yet settled by us.
    pub(super) fn is_revoked(&self) -> bool {
        self.home.is_some() && self.pocket.as_ref().is_some_and(|pocket| pocket.is_for(0))
    }

    /// Returns how much may be charged ahead at `node`, and has the next batch be twice as large.
    pub(super) fn next_batch(&mut self, node: &Arc<Node>) -> u64 {
        let batch = self.batch_at(node);
        if batch == self.batch {
            self.batch = (2 * batch).min(MAX_BATCH);
        }
        batch
    }

    fn batch_at(&self, node: &Arc<Node>) -> u64 {
        // The node above, which answers for a removed group, has rules of its own for what is its own.
        if node.key == self.key { node.batch(self.batch) } else { 0 }
    }

    /// Takes all out of the pocket that nobody has called in.
    pub(super) fn empty(&mut self) -> u64 {
        let room = self.room();
        match self.take(room) {
            Step::Done => room,
            Step::Revoked => {
                self.settle();
                room
            }
            Step::Missed => {
                self.settle();
                0
            }
        }
    }

    /// Puts what is charged at `node` into the emptied pocket, or gives it back, and returns the room there
    /// is then.
    ///
    /// `above` is by how much use may fall without a word to us: none at all if it is `None`.
    pub(super) fn store(&mut self, node: &Arc<Node>, bytes: u64, above: Option<u64>) -> u64 {
        let batch = above.map_or(0, |_| self.batch_at(node));
        let kept = if bytes > 2 * batch { batch } else { bytes };
        give_back(node, bytes - kept);
        if batch == 0 {
            self.settle();
            return 0;
        }
        let cap = (2 * batch).min(above.unwrap_or(0) + kept);
        match &self.pocket {
            Some(pocket) if self.home.is_some() => {
                pocket.set_cap(cap);
                self.put_back(node, kept);
            }
            _ if kept > 0 => self.fill(node, kept, cap),
            _ => {}
        }
        self.room()
    }

    fn put_back(&mut self, node: &Arc<Node>, bytes: u64) {
        if bytes == 0 {
            return;
        }
        match self.put(bytes) {
            Step::Done => {}
            Step::Revoked => self.settle(),
            Step::Missed => {
                self.settle();
                give_back(node, bytes);
            }
        }
    }

    fn fill(&mut self, node: &Arc<Node>, room: u64, cap: u64) {
        let pocket = self.pocket.get_or_insert_with(|| Arc::new(Pocket::new()));
        // INVARIANT: 2.
        match node.fill(Whose::Reservation(Arc::clone(pocket)), room, cap) {
            Some(entry) => self.home = Some(Home { node: Arc::clone(node), entry }),
            None => give_back(node, room),
        }
    }

    /// Has use fall by no more than `above` without a word to us.
    pub(super) fn limit(&mut self, above: Option<u64>) {
        let (Some(pocket), Some(_), Some(above)) = (&self.pocket, &self.home, above) else {
            return self.settle();
        };
        pocket.set_cap(pocket.cap().min(above + pocket.room()));
    }

    /// Gives back what is in the pocket, unless a drainer has; there is no room after that.
    pub(super) fn settle(&mut self) {
        let (Some(home), Some(pocket)) = (self.home.take(), &self.pocket) else { return };
        match pocket.settle() {
            Some(room) => {
                give_back(&home.node, room);
                home.node.forget(home.entry);
            }
            None => {
                // INVARIANT: 3.
                self.pocket = None;
                self.batch = MIN_BATCH;
            }
        }
    }
}

/// Uncharges `bytes` at `node` and all above it.
pub(super) fn give_back(node: &Arc<Node>, bytes: u64) {
    if bytes > 0 {
        chain::uncharge(node, bytes);
    }
}
