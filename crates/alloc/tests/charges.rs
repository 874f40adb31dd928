//! What is attributed is charged to groups of the memory controller, and follows them.

use std::{
    sync::{Barrier, Mutex, MutexGuard, PoisonError},
    thread::{self, sleep},
    time::Duration,
};

use fief_alloc::{Ambient, GroupAlloc, settle};
use fief_core::{Cgroup, Controller, Limit, Registry, Removal};
use fief_memory::Memory;

#[global_allocator]
static ALLOCATOR: GroupAlloc = GroupAlloc::new();

const MIB: u64 = 1 << 20;

/// Settling is for all groups of the process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

struct World {
    _registry: Registry,
    memory: Controller<Memory>,
    top: Cgroup,
    web: Cgroup,
}

impl World {
    fn new() -> Self {
        let registry = Registry::new();
        let tenants = registry.create_hierarchy("by-tenant").expect("no such yet");
        let memory = registry.register(Memory::new()).expect("no such yet");
        memory.bind(&tenants).expect("free");
        let top = tenants.root().create_child("top").expect("no such yet");
        let web = top.create_child("web").expect("no such yet");
        Self { _registry: registry, memory, top, web }
    }

    fn ambient(&self, group: &Cgroup) -> Ambient {
        Ambient::of(&self.memory.css(group).expect("there")).expect("memory")
    }

    fn current(&self, group: &Cgroup) -> u64 {
        self.memory.css(group).expect("there").current()
    }
}

fn block(bytes: u64) -> Vec<u8> {
    Vec::with_capacity(usize::try_from(bytes).expect("small"))
}

/// Whether a charge is as near as the end of a scope makes it.
fn is_near(charged: u64, expected: u64) -> bool {
    charged.abs_diff(expected) <= 4 * 64 * 1024
}

#[test]
fn a_scope_that_ends_charges_what_is_far_off() {
    let (_alone, world) = (alone(), World::new());
    let ambient = world.ambient(&world.web);
    let kept = ambient.run(|| block(10 * MIB));
    assert!(is_near(world.current(&world.web), 10 * MIB));
    assert_eq!(world.current(&world.web), world.current(&world.top));
    assert_eq!(world.current(&world.web), ambient.stats().settled);

    let little = ambient.run(|| block(2_000));
    ambient.settle();
    assert_eq!(world.current(&world.web), 10 * MIB + 2_000);

    // Freed in no scope, it is taken back by the next that ends, of whatever group.
    drop(kept);
    assert_eq!(world.current(&world.web), 10 * MIB + 2_000);
    Ambient::new().expect("memory").run(|| {});
    assert!(is_near(world.current(&world.web), 0));
    drop(little);
    settle();
    assert_eq!(world.current(&world.web), 0);
}

#[test]
fn limits_refuse_nothing_here_and_hold_for_others() {
    let (_alone, world) = (alone(), World::new());
    let css = world.memory.css(&world.web).expect("there");
    css.set_max(Limit::At(MIB));
    let ambient = Ambient::of(&css).expect("memory");
    let kept = ambient.run(|| block(2 * MIB));
    ambient.settle();
    assert_eq!(css.current(), 2 * MIB);
    assert!(css.try_charge(1).is_err(), "until it is paid back");
    drop(kept);
    ambient.settle();
    css.try_charge(MIB).expect("room");
    css.uncharge(MIB);
}

#[test]
fn what_is_left_of_a_removed_group_is_its_parents() {
    let (_alone, world) = (alone(), World::new());
    let ambient = world.ambient(&world.web);
    let [kept, later] = ambient.run(|| [block(MIB), block(MIB)]);
    ambient.settle();
    world.web.remove(Removal::Strict).expect_err("it is in use");
    world.web.remove(Removal::Detach).expect("it is empty");
    assert_eq!(world.current(&world.top), 2 * MIB);

    // Of the handle's group still, which is the parent's by now.
    let more = ambient.run(|| block(MIB));
    ambient.settle();
    assert_eq!(world.current(&world.top), 3 * MIB);
    drop(kept);
    ambient.settle();
    assert_eq!(world.current(&world.top), 2 * MIB);
    drop(ambient);
    drop(later);
    settle();
    assert_eq!(world.current(&world.top), MIB);
    drop(more);
    settle();
    assert_eq!(world.current(&world.top), 0);
    world.top.remove(Removal::Strict).expect("nothing is charged");
}

#[test]
fn a_handle_alone_keeps_no_group() {
    let (_alone, world) = (alone(), World::new());
    let ambient = world.ambient(&world.web);
    drop(ambient.run(|| block(MIB)));
    ambient.settle();
    world.web.remove(Removal::Strict).expect("nothing is charged");
    let kept = ambient.run(|| block(MIB));
    ambient.settle();
    assert_eq!(world.current(&world.top), MIB);
    drop(kept);
    ambient.settle();
    assert_eq!(world.current(&world.top), 0);
}

#[test]
fn a_record_that_is_used_again_is_charged_to_its_new_group_alone() {
    let (_alone, world) = (alone(), World::new());
    for round in 1..300 {
        let ambient = world.ambient(&world.web);
        let kept = ambient.run(|| block(round * 1_000));
        ambient.settle();
        assert_eq!(world.current(&world.web), ambient.live());
        drop(ambient);
        drop(kept);
        settle();
        assert_eq!(world.current(&world.web), 0);
    }
}

#[test]
fn threads_that_settle_at_once_settle_once() {
    let (_alone, world) = (alone(), World::new());
    let groups: Vec<Cgroup> = (0..3)
        .map(|index| world.top.create_child(&index.to_string()).expect("no such yet"))
        .collect();
    let ambients: Vec<Ambient> = groups.iter().map(|group| world.ambient(group)).collect();
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for number in 0..4 {
            let (ambients, start) = (&ambients, &start);
            scope.spawn(move || {
                start.wait();
                let mut kept = Vec::new();
                for round in 0..3_000 {
                    let ambient = &ambients[(round + number) % 3];
                    kept.push(ambient.run(|| block(20_000 + round as u64)));
                    if round % 7 == 0 {
                        kept.clear();
                    }
                    if round % 50 == number {
                        settle();
                    }
                }
            });
        }
    });
    // A settling that met another is made up for at the next.
    sleep(Duration::from_millis(1));
    settle();
    for (group, ambient) in groups.iter().zip(&ambients) {
        assert_eq!((ambient.live(), world.current(group)), (0, 0));
    }
    assert_eq!(world.current(&world.top), 0);
}
