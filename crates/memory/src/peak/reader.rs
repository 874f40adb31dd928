//! What a user holds to ask for the highest usage.

use std::fmt;

use crate::{
    css::MemoryCss,
    node::Node,
    sync::{Arc, AtomicU64},
};

/// Tells the highest usage of a group since it began anew; before that, the highest there ever was.
///
/// Readers do not disturb each other, nor [`MemoryCss::peak`]. A reader keeps no group from its removal, and
/// goes on showing the figures of one that is gone.
///
/// As [`MemoryCss::current`], what is charged ahead is included.
///
/// # Examples
///
/// ```
/// # let registry = fief_core::Registry::new();
/// # let memory = registry.register(fief_memory::Memory::new())?;
/// let css = memory.root().ok_or("gone")?;
/// css.charge_forced(3 << 20);
/// css.uncharge(2 << 20);
/// let mut reader = css.peak_reader();
/// assert_eq!(reader.peak(), 3 << 20);
/// reader.reset();
/// assert_eq!((reader.peak(), css.peak()), (css.current(), 3 << 20));
/// # css.uncharge(1 << 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "memory.peak")]
pub struct PeakReader {
    node: Arc<Node>,
    /// Since it began anew first.
    own: Option<Arc<AtomicU64>>,
}

impl MemoryCss {
    /// Returns the highest usage there ever was, in bytes, what was charged ahead included.
    #[must_use]
    #[doc(alias = "memory.peak")]
    pub fn peak(&self) -> u64 {
        self.node.counter.peak()
    }

    /// Returns a reader of the highest usage, which can begin anew.
    #[must_use]
    pub fn peak_reader(&self) -> PeakReader {
        PeakReader { node: Arc::clone(&self.node), own: None }
    }
}

impl PeakReader {
    /// Returns the highest usage since the last [`reset`](Self::reset), in bytes, or ever if there was none.
    ///
    /// # Concurrency
    ///
    /// Takes a short lock once there was a reset.
    #[must_use]
    pub fn peak(&self) -> u64 {
        match &self.own {
            Some(own) if !self.node.shared.is_inherited() => {
                self.node.peaks.read(&self.node.rare().readers, own)
            }
            _ => self.node.counter.peak(),
        }
    }

    /// Begins anew with what is in use now.
    ///
    /// A charge that is under way may count as after it. In the child of a fork, a reader of its parent's shows
    /// the highest usage ever, and cannot begin anew.
    ///
    /// # Concurrency
    ///
    /// Takes a short lock, and the heavy side of an asymmetric fence. From then on until the last such reader of
    /// the group is dropped, a charge that reaches the counters compares one word more than it did.
    pub fn reset(&mut self) {
        if !self.node.shared.is_inherited() {
            let own = self.own.get_or_insert_default();
            let node = &self.node;
            node.peaks.reset(&node.rare().readers, own, node.key, || node.counter.current());
        }
    }
}

impl Drop for PeakReader {
    fn drop(&mut self) {
        // In a forked child the lock may be held by a thread that is not there.
        if let Some(own) = self.own.as_ref().filter(|_| !self.node.shared.is_inherited()) {
            self.node.peaks.leave(&self.node.rare().readers, own);
        }
    }
}

impl fmt::Debug for PeakReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeakReader")
            .field("cgroup", &self.node.path())
            .field("peak", &self.peak())
            .finish()
    }
}
