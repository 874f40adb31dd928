//! A controller that moves to another tree, against lookups and counts: edges `home`, `publish` and
//! `grace`, and the rest of groups that css come to or leave.
//!
//! The main thread of a model is the one that has the structural lock. Where it would wait for readers
//! it looks once, and goes on only if they are gone: every run in which the wait ends is among those that
//! loom explores.
//!
//! A removal has no model here. It moves places, clears slots and kills under the structural lock, and
//! a new column is copied under the same lock: neither sees the other half done. What a reader sees of
//! the two is what `loom_world.rs` shows of each.

use std::{ptr, sync::Mutex as Tally};

use loom::thread;

use crate::{
    css::{
        cells::{Cell, CssId, Domain},
        header::{Counting, Header},
        home::Home,
        refcount::{self, Group, Want},
        switch::{self, Watched},
        uses::{Decision, Uses},
    },
    sync::{Arc, skip},
    tests::witness::Witness,
    world::{
        World,
        column::{Column, Place, ROOT},
        publish::{Graces, Views},
    },
};

const CHILD: u32 = 1;
/// Hierarchies, which are what columns and places go by.
const SOURCE: u32 = 0;
const TARGET: u32 = 1;
/// Controllers.
const BOTH: [usize; 2] = [0, 1];

/// Two trees of a root and a child, and one task with a place in each. Two controllers show one css at
/// every root and another at every child.
struct Trees {
    views: Views,
    places: [Place; 2],
    root: CssId,
    child: CssId,
}

impl Trees {
    /// Both controllers are on the source; the task is at both roots.
    fn new() -> Arc<Self> {
        let (root, child) = (CssId(1), CssId(2));
        let mut world = World::default();
        BOTH.iter().for_each(|index| world.set(*index, Some(column(SOURCE, root, child))));
        let places = [Place::new(), Place::new()];
        Arc::new(Self { views: Views::new(world), places, root, child })
    }

    /// Moves both controllers; returns whether the readers of before are gone.
    fn rebind(&self, graces: &mut Graces<()>) -> bool {
        let mut world = World::clone(&self.views.load());
        let mut number = 0;
        for index in BOTH {
            world.set(index, Some(column(TARGET, self.root, self.child)));
            if index == BOTH[1] || skip("one_publication") {
                number = graces.open(self.views.swap(world.clone()), Vec::new());
            }
        }
        graces.close();
        graces.is_closed(number)
    }

    /// Looks the task's css up for both controllers; returns where they are bound, and what was found.
    fn look_up(&self) -> (u32, [CssId; 2]) {
        let view = self.views.load();
        let columns = BOTH.map(|index| view.columns[index].as_deref().expect("bound"));
        assert_eq!(columns[0].hierarchy, columns[1].hierarchy, "a view of two trees");
        let resolve = |column: &Column| column.resolve(|| self.place(column.hierarchy).get());
        (columns[0].hierarchy, columns.map(|column| resolve(column).expect("a root css at least")))
    }

    fn place(&self, hierarchy: u32) -> &Place {
        &self.places[hierarchy as usize]
    }
}

fn column(hierarchy: u32, root: CssId, child: CssId) -> Arc<Column> {
    let column = Column::new(1, hierarchy, root);
    column.set(CHILD, Some(child));
    Arc::new(column)
}

fn with<S: 'static, R: 'static>(
    scene: &Arc<S>,
    run: impl FnOnce(&S) -> R + 'static,
) -> thread::JoinHandle<R> {
    let scene = Arc::clone(scene);
    thread::spawn(move || run(&scene))
}

/// After a rebind the task goes to another group of the tree that was left, which is none of the
/// controllers' business: no reader finds the css that was shown there.
#[test]
fn no_task_resolves_to_a_css_that_was_never_its() {
    loom::model(|| {
        let trees = Trees::new();
        let reader = with(&trees, Trees::look_up);
        if trees.rebind(&mut Graces::new()) {
            trees.place(SOURCE).set(CHILD);
        }
        let (_, found) = reader.join().unwrap();
        assert_eq!(found, [trees.root; 2]);
    });
}

/// The task goes elsewhere in the tree that was come to: a reader finds the one css or the other, for each
/// controller, and the second only in that tree.
#[test]
fn a_view_is_of_one_tree_for_all_controllers() {
    loom::model(|| {
        let trees = Trees::new();
        let reader = with(&trees, |trees| [trees.look_up(), trees.look_up()]);
        trees.place(TARGET).set(ROOT);
        if trees.rebind(&mut Graces::new()) {
            trees.place(TARGET).set(CHILD);
        }
        let [(first, before), (second, after)] = reader.join().unwrap();
        assert!(first <= second, "a view of before, after one of after");
        for (hierarchy, found) in [(first, before), (second, after)] {
            assert!(hierarchy == TARGET || found == [trees.root; 2]);
        }
        assert!(!before.contains(&trees.child) || after == [trees.child; 2]);
    });
}

