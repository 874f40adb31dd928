//! Races of the kernel's history as strict removal, arming and release notices could have them; the
//! others are in `tests/races.rs`.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, TryRecvError};
use fief_core::{
    Cgroup, CssRef, Event, Notice, Reclaimer, Registry, ReleaseAgent, Removal, RemoveError, State,
};
use fief_testing::{
    stress::ledger::{Canary, Wanderer, strictly},
    world::World,
};

/// Two controllers; every group is waited for.
fn world() -> World {
    let world = World::new(Registry::new(), 2).expect("no refusal");
    world.hierarchy.root().set_notify_on_release(true).expect("online");
    world
}

/// Receives a notice that has to come.
fn next(notices: &Receiver<Notice>) -> Notice {
    notices.recv_timeout(Duration::from_secs(60)).expect("a notice is on its way")
}

/// Tells others to stop, also when what comes before its end panics.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Removes a group as soon as nobody holds it; returns how often that was refused.
fn remove_strictly(group: &Cgroup) -> usize {
    let mut refused = 0;
    loop {
        match strictly(|| group.remove(Removal::Strict)) {
            Ok(()) => return refused,
            Err(RemoveError::InUse { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A put to zero must not touch what a strict removal frees on the strength of that zero.
#[test]
fn race_01_dec_then_touch_by_a_strict_removal() {
    let world = world();
    for _ in 0..2_000 {
        let group = world.create("g");
        let held = [world.css(&group), world.controllers[1].css(&group).expect("online")];
        thread::scope(|scope| {
            for css in held {
                scope.spawn(move || drop(Wanderer::new(css)));
            }
            scope.spawn(|| remove_strictly(&group));
        });
    }
    world.settle();
}

/// While one css of a group is in use, removals that are tried and given up disturb nobody.
#[test]
fn race_03_spurious_failure_of_tryget() {
    for notifies in [true, false] {
        let world = world();
        world.hierarchy.root().set_notify_on_release(notifies).expect("online");
        let group = world.create("g");
        let pinned = world.controllers[1].css(&group).expect("online");
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let css = world.controller.css(&group).expect("the group survives");
                        assert!(css.try_get_online().is_some() && css.state() == State::Online);
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                });
            }
            while done.load(Ordering::Relaxed) < 2 {
                let refused = group.remove(Removal::Strict);
                assert!(matches!(refused, Err(RemoveError::InUse { .. })), "{refused:?}");
            }
        });
        drop(pinned);
        remove_strictly(&group);
        world.settle();
    }
}

/// The same while the reference that is always out wanders: one thread takes the next before another
/// drops the last. A look at the cells often shows none, and then the removal is tried in earnest.
#[test]
fn race_03_spurious_failure_of_tryget_while_a_reference_wanders() {
    for notifies in [true, false] {
        let world = world();
        world.hierarchy.root().set_notify_on_release(notifies).expect("online");
        let group = world.create("g");
        let (there, here) = (crossbeam_channel::bounded(1), crossbeam_channel::bounded(1));
        let is_over = AtomicBool::new(false);
        let take = || world.controllers[1].css(&group).expect("the group survives");
        there.0.send(take()).expect("there is room");
        thread::scope(|scope| {
            for (from, to) in [(&there.1, &here.0), (&here.1, &there.0)] {
                let (is_over, take) = (&is_over, &take);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        if let Ok(last) = from.try_recv() {
                            to.send(take()).expect("there is room");
                            drop(last);
                        }
                    }
                });
            }
            scope.spawn(|| {
                let _stop = Stop(&is_over);
                for _ in 0..20_000 {
                    let css = world.controller.css(&group).expect("the group survives");
                    assert!(css.try_get_online().is_some() && css.state() == State::Online);
                }
            });
            while !is_over.load(Ordering::Relaxed) {
                let refused = group.remove(Removal::Strict);
                assert!(matches!(refused, Err(RemoveError::InUse { .. })), "{refused:?}");
            }
        });
        drop((there, here));
        remove_strictly(&group);
        world.settle();
    }
}

/// No `try_get_online` that starts after a strict removal has returned may succeed.
#[test]
fn race_05_strict_removal_not_visible_everywhere() {
    let world = world();
    for _ in 0..500 {
        let group = world.create("g");
        let is_removed = AtomicBool::new(false);
        thread::scope(|scope| {
            for controller in &world.controllers {
                scope.spawn(|| {
                    while {
                        let was_removed = is_removed.load(Ordering::SeqCst);
                        let got = controller.css(&group).map(Wanderer::new).is_some();
                        assert!(!(was_removed && got), "a reference after the removal");
                        !was_removed
                    } {}
                });
            }
            remove_strictly(&group);
            is_removed.store(true, Ordering::SeqCst);
        });
    }
    world.settle();
}

