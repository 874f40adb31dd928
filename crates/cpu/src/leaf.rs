//! What waits in one group: the queues of its members that have something to run, in a ring.
//!
//! # Invariants
//!
//! 1. A queue is in the ring of its leaf exactly if it is `is_listed`, which is so exactly if it has items and is
//!    not frozen. It changes under the queue's lock, with the leaf's taken inside.
//! 2. The leaf's node is active in the tree exactly if the ring is not empty (`sched.rs`).
//! 3. The ring counts the claims in its queues, and the scheduler knows whether there are any.
//!
//! Locks are taken in the order queue, leaf, scheduler.
//!
//! # Tests
//!
//! `tests/loom_leaf.rs`.

use std::{collections::VecDeque, fmt};

use crate::{
    foreign::{CpuCss, WeakCss},
    queue::{Item, Queue, Want},
    rare::Rare,
    sched::{Call, News, Sched},
    sync::{Arc, AtomicU32, Mutex, MutexGuard, OnceLock, Ordering, skip},
    tree::NodeId,
    wait::Wait,
};

/// What a worker takes at a time should take, in nanoseconds.
const BATCH_TIME: u32 = 50_000;

/// Below this a poll is short, in nanoseconds.
const SHORT: u32 = 500;

/// After how many short polls the clock is read.
const STRIDE: u32 = 4;

/// How many items a worker takes at a time, at most.
const MOST: u32 = 32;

/// What waits in one group.
pub(crate) struct Leaf {
    pub(crate) node: NodeId,
    pub(crate) parent: Option<Arc<Self>>,
    pub(crate) sched: Arc<Sched>,
    ring: Mutex<Ring>,
    /// A [`Pace`].
    poll: AtomicU32,
    pub(crate) wait: Wait,
    pub(crate) rare: OnceLock<Box<Rare>>,
    /// Its group, once that is online.
    pub(crate) css: OnceLock<WeakCss<CpuCss>>,
}

/// How long a poll takes in a group, about, in nanoseconds.
///
/// A worker has its own while it does a slice: a word that two write after each poll costs more than a short poll.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace(u32);

#[derive(Default)]
struct Ring {
    queues: VecDeque<Arc<Queue>>,
    claims: u32,
}

// With its node in the tree, 192 bytes at most, and places in tables, a group stays below 512 bytes.
#[cfg(not(loom))]
const _: () = assert!(size_of::<Leaf>() + size_of::<CpuCss>() <= 192);

impl Leaf {
    pub(crate) fn new(sched: &Arc<Sched>, node: NodeId, parent: Option<Arc<Self>>) -> Self {
        Self {
            node,
            parent,
            sched: Arc::clone(sched),
            ring: Mutex::default(),
            poll: AtomicU32::new(BATCH_TIME),
            wait: Wait::new(),
            rare: OnceLock::new(),
            css: OnceLock::new(),
        }
    }

    /// Returns the path of its group, as far as it is known.
    pub(crate) fn path(&self) -> String {
        let css = self.css.get().and_then(WeakCss::upgrade);
        css.map_or_else(|| String::from("a removed group"), |css| css.path())
    }

    /// Returns how long a poll takes here, about, for a slice to go by.
    pub(crate) fn pace(&self) -> Pace {
        // Ordering: Relaxed, here and below: an estimate, in which what several write at once may be lost.
        Pace(self.poll.load(Ordering::Relaxed))
    }

    /// Notes what a slice has learnt.
    pub(crate) fn set_pace(&self, Pace(poll): Pace) {
        if self.poll.load(Ordering::Relaxed) != poll {
            self.poll.store(poll, Ordering::Relaxed);
        }
    }

