//! Members that spawn, move together, and freeze, as scripts.

use fief_testing::check::check;

#[test]
fn spawned_where_the_spawner_sits_and_frozen_with_it() {
    let script = "
        hierarchy g; mkdir x; hierarchy h; mkdir a; mkdir a/b; mkdir c
        task t; join t a/b; freeze a on; spawn t u; spawn t v in c c; watch a as w
        frozen t on; frozen u on; frozen v on; hear w; show
        spawn t t; spawn x y; spawn t y in a c; freeze / on; frozen x on
        joinall c t u; hear w; freeze a off; hear w; events
    ";
    insta::assert_snapshot!(check(script), @r#"
    asked to freeze
    asked to freeze
    /a: frozen
    /
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 3 nr_dying_descendants 0
    /a
      cgroup.events: populated 1 frozen 1
      cgroup.freeze: 1
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
    /a/b
      cgroup.events: populated 1 frozen 1
      asked to freeze: t* u*
      cgroup.tasks: t u
    /c
      cgroup.events: populated 1
      cgroup.tasks: v
    spawn t t: t stands for something already
    spawn x y: no task x
    spawn t y in a c: task "y" cannot be in /a and /c of hierarchy h
    freeze / on: the root of hierarchy h cannot be frozen
    frozen x on: no task x
    /a: emptied
    /a: thawed
    freeze t
    freeze u
    thaw t
    thaw u
    "#);
}