/// A subtree that is removed strictly, in one step, goes children first all the same.
#[test]
fn race_06_parent_offlined_or_freed_before_child_of_a_subtree() {
    let world = world();
    for _ in 0..500 {
        let a = world.create("a");
        let b = a.create_child("b").expect("a name");
        let c = b.create_child("c").expect("a name");
        let held = [&b, &c, &a].map(|group| world.css(group));
        thread::scope(|scope| {
            for css in held {
                scope.spawn(move || drop(Wanderer::new(css)));
            }
            while strictly(|| a.remove_subtree(Removal::Strict)).is_err() {}
        });
        assert_eq!([a, b, c].map(|group| group.is_populated()), [false; 3]);
    }
    world.settle();
}

/// Counting switches to exact and back, and the group goes, while others count.
#[test]
fn race_09_mode_switch_against_kill_and_reinit() {
    let world = world();
    for round in 0..200 {
        let group = world.create("g");
        thread::scope(|scope| {
            for reader in 0..2 {
                let (world, group) = (&world, &group);
                scope.spawn(move || {
                    let mut held = Vec::new();
                    for turn in 0..200 {
                        let controller = &world.controllers[turn % 2];
                        held.extend(controller.css(group).map(Wanderer::new));
                        if (turn + reader + round) % 3 == 0 {
                            held.clear();
                        }
                    }
                });
            }
            scope.spawn(|| {
                for turn in 0..20 {
                    group.set_notify_on_release(turn % 2 == 0).ok();
                }
            });
            thread::yield_now();
            if round % 2 == 0 {
                remove_strictly(&group);
            } else {
                group.remove(Removal::Detach).expect("nothing in it");
            }
        });
    }
    world.settle();
}

/// The last reference of a group that is waited for may be dropped where nothing may lock or wait, and
/// is told of.
#[test]
fn race_10_last_put_where_nothing_may_lock_is_told() {
    thread_local! {
        static KEPT: RefCell<Option<CssRef<Canary>>> = const { RefCell::new(None) };
    }
    let world = world();
    let notices = world.hierarchy.notices();
    let group = world.create("g");
    let told = || assert!(next(&notices).accept().is_some_and(|told| told == group));

    let css = world.css(&group);
    let guard = world.registry.read();
    drop(css);
    drop(guard);
    told();
    let css = world.css(&group);
    thread::spawn(move || KEPT.set(Some(css))).join().expect("no panic");
    told();
    let css = world.css(&group);
    let task = world.task("t");
    task.on_cancel({
        let css = Mutex::new(Some(css));
        move || drop(css.lock().expect("no panic").take())
    });
    world.hierarchy.root().kill().expect("online");
    told();
    drop(task);
    remove_strictly(&group);
    assert_eq!(world.registry.stats().notices, 3);
    world.settle();
}

/// Whoever resolves a task gets a usable css at once, although an agent removes each group it leaves.
#[test]
fn race_14_infinite_loop_on_a_group_that_an_agent_removes() {
    let world = world();
    let agent = ReleaseAgent::remover(&world.hierarchy).expect("online");
    let task = world.task("t");
    let stop = AtomicBool::new(false);
    let most = AtomicUsize::new(0);
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            let resolve = || {
                let guard = world.registry.read();
                let css = guard.task_css(&world.controller, &task).expect("every task resolves");
                css.try_get().inspect(|css| css.check()).is_some()
            };
            while !stop.load(Ordering::Relaxed) {
                most.fetch_max((1..).find(|_| resolve()).unwrap_or(0), Ordering::Relaxed);
            }
        });
        for turn in 0..1_000 {
            let name = format!("g{turn}");
            world.hierarchy.root().create_child_with(&name, &[&task]).expect("a free name");
            task.leave(&world.hierarchy).expect("online");
        }
    });
    assert!(most.into_inner() <= 1_000, "a retry means that the writer got on in between");
    until_empty(&world);
    assert_eq!(agent.stop().removed, 1_000);
    world.settle();
}

