//! Edges `column`, `place`, `publish` and `grace`: a lookup against the making, the removal and the
//! end of what it finds.

use loom::thread;

use crate::{
    css::{
        cells::{CssId, Domain},
        header::{Counting, Header},
        refcount::{self, Want},
        switch,
    },
    sync::{Arc, AtomicU32, Ordering},
    tests::{never_exact, witness::Witness},
    world::{
        World,
        column::{Column, Place, ROOT},
        publish::{Graces, Views},
    },
};

const CHILD: u32 = 1;

struct Scene {
    domain: Domain,
    column: Arc<Column>,
    views: Views,
    place: Place,
    root: CssId,
    id: CssId,
    header: &'static Header,
    /// The child css's value: written when it is made and when it is freed.
    value: Witness,
}

impl Scene {
    /// A root with its css, and an id for a child.
    fn new() -> Arc<Self> {
        let domain = Domain::new();
        let ids = domain.take_ids(2).expect("an empty domain");
        let (root, id) = (ids[0], ids[1]);
        let header = domain.header(id).expect("just taken");
        let column = Arc::new(Column::new(1, 0, root));
        let views = Views::new(World::default().with_column(0, Some(Arc::clone(&column))));
        let (place, value) = (Place::new(), Witness::new(0));
        Arc::new(Self { domain, column, views, place, root, id, header, value })
    }

    /// Makes the child, and shows it.
    fn create(&self) {
        self.set_value(7);
        self.header.init(Counting::PerThread);
        self.column.set(CHILD, Some(self.id));
    }

    /// Removes the child, and frees it if nobody can see it.
    fn remove(&self) {
        self.column.set(CHILD, None);
        switch::kill(&self.domain, &[(self.id, self.header)], |_| panic!("the base is counted"));
        if !refcount::put_slow(None, self.header) {
            return; // a reference is out; its holder does nothing more in these models
        }
        self.header.retire_id();
        let mut graces = Graces::new();
        let world = World::default().with_column(0, Some(Arc::clone(&self.column)));
        graces.open(self.views.swap(world), vec![self.id]);
        if graces.close() == [self.id] {
            self.set_value(0);
            // The id is reused at once.
            self.header.init(Counting::PerThread);
        }
    }

    fn set_value(&self, value: u64) {
        self.value.write(value);
    }

    fn value(&self) -> u64 {
        self.value.read()
    }

    /// Resolves the css under a guard, takes a reference, and uses both.
    fn look_up(&self) {
        let view = self.views.load();
        let column = view.columns[0].as_ref().expect("bound");
        if column.get(CHILD) == Some(self.id) {
            assert_eq!(self.value(), 7, "found complete");
            let cell =
                self.domain.take_slot().and_then(|(_, block)| self.domain.cell(block, self.id));
            let got = refcount::try_get_slow(cell, self.header, Want::Unreleased, never_exact);
            assert_eq!(self.value(), 7, "kept by the guard");
            drop(view);
            if got.is_reference {
                assert_eq!(self.value(), 7, "kept by the reference");
            }
        }
    }

    /// Upgrades a weak reference of the generation that is given.
    fn upgrade(&self, generation: u32) {
        let view = self.views.load();
        if self.header.generation() == generation {
            let got = refcount::try_get_slow(None, self.header, Want::Unreleased, never_exact);
            if got.is_reference {
                assert_eq!(self.value(), 7, "the css that the weak reference was made from");
            }
        }
        drop(view);
    }
}

#[test]
fn a_lookup_finds_a_css_complete() {
    loom::model(|| {
        let scene = Scene::new();
        let reader = thread::spawn({
            let scene = Arc::clone(&scene);
            move || scene.look_up()
        });
        scene.create();
        reader.join().unwrap();
    });
}

#[test]
fn what_a_lookup_found_is_kept_for_it() {
    loom::model(|| {
        let scene = Scene::new();
        scene.create();
        let reader = thread::spawn({
            let scene = Arc::clone(&scene);
            move || scene.look_up()
        });
        scene.remove();
        reader.join().unwrap();
    });
}

#[test]
fn a_weak_reference_never_upgrades_to_another_css() {
    loom::model(|| {
        let scene = Scene::new();
        scene.create();
        let generation = scene.header.generation();
        let reader = thread::spawn({
            let scene = Arc::clone(&scene);
            move || scene.upgrade(generation)
        });
        scene.remove();
        reader.join().unwrap();
    });
}

/// A group's index goes to another group a grace period after its removal. A reader that still sees
/// the first group online, by a Relaxed load as `Node::state` is, never finds the other's css there.
#[test]
fn an_index_is_not_reused_under_a_reader() {
    const REMOVED: u32 = 1;
    loom::model(|| {
        let scene = Scene::new();
        let other = scene.domain.take_ids(1).expect("one more")[0];
        scene.create();
        let state = Arc::new(AtomicU32::new(0));
        let reader = thread::spawn({
            let (scene, state) = (Arc::clone(&scene), Arc::clone(&state));
            move || {
                let view = scene.views.load();
                if state.load(Ordering::Relaxed) != REMOVED {
                    let found = view.columns[0].as_ref().expect("bound").get(CHILD);
                    assert_ne!(found, Some(other), "the css of another group");
                }
            }
        });
        state.store(REMOVED, Ordering::Relaxed);
        scene.column.set(CHILD, None);
        let mut graces = Graces::new();
        let world = World::default().with_column(0, Some(Arc::clone(&scene.column)));
        graces.open(scene.views.swap(world), vec![()]);
        if !graces.close().is_empty() {
            scene.column.set(CHILD, Some(other));
        }
        reader.join().unwrap();
    });
}

/// A task that was seen in a group resolves to that group's css, not to the root's.
#[test]
fn a_place_is_seen_with_its_css() {
    loom::model(|| {
        let scene = Scene::new();
        let reader = thread::spawn({
            let scene = Arc::clone(&scene);
            move || {
                let view = scene.views.load();
                let column = view.columns[0].as_ref().expect("bound");
                let place = scene.place.get();
                let id = column.resolve(|| place);
                assert_eq!(id, Some(if place == ROOT { scene.root } else { scene.id }));
            }
        });
        scene.create();
        scene.place.set(CHILD);
        reader.join().unwrap();
    });
}

/// A task that leaves its group before the group goes is never resolved to nothing.
#[test]
fn a_task_that_moves_away_is_always_somewhere() {
    loom::model(|| {
        let scene = Scene::new();
        scene.create();
        scene.place.set(CHILD);
        let reader = thread::spawn({
            let scene = Arc::clone(&scene);
            move || {
                let view = scene.views.load();
                let column = view.columns[0].as_ref().expect("bound");
                let id = column.resolve(|| scene.place.get()).expect("a root css at least");
                assert!(id == scene.root || id == scene.id);
                drop(view);
            }
        });
        scene.place.set(ROOT);
        scene.remove();
        reader.join().unwrap();
    });
}
