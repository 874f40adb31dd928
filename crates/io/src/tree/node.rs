//! A node, a flow, a ticket: what the tree knows of each.

use fief_core::Limit;

use super::{
    Dimension, Limits, Min, NodeStats, TreeSettings, WEIGHT_DEFAULT,
    arena::{Key, NONE},
    bucket::Bucket,
    queue::Queue,
};

#[derive(Debug)]
pub(super) struct Node {
    /// Start tag of the next piece among the siblings, and when it was set.
    pub(super) tag: u128,
    pub(super) number: u64,
    /// The same for the own flows together, among the children.
    pub(super) own_tag: u128,
    pub(super) own_number: u64,
    /// The children that have something to do and are not held back by a limit of their own.
    pub(super) nodes: Queue,
    /// The own flows that have something to do.
    pub(super) own: Queue,
    pub(super) limiter: Option<Box<Limiter>>,
    pub(super) reserve: Option<Box<Reserve>>,
    pub(super) stats: NodeStats,
    /// Requests that wait here and below.
    pub(super) waiting: [u32; 2],
    pub(super) parent: u32,
    pub(super) children: u32,
    pub(super) weight: u32,
}

/// With a limiter and a queue of the own flows it is below 700 bytes.
const _: () = assert!(size_of::<Node>() <= 416);
const _: () = assert!(size_of::<Limiter>() <= 272);

impl Default for Node {
    fn default() -> Self {
        Self::new(NONE, 0)
    }
}

impl Node {
    pub(super) fn new(parent: u32, tag: u128) -> Self {
        Self {
            tag,
            number: 0,
            own_tag: 0,
            own_number: 0,
            nodes: Queue::default(),
            own: Queue::default(),
            limiter: None,
            reserve: None,
            stats: NodeStats::default(),
            waiting: [0; 2],
            parent,
            children: 0,
            weight: WEIGHT_DEFAULT,
        }
    }

    /// Something waits here or below that no limit below holds back.
    pub(super) const fn has_content(&self, plane: usize) -> bool {
        !self.own.planes[plane].is_empty() || !self.nodes.planes[plane].is_empty()
    }

    pub(super) const fn content(&self) -> [bool; 2] {
        [self.has_content(0), self.has_content(1)]
    }

    /// The limiter, with what came in up to now.
    pub(super) fn limiter(&mut self, now: u64, credit: u64) -> Option<&mut Limiter> {
        let limiter = self.limiter.as_deref_mut()?;
        limiter.refill(now, self.waiting, credit);
        Some(limiter)
    }

    /// Whether a limit of this node holds the direction back now.
    pub(super) fn is_closed(&mut self, plane: usize, now: u64, credit: u64) -> bool {
        self.limiter(now, credit).is_some_and(|limiter| !limiter.is_open(plane))
    }
}

/// The dimensions that a plane counts for.
pub(super) const DIMENSIONS: [[Dimension; 4]; 2] = [
    [Dimension::Rbps, Dimension::Bps, Dimension::Riops, Dimension::Iops],
    [Dimension::Wbps, Dimension::Bps, Dimension::Wiops, Dimension::Iops],
];

/// The limits of a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Limiter {
    pub(super) buckets: [Bucket; 6],
    updated: u64,
    /// Until when unused tokens are kept, though nothing waits any more.
    keep_until: [u64; 2],
    /// Whether they are kept now.
    keeps: [bool; 2],
    /// How long something was held back here, and since when.
    held: [u64; 2],
    held_since: [u64; 2],
    /// A bit for each burst that was given.
    has_burst: u8,
}

impl Limiter {
    pub(super) fn new(now: u64) -> Self {
        Self { updated: now, ..Self::default() }
    }

    pub(super) fn set(&mut self, limits: &Limits, settings: &TreeSettings) {
        self.has_burst = 0;
        for dimension in Dimension::ALL {
            let rate = if let Limit::At(rate) = limits.rate(dimension) { rate } else { 0 };
            let burst = limits.burst_of(dimension, settings);
            self.buckets[dimension as usize].change(rate, burst);
            self.has_burst |= u8::from(limits.burst(dimension).is_some()) << dimension as u8;
        }
    }

    pub(super) fn limits(&self) -> Limits {
        let mut limits = Limits::MAX;
        for dimension in Dimension::ALL {
            let bucket = &self.buckets[dimension as usize];
            if bucket.is_limited() {
                limits = limits.with(dimension, Limit::At(bucket.rate()));
            }
            let has_burst = self.has_burst >> dimension as u8 & 1 == 1;
            limits = limits.with_burst(dimension, has_burst.then(|| bucket.burst()));
        }
        limits
    }

    pub(super) fn refill(&mut self, now: u64, waiting: [u32; 2], credit: u64) {
        self.keeps = [0, 1].map(|plane| waiting[plane] > 0 || now <= self.keep_until[plane]);
        let elapsed = now - self.updated;
        if elapsed == 0 {
            return;
        }
        self.updated = now;
        for dimension in Dimension::ALL {
            let credit = self.credit(dimension, credit);
            let bucket = &mut self.buckets[dimension as usize];
            if bucket.is_limited() {
                bucket.refill(elapsed, credit);
            }
        }
    }

    fn credit(&self, dimension: Dimension, credit: u64) -> u64 {
        let keeps = match dimension {
            Dimension::Rbps | Dimension::Riops => self.keeps[0],
            Dimension::Wbps | Dimension::Wiops => self.keeps[1],
            Dimension::Bps | Dimension::Iops => self.keeps[0] || self.keeps[1],
        };
        if keeps { credit } else { 0 }
    }

