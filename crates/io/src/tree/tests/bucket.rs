//! The bucket against arithmetic in 256 bits, and at its ends.

use proptest::prelude::*;

use super::super::bucket::Bucket;

/// A whole number of 256 bits, in four parts, least first; for sums and products only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wide([u64; 4]);

impl Wide {
    fn product(a: u64, b: u64) -> Self {
        let product = u128::from(a) * u128::from(b);
        let [low, high] = halves(product);
        Self([low, high, 0, 0])
    }

    fn plus(self, other: Self) -> Self {
        let mut sum = [0; 4];
        let mut carry = 0;
        for (place, sum) in sum.iter_mut().enumerate() {
            let all = u128::from(self.0[place]) + u128::from(other.0[place]) + carry;
            let [low, high] = halves(all);
            (*sum, carry) = (low, u128::from(high));
        }
        Self(sum)
    }

    fn exceeds(self, other: Self) -> bool {
        self.0.iter().rev().gt(other.0.iter().rev())
    }
}

fn halves(number: u128) -> [u64; 2] {
    let half = |number: u128| u64::try_from(number & u128::from(u64::MAX)).unwrap();
    [half(number), half(number >> 64)]
}

fn rates() -> impl Strategy<Value = u64> {
    prop_oneof![Just(1), Just(3), Just(i64::MAX as u64), 1..1_000_u64, 1..i64::MAX as u64]
}

const BILLION: u64 = 1_000_000_000;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What came in and what went out, added up apart, say exactly when it is open and what it waits.
    #[test]
    fn it_is_exact(
        rate in rates(),
        steps in prop::collection::vec((0..1_u64 << 40, 0..1_u64 << 50), 1..50),
    ) {
        let mut bucket = Bucket::default();
        bucket.change(rate, 1);
        let (mut income, mut spent) = (Wide::product(1, BILLION), Wide([0; 4]));
        for (elapsed, tokens) in steps {
            // So much credit that nothing is ever forgotten.
            bucket.refill(elapsed, u64::MAX);
            income = income.plus(Wide::product(elapsed, rate));
            prop_assert_eq!(bucket.covers(0), income.exceeds(spent));
            let wait = bucket.wait(0);
            let after = |wait: u64| income.plus(Wide::product(wait, rate)).exceeds(spent);
            prop_assert!(wait == u64::MAX || after(wait), "open after {wait}");
            prop_assert!(wait == 0 || !after(wait - 1), "not before");
            bucket.take(tokens);
            spent = spent.plus(Wide::product(tokens, BILLION));
        }
    }

    /// It does not matter how often one looks.
    #[test]
    fn looking_does_not_change_it(rate in rates(), steps in prop::collection::vec(0..1_000_u64, 1..100)) {
        let mut often = Bucket::default();
        often.change(rate, 1_000);
        often.take(1 << 40);
        let mut once = often;
        for step in &steps {
            often.refill(*step, 0);
        }
        once.refill(steps.iter().sum(), 0);
        prop_assert_eq!(often, once);
    }
}

/// Trap 1: a product of rate and time needs more than 64 bits, and a day or a century less than 128.
#[test]
fn trap_01_rate_times_time_does_not_overflow() {
    for rate in [1, 1_000, i64::MAX as u64] {
        let mut bucket = Bucket::default();
        bucket.change(rate, 5);
        bucket.take(5);
        bucket.take(u64::MAX);
        assert!(!bucket.covers(0));
        for credit in [0, 100_000_000, u64::MAX] {
            bucket.refill(u64::MAX, credit);
            bucket.refill(u64::MAX, credit);
        }
        bucket.refill(1, 0);
        assert_eq!(bucket.whole(), if rate > 1_000 { 5 } else { 0 }, "{rate}");
        for _ in 0..100 {
            bucket.take(u64::MAX);
        }
        assert_eq!(bucket.wait(0) == u64::MAX, rate < 1_000_000, "{rate}");
    }
}

/// Trap 10: one token a second, and as many as there are nanoseconds in three centuries.
#[test]
fn trap_10_the_least_and_the_greatest_rate() {
    let mut slow = Bucket::default();
    slow.change(1, 1);
    slow.take(3);
    assert_eq!(slow.wait(0), 2_000_000_001);
    slow.refill(2_000_000_000, 0);
    assert!(!slow.covers(0));
    slow.refill(1, 0);
    assert!(slow.covers(0));
    let mut fast = Bucket::default();
    fast.change(i64::MAX as u64, 1);
    fast.take(1 << 40);
    assert_eq!(fast.wait(0), 120);
    fast.refill(119, 0);
    assert!(!fast.covers(0));
    fast.refill(1, 0);
    assert!(fast.covers(0));
}

/// Unused tokens are kept up to the burst, or as long as credit says, if that is more.
#[test]
fn what_is_unused_is_kept_within_bounds() {
    let mut bucket = Bucket::default();
    bucket.change(1_000, 50);
    bucket.refill(BILLION, 0);
    assert_eq!(bucket.whole(), 50);
    bucket.refill(BILLION, 100_000_000);
    assert_eq!(bucket.whole(), 100);
    bucket.refill(1, 10_000_000);
    assert_eq!(bucket.whole(), 50);
    bucket.give(70, 0);
    assert_eq!(bucket.whole(), 50);
}

/// Trap 9: what was consumed stays consumed when a rate changes.
#[test]
fn trap_09_a_change_mints_nothing() {
    let mut bucket = Bucket::default();
    bucket.change(1_000, 50);
    bucket.take(80);
    bucket.change(10_000, 500);
    assert_eq!(bucket.wait(0), 3_000_001);
    bucket.change(1_000, 5);
    assert_eq!(bucket.wait(0), 30_000_001);
    bucket.change(0, 0);
    assert!(bucket.covers(u64::MAX));
    bucket.change(1_000, 50);
    assert_eq!(bucket.whole(), 50);
}
