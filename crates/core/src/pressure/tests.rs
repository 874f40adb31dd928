//! Times and averages of one group, and of groups above each other, on a virtual clock.

use std::{panic, sync::Barrier, time::Duration};

use crate::{
    cgroup::remove::Removal,
    clock::{Clock, VirtualClock},
    css::Css,
    error::HookError,
    pressure::{
        Activity::{Idle, Productive, Stalled},
        Pressure, PressurePath, PressureStats, Trigger,
        path::{ActivityGuard, Levels},
    },
    registry::Registry,
    subsystem::Subsystem,
    sync::{Arc, Mutex, thread},
};

mod trigger;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn scene() -> (VirtualClock, Pressure) {
    scene_at(ms(0))
}

fn scene_at(now: Duration) -> (VirtualClock, Pressure) {
    let clock = VirtualClock::starting_at(now);
    let pressure = Pressure::new(Arc::new(clock.clone()));
    (clock, pressure)
}

fn totals(pressure: &Pressure) -> (u64, u64) {
    let PressureStats { some, full } = pressure.stats();
    (some.total, full.total)
}

fn arm(pressure: &Pressure, text: &str) -> Trigger {
    pressure.trigger(text.parse().expect("a threshold"))
}

fn has_message(trigger: &Trigger) -> bool {
    trigger.messages().try_recv().is_ok()
}

#[test]
fn a_new_group_is_under_no_pressure() {
    let (clock, pressure) = scene();
    clock.advance(ms(1_000_000));
    assert_eq!(
        pressure.stats().to_string(),
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n\
         full avg10=0.00 avg60=0.00 avg300=0.00 total=0"
    );
}

#[test]
fn full_is_lost_while_nobody_is_productive() {
    let (clock, pressure) = scene();
    let worker = pressure.work();
    clock.advance(ms(1));
    assert_eq!(totals(&pressure), (0, 0), "nobody stalls");
    let stall = pressure.stall();
    clock.advance(ms(10));
    assert_eq!(totals(&pressure), (10_000, 0), "one of two is productive");
    drop(worker);
    clock.advance(ms(100));
    assert_eq!(totals(&pressure), (110_000, 100_000), "the other one stalls");
    let second = pressure.stall();
    drop(stall);
    clock.advance(ms(1_000));
    assert_eq!(totals(&pressure), (1_110_000, 1_100_000), "another one stalls");
    drop(second);
    clock.advance(ms(10_000));
    assert_eq!(totals(&pressure), (1_110_000, 1_100_000), "nobody stalls any more");
}

#[test]
fn a_productive_member_that_stalls_is_not_productive() {
    let (clock, pressure) = scene();
    let mut member = pressure.work();
    let mut stall = member.stall();
    assert_eq!(stall.activity(), Stalled);
    let nested = stall.stall();
    clock.advance(ms(1));
    drop(nested);
    clock.advance(ms(2));
    drop(stall);
    assert_eq!(member.activity(), Productive);
    clock.advance(ms(4));
    member.set(Stalled);
    clock.advance(ms(8));
    drop(member);
    clock.advance(ms(16));
    assert_eq!(totals(&pressure), (11_000, 11_000));
    assert_eq!(pressure.miscounts(), 0);
}

#[test]
fn nanoseconds_add_up() {
    let (clock, pressure) = scene();
    for _ in 0..1_999 {
        let _stall = pressure.stall();
        clock.advance(Duration::from_nanos(1));
        assert_eq!(pressure.stats().some.total, pressure.stats().full.total);
    }
    assert_eq!(totals(&pressure), (1, 1));
    let _stall = pressure.stall();
    clock.advance(Duration::from_nanos(1));
    assert_eq!(totals(&pressure), (2, 2));
}

#[test]
fn averages_rise_and_fall_as_reckoned_by_hand() {
    let (clock, pressure) = scene();
    let stall = pressure.stall();
    clock.advance(ms(1_999));
    assert_eq!(pressure.stats().some.avg10.to_string(), "0.00", "the period is not over");
    clock.advance(ms(1));
    // 1 - e^(-2/10), 1 - e^(-2/60), 1 - e^(-2/300)
    let line = "avg10=18.13 avg60=3.28 avg300=0.66 total=2000000";
    assert_eq!(pressure.stats().to_string(), format!("some {line}\nfull {line}"));
    clock.advance(ms(8_000));
    // 1 - e^(-10/10), 1 - e^(-10/60), 1 - e^(-10/300)
    let line = "avg10=63.21 avg60=15.35 avg300=3.28 total=10000000";
    assert_eq!(pressure.stats().some.to_string(), line);
    drop(stall);
    clock.advance(ms(60_000));
    // 63.2121 e^(-60/10), 15.3518 e^(-60/60), 3.2784 e^(-60/300)
    let line = "avg10=0.16 avg60=5.65 avg300=2.68 total=10000000";
    assert_eq!(pressure.stats().some.to_string(), line);
}

