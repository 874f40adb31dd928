//! Control files, as a session at a shell.

use fief_testing::check::{check, check_after};
use insta::assert_snapshot;

/// A bound controller and a group.
const GROUP: &str = "hierarchy h; register memory; bind memory h; mkdir a";

#[test]
fn a_root_and_a_group_list_what_they_have() {
    let script = "hierarchy h; register memory; bind memory h; mkdir a; ls; ls a";
    assert_snapshot!(check(script), @"
    r- cgroup.controllers
    r- cgroup.events
    -w cgroup.kill
    rw cgroup.max.depth
    rw cgroup.max.descendants
    r- cgroup.stat
    rw cgroup.subtree_control
    rw cgroup.tasks
    r- memory.capacity
    -w memory.reset
    r- memory.stat
    rw memory.weight
    rw notify_on_release
    r- cgroup.controllers
    r- cgroup.events
    rw cgroup.freeze
    -w cgroup.kill
    rw cgroup.max.depth
    rw cgroup.max.descendants
    r- cgroup.stat
    rw cgroup.subtree_control
    rw cgroup.tasks
    rw memory.max
    -w memory.reset
    r- memory.stat
    rw memory.weight
    rw notify_on_release
    ");
}

#[test]
fn files_show_the_group() {
    let script = "
        mkdir a/b; task t; echo 1 > a/b/cgroup.tasks; task u; join u a
        cat a/cgroup.events; cat cgroup.stat; cat a/b/cgroup.tasks; cat a/cgroup.tasks; cat cgroup.tasks
        cat a/cgroup.max.depth; cat a/notify_on_release
    ";
    assert_snapshot!(check_after(GROUP, script), @"
    populated 1
    frozen 0
    nr_descendants 2
    nr_dying_descendants 0
    1 t
    2 u
    max
    0
    ");
}

#[test]
fn a_controllers_files_are_each_groups_own() {
    let script = "
        mkdir a/b; echo 512M > a/memory.max; echo 7 > a/b/memory.weight
        cat a/memory.max; cat a/b/memory.max; cat a/b/memory.weight; cat memory.weight
        cat a/memory.stat; echo 1 > a/memory.reset; cat a/memory.stat; cat memory.capacity
    ";
    assert_snapshot!(check_after(GROUP, script), @"
    536870912
    max
    7
    100
    writes 1
    writes 0
    max
    ");
}

#[test]
fn writing_does_what_the_calls_do() {
    let script = "
        task t; task u
        echo 1 > a/notify_on_release; echo 3 > a/cgroup.max.descendants; echo 0 > a/cgroup.max.depth
        echo 1 > a/cgroup.tasks; echo 2 > a/cgroup.tasks; echo 1 > a/cgroup.kill; mkdir a/b; show a; events
    ";
    assert_snapshot!(check_after(GROUP, script), @"
    mkdir a/b: /a/b would be deeper than cgroup.max.depth of /a allows: 0 levels
    /a
      cgroup.events: populated 1
      cgroup.max.depth: 0
      cgroup.max.descendants: 3
      cgroup.tasks: t u
      notify_on_release: 1
      memory: online
    memory: can_fork t at /
    memory: fork t at /
    memory: can_fork u at /
    memory: fork u at /
    memory: drain /a
    memory: can_attach t / -> /a
    memory: attach t / -> /a
    memory: post_attach t / -> /a
    memory: can_attach u / -> /a
    memory: attach u / -> /a
    memory: post_attach u / -> /a
    cancel t
    cancel u
    ");
}

#[test]
fn a_malformed_write_changes_nothing() {
    let script = r#"
        echo > a/memory.max; echo 1.5M > a/memory.max; echo 16E > a/memory.max; echo 0x10 > a/memory.max
        echo 1 M > a/memory.max; echo "1\n" > a/memory.max; echo "\0" > a/memory.max; echo ١ > a/memory.max
        echo 0 > a/memory.weight; echo 2 > a/notify_on_release; echo 0 > a/cgroup.kill; echo 2 > a/cgroup.freeze
        echo -1 > a/cgroup.max.depth; echo 4G > a/cgroup.max.descendants; echo t > a/cgroup.tasks
        echo 99 > a/cgroup.tasks; echo 1 > a/cgroup.stat; echo 1 > a/cgroup.events
        cat a/memory.reset; cat a/memory.stat; show a
    "#;
    assert_snapshot!(check_after(GROUP, script), @r#"
    echo "" > a/memory.max: memory.max of /a: "\n" is not a size (bytes below 2^64; K M G T P E) or max
    echo 1.5M > a/memory.max: memory.max of /a: "1.5M\n" is not a size (bytes below 2^64; K M G T P E) or max
    echo 16E > a/memory.max: memory.max of /a: "16E\n" is not a size (bytes below 2^64; K M G T P E) or max
    echo 0x10 > a/memory.max: memory.max of /a: "0x10\n" is not a size (bytes below 2^64; K M G T P E) or max
    echo "1 M" > a/memory.max: memory.max of /a: "1 M\n" is not a size (bytes below 2^64; K M G T P E) or max
    echo "1\n" > a/memory.max: memory.max of /a: "1\n\n" is not a size (bytes below 2^64; K M G T P E) or max
    echo "\0" > a/memory.max: memory.max of /a: "\0\n" is not a size (bytes below 2^64; K M G T P E) or max
    echo ١ > a/memory.max: memory.max of /a: "١\n" is not a size (bytes below 2^64; K M G T P E) or max
    echo 0 > a/memory.weight: memory.weight of /a: "0\n" is not a weight from 1 to 10000
    echo 2 > a/notify_on_release: notify_on_release of /a: "2\n" is not 0 or 1
    echo 0 > a/cgroup.kill: cgroup.kill of /a: "0\n" is not 1
    echo 2 > a/cgroup.freeze: cgroup.freeze of /a: "2\n" is not 0 or 1
    echo -1 > a/cgroup.max.depth: cgroup.max.depth of /a: "-1\n" is not a number from 0 to 2147483647, or max
    echo 4G > a/cgroup.max.descendants: cgroup.max.descendants of /a: "4G\n" is not a number from 0 to 2147483647, or max
    echo t > a/cgroup.tasks: cgroup.tasks of /a: "t\n" is not the id of a task
    echo 99 > a/cgroup.tasks: cgroup.tasks of /a: there is no task 99
    echo 1 > a/cgroup.stat: cgroup.stat of /a can only be read
    echo 1 > a/cgroup.events: cgroup.events of /a can only be read
    cat a/memory.reset: memory.reset of /a can only be written
    writes 0
    /a
      cgroup.events: populated 0
      memory: online
    "#);
}

#[test]
fn an_unknown_file_is_refused_with_those_there_are() {
    let script = "
        hierarchy g; register cpu; bind cpu g; use h
        cat a/memory.peak; cat a/cpu.max; cat a/io.max; cat a/memory.capacity; cat cgroup.type; cat memory.max
    ";
    let first = |line: &str| line.split("; it has ").next().unwrap_or_default().to_owned() + "\n";
    let out = check_after(GROUP, script);
    assert_snapshot!(out.lines().map(first).collect::<String>(), @r#"
    cat a/memory.peak: /a has no file "memory.peak"
    cat a/cpu.max: /a has no file "cpu.max": cpu is not bound to hierarchy h
    cat a/io.max: /a has no file "io.max"
    cat a/memory.capacity: /a has no file "memory.capacity", which only the root has
    cat cgroup.type: / has no file "cgroup.type"
    cat memory.max: / has no file "memory.max", as no root has
    "#);
    assert!(out.lines().next().is_some_and(|line| line.ends_with(
        "; it has cgroup.controllers cgroup.events cgroup.freeze cgroup.kill cgroup.max.depth \
         cgroup.max.descendants cgroup.stat cgroup.subtree_control cgroup.tasks memory.max memory.reset memory.stat memory.weight notify_on_release"
    )));
}

#[test]
fn a_controller_is_enabled_and_disabled_below_a_group() {
    let script = "
        cat cgroup.controllers; cat cgroup.subtree_control; task t; echo 1 > a/cgroup.tasks
        echo -memory > cgroup.subtree_control; cat a/cgroup.controllers; cat a/memory.max
        echo +memory -memory +memory > cgroup.subtree_control; cat a/cgroup.controllers; cat a/memory.max
        echo memory > cgroup.subtree_control; echo +cpu > cgroup.subtree_control; echo > cgroup.subtree_control
    ";
    assert_snapshot!(check_after(GROUP, script), @r#"
    memory
    memory
    cat a/memory.max: /a has no file "memory.max": memory is not enabled here; it has cgroup.controllers cgroup.events cgroup.freeze cgroup.kill cgroup.max.depth cgroup.max.descendants cgroup.stat cgroup.subtree_control cgroup.tasks notify_on_release
    memory
    max
    echo memory > cgroup.subtree_control: cgroup.subtree_control of /: "memory\n" is not a list of controllers with + or - before each
    echo +cpu > cgroup.subtree_control: cgroup.subtree_control of /: there is no subsystem "cpu"
    echo "" > cgroup.subtree_control: cgroup.subtree_control of /: "\n" is not a list of controllers with + or - before each
    "#);
}

#[test]
fn a_group_is_frozen_by_its_file() {
    let script = "
        echo 1 > a/cgroup.freeze; cat a/cgroup.freeze; cat a/cgroup.events; mkdir a/b; cat a/b/cgroup.events
        task t; join t a; cat a/cgroup.events; echo 0 > a/cgroup.freeze; cat a/cgroup.freeze
        echo 1 > cgroup.freeze; rmdir a/b; exit t; rmdir a; echo 1 > a/cgroup.freeze
    ";
    assert_snapshot!(check_after(GROUP, script), @r#"
    1
    populated 0
    frozen 1
    populated 0
    frozen 1
    populated 1
    frozen 0
    0
    echo 1 > cgroup.freeze: / has no file "cgroup.freeze", as no root has; it has cgroup.controllers cgroup.events cgroup.kill cgroup.max.depth cgroup.max.descendants cgroup.stat cgroup.subtree_control cgroup.tasks memory.capacity memory.reset memory.stat memory.weight notify_on_release
    echo 1 > a/cgroup.freeze: / of hierarchy h has no child "a"
    "#);
}

#[test]
fn a_hook_refuses_by_error_or_panic() {
    let script = "
        fail memory read_file 1; cat a/memory.max
        panic memory write_file 1; echo 1M > a/memory.max; cat a/memory.max; events
    ";
    assert_snapshot!(check_after(GROUP, script), @"
    cat a/memory.max: memory.max of /a cannot be read: injected
    echo 1M > a/memory.max: memory.max of /a cannot be written: panicked: injected
    max
    memory: read_file max of /a, vetoed
    memory: write_file max of /a, panicked
    memory: read_file max of /a
    ");
}

#[test]
fn a_refused_move_leaves_the_task_where_it_was() {
    let script = "
        task t; echo 1 > a/cgroup.tasks; mkdir b; fail memory can_attach 1
        echo 1 > b/cgroup.tasks; cat a/cgroup.tasks; cat b/cgroup.tasks
    ";
    assert_snapshot!(check_after(GROUP, script), @"
    echo 1 > b/cgroup.tasks: memory refused /b in can_attach: injected
    1 t
    ");
}

/// The core's files take no reference, a controller's do: the edge is told once it is given back.
#[test]
fn reading_a_group_that_waits_for_its_release_tells_of_it_again() {
    let script = "
        notify a on; reap; notices; cat a/cgroup.stat; reap; notices
        cat a/memory.max; reap; notices; rmdir --strict a
    ";
    assert_snapshot!(check_after(GROUP, script), @"
    nr_descendants 0
    nr_dying_descendants 0
    max
    /a: releasable
    ");
}

#[test]
fn files_come_and_go_with_their_controller_and_their_group() {
    let script = "
        echo 7 > a/memory.weight; rmdir a; mkdir a; cat a/memory.weight; cat a/memory.stat
        rmdir a; unbind memory; cat memory.weight; bind memory h; cat memory.weight; cat a/cgroup.stat
    ";
    assert_snapshot!(check_after(GROUP, script), @r#"
    100
    writes 0
    cat memory.weight: / has no file "memory.weight": memory is not bound to hierarchy h; it has cgroup.controllers cgroup.events cgroup.kill cgroup.max.depth cgroup.max.descendants cgroup.stat cgroup.subtree_control cgroup.tasks notify_on_release
    100
    cat a/cgroup.stat: / of hierarchy h has no child "a"
    "#);
}
