//! The one immutable view that readers resolve css by, and the guard they hold while they do.
//!
//! A [`World`] has a [`Column`] for every controller: the hierarchy it is bound to, and the css id
//! of every group there. Creating or removing a group writes one slot of a column in place; binding
//! a controller elsewhere builds a new column and publishes a new world by one pointer swap
//! (`world/publish.rs`). A css that leaves its column is freed when every world that was current
//! then has lost its last reader.
//!
//! # Tests
//!
//! `tests/loom_world.rs`, `tests/loom_cache.rs`.

#[expect(unsafe_code, reason = "reads the world by a bare address; see docs/unsafe.md")]
pub(crate) mod cache;
pub(crate) mod column;
#[cfg(not(loom))]
#[expect(unsafe_code, reason = "looks css up by id; see docs/unsafe.md")]
pub(crate) mod guard;
#[cfg(not(loom))]
#[expect(unsafe_code, reason = "looks css up by id; see docs/unsafe.md")]
pub(crate) mod lookup;
pub(crate) mod publish;

use crate::{sync::Arc, world::column::Column};

/// A column for every controller, by its index.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) columns: Vec<Option<Arc<Column>>>,
}

impl World {
    /// Returns a world that differs in the column at `index`.
    pub(crate) fn with_column(&self, index: usize, column: Option<Arc<Column>>) -> Self {
        let mut world = self.clone();
        world.set(index, column);
        world
    }

    /// Sets the column at `index`.
    pub(crate) fn set(&mut self, index: usize, column: Option<Arc<Column>>) {
        if self.columns.len() <= index {
            self.columns.resize(index + 1, None);
        }
        self.columns[index] = column;
    }
}