/// Two armed groups, and css that are shown by the first.
struct Scene {
    domain: Domain,
    csses: Vec<(CssId, &'static Header)>,
    groups: [Arc<Uses>; 2],
    homes: Vec<Home<Uses>>,
    decision: Decision,
    views: Views,
    /// What holders read, and what is written when the css is released.
    witness: Witness,
    /// Not loom's: how often each css was handed to the reclaimer since it looked last.
    queued: Tally<Vec<usize>>,
    /// Not loom's: whether the rest of the first group is over.
    is_rested: Tally<bool>,
}

impl Scene {
    /// The first group has `count` css without references.
    fn new(count: usize) -> Arc<Self> {
        let domain = Domain::new();
        let ids = domain.take_ids(count).expect("an empty domain");
        let header = |id| (id, domain.header(id).expect("just taken"));
        let csses: Vec<_> = ids.into_iter().map(header).collect();
        csses.iter().for_each(|(_, header)| header.init(Counting::Exact));
        let groups = [Arc::new(Uses::new()), Arc::new(Uses::new())];
        let homes = csses.iter().map(|_| Home::new(&groups[0])).collect();
        assert!(groups.iter().all(|group| group.leave()), "not in use");
        let (decision, views) = (Decision::new(), Views::new(World::default()));
        let (witness, queued) = (Witness::new(7), Tally::new(vec![0; count]));
        let is_rested = Tally::new(false);
        Arc::new(Self { domain, csses, groups, homes, decision, views, witness, queued, is_rested })
    }

    fn header(&self, css: usize) -> &'static Header {
        self.csses[css].1
    }

    fn home(&self, css: usize) -> &Uses {
        let home = self.homes[css].get();
        self.groups.iter().find(|group| ptr::eq(Arc::as_ptr(group), home)).expect("one of ours")
    }

    fn cell(&self, css: usize) -> Option<&'static Cell> {
        let (_, block) = self.domain.take_slot()?;
        self.domain.cell(block, self.csses[css].0)
    }

    fn notify(&self, css: usize, is_zero: bool) {
        let mut queued = self.queued.lock().unwrap();
        queued[css] += usize::from(is_zero);
        assert!(queued[css] <= 1, "queued twice, and not looked at in between");
    }

    /// Takes a reference under a guard.
    fn look_up(&self, css: usize, cell: Option<&Cell>) -> bool {
        let view = self.views.load();
        let group = || Group { uses: self.home(css), decision: &self.decision };
        let got = refcount::try_get_slow(cell, self.header(css), Want::Online, group);
        drop(view);
        self.notify(css, got.is_zero);
        got.is_reference
    }

    fn put(&self, css: usize, cell: Option<&Cell>) {
        assert_eq!(self.witness.read(), 7, "released with a reference out");
        self.notify(css, refcount::put_slow(cell, self.header(css)));
    }

    fn use_once(&self, css: usize, cell: Option<&Cell>) -> bool {
        let got = self.look_up(css, cell);
        if got {
            self.put(css, cell);
        }
        got
    }

    /// Lets a group rest.
    fn rest(&self, group: usize) {
        self.groups[group].add();
    }

    /// Ends the rest of a group; returns how many edges that tells, if there is news.
    fn rested(&self, group: usize) -> usize {
        usize::from(self.groups[group].leave())
    }

    /// Lets the first css count in cells, which leaves the first group.
    fn loosen(&self, counting: Counting) {
        switch::resume(self.header(0), &self.groups[0], counting);
    }

    /// Shows the first css by the second group, where it counts exactly again.
    fn arrive(&self) {
        let uses = &self.groups[1];
        self.homes[0].set(uses);
        switch::make_exact(&self.domain, &[Watched { counted: self.csses[0], uses }]);
        switch::collect(self.header(0), uses);
    }

    /// Publishes what is to be published; returns whether the readers of before are gone.
    fn publish(&self) -> bool {
        let mut graces = Graces::<()>::new();
        let number = graces.open(self.views.swap(World::default()), Vec::new());
        graces.close();
        graces.is_closed(number)
    }

    /// The first css leaves its group, and is killed; returns how many edges that tells, if the rest is over.
    fn leave_for_good(&self, counting: Counting) -> usize {
        self.rest(0);
        self.loosen(counting);
        let is_over = self.publish();
        switch::kill(&self.domain, &[self.csses[0]], |_| panic!("the base is counted"));
        if is_over || skip("rest_waits") { self.end_rest() } else { 0 }
    }

    /// Ends the rest of the first group, unless that was done.
    fn end_rest(&self) -> usize {
        let was_over = std::mem::replace(&mut *self.is_rested.lock().unwrap(), true);
        if was_over { 0 } else { self.rested(0) }
    }

    /// Looks whether a css was handed to the reclaimer, as that does; returns how many edges there were.
    fn look_at(&self, css: usize) -> usize {
        let queued = std::mem::take(&mut self.queued.lock().unwrap()[css]);
        if queued == 0 {
            return 0;
        }
        assert!(!self.header(css).dequeue(), "its base is in");
        usize::from(switch::collect(self.header(css), self.home(css)).1)
    }
}

