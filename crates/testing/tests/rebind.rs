//! Rebinding controllers between populated trees, as scripts.
//!
//! What is to stay the same of a css is in its line of `css`: its number (which stands for the object and
//! its id), its parent, its usage, its stage.

use fief_testing::check::{Session, check_after, check_unchanged};
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
fn a_root_alone_moves() {
    let before =
        "hierarchy g; hierarchy h; register memory; bind memory h; task t; root memory as r";
    assert_snapshot!(check_after(before, "
        charge memory / 5; css memory; resolve t memory
        rebind memory g; events; css memory; show
        use g; css memory; show; resolve t memory; parents r
    "), @"
    /: css 1 of /, online, usage 5
    css 1 of /, online, usage 5
    memory: rebound /
    /
      cgroup.events: populated 1
      cgroup.tasks: t
    /: css 1 of /, online, usage 5
    /
      cgroup.controllers: memory
      cgroup.events: populated 1
      cgroup.tasks: t
      memory: online, usage 5, held by r
    css 1 of /, online, usage 5
    css 1 of /, online, usage 5
    ");
}

#[test]
fn css_move_with_all_they_have() {
    assert_snapshot!(after("
        task t; join t a/b; use plan; join t a/b; use tenant
    ", "
        charge memory / 1; charge memory a 2; charge memory a/b 3; charge memory a/b/c 4; charge io d 5
        get a/b/c memory as r; get d memory; weak r as w; css memory; resolve t memory
        rebind memory plan; events
        css memory; show a
        use plan; css memory; show; resolve t memory; resolve t io; parents r
        upgrade w as again; charge memory a/b/c 4; parents again
        put r; put again; put r1; reap; events
    "), @"
    /: css 1 of /, online, usage 1
    /a: css 3 under 1 of /a, online, usage 2
    /a/b: css 5 under 3 of /a/b, online, usage 3
    /a/b/c: css 7 under 5 of /a/b/c, online, usage 4
    /d: css 9 under 1 of /d, online
    css 5 under 3 of /a/b, online, usage 3
    memory: rebound /
    /a
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 2 nr_dying_descendants 0
      io: online
    /a/b
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
      cgroup.tasks: t
      io: online
    /a/b/c
      cgroup.events: populated 0
      io: online
    /: css 1 of /, online, usage 1
    /a: css 3 under 1 of /a, online, usage 2
    /a/b: css 5 under 3 of /a/b, online, usage 3
    /a/b/c: css 7 under 5 of /a/b/c, online, usage 4
    /d: css 9 under 1 of /d, online
    /
      cgroup.controllers: memory
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 4 nr_dying_descendants 0
      memory: online, usage 1
    /a
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 2 nr_dying_descendants 0
      memory: online, usage 2
    /a/b
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
      cgroup.tasks: t
      memory: online, usage 3
    /a/b/c
      cgroup.events: populated 0
      memory: online, usage 4, held by r
    /d
      cgroup.events: populated 0
      memory: online, held by r1
    css 5 under 3 of /a/b, online, usage 3
    css 6 under 4 of /a/b, online
    css 7 under 5 of /a/b/c, online, usage 4
    css 5 under 3 of /a/b, online, usage 3
    css 3 under 1 of /a, online, usage 2
    css 1 of /, online, usage 1
    css 7 under 5 of /a/b/c, online, usage 8
    css 5 under 3 of /a/b, online, usage 3
    css 3 under 1 of /a, online, usage 2
    css 1 of /, online, usage 1
    ");
}

#[test]
fn a_mapping_gives_groups_other_names() {
    assert_snapshot!(after("", "
        use plan; mv a/b gold; mv d steel; mkdir steel/x; use tenant; mkdir d/x
        charge memory a/b/c 3; charge memory d 2; charge memory d/x 1
        rebind memory plan
        rebind memory plan map a/b=a/gold
        rebind memory plan map a/b=a/gold d=steel
        use plan; css memory
        rebind memory tenant map a/gold=a/b steel=d; use tenant; css memory
    "), @"
    rebind memory plan: hierarchies tenant and plan differ: /d of tenant has no counterpart in plan
    rebind memory plan map a/b=a/gold: hierarchies tenant and plan differ: /d of tenant has no counterpart in plan
    /: css 1 of /, online
    /a: css 3 under 1 of /a, online
    /a/gold: css 5 under 3 of /a/gold, online
    /a/gold/c: css 7 under 5 of /a/gold/c, online, usage 3
    /steel: css 9 under 1 of /steel, online, usage 2
    /steel/x: css 11 under 9 of /steel/x, online, usage 1
    /: css 1 of /, online
    /a: css 3 under 1 of /a, online
    /a/b: css 5 under 3 of /a/b, online
    /a/b/c: css 7 under 5 of /a/b/c, online, usage 3
    /d: css 9 under 1 of /d, online, usage 2
    /d/x: css 11 under 9 of /d/x, online, usage 1
    ");
    assert_snapshot!(after("", "
        use plan; mkdir a/x; use tenant; mkdir a/x; charge memory a/b 3; charge memory a/x 4; rmdir a/b/c
        use plan; rmdir a/b/c
        rebind memory plan map a/b=a/x
        rebind memory plan map a/b=a/x a/x=a/b
        css memory
    "), @"
    rebind memory plan map a/b=a/x: hierarchies tenant and plan differ: /a/x of tenant has no counterpart in plan
    /: css 1 of /, online
    /a: css 3 under 1 of /a, online
    /a/b: css 11 under 3 of /a/b, online, usage 4
    /a/x: css 5 under 3 of /a/x, online, usage 3
    /d: css 9 under 1 of /d, online
    ");
}

#[test]
fn trees_that_differ_are_refused_with_the_first_path() {
    assert_snapshot!(unchanged("mkdir a/b/x; mkdir d/y; use plan; mkdir d/z", "rebind memory plan"), @"rebind memory plan: hierarchies tenant and plan differ: /a/b/x of tenant has no counterpart in plan");
    assert_snapshot!(unchanged("use plan; mkdir a/x", "rebind memory plan"), @"rebind memory plan: hierarchies tenant and plan differ: /a/x of plan has no counterpart in tenant");
    assert_snapshot!(unchanged("rmdir d", "rebind memory plan"), @"rebind memory plan: hierarchies tenant and plan differ: /d of plan has no counterpart in tenant");
    assert_snapshot!(unchanged("use plan; rmdir a/b/c", "rebind memory plan"), @"rebind memory plan: hierarchies tenant and plan differ: /a/b/c of tenant has no counterpart in plan");
    assert_snapshot!(unchanged("mv a/b x", "rebind memory plan move"), @"rebind memory plan move: hierarchies tenant and plan differ: /a/x of tenant has no counterpart in plan");
    assert_snapshot!(unchanged("", "rebind memory plan map d=a/b"), @"rebind memory plan map d=a/b: hierarchies tenant and plan differ: /d of tenant is mapped to a group that is not below its parent's counterpart");
    assert_snapshot!(unchanged("", "rebind memory plan map a/b=d"), @"rebind memory plan map a/b=d: hierarchies tenant and plan differ: /d of tenant has no counterpart in plan");
    assert_snapshot!(unchanged("", "rebind memory plan map a=d d=a"), @"rebind memory plan map a=d d=a: hierarchies tenant and plan differ: /a/b of tenant has no counterpart in plan");
    assert_snapshot!(unchanged("", "rebind memory plan map /=a"), @"rebind memory plan map /=a: hierarchies tenant and plan differ: / of tenant is mapped to a group that is not below its parent's counterpart");
    assert_snapshot!(unchanged("", "rebind memory plan map a=/"), @"rebind memory plan map a=/: hierarchies tenant and plan differ: /a of tenant is mapped to a group that is not below its parent's counterpart");
}

#[test]
fn a_mapping_that_is_none_is_refused() {
    assert_snapshot!(unchanged("", "rebind memory plan map a=a a=d"), @"rebind memory plan map a=a a=d: mapping tenant:/a to plan:/d: a group is named twice");
    assert_snapshot!(unchanged("", "rebind memory plan map a=a d=a"), @"rebind memory plan map a=a d=a: mapping tenant:/d to plan:/a: a group is named twice");
    assert_snapshot!(unchanged("", "rebind memory plan map a=a a=a"), @"rebind memory plan map a=a a=a: mapping tenant:/a to plan:/a: a group is named twice");
    assert_snapshot!(unchanged("", "rebind memory plan map x=a"), @r#"rebind memory plan map x=a: / of hierarchy tenant has no child "x""#);
    assert_snapshot!(unchanged("", "rebind memory plan map a=x"), @r#"rebind memory plan map a=x: / of hierarchy plan has no child "x""#);
    assert_snapshot!(unchanged("", "rebind memory plan map /=/ a=a a/b=a/b a/b/c=x"), @r#"rebind memory plan map /=/ a=a a/b=a/b a/b/c=x: / of hierarchy plan has no child "x""#);
}

#[test]
fn where_it_is_and_where_it_goes_is_checked() {
    assert_snapshot!(unchanged("", "rebind memory tenant"), @"rebind memory tenant: subsystem memory is bound to hierarchy tenant");
    assert_snapshot!(unchanged("", "rebind memory nowhere; rebind nothing plan"), @"
    rebind memory nowhere: no hierarchy nowhere
    rebind nothing plan: no subsystem nothing
    ");
    assert_snapshot!(unchanged("", "rebind memory,io,memory plan"), @"rebind memory,io,memory plan: subsystem memory is named twice");
    assert_snapshot!(unchanged("", "rebind memory,io tenant"), @"rebind memory,io tenant: subsystem memory is bound to hierarchy tenant");
    assert_snapshot!(unchanged("register net", "rebind net plan; rebind memory,net plan"), @"
    rebind net plan: subsystem net is bound to no hierarchy
    rebind memory,net plan: subsystem net is bound to no hierarchy
    ");
    assert_snapshot!(unchanged("rebind io plan", "rebind memory,io plan"), @"rebind memory,io plan: subsystem io is bound to hierarchy plan");
}

#[test]
fn members_elsewhere_forbid_it_by_default() {
    let before = "
        task t; task u; task v; join t a/b; join u a; join v d; use plan; join t a/b; join u d; use tenant
        fail memory can_attach 1
    ";
    assert_snapshot!(unchanged(before, "rebind memory plan"), @"rebind memory plan: 2 members would change css of memory, first u, from tenant:/a to plan:/d");
    assert_snapshot!(unchanged(before, "rebind memory,io plan"), @"rebind memory,io plan: 4 members would change css of memory, first u, from tenant:/a to plan:/d");
}

#[test]
fn members_elsewhere_move_in_two_phases() {
    assert_snapshot!(after("
        task t; task u; task v; join t a/b; join u a; join v d; use plan; join t a/b; join u d
        use tenant
    ", "
        rebind memory,io plan move; events
        resolve t memory; resolve u memory; resolve v memory; resolve u io
        use plan; show
    "), @"
    memory: can_attach u /a -> /d
    memory: can_attach v /d -> /
    io: can_attach u /a -> /d
    io: can_attach v /d -> /
    memory: attach u /a -> /d
    memory: attach v /d -> /
    io: attach u /a -> /d
    io: attach v /d -> /
    memory: rebound /
    io: rebound /
    memory: post_attach u /a -> /d
    memory: post_attach v /d -> /
    io: post_attach u /a -> /d
    io: post_attach v /d -> /
    css 5 under 3 of /a/b, online
    css 9 under 1 of /d, online
    css 1 of /, online
    css 10 under 2 of /d, online
    /
      cgroup.controllers: memory io
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 4 nr_dying_descendants 0
      cgroup.tasks: v
      memory: online
      io: online
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
    /d
      cgroup.events: populated 1
      cgroup.tasks: u
      memory: online
      io: online
    ");
}

#[test]
fn a_refused_member_keeps_everybody_where_they_are() {
    let before = "
        task t; task u; join t a/b; join u a; use plan; join u d; use tenant
        get d memory as r; charge memory a/b 3; notify d on; notify a/b/c on
    ";
    let vetoed = "fail io can_attach 2; rebind memory,io plan move";
    assert_snapshot!(unchanged(before, vetoed), @"
    rebind memory,io plan move: io refused /d in can_attach: injected
    memory: can_attach t /a/b -> /
    memory: can_attach u /a -> /d
    io: can_attach t /a/b -> /
    io: can_attach u /a -> /d, vetoed
    memory: cancel_attach t /a/b -> /
    memory: cancel_attach u /a -> /d
    io: cancel_attach t /a/b -> /
    ");
    let panicked =
        "panic memory can_attach 2; panic memory cancel_attach 1; rebind memory,io plan move";
    assert_snapshot!(unchanged(before, panicked), @"
    rebind memory,io plan move: memory refused /d in can_attach: panicked: injected
    memory: can_attach t /a/b -> /
    memory: can_attach u /a -> /d, panicked
    memory: cancel_attach t /a/b -> /, panicked
    ");
}

#[test]
fn hooks_that_cannot_refuse_stop_nothing() {
    assert_snapshot!(after("
        task t; join t a; charge memory a 3; use plan
        panic memory attach 1; panic memory post_attach 1; panic memory rebound 1
    ", "
        rebind memory,io plan move; events; css memory; resolve t memory
    "), @"
    memory: can_attach t /a -> /
    io: can_attach t /a -> /
    memory: attach t /a -> /, panicked
    io: attach t /a -> /
    memory: rebound /, panicked
    io: rebound /
    memory: post_attach t /a -> /, panicked
    io: post_attach t /a -> /
    /: css 1 of /, online
    /a: css 3 under 1 of /a, online, usage 3
    /a/b: css 5 under 3 of /a/b, online
    /a/b/c: css 7 under 5 of /a/b/c, online
    /d: css 9 under 1 of /d, online
    css 1 of /, online
    ");
}

#[test]
fn a_dying_css_stays_where_it_was() {
    assert_snapshot!(after("
        charge memory a/b/c 3; get a/b/c memory as r; weak r as w; get a/b/c io
        rmdir a/b/c; use plan; rmdir a/b/c; use tenant; reap
    ", "
        rebind memory plan; parents r; show a; use plan; css memory; show a
        put r1; reap; events
        rmdir --subtree a; upgrade w as s; parents s
        put r; reap; events
        put s; reap; events; upgrade w
        use tenant; show a
    "), @"
    css 7 under 5 of /a/b/c, offline, usage 3
    css 5 under 3 of /a/b, online
    css 3 under 1 of /a, online
    css 1 of /, online
    /a
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 1 nr_dying_descendants 1
      io: online
    /a/b
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 0 nr_dying_descendants 1
      io: online
    detached r: memory of /a/b/c, offline
    detached r1: io of /a/b/c, offline
    /: css 1 of /, online
    /a: css 3 under 1 of /a, online
    /a/b: css 5 under 3 of /a/b, online
    /d: css 9 under 1 of /d, online
    /a
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
      memory: online
    /a/b
      cgroup.events: populated 0
      memory: online
    detached r: memory of /a/b/c, offline
    detached r1: io of /a/b/c, offline
    memory: rebound /
    io: released /a/b/c
    io: free /a/b/c
    2 removed
    css 7 under 5 of /a/b/c, offline, usage 3
    css 5 under 3 of /a/b, offline
    css 3 under 1 of /a, offline
    css 1 of /, online
    memory: drain /a/b
    memory: drain /a
    memory: killed /a/b
    memory: killed /a
    memory: offline /a/b
    memory: offline /a
    memory: released /a/b/c
    memory: free /a/b/c
    memory: released /a/b
    memory: free /a/b
    memory: released /a
    memory: free /a
    upgrade w: the css is gone
    /a
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
      io: online
    /a/b
      cgroup.events: populated 0
      io: online
    ");
}

#[test]
fn a_css_made_after_a_move_has_the_moved_one_above() {
    assert_snapshot!(after("
        rebind memory plan; use plan; mkdir a/new; get a/new memory as r; parents r
        rebind memory tenant; use tenant; mkdir a/new; rebind memory tenant; rebind memory tenant move
        use plan; css memory; use tenant; mkdir a/newer
    ", "
    "), @"
    css 11 under 3 of /a/new, online
    css 3 under 1 of /a, online
    css 1 of /, online
    rebind memory tenant: hierarchies plan and tenant differ: /a/new of plan has no counterpart in tenant
    rebind memory tenant move: subsystem memory is bound to hierarchy tenant
    ");
}

#[test]
fn ten_times_back_and_forth() {
    let mut session = Session::new();
    session.run_text(TWINS);
    session.run_text("
        task t; join t a/b; use plan; join t a/b; use tenant; get a/b memory as r; charge memory a/b 1
        notify d on
    ");
    let before = session.run_text("show; css memory; resolve t memory; parents r");
    session.run_text("events");
    for _ in 0..10 {
        session.run_text("rebind memory plan; use plan; charge memory a/b 1; rebind memory tenant; use tenant; reap");
    }
    assert_snapshot!(session.run_text("parents r"), @"
    css 5 under 3 of /a/b, online, usage 11
    css 3 under 1 of /a, online
    css 1 of /, online
    ");
    let events = session.run_text("events");
    assert_eq!(events.matches("memory: rebound /\n").count(), 20, "{events}");
    // Where the group is waited for, what comes to it is to count exactly.
    assert_eq!(events.matches("memory: drain /d\n").count(), 10, "{events}");
    assert_eq!(events.lines().count(), 30, "{events}");
    let after = session.run_text("show; css memory; resolve t memory; parents r");
    assert_eq!(after.replace("usage 11", "usage 1"), before);
    assert_eq!(session.told_and_refused(), (0, 0));
}

#[test]
fn several_controllers_go_at_once() {
    assert_snapshot!(after("
        hierarchy other; mkdir a; mkdir a/b; mkdir a/b/c; mkdir d; register net; bind net other
        charge net d 1; charge memory d 2; use tenant; charge memory d 2; charge io d 3
    ", "
        rebind memory,net plan; events; use plan; show d
        use tenant; show d; use other; show d
        rebind net,memory other; rebind io plan; use other; show d; events
    "), @"
    charge memory d 2: memory has no css here
    memory: rebound /
    net: rebound /
    /d
      cgroup.events: populated 0
      memory: online, usage 2
      net: online, usage 1
    /d
      cgroup.events: populated 0
      io: online, usage 3
    /d
      cgroup.events: populated 0
    /d
      cgroup.events: populated 0
      memory: online, usage 2
      net: online, usage 1
    net: rebound /
    memory: rebound /
    io: rebound /
    ");
}
