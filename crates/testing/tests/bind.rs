//! Binding to populated trees, unbinding from them and remounting, as scripts.

use fief_testing::check::{check_after, check_unchanged};
use insta::assert_snapshot;

/// A hierarchy three deep with two controllers.
const TREE: &str = "
    register memory; register io; hierarchy plan; hierarchy tenant; bind memory tenant; bind io tenant
    mkdir a; mkdir a/b; mkdir a/b/c; mkdir d
";

fn after(before: &str, script: &str) -> String {
    check_after(&format!("{TREE}{before}"), script)
}

fn unchanged(before: &str, command: &str) -> String {
    check_unchanged(&format!("{TREE}{before}"), command)
}

#[test]
fn bind_gives_every_group_a_css() {
    assert_snapshot!(after("task t; join t a/b; task u; register net; root net as r0", "
        bind net tenant; events; css net; resolve t net; resolve u net; show d
    "), @"
    net: new_css under /
    net: online /a
    net: new_css under /a
    net: online /a/b
    net: new_css under /a/b
    net: online /a/b/c
    net: new_css under /
    net: online /d
    net: can_attach t / -> /a/b
    net: attach t / -> /a/b
    net: bound /
    net: post_attach t / -> /a/b
    /: css 11 of /, online
    /a: css 12 under 11 of /a, online
    /a/b: css 13 under 12 of /a/b, online
    /a/b/c: css 14 under 13 of /a/b/c, online
    /d: css 15 under 11 of /d, online
    css 13 under 12 of /a/b, online
    css 11 of /, online
    /d
      cgroup.events: populated 0
      memory: online
      io: online
      net: online
    ");
}

#[test]
fn unbind_takes_them_and_waits_for_nobody() {
    let before = "
        task t; join t a/b; register net; bind net tenant; get a/b net as r; charge net a/b 7
    ";
    assert_snapshot!(after(before, "
        unbind net; events; show a; resolve t net; parents r
        reap; events; put r; reap; events; show d
    "), @"
    net: can_attach t /a/b -> /
    net: attach t /a/b -> /
    net: drain /d
    net: drain /a/b/c
    net: drain /a/b
    net: drain /a
    net: killed /d
    net: killed /a/b/c
    net: killed /a/b
    net: killed /a
    net: offline /d
    net: offline /a/b/c
    net: offline /a/b
    net: offline /a
    net: bound /
    net: post_attach t /a/b -> /
    /a
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 2 nr_dying_descendants 0
      memory: online
      io: online
    /a/b
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
      cgroup.tasks: t
      memory: online
      io: online
    /a/b/c
      cgroup.events: populated 0
      memory: online
      io: online
    inactive net: online
    detached r: net of /a/b, offline
    css 11 of /, online
    css 13 under 12 of /a/b, offline, usage 7
    css 12 under 11 of /a, offline
    css 11 of /, online
    net: released /d
    net: released /a/b/c
    net: free /d
    net: free /a/b/c
    net: released /a/b
    net: free /a/b
    net: released /a
    net: free /a
    /d
      cgroup.events: populated 0
      memory: online
      io: online
    inactive net: online
    ");
}

#[test]
fn a_bind_that_is_refused_leaves_nothing() {
    let before = "task t; join t a/b; register net";
    assert_snapshot!(unchanged(before, "fail net new_css 3; bind net tenant; reap"), @"
    bind net tenant: net refused /a/b/c in new_css: injected
    net: new_css under /
    net: online /a
    net: new_css under /a
    net: online /a/b
    net: new_css under /a/b, vetoed
    net: drain /a/b
    net: drain /a
    net: killed /a/b
    net: killed /a
    net: offline /a/b
    net: offline /a
    net: released /a/b
    net: free /a/b
    net: released /a
    net: free /a
    ");
    assert_snapshot!(unchanged(before, "panic net online 2; bind net tenant; reap"), @"
    bind net tenant: net refused /a/b in online: panicked: injected
    net: new_css under /
    net: online /a
    net: new_css under /a
    net: online /a/b, panicked
    net: drain /a
    net: killed /a
    net: offline /a
    net: free /a/b
    net: released /a
    net: free /a
    ");
    assert_snapshot!(unchanged(before, "fail net can_attach 1; bind net tenant; reap"), @"
    bind net tenant: net refused /a/b in can_attach: injected
    net: new_css under /
    net: online /a
    net: new_css under /a
    net: online /a/b
    net: new_css under /a/b
    net: online /a/b/c
    net: new_css under /
    net: online /d
    net: can_attach t / -> /a/b, vetoed
    net: drain /d
    net: drain /a/b/c
    net: drain /a/b
    net: drain /a
    net: killed /d
    net: killed /a/b/c
    net: killed /a/b
    net: killed /a
    net: offline /d
    net: offline /a/b/c
    net: offline /a/b
    net: offline /a
    net: released /d
    net: released /a/b/c
    net: free /d
    net: free /a/b/c
    net: released /a/b
    net: free /a/b
    net: released /a
    net: free /a
    ");
}

#[test]
fn an_unbind_that_is_refused_changes_nothing() {
    let before = "task t; task u; join t a/b; join u d; get a/b memory as r";
    assert_snapshot!(unchanged(before, "fail memory can_attach 2; unbind memory"), @"
    unbind memory: memory refused / in can_attach: injected
    memory: can_attach t /a/b -> /
    memory: can_attach u /d -> /, vetoed
    memory: cancel_attach t /a/b -> /
    ");
    assert_snapshot!(unchanged(before, "panic memory can_attach 1; unbind memory"), @"
    unbind memory: memory refused / in can_attach: panicked: injected
    memory: can_attach t /a/b -> /, panicked
    ");
}

#[test]
fn a_remount_is_one_step() {
    assert_snapshot!(after("
        task t; join t d; register net; charge memory a 3; get a io as r
    ", "
        remount tenant memory net; events; show d; css memory; css io; resolve t net; resolve t io; parents r
        remount tenant; remount tenant memory io io
        remount plan memory; remount plan nothing; remount plan net; use plan; show d
    "), @r#"
    net: new_css under /
    net: online /a
    net: new_css under /a
    net: online /a/b
    net: new_css under /a/b
    net: online /a/b/c
    net: new_css under /
    net: online /d
    io: can_attach t /d -> /
    net: can_attach t / -> /d
    io: attach t /d -> /
    net: attach t / -> /d
    io: drain /d
    io: drain /a/b/c
    io: drain /a/b
    io: drain /a
    io: killed /d
    io: killed /a/b/c
    io: killed /a/b
    io: killed /a
    io: offline /d
    io: offline /a/b/c
    io: offline /a/b
    io: offline /a
    io: bound /
    net: bound /
    io: post_attach t /d -> /
    net: post_attach t / -> /d
    /d
      cgroup.events: populated 1
      cgroup.tasks: t
      memory: online
      net: online
    inactive io: online
    detached r: io of /a, offline
    /: css 1 of /, online
    /a: css 3 under 1 of /a, online, usage 3
    /a/b: css 5 under 3 of /a/b, online
    /a/b/c: css 7 under 5 of /a/b/c, online
    /d: css 9 under 1 of /d, online
    css 15 under 11 of /d, online
    css 2 of /, online
    css 4 under 2 of /a, offline
    css 2 of /, online
    remount plan memory: subsystem memory is bound to hierarchy tenant
    remount plan nothing: no subsystem nothing
    show d: / of hierarchy plan has no child "d"
    "#);
}

#[test]
fn a_refused_remount_changes_nothing() {
    let before = "task t; join t d; register net; register disk; get a io as r";
    assert_snapshot!(unchanged(before, "fail disk online 2; remount tenant memory net disk; reap"), @"
    remount tenant memory net disk: disk refused /a/b in online: injected
    net: new_css under /
    net: online /a
    net: new_css under /a
    net: online /a/b
    net: new_css under /a/b
    net: online /a/b/c
    net: new_css under /
    net: online /d
    disk: new_css under /
    disk: online /a
    disk: new_css under /a
    disk: online /a/b, vetoed
    disk: drain /a
    disk: killed /a
    disk: offline /a
    net: drain /d
    net: drain /a/b/c
    net: drain /a/b
    net: drain /a
    net: killed /d
    net: killed /a/b/c
    net: killed /a/b
    net: killed /a
    net: offline /d
    net: offline /a/b/c
    net: offline /a/b
    net: offline /a
    net: released /d
    net: released /a/b/c
    disk: free /a/b
    net: free /d
    net: free /a/b/c
    disk: released /a
    net: released /a/b
    disk: free /a
    net: free /a/b
    net: released /a
    net: free /a
    ");
    assert_snapshot!(unchanged(before, "fail net can_attach 1; remount tenant memory net"), @"
    remount tenant memory net: net refused /d in can_attach: injected
    net: new_css under /
    net: online /a
    net: new_css under /a
    net: online /a/b
    net: new_css under /a/b
    net: online /a/b/c
    net: new_css under /
    net: online /d
    io: can_attach t /d -> /
    net: can_attach t / -> /d, vetoed
    io: cancel_attach t /d -> /
    net: drain /d
    net: drain /a/b/c
    net: drain /a/b
    net: drain /a
    net: killed /d
    net: killed /a/b/c
    net: killed /a/b
    net: killed /a
    net: offline /d
    net: offline /a/b/c
    net: offline /a/b
    net: offline /a
    ");
}
