//! A group on a device: where it is in the device's tree, and what it did there.
//!
//! Nodes are made when a group uses a device for the first time, or is given a limit for it, together with those of the
//! groups above. Handles have them at hand; no operation looks one up.

use std::fmt;

use crate::{
    cell::{Cell, Counts},
    device::DeviceInner,
    foreign::{IoCss, WeakCss},
    op::{Kind, Op},
    sync::{Arc, AtomicU64, Mutex, Ordering},
    tree::NodeId,
};

/// A group on a device.
pub(crate) struct Node {
    /// No other node of the process ever has it; not 0.
    pub(crate) key: u64,
    pub(crate) id: NodeId,
    pub(crate) device: Arc<DeviceInner>,
    css: WeakCss<IoCss>,
    cells: Mutex<Cells>,
    pub(crate) figures: Figures,
}

#[derive(Default)]
struct Cells {
    live: Vec<Arc<Cell>>,
    /// What cells counted that are gone.
    past: Counts,
}

/// What a node counts under the device's lock, in nanoseconds where it is time.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    bytes: [AtomicU64; 3],
    ops: [AtomicU64; 3],
    pub(crate) limit_wait: AtomicU64,
    pub(crate) queue_wait: AtomicU64,
    pub(crate) throttled: AtomicU64,
    pub(crate) cost: AtomicU64,
    pub(crate) urgent: AtomicU64,
    pub(crate) in_flight: AtomicU64,
}

/// Adds to a figure, or takes from it what wraps around.
pub(crate) fn add(figure: &AtomicU64, more: u64) {
    // Ordering: Relaxed: figures, read at any moment.
    figure.fetch_add(more, Ordering::Relaxed);
}

impl Node {
    pub(crate) fn new(id: NodeId, device: Arc<DeviceInner>, css: WeakCss<IoCss>) -> Arc<Self> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        // Ordering: Relaxed: it only has to be unique.
        let key = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let (cells, figures) = (Mutex::default(), Figures::default());
        Arc::new(Self { key, id, device, css, cells, figures })
    }

    /// Returns the path of its group, as far as it is known.
    pub(crate) fn path(&self) -> String {
        self.css.upgrade().map_or_else(|| String::from("a removed group"), |css| css.path())
    }

    /// Makes a cell of it for the calling thread.
    pub(crate) fn new_cell(&self) -> Arc<Cell> {
        let cell = Arc::<Cell>::default();
        self.cells.lock().live.push(Arc::clone(&cell));
        cell
    }

    /// Folds a cell that nobody uses any more.
    pub(crate) fn fold(&self, cell: &Arc<Cell>) {
        self.device.sched.unlease(cell);
        let mut cells = self.cells.lock();
        if let Some(at) = cells.live.iter().position(|other| Arc::ptr_eq(other, cell)) {
            cells.live.swap_remove(at);
            cells.past = cells.past.plus(cell.counts());
        }
    }

    /// Counts an operation that was admitted by way of the device's lock.
    pub(crate) fn count(&self, op: Op, cost: u64) {
        let at = kind(op.kind);
        add(&self.figures.ops[at], 1);
        add(&self.figures.bytes[at], op.bytes);
        add(&self.figures.cost, cost);
    }

    /// Takes back what was counted of an operation that was shorter than that.
    pub(crate) fn uncount(&self, op: Op, ops: u64, bytes: u64) {
        let at = kind(op.kind);
        add(&self.figures.ops[at], ops.wrapping_neg());
        add(&self.figures.bytes[at], bytes.wrapping_neg());
    }

    /// Returns operations and bytes: reads, writes and discards.
    pub(crate) fn counted(&self) -> ([u64; 3], [u64; 3]) {
        let cells = self.cells.lock();
        let live = cells.live.iter().map(|cell| cell.counts());
        let counts = live.fold(cells.past, Counts::plus);
        drop(cells);
        // Ordering: Relaxed: see `add`.
        let sum = |figures: &[AtomicU64; 3], of: [u64; 2]| {
            let own = |at: usize| figures[at].load(Ordering::Relaxed);
            [own(0).wrapping_add(of[0]), own(1).wrapping_add(of[1]), own(2)]
        };
        (sum(&self.figures.ops, counts.ops), sum(&self.figures.bytes, counts.bytes))
    }
}

fn kind(kind: Kind) -> usize {
    match kind {
        Kind::Read => 0,
        Kind::Write => 1,
        Kind::Discard => 2,
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("key", &self.key).field("id", &self.id).finish_non_exhaustive()
    }
}
