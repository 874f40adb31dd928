//! The scoreboard: requests that must be refused, put to DataFusion's pools and to ours.
//!
//! What the pools are asserted to do is what release 55.2.0 was seen to do, right or wrong. It wraps
//! in a build without overflow checks, as release builds are; with them, it panics instead.

use std::fmt::Display;
use std::sync::Arc;

use datafusion_execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use peers::contest::{self, LIMIT, Outcome};
use peers::ours::{Counters, Held, Memory, Ours};
use peers::pools::{fair, greedy, tracked};

/// What there is in the tests without a race.
const SMALL_LIMIT: usize = 1000;
/// A request that wraps to fewer bytes than are in use.
const NEARLY_ALL: usize = usize::MAX - 50;

/// What the other two of a race may have in their hands while a small request is refused: the room that one
/// thread or reservation has charged ahead, each.
const INSIDE: usize = 2 * (128 << 10);

const WRAP: &str = "try_grow(usize::MAX - 50) with 100 of 1,000 in use";
const SPLIT: &str = "900 of 1,000, split off, and 900 again";
const RACE: &str = "4 KiB requests beside refused ones of 1 GiB, limit 1 MiB";

fn row(test: &str, who: &str, seen: impl Display) -> String {
    format!("| {test} | {who} | {seen} |")
}

fn consumer(pool: &Arc<dyn MemoryPool>) -> MemoryReservation {
    MemoryConsumer::new("query").with_can_spill(true).register(pool)
}

