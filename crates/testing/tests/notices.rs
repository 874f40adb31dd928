//! Strict removal, release notices and watches, as scripts.

use fief_testing::check::check_after;
use insta::assert_snapshot;

/// One tenant that is waited for, with two controllers.
const TENANT: &str = "
    hierarchy h; register memory; register io; bind memory h; bind io h
    mkdir tenant; notify tenant on; task t; task u
";

fn check(script: &str) -> String {
    check_after(TENANT, script)
}

#[test]
fn a_strict_removal_names_each_css_with_references() {
    assert_snapshot!(check("
        get tenant memory; get tenant memory; get tenant io
        rmdir --strict tenant
        put r1; put r3
        rmdir --strict tenant
        put r2
        rmdir --strict tenant
        show
    "), @"
    rmdir --strict tenant: /tenant is in use: 2 references to memory of /tenant, 1 reference to io of /tenant
    rmdir --strict tenant: /tenant is in use: 1 reference to memory of /tenant
    /
      cgroup.controllers: memory io
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 0 nr_dying_descendants 1
      cgroup.tasks: t u
      memory: online
      io: online
    ");
}

#[test]
fn a_detach_asks_nobody() {
    assert_snapshot!(check("get tenant memory; rmdir tenant; show; put r1; reap; notices; show"), @"
    /
      cgroup.controllers: memory io
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 0 nr_dying_descendants 1
      cgroup.tasks: t u
      memory: online
      io: online
    detached r1: memory of /tenant, offline
    /
      cgroup.controllers: memory io
      cgroup.events: populated 1
      cgroup.tasks: t u
      memory: online
      io: online
    ");
}

#[test]
fn members_and_children_forbid_either_policy() {
    assert_snapshot!(check("
        join t tenant
        rmdir --strict tenant
        leave t; mkdir tenant/q
        rmdir --strict tenant
        rmdir --strict /
    "), @"
    rmdir --strict tenant: /tenant is busy: 1 members, 0 children
    rmdir --strict tenant: /tenant is busy: 0 members, 1 children
    rmdir --strict /: the root of hierarchy h goes only with the hierarchy
    ");
}

#[test]
fn what_a_strict_removal_calls() {
    assert_snapshot!(check("
        get tenant io; rmdir --strict tenant; events
        put r1; rmdir --strict tenant; events
        reap; events
    "), @"
    rmdir --strict tenant: /tenant is in use: 1 reference to io of /tenant
    memory: drain /tenant
    io: drain /tenant
    memory: drain /tenant
    io: drain /tenant
    memory: killed /tenant
    io: killed /tenant
    memory: offline /tenant
    io: offline /tenant
    io: released /tenant
    memory: released /tenant
    io: free /tenant
    memory: free /tenant
    ");
}

#[test]
fn a_subtree_goes_together_or_stays() {
    assert_snapshot!(check("
        mkdir tenant/a; mkdir tenant/a/b; mkdir tenant/c
        get tenant/a/b io; get tenant/c memory
        rmdir --strict --subtree tenant
        join t tenant/c
        rmdir --subtree tenant
        leave t; put r1; put r2
        rmdir --strict --subtree tenant
        show
    "), @"
    rmdir --strict --subtree tenant: /tenant is in use: 1 reference to memory of /tenant/c, 1 reference to io of /tenant/a/b
    rmdir --subtree tenant: /tenant/c is busy: 1 members, 0 children
    4 removed
    /
      cgroup.controllers: memory io
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 0 nr_dying_descendants 4
      cgroup.tasks: t u
      memory: online
      io: online
    ");
}

#[test]
fn a_detached_subtree_lives_on_for_its_references() {
    assert_snapshot!(check("
        mkdir tenant/a; mkdir tenant/a/b; get tenant/a/b io; get tenant memory
        rmdir --subtree tenant; reap; show
        put r1; reap; events
    "), @"
    3 removed
    /
      cgroup.controllers: memory io
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 0 nr_dying_descendants 3
      cgroup.tasks: t u
      memory: online
      io: online
    detached r1: io of /tenant/a/b, offline
    detached r2: memory of /tenant, offline
    memory: new_css under /tenant
    io: new_css under /tenant
    memory: online /tenant/a
    io: online /tenant/a
    memory: new_css under /tenant/a
    io: new_css under /tenant/a
    memory: online /tenant/a/b
    io: online /tenant/a/b
    memory: drain /tenant/a/b
    io: drain /tenant/a/b
    memory: drain /tenant/a
    io: drain /tenant/a
    memory: drain /tenant
    io: drain /tenant
    memory: killed /tenant/a/b
    io: killed /tenant/a/b
    memory: killed /tenant/a
    io: killed /tenant/a
    memory: killed /tenant
    io: killed /tenant
    memory: offline /tenant/a/b
    io: offline /tenant/a/b
    memory: offline /tenant/a
    io: offline /tenant/a
    memory: offline /tenant
    io: offline /tenant
    memory: released /tenant/a/b
    memory: free /tenant/a/b
    memory: released /tenant/a
    memory: free /tenant/a
    io: released /tenant/a/b
    io: free /tenant/a/b
    io: released /tenant/a
    io: free /tenant/a
    io: released /tenant
    io: free /tenant
    ");
}

#[test]
fn notify_on_release_is_inherited_and_shown() {
    assert_snapshot!(check("mkdir tenant/q; notify tenant off; mkdir tenant/r; mkdir s; show; notify s off"), @"
    /
      cgroup.controllers: memory io
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 4 nr_dying_descendants 0
      cgroup.tasks: t u
      memory: online
      io: online
    /s
      cgroup.events: populated 0
      memory: online
      io: online
    /tenant
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 2 nr_dying_descendants 0
      memory: online
      io: online
    /tenant/q
      cgroup.events: populated 0
      notify_on_release: 1
      memory: online
      io: online
    /tenant/r
      cgroup.events: populated 0
      memory: online
      io: online
    ");
}

#[test]
fn one_notice_for_each_edge() {
    assert_snapshot!(check("
        reap; notices
        get tenant memory; get tenant io; put r1; reap; notices
        put r2; notices
        reap; notices
        reap; notices
    "), @"
    /tenant: releasable
    ");
}

#[test]
fn a_member_or_a_child_that_goes_is_an_edge() {
    assert_snapshot!(check("
        mkdir tenant/q with t u
        exit t; reap; notices
        exit u; reap; notices
        rmdir --strict tenant/q; reap; notices
    "), @"
    /tenant/q: releasable
    /tenant: releasable
    ");
}

#[test]
fn a_group_that_is_used_again_is_no_news() {
    assert_snapshot!(check("
        join t tenant; leave t; join t tenant; reap; notices
        leave t; reap; get tenant io; notices
        put r1; reap; notices
    "), @"
    /tenant: in use or removed
    /tenant: releasable
    ");
}

#[test]
fn edges_coalesce_while_a_notice_is_held() {
    assert_snapshot!(check("
        get tenant memory; put r1; reap
        notice
        get tenant memory; put r1; reap
        notice
        accept n1
        get tenant memory; put r1; reap
        notice as again
        ignore again
        reap; notices; renotify; renotify; notices
        accept again
    "), @"
    n1: /tenant
    notice: receiving on an empty channel
    /tenant: releasable
    again: /tenant
    1 told
    0 told
    /tenant: releasable
    accept again: no notice again
    ");
}

#[test]
fn a_notice_outlives_its_group() {
    assert_snapshot!(check("
        get tenant memory; put r1; reap; notice
        rmdir --strict tenant; mkdir tenant; notify tenant on; reap
        accept n1
        get tenant memory; put r1; reap; notices
    "), @"
    n1: /tenant
    /tenant: in use or removed
    /tenant: releasable
    ");
}

#[test]
fn a_refused_removal_is_followed_by_its_edge() {
    assert_snapshot!(check("
        get tenant memory; get tenant io; put r1
        rmdir --strict tenant
        reap; notices
        put r2; reap; notices
    "), @"
    rmdir --strict tenant: /tenant is in use: 1 reference to io of /tenant
    /tenant: releasable
    ");
}

#[test]
fn create_and_join_changes_nothing_when_one_refuses() {
    assert_snapshot!(check("
        fail io can_attach 2
        mkdir tenant/q with t u t
        reap; events; show
    "), @"
    mkdir tenant/q with t u t: io refused /tenant/q in can_attach: injected
    memory: new_css under /tenant
    io: new_css under /tenant
    memory: online /tenant/q
    io: online /tenant/q
    memory: can_attach t / -> /tenant/q
    io: can_attach t / -> /tenant/q
    memory: can_attach u / -> /tenant/q
    io: can_attach u / -> /tenant/q, vetoed
    memory: cancel_attach t / -> /tenant/q
    io: cancel_attach t / -> /tenant/q
    memory: cancel_attach u / -> /tenant/q
    memory: drain /tenant/q
    io: drain /tenant/q
    memory: killed /tenant/q
    io: killed /tenant/q
    memory: offline /tenant/q
    io: offline /tenant/q
    memory: released /tenant/q
    io: released /tenant/q
    memory: free /tenant/q
    io: free /tenant/q
    /
      cgroup.controllers: memory io
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
      cgroup.tasks: t u
      memory: online
      io: online
    /tenant
      cgroup.events: populated 0
      notify_on_release: 1
      memory: online
      io: online
    ");
}

#[test]
fn create_and_join_is_one_step() {
    assert_snapshot!(check("
        mkdir tenant/q with t u t
        events; show
        mkdir tenant/q with t
        mkdir tenant/r with nobody
    "), @"
    memory: new_css under /tenant
    io: new_css under /tenant
    memory: online /tenant/q
    io: online /tenant/q
    memory: can_attach t / -> /tenant/q
    io: can_attach t / -> /tenant/q
    memory: can_attach u / -> /tenant/q
    io: can_attach u / -> /tenant/q
    memory: attach t / -> /tenant/q
    io: attach t / -> /tenant/q
    memory: attach u / -> /tenant/q
    io: attach u / -> /tenant/q
    memory: post_attach t / -> /tenant/q
    io: post_attach t / -> /tenant/q
    memory: post_attach u / -> /tenant/q
    io: post_attach u / -> /tenant/q
    /
      cgroup.controllers: memory io
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 2 nr_dying_descendants 0
      memory: online
      io: online
    /tenant
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
      notify_on_release: 1
      memory: online
      io: online
    /tenant/q
      cgroup.events: populated 1
      cgroup.tasks: t u
      notify_on_release: 1
      memory: online
      io: online
    mkdir tenant/q with t: /tenant/q exists
    mkdir tenant/r with nobody: no task nobody
    ");
}

#[test]
fn caches_are_drained_when_a_group_is_armed() {
    assert_snapshot!(check("
        join t tenant; leave t; events
        reap; events
        notify tenant off; notify tenant on; events
    "), @"
    memory: can_attach t / -> /tenant
    io: can_attach t / -> /tenant
    memory: attach t / -> /tenant
    io: attach t / -> /tenant
    memory: post_attach t / -> /tenant
    io: post_attach t / -> /tenant
    memory: can_attach t /tenant -> /
    io: can_attach t /tenant -> /
    memory: attach t /tenant -> /
    io: attach t /tenant -> /
    memory: post_attach t /tenant -> /
    io: post_attach t /tenant -> /
    memory: drain /tenant
    io: drain /tenant
    memory: drain /tenant
    io: drain /tenant
    ");
}

#[test]
fn a_watch_tells_what_differs() {
    assert_snapshot!(check("
        mkdir tenant/q; watch tenant; hear v1
        join t tenant/q; hear v1; hear v1
        leave t; join u tenant; hear v1
        leave u; rmdir --subtree tenant; hear v1; hear v1
        watch /; watch tenant; unwatch v1; hear v1
    "), @r#"
    /tenant: populated
    2 removed
    /tenant: emptied
    /tenant: removed
    /tenant: the end
    /tenant: the end
    watch /: the root of hierarchy h cannot be watched
    watch tenant: / of hierarchy h has no child "tenant"
    hear v1: no watch v1
    "#);
}

#[test]
fn a_flag_that_is_taken_back_forgets_what_nobody_was_told() {
    assert_snapshot!(check("
        join t tenant; leave t; notify tenant off; notify tenant on; reap; notices
        get tenant io; put r1; notify tenant off; notify tenant on; reap; notices
        get tenant io; put r1; reap; notify tenant off; notices
        notify tenant on; get tenant io; notify tenant off; notify tenant on; put r1; reap; notices
    "), @"
    /tenant: in use or removed
    /tenant: releasable
    ");
}

#[test]
fn notices_end_with_their_hierarchy() {
    assert_snapshot!(check("
        hierarchy g; mkdir a; notify a on; join t a; leave t; reap
        rmdir a; destroy g
        notices; notice; renotify
        use h; notices
    "), @"
    notices: receiving on an empty and disconnected channel
    notice: receiving on an empty and disconnected channel
    renotify: hierarchy g is destroyed
    ");
}
