//! The cells of a thread: a table by the key of the node, with one place for each of 64.
//!
//! Two nodes whose keys share a place take turns in it: the cell of the one before is folded, and
//! its lease given back. So a thread has 64 cells at most, and what it leaves behind when it ends is folded too.
//!
//! What the fast path reads is plain words. What keeps the nodes lies apart, because that has to be dropped.
//!
//! # Invariants
//!
//! 1. A place has a cell exactly while [`OWNED`] has its node there; the cell is the thread's own and of that node.
//! 2. While the thread ends, and after that, all places are empty.

use std::cell::{Cell as Word, RefCell};

use crate::{
    cell::{Cell, Taken},
    node::Node,
    op::Op,
    sync::Arc,
};

const PLACES: usize = 64;

/// A node's key, and the thread's cell of it.
struct Place {
    key: Word<u64>,
    cell: Word<Option<&'static Cell>>,
}

/// The nodes of the cells, by place.
struct Owned([Option<Arc<Node>>; PLACES]);

thread_local! {
    static TABLE: [Place; PLACES] =
        const { [const { Place { key: Word::new(0), cell: Word::new(None) } }; PLACES] };
    static OWNED: RefCell<Owned> = const { RefCell::new(Owned([const { None }; PLACES])) };
}

/// Takes room for `op` from what the thread has of the node with that key.
#[inline]
pub(crate) fn take(key: u64, op: Op) -> bool {
    own(key).is_some_and(|cell| cell.take(op.kind, op.bytes) != Taken::Short)
}

/// Returns the node with that key, if the thread has a cell of it.
pub(crate) fn node(key: u64) -> Option<Arc<Node>> {
    let node = OWNED.try_with(|owned| owned.borrow().0[place(key)].clone());
    node.ok().flatten().filter(|node| node.key == key)
}

/// Returns the thread's cell of a node; `None` while the thread ends.
pub(crate) fn cell(node: &Arc<Node>) -> Option<&'static Cell> {
    let at = place(node.key);
    if let Some(own) = own(node.key) {
        return Some(own);
    }
    let own = OWNED.try_with(|owned| owned.borrow_mut().0[at].replace(Arc::clone(node)));
    let former = own.ok()?;
    let cell = node.new_cell();
    let left = TABLE.with(|table| table[at].set(node.key, Some(cell)));
    if let (Some(node), Some(left)) = (former, left) {
        fold(&node, left); // it takes locks, which is not for a borrow
    }
    Some(cell)
}

/// Returns the thread's cell of the node with that key.
#[inline(always)]
fn own(key: u64) -> Option<&'static Cell> {
    TABLE.with(
        #[inline(always)]
        |table| {
            let place = &table[place(key)];
            if place.key.get() == key { place.cell.get() } else { None }
        },
    )
}

fn fold(node: &Node, cell: &'static Cell) {
    let sched = &node.device.sched;
    if !sched.is_inherited() {
        sched.fold(cell, node);
    }
}

#[inline(always)]
fn place(key: u64) -> usize {
    usize::try_from(key).unwrap_or_default() % PLACES
}

impl Place {
    /// Puts a cell there; returns the one that was.
    fn set(&self, key: u64, cell: Option<&'static Cell>) -> Option<&'static Cell> {
        self.key.set(key);
        self.cell.replace(cell)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        for (at, node) in self.0.iter_mut().enumerate() {
            let left = TABLE.with(|table| table[at].set(0, None));
            if let (Some(node), Some(left)) = (node.take(), left) {
                fold(&node, left);
            }
        }
    }
}
