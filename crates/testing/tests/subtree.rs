//! Controllers enabled and disabled below groups, as scripts.

use fief_testing::check::{check_after, check_unchanged};
use insta::assert_snapshot;

/// Two hierarchies of one shape; memory and io are bound to `tenant`.
const TWINS: &str = "
    register memory; register io; hierarchy plan; mkdir a; mkdir a/b; mkdir a/b/c; mkdir d
    hierarchy tenant; bind memory tenant; bind io tenant; mkdir a; mkdir a/b; mkdir a/b/c; mkdir d
";

fn after(before: &str, script: &str) -> String {
    check_after(&format!("{TWINS}{before}"), script)
}

fn unchanged(before: &str, command: &str) -> String {
    check_unchanged(&format!("{TWINS}{before}"), command)
}

#[test]
fn disabled_below_a_group_a_controller_is_shared_there() {
    assert_snapshot!(after("
        task t; join t a/b/c; get a/b memory as r; charge memory a/b/c 5; charge memory a 1
    ", "
        subtree a -memory; subtree a/b -memory -io; events
        subtree a -memory; events; show a; css memory; resolve t memory; parents r
        reap; events; put r; reap; events
    "), @"
    subtree a -memory: cgroup.subtree_control of /a: /a/b has memory enabled for its children
    memory: can_attach t /a/b/c -> /a/b
    io: can_attach t /a/b/c -> /a/b
    memory: attach t /a/b/c -> /a/b
    io: attach t /a/b/c -> /a/b
    memory: drain /a/b/c
    memory: killed /a/b/c
    memory: offline /a/b/c
    io: drain /a/b/c
    io: killed /a/b/c
    io: offline /a/b/c
    memory: post_attach t /a/b/c -> /a/b
    io: post_attach t /a/b/c -> /a/b
    memory: can_attach t /a/b -> /a
    memory: attach t /a/b -> /a
    memory: drain /a/b
    memory: killed /a/b
    memory: offline /a/b
    memory: post_attach t /a/b -> /a
    /a
      cgroup.subtree_control: io
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 2 nr_dying_descendants 0
      memory: online, usage 1
      io: online
    /a/b
      cgroup.subtree_control: none
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
      memory: of /a
      io: online
    /a/b/c
      cgroup.events: populated 1
      cgroup.tasks: t
      memory: of /a
      io: of /a/b
    detached r: memory of /a/b, offline
    /: css 1 of /, online
    /a: css 3 under 1 of /a, online, usage 1
    /a/b: of /a
    /a/b/c: of /a
    /d: css 9 under 1 of /d, online
    css 3 under 1 of /a, online, usage 1
    css 5 under 3 of /a/b, offline
    css 3 under 1 of /a, online, usage 1
    css 1 of /, online
    memory: released /a/b/c
    io: released /a/b/c
    memory: free /a/b/c
    io: free /a/b/c
    memory: released /a/b
    memory: free /a/b
    ");
}

#[test]
fn what_is_charged_where_a_controller_is_disabled_goes_to_the_group_above() {
    let before = "charge memory a/b/c 5; subtree a/b -memory; subtree a -memory; reap";
    assert_snapshot!(after(before, "
        charge memory a/b/c 5; mkdir a/new; events; get a/new memory as r; css memory; parents r
    "), @"
    io: new_css under /a
    io: online /a/new
    /: css 1 of /, online
    /a: css 3 under 1 of /a, online, usage 5
    /a/b: of /a
    /a/b/c: of /a
    /a/new: of /a
    /d: css 9 under 1 of /d, online
    css 3 under 1 of /a, online, usage 5
    css 1 of /, online
    ");
}

#[test]
fn enabled_again_a_controller_makes_css_for_the_children_only() {
    let before = "task t; join t a/b/c; subtree a/b -memory; subtree a -memory; mkdir a/new; reap";
    assert_snapshot!(after(before, "
        subtree a +memory; events; css memory; resolve t memory
        subtree a/b +memory; events; css memory; resolve t memory; show a
    "), @"
    memory: new_css under /a
    memory: online /a/b
    memory: new_css under /a
    memory: online /a/new
    memory: can_attach t /a -> /a/b
    memory: attach t /a -> /a/b
    memory: post_attach t /a -> /a/b
    /: css 1 of /, online
    /a: css 3 under 1 of /a, online
    /a/b: css 12 under 3 of /a/b, online
    /a/b/c: of /a/b
    /a/new: css 13 under 3 of /a/new, online
    /d: css 9 under 1 of /d, online
    css 12 under 3 of /a/b, online
    memory: new_css under /a/b
    memory: online /a/b/c
    memory: can_attach t /a/b -> /a/b/c
    memory: attach t /a/b -> /a/b/c
    memory: post_attach t /a/b -> /a/b/c
    /: css 1 of /, online
    /a: css 3 under 1 of /a, online
    /a/b: css 12 under 3 of /a/b, online
    /a/b/c: css 14 under 12 of /a/b/c, online
    /a/new: css 13 under 3 of /a/new, online
    /d: css 9 under 1 of /d, online
    css 14 under 12 of /a/b/c, online
    /a
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 3 nr_dying_descendants 0
      memory: online
      io: online
    /a/b
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
      memory: online
      io: online
    /a/b/c
      cgroup.subtree_control: io
      cgroup.events: populated 1
      cgroup.tasks: t
      memory: online
      io: online
    /a/new
      cgroup.subtree_control: io
      cgroup.events: populated 0
      memory: online
      io: online
    ");
}

#[test]
fn what_subtree_control_refuses() {
    assert_snapshot!(unchanged("", "subtree a -memory"), @"subtree a -memory: cgroup.subtree_control of /a: /a/b has memory enabled for its children");
    assert_snapshot!(unchanged("", "subtree / -memory -io"), @"subtree / -memory -io: cgroup.subtree_control of /: /a has memory enabled for its children");
    assert_snapshot!(unchanged("subtree a/b -memory; subtree a -memory", "subtree a/b +memory; subtree a/b/c +io +memory"), @"
    subtree a/b +memory: cgroup.subtree_control of /a/b: memory is not in its cgroup.controllers
    subtree a/b/c +io +memory: cgroup.subtree_control of /a/b/c: memory is not in its cgroup.controllers
    ");
    assert_snapshot!(unchanged("register net", "subtree a +net; subtree a -net"), @"subtree a +net: cgroup.subtree_control of /a: net is not in its cgroup.controllers");
    assert_snapshot!(unchanged("", "subtree a +nothing; subtree a -nothing"), @r#"
    subtree a +nothing: cgroup.subtree_control of /a: there is no subsystem "nothing"
    subtree a -nothing: cgroup.subtree_control of /a: there is no subsystem "nothing"
    "#);
    assert_snapshot!(unchanged("", "subtree a +memory -memory; subtree a -io -memory +memory"), @"
    subtree a +memory -memory: cgroup.subtree_control of /a: memory cannot be both enabled and disabled
    subtree a +memory -io -memory: cgroup.subtree_control of /a: memory cannot be both enabled and disabled
    ");
    assert_snapshot!(unchanged("", "subtree x +memory; use nowhere"), @r#"
    subtree x +memory: / of hierarchy tenant has no child "x"
    use nowhere: no hierarchy nowhere
    "#);
    assert_snapshot!(unchanged("", "subtree a/b +memory +io; subtree d -memory +memory; events"), @"subtree d +memory -memory: cgroup.subtree_control of /d: memory cannot be both enabled and disabled");
}

#[test]
fn a_refused_subtree_control_changes_nothing() {
    let before = "
        task t; join t a/b; task u; join u a; subtree a/b -memory -io; subtree a -memory -io
        mkdir a/x; reap
    ";
    assert_snapshot!(unchanged(before, "fail io online 2; subtree a +memory +io; reap"), @"
    subtree a +memory +io: io refused /a/x in online: injected
    memory: new_css under /a
    memory: online /a/b
    memory: new_css under /a
    memory: online /a/x
    io: new_css under /a
    io: online /a/b
    io: new_css under /a
    io: online /a/x, vetoed
    io: drain /a/b
    io: killed /a/b
    io: offline /a/b
    memory: drain /a/x
    memory: drain /a/b
    memory: killed /a/x
    memory: killed /a/b
    memory: offline /a/x
    memory: offline /a/b
    io: released /a/b
    memory: released /a/x
    memory: released /a/b
    io: free /a/x
    io: free /a/b
    memory: free /a/x
    memory: free /a/b
    ");
    assert_snapshot!(unchanged(before, "fail io can_attach 1; subtree a +memory +io"), @"
    subtree a +memory +io: io refused /a/b in can_attach: injected
    memory: new_css under /a
    memory: online /a/b
    memory: new_css under /a
    memory: online /a/x
    io: new_css under /a
    io: online /a/b
    io: new_css under /a
    io: online /a/x
    memory: can_attach t /a -> /a/b
    io: can_attach t /a -> /a/b, vetoed
    memory: cancel_attach t /a -> /a/b
    memory: drain /a/x
    memory: drain /a/b
    memory: killed /a/x
    memory: killed /a/b
    memory: offline /a/x
    memory: offline /a/b
    io: drain /a/x
    io: drain /a/b
    io: killed /a/x
    io: killed /a/b
    io: offline /a/x
    io: offline /a/b
    ");
    let enabled = "task t; join t a/b/c; get a/b/c memory as r";
    assert_snapshot!(unchanged(enabled, "panic memory can_attach 1; subtree a/b -memory -io"), @"
    subtree a/b -memory -io: memory refused /a/b in can_attach: panicked: injected
    memory: can_attach t /a/b/c -> /a/b, panicked
    ");
}

#[test]
fn disabled_subtrees_move_as_they_are() {
    assert_snapshot!(after("
        task t; join t a/b/c; use plan; join t a/b/c; use tenant
        subtree a/b -memory; subtree a -memory; charge memory a 4; css memory
    ", "
        rebind memory plan; events; show a
        use plan; show a; css memory; resolve t memory; mkdir a/b/new; css memory
        subtree a/b +memory; subtree a +memory; resolve t memory
        rebind memory tenant; use tenant; mkdir a/b/new; rebind memory tenant
        css memory
    "), @"
    /: css 1 of /, online
    /a: css 3 under 1 of /a, online, usage 4
    /a/b: of /a
    /a/b/c: of /a
    /d: css 9 under 1 of /d, online
    memory: rebound /
    /a
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 2 nr_dying_descendants 0
      io: online
    /a/b
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
      io: online
    /a/b/c
      cgroup.events: populated 1
      cgroup.tasks: t
      io: online
    /a
      cgroup.subtree_control: none
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 2 nr_dying_descendants 0
      memory: online, usage 4
    /a/b
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
      memory: of /a
    /a/b/c
      cgroup.events: populated 1
      cgroup.tasks: t
      memory: of /a
    /: css 1 of /, online
    /a: css 3 under 1 of /a, online, usage 4
    /a/b: of /a
    /a/b/c: of /a
    /d: css 9 under 1 of /d, online
    css 3 under 1 of /a, online, usage 4
    /: css 1 of /, online
    /a: css 3 under 1 of /a, online, usage 4
    /a/b: of /a
    /a/b/c: of /a
    /a/b/new: of /a
    /d: css 9 under 1 of /d, online
    subtree a/b +memory: cgroup.subtree_control of /a/b: memory is not in its cgroup.controllers
    css 11 under 3 of /a/b, online
    rebind memory tenant: hierarchies plan and tenant differ: /a/b/new of plan has no counterpart in tenant
    /: css 1 of /, online
    /a: css 3 under 1 of /a, online, usage 4
    /a/b: css 11 under 3 of /a/b, online
    /a/b/c: of /a/b
    /a/b/new: of /a/b
    /d: css 9 under 1 of /d, online
    ");
}
