//! Arming groups: counting exactly where somebody waits for the use of a group to end.
//!
//! A group is *armed* while it is online and not a root, its `notify_on_release` is set, and it has
//! neither members nor children. Then its css count exactly, and the group is told to the receivers of
//! its hierarchy's notices at each edge: when it is in use no more. At other times its css count in
//! cells, where counting costs next to nothing.
//!
//! A group that inherits the flag is born armed. One whose last member or child goes is armed by the
//! reclaimer, many with one barrier; those that are used again until then cost nothing. Everything here
//! runs under the structural lock.

use crate::{
    cgroup::Node,
    css::{
        Core,
        header::Counting,
        switch::{self, Watched},
        thread,
    },
    lifecycle::{self, Owned},
    registry::{Engine, Tree},
    sync::{Arc, Ordering},
};

/// Returns whether `node` is to be armed as it stands.
pub(crate) fn is_wanted(node: &Node) -> bool {
    node.notifies()
        && node.parent.is_some()
        && node.is_online()
        && node.member_count() == 0
        && node.child_count() == 0
}

/// Has the reclaimer arm `node` if that is wanted: its last member or child has gone.
pub(crate) fn emptied(tree: &mut Tree, node: &Arc<Node>) {
    // Ordering: Relaxed: written under the structural lock.
    if is_wanted(node) && !node.is_armed() && !node.is_emptied.swap(true, Ordering::Relaxed) {
        tree.emptied.push(Arc::clone(node));
    }
}

/// Arms up to `count` groups that were emptied, and tells of those that are in use no more; returns how
/// many it armed.
pub(crate) fn arm_emptied(engine: &Engine, tree: &mut Tree, count: usize) -> usize {
    let some = tree.emptied.len().min(count);
    let mut emptied: Vec<Arc<Node>> = tree.emptied.drain(..some).collect();
    // Ordering: Relaxed: written under the structural lock.
    emptied.iter().for_each(|node| node.is_emptied.store(false, Ordering::Relaxed));
    emptied.retain(|node| is_wanted(node) && !node.is_armed());
    emptied.sort_by_key(|node| node.hierarchy.id());
    for nodes in emptied.chunk_by(|one, other| Arc::ptr_eq(&one.hierarchy, &other.hierarchy)) {
        arm(engine, tree, nodes);
        for node in nodes.iter().filter(|node| node.uses.is_zero()) {
            node.hierarchy.outbox.tell(node);
        }
    }
    emptied.len()
}

/// Arms groups of one hierarchy, with one barrier; tells nobody.
pub(crate) fn arm(engine: &Engine, tree: &mut Tree, nodes: &[Arc<Node>]) {
    let Some(first) = nodes.first() else { return };
    let bound = tree.bound_to(&first.hierarchy);
    let csses: Vec<Owned<'_>> =
        nodes.iter().flat_map(|node| lifecycle::csses(tree, node, &bound)).collect();
    lifecycle::drain(engine, &csses);
    make_exact(&csses);
    for node in nodes {
        node.uses.leave();
        node.set_armed(true);
    }
}

/// Lets an armed group rest, as css leave it or come to it: it is not out of use until [`rested`], a grace
/// period later.
///
/// It has a unit more meanwhile, as long as a `try_get` may be about to give back one that it took for a
/// css that leaves: no edge passes there untold.
pub(crate) fn rest(node: &Node) {
    // Nobody ends its notice meanwhile, and is then told that it is in use: see `notice/line.rs`.
    node.hierarchy.outbox.hold(|| {
        if node.uses.units() > u64::from(node.rests()) {
            node.note_news();
        } else if !node.is_resting() {
            node.note_told(node.notice_number());
        }
        node.uses.add();
        node.lie_down();
    });
}

/// Ends a rest of a group, and tells of it if it is in use no more.
///
/// Not if that was told before the rest, and nothing happened since: neither to the notice, which could
/// have been accepted and the group found in use; nor to the group, see [`Node::note_news`].
pub(crate) fn rested(node: &Arc<Node>) {
    if !node.stand_up() {
        return; // a strict removal took the unit
    }
    let was_last = node.uses.leave();
    if was_last && node.is_armed() && node.is_online() && node.has_news() {
        node.hierarchy.outbox.tell(node);
    }
}

/// Takes the units of a group's rests, as its strict removal is tried; returns it once for each.
pub(crate) fn wake(node: &Arc<Node>) -> impl Iterator<Item = &Arc<Node>> {
    std::iter::repeat(node).take_while(|node| {
        let is_resting = node.stand_up();
        if is_resting {
            node.uses.leave();
        }
        is_resting
    })
}

