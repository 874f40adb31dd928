//! Races that really happened in the kernel, by their numbers in its history: one test each.
//!
//! Each runs some thousands of rounds; the ledger of the stress harness tells when a css misses a
//! stage, passes one twice, or goes while it is held. `tests/stress.rs` has the long versions.
//!
//! Others are in `tests/release_races.rs`, `tests/rebind_races.rs`, `tests/counters.rs`, and in
//! `crates/core/tests`. Four of those that concern members and charges cannot occur yet, as there is nothing
//! they could occur in:
//!
//! - 39, a file written with the permissions of who opened it, or of who writes: there are no permissions.
//! - 62, chargers that wait with locks that somebody needs to make room: no charge waits for room.
//! - 68, charges kept in stock that are not given back in time: none are, every counter is exact.
//! - 69, a dying group that keeps its share of what its parent protects: nothing is protected.

use std::{
    cell::RefCell,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use fief_core::{Cgroup, Css, CssRef, HookError, Registry, Removal, Subsystem};
use fief_testing::{
    stress::ledger::{Canary, Wanderer},
    world::World,
};

/// A put to zero must not touch what a removal in between has freed.
#[test]
fn race_01_dec_then_touch() {
    let world = world();
    for _ in 0..2_000 {
        let group = world.create("g");
        let css = world.css(&group);
        thread::scope(|scope| {
            scope.spawn(move || drop(css));
            scope.spawn(move || group.remove(Removal::Detach).expect("nothing in it"));
        });
    }
    world.settle();
}

/// No `try_get_online` that starts after `offline` has started may succeed.
#[test]
fn race_05_kill_not_visible_everywhere() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").expect("a name");
    let controller = registry.register(Flag).expect("a name");
    controller.bind(&hierarchy).expect("empty");
    for _ in 0..1_000 {
        let group = hierarchy.root().create_child("g").expect("a name");
        let css = controller.css(&group).expect("online");
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while {
                        let offline = css.load(Ordering::SeqCst);
                        let got = css.try_get_online().is_some();
                        assert!(!(offline && got), "a reference after offline had begun");
                        !offline
                    } {}
                });
            }
            group.remove(Removal::Detach).expect("nothing in it");
        });
    }
}

/// A subsystem whose css tells when its `offline` has begun.
#[derive(Debug)]
struct Flag;

impl Subsystem for Flag {
    type State = AtomicBool;

    fn name(&self) -> &str {
        "flag"
    }

    fn new_css(&self, _: Option<&Css<AtomicBool>>) -> Result<AtomicBool, HookError> {
        Ok(AtomicBool::new(false))
    }

    fn offline(&self, css: &Css<AtomicBool>) {
        css.store(true, Ordering::SeqCst);
    }
}

/// Removed back to back, a parent goes offline, is released and freed after its child.
#[test]
fn race_06_parent_offlined_or_freed_before_child() {
    let world = world();
    for _ in 0..1_000 {
        let a = world.create("a");
        let b = a.create_child("b").expect("a name");
        let c = b.create_child("c").expect("a name");
        let held = [world.css(&b), world.css(&c), world.css(&a)];
        thread::scope(|scope| {
            for css in held {
                scope.spawn(move || drop(Wanderer::new(css)));
            }
            for group in [c, b, a] {
                group.remove(Removal::Detach).expect("nothing in it");
            }
        });
    }
    world.settle();
}

/// The root css is usable before, while and after its controller is bound.
#[test]
fn race_08_root_css_used_before_it_is_bound() {
    let world = world();
    world.controller.unbind().expect("bound, no groups");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let root = world.controller.root().expect("registered");
                    root.try_get_online().expect("always online").check();
                    drop(Wanderer::new(root));
                }
            });
        }
        for _ in 0..500 {
            world.controller.bind(&world.hierarchy).expect("inactive");
            world.controller.unbind().expect("no groups");
        }
        stop.store(true, Ordering::Relaxed);
    });
    world.controller.bind(&world.hierarchy).expect("inactive");
    world.settle();
}

/// Gets, puts and tries on many threads against the kill: nothing is lost, nothing counted twice.
#[test]
fn race_09_kill_against_get_and_put() {
    let world = world();
    for round in 0..500 {
        let group = world.create("g");
        thread::scope(|scope| {
            for reader in 0..3 {
                let (world, group) = (&world, &group);
                scope.spawn(move || {
                    let mut held = Vec::new();
                    for turn in 0..200 {
                        held.extend(world.controller.css(group).map(Wanderer::new));
                        if (turn + reader + round) % 3 == 0 {
                            held.pop();
                        }
                    }
                });
            }
            thread::yield_now();
            group.remove(Removal::Detach).expect("nothing in it");
        });
    }
    world.settle();
}

