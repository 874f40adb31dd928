//! What is easily got wrong in counting memory: a test for each.
//!
//! Paths are from the root of the repository; `tests/` alone is beside this file, `src/` above it.
//!
//! | | Trap | Proved by |
//! |---|---|---|
//! | 1 | reclaim that charges, and so reclaims | `tests/reclaim.rs`: `trap_1_a_reclaimer_that_charges_gets_from_the_reserve_and_reclaims_nothing` |
//! | 2 | a reclaimer whose lock the charger holds | `tests/reclaim.rs`: `trap_2_a_reclaimer_whose_lock_the_charger_holds_says_busy` |
//! | 3 | more uncharged than charged | `tests/limits.rs`: `a_double_uncharge_is_told`; `tests/reservations.rs`: `no_more_is_given_back_than_there_is` |
//! | 4 | numbers that come round | `tests/limits.rs`: `charges_of_nothing_and_of_too_much_are_answered_at_once`; `tests/reservations.rs`: `numbers_near_the_end_do_not_come_round`; `benches/peers/tests/scoreboard.rs`: `ours_refuses_a_request_that_would_wrap` |
//! | 5 | a max lowered below usage | `tests/reclaim.rs`: `trap_5_a_max_below_what_can_be_freed_holds_from_then_on`; `tests/reservations.rs`: `a_lowered_max_takes_nothing_away` |
//! | 6 | wake-ups lost because room stays with a thread | `tests/waiting.rs`: `what_is_freed_on_another_thread_wakes_a_waiter`, `nobody_waits_for_ever`; `src/tests/loom_wait.rs`: `no_wake_up_is_lost` |
//! | 7 | large waiters that block, or starve | `tests/waiting.rs`: `a_large_waiter_does_not_block_a_small_one`, `a_large_one_is_served_although_small_ones_come_without_end` |
//! | 8 | an allocator that calls itself | `crates/alloc/tests/threads.rs`: `threads`, where every block of the process is tagged |
//! | 9 | thread-locals that are dropped after ours | `src/stock/tests.rs`: `a_thread_past_its_guard_counts_at_the_counters`; `crates/alloc/tests/bare.rs`: `bare` |
//! | 10 | threads that end with room charged ahead | `src/stock/tests.rs`: `short_threads_leave_nothing_behind` |
//! | 11 | room of a group that is gone | `src/stock/tests.rs`: `groups_that_meet_in_a_table_keep_their_own` |
//! | 12 | panics between a charge and its book | here: `who_panics_takes_nothing_along`, `what_is_dropped_while_unwinding_gives_all_back`; `tests/reservations.rs`: `a_dropped_reservation_gives_all_back_while_unwinding_too`; `crates/alloc/tests/scopes.rs`: `unwinding_restores` |
//! | 13 | fork | `tests/fork.rs`: `a_child_needs_no_lock_that_a_thread_of_its_parent_held`, `a_child_does_not_wait`; `crates/alloc/tests/fork.rs`: `a_forked_child_counts_on` |
//! | 14 | a signal handler in the middle of a charge | `tests/signal.rs`: `a_handler_that_charges_in_the_middle_of_a_charge_loses_nothing` |
//! | 15 | a drain that waits for a preempted owner | `tests/signal.rs`: `a_drain_does_not_wait_for_an_owner_that_is_stopped` |
//! | 16 | a storm of drains at the limit | `src/stock/tests.rs`: `a_full_group_is_not_drained_for_ever` |
//! | 17 | refusals while others have room charged ahead | `src/stock/tests.rs`: `the_stock_of_others_is_room_for_who_needs_it`; `tests/reservations.rs`: `what_is_charged_ahead_refuses_nobody`, `room_is_called_in_at_each_level_that_refuses` |
//! | 18 | a charge of several levels that is undone in part | here: `what_one_level_refuses_is_undone_below_it`; `tests/reservations.rs`: `a_refused_transfer_changes_nothing` |
//! | 19 | a peak of what was never granted | `tests/peak.rs`: `what_is_refused_leaves_no_peak` |
//! | 20 | requests of zero and above the limit | here: `requests_of_zero_and_above_the_limit_are_answered_at_once` |
//! | 21 | reclaimers that lie | `tests/reclaim.rs`: `trap_21_what_a_reclaimer_says_is_not_believed` |
//! | 22 | shared buffers counted twice | here: `a_buffer_with_many_owners_is_counted_once` |
//! | 23 | a second victim too early | `tests/victims.rs`: `there_is_no_second_victim_before_the_memory_of_the_first_is_back` |
//! | 24 | ids used again | here: `a_group_finds_nothing_of_the_one_whose_place_it_takes` |
//! | 25 | interfaces that cannot fail | `tests/reservations.rs`: `force_goes_beyond_the_limit_and_is_paid_back_first` |
//! | 26 | a waiting charge that is dropped when called | `tests/waiting.rs`: `a_waiter_that_goes_away_leaves_its_call_to_the_next` |
//! | 27 | a limit of 0, and no limit | here: `limit_zero_and_limit_max` |
//! | 28 | the accounting's own memory | here: `what_accounting_takes_for_itself_is_charged_to_nobody` |
//!
//! Races that Linux has had:
//!
//! | | Race | Proved by |
//! |---|---|---|
//! | 62 | chargers that wait with a lock that the victim needs | here: `race_62_who_waits_with_what_the_victim_needs_is_next` |
//! | 63 | a limit that is lowered after reclaim | `tests/reclaim.rs`: `race_63_a_lowered_max_is_in_force_before_anything_is_reclaimed` |
//! | 66 | a charge and a lowered max that miss each other | here: `race_66_a_charge_and_a_lowered_max_see_each_other`; `crates/core/src/tests/loom_counter.rs`: `a_charge_races_with_set_max` |
//! | 68 | a drain that gives up because another is under way elsewhere | here: `race_68_drains_of_two_groups_get_in_nobodys_way` |
//! | 68 | room charged ahead that keeps a dying group | `src/stock/tests.rs`: `a_strict_removal_sees_charges_and_not_what_is_charged_ahead`, `groups_that_meet_in_a_table_keep_their_own` |
//! | 69 | protection of a dying group | `tests/limits.rs`: `a_group_that_is_removed_protects_nothing` |
//! | 69 | protection of the group that reclaim is for | `tests/protection.rs`: `a_group_is_not_protected_against_itself` |

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    pin::pin,
    sync::{Arc, Barrier as Meeting, Mutex, atomic::Ordering},
    task::{Context, Wake, Waker},
    thread,
};