    /// Nothing waits in this direction any more: what is unused is kept for a while, because a caller
    /// that comes straight back is still waiting in all but name.
    pub(super) const fn keep(&mut self, plane: usize, now: u64, credit: u64) {
        self.keep_until[plane] = now.saturating_add(credit);
    }

    pub(super) fn is_open(&self, plane: usize) -> bool {
        DIMENSIONS[plane].into_iter().all(|of| self.buckets[of as usize].covers(0))
    }

    /// Nanoseconds until it is open even when so much is taken.
    pub(super) fn wait(&self, plane: usize, bytes: u64, ops: u64) -> u64 {
        let wait = |dimension: Dimension| {
            let tokens = if dimension.is_bytes() { bytes } else { ops };
            self.buckets[dimension as usize].wait(tokens)
        };
        DIMENSIONS[plane].into_iter().map(wait).max().unwrap_or(0)
    }

    /// Nanoseconds until no limit is in debt.
    pub(super) fn debt(&self, now: u64) -> u64 {
        let elapsed = now.saturating_sub(self.updated);
        self.buckets.iter().map(|bucket| bucket.debt(elapsed)).max().unwrap_or(0)
    }

    pub(super) fn take(&mut self, plane: usize, bytes: u64, ops: u64) {
        for dimension in DIMENSIONS[plane] {
            self.buckets[dimension as usize].take(if dimension.is_bytes() { bytes } else { ops });
        }
    }

    /// Gives back; what does not fit is lost.
    pub(super) fn give(&mut self, plane: usize, bytes: u64, ops: u64, credit: u64) {
        for dimension in DIMENSIONS[plane] {
            let credit = self.credit(dimension, credit);
            let bucket = &mut self.buckets[dimension as usize];
            bucket.give(if dimension.is_bytes() { bytes } else { ops }, credit);
        }
    }

    pub(super) const fn hold(&mut self, plane: usize, now: u64) {
        self.held_since[plane] = now;
    }

    pub(super) const fn let_go(&mut self, plane: usize, now: u64) {
        self.held[plane] += now - self.held_since[plane];
    }

    /// How long something was held back, up to now if `is_held`.
    pub(super) const fn held(&self, plane: usize, is_held: bool, now: u64) -> u64 {
        self.held[plane] + if is_held { now - self.held_since[plane] } else { 0 }
    }
}

/// What is reserved for a node, and for its children.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    /// Bytes and operations: more than 0 as long as less came than is reserved.
    buckets: [Bucket; 2],
    updated: u64,
    /// Sums of what the children have reserved.
    pub(super) children: [u128; 2],
}

impl Reserve {
    pub(super) fn is_active(&self) -> bool {
        self.buckets.iter().any(Bucket::is_limited)
    }

    pub(super) fn min(&self) -> Min {
        Min { bps: self.buckets[0].rate(), iops: self.buckets[1].rate() }
    }

    pub(super) fn set(&mut self, min: Min, now: u64) {
        self.updated = now;
        for (bucket, rate) in self.buckets.iter_mut().zip(min.rates()) {
            bucket.change_rate(rate);
        }
    }

    pub(super) fn refill(&mut self, now: u64, credit: u64) {
        let elapsed = now - self.updated;
        self.updated = now;
        for bucket in &mut self.buckets {
            bucket.refill(elapsed, credit);
        }
    }

    /// Counts what was served. More than a reservation gave is not held against it, but for one piece.
    pub(super) fn take(&mut self, bytes: u64, ops: u64, quantum: u64) {
        for ((bucket, tokens), debt) in self.buckets.iter_mut().zip([bytes, ops]).zip([quantum, 1])
        {
            bucket.take(tokens);
            bucket.forgive(debt);
        }
    }

    pub(super) fn give(&mut self, bytes: u64, ops: u64, credit: u64) {
        for (bucket, tokens) in self.buckets.iter_mut().zip([bytes, ops]) {
            bucket.give(tokens, credit);
        }
    }

    /// When it began to be short of something, or will: the earlier it is, the more urgent.
    pub(super) fn deadline(&self) -> u64 {
        let limited = self.buckets.iter().filter(|bucket| bucket.is_limited());
        limited.map(|bucket| bucket.zero_at(self.updated)).min().unwrap_or(u64::MAX)
    }
}

/// One stream of requests at a node.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) node: Key,
    /// Start tag of the next piece among the flows of the node, and when it was set.
    pub(super) tag: u128,
    pub(super) number: u64,
    /// First and last request that waits, of each direction.
    pub(super) heads: [u32; 2],
    pub(super) tails: [u32; 2],
}

impl Default for Flow {
    fn default() -> Self {
        let node = Key { index: NONE, generation: 0 };
        Self { node, tag: 0, number: 0, heads: [NONE; 2], tails: [NONE; 2] }
    }
}

/// A request that waits.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    pub(super) flow: u32,
    pub(super) plane: usize,
    pub(super) previous: u32,
    pub(super) next: u32,
    /// What is not charged yet.
    pub(super) bytes: u64,
    pub(super) cost: u64,
    /// All of it.
    pub(super) all_bytes: u64,
    pub(super) all_cost: u64,
    pub(super) is_begun: bool,
    pub(super) since: u64,
    /// How long limits had held its path back by then.
    pub(super) held: u64,
    /// How long limits had held it back before it was moved.
    pub(super) held_so_far: u64,
    /// Of two requests, who came later has the greater one.
    pub(super) number: u64,
}
