//! Calls in what is charged ahead at a group and below.
//!
//! One heavy barrier for all pockets there are; an owner who is inside one at that moment is not waited
//! for: it gives its room back by itself before its call returns.

use crate::{
    chain,
    events::{Events, Kind},
    node::Node,
    pocket::{Called, heavy_for},
    stock::Whose,
    sync::Arc,
};

/// What a drain got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drained {
    pub(crate) bytes: u64,
    pub(crate) pockets: usize,
    /// Pockets whose owners were inside.
    pub(crate) skipped: usize,
    /// Pockets that others settled meanwhile.
    pub(crate) gone: usize,
}

/// A pocket that was revoked.
struct Revoked {
    home: Arc<Node>,
    entry: usize,
    pocket: Whose,
    turn: u32,
}

impl Drained {
    /// Returns whether there was nothing to call in.
    pub(crate) fn is_idle(self) -> bool {
        self == Self::default()
    }
}

/// Calls in what is charged ahead at `node` and below.
pub(crate) fn drain(node: &Arc<Node>) -> Drained {
    if node.shared.is_inherited() {
        return Drained::default(); // its owners are not there
    }
    let mut revoked = Vec::new();
    revoke(node, &mut revoked);
    call_in(node, revoked)
}

/// Calls in what is charged ahead at `node` itself.
///
/// Who fills a pocket looks under the list's lock whether that is forbidden here: what was stored before this
/// call is heeded by all fillers, or finds what they filled.
pub(crate) fn drain_own(node: &Arc<Node>) -> Drained {
    let mut revoked = Vec::new();
    revoke_own(node, &mut revoked);
    call_in(node, revoked)
}

fn call_in(node: &Arc<Node>, revoked: Vec<Revoked>) -> Drained {
    let mut drained = Drained::default();
    if revoked.is_empty() {
        return drained;
    }
    heavy_for(node.key);
    for Revoked { home, entry, pocket, turn } in revoked {
        match pocket.call_in(turn) {
            Called::In(room) => {
                // In this order, so that whoever is refused meanwhile sees that something is under way.
                chain::uncharge(&home, room);
                home.forget(entry);
                drained.bytes += room;
                drained.pockets += 1;
            }
            Called::Busy => drained.skipped += 1,
            Called::Gone => drained.gone += 1,
        }
    }
    note(node, drained);
    drained
}

fn note(node: &Arc<Node>, drained: Drained) {
    if drained.pockets > 0 {
        Events::note(node, Kind::Drain);
    }
    if drained.skipped > 0 {
        Events::note(node, Kind::DrainSkip);
    }
}

fn revoke(node: &Arc<Node>, revoked: &mut Vec<Revoked>) {
    if node.pockets.gate.is_empty() {
        return;
    }
    revoke_own(node, revoked);
    node.children().iter().for_each(|child| revoke(child, revoked));
}

fn revoke_own(node: &Arc<Node>, revoked: &mut Vec<Revoked>) {
    for (entry, found) in node.pockets.list.lock().iter().flat_map(|list| list.iter()) {
        found.pocket.revoke();
        let (pocket, turn) = (found.pocket.clone(), found.turn);
        revoked.push(Revoked { home: Arc::clone(node), entry, pocket, turn });
    }
}

impl Node {
    /// Forbids stock here and below, and calls in what there is.
    pub(crate) fn forbid_stock(self: &Arc<Self>) -> Drained {
        self.pockets.gate.forbid(self.key);
        drain(self)
    }

    /// Takes one reason against stock away.
    pub(crate) fn allow_stock(&self) {
        self.pockets.gate.allow();
    }
}