use fief_core::{CssRef, Limit, Removal};
use fief_memory::{
    Candidate, Charge, ChargeError, MemoryCss, ReclaimCx, Reclaimed, Reclaimer, SpillOptions,
    VictimPolicy,
};

use self::{
    cache::{Cache, charge},
    scene::{BARRIERS, Query, Scene, Waiter},
};

#[path = "support/cache.rs"]
mod cache;
#[cfg(test)]
#[path = "support/scene.rs"]
#[expect(dead_code, reason = "what is about workers")]
mod scene;

const K: u64 = 1 << 10;
const M: u64 = 1 << 20;

/// Fails wherever it is called, as a reclaimer after it gave half.
struct Bomb(CssRef<MemoryCss>);

impl Reclaimer for Bomb {
    fn reclaimable(&self) -> u64 {
        4
    }

    fn reclaim(&self, _: u64, _: &ReclaimCx<'_>) -> Reclaimed {
        self.0.uncharge(2);
        resume_unwind(Box::new("bomb"));
    }
}

impl VictimPolicy for Bomb {
    fn choose(&self, _: &[Candidate]) -> Option<usize> {
        resume_unwind(Box::new("bomb"));
    }
}

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        resume_unwind(Box::new("bomb"));
    }
}

/// A test that is renamed or removed takes its trap along.
#[test]
fn what_is_named_above_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let rows = include_str!("traps.rs").lines().filter(|line| line.starts_with("//! | "));
    let mut count = 0;
    for row in rows.filter(|row| row.contains('`')) {
        let mut text = include_str!("traps.rs").to_owned();
        for name in row.split('`').skip(1).step_by(2) {
            if name.ends_with(".rs") {
                let place = if name.starts_with("tests/") || name.starts_with("src/") {
                    root.join("crates/memory").join(name)
                } else {
                    root.join(name)
                };
                text = fs::read_to_string(place).expect(name);
            } else {
                assert!(text.contains(&format!("fn {name}(")), "{name}: {row}");
                count += 1;
            }
        }
    }
    assert!(count > 50, "{count} tests");
}