/// Makes the counts of `csses` exact; those without references give their units back at once.
pub(crate) fn make_exact(csses: &[Owned<'_>]) {
    let groups: Vec<Arc<Node>> = csses.iter().map(|(css, _)| css.core().group()).collect();
    let watched = csses.iter().zip(&groups).map(|((css, _), group)| css.core().watched(group));
    let batch: Vec<Watched<'_>> = watched.collect();
    switch::make_exact(thread::domain(), &batch);
    for Watched { counted: (_, header), uses } in batch {
        switch::collect(header, uses);
    }
}

/// Arms a group whose css were born exact, and which nobody has seen yet.
pub(crate) fn arm_newborn(node: &Node, csses: &[Owned<'_>]) {
    // What hooks have taken and given back is no edge.
    for (css, _) in csses {
        let Watched { counted: (_, header), uses } = css.core().watched(node);
        switch::collect(header, uses);
    }
    node.uses.leave();
    node.set_armed(true);
}

/// Lets the css of `node` count in cells again: it gets a member or a child, or nobody asks any more.
pub(crate) fn disarm(engine: &Engine, tree: &mut Tree, node: &Arc<Node>) {
    node.note_news();
    if !node.is_armed() {
        return;
    }
    node.set_armed(false);
    node.uses.add();
    let bound = tree.bound_to(&node.hierarchy);
    resume(&lifecycle::csses(tree, node, &bound), engine.counting());
}

/// Lets `csses` count in cells again, whose groups have their structural unit.
pub(crate) fn resume(csses: &[Owned<'_>], counting: Counting) {
    for (css, _) in csses {
        let group = css.core().group();
        let Watched { counted: (_, header), uses } = css.core().watched(&group);
        switch::resume(header, uses, counting);
    }
}

/// Looks whether a css that had no references a moment ago has none now, and tells of its group if it
/// was the last.
pub(crate) fn collect(core: &Core) {
    let home = core.group();
    let Watched { counted: (_, header), uses } = core.watched(&home);
    let had_unit = header.standing().is_busy();
    let (_, was_last) = switch::collect(header, uses);
    if had_unit {
        home.note_news(); // it was used
    }
    if was_last && home.is_armed() {
        home.hierarchy.outbox.tell(&home);
    }
}

#[cfg(test)]
mod tests {
    use crate::{Cgroup, Notice, Reclaimer, Registry, Subsystem, controller::Controller, css::Css};

    struct Nothing;

    impl Subsystem for Nothing {
        type State = ();

        fn name(&self) -> &'static str {
            "nothing"
        }

        fn new_css(&self, _parent: Option<&Css<()>>) -> Result<(), crate::HookError> {
            Ok(())
        }
    }

    /// A group that was told, and a controller that can leave it.
    fn told() -> (Registry, Cgroup, Controller<Nothing>, Notice) {
        let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
        let hierarchy = registry.create_hierarchy("h").expect("free");
        let controller = registry.register(Nothing).expect("free");
        controller.bind(&hierarchy).expect("unbound");
        hierarchy.root().set_notify_on_release(true).expect("online");
        let task = registry.create_task("task").expect("a name");
        let group = hierarchy.root().create_child_with("g", &[&task]).expect("free");
        drop(task);
        while registry.reap() {}
        let notice = hierarchy.notices().try_recv().expect("its only member is gone");
        (registry, group, controller, notice)
    }

    #[test]
    fn who_accepts_during_a_rest_is_told_again() {
        let (registry, group, controller, notice) = told();
        controller.unbind().expect("bound");
        assert!(group.node().is_resting());
        assert!(notice.accept().is_none(), "as good as in use");
        while registry.reap() {}
        assert!(!group.node().is_resting());
        let again = group.hierarchy().notices().try_recv().expect("told again");
        assert!(again.accept().is_some());
    }

    #[test]
    fn who_accepts_before_or_after_a_rest_is_not() {
        for is_before in [true, false] {
            let (registry, group, controller, notice) = told();
            let mut notice = Some(notice);
            if is_before {
                assert!(notice.take().is_some_and(|notice| notice.accept().is_some()));
            }
            controller.unbind().expect("bound");
            while registry.reap() {}
            assert!(group.hierarchy().notices().try_recv().is_err());
            assert!(notice.is_none_or(|notice| notice.accept().is_some()));
        }
    }

    #[test]
    fn a_strict_removal_of_a_resting_group_is_decided() {
        let (registry, group, controller, notice) = told();
        let reference = controller.css(&group).expect("bound");
        controller.unbind().expect("bound");
        group.remove(crate::Removal::Strict).expect("what is held has left");
        while registry.reap() {}
        drop((reference, notice));
        assert!(group.hierarchy().notices().try_recv().is_err());
        assert_eq!(registry.stats().cgroups, 1);
    }
}
