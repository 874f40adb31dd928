//! What the controller keeps for a group.
//!
//! A group's place in the tree, its leaf and its figures. Settings are in `limits.rs`, figures in `stat.rs`,
//! `polls.rs` and `pressure.rs`, their text form in `files.rs`. A css goes through binding, rebinding and unbinding as it is;
//! when the last reference is gone, so is the node, and what it used stays with those above.

use std::fmt;

use crate::{leaf::Leaf, shared::Shared, sync::Arc};

/// A group's CPU time: its weight and limits, and what was used; had from a css, which derefs to it.
#[doc(alias = "task_group")]
pub struct CpuCss {
    pub(crate) shared: Arc<Shared>,
    pub(crate) leaf: Arc<Leaf>,
}

impl Drop for CpuCss {
    fn drop(&mut self) {
        if !self.shared.is_inherited() {
            self.shared.sched.remove(&self.leaf);
        }
    }
}

impl fmt::Debug for CpuCss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CpuCss").field(&self.leaf.path()).finish()
    }
}
