//! The counter on one thread: bounds, figures, and what breaks them.

use super::*;
use crate::sync::barrier::Barrier;

fn try_charge_one(counter: &Counter, amount: u64) -> Result<(), Refused> {
    try_charge([counter].into_iter(), amount)
}

#[test]
fn a_charge_is_granted_up_to_the_max_and_not_above() {
    let counter = Counter::new();
    assert_eq!(counter.set_max(Limit::At(10)), 0);
    assert_eq!(try_charge_one(&counter, 10), Ok(()));
    let refused = Refused { level: 0, current: 10, max: Limit::At(10) };
    assert_eq!(try_charge_one(&counter, 1), Err(refused));
    counter.set_max(Limit::At(9));
    assert_eq!(try_charge_one(&counter, 0), Ok(()), "nothing fits anywhere");
    counter.set_max(Limit::At(10));
    uncharge([&counter].into_iter(), 4);
    assert_eq!(try_charge_one(&counter, 4), Ok(()));
    let (max, max_events) = (Limit::At(10), 1);
    let stats = CounterStats { current: 10, max, peak: 10, max_events, accounting_bugs: 0 };
    assert_eq!(counter.stats(), stats);
}

#[test]
fn a_max_of_zero_allows_none() {
    let counter = Counter::with_barrier(Barrier::Fence);
    counter.set_max(Limit::At(0));
    assert!(try_charge_one(&counter, 1).is_err());
}

#[test]
fn a_bound_that_no_usage_can_reach_is_none() {
    let counter = Counter::new();
    for max in [Limit::Max, Limit::At(u64::MAX), Limit::At(MOST)] {
        counter.set_max(max);
        assert_eq!(counter.max(), Limit::Max);
    }
    counter.set_max(Limit::At(MOST - 1));
    assert_eq!(counter.max(), Limit::At(MOST - 1));
}

#[test]
fn a_charge_that_would_overflow_is_refused() {
    let counter = Counter::new();
    assert_eq!(try_charge_one(&counter, MOST), Ok(()));
    for amount in [1, MOST, u64::MAX] {
        let refused = Refused { level: 0, current: MOST, max: Limit::Max };
        assert_eq!(try_charge_one(&counter, amount), Err(refused));
    }
    uncharge([&counter].into_iter(), MOST);
    assert!(try_charge_one(&counter, MOST + 1).is_err());
    assert_eq!((counter.current(), counter.accounting_bugs()), (0, 0));
}

#[test]
fn a_forced_charge_that_overflows_is_cut_off_and_counted() {
    let counter = Counter::new();
    charge([&counter].into_iter(), MOST - 1);
    charge([&counter].into_iter(), u64::MAX);
    assert_eq!((counter.current(), counter.peak()), (MOST, MOST));
    assert_eq!(counter.accounting_bugs(), 1);
    uncharge([&counter].into_iter(), u64::MAX);
    assert_eq!((counter.current(), counter.accounting_bugs()), (0, 1));
    uncharge([&counter].into_iter(), MOST - 1);
    assert_eq!((counter.current(), counter.accounting_bugs()), (0, 2), "the other one's");
}

#[test]
fn what_is_uncharged_too_much_is_forgotten_and_counted() {
    let counter = Counter::new();
    counter.note_bug(); // not the first, so that no assertion ends the test
    charge([&counter].into_iter(), 3);
    uncharge([&counter].into_iter(), 5);
    assert_eq!((counter.current(), counter.accounting_bugs()), (0, 2));
    assert_eq!(counter.usage.load(Ordering::Relaxed), 0);
}

#[test]
fn a_negative_usage_is_zero_for_readers_and_for_charges() {
    let negative = || {
        let counter = Counter::new();
        counter.set_max(Limit::At(3));
        counter.note_bug();
        counter.usage.store(2_u64.wrapping_neg(), Ordering::Relaxed);
        assert_eq!(counter.current(), 0);
        counter
    };
    let counter = negative();
    assert_eq!(try_charge_one(&counter, 3), Ok(()));
    assert_eq!(counter.current(), 3);
    let counter = negative();
    charge([&counter].into_iter(), 4);
    assert_eq!(counter.current(), 4);
    let counter = negative();
    uncharge([&counter].into_iter(), 1);
    assert_eq!(counter.usage.load(Ordering::Relaxed), 0);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "more is uncharged than was charged")]
fn the_first_bug_fails_a_debug_build() {
    uncharge([&Counter::new()].into_iter(), 1);
}

#[test]
fn a_level_that_refuses_leaves_no_trace_below() {
    let levels = [Counter::new(), Counter::new(), Counter::new()];
    levels[1].set_max(Limit::At(2));
    let refused = Refused { level: 1, current: 0, max: Limit::At(2) };
    assert_eq!(try_charge(levels.iter(), 3), Err(refused));
    let figures = levels.each_ref().map(|level| (level.current(), level.peak()));
    assert_eq!(figures, [(0, 0); 3]);
    assert_eq!(levels.map(|level| level.max_events()), [0, 1, 0]);
}

#[test]
fn a_max_below_the_usage_is_accepted_and_told() {
    let counter = Counter::new();
    charge([&counter].into_iter(), 8);
    assert_eq!(counter.set_max(Limit::At(5)), 8);
    assert!(try_charge_one(&counter, 1).is_err());
    uncharge([&counter].into_iter(), 4);
    assert_eq!(try_charge_one(&counter, 1), Ok(()));
    assert!(try_charge_one(&counter, 1).is_err());
}
