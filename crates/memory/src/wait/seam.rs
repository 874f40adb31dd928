//! What waiting asks of reclaim.

use crate::{
    node::Node,
    reclaim::{self, Outcome, Pass},
    sync::Arc,
};

pub(crate) use crate::reclaim::is_reclaiming;

/// How far reclaim may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What can be had at once.
    Evict,
    /// What has to be asked for as well.
    All,
}

/// Has those who can give back make room for `want` bytes at `at`, for a charge of `asker`.
pub(crate) fn reclaim(at: &Arc<Node>, asker: &Arc<Node>, want: u64, depth: Depth) -> Outcome {
    let deepest = match depth {
        Depth::Evict => Pass::Evict,
        Depth::All => Pass::Destructive,
    };
    reclaim::reclaim_for(at, asker, at.headroom().saturating_add(want), deepest)
}

/// Returns whether somebody is giving memory back at `at` or below.
pub(crate) fn is_under_way(at: &Arc<Node>) -> bool {
    at.spills_under_way() > 0
}