/// Lets the agent do its work.
fn until_empty(world: &World) {
    while world.hierarchy.root().descendant_count() > 0 {
        world.registry.wait_reclaimed().expect("nothing in the way");
        thread::yield_now();
    }
}

/// An open handle stays safe while the group is removed strictly, and then answers `Removed`.
#[test]
fn race_15_handle_races_with_a_strict_removal() {
    let world = world();
    for _ in 0..300 {
        let group = world.create("g");
        let task = world.task("t");
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut flag = false;
                while group.set_notify_on_release(flag).is_ok() {
                    flag = !flag;
                    let child = group.create_child("c");
                    drop(child.map(|child| remove_strictly(&child)));
                    group.watch().map(|watch| watch.try_recv()).ok();
                }
                assert!(group.create_child("c").is_err() && group.watch().is_err());
                assert!(group.attach(&task).is_err() && group.kill().is_err());
                let again = group.remove(Removal::Strict);
                assert!(matches!(again, Err(RemoveError::Removed { .. })), "{again:?}");
                assert_eq!((group.path(), group.members().len()), ("/g".to_owned(), 0));
            });
            while group.remove(Removal::Strict).is_err() {}
        });
    }
    world.settle();
}

/// Nothing is consumed of a group after its offline: a strict removal waits for no charge, it refuses.
#[test]
fn race_18_offline_while_still_consuming() {
    let world = world();
    let refused = AtomicUsize::new(0);
    for _ in 0..300 {
        let group = world.create("g");
        let (start, finish) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for controller in &world.controllers {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let Some(css) = controller.css(&group) else { return };
                        start.fetch_add(1, Ordering::Relaxed);
                        assert_eq!(css.state(), State::Online);
                        css.check();
                        assert_eq!(css.state(), State::Online, "removed strictly while in use");
                        finish.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            refused.fetch_add(remove_strictly(&group), Ordering::Relaxed);
        });
        assert_eq!(start.into_inner(), finish.into_inner());
    }
    assert_eq!(world.registry.stats().removals_refused, refused.into_inner() as u64);
    world.settle();
}

/// When a removal has returned, nothing of the group is in its successor's way.
#[test]
fn race_21_async_offline_visible_to_users() {
    let world = world();
    let parent = world.create("p");
    let task = world.task("t");
    parent.set_max_descendants(fief_core::Limit::At(1)).expect("a limit");
    for turn in 0..500 {
        let group = parent.create_child("g").expect("its predecessor is gone");
        let css = world.css(&group);
        task.join(&group).expect("online");
        task.leave(&world.hierarchy).expect("online");
        if turn % 2 == 0 {
            drop(css);
            remove_strictly(&group);
        } else {
            group.remove(Removal::Detach).expect("nothing in it");
            assert_eq!(css.state(), State::Offline);
            assert!(css.try_get_online().is_none());
        }
        assert!(group.state() >= State::Offline && parent.descendant_count() == 0);
        assert!(parent.child("g").is_none() && world.controller.css(&group).is_none());
    }
    remove_strictly(&parent);
    world.settle();
}

/// What becomes of a group that was removed is not told of the one that has its name now.
#[test]
fn race_22_same_name_and_the_old_one_is_told() {
    let world = World::new(Registry::builder().reclaimer(Reclaimer::Manual).build(), 2)
        .expect("no refusal");
    let notices = world.hierarchy.notices();
    let old = world.create("g");
    old.set_notify_on_release(true).expect("online");
    let (held, watch) = (world.css(&old), old.watch().expect("online"));
    drop(world.controllers[1].css(&old));
    old.remove(Removal::Detach).expect("nothing in it");
    let new = world.create("g");
    new.set_notify_on_release(true).expect("online");
    let watch_of_new = new.watch().expect("online");
    drop(held);
    world.registry.wait_reclaimed().expect("nothing in the way");
    assert_eq!(notices.try_recv().unwrap_err(), TryRecvError::Empty);
    assert_eq!(watch.try_recv(), Ok(Event::Removed));
    assert_eq!(watch_of_new.try_recv(), Err(TryRecvError::Empty));

    // Told of the old one, and only then is it replaced.
    drop(world.css(&new));
    world.registry.wait_reclaimed().expect("nothing in the way");
    remove_strictly(&new);
    let newest = world.create("g");
    let notice = notices.try_recv().expect("made before the removal");
    assert!(notice.path() == "/g" && notice.accept().is_none());
    assert_eq!(watch_of_new.try_recv(), Ok(Event::Removed));
    remove_strictly(&newest);
    world.settle();
}

