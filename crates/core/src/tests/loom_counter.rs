//! Edge `charge↔set_max`, and charges against each other.

use loom::thread;

use crate::{
    counter::{self, Counter, Refused},
    sync::Arc,
    tests::deep,
    units::Limit,
};

/// A leaf, and what is above it.
struct Chain([Counter; 2]);

impl Chain {
    fn new(asymmetric: bool, [leaf, root]: [u64; 2]) -> Arc<Self> {
        let chain = Self([Counter::make(asymmetric), Counter::make(asymmetric)]);
        chain.0[0].set_max(Limit::At(leaf));
        chain.0[1].set_max(Limit::At(root));
        Arc::new(chain)
    }

    fn try_charge(&self, amount: u64) -> Result<(), Refused> {
        counter::try_charge(self.0.iter(), amount)
    }

    fn uncharge(&self, amount: u64) {
        counter::uncharge(self.0.iter(), amount);
    }

    fn current(&self) -> [u64; 2] {
        [self.0[0].current(), self.0[1].current()]
    }
}

fn with_one(asymmetric: bool, max: u64) -> Arc<Counter> {
    let counter = Counter::make(asymmetric);
    counter.set_max(Limit::At(max));
    Arc::new(counter)
}

fn try_charge(counter: &Counter, amount: u64) -> bool {
    counter::try_charge([counter].into_iter(), amount).is_ok()
}

fn both_barriers(model: impl Fn(bool) + Send + Sync + Copy + 'static) {
    for asymmetric in [true, false] {
        deep(move || model(asymmetric));
    }
}

/// A charge that stays above the new max is in what `set_max` found.
#[test]
fn a_charge_races_with_set_max() {
    both_barriers(|asymmetric| {
        let counter = with_one(asymmetric, 5);
        assert!(try_charge(&counter, 1));
        let charger = thread::spawn({
            let counter = Arc::clone(&counter);
            move || try_charge(&counter, 2)
        });
        let found = counter.set_max(Limit::At(2));
        let granted = charger.join().unwrap();
        assert_eq!(counter.current(), if granted { 3 } else { 1 });
        assert!(!granted || found == 3, "above the new max, and not found");
        assert!(!try_charge(&counter, 2));
    });
}

/// A charge that stays within the new max is never refused for the change.
#[test]
fn a_small_charge_survives_set_max() {
    both_barriers(|asymmetric| {
        let counter = with_one(asymmetric, 5);
        let charger = thread::spawn({
            let counter = Arc::clone(&counter);
            move || try_charge(&counter, 2)
        });
        counter.set_max(Limit::At(2));
        assert!(charger.join().unwrap());
        assert_eq!(counter.current(), 2);
    });
}

/// Two calls at once: whoever returns, its bound or a later one holds.
#[test]
fn a_charge_races_with_two_setters() {
    both_barriers(|asymmetric| {
        let counter = with_one(asymmetric, 5);
        let charger = thread::spawn({
            let counter = Arc::clone(&counter);
            move || try_charge(&counter, 3)
        });
        let other = thread::spawn({
            let counter = Arc::clone(&counter);
            move || counter.set_max(Limit::At(1))
        });
        let found = counter.set_max(Limit::At(2));
        let granted = charger.join().unwrap();
        let found = found.max(other.join().unwrap());
        assert_eq!(counter.current(), if granted { 3 } else { 0 });
        assert!(!granted || found == 3, "above both, and not found");
    });
}

/// Room for one: one has it, and nobody ever sees more.
#[test]
fn two_charges_race_for_the_last_unit() {
    both_barriers(|asymmetric| {
        let counter = with_one(asymmetric, 1);
        let chargers = [(), ()].map(|()| {
            let counter = Arc::clone(&counter);
            thread::spawn(move || try_charge(&counter, 1))
        });
        assert!(counter.current() <= 1, "seen above its max");
        let granted = chargers.map(|charger| charger.join().unwrap());
        assert!(granted[0] != granted[1], "one has the unit");
        assert_eq!([counter.current(), counter.peak(), counter.max_events()], [1, 1, 1]);
    });
}

/// The root has room for one: who is refused there leaves nothing below.
#[test]
fn who_is_refused_above_gives_back_below() {
    both_barriers(|asymmetric| {
        let chain = Chain::new(asymmetric, [5, 1]);
        let other = thread::spawn({
            let chain = Arc::clone(&chain);
            move || chain.try_charge(1)
        });
        let mine = chain.try_charge(1);
        let results = [mine, other.join().unwrap()];
        assert_eq!(chain.current(), [1, 1]);
        let refusals: Vec<Refused> = results.into_iter().filter_map(Result::err).collect();
        assert_eq!(refusals, [Refused { level: 1, current: 1, max: Limit::At(1) }]);
        chain.uncharge(1);
        assert_eq!(chain.current(), [0, 0]);
    });
}

/// What the root can never grant takes no room at the leaf.
#[test]
fn a_large_charge_that_fails_refuses_no_small_one() {
    both_barriers(|asymmetric| {
        let chain = Chain::new(asymmetric, [2, 1]);
        let large = thread::spawn({
            let chain = Arc::clone(&chain);
            move || chain.try_charge(2)
        });
        assert_eq!(chain.try_charge(1), Ok(()));
        assert!(large.join().unwrap().is_err());
        assert_eq!(chain.current(), [1, 1]);
    });
}
