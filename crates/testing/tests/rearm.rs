//! Release notices of groups whose controllers come and go, as scripts.

use fief_testing::check::check_after;
use insta::assert_snapshot;

/// Both hierarchies have one group that is waited for, and nobody is in it.
const WAITED_FOR: &str = "
    register memory; register io; hierarchy plan; mkdir a; hierarchy tenant; mkdir a
    bind memory tenant; bind io tenant; notify a on; use plan; notify a on; use tenant; reap
";

#[test]
fn no_reference_out_is_no_news_on_either_side() {
    assert_snapshot!(check_after(WAITED_FOR, "
        rebind memory plan; reap; notices; use plan; notices
        rebind memory tenant; reap; notices; use tenant; notices
    "), @"");
    // Told, and then accepted: not told again.
    assert_snapshot!(check_after(WAITED_FOR, "
        get a memory; put r1; reap; notices
        rebind memory plan; reap; notices; use plan; notices; renotify; notices
    "), @"
    /a: releasable
    1 told
    /a: releasable
    ");
    // Told, and still on its way: the one notice is about what is now.
    assert_snapshot!(check_after(WAITED_FOR, "
        get a memory; put r1; reap; notice as n
        rebind memory plan; reap; accept n; notices
    "), @"
    n: /a
    /a: releasable
    ");
    // Accepted while it rested, when nobody knew: told of again.
    assert_snapshot!(check_after(WAITED_FOR, "
        get a memory; put r1; reap; notice as n
        unbind io; accept n; renotify; reap; notices
    "), @"
    n: /a
    /a: in use or removed
    0 told
    /a: releasable
    ");
}

#[test]
fn a_reference_moves_the_use_of_its_group() {
    assert_snapshot!(check_after(WAITED_FOR, "
        get a memory as r; rebind memory plan; reap
        notices; use plan; notices
        put r; reap; notices
    "), @"
    /a: releasable
    /a: releasable
    ");
}

#[test]
fn a_reference_to_another_controller_stays_the_use_of_its_group() {
    assert_snapshot!(check_after(WAITED_FOR, "
        get a memory as r; get a io as s; rebind memory plan; reap; notices; use plan; notices
        put s; reap; use tenant; notices; put r; reap; notices; use plan; notices
    "), @"
    /a: releasable
    /a: releasable
    ");
}

#[test]
fn only_the_source_is_waited_for() {
    assert_snapshot!(check_after(WAITED_FOR, "
        use plan; notify a off; use tenant; get a memory as r; rebind memory plan; reap; notices
        use plan; put r; reap; notices; notify a on; get a memory as r; put r; reap; notices
    "), @"
    /a: releasable
    /a: releasable
    ");
}

#[test]
fn only_the_target_is_waited_for() {
    assert_snapshot!(check_after(WAITED_FOR, "
        notify a off; get a memory as r; rebind memory plan; reap; notices
        use plan; notices; put r; reap; notices; rebind memory tenant; reap; notices; use tenant; notices
    "), @"/a: releasable");
}

#[test]
fn a_reference_that_goes_before_the_reclaimer_comes_is_told() {
    assert_snapshot!(check_after(WAITED_FOR, "
        get a memory as r; rebind memory plan; put r; reap; notices
    "), @"/a: releasable");
}

#[test]
fn a_controller_that_leaves_takes_its_references_along() {
    assert_snapshot!(check_after(WAITED_FOR, "
        get a memory as r; unbind memory; reap; notices; parents r
        put r; reap; notices
        bind memory tenant; reap; notices; get a memory as r; put r; reap; notices
    "), @"
    /a: releasable
    css 3 under 1 of /a, offline
    css 1 of /, online
    /a: releasable
    ");
    assert_snapshot!(check_after(WAITED_FOR, "
        get a memory as r; subtree / -memory; reap; notices; put r; reap; notices
        subtree / +memory; get a memory as r; reap; notices; put r; reap; notices
    "), @"
    /a: releasable
    /a: releasable
    ");
}

#[test]
fn a_told_group_is_not_told_again_by_a_move_of_members() {
    assert_snapshot!(check_after(WAITED_FOR, "
        get a memory; put r1; reap; notices; task t; use plan; join t a; use tenant
        rebind memory plan move; reap; notices; use plan; notices
    "), @"/a: releasable");
    assert_snapshot!(check_after(WAITED_FOR, "
        get a memory; put r1; reap; notices; task t; use plan; join t a; use tenant
        fail memory can_attach 1; rebind memory plan move; reap; notices; use plan; notices
    "), @"
    /a: releasable
    rebind memory plan move: memory refused /a in can_attach: injected
    ");
}

#[test]
fn a_use_while_a_group_rests_is_told() {
    // Of a css that stays, of one that came, and of one that moved in with its reference.
    assert_snapshot!(check_after(WAITED_FOR, "
        unbind io; get a memory; put r1; reap; notices
    "), @"/a: releasable");
    assert_snapshot!(check_after(WAITED_FOR, "
        register net; bind net tenant; get a net; put r1; reap; notices
    "), @"/a: releasable");
    assert_snapshot!(check_after(WAITED_FOR, "
        get a memory; rebind memory plan; put r1; reap; notices; use plan; notices
    "), @"
    /a: releasable
    /a: releasable
    ");
    assert_snapshot!(check_after(WAITED_FOR, "
        get a memory; put r1; reap; notices; rebind io plan; get a memory; put r1; reap; notices
    "), @"
    /a: releasable
    /a: releasable
    ");
}

#[test]
fn a_removal_refused_while_a_group_rests_is_followed_by_its_edge() {
    assert_snapshot!(check_after(WAITED_FOR, "
        get a memory; put r1; reap; notices
        unbind io; get a memory as r; rmdir --strict a; put r; reap; notices
        rmdir --strict a; show
    "), @"
    /a: releasable
    rmdir --strict a: /a is in use: 1 reference to memory of /a
    /a: releasable
    /
      cgroup.controllers: memory
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 0 nr_dying_descendants 1
      memory: online
    inactive io: online
    ");
}

#[test]
fn a_group_that_rests_can_be_removed_strictly() {
    assert_snapshot!(check_after(WAITED_FOR, "
        get a io as r; unbind io; rmdir --strict a; reap; notices; show; put r; reap; show
    "), @"
    /
      cgroup.controllers: memory
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 0 nr_dying_descendants 1
      memory: online
    inactive io: online
    detached r: io of /a, offline
    /
      cgroup.controllers: memory
      cgroup.events: populated 0
      memory: online
    inactive io: online
    ");
}

#[test]
fn a_group_to_which_a_css_comes_that_a_member_used_is_told() {
    assert_snapshot!(check_after(WAITED_FOR, "
        task t; join t a; rebind memory plan move; reap; use plan; notices; renotify
    "), @r"
    /a: releasable
    1 told
    ");
}