/// The last reference may be dropped where nothing may lock, wait or run somebody's code.
#[test]
fn race_10_last_put_in_a_context_that_may_not_lock() {
    thread_local! {
        static KEPT: RefCell<Option<CssRef<Locking>>> = const { RefCell::new(None) };
    }
    let lock = Arc::new(Mutex::new(0));
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").expect("a name");
    let controller = registry.register(Locked(Arc::clone(&lock))).expect("a name");
    controller.bind(&hierarchy).expect("empty");
    let last = |name| {
        let group = hierarchy.root().create_child(name).expect("a name");
        let css = controller.css(&group).expect("online");
        group.remove(Removal::Detach).expect("nothing in it");
        css
    };

    // While holding the lock that the subsystem's own hooks and drops take.
    let css = last("a");
    let held = lock.lock().expect("no panic");
    drop(css);
    drop(held);
    // Under a read guard.
    let css = last("b");
    let guard = registry.read();
    drop(css);
    drop(guard);
    // Inside a hook, under the structural lock.
    *controller.subsystem().dropped_by_hook() = Some(last("c"));
    hierarchy.root().create_child("d").expect("a name").remove(Removal::Detach).expect("empty");
    assert!(controller.subsystem().dropped_by_hook().is_none());
    // In the destructor of a thread-local variable.
    let css = last("e");
    thread::spawn(move || KEPT.set(Some(css))).join().expect("no panic");

    registry.wait_reclaimed().expect("nothing in the way");
    assert_eq!(*lock.lock().expect("no panic"), 5, "released and dropped: a, b, c, d, e");
}

/// A subsystem whose `released` takes a lock that users hold while they drop references.
struct Locked(Arc<Mutex<usize>>);

/// Takes the same lock when it is dropped.
struct Locking(Arc<Mutex<usize>>);

static DROPPED_BY_HOOK: Mutex<Option<CssRef<Locking>>> = Mutex::new(None);

impl Locked {
    #[expect(clippy::unused_self, reason = "reads as what it is at the caller")]
    fn dropped_by_hook(&self) -> std::sync::MutexGuard<'_, Option<CssRef<Locking>>> {
        DROPPED_BY_HOOK.lock().expect("no panic")
    }
}

impl Subsystem for Locked {
    type State = Locking;

    fn name(&self) -> &str {
        "locked"
    }

    fn new_css(&self, _: Option<&Css<Locking>>) -> Result<Locking, HookError> {
        drop(self.dropped_by_hook().take());
        Ok(Locking(Arc::clone(&self.0)))
    }

    fn released(&self, _: &Css<Locking>) {
        *self.0.lock().expect("no panic") += 1;
    }
}

impl Drop for Locking {
    fn drop(&mut self) {
        drop(self.0.lock().expect("no panic"));
    }
}

/// An id that is used again does not find the css that had it.
#[test]
fn race_12_stale_id_after_reuse() {
    let world = world();
    let mut stale = Vec::new();
    for _ in 0..200 {
        let group = world.create("g");
        let css = world.css(&group);
        stale.push(CssRef::downgrade(&css));
        group.remove(Removal::Detach).expect("nothing in it");
        drop(css);
        world.registry.wait_reclaimed().expect("nothing in the way");
        let next = world.create("g");
        let css = world.css(&next);
        let reused = stale.iter().filter(|stale| stale.id() == css.id()).count();
        assert!(stale.iter().all(|stale| stale.upgrade().is_none()), "{reused} of one id");
        next.remove(Removal::Detach).expect("nothing in it");
    }
    world.settle();
}

/// Whoever resolves a task gets a usable css at once, wherever the task's group is going.
#[test]
fn race_14_infinite_loop_on_a_dying_group() {
    let world = world();
    let task = world.registry.create_task("t").expect("a name");
    let stop = AtomicBool::new(false);
    let most = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let tries = (1..).find(|_| resolve(&world, &task)).unwrap_or(0);
                    most.fetch_max(tries, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..2_000 {
            let group = world.create("g");
            task.join(&group).expect("online");
            task.leave(&world.hierarchy).expect("online");
            group.remove(Removal::Detach).expect("nothing in it");
        }
        stop.store(true, Ordering::Relaxed);
    });
    // Each retry means that the writer got on in between; it is never what a reader waits for.
    assert!(most.into_inner() <= 2_000);
    world.settle();
}