/// Trap 12, by code of others: what was given before the panic counts, and nothing else.
#[test]
fn who_panics_takes_nothing_along() {
    for barrier in BARRIERS {
        // The policy is in need of a css, and has that of a controller of its own.
        let elsewhere = Scene::new(barrier);
        let policy = Bomb(elsewhere.memory.root().unwrap());
        let scene = Scene::with(barrier, |builder| builder.victim_policy(policy));
        let (db, top) = scene.limited("db", 100);
        let queries = [("a", 60), ("b", 40)];
        let [a, b] = queries.map(|(name, bytes)| Query::new(&scene, &db, name, bytes));
        let bomb = Arc::new(Bomb(CssRef::clone(&a.css)));
        let bytes = || (a.css.usage_exact().0, b.css.usage_exact().0, top.usage_exact().0);

        let reclaimer = a.css.add_reclaimer(Arc::<Bomb>::clone(&bomb));
        assert!(charge(&b.css, 2), "it gave as much before it failed");
        assert_eq!(bytes(), (58, 42, 100));
        assert_eq!(a.css.reclaim_stats().panics, 1);
        drop(reclaimer);

        let callback = a.css.on_kill(|| resume_unwind(Box::new("bomb")));
        let waker = Waker::from(Arc::clone(&bomb));
        let mut context = Context::from_waker(&waker);
        let mut first = pin!(a.css.charge(5));
        assert!(first.as_mut().poll(&mut context).is_pending());
        let mut second = Waiter::new(b.css.charge(5));
        scene.pass(0); // the policy fails, then the callback of the victim, then its waker
        assert!(a.is_cancelled());
        assert_eq!(bytes(), (58, 42, 100));
        assert!(first.as_mut().poll(&mut context).is_ready());
        a.css.uncharge(58);
        assert!(second.has_it());
        assert_eq!(bytes(), (0, 47, 47));
        b.css.uncharge(47);
        drop(callback);
        assert_eq!(bytes(), (0, 0, 0));
    }
}

/// Trap 12, by their owners.
#[test]
fn what_is_dropped_while_unwinding_gives_all_back() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (db, top) = scene.limited("db", 100);
        let query = Query::new(&scene, &db, "query", 30);
        let (_, css) = scene.group(Some(&db), "other");
        let spiller = css.spiller(SpillOptions::new());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _worker = css.enter();
            let mut reservation = css.reserve();
            reservation.grow(40).expect("there is room");
            spiller.set_spillable(40);
            let mut seen = css.forced();
            seen.set(40);
            assert!(top.reclaim(20).is_err());
            let _ticket = spiller.try_next().expect("it was asked");
            let _first = Waiter::new(css.charge(50));
            let piece = reservation.split(10).expect("it has as much");
            assert_eq!(top.current(), 110);
            resume_unwind(Box::new(piece.used()));
        }));
        let found = panicked.unwrap_err().downcast::<u64>().expect("what was thrown");
        assert_eq!(*found, 10);
        assert_eq!((css.usage_exact(), top.usage_exact()), ((0, 0), (30, 0)));
        // The ticket came to an end, so there may be another one.
        css.try_charge(10).unwrap();
        spiller.set_spillable(10);
        scene.pass(10_000);
        assert_eq!(top.reclaim(10).unwrap_err().started, 10);
        drop(spiller.try_next().expect("it was asked"));
        // Nobody stands in the line, and nobody is known to be at work in there.
        let mut waiter = Waiter::new(query.css.charge(61));
        for _ in 0..4 {
            scene.pass(1_000);
            waiter.run();
            scene.pass(0);
        }
        assert!(query.is_cancelled(), "everybody waits");
        waiter.error();
        query.css.uncharge(30);
        css.uncharge(10);
        assert_eq!(top.current(), 0);
    }
}

/// Trap 18, as threads meet it: the level above fills up between the look and the charge.
#[test]
fn what_one_level_refuses_is_undone_below_it() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (db, top) = scene.limited("db", 10);
        let (left, _) = scene.group(Some(&db), "left");
        let (right, _) = scene.group(Some(&db), "right");
        let leaves = [&left, &right].map(|parent| scene.group(Some(parent), "leaf").1);
        thread::scope(|scope| {
            for css in &leaves {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if css.try_charge(6).is_ok() {
                            assert!(top.current() <= 10);
                            css.uncharge(6);
                        }
                    }
                });
            }
        });
        let left_over = leaves.map(|css| css.current());
        assert_eq!((left_over, top.current()), ([0, 0], 0));
        for parent in [left, right] {
            assert_eq!(scene.memory.css(&parent).unwrap().current(), 0);
        }
    }
}

