//! What waiting asks of reclaim.

use crate::{node::Node, sync::Arc};

/// How far reclaim may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What can be had at once.
    Evict,
    /// What has to be asked for as well.
    All,
}

/// What reclaim has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reclaimed {
    /// Bytes that are free now, by the counters.
    pub(crate) freed: u64,
}

/// Has those who can give back `want` bytes, charged at `at` or below.
pub(crate) fn reclaim(_at: &Arc<Node>, _want: u64, _depth: Depth) -> Reclaimed {
    Reclaimed::default()
}

/// Returns whether somebody is giving memory back at `at` or below.
pub(crate) fn is_under_way(_at: &Arc<Node>) -> bool {
    false
}

/// Returns whether the thread is inside a reclaimer.
pub(crate) fn is_reclaiming() -> bool {
    false
}