/// A css moves from an armed group to another that is armed, while it is used: whoever comes finds the
/// group it counts for, and the edges of both groups are told.
#[test]
fn a_css_is_used_while_it_moves_between_armed_groups() {
    for counting in [Counting::PerThread, Counting::Fenced] {
        loom::model(move || {
            let scene = Scene::new(1);
            let user = with(&scene, |scene| scene.use_once(0, None));
            (0..2).for_each(|group| scene.rest(group));
            scene.loosen(counting);
            if !scene.publish() && !skip("home_waits") {
                assert!(user.join().unwrap());
                return;
            }
            scene.arrive();
            assert_eq!(scene.rested(0), 1, "nobody has anything to do with the group left");
            let mut edges = scene.rested(1);
            assert!(user.join().unwrap());
            edges += scene.look_at(0);
            assert!((1..=2).contains(&edges), "{edges} edges");
            assert!(scene.groups.iter().all(|group| group.is_zero()));
        });
    }
}

/// The same of a css with a reference out, which is given back on the way: the group that shows the css in
/// the end is told.
#[test]
fn a_css_is_held_while_it_moves_between_armed_groups() {
    for counting in [Counting::PerThread, Counting::Fenced] {
        loom::model(move || {
            let scene = Scene::new(1);
            assert!(scene.look_up(0, None));
            let holder = with(&scene, |scene| scene.put(0, scene.cell(0)));
            (0..2).for_each(|group| scene.rest(group));
            scene.loosen(counting);
            assert!(scene.publish(), "who holds a reference needs no guard");
            scene.arrive();
            assert_eq!(scene.rested(0), 1, "nobody has anything to do with the group left");
            let mut edges = scene.rested(1);
            holder.join().unwrap();
            edges += scene.look_at(0);
            assert_eq!(edges, 1);
            assert!(scene.groups.iter().all(|group| group.is_zero()));
        });
    }
}

/// A css leaves an armed group for good, and another stays: a lookup that stands between a unit and giving
/// it back takes no edge with it.
#[test]
fn a_css_leaves_a_group_that_stays_armed() {
    for counting in [Counting::PerThread, Counting::Fenced] {
        loom::model(move || {
            let scene = Scene::new(2);
            let user = with(&scene, |scene| scene.use_once(0, None));
            let mut edges = scene.leave_for_good(counting);
            user.join().unwrap();
            edges += scene.end_rest();
            assert_eq!(edges, 1, "the group is in use no more, and that is told");
            assert!(scene.groups[0].is_zero());
            scene.notify(0, refcount::put_slow(None, scene.header(0)));
            let queued = scene.queued.lock().unwrap()[0];
            assert!(queued == 1 && scene.header(0).dequeue(), "only the base was left");
            scene.witness.write(0);
        });
    }
}

/// The one that stays is used meanwhile: it counts exactly all the time, and its use keeps the edge back.
#[test]
fn a_css_stays_in_a_group_that_another_leaves() {
    loom::model(|| {
        let scene = Scene::new(2);
        let leaver = with(&scene, |scene| scene.look_up(0, None));
        let user = with(&scene, |scene| scene.use_once(1, None));
        let mut edges = scene.leave_for_good(Counting::PerThread);
        leaver.join().unwrap();
        edges += scene.end_rest();
        assert!(user.join().unwrap());
        edges += scene.look_at(1);
        assert!((1..=2).contains(&edges), "{edges} edges");
        assert!(scene.groups[0].is_zero());
    });
}
