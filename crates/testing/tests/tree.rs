//! Groups: created, renamed, looked up, walked, limited.

use fief_core::{Cgroup, Registry};
use fief_testing::check::check;
use insta::assert_snapshot;

#[test]
fn a_new_group_shows_below_its_parent() {
    assert_snapshot!(check("hierarchy h; mkdir b; mkdir a; mkdir a/b; show"), @"
    /
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 3 nr_dying_descendants 0
    /a
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
    /a/b
      cgroup.events: populated 0
    /b
      cgroup.events: populated 0
    ");
}

#[test]
fn a_name_is_taken_once_among_siblings() {
    assert_snapshot!(check("hierarchy h; mkdir a; mkdir a; mkdir a/a; mkdir a/a"), @"
    mkdir a: /a exists
    mkdir a/a: /a/a exists
    ");
}

#[test]
fn a_group_needs_its_parent() {
    assert_snapshot!(check("hierarchy h; mkdir a/b; mkdir a; mkdir a/b/c"), @r#"
    mkdir a/b: / of hierarchy h has no child "a"
    mkdir a/b/c: /a of hierarchy h has no child "b"
    "#);
}

#[test]
fn a_path_without_sense_is_refused() {
    assert_snapshot!(check("hierarchy h; mkdir a; rmdir a//b; rmdir a/; show //; rmdir a/.."), @r#"
    rmdir a//b: path "/a//b" of hierarchy h is not / or /name/name
    rmdir a/: path "/a/" of hierarchy h is not / or /name/name
    show //: path "//" of hierarchy h is not / or /name/name
    rmdir a/..: /a of hierarchy h has no child ".."
    "#);
}

#[test]
fn a_renamed_group_keeps_what_is_below_and_who_holds_it() {
    let script = "
        hierarchy h; register memory; bind memory h
        mkdir a; mkdir a/b; get a/b memory as r1; max.depth a 2
        mv a c; rmdir a; show
    ";
    assert_snapshot!(check(script), @r#"
    rmdir a: / of hierarchy h has no child "a"
    /
      cgroup.controllers: memory
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 2 nr_dying_descendants 0
      memory: online
    /c
      cgroup.events: populated 0
      cgroup.max.depth: 2
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
      memory: online
    /c/b
      cgroup.events: populated 0
      memory: online, held by r1
    "#);
}

#[test]
fn a_rename_stays_within_the_parent_and_its_names() {
    assert_snapshot!(check("hierarchy h; mkdir a; mkdir b; mv a b; mv a a; mv a b/c; mv / c; show a"), @r#"
    mv a b: cannot rename /a: "b" exists
    mv a b/c: cannot rename /a: name "b/c" holds '/'
    mv / c: the root of hierarchy h cannot be renamed
    /a
      cgroup.events: populated 0
    "#);
}

#[test]
fn a_removed_group_frees_its_name_at_once() {
    assert_snapshot!(check("hierarchy h; mkdir a; rmdir a; rmdir a; mkdir a; mkdir a/b; show a"), @r#"
    rmdir a: / of hierarchy h has no child "a"
    /a
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
    /a/b
      cgroup.events: populated 0
    "#);
}

#[test]
fn a_group_with_children_or_members_stays() {
    let script = "
        hierarchy h; task t1
        mkdir a; mkdir a/b; join t1 a/b
        rmdir a; rmdir a/b
        leave t1; rmdir a/b; rmdir a; rmdir /
    ";
    assert_snapshot!(check(script), @"
    rmdir a: /a is busy: 0 members, 1 children
    rmdir a/b: /a/b is busy: 1 members, 0 children
    rmdir /: the root of hierarchy h goes only with the hierarchy
    ");
}

#[test]
fn a_member_populates_every_group_above() {
    let script = "
        hierarchy h; mkdir a; mkdir a/b; mkdir c
        task t1; join t1 a/b; show
        exit t1; show a
    ";
    assert_snapshot!(check(script), @"
    /
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 3 nr_dying_descendants 0
    /a
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
    /a/b
      cgroup.events: populated 1
      cgroup.tasks: t1
    /c
      cgroup.events: populated 0
    /a
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
    /a/b
      cgroup.events: populated 0
    ");
}

#[test]
fn depth_is_limited_from_every_ancestor() {
    let script = "
        hierarchy h; mkdir a
        max.depth / 2; max.depth a 0
        mkdir a/b
        max.depth a max
        mkdir a/b; mkdir a/b/c; show
    ";
    assert_snapshot!(check(script), @"
    mkdir a/b: /a/b would be deeper than cgroup.max.depth of /a allows: 0 levels
    mkdir a/b/c: /a/b/c would be deeper than cgroup.max.depth of / allows: 2 levels
    /
      cgroup.events: populated 0
      cgroup.max.depth: 2
      cgroup.stat: nr_descendants 2 nr_dying_descendants 0
    /a
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
    /a/b
      cgroup.events: populated 0
    ");
}

#[test]
fn descendants_are_limited_in_every_ancestor() {
    let script = "
        hierarchy h; max.descendants / 2
        mkdir a; mkdir a/b; mkdir a/c; mkdir d
        rmdir a/b; mkdir d; show
    ";
    assert_snapshot!(check(script), @"
    mkdir a/c: /a/c would exceed cgroup.max.descendants of /: 2 groups
    mkdir d: /d would exceed cgroup.max.descendants of /: 2 groups
    /
      cgroup.events: populated 0
      cgroup.max.descendants: 2
      cgroup.stat: nr_descendants 2 nr_dying_descendants 0
    /a
      cgroup.events: populated 0
    /d
      cgroup.events: populated 0
    ");
}

#[test]
fn a_limit_below_what_is_there_is_taken_and_stops_growth() {
    let script = "
        hierarchy h; mkdir a; mkdir a/b
        max.depth / 0; max.descendants / 1
        show /; mkdir c
    ";
    assert_snapshot!(check(script), @"
    /
      cgroup.events: populated 0
      cgroup.max.depth: 0
      cgroup.max.descendants: 1
      cgroup.stat: nr_descendants 2 nr_dying_descendants 0
    /a
      cgroup.events: populated 0
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
    /a/b
      cgroup.events: populated 0
    mkdir c: /c would be deeper than cgroup.max.depth of / allows: 0 levels
    ");
}

#[test]
fn a_limit_has_a_range() {
    assert_snapshot!(check("hierarchy h; max.depth / 2147483648; max.descendants / 2147483647; show"), @"
    max.depth / 2147483648: cgroup.max.depth of / takes 0 to 2147483647 or max, not 2147483648
    /
      cgroup.events: populated 0
      cgroup.max.descendants: 2147483647
    ");
}

#[test]
fn hierarchies_are_trees_of_their_own() {
    let script = "
        hierarchy h; mkdir a; task t1; join t1 a
        hierarchy g; mkdir a; mkdir b; show
        leave t1 h; use h; show
        hierarchy g; use x
    ";
    assert_snapshot!(check(script), @"
    /
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 2 nr_dying_descendants 0
      cgroup.tasks: t1
    /a
      cgroup.events: populated 0
    /b
      cgroup.events: populated 0
    /
      cgroup.events: populated 1
      cgroup.stat: nr_descendants 1 nr_dying_descendants 0
      cgroup.tasks: t1
    /a
      cgroup.events: populated 0
    hierarchy g: hierarchy g exists
    use x: no hierarchy x
    ");
}

#[test]
fn walks_visit_siblings_in_the_order_of_their_creation() {
    let registry = Registry::new();
    let root = registry.create_hierarchy("h").expect("a name").root();
    let b = root.create_child("b").expect("a name");
    let a = root.create_child("a").expect("a name");
    b.create_child("y").expect("a name");
    let x = b.create_child("x").expect("a name");
    a.rename("z").expect("a name");

    assert_eq!(paths(root.children()), ["/b", "/z"]);
    assert_eq!(paths(root.descendants_pre()), ["/", "/b", "/b/y", "/b/x", "/z"]);
    assert_eq!(paths(root.descendants_post()), ["/b/y", "/b/x", "/b", "/z", "/"]);
    assert_eq!(paths(b.descendants_pre()), ["/b", "/b/y", "/b/x"]);
    assert_eq!(paths(x.ancestors()), ["/b/x", "/b", "/"]);
}

#[test]
fn a_handle_finds_its_neighbours() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").expect("a name");
    let a = hierarchy.root().create_child("a").expect("a name");
    let b = a.create_child("b").expect("a name");

    assert_eq!(hierarchy.lookup("/a/b").expect("is there").id(), b.id());
    assert_eq!(hierarchy.lookup("/").expect("is there").id(), hierarchy.root().id());
    assert_eq!(b.parent().expect("not the root").id(), a.id());
    assert_eq!(a.child("b").expect("is there").id(), b.id());
    assert!(a.child("c").is_none());
    assert!(hierarchy.root().parent().is_none());
    assert_eq!((b.depth(), b.path().as_str(), b.name().as_str()), (2, "/a/b", "b"));
    assert_eq!(b.hierarchy().name(), "h");
}

fn paths(groups: impl Iterator<Item = Cgroup>) -> Vec<String> {
    groups.map(|group| group.path()).collect()
}
