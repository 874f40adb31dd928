//! Reservations: what they charge, what they give back, and what becomes of them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use fief_core::{Cgroup, Controller, CssRef, Limit, Registry, Removal, RemoveError};
use fief_memory::{ChargeError, Memory, MemoryCss, Reservation, SharedReservation};
use insta::assert_snapshot;

/// More than any group of these tests may have: refused by all, after all that is charged ahead was
/// called in.
const TOO_MUCH: u64 = 1 << 46;

struct Scene {
    registry: Registry,
    memory: Controller<Memory>,
    root: Cgroup,
}

impl Scene {
    fn new() -> Self {
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("h").expect("the name is free");
        let memory = registry.register(Memory::new()).expect("the name is free");
        memory.bind(&hierarchy).expect("it is inactive");
        let scene = Self { registry, memory, root: hierarchy.root() };
        scene.css(&scene.root).set_max(Limit::At(1 << 40));
        scene
    }

    fn group(&self, parent: &Cgroup, name: &str, max: u64) -> (Cgroup, CssRef<MemoryCss>) {
        let group = parent.create_child(name).expect("the name is free");
        let css = self.css(&group);
        css.set_max(Limit::At(max));
        (group, css)
    }

    fn css(&self, group: &Cgroup) -> CssRef<MemoryCss> {
        self.memory.css(group).expect("bound here")
    }

    fn current(&self, group: &Cgroup) -> u64 {
        self.css(group).current()
    }

    /// Calls in whatever is charged ahead.
    fn drain(&self) {
        self.css(&self.root).try_charge(TOO_MUCH).expect_err("no group may have so much");
    }
}

fn text(result: Result<(), ChargeError>) -> String {
    result.expect_err("refused").to_string()
}

#[test]
fn growth_is_refused_at_the_limit_and_changes_nothing() {
    let scene = Scene::new();
    let (_web, css) = scene.group(&scene.root, "web", 1000);
    let mut reservation = css.reserve();
    reservation.grow(600).unwrap();
    reservation.grow(0).unwrap();
    assert_snapshot!(
        text(reservation.grow(401)),
        @"memory.max of /web reached: 600 of 1000 bytes in use, 401 asked"
    );
    assert_eq!((reservation.used(), css.current()), (600, 600));
    reservation.grow(400).unwrap();
    assert_eq!(reservation.shrink(999), 999);
    assert_eq!((reservation.used(), css.current()), (1, 1));
    reservation.resize(700).unwrap();
    assert_eq!(css.current(), 700);
    reservation.resize(200).unwrap();
    assert_eq!(css.current(), 200);
    reservation.resize(1001).unwrap_err();
    assert_eq!((reservation.used(), reservation.charged(), css.current()), (200, 200, 200));
    assert_eq!(reservation.free(), 200);
    assert_eq!((reservation.free(), css.current()), (0, 0));
}

#[test]
fn numbers_near_the_end_do_not_come_round() {
    let scene = Scene::new();
    let (_web, css) = scene.group(&scene.root, "web", 1000);
    let mut reservation = css.reserve();
    let shared = css.reserve_shared();
    reservation.grow(100).unwrap();
    shared.try_grow(100).unwrap();
    for bytes in [u64::MAX, u64::MAX - 50, u64::MAX - 99, 1 << 63, (1 << 47) + 1, 1 << 47, 1001] {
        reservation.grow(bytes).expect_err("beyond the limit");
        reservation.keep(bytes).expect_err("beyond the limit");
        shared.try_grow(bytes).expect_err("beyond the limit");
    }
    reservation.resize(u64::MAX).expect_err("beyond the limit");
    reservation.split(u64::MAX).expect_err("there is less");
    assert_eq!((reservation.used(), shared.used(), css.current()), (100, 100, 200));
    assert_snapshot!(
        text(reservation.grow(u64::MAX)),
        @"18446744073709551615 bytes asked by /web: one charge may be of at most 140737488355328"
    );
    assert_eq!(reservation.grow_forced(u64::MAX), (1 << 47) - 100);
    assert_eq!((reservation.used(), css.current()), (1 << 47, (1 << 47) + 100));
    assert_eq!(reservation.grow_forced(1), 0);
    assert_eq!(shared.grow_forced(u64::MAX), (1 << 47) - 100);
    assert_eq!(reservation.free(), 1 << 47);
    assert_eq!(shared.free(), 1 << 47);
    assert_eq!((css.current(), scene.current(&scene.root)), (0, 0));
}