/// A notice and a watch can be asked for their path whatever happens to the group.
#[test]
fn race_24_path_of_a_notice_of_a_group_torn_down() {
    let world = world();
    let notices = world.hierarchy.notices();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) || !notices.is_empty() {
                let Ok(notice) = notices.try_recv() else { continue };
                assert!(["/a/c", "/b/c", "/a", "/b"].contains(&notice.path().as_str()));
                let Some(group) = notice.accept() else { continue };
                let Ok(watch) = group.watch() else { continue };
                assert!(["/a/c", "/b/c", "/a", "/b"].contains(&watch.path().as_str()));
            }
        });
        for _ in 0..500 {
            let parent = world.create("a");
            let group = parent.create_child("c").expect("a name");
            drop(world.css(&group));
            parent.rename("b").expect("a name");
            remove_strictly(&group);
            remove_strictly(&parent);
        }
    });
    world.settle();
}

/// The flag is inherited, also by those who come while it is set.
#[test]
fn race_52_notify_on_release_is_inherited() {
    let world = world();
    let group = world.create("a");
    let (task, child) = (world.task("t"), group.create_child("b").expect("a name"));
    let with = group.create_child_with("c", &[&task]).expect("a name");
    group.set_notify_on_release(false).expect("online");
    let without = group.create_child("d").expect("a name");
    let flags = [&group, &child, &with, &without].map(Cgroup::notify_on_release);
    assert_eq!(flags, [false, true, true, false]);
    drop(task);
    assert_eq!(group.remove_subtree(Removal::Strict).expect("not in use"), 4);
    world.settle();
}

/// An agent that removes whatever is not in use leaves a group to its creator until its first members
/// have come and gone.
#[test]
fn race_54_agent_removes_a_group_before_its_first_member() {
    let world = world();
    let agent = ReleaseAgent::remover(&world.hierarchy).expect("online");
    let stray = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = Stop(&stray);
        let creators: Vec<_> = (0..2)
            .map(|creator| {
                let world = &world;
                scope.spawn(move || {
                    let task = world.task("t");
                    for turn in 0..500 {
                        let name = format!("g{creator}.{turn}");
                        let root = world.hierarchy.root();
                        let group = root.create_child_with(&name, &[&task]).expect("a free name");
                        drop(world.css(&group));
                        assert_eq!(task.cgroup(&world.hierarchy), Some(group.clone()));
                        assert_eq!((group.state(), group.members().len()), (State::Online, 1));
                        task.leave(&world.hierarchy).expect("online");
                    }
                })
            })
            .collect();
        // One more that removes without having been told: nothing but use protects a group.
        scope.spawn(|| {
            while !stray.load(Ordering::Relaxed) {
                for group in world.hierarchy.root().children() {
                    strictly(|| group.remove(Removal::Strict)).ok();
                }
            }
        });
        creators.into_iter().for_each(|creator| creator.join().expect("no panic"));
    });
    until_empty(&world);
    assert_eq!(agent.stop().panicked, 0);
    world.settle();
}

/// Thousands of groups that go out of use at once are told one by one through a short queue.
#[test]
fn race_55_storm_of_agents() {
    const GROUPS: usize = 2_000;
    let world = world();
    let notices = world.hierarchy.notices();
    let groups: Vec<Cgroup> = (0..GROUPS).map(|n| world.create(&n.to_string())).collect();
    let edges = |times: usize| {
        for _ in 0..times {
            let held: Vec<_> = groups.iter().map(|group| world.css(group)).collect();
            drop(held);
            world.registry.wait_reclaimed().expect("nothing in the way");
            assert!(notices.len() <= 64, "{} in the queue", notices.len());
        }
    };
    // Nobody listens, and the edges of each group become one notice.
    edges(3);
    let mut told = BTreeMap::new();
    while told.values().sum::<usize>() < GROUPS {
        *told.entry(next(&notices).path()).or_insert(0) += 1;
    }
    assert_eq!((told.len(), notices.len()), (GROUPS, 0), "each once");
    // Groups that go meanwhile take their notices with them, but for those in the queue.
    edges(1);
    for group in &groups[GROUPS / 2..] {
        group.remove(Removal::Strict).expect("not in use");
    }
    // One thread serves what is left.
    let agent = ReleaseAgent::remover(&world.hierarchy).expect("online");
    until_empty(&world);
    let stats = agent.stop();
    assert_eq!((stats.removed, stats.refused), (GROUPS as u64 / 2, 0));
    assert!(stats.moot <= 64);
    world.settle();
}