/// Trap 20.
#[test]
fn requests_of_zero_and_above_the_limit_are_answered_at_once() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (pool, css) = scene.limited("pool", 2 * M);
        let (_, below) = scene.group(Some(&pool), "below");
        let (_, cached) = scene.group(Some(&pool), "cache");
        let cache = Cache::filled(cached, 4 * K, 2 * M);
        let _guard = cache.css.add_reclaimer(Arc::<Cache>::clone(&cache));
        for css in [&css, &below] {
            let mut reservation = css.reserve();
            assert!(css.try_charge(0).is_ok() && charge(css, 0));
            assert!(Waiter::new(css.charge(0)).has_it());
            assert!(css.charge_blocking(0, None).is_ok() && reservation.grow(0).is_ok());
            assert!(reservation.grow_blocking(0, None).is_ok());
            for bytes in [2 * M + 1, 1 << 47, (1 << 47) + 1, u64::MAX] {
                css.try_charge(bytes).unwrap_err();
                css.charge_with(bytes, Charge::Reclaim).unwrap_err();
                Waiter::new(css.charge(bytes)).error();
                css.charge_blocking(bytes, None).unwrap_err();
                reservation.grow_blocking(bytes, None).unwrap_err();
            }
            assert_eq!(reservation.used(), 0);
        }
        assert_eq!((cache.asked(), cache.bytes(), css.current()), (0, 2 * M, 2 * M));
    }
}

/// Trap 22: as with slices of one buffer, which one charge belongs to.
#[test]
fn a_buffer_with_many_owners_is_counted_once() {
    let scene = Scene::new(BARRIERS[0]);
    let (db, top) = scene.limited("db", 150);
    let [scan, sort] = ["scan", "sort"].map(|name| scene.group(Some(&db), name).1);
    let mut buffer = scan.reserve();
    buffer.grow(100).unwrap();
    let buffer = Arc::new(Mutex::new(buffer));
    let slices: Vec<_> = (0..17).map(|_| Arc::clone(&buffer)).collect();
    // Whoever claims a slice has the whole, once, however often.
    for slice in &slices {
        slice.lock().unwrap().transfer(&sort).expect("what is above both is not charged again");
    }
    drop(buffer);
    assert_eq!((scan.current(), sort.current(), top.current(), top.peak()), (0, 100, 100, 100));
    let mut slices = slices.into_iter();
    let last = slices.next();
    drop(slices);
    assert_eq!(top.current(), 100);
    drop(last);
    assert_eq!((sort.current(), top.current()), (0, 0));
}

/// Trap 24: this thread has something charged ahead for each group that was there before.
#[test]
fn a_group_finds_nothing_of_the_one_whose_place_it_takes() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let root = scene.memory.root().unwrap();
        let mut before = None::<CssRef<MemoryCss>>;
        for round in 1..300 {
            let (cgroup, css) = scene.group(None, "web");
            assert_eq!((css.current(), root.current()), (0, 0));
            css.try_charge(round).unwrap();
            assert!(css.current() > round, "something is charged ahead");
            assert_eq!(root.current(), css.current());
            if let Some(before) = before.take() {
                let error = before.try_charge(1).unwrap_err();
                assert!(matches!(error, ChargeError::Removed { .. }), "{error}");
            }
            css.uncharge(round);
            cgroup.remove(Removal::Detach).unwrap();
            // Every other one is gone for good, and its memory used again.
            before = (round % 2 == 0).then_some(css);
        }
    }
}

/// Trap 27.
#[test]
fn limit_zero_and_limit_max() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (_, css) = scene.limited("a", 0);
        assert_eq!(css.max(), Limit::At(0));
        css.try_charge(0).unwrap();
        css.try_charge(1).unwrap_err();
        Waiter::new(css.charge(1)).error();
        assert!(css.reserve().keep(1).is_err());
        css.charge_forced(1);
        assert_eq!((css.current(), css.stats().events_local.force_over_max), (1, 1));
        css.set_high(Limit::At(0));
        css.set_high(Limit::Max);
        for max in [Limit::Max, Limit::At(u64::MAX), Limit::At(u64::MAX - 1)] {
            css.set_max(Limit::At(0));
            css.set_max(max);
            assert_eq!(css.max(), Limit::Max, "{max}");
            css.try_charge(1 << 47).expect("there is no limit");
            css.try_charge(1 << 47).expect("not even twice");
            css.uncharge(1 << 47);
            css.uncharge(1 << 47);
        }
        css.set_max(Limit::At(1 << 47));
        css.try_charge(1 << 47).unwrap_err();
        css.uncharge(1);
        css.try_charge(1 << 47).expect("to the byte");
        css.uncharge(1 << 47);
        assert_eq!(css.usage_exact(), (0, 0));
    }
}