#[test]
fn no_more_is_given_back_than_there_is() {
    let scene = Scene::new();
    let (_web, css) = scene.group(&scene.root, "web", 1 << 20);
    let mut others = css.reserve();
    others.grow_forced(500);
    let mut reservation = css.reserve();
    let shared = css.reserve_shared();
    for bytes in [0, 10, 3000] {
        reservation.grow(bytes).unwrap();
        shared.try_grow(bytes).unwrap();
        assert_eq!(reservation.shrink(u64::MAX), bytes);
        assert_eq!(shared.shrink(bytes + 1), bytes);
        assert_eq!((reservation.used(), shared.used()), (0, 0));
    }
    scene.drain();
    assert_eq!(css.current(), 500);
}

#[test]
fn what_is_split_off_stays_within_the_limit() {
    let scene = Scene::new();
    let (_web, css) = scene.group(&scene.root, "web", 1000);
    let mut one = css.reserve();
    one.grow(700).unwrap();
    let mut two = one.split(300).unwrap();
    assert_eq!((one.used(), two.used(), css.current()), (400, 300, 700));
    assert_snapshot!(
        one.split(401).unwrap_err(),
        @"400 bytes are reserved: 401 cannot be split off"
    );
    two.grow(301).unwrap_err();
    two.grow(200).unwrap();
    one.grow(101).unwrap_err();
    one.grow(100).unwrap();
    assert_eq!((one.used(), two.used(), css.current()), (500, 500, 1000));
    let all = two.split(500).unwrap();
    assert_eq!((two.used(), all.used()), (0, 500));
    drop(two);
    one.merge(all).unwrap();
    assert_eq!((one.used(), css.current()), (1000, 1000));
    drop(one);
    assert_eq!(css.current(), 0);
}

#[test]
fn merging_takes_over_what_the_other_has_or_hands_it_back() {
    let scene = Scene::new();
    let (_web, web) = scene.group(&scene.root, "web", 1 << 30);
    let (_db, db) = scene.group(&scene.root, "db", 1 << 30);
    let mut one = web.reserve();
    let mut two = web.reserve();
    one.grow(10_000).unwrap();
    two.grow(20_000).unwrap();
    one.merge(two).unwrap();
    assert_eq!(one.used(), 30_000);
    let mut stranger = db.reserve();
    stranger.grow(7).unwrap();
    let error = one.merge(stranger).unwrap_err();
    assert_snapshot!(error, @"a reservation of /db cannot be merged into one of /web");
    let mut stranger = error.reservation;
    assert_eq!((one.used(), stranger.used()), (30_000, 7));
    stranger.transfer(&web).unwrap();
    one.merge(stranger).unwrap();
    assert_eq!(one.used(), 30_007);
    scene.drain();
    assert_eq!((web.current(), db.current(), scene.current(&scene.root)), (30_007, 0, 30_007));
}

#[test]
fn a_dropped_reservation_gives_all_back_while_unwinding_too() {
    let scene = Scene::new();
    let (_web, css) = scene.group(&scene.root, "web", 1 << 30);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut reservation = css.reserve();
        let shared = css.reserve_shared();
        reservation.grow(5000).expect("there is room");
        reservation.keep(9000).expect("there is room");
        shared.try_grow(5000).expect("there is room");
        assert!(css.current() >= 14_000);
        panic!("an operator fails");
    }));
    panicked.unwrap_err();
    scene.drain();
    assert_eq!((css.current(), scene.current(&scene.root)), (0, 0));
}

#[test]
fn what_is_charged_ahead_refuses_nobody() {
    let scene = Scene::new();
    let max = 1 << 20;
    let (web, css) = scene.group(&scene.root, "web", max);
    let (_api, api) = scene.group(&web, "api", 1 << 30);
    let mut idle = css.reserve();
    idle.grow(10).unwrap();
    assert!(css.current() > 10, "something is charged ahead");
    let mut other = api.reserve();
    other.grow(max - 10).expect("what is idle is called in");
    assert_eq!((idle.used(), idle.charged(), css.current()), (10, 10, max));
    other.grow(1).unwrap_err();
    idle.grow(1).unwrap_err();
    assert_eq!(idle.shrink(4), 4);
    other.grow(4).unwrap();
    drop(other);
    // For a while after room was called in nothing is charged ahead.
    for _ in 0..2_000 {
        idle.grow(1).unwrap();
        assert_eq!(idle.shrink(1), 1);
    }
    idle.grow(100).unwrap();
    assert!(css.current() > 106);
    css.try_charge(max - 106).expect("called in again");
    assert_eq!((idle.used(), css.current()), (106, max));
    css.uncharge(max - 106);
}