/// A watch tells of members and of nothing else, and never that a group is empty while it is not.
#[test]
fn race_57_one_event_mistaken_for_another() {
    let world = world();
    let group = world.create("g");
    let task = world.task("t");
    let watch = group.watch().expect("online");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        // Everything else that can happen to a group, while it has a member.
        task.join(&group).expect("online");
        assert_eq!(watch.recv(), Ok(Event::Populated));
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                drop(world.css(&group));
                group.set_notify_on_release(false).expect("online");
                group.set_notify_on_release(true).expect("online");
                let child = group.create_child("c").expect("a name");
                let other = world.task("u");
                other.join(&child).expect("online");
                drop(other);
                remove_strictly(&child);
                assert!(group.remove(Removal::Strict).is_err());
            }
        });
        for _ in 0..2_000 {
            assert_eq!(watch.try_recv(), Err(TryRecvError::Empty));
        }
    });
    drop(task);
    assert_eq!(watch.recv(), Ok(Event::Emptied));
    remove_strictly(&group);
    assert_eq!(watch.recv(), Ok(Event::Removed));
    world.settle();
}

/// A notice may outlive the group, its css, and the registry.
#[test]
fn race_59_notice_outlives_its_group() {
    let world = world();
    let notices = world.hierarchy.notices();
    let told_and_removed = || {
        let group = world.create("g");
        drop(world.css(&group));
        let notice = next(&notices);
        remove_strictly(&group);
        world.registry.wait_reclaimed().expect("nothing in the way");
        notice
    };
    assert!(told_and_removed().accept().is_none());
    let notice = told_and_removed();
    world.settle();
    drop(world);
    assert!(notice.path() == "/g" && notice.accept().is_none());
    assert_eq!(notices.try_recv().unwrap_err(), TryRecvError::Disconnected);
}

/// An agent may have a group in hand while somebody else removes it, and all that held it is freed.
#[test]
fn race_59_agent_outlives_its_group() {
    let world = world();
    let (entered, entering) = crossbeam_channel::bounded(0);
    let (go_on, going_on) = crossbeam_channel::bounded::<()>(0);
    let agent = ReleaseAgent::closure(&world.hierarchy, move |group| {
        entered.send(group.clone()).expect("somebody waits");
        going_on.recv().expect("somebody lets it go on");
        assert!(matches!(group.remove(Removal::Strict), Err(RemoveError::Removed { .. })));
        assert_eq!((group.path(), group.state()), ("/g".to_owned(), State::Released));
    });
    let agent = agent.expect("online");
    let group = world.create("g");
    drop(world.css(&group));
    assert_eq!(entering.recv(), Ok(group.clone()));
    remove_strictly(&group);
    world.registry.wait_reclaimed().expect("nothing in the way");
    go_on.send(()).expect("the agent waits");
    let stats = agent.stop();
    assert_eq!((stats.told, stats.panicked), (1, 0));
    world.settle();
}

/// The last of many changes is told, and a watch dies with its group.
#[test]
fn race_60_trailing_edge_and_the_end_of_a_watch() {
    let world = world();
    for turn in 0..50 {
        let group = world.create("g");
        let watch = group.watch().expect("online");
        let stays = turn % 2 == 0;
        thread::scope(|scope| {
            let flips = scope.spawn(|| {
                let task = world.task("t");
                for _ in 0..50 {
                    task.join(&group).expect("online");
                    task.leave(&world.hierarchy).expect("online");
                }
                stays.then(|| task.join(&group).expect("online"));
                task
            });
            let mut seen = Event::Emptied;
            let mut look = || {
                while let Ok(event) = watch.try_recv() {
                    assert_ne!(event, seen, "only what differs is told");
                    seen = event;
                }
                seen
            };
            while !flips.is_finished() {
                look();
            }
            let task = flips.join().expect("no panic");
            assert_eq!(look(), if stays { Event::Populated } else { Event::Emptied });
            drop(task);
            assert_eq!(look(), Event::Emptied);
        });
        remove_strictly(&group);
        assert_eq!((watch.recv(), watch.recv().is_err()), (Ok(Event::Removed), true));
        assert!(watch.bell().iter().count() <= 1, "the bell has ended too");
    }
    world.settle();
}
