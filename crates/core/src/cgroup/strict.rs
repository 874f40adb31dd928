//! Deciding a strict removal: no css of any of the groups has a reference out, all at one instant.

use crate::{
    cgroup::{Node, arm},
    css::{switch, thread as slots},
    error::Holder,
    lifecycle::Owned,
    registry::Engine,
    sync::{Arc, thread},
};

/// Decides that none of `nodes` is in use, for good; else returns who holds what, and nothing has
/// changed.
///
/// Callers hold the structural lock, the groups have neither members nor children that stay, and
/// `csses` are all of theirs, drained. Refused at once where a look at the cells shows a reference.
/// Otherwise one barrier makes the counts exact, unless the groups are armed and they are.
pub(super) fn decide(
    engine: &Engine,
    nodes: &[&Arc<Node>],
    csses: &[Owned<'_>],
) -> Result<(), Vec<Holder>> {
    let seen = |css: &Owned<'_>| switch::references(slots::domain(), css.0.core().counted());
    let holders = holders(csses, seen);
    if !holders.is_empty() {
        nodes.iter().for_each(|node| node.note_news());
        return Err(holders);
    }
    // The css of armed groups are exact already.
    let is_unarmed = |css: &&Owned<'_>| !css.0.core().group().is_armed();
    let spread: Vec<Owned<'_>> = csses.iter().filter(is_unarmed).cloned().collect();
    let unarmed: Vec<&Arc<Node>> = nodes.iter().copied().filter(|node| !node.is_armed()).collect();
    arm::make_exact(&spread);
    for node in &unarmed {
        node.uses.leave();
    }
    let rests: Vec<&Arc<Node>> = nodes.iter().copied().flat_map(arm::wake).collect();

    let uses: Vec<_> = nodes.iter().map(|node| &node.uses).collect();
    let (mut refused, mut edges) = (Vec::new(), Vec::new());
    // A round ends without a result when a reference was taken in it, which the next one sees; or while a
    // thread is about to give a unit back that it took for a css which has left (`arm::rest`).
    while refused.is_empty() && !engine.decision.close(&uses) {
        refused = collect(csses, &mut edges);
        if refused.is_empty() {
            thread::yield_now();
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    rests.iter().for_each(|node| arm::rest(node));
    nodes.iter().for_each(|node| node.note_news());
    unarmed.iter().for_each(|node| node.uses.add());
    arm::resume(&spread, engine.counting());
    // What went out of use while we looked, and is not removed.
    for node in edges.iter().filter(|node| node.is_armed()) {
        node.hierarchy.outbox.tell(node);
    }
    Err(refused)
}

/// Takes back the units of css that need none; returns those that do, and adds the groups whose last
/// unit it was to `edges`.
fn collect(csses: &[Owned<'_>], edges: &mut Vec<Arc<Node>>) -> Vec<Holder> {
    holders(csses, |(css, _)| {
        let group = css.core().group();
        let watched = css.core().watched(&group);
        let (references, was_last) = switch::collect(watched.counted.1, watched.uses);
        if was_last {
            edges.push(Arc::clone(&group));
        }
        references
    })
}

fn holders<'a, 'b: 'a>(
    csses: &'a [Owned<'b>],
    mut references: impl FnMut(&'a Owned<'b>) -> u64,
) -> Vec<Holder> {
    let holder = |css: &'a Owned<'b>| {
        let references = references(css);
        (references > 0).then(|| Holder {
            cgroup: css.0.core().group().path(),
            subsystem: css.1.identity().name.clone(),
            references,
        })
    };
    csses.iter().filter_map(holder).collect()
}
