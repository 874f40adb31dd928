//! Edge `charge↔reset`: the word that charges raise, and who begins anew.

use loom::thread;

use super::deep;
use crate::{
    peak::{Peaks, Readers},
    pocket::{FENCED, barrier},
    sync::{Arc, AtomicU64, Ordering},
};

/// What a group has of it.
struct Group {
    usage: AtomicU64,
    peaks: Peaks,
    readers: Readers,
}

impl Group {
    fn new() -> Arc<Self> {
        let (usage, peaks, readers) = (AtomicU64::new(0), Peaks::new(), Readers::default());
        Arc::new(Self { usage, peaks, readers })
    }

    fn charge(&self, amount: u64) {
        let usage = self.usage.fetch_add(amount, Ordering::Relaxed) + amount;
        barrier(FENCED);
        self.peaks.note(usage);
    }

    fn uncharge(&self, amount: u64) {
        self.usage.fetch_sub(amount, Ordering::Relaxed);
    }

    fn reset(&self, reader: &Arc<AtomicU64>) {
        let usage = || self.usage.load(Ordering::Relaxed);
        self.peaks.reset(&self.readers, reader, FENCED, usage);
    }

    fn read(&self, reader: &AtomicU64) -> u64 {
        self.peaks.read(&self.readers, reader)
    }
}

#[test]
fn a_charge_that_stays_is_seen_by_who_begins_anew() {
    deep(|| {
        let group = Group::new();
        let reader = Arc::new(AtomicU64::new(0));
        group.charge(5);
        group.reset(&reader);
        group.uncharge(5);
        let charger = {
            let group = Arc::clone(&group);
            thread::spawn(move || group.charge(2))
        };
        group.reset(&reader);
        charger.join().unwrap();
        let peak = group.read(&reader);
        assert_eq!(peak, 2, "and nothing of what was before");
    });
}

#[test]
fn who_begins_anew_takes_nothing_from_others() {
    deep(|| {
        let group = Group::new();
        let [first, second] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
        group.reset(&first);
        let charger = {
            let group = Arc::clone(&group);
            thread::spawn(move || {
                group.charge(7);
                group.uncharge(7);
            })
        };
        group.reset(&second);
        charger.join().unwrap();
        assert_eq!(group.read(&first), 7);
        assert!([0, 7].contains(&group.read(&second)));
    });
}