#[test]
fn half_of_every_period_comes_to_half() {
    let (clock, pressure) = scene();
    for _ in 0..2_000 {
        let stall = pressure.stall();
        clock.advance(ms(1_000));
        drop(stall);
        clock.advance(ms(1_000));
    }
    let line = "avg10=50.00 avg60=50.00 avg300=50.00 total=2000000000";
    assert_eq!(pressure.stats().full.to_string(), line);
}

#[test]
fn averages_do_not_depend_on_who_looks() {
    let ((watched_time, watched), (time, pressure)) = (scene(), scene());
    let guards = (watched.stall(), pressure.stall());
    for _ in 0..3_000 {
        watched_time.advance(ms(7));
        time.advance(ms(7));
        watched.poll();
        totals(&watched);
    }
    assert_eq!(watched.stats(), pressure.stats());
    drop(guards);
}

/// A clock that says what it is told to.
struct Unsteady(Mutex<Duration>);

impl Clock for Unsteady {
    fn now(&self) -> Duration {
        *self.0.lock()
    }
}

#[test]
fn a_clock_that_jumps_stands_or_goes_back_does_no_harm() {
    let clock = Arc::new(Unsteady(Mutex::new(ms(10_000))));
    let set = |now| *clock.0.lock() = now;
    let pressure = Pressure::new(Arc::<Unsteady>::clone(&clock));
    let trigger = arm(&pressure, "some 500000 500000");
    let stall = pressure.stall();
    assert_eq!(totals(&pressure), (0, 0));
    set(ms(0));
    assert_eq!(totals(&pressure), (0, 0), "the past is now");
    set(ms(11_000));
    assert_eq!(totals(&pressure), (1_000_000, 1_000_000));
    assert!(has_message(&trigger));
    set(Duration::MAX);
    let line = format!("avg10=100.00 avg60=100.00 avg300=100.00 total={}", u64::MAX);
    assert_eq!(pressure.stats().some.to_string(), line);
    assert!(has_message(&trigger) && !has_message(&trigger), "one for all the windows");
    assert_eq!(pressure.poll(), Some(Duration::MAX), "no time is left");
    drop(stall);
    set(ms(0));
    assert_eq!(pressure.stats().some.to_string(), line);
}

#[test]
fn a_total_is_exact_up_to_the_last_microsecond() {
    let last = Duration::from_micros(u64::MAX);
    let (clock, pressure) = scene();
    let stall = pressure.stall();
    clock.advance(last - Duration::from_micros(2));
    assert_eq!(totals(&pressure).0, u64::MAX - 2);
    clock.advance(Duration::from_micros(1));
    assert_eq!(totals(&pressure).0, u64::MAX - 1);
    clock.advance(Duration::from_micros(10));
    assert_eq!(totals(&pressure).0, u64::MAX);
    drop(stall);
    let (clock, pressure) = scene_at(last);
    let _stall = pressure.stall();
    clock.advance(Duration::from_micros(3));
    assert_eq!(totals(&pressure).0, 3, "it is the time that passes that counts");
}

#[test]
fn a_member_that_is_not_there_changes_nothing_and_is_counted() {
    let (clock, pressure) = scene();
    pressure.shift(Stalled, Idle);
    pressure.shift(Productive, Idle);
    pressure.shift(Productive, Stalled);
    clock.advance(ms(1));
    assert_eq!(totals(&pressure), (0, 0));
    assert_eq!(pressure.miscounts(), 3);
    pressure.shift(Idle, Idle);
    pressure.shift(Stalled, Stalled);
    assert_eq!(pressure.miscounts(), 3, "nothing is no shift");
    pressure.shift(Idle, Stalled);
    clock.advance(ms(1));
    assert_eq!(totals(&pressure), (1_000, 1_000));
    assert!(format!("{pressure:?}").contains("stalled: 1, productive: 0"));
}

/// A clock that counts its readings.
struct Counting(Mutex<u32>);

impl Clock for Counting {
    fn now(&self) -> Duration {
        *self.0.lock() += 1;
        Duration::ZERO
    }
}

