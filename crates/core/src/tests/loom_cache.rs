//! Lookups through a cache against the publication and the end of what they find: edges pin↔replace,
//! leave and publish.
//!
//! Each world shows a number of its own, as the css id of a root. Each number has a value that loom
//! watches: 7 while the world may be used, 0 when its grace period is over. So a world that is used
//! after it was freed is a value that is 0, or an access that nothing orders.

use loom::thread;

use crate::{
    css::cells::CssId,
    sync::{Arc, Mutex},
    tests::witness::Witness,
    world::{
        World,
        cache::Cache,
        column::{Column, ROOT},
        publish::{Graces, Views},
    },
};

struct Scene {
    views: Arc<Views>,
    values: [Witness; 4],
    /// The structural lock, and what it protects.
    graces: Mutex<Graces<u32>>,
}

/// Returns a world that shows `number`.
fn world(number: u32) -> World {
    World::default().with_column(0, Some(Arc::new(Column::new(1, 0, CssId(number)))))
}

fn number(world: &World) -> u32 {
    world.columns[0].as_ref().and_then(|column| column.get(ROOT)).expect("it shows one").get()
}

impl Scene {
    /// World 1 is current.
    fn new() -> Arc<Self> {
        let values = [0, 7, 0, 0].map(Witness::new);
        let graces = Mutex::new(Graces::new());
        Arc::new(Self { views: Arc::new(Views::new(world(1))), values, graces })
    }

    /// Makes world `next` current, in place of the one before it.
    fn publish(&self, next: u32) {
        self.value(next).write(7);
        let mut graces = self.graces.lock();
        let replaced = self.views.swap(world(next));
        graces.open(replaced, vec![next - 1]);
    }

    /// Ends every world whose grace period is over; returns how many.
    fn reclaim(&self) -> usize {
        let over = self.graces.lock().close();
        over.iter().for_each(|number| self.value(*number).write(0));
        over.len()
    }

    fn value(&self, number: u32) -> &Witness {
        &self.values[number as usize]
    }

    fn cache(&self) -> Cache {
        Cache::new(&self.views, true)
    }

    /// Looks the number up, by the cache or else under a guard, and uses the world.
    fn look_up(&self, cache: &Cache) -> u32 {
        let Some(pin) = cache.enter() else { return self.look_up_under_a_guard() };
        let number = number(pin.world());
        assert_eq!(self.value(number).read(), 7, "kept by the lookup");
        drop(pin);
        number
    }

    fn look_up_under_a_guard(&self) -> u32 {
        let view = self.views.load();
        let number = number(&view);
        assert_eq!(self.value(number).read(), 7, "kept by the guard");
        number
    }
}

#[test]
fn a_lookup_races_with_the_end_of_its_world() {
    loom::model(|| {
        let scene = Scene::new();
        let reader = thread::spawn({
            let scene = Arc::clone(&scene);
            move || {
                let cache = scene.cache();
                scene.look_up(&cache);
            }
        });
        scene.publish(2);
        scene.reclaim();
        reader.join().unwrap();
        scene.reclaim();
        assert!(!scene.graces.lock().is_open(), "nobody is inside a lookup");
    });
}

/// The publisher finds the first lookup under way, and the second when it looks again.
#[test]
fn a_lookup_follows_the_one_that_is_waited_for() {
    super::deep(|| {
        let scene = Scene::new();
        let reader = thread::spawn({
            let scene = Arc::clone(&scene);
            move || {
                let cache = scene.cache();
                scene.look_up(&cache);
                scene.look_up(&cache);
            }
        });
        scene.publish(2);
        scene.reclaim();
        reader.join().unwrap();
    });
}

/// Who has seen a world, by whatever way, never gets an older one.
#[test]
fn no_reader_goes_back() {
    loom::model(|| {
        let scene = Scene::new();
        let reader = thread::spawn({
            let scene = Arc::clone(&scene);
            move || {
                let cache = scene.cache();
                let first = scene.look_up_under_a_guard();
                let second = scene.look_up(&cache);
                let third = scene.look_up_under_a_guard();
                assert!(first <= second && second <= third, "{first}, {second}, {third}");
            }
        });
        scene.publish(2);
        reader.join().unwrap();
    });
}

/// Two worlds end, one after the other; the reader may be late for either.
#[test]
fn two_worlds_are_replaced_during_lookups() {
    loom::model(|| {
        let scene = Scene::new();
        let reader = thread::spawn({
            let scene = Arc::clone(&scene);
            move || {
                let cache = scene.cache();
                scene.look_up(&cache);
            }
        });
        scene.publish(2);
        scene.reclaim();
        scene.publish(3);
        scene.reclaim();
        reader.join().unwrap();
        scene.reclaim();
        assert!(!scene.graces.lock().is_open());
    });
}

/// Nothing but a lookup delays anything: not a cache that is kept, nor one that is gone.
#[test]
fn a_parked_cache_delays_nothing() {
    loom::model(|| {
        let scene = Scene::new();
        let parked = scene.cache();
        scene.look_up(&parked);
        let reader = thread::spawn({
            let scene = Arc::clone(&scene);
            move || drop(scene.cache())
        });
        scene.publish(2);
        assert_eq!(scene.reclaim(), 1);
        reader.join().unwrap();
        assert_eq!(scene.look_up(&parked), 2);
    });
}
