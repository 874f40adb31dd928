//! A css from its making to its end, in every mode of counting and reclaiming.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use fief_core::{
    Barrier, Css, CssRef, HookError, Reclaimer, Registry, Removal, RemoveError, State, Subsystem,
};

/// Counts how many of its css are there.
#[derive(Clone, Default)]
struct Count(Arc<AtomicU64>);

#[derive(Debug)]
struct Counted(Arc<AtomicU64>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Count {
    fn live(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Subsystem for Count {
    type State = Counted;

    fn name(&self) -> &str {
        "count"
    }

    fn new_css(&self, _parent: Option<&Css<Counted>>) -> Result<Counted, HookError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Counted(Arc::clone(&self.0)))
    }
}

fn every_mode(test: impl Fn(Registry, Count)) {
    for reclaimer in [Reclaimer::Manual, Reclaimer::Thread] {
        for barrier in [Barrier::Auto, Barrier::Fence] {
            test(
                Registry::builder().reclaimer(reclaimer).barrier(barrier).build(),
                Count::default(),
            );
        }
    }
}

#[test]
fn a_css_lives_until_its_last_reference_goes() {
    every_mode(|registry, count| {
        let hierarchy = registry.create_hierarchy("h").unwrap();
        let controller = registry.register(count.clone()).unwrap();
        controller.bind(&hierarchy).unwrap();
        let a = hierarchy.root().create_child("a").unwrap();
        let reference = controller.css(&a).unwrap();
        let other = std::thread::spawn({
            let reference = reference.clone();
            move || reference.clone()
        });
        let other = other.join().unwrap();
        let weak = CssRef::downgrade(&reference);

        a.remove(Removal::Detach).unwrap();
        assert_eq!(reference.state(), State::Offline);
        assert!(reference.try_get_online().is_none());
        assert!(reference.try_get().is_some());
        assert!(weak.upgrade().is_some());
        assert_eq!(reference.path(), "/a");

        drop(reference);
        registry.wait_reclaimed().unwrap();
        assert_eq!(count.live(), 2);
        drop(other);
        registry.wait_reclaimed().unwrap();
        assert!(weak.upgrade().is_none());
        assert_eq!(count.live(), 1);
        assert_eq!(a.state(), State::Released);
    });
}

#[test]
fn a_group_with_members_or_children_stays() {
    every_mode(|registry, count| {
        let hierarchy = registry.create_hierarchy("h").unwrap();
        let controller = registry.register(count).unwrap();
        controller.bind(&hierarchy).unwrap();
        let a = hierarchy.root().create_child("a").unwrap();
        let b = a.create_child("b").unwrap();
        let task = registry.create_task("t").unwrap();
        task.join(&b).unwrap();

        let busy = |error| matches!(error, Err(RemoveError::Busy { .. }));
        assert!(busy(a.remove(Removal::Detach)) && busy(b.remove(Removal::Detach)));
        let css = controller.css(&b).unwrap();
        assert_eq!(registry.read().task_css(&controller, &task).unwrap().id(), css.id());
        drop(task);
        b.remove(Removal::Detach).unwrap();
        a.remove(Removal::Detach).unwrap();
    });
}

#[test]
fn a_reference_outlives_its_registry() {
    every_mode(|registry, count| {
        let hierarchy = registry.create_hierarchy("h").unwrap();
        let controller = registry.register(count.clone()).unwrap();
        controller.bind(&hierarchy).unwrap();
        let a = hierarchy.root().create_child("a").unwrap();
        let reference = controller.css(&a).unwrap();
        drop((registry, hierarchy, controller, a));

        assert_eq!((reference.state(), reference.path()), (State::Offline, "/a".to_owned()));
        assert_eq!(count.live(), 2);
        drop(reference);
        while count.live() > 0 {
            std::thread::yield_now();
        }
    });
}