#[test]
fn the_clock_is_read_only_where_the_grade_changes() {
    let clock = Arc::new(Counting(Mutex::new(0)));
    let pressure = Pressure::new(Arc::<Counting>::clone(&clock));
    let readings = |what: &dyn Fn()| {
        let before = *clock.0.lock();
        what();
        *clock.0.lock() - before
    };
    assert_eq!(readings(&|| drop(pressure.work())), 0);
    assert_eq!(readings(&|| pressure.shift(Idle, Stalled)), 1);
    assert_eq!(readings(&|| drop(pressure.stall())), 0);
    assert_eq!(readings(&|| pressure.shift(Idle, Productive)), 1);
    assert_eq!(readings(&|| drop(pressure.work())), 0);
    assert_eq!(readings(&|| pressure.shift(Stalled, Idle)), 1);
}

#[test]
fn the_clock_is_read_once_for_all_levels() {
    struct Three([Pressure; 3]);
    impl Levels for Three {
        fn levels(&self) -> impl Iterator<Item = &Pressure> {
            self.0.iter()
        }
    }
    let clock = Arc::new(Counting(Mutex::new(0)));
    let three = Three([(); 3].map(|()| Pressure::new(Arc::<Counting>::clone(&clock))));
    three.0[0].shift(Idle, Stalled);
    *clock.0.lock() = 0;
    let stall = ActivityGuard::new(&three, Idle, Stalled);
    assert_eq!(*clock.0.lock(), 1, "for two of them, the first stalls already");
    drop(stall);
    assert_eq!(*clock.0.lock(), 2);
}

struct Waits(VirtualClock);

impl Subsystem for Waits {
    type State = Pressure;

    fn name(&self) -> &str {
        "waits"
    }

    fn new_css(&self, _parent: Option<&Css<Pressure>>) -> Result<Pressure, HookError> {
        Ok(Pressure::new(Arc::new(self.0.clone())))
    }
}

#[test]
fn a_stall_counts_above_and_outlives_its_group() {
    let clock = VirtualClock::new();
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let waits = registry.register(Waits(clock.clone())).unwrap();
    waits.bind(&hierarchy).unwrap();
    let a = hierarchy.root().create_child("a").unwrap();
    let (b, c) = (a.create_child("b").unwrap(), a.create_child("c").unwrap());
    let css = |group| registry.read().css(&waits, group).and_then(Css::try_get_online).unwrap();
    let (root, at_a, at_b, at_c) = (waits.root().unwrap(), css(&a), css(&b), css(&c));

    let worker = PressurePath::new(&*at_c, |state| state).work();
    let stall = PressurePath::new(css(&b), |state| state).stall();
    clock.advance(ms(1));
    b.remove(Removal::Detach).unwrap();
    clock.advance(ms(2));
    drop(worker);
    clock.advance(ms(4));
    drop(stall);
    clock.advance(ms(8));
    assert_eq!([&root, &at_a].map(|css| totals(css)), [(7_000, 4_000); 2]);
    assert_eq!((totals(&at_b), totals(&at_c)), ((7_000, 7_000), (0, 0)));
    assert_eq!([&root, &at_a, &at_b, &at_c].map(|css| css.miscounts()), [0; 4]);
}

/// Begins and ends race; between the rounds, in which the time moves, they do not.
#[test]
fn totals_are_exact_however_many_threads_shift() {
    const THREADS: usize = 4;
    const ROUNDS: u64 = 200;
    let (clock, pressure) = scene();
    let barrier = Barrier::new(THREADS + 1);
    thread::scope(|scope| {
        for index in 0..THREADS {
            let (pressure, barrier) = (&pressure, &barrier);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let mut member = pressure.work();
                    for _ in 0..50 {
                        drop(member.stall());
                        member.set(Idle);
                        member.set(Productive);
                    }
                    // How many stall in the end goes round from 0 to all.
                    if (index as u64) < round % (THREADS as u64 + 1) {
                        member.set(Stalled);
                    }
                    barrier.wait();
                    barrier.wait();
                    drop(member);
                    barrier.wait();
                    barrier.wait();
                }
            });
        }
        for _ in 0..ROUNDS {
            barrier.wait();
            clock.advance(ms(1));
            barrier.wait();
            barrier.wait();
            // Everybody is gone: nothing of this is lost.
            clock.advance(ms(1_000));
            barrier.wait();
        }
    });
    // Of 5 rounds one loses nothing, and one loses full time.
    assert_eq!(totals(&pressure), (ROUNDS * 800, ROUNDS * 200));
    assert_eq!(pressure.miscounts(), 0);
    assert!(format!("{pressure:?}").contains("stalled: 0, productive: 0"));
}

#[test]
fn a_guard_ends_its_stall_when_its_owner_panics() {
    let (clock, pressure) = scene();
    let result = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        let _stall = pressure.stall();
        clock.advance(ms(1));
        panic!("in a stall");
    }));
    assert!(result.is_err());
    clock.advance(ms(1));
    assert_eq!(totals(&pressure), (1_000, 1_000));
}