#[test]
fn room_is_called_in_at_each_level_that_refuses() {
    let scene = Scene::new();
    let max = 1 << 20;
    let (top, top_css) = scene.group(&scene.root, "top", max);
    let (_web, web) = scene.group(&top, "web", max - 10);
    let (_db, db) = scene.group(&top, "db", max);
    let (mut mine, mut theirs) = (web.reserve(), db.reserve());
    mine.grow(10).unwrap();
    theirs.grow(10).unwrap();
    let mut third = web.reserve();
    third.grow(max - 20).expect("web's is called in, and then db's");
    assert_eq!((mine.used(), theirs.used(), top_css.current()), (10, 10, max));
}

#[test]
fn a_moved_reservation_finds_room_for_which_it_must_be_called_in() {
    let scene = Scene::new();
    let (_web, web) = scene.group(&scene.root, "web", 1 << 20);
    let (_db, db) = scene.group(&scene.root, "db", 1 << 20);
    let mut idle = db.reserve();
    idle.grow(10).unwrap();
    let mut mover = web.reserve();
    mover.grow((1 << 20) - 10).unwrap();
    mover.transfer(&db).expect("what is idle is called in");
    assert_eq!((web.current(), db.current()), (0, 1 << 20));
}

#[test]
fn a_lowered_max_takes_nothing_away() {
    let scene = Scene::new();
    let (_web, css) = scene.group(&scene.root, "web", 1 << 20);
    let mut reservation = css.reserve();
    reservation.grow(5000).unwrap();
    reservation.keep(8000).unwrap();
    css.set_max(Limit::At(100));
    css.try_charge(1).unwrap_err();
    assert_eq!((reservation.used(), reservation.kept(), css.current()), (5000, 8000, 8000));
    assert_eq!(reservation.shrink(4000), 4000);
    reservation.grow(7000).expect("it is kept");
    assert_eq!((reservation.used(), css.current()), (8000, 8000));
    reservation.grow(1).unwrap_err();
    assert_eq!(reservation.shrink(8000), 8000);
    assert_eq!((reservation.used(), reservation.charged(), css.current()), (0, 8000, 8000));
    reservation.keep(50).unwrap();
    assert_eq!(css.current(), 50);
    reservation.keep(101).unwrap_err();
    assert_eq!((reservation.kept(), css.current()), (50, 50));
    reservation.free();
    assert_eq!((reservation.kept(), css.current()), (0, 0));
}

#[test]
fn what_is_kept_is_called_in_by_nobody() {
    let scene = Scene::new();
    let (_web, css) = scene.group(&scene.root, "web", 1 << 30);
    let mut reservation = css.reserve();
    reservation.keep(10_000).unwrap();
    for round in 0..2000 {
        reservation.grow(1000 + round % 7 * 2000).unwrap();
        if round % 3 == 0 {
            scene.drain();
            assert_eq!(css.current(), reservation.used().max(10_000));
        }
        reservation.shrink(1000 + round % 5 * 3000);
        assert!(css.current() >= reservation.used().max(10_000));
        if round % 4 == 0 {
            scene.drain();
            assert_eq!(css.current(), reservation.used().max(10_000));
        }
    }
}

#[test]
fn what_is_kept_goes_along_as_far_as_it_must() {
    let scene = Scene::new();
    let (_web, css) = scene.group(&scene.root, "web", 10_000);
    let mut one = css.reserve();
    one.grow(3000).unwrap();
    one.keep(5000).unwrap();
    let mut two = one.split(2000).unwrap();
    assert_eq!((one.used(), one.kept(), two.used(), two.kept()), (1000, 3000, 2000, 0));
    assert_eq!(css.current(), 5000);
    two.merge(one).unwrap();
    assert_eq!((two.used(), two.kept(), css.current()), (3000, 5000, 5000));
}

#[test]
fn force_goes_beyond_the_limit_and_is_paid_back_first() {
    let scene = Scene::new();
    let (_web, css) = scene.group(&scene.root, "web", 1000);
    let mut reservation = css.reserve();
    let shared = css.reserve_shared();
    assert_eq!((reservation.grow_forced(900), shared.grow_forced(900)), (900, 900));
    assert_eq!(css.current(), 1800);
    reservation.grow(1).unwrap_err();
    shared.try_grow(1).unwrap_err();
    assert_eq!(reservation.shrink(850), 850);
    reservation.grow(51).unwrap_err();
    reservation.grow(50).unwrap();
    assert_eq!(css.current(), 1000);
}

