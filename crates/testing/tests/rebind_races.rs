//! Races of mounts, rebinds and roots that really happened in the kernel, by their numbers in its history.
//!
//! Each runs some hundred or thousand rounds; the ledger of the stress harness tells when a css misses a stage, passes
//! one twice, or goes while it is held.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use fief_core::{
    Controller, Css, CssRef, Hierarchy, HookError, MemberPolicy, RebindOptions, Registry, Removal,
    State, Subsystem, Task,
};
use fief_testing::{
    stress::ledger::{Canary, Wanderer},
    world::World,
};

/// A hierarchy to which the world's controller can be rebound, as long as both are empty.
fn twin(world: &World) -> Hierarchy {
    world.registry.create_hierarchy("twin").expect("a name")
}

fn moving() -> RebindOptions {
    RebindOptions::new().members(MemberPolicy::Move)
}

/// A subsystem goes to another root and back while css that are dying still belong to the first: they stay
/// there, and are released and freed once, whenever their references go.
#[test]
fn race_42_subsystem_moved_while_a_dying_css_belongs_to_the_old_root() {
    let world = world();
    let twin = twin(&world);
    for round in 0..1_500 {
        let group = world.create("g");
        let child = group.create_child("c").expect("a name");
        let held = [world.css(&group), world.css(&child)].map(Wanderer::new);
        let paths: Vec<String> = held.iter().map(|css| css.css().path()).collect();
        group.remove_subtree(Removal::Detach).expect("nothing in it");
        thread::scope(|scope| {
            let [above, below] = held;
            let dropper = scope.spawn(move || {
                let parent = below.css().parent().map(|parent| parent.id());
                assert_eq!(parent, Some(above.css().id()), "the chain of a dying css holds");
                assert_eq!(below.css().state(), State::Offline);
                let now: Vec<String> = [&above, &below].map(|css| css.css().path()).into();
                // Children first in some rounds, and parents first in the others.
                if round % 2 == 0 {
                    drop(below);
                    drop(above);
                } else {
                    drop(above);
                    drop(below);
                }
                now
            });
            match round % 3 {
                0 => world.controller.rebind(&twin, &moving()).expect("both are empty"),
                1 => twin.remount(&[]).expect("nothing is in the way"),
                _ => {
                    world.controller.unbind().expect("it is bound");
                    twin.remount(&[&world.controller]).expect("nothing is in the way");
                }
            }
            let now = dropper.join().expect("no violation");
            assert_eq!(now, paths, "a dying css stays where it was");
        });
        let here = world.controller.hierarchy();
        if here != Some(world.hierarchy.clone()) {
            world.controller.rebind(&world.hierarchy, &moving()).expect("both are empty");
        }
    }
    world.settle();
}

/// Roots are destroyed by the very thread that frees css, in the drop of one, while css that went offline
/// before wait behind it in the same queue.
#[test]
fn race_46_root_destroyed_by_the_thread_that_it_waits_for() {
    let (done, is_done) = mpsc::channel();
    let rounds = thread::spawn(move || {
        for _ in 0..400 {
            let registry = Registry::new();
            let hierarchy = registry.create_hierarchy("h").expect("a name");
            let other = registry.create_hierarchy("other").expect("a name");
            let ends = Arc::new(Mutex::new(None));
            let controller = registry.register(Ending(Arc::clone(&ends))).expect("a name");
            controller.bind(&hierarchy).expect("nothing is in the way");
            let groups: Vec<_> = ["a", "b", "c"]
                .iter()
                .map(|name| hierarchy.root().create_child(name).expect("a name"))
                .collect();
            let held: Vec<CssRef<Ended>> =
                groups.iter().map(|group| controller.css(group).expect("online")).collect();
            let (told, is_told) = mpsc::channel();
            *ends.lock().expect("not poisoned") =
                Some((controller.clone(), hierarchy, other, told));
            for group in &groups {
                group.remove(Removal::Detach).expect("nothing in it");
            }
            // The first to be freed ends the hierarchy, with two that wait behind it.
            drop(held);
            let ended = is_told.recv_timeout(Duration::from_secs(20));
            assert_eq!(ended, Ok(true), "the hierarchy could not be ended from a drop");
            registry.wait_reclaimed().expect("nothing is in the way");
            assert_eq!(registry.stats().css_online, 1, "the root css is left");
            controller.unbind().expect("it is bound");
            controller.unregister().expect("it is inactive");
        }
        done.send(()).expect("somebody waits");
    });
    is_done.recv_timeout(Duration::from_secs(60)).expect("no deadlock");
    rounds.join().expect("no violation");
}

