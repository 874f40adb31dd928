//! The cells of a thread: a table by the key of the node, with one place for each of 64.
//!
//! Two nodes whose keys share a place take turns in it: the cell of the one before is folded, and
//! its lease given back. So a thread has 64 cells at most, and what it leaves behind when it ends is folded too.

use std::cell::RefCell;

use crate::{
    cell::{Cell, Taken},
    node::Node,
    op::Op,
    sync::Arc,
};

const PLACES: usize = 64;

struct Place {
    key: u64,
    cell: Arc<Cell>,
    node: Arc<Node>,
}

struct Table([Option<Place>; PLACES]);

thread_local! {
    static TABLE: RefCell<Table> = const { RefCell::new(Table([const { None }; PLACES])) };
}

/// Takes room for `op` from what the thread has of the node with that key.
#[inline]
pub(crate) fn take(key: u64, op: Op) -> bool {
    let taken = TABLE.try_with(|table| {
        let table = table.try_borrow().ok()?;
        let place = table.0[place(key)].as_ref().filter(|place| place.key == key)?;
        Some(place.cell.take(op))
    });
    taken.ok().flatten().is_some_and(|taken| taken != Taken::Short)
}

/// Returns the node with that key, if the thread has a cell of it.
pub(crate) fn node(key: u64) -> Option<Arc<Node>> {
    let node = TABLE.try_with(|table| {
        let table = table.try_borrow().ok()?;
        let place = table.0[place(key)].as_ref().filter(|place| place.key == key)?;
        Some(Arc::clone(&place.node))
    });
    node.ok().flatten()
}

/// Returns the thread's cell of a node; `None` while the thread ends.
pub(crate) fn cell(node: &Arc<Node>) -> Option<Arc<Cell>> {
    let (cell, former) = TABLE
        .try_with(|table| {
            let mut table = table.try_borrow_mut().ok()?;
            let place = &mut table.0[place(node.key)];
            if let Some(own) = place.as_ref().filter(|place| place.key == node.key) {
                return Some((Arc::clone(&own.cell), None));
            }
            let cell = node.new_cell();
            let new = Place { key: node.key, cell: Arc::clone(&cell), node: Arc::clone(node) };
            Some((cell, place.replace(new)))
        })
        .ok()??;
    drop(former); // it takes locks, which is not for a borrow
    Some(cell)
}

fn place(key: u64) -> usize {
    usize::try_from(key % PLACES as u64).unwrap_or_default()
}

impl Drop for Place {
    fn drop(&mut self) {
        let sched = &self.node.device.sched;
        if !sched.is_inherited() {
            sched.fold(&self.cell, &self.node);
        }
    }
}