#[test]
fn nobody_grows_by_what_was_charged_ahead_once_force_exceeded_a_max() {
    let scene = Scene::new();
    let (top, top_css) = scene.group(&scene.root, "top", 1 << 20);
    let (_web, web) = scene.group(&top, "web", 100);
    let (_db, db) = scene.group(&top, "db", 1 << 20);
    let (mut idle, mut forced) = (db.reserve(), web.reserve());
    idle.grow(10).unwrap();
    assert!(db.current() > 10, "something is charged ahead");
    forced.grow_forced(1 << 20);
    assert_eq!(top_css.current(), (1 << 20) + 10, "web was asked first, but top is exceeded too");
    idle.grow(1).unwrap_err();
    assert_eq!(forced.shrink(11), 11);
    idle.grow(1).unwrap();
}

#[test]
fn what_is_above_both_groups_does_not_notice_a_transfer() {
    let scene = Scene::new();
    let (top, top_css) = scene.group(&scene.root, "top", 1000);
    let (_web, web) = scene.group(&top, "web", 1000);
    let (db, _) = scene.group(&top, "db", 1000);
    let (_disk, disk) = scene.group(&db, "disk", 1000);
    let mut reservation = web.reserve();
    reservation.grow(800).unwrap();
    reservation.keep(1000).unwrap();
    reservation.transfer(&disk).expect("top is full, and is not asked");
    assert_eq!((reservation.used(), reservation.kept()), (800, 1000));
    assert_eq!((web.current(), scene.current(&db), disk.current()), (0, 1000, 1000));
    assert_eq!((top_css.current(), reservation.cgroup()), (1000, String::from("/top/db/disk")));
    reservation.transfer(&top_css).unwrap();
    assert_eq!((scene.current(&db), top_css.current()), (0, 1000));
    reservation.transfer(&top_css).unwrap();
    reservation.transfer(&disk).unwrap();
    drop(reservation);
    assert_eq!((disk.current(), top_css.current(), scene.current(&scene.root)), (0, 0, 0));
}

#[test]
fn a_refused_transfer_changes_nothing() {
    let scene = Scene::new();
    let (_web, web) = scene.group(&scene.root, "web", 1000);
    let (db, _) = scene.group(&scene.root, "db", 700);
    let (disk_group, disk) = scene.group(&db, "disk", 1000);
    let mut reservation = web.reserve();
    reservation.grow(800).unwrap();
    assert_snapshot!(
        text(reservation.transfer(&disk)),
        @"memory.max of /db reached: 0 of 700 bytes in use, 800 asked"
    );
    let figures = || (web.current(), scene.current(&db), disk.current());
    assert_eq!(figures(), (800, 0, 0));
    disk_group.remove(Removal::Detach).unwrap();
    assert!(matches!(reservation.transfer(&disk), Err(ChargeError::Removed { .. })));
    assert_eq!((figures(), reservation.cgroup()), ((800, 0, 0), String::from("/web")));
    assert_eq!(reservation.shrink(800), 800);
}

#[test]
fn a_removed_group_leaves_its_charges_to_the_one_above() {
    let scene = Scene::new();
    let (top, top_css) = scene.group(&scene.root, "top", 1 << 20);
    let (web, css) = scene.group(&top, "web", 1 << 20);
    let mut reservation = css.reserve();
    let shared = css.reserve_shared();
    reservation.grow(500).unwrap();
    reservation.keep(600).unwrap();
    shared.try_grow(300).unwrap();
    drop(css);
    web.remove(Removal::Detach).unwrap();
    scene.registry.wait_reclaimed().unwrap();
    let stats = scene.registry.stats();
    assert_eq!((stats.css_dying, stats.css_freed), (0, 1), "nothing is kept of the group");

    assert_eq!(top_css.current(), 900);
    reservation.grow(100).expect("it is kept");
    assert_snapshot!(
        text(reservation.grow(1)),
        @"a removed group below /top is removed: 1 bytes more cannot be charged there"
    );
    shared.try_grow(1).unwrap_err();
    assert_eq!((reservation.grow_forced(50), shared.grow_forced(50)), (50, 50));
    assert_eq!((reservation.used(), shared.used(), top_css.current()), (650, 350, 1000));
    assert_eq!((reservation.shrink(20), shared.shrink(20)), (20, 20));
    let mut piece = reservation.split(30).unwrap();
    piece.grow(1).unwrap_err();
    assert_eq!(top_css.current(), 960);
    piece.transfer(&top_css).unwrap();
    piece.grow(1).expect("it belongs to a group that lives");
    reservation.merge(piece).expect("the same group answers for both");
    reservation.grow(1).unwrap_err();
    scene.drain();
    assert_eq!(top_css.current(), 961);
    drop((reservation, shared));
    assert_eq!((top_css.current(), scene.current(&scene.root)), (0, 0));
}