type Ends = Arc<Mutex<Option<(Controller<Ending>, Hierarchy, Hierarchy, mpsc::Sender<bool>)>>>;

/// Its first state to be freed rebinds the controller, and destroys the hierarchy that it left.
struct Ending(Ends);

struct Ended(Ends);

impl Subsystem for Ending {
    type State = Ended;

    fn name(&self) -> &str {
        "ending"
    }

    fn new_css(&self, _parent: Option<&Css<Ended>>) -> Result<Ended, HookError> {
        Ok(Ended(Arc::clone(&self.0)))
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let ends = self.0.lock().expect("not poisoned").take();
        let Some((controller, hierarchy, other, told)) = ends else { return };
        let is_moved = controller.rebind(&other, &moving()).is_ok();
        let is_ended = hierarchy.destroy().is_ok();
        told.send(is_moved && is_ended).ok();
    }
}

/// Members and groups are iterated, and tasks looked up, while their controller goes to and fro: nobody who
/// is there all the time is skipped or seen twice, and everybody's css is that of its group's counterpart.
#[test]
fn race_48_iteration_of_members_while_their_subsystem_moves() {
    let world = world();
    let twin = twin(&world);
    let (mut tasks, mut all) = (Vec::new(), Vec::new());
    for hierarchy in [&world.hierarchy, &twin] {
        for name in ["a", "b"] {
            let group = hierarchy.root().create_child(name).expect("a name");
            all.push(group.create_child("c").expect("a name"));
        }
    }
    for index in 0..40 {
        let task = world.task(&format!("t{index}"));
        task.join(&all[index % 2]).expect("nobody refuses");
        task.join(&all[index % 2 + 2]).expect("nobody refuses");
        tasks.push(task);
    }
    let css: Vec<CssRef<Canary>> = all[..2].iter().map(|group| world.css(group)).collect();
    let (is_over, seen) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // Ordering: Relaxed: a hint to stop.
                while !is_over.load(Ordering::Relaxed) {
                    iterate(&world, &tasks, (&all, &css));
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let wanderer = world.task("wanderer");
        for round in 0..3_000 {
            let target = if round % 2 == 0 { &twin } else { &world.hierarchy };
            wanderer.join(&all[round % 4]).expect("nobody refuses");
            world.controller.rebind(target, &moving()).expect("of one shape");
        }
        // Ordering: Relaxed: as above.
        while seen.load(Ordering::Relaxed) < 4 {
            thread::yield_now();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    drop((tasks, css));
    for group in all {
        let parent = group.parent().expect("it is two deep");
        parent.remove_subtree(Removal::Detach).expect("nobody is in it");
    }
    world.settle();
}

/// One look at every member, by group and by task.
fn iterate(
    world: &World,
    tasks: &[Task],
    (groups, css): (&[fief_core::Cgroup], &[CssRef<Canary>]),
) {
    for (index, group) in groups.iter().enumerate() {
        let members = group.members();
        let names: BTreeSet<String> = members.iter().map(|member| member.name.clone()).collect();
        assert_eq!(names.len(), members.len(), "somebody was seen twice");
        let staying = names.iter().filter(|name| *name != "wanderer").count();
        assert_eq!(staying, 20, "somebody of {} was skipped", group.path());
        assert!(names.iter().all(|name| name == "wanderer" || number(name) % 2 == index % 2));
    }
    let guard = world.registry.read();
    let mut shown = BTreeSet::new();
    for (index, task) in tasks.iter().enumerate() {
        let found = guard.task_css(&world.controller, task).expect("registered");
        assert!(found.is_same_as(&css[index % 2]), "the css of another group");
        let shows = guard.cgroup(found).expect("it is bound");
        shown.insert(shows.hierarchy().name());
        assert_eq!(task.cgroup(&shows.hierarchy()), Some(shows), "shown where the task is not");
    }
    assert_eq!(shown.len(), 1, "one guard saw two hierarchies: {shown:?}");
}

fn number(name: &str) -> usize {
    name.trim_start_matches('t').parse().expect("a name that we gave")
}

fn world() -> World {
    World::new(Registry::new(), 1).expect("a registry of its own")
}
