//! Edge `grade`: whoever takes the lock last records what the word says in the end.

use loom::thread;

use crate::{
    pressure::gauge::{
        Activity::{self, Idle, Productive, Stalled},
        Gauge, Grade,
    },
    sync::Arc,
};

/// Returns what was recorded by the shift itself, or after it, if it changed the grade.
fn shift(gauge: &Gauge<Grade>, from: Activity, to: Activity) -> Option<Grade> {
    let regrade = gauge.shift(from, to, || ()).expect("the member is there")?;
    gauge.settle(regrade, |recorded, grade| *recorded = grade);
    Some(gauge.peek(|recorded| *recorded))
}

#[test]
fn the_record_ends_up_with_the_grade_of_the_word() {
    loom::model(|| {
        let gauge = Arc::new(Gauge::new(Grade::None));
        shift(&gauge, Idle, Productive);
        let other = thread::spawn({
            let gauge = Arc::clone(&gauge);
            move || {
                let recorded = shift(&gauge, Idle, Stalled);
                assert!(recorded != Some(Grade::None), "it stalls");
                shift(&gauge, Stalled, Idle);
            }
        });
        let recorded = shift(&gauge, Productive, Stalled);
        assert_eq!(recorded, Some(Grade::Full), "nobody is productive");
        shift(&gauge, Stalled, Productive);
        other.join().unwrap();
        gauge.peek(|recorded| assert_eq!(*recorded, Grade::None));
        assert_eq!(gauge.members(), (0, 1));
    });
}