    /// Puts a queue into the ring; the caller holds its lock. A worker that looks for something to do next
    /// passes `is_busy`.
    pub(crate) fn list(&self, queue: Arc<Queue>, is_busy: bool) -> Call {
        let mut ring = self.ring.lock();
        let before = ring.claims;
        ring.claims += queue.claims();
        ring.queues.push_back(queue);
        let news = News { waits: ring.queues.len() == 1, claims: before == 0 && ring.claims > 0 };
        self.sched.activate(self, news, is_busy)
    }

    /// Notes that a claim was put into a queue that is in the ring; the caller holds its lock.
    pub(crate) fn has_claim(&self) -> Call {
        let mut ring = self.ring.lock();
        ring.claims += 1;
        self.sched.activate(self, News { waits: false, claims: ring.claims == 1 }, false)
    }

    /// Notes that so many claims were taken out of a queue that is in the ring; the caller holds its lock.
    pub(crate) fn lost_claims(&self, count: u32) {
        self.quieten(self.ring.lock(), count);
    }

    /// Takes a queue out of the ring, wherever it is; the caller holds its lock.
    pub(crate) fn unlist(&self, queue: &Arc<Queue>) {
        let mut ring = self.ring.lock();
        let place = ring.queues.iter().position(|other| Arc::ptr_eq(other, queue));
        // The last owner is the caller's, who holds the lock of it.
        let gone = place.and_then(|place| ring.queues.remove(place));
        if gone.is_some() {
            self.quieten(ring, queue.claims());
        } else {
            drop(ring);
        }
        drop(gone);
    }

    /// Notes what waits no longer, after items were taken, and unlocks the ring.
    fn quieten(&self, mut ring: MutexGuard<'_, Ring>, claims: u32) {
        ring.claims -= claims;
        let news = News { waits: ring.queues.is_empty(), claims: claims > 0 && ring.claims == 0 };
        if skip("leaf_quietens_inside") {
            drop(ring);
        }
        self.sched.deactivate(self, news);
    }

    /// Takes of the first queue that has it what is wanted. The queue goes to the end of the ring if it has more,
    /// and is to be [released](Queue::release) after.
    pub(crate) fn take(&self, want: Want, into: &mut VecDeque<Item>) -> Option<Arc<Queue>> {
        loop {
            let has_it = |queue: &&Arc<Queue>| want != Want::Claim || queue.claims() > 0;
            let queue = Arc::clone(self.ring.lock().queues.iter().find(has_it)?);
            let mut items = queue.lock();
            let mut ring = self.ring.lock();
            let mut queues = ring.queues.iter();
            let is_it = |other: &Arc<Queue>| Arc::ptr_eq(other, &queue) || skip("leaf_looks_again");
            let Some(place) = queues.position(is_it) else {
                continue; // somebody else was quicker
            };
            let had = into.len();
            let claims = items.take(&queue, want, into);
            if into.len() == had && claims == 0 {
                return None; // a claim comes first
            }
            let was = ring.queues.remove(place);
            if items.has_items() {
                ring.queues.extend(was);
            } else if !skip("leaf_unlists") {
                items.set_unlisted();
            }
            self.quieten(ring, claims);
            drop(items);
            if into.len() > had {
                return Some(queue);
            }
        }
    }
}

impl Pace {
    /// Returns how many items to take at a time: what takes [`BATCH_TIME`], about.
    pub(crate) fn batch(self) -> usize {
        (BATCH_TIME / self.0.max(1)).clamp(1, MOST) as usize
    }

    /// Returns after how many polls to read the clock: after each, unless polls here take less than it is worth.
    ///
    /// One that suddenly takes long is noticed up to three polls late, and the next after that in time.
    pub(crate) fn stride(self) -> u32 {
        if self.0 < SHORT { STRIDE } else { 1 }
    }

    /// Notes how long a poll took.
    pub(crate) fn note(&mut self, nanos: u64) {
        let after = (u64::from(self.0) * 7 + nanos.min(1 << 24)) / 8;
        self.0 = u32::try_from(after).unwrap_or(u32::MAX);
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("node", &self.node).finish_non_exhaustive()
    }
}
