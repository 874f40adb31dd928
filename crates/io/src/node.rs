//! A group on a device: where it is in the device's tree, and what it did there.
//!
//! Nodes are made when a group uses a device for the first time, or is given a limit for it, together with those of the
//! groups above. Handles have them at hand; no operation looks one up.
//!
//! # Invariants
//!
//! 1. Figures, and the list of nodes below, change under the device's lock. What cells count is added when somebody
//!    looks; a cell belongs to one node, which is the parent once a node is retired.

use std::{fmt, ptr};

use crate::{
    cell::{Cell, Counts},
    foreign::{CssRef, DeviceInner, IoCss, Stalls, WeakCss},
    op::{Kind, Op},
    sync::{Arc, AtomicU64, Mutex, OnceLock, Ordering, Weak, unique},
    tree::NodeId,
};

/// A group on a device.
pub(crate) struct Node {
    /// No other node of the process ever has it; not 0.
    pub(crate) key: u64,
    pub(crate) id: NodeId,
    pub(crate) device: Arc<DeviceInner>,
    pub(crate) above: Option<Arc<Self>>,
    css: WeakCss<IoCss>,
    cells: Mutex<Cells>,
    /// Those of groups below, which keep this one.
    below: Mutex<Vec<Weak<Self>>>,
    /// The pressure of its group.
    stalls: Arc<Stalls>,
    /// The latency that its group is to have there, in nanoseconds; 0 for none.
    pub(crate) target: AtomicU64,
    figures: [AtomicU64; Figure::COUNT],
    /// Whether the one above answers for it: its group is gone.
    is_retired: OnceLock<()>,
}

#[derive(Default)]
struct Cells {
    live: Vec<&'static Cell>,
    /// What cells counted that are gone.
    past: Counts,
}

/// What is counted for a node; times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    Reads,
    ReadBytes,
    Writes,
    WriteBytes,
    Discards,
    DiscardBytes,
    LimitWait,
    QueueWait,
    Waiting,
    Cost,
    Urgent,
    InFlight,
}

impl Figure {
    pub(crate) const COUNT: usize = Self::InFlight as usize + 1;

    /// Returns the figures of operations and bytes of a kind.
    const fn of(kind: Kind) -> [Self; 2] {
        match kind {
            Kind::Read => [Self::Reads, Self::ReadBytes],
            Kind::Write => [Self::Writes, Self::WriteBytes],
            Kind::Discard => [Self::Discards, Self::DiscardBytes],
        }
    }
}

impl Node {
    pub(crate) fn new(
        id: NodeId,
        device: Arc<DeviceInner>,
        above: Option<Arc<Self>>,
        css: WeakCss<IoCss>,
        stalls: Arc<Stalls>,
    ) -> Arc<Self> {
        Arc::new(Self {
            key: unique(),
            id,
            device,
            above,
            css,
            cells: Mutex::default(),
            below: Mutex::default(),
            stalls,
            target: AtomicU64::new(0),
            figures: std::array::from_fn(|_| AtomicU64::new(0)),
            is_retired: OnceLock::new(),
        })
    }

    /// Returns the path of its group, as far as it is known.
    pub(crate) fn path(&self) -> String {
        self.css.upgrade().map_or_else(|| String::from("a removed group"), |css| css.path())
    }

    /// Returns the css of its group, unless that is gone.
    pub(crate) fn css(&self) -> Option<CssRef<IoCss>> {
        self.css.upgrade()
    }

