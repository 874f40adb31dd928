//! A record becomes due while it is being settled: what was added last is seen by somebody.

use loom::thread;

use crate::{
    record::{Record, Stack},
    sync::{Arc, AtomicU64, Ordering},
};

#[test]
fn what_was_added_last_is_settled() {
    loom::model(|| {
        let due: &Stack = Box::leak(Box::new(Stack::new(0)));
        let record: &Record = Box::leak(Box::new(Record::new()));
        let settled = Arc::new(AtomicU64::new(0));
        let settle = move |settled: &AtomicU64| {
            for record in due.take_all() {
                record.leave_due();
                settled.fetch_max(record.flushed().live(), Ordering::Relaxed);
            }
        };
        let adding = thread::spawn(move || {
            for _ in 0..2 {
                record.add(1, 0);
                record.make_due_on(due);
            }
        });
        settle(&settled);
        adding.join().expect("no panic");
        settle(&settled);
        assert_eq!(settled.load(Ordering::Relaxed), 2);
        assert!(due.is_empty());
    });
}

#[test]
fn two_push_one_takes() {
    loom::model(|| {
        let due: &Stack = Box::leak(Box::new(Stack::new(0)));
        let records = [(), ()].map(|()| &*Box::leak(Box::new(Record::new())));
        let pushing = records.map(|record| thread::spawn(move || record.make_due_on(due)));
        let mut taken = due.take_all().count();
        for thread in pushing {
            thread.join().expect("no panic");
        }
        taken += due.take_all().count();
        assert_eq!(taken, 2);
    });
}