fn resolve(world: &World, task: &fief_core::Task) -> bool {
    let guard = world.registry.read();
    let css = guard.task_css(&world.controller, task).expect("every task resolves");
    let got = css.try_get();
    got.inspect(|css| css.check()).is_some()
}

/// A group created under the name of one that is dying starts from nothing.
#[test]
fn race_22_same_name_while_the_old_one_dies() {
    let world = world();
    let mut held: Vec<(CssRef<Canary>, Cgroup)> = Vec::new();
    for _ in 0..500 {
        let group = world.create("g");
        let css = world.css(&group);
        assert!(
            held.iter().all(|(old, cgroup)| { cgroup.id() != group.id() && !old.is_same_as(&css) })
        );
        group.remove(Removal::Detach).expect("nothing in it");
        held.push((css, group));
        if held.len() > 8 {
            held.remove(0);
        }
    }
    drop(held);
    world.settle();
}

/// A path can be asked for at any time, from the creation of a group until it is freed.
#[test]
fn race_24_path_of_a_group_set_up_or_torn_down() {
    let world = world();
    let shown: Mutex<Option<Cgroup>> = Mutex::new(None);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let group = shown.lock().expect("no panic").clone();
                let Some(group) = group else { continue };
                let paths =
                    [Some(group.path()), world.controller.css(&group).map(|css| css.path())];
                for path in paths.into_iter().flatten() {
                    assert!(["/a/c", "/b/c"].contains(&path.as_str()), "{path}");
                }
                for path in group.ancestors().map(|group| group.path()) {
                    assert!(["/a/c", "/b/c", "/a", "/b", "/"].contains(&path.as_str()), "{path}");
                }
            }
        });
        for _ in 0..1_000 {
            let parent = world.create("a");
            let group = parent.create_child("c").expect("a name");
            *shown.lock().expect("no panic") = Some(group.clone());
            parent.rename("b").expect("a name");
            group.remove(Removal::Detach).expect("nothing in it");
            parent.remove(Removal::Detach).expect("nothing in it");
        }
        stop.store(true, Ordering::Relaxed);
    });
    world.settle();
}

/// A walk neither skips nor repeats a sibling that is there all the time, whatever goes beside it.
#[test]
fn race_37_removal_of_the_position_of_a_walk() {
    let world = world();
    let root = world.hierarchy.root();
    for index in 0..4 {
        root.create_child(&format!("stays{index}")).expect("a name");
        root.create_child(&format!("goes{index}")).expect("a name");
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let names = root.children().map(|child| child.name());
                    let stayed: Vec<String> =
                        names.filter(|name| name.starts_with("stays")).collect();
                    assert_eq!(stayed, ["stays0", "stays1", "stays2", "stays3"]);
                    assert_eq!(
                        root.descendants_post().last().map(|it| it.path()).as_deref(),
                        Some("/")
                    );
                }
            });
        }
        for round in 0..2_000 {
            let name = format!("goes{}", round % 4);
            root.child(&name).expect("is there").remove(Removal::Detach).expect("empty");
            root.create_child(&name).expect("the name is free");
        }
        stop.store(true, Ordering::Relaxed);
    });
    for child in root.children() {
        child.remove(Removal::Detach).expect("nothing in it");
    }
    world.settle();
}

/// A position of a walk may be removed, and siblings come and go, before the walk goes on.
#[test]
fn race_37_removal_between_two_steps() {
    let world = world();
    let root = world.hierarchy.root();
    for name in ["a", "b", "c", "d"] {
        root.create_child(name).expect("a name");
    }
    let mut walk = root.children();
    let first = walk.next().expect("four children");
    let second = walk.next().expect("four children");
    for gone in [&second, &first] {
        gone.remove(Removal::Detach).expect("nothing in it");
    }
    world.registry.wait_reclaimed().expect("nothing in the way");
    root.create_child("a").expect("the name is free");
    let rest: Vec<String> = walk.map(|child| child.name()).collect();
    assert!(rest.starts_with(&["c".to_owned(), "d".to_owned()]), "{rest:?}");
    for child in root.children() {
        child.remove(Removal::Detach).expect("nothing in it");
    }
    world.settle();
}

fn world() -> World {
    World::new(Registry::new(), 1).expect("no refusal")
}