    /// Makes a cell of it for the calling thread.
    pub(crate) fn new_cell(&self) -> &'static Cell {
        let cell = Cell::reuse();
        self.cells.lock().live.push(cell);
        cell
    }

    /// Folds a cell that nobody uses any more; under the device's lock.
    pub(crate) fn fold(&self, cell: &'static Cell) {
        let mut cells = self.answering().cells.lock();
        if let Some(at) = cells.live.iter().position(|other| ptr::eq(*other, cell)) {
            cells.live.swap_remove(at);
            cells.past = cells.past.plus(cell.counts());
        }
    }

    /// Notes a node below; under the device's lock.
    pub(crate) fn adopt(&self, node: &Arc<Self>) {
        self.below.lock().push(Arc::downgrade(node));
    }

    /// Leaves what it counted to the node above; under the device's lock.
    pub(crate) fn retire(&self) {
        if self.is_retired.set(()).is_err() || self.above.is_none() {
            return;
        }
        let heir = self.answering();
        let cells = std::mem::take(&mut *self.cells.lock());
        let mut theirs = heir.cells.lock();
        theirs.live.extend(cells.live);
        theirs.past = theirs.past.plus(cells.past);
        drop(theirs);
        for (own, theirs) in self.figures.iter().zip(&heir.figures) {
            change(theirs, own.load(Ordering::Relaxed));
        }
        heir.below.lock().retain(|node| node.upgrade().is_some_and(|node| node.key != self.key));
    }

    /// Returns it and all below it.
    pub(crate) fn groups(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut groups = vec![Arc::clone(self)];
        let mut next = 0;
        while let Some(node) = groups.get(next).cloned() {
            groups.extend(node.below.lock().iter().filter_map(Weak::upgrade));
            next += 1;
        }
        groups
    }

    /// Counts somebody who waits, here and for the pressure of all groups above, until that is dropped; both under
    /// the device's lock.
    pub(crate) fn stall(self: &Arc<Self>) -> Stall {
        self.levels().for_each(|node| node.stalls.begin());
        self.add(Figure::Waiting, 1);
        Stall { node: Arc::clone(self) }
    }

    /// Counts an operation that goes to the device, here and for the pressure of all groups above; under its lock.
    pub(crate) fn depart(&self) {
        self.levels().for_each(|node| node.stalls.depart());
        self.add(Figure::InFlight, 1);
    }

    /// Counts one of those that comes back; under the device's lock.
    pub(crate) fn come_back(&self) {
        self.add(Figure::InFlight, 1u64.wrapping_neg());
        self.levels().for_each(|node| node.stalls.come_back());
    }

    fn levels(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |node| node.above.as_deref())
    }

    fn answering(&self) -> &Self {
        let mut node = self;
        while let (true, Some(above)) = (node.is_retired(), node.above.as_deref()) {
            node = above;
        }
        node
    }

    /// Returns whether its group is gone; exact under the device's lock.
    pub(crate) fn is_retired(&self) -> bool {
        self.is_retired.get().is_some()
    }

    /// Returns the place in the tree where what was charged for it is still charged.
    pub(crate) fn answering_id(&self) -> NodeId {
        self.answering().id
    }

    /// Returns the latency that its group, or the next one above that has one, is to have; and whose that is.
    pub(crate) fn target(&self) -> Option<(u64, u64)> {
        // Ordering: Relaxed: the word says all there is to know.
        let own = |node: &Self| (node.key, node.target.load(Ordering::Relaxed));
        self.levels().map(own).find(|(_, target)| *target != 0)
    }

    /// Adds to a figure, or takes from it what wraps around; under the device's lock.
    pub(crate) fn add(&self, figure: Figure, more: u64) {
        change(&self.answering().figures[figure as usize], more);
    }

    /// Counts an operation; under the device's lock.
    pub(crate) fn count(&self, op: Op) {
        let [ops, bytes] = Figure::of(op.kind);
        self.add(ops, 1);
        self.add(bytes, op.bytes);
    }

    /// Takes back what was counted of an operation that was shorter than that; under the device's lock.
    pub(crate) fn uncount(&self, kind: Kind, ops: u64, bytes: u64) {
        let figures = Figure::of(kind);
        self.add(figures[0], ops.wrapping_neg());
        self.add(figures[1], bytes.wrapping_neg());
    }

    /// Returns the figures of the group's own operations; under the device's lock.
    pub(crate) fn own(&self) -> [u64; Figure::COUNT] {
        let cells = self.cells.lock();
        let live = cells.live.iter().map(|cell| cell.counts());
        let counts = live.fold(cells.past, Counts::plus);
        drop(cells);
        // Ordering: Relaxed: the device's lock is held.
        let mut own = self.figures.each_ref().map(|figure| figure.load(Ordering::Relaxed));
        let [reads, read_bytes] = Figure::of(Kind::Read);
        let [writes, write_bytes] = Figure::of(Kind::Write);
        let ops = counts.ops.into_iter().zip([reads, writes]);
        for (more, figure) in ops.chain(counts.bytes.into_iter().zip([read_bytes, write_bytes])) {
            own[figure as usize] = own[figure as usize].wrapping_add(more);
        }
        own
    }

    /// Returns the figures of the group and all below it; under the device's lock.
    pub(crate) fn total(self: &Arc<Self>) -> [u64; Figure::COUNT] {
        let mut total = [0u64; Figure::COUNT];
        for node in self.groups() {
            for (sum, own) in total.iter_mut().zip(node.own()) {
                *sum = sum.wrapping_add(own);
            }
        }
        total
    }
}

/// Somebody who waits.
pub(crate) struct Stall {
    node: Arc<Node>,
}

impl Drop for Stall {
    fn drop(&mut self) {
        self.node.add(Figure::Waiting, 1u64.wrapping_neg());
        self.node.levels().for_each(|node| node.stalls.end());
    }
}

fn change(figure: &AtomicU64, more: u64) {
    // Ordering: Relaxed: the device's lock is held.
    figure.fetch_add(more, Ordering::Relaxed);
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("key", &self.key).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Node {
    /// Lets go of those above one by one: groups may be nested deeper than a stack is.
    fn drop(&mut self) {
        let mut above = self.above.take();
        while let Some(mut node) = above.and_then(Arc::into_inner) {
            above = node.above.take();
        }
    }
}