/// Groups with a limit, and how they are called.
fn ours(limit: usize) -> [(&'static str, Box<dyn Ours>); 4] {
    [
        ("ours, core, depth 1", Box::new(Counters::new(1, limit))),
        ("ours, core, depth 8", Box::new(Counters::new(8, limit))),
        ("ours, memory, depth 1", Box::new(Memory::new(1, limit))),
        ("ours, memory, depth 8", Box::new(Memory::new(8, limit))),
    ]
}

/// Everything there is can be had: a charge calls in what others have charged ahead.
#[track_caller]
fn is_unused(ours: &dyn Ours, limit: usize) {
    assert!(Held::new(ours, limit).is_some(), "{} bytes are still charged", ours.current());
}

/// What is reserved once a request that would wrap has been put, and whether it was granted.
fn wrapped(pool: &Arc<dyn MemoryPool>, reservation: &MemoryReservation) -> (bool, usize) {
    reservation.try_grow(100).expect("there is room");
    (reservation.try_grow(NEARLY_ALL).is_ok(), pool.reserved())
}

#[test]
fn pools_accept_a_request_that_wraps() {
    for pool in [greedy(SMALL_LIMIT), tracked(SMALL_LIMIT), fair(SMALL_LIMIT)] {
        let answer = wrapped(&pool, &consumer(&pool));
        println!("{}", row(WRAP, pool.name(), format!("granted; {} in use", answer.1)));
        assert_eq!(answer, (true, 49), "{}", pool.name());
    }
}

#[test]
fn the_fair_pool_refuses_it_of_those_that_cannot_spill() {
    let pool = fair(SMALL_LIMIT);
    let reservation = MemoryConsumer::new("query").register(&pool);
    let answer = wrapped(&pool, &reservation);
    println!("{}", row(WRAP, "fair, cannot spill", "refused"));
    assert_eq!(answer, (false, 100));
}

#[test]
fn ours_refuses_a_request_that_would_wrap() {
    for (who, ours) in ours(SMALL_LIMIT) {
        let held = Held::new(&*ours, 100).unwrap();
        for bytes in [NEARLY_ALL, usize::MAX, usize::MAX - 100, usize::MAX / 2, 901] {
            assert!(!ours.try_charge(bytes), "{who}: {bytes}");
        }
        assert_eq!(ours.current(), 100, "{who}");
        drop(held);
        is_unused(&*ours, SMALL_LIMIT);
        println!("{}", row(WRAP, who, "refused"));
    }
}

#[test]
fn our_reservations_refuse_a_request_that_would_wrap() {
    for levels in [1, 8] {
        let group = Memory::new(levels, SMALL_LIMIT);
        let (mut own, shared) = (group.reserve(), group.reserve_shared());
        own.grow(100).unwrap();
        for bytes in [u64::MAX - 50, u64::MAX, u64::MAX - 100, u64::MAX / 2, 901] {
            own.grow(bytes).unwrap_err();
            shared.try_grow(bytes).unwrap_err();
            assert_eq!((own.used(), shared.used(), group.current()), (100, 0, 100));
        }
        drop(own);
        is_unused(&group, SMALL_LIMIT);
    }
    println!("{}", row(WRAP, "ours, reservations", "refused"));
}

/// What is reserved once a reservation was split and has grown again as far as it may.
fn split(pool: &Arc<dyn MemoryPool>) -> (bool, usize) {
    let first = consumer(pool);
    first.try_grow(900).expect("there is room");
    let second = first.split(900);
    let is_granted = first.try_grow(900).is_ok();
    assert_eq!(first.size() + second.size(), pool.reserved());
    (is_granted, pool.reserved())
}

#[test]
fn the_fair_pool_lets_a_consumer_split_its_way_over_the_limit() {
    let answer = split(&fair(SMALL_LIMIT));
    println!("{}", row(SPLIT, "fair", format!("granted; {} in use", answer.1)));
    assert_eq!(answer, (true, 1800));
}

#[test]
fn the_greedy_pools_do_not() {
    for pool in [greedy(SMALL_LIMIT), tracked(SMALL_LIMIT)] {
        println!("{}", row(SPLIT, pool.name(), "refused"));
        assert_eq!(split(&pool), (false, 900), "{}", pool.name());
    }
}

#[test]
fn ours_counts_what_a_group_holds_together() {
    for (who, ours) in ours(SMALL_LIMIT) {
        let first = Held::new(&*ours, 900).unwrap();
        assert!(!ours.try_charge(900), "{who}");
        let rest = Held::new(&*ours, 100).unwrap();
        assert!(!ours.try_charge(1), "{who}");
        assert_eq!(ours.current(), 1000, "{who}");
        drop((first, rest));
        is_unused(&*ours, SMALL_LIMIT);
        println!("{}", row(SPLIT, who, "refused"));
    }
}

#[test]
fn our_reservations_do_not_split_their_way_over_the_limit() {
    for levels in [1, 8] {
        let group = Memory::new(levels, SMALL_LIMIT);
        let mut first = group.reserve();
        first.grow(900).unwrap();
        let second = first.split(900).unwrap();
        assert_eq!((first.used(), second.used()), (0, 900));
        first.grow(900).unwrap_err();
        first.grow(100).unwrap();
        first.grow(1).unwrap_err();
        assert_eq!((first.used(), group.current()), (100, 1000));
        drop((first, second));
        is_unused(&group, SMALL_LIMIT);
    }
    println!("{}", row(SPLIT, "ours, reservations", "refused"));
}

/// Nothing over, and everything there is can be had; `inside` bytes of it only once nobody else is
/// inside a request.
#[track_caller]
fn is_exact(outcome: Outcome, inside: usize) {
    let Outcome { over, most, fewest, settled, large, .. } = outcome;
    assert_eq!((over, most, settled, large), (0, LIMIT, LIMIT, 0));
    assert!(fewest >= LIMIT - inside, "small requests got {fewest} bytes");
}

#[test]
fn pools_without_shares_are_exact_while_large_requests_fail() {
    for pool in [greedy(LIMIT), tracked(LIMIT), fair(LIMIT)] {
        // One that can spill gets a share, for each of its reservations: see `SPLIT`.
        let consumer = MemoryConsumer::new("query").register(&pool);
        let take = |bytes| {
            let reservation = consumer.new_empty();
            reservation.try_grow(bytes).ok().map(|()| reservation)
        };
        let outcome = contest::race(50, || {}, take, || assert_eq!(pool.reserved(), 0));
        println!("{}", row(RACE, pool.name(), outcome));
        is_exact(outcome, 0);
    }
}

#[test]
fn ours_is_exact_while_large_requests_fail() {
    let inside = [0, 0, INSIDE, INSIDE];
    for ((who, ours), inside) in ours(LIMIT).into_iter().zip(inside) {
        let take = |bytes| {
            let held = Held::new(&*ours, bytes);
            assert!(ours.current() <= 1 << 20, "{who}");
            held
        };
        let outcome = contest::race(200, || {}, take, || is_unused(&*ours, LIMIT));
        println!("{}", row(RACE, who, outcome));
        is_exact(outcome, inside);
    }
}

#[test]
fn our_reservations_are_exact_while_large_requests_fail() {
    for levels in [1, 8] {
        let group = Memory::new(levels, LIMIT);
        let take = |bytes| {
            let mut reservation = group.reserve();
            let grown = reservation.grow(u64::try_from(bytes).unwrap());
            assert!(group.current() <= 1 << 20);
            grown.ok().map(|()| reservation)
        };
        let outcome = contest::race(200, || {}, take, || is_unused(&group, LIMIT));
        println!("{}", row(RACE, &format!("ours, reservations, depth {levels}"), outcome));
        is_exact(outcome, INSIDE);
    }
}
