//! Pressure: the time that charges wait, in the group and above, by the controller's clock.

use std::time::Duration;

use fief_core::{PressureKind, PressureStats, Threshold};
use insta::assert_snapshot;

use self::scene::{BARRIERS, Scene, Waiter};

#[cfg(test)]
#[expect(dead_code, reason = "what is about victims")]
#[path = "support/scene.rs"]
mod scene;

#[test]
fn a_wait_is_lost_time_of_the_group_that_waits_and_of_those_above() {
    let scene = Scene::new(BARRIERS[0]);
    let (db, upper) = scene.limited("db", 100);
    let (query, lower) = scene.group(Some(&db), "query");
    let (_other, beside) = scene.group(Some(&db), "other");
    beside.try_charge(100).unwrap();
    let mut waiter = Waiter::new(lower.charge(10));
    scene.clock.advance(Duration::from_secs(1));
    let work = beside.work();
    scene.clock.advance(Duration::from_secs(1));
    // It waits at the level that is full.
    assert_eq!([&upper, &lower, &beside].map(|css| css.stats().waiting), [1, 0, 0]);
    assert!(db.read("memory.stat").unwrap().contains("waiting 1\n"));
    beside.uncharge(10);
    assert!(waiter.has_it());
    scene.clock.advance(Duration::from_secs(2));
    drop(work);
    assert_snapshot!(db.read("memory.pressure").unwrap(), @"
    some avg10=14.84 avg60=3.17 avg300=0.66 total=2000000
    full avg10=7.42 avg60=1.59 avg300=0.33 total=1000000
    ");
    assert_snapshot!(query.read("memory.pressure").unwrap(), @"
    some avg10=14.84 avg60=3.17 avg300=0.66 total=2000000
    full avg10=14.84 avg60=3.17 avg300=0.66 total=2000000
    ");
    assert_eq!((beside.pressure().some.total, upper.stats().waiting), (0, 0));
    lower.uncharge(10);
    beside.uncharge(90);
}

#[test]
fn a_wait_that_is_given_up_ends_its_stall() {
    let scene = Scene::new(BARRIERS[0]);
    let (_db, css) = scene.limited("db", 100);
    css.try_charge(100).unwrap();
    drop(Waiter::new(css.charge(10)));
    let after = css.pressure();
    scene.clock.advance(Duration::from_secs(10));
    assert_eq!(css.pressure().some.total, after.some.total);
    assert_eq!((after, css.stats().waiting), (PressureStats::default(), 0));
    css.uncharge(100);
}

#[test]
fn a_trigger_is_told_of_a_wait_that_goes_on() {
    let scene = Scene::new(BARRIERS[0]);
    let (_db, css) = scene.limited("db", 100);
    let second = Duration::from_secs(1);
    let threshold = Threshold::new(PressureKind::Full, second / 10, second).unwrap();
    let trigger = css.pressure_trigger(threshold);
    css.try_charge(100).unwrap();
    let waiter = Waiter::new(css.charge(10));
    scene.clock.advance(second / 20);
    let due = css.poll_pressure().expect("it will be due");
    assert!(trigger.messages().try_recv().is_err(), "too early");
    assert_eq!(due, second / 10, "when so much is lost");
    scene.clock.advance(second / 20);
    css.poll_pressure();
    trigger.messages().try_recv().expect("told in time");
    drop(waiter);
    css.uncharge(100);
}