#[test]
fn live_charges_forbid_strict_removal_and_idle_room_does_not() {
    let scene = Scene::new();
    let (web, css) = scene.group(&scene.root, "web", 1 << 20);
    let (mut reservation, shared) = (css.reserve(), css.reserve_shared());
    drop(css);
    reservation.grow(100).unwrap();
    shared.try_grow(100).unwrap();
    let in_use = |removed| matches!(removed, Err(RemoveError::InUse { .. }));
    assert!(in_use(web.remove(Removal::Strict)));
    assert_eq!((reservation.shrink(99), shared.shrink(100)), (99, 100));
    assert!(in_use(web.remove(Removal::Strict)));
    assert_eq!(reservation.shrink(1), 1);
    web.remove(Removal::Strict).expect("nothing is charged there");
    reservation.grow(1).unwrap_err();
    shared.try_grow(1).unwrap_err();
    assert_eq!(scene.current(&scene.root), 0);
}

#[test]
fn a_shared_reservation_is_exact_under_threads() {
    let scene = Scene::new();
    let max = 1 << 18;
    let (_web, css) = scene.group(&scene.root, "web", max);
    let shared = css.reserve_shared();
    thread::scope(|scope| {
        for seed in 0..3 {
            let shared = &shared;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut mine = 0;
                for _ in 0..20_000 {
                    let bytes = random.u64(..4000);
                    if random.bool() {
                        mine += shared.try_grow(bytes).map_or(0, |()| bytes);
                    } else {
                        let given = shared.shrink(bytes.min(mine));
                        assert_eq!(given, bytes.min(mine));
                        mine -= given;
                    }
                }
                assert_eq!(shared.shrink(mine), mine);
            });
        }
    });
    assert_eq!(shared.used(), 0);
    scene.drain();
    assert_eq!(css.current(), 0);
}

#[test]
fn threads_at_the_limit_stay_within_it() {
    let scene = Scene::new();
    let max = 1 << 18;
    let (_web, css) = scene.group(&scene.root, "web", max);
    let (start, done) = (Barrier::new(5), AtomicBool::new(false));
    thread::scope(|scope| {
        let workers = [1, 2, 3, 4].map(|seed| {
            let (css, start) = (&css, &start);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut reservation = css.reserve();
                let mut model = 0;
                start.wait();
                for _ in 0..30_000 {
                    let most = if random.u8(..8) == 0 { max / 2 } else { 3000 };
                    let bytes = random.u64(..most);
                    if random.u8(..9) < 5 {
                        model += reservation.grow(bytes).map_or(0, |()| bytes);
                    } else {
                        model -= reservation.shrink(bytes.min(model));
                    }
                    assert_eq!(reservation.used(), model);
                    assert!(css.current() <= max);
                }
            })
        });
        scope.spawn(|| {
            start.wait();
            while !done.load(Ordering::Relaxed) {
                scene.drain();
                assert!(css.current() <= max);
            }
        });
        let ended = workers.map(|worker| worker.join());
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    assert_eq!((css.current(), scene.current(&scene.root)), (0, 0));
}

#[test]
fn a_reservation_goes_from_thread_to_thread() {
    let scene = Scene::new();
    let (_web, css) = scene.group(&scene.root, "web", 1 << 30);
    let mut reservation = css.reserve();
    reservation.grow(100).unwrap();
    let mut reservation = thread::scope(|scope| {
        let moved = scope.spawn(move || {
            reservation.grow(100).expect("there is room");
            reservation
        });
        moved.join().expect("it does not panic")
    });
    assert_eq!(reservation.shrink(50), 50);
    scene.drain();
    assert_eq!((reservation.used(), css.current()), (150, 150));
}

#[test]
fn debug_shows_the_group_and_what_is_used() {
    let scene = Scene::new();
    let (_web, css) = scene.group(&scene.root, "web", 1000);
    let mut reservation = css.reserve();
    reservation.grow(600).unwrap();
    reservation.keep(700).unwrap();
    assert_snapshot!(
        format!("{reservation:?}"),
        @r#"Reservation { cgroup: "/web", used: 600, kept: 700, charged: 700 }"#
    );
    assert_snapshot!(
        format!("{:?}", css.reserve_shared()),
        @r#"SharedReservation { cgroup: "/web", used: 0 }"#
    );
}

#[test]
fn reservations_may_go_to_other_threads() {
    const fn check<T: Send + Sync + Unpin>() {}
    check::<Reservation>();
    check::<SharedReservation>();
}