/// Trap 28: groups, lines, readers and registrations, and the one byte that somebody charges.
#[test]
fn what_accounting_takes_for_itself_is_charged_to_nobody() {
    let scene = Scene::new(BARRIERS[0]);
    let root = scene.memory.root().unwrap();
    let (db, top) = scene.limited("db", 1);
    top.try_charge(1).unwrap();
    let groups: Vec<_> = (0..100).map(|i| scene.group(Some(&db), &i.to_string())).collect();
    let bomb = Arc::new(Bomb(CssRef::clone(&root)));
    let kept: Vec<_> = groups
        .iter()
        .map(|(_, css)| {
            css.set_low(Limit::At(1));
            let mut reader = css.peak_reader();
            reader.reset();
            let guard = css.add_reclaimer(Arc::<Bomb>::clone(&bomb));
            let parts = (css.reserve(), css.reserve_shared(), css.spiller(SpillOptions::new()));
            (reader, guard, parts, css.enter(), css.pressure(), Waiter::new(css.charge(1)))
        })
        .collect();
    assert_eq!((root.current(), root.peak(), top.stats().waiting), (1, 1, 100));
    drop(kept);
    top.uncharge(1);
    assert_eq!(root.current(), 0);
}

/// Race 62: the victim cannot give back, since another one waits with the lock that it needs. That one is
/// told as well, and lets go.
#[test]
fn race_62_who_waits_with_what_the_victim_needs_is_next() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (db, top) = scene.limited("db", 100);
        let queries = [("a", 60), ("b", 40)];
        let [a, b] = queries.map(|(name, bytes)| Query::new(&scene, &db, name, bytes));
        let lock = Mutex::new(());
        let held = lock.lock().unwrap();
        let (mut first, mut second) =
            (Waiter::new(a.css.charge(10)), Waiter::new(b.css.charge(10)));
        scene.pass(0);
        assert!(matches!(first.error(), ChargeError::Killed { .. }));
        assert!(lock.try_lock().is_err(), "what it is to give back is behind it");
        a.css.try_charge(1).expect("it is refused nothing by the way");
        scene.pass(999);
        assert!(!second.run());
        scene.pass(1);
        second.run();
        scene.pass(0);
        assert!(matches!(second.error(), ChargeError::Killed { .. }));
        drop(held);
        a.css.uncharge(61);
        b.css.uncharge(40);
        assert_eq!((a.cancelled.load(Ordering::SeqCst), top.current()), (1, 0));
        assert!(Waiter::new(b.css.charge(100)).has_it(), "all goes on");
        b.css.uncharge(100);
    }
}

/// Race 66: who charged without heeding the new max is in what the setter found.
#[test]
fn race_66_a_charge_and_a_lowered_max_see_each_other() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (_, css) = scene.limited("a", 1000); // so that nothing is charged ahead
        let meeting = Meeting::new(2);
        let missed = thread::scope(|scope| {
            let charger = scope.spawn(|| {
                let rounds = (0..1_000).map(|_| {
                    meeting.wait();
                    let is_charged = css.try_charge(20).is_ok();
                    meeting.wait();
                    is_charged
                });
                rounds.collect::<Vec<_>>()
            });
            let mut found = Vec::new();
            for _ in 0..1_000 {
                meeting.wait();
                found.push(css.set_max(Limit::At(10)));
                meeting.wait();
                css.uncharge(css.current());
                css.set_max(Limit::At(1000));
            }
            let charged = charger.join().expect("no panic");
            found.iter().zip(charged).filter(|&(&found, charged)| charged && found < 20).count()
        });
        assert_eq!((missed, css.current()), (0, 0));
    }
}

/// Race 68: each thread needs what is charged ahead in its own group, at the same time.
#[test]
fn race_68_drains_of_two_groups_get_in_nobodys_way() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let groups = ["a", "b"].map(|name| scene.limited(name, M));
        let meeting = Meeting::new(2);
        let refused: usize = thread::scope(|scope| {
            let threads = groups.each_ref().map(|(cgroup, css)| {
                let (_, below) = scene.group(Some(cgroup), "below");
                let meeting = &meeting;
                scope.spawn(move || {
                    let mut refused = 0;
                    for _ in 0..600 {
                        let mut idle: Vec<_> = (0..64).map(|_| below.reserve()).collect();
                        idle.iter_mut().for_each(|one| one.grow(1).expect("there is room"));
                        meeting.wait();
                        match css.try_charge(M - 64) {
                            Ok(()) => css.uncharge(M - 64),
                            Err(_) => refused += 1,
                        }
                    }
                    refused
                })
            });
            threads.map(|thread| thread.join().expect("no panic")).iter().sum()
        });
        assert_eq!(refused, 0, "with room for all");
        groups.iter().for_each(|(_, css)| assert_eq!(css.usage_exact(), (0, 0)));
    }
}
