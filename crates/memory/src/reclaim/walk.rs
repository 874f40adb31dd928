//! A snapshot of the subtree that is short of memory: who uses how much, and what is kept of it.
//!
//! Groups without anybody below who gives are not entered: nothing can be taken there, and what is protected inside
//! makes no difference to the others. A group that is being removed protects nothing; one that is removed is not
//! in the snapshot, as its usage is its parent's.

use crate::{
    node::Node,
    protect::{Member, Protection, protect},
    reclaim::registration::Giver,
    sync::Arc,
};

/// A group of the subtree.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) node: Arc<Node>,
    pub(super) givers: Vec<Arc<Giver>>,
    /// The place of the child of the reclaim root that it is below; 0 is the root's own.
    pub(super) branch: usize,
    pub(super) kept: Protection,
}

/// Which branches of the reclaim root are asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    All,
    Only(usize),
    But(usize),
}

impl Side {
    pub(super) fn has(self, place: &Place) -> bool {
        match self {
            Self::All => true,
            Self::Only(branch) => place.branch == branch,
            Self::But(branch) => place.branch != branch,
        }
    }
}

/// Returns the groups at `at` and below, parents first.
pub(super) fn snapshot(at: &Arc<Node>) -> Vec<Place> {
    let (mut places, mut members): (Vec<Place>, Vec<Member>) = (Vec::new(), Vec::new());
    let mut found = vec![(Arc::clone(at), 0, 0)];
    while let Some((node, parent, branch)) = found.pop() {
        let Some(givers) = node.givers() else { continue };
        let place = places.len();
        let branch = if parent == 0 { place } else { branch };
        if place == 0 || node.has_givers_below() {
            found.extend(node.children().into_iter().map(|child| (child, place, branch)));
        }
        members.push(member(&node, parent));
        places.push(Place { node, givers, branch, kept: Protection::default() });
    }
    let kept = protect(&members);
    places.iter_mut().zip(kept).for_each(|(place, kept)| place.kept = kept);
    places
}

/// Returns in which order the branches of the snapshot are asked, if `asker` charges.
///
/// Its own branch comes first if it is above its fair share, else last.
pub(super) fn sides(places: &[Place], asker: &Arc<Node>) -> Vec<Side> {
    let is_top = |&place: &usize| places[place].branch == place;
    let mut tops = (0..places.len()).rev().filter(is_top);
    let own = tops.find(|&top| asker.is_below(&places[top].node));
    let Some(own) = own else { return vec![Side::All] };
    let usage = |top: usize| match top {
        0 => places[0].kept.own,
        _ => places[top].node.counter.current(),
    };
    let used = (0..places.len()).filter(is_top).map(usage).filter(|&usage| usage > 0);
    let (active, total) =
        used.fold((0, 0_u64), |(n, sum), usage| (n + 1, sum.saturating_add(usage)));
    // `usage > total / active`, without rounding.
    if u128::from(usage(own)) * u128::from(active.max(1_u32)) > total.into() {
        vec![Side::Only(own), Side::But(own)]
    } else {
        vec![Side::But(own), Side::Only(own)]
    }
}

fn member(node: &Node, parent: usize) -> Member {
    Member { parent, usage: node.counter.current(), min: node.min(), low: node.low() }
}
