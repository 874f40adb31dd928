//! Times, averages and triggers of one group, and of groups above each other, on a virtual clock.

use std::{panic, sync::Barrier, time::Duration};

use crossbeam_channel::TryRecvError;

use crate::{
    clock::{Clock, VirtualClock},
    pressure::{
        Activity::{Idle, Productive, Stalled},
        Pressure, PressureStats, Threshold, Trigger,
    },
    sync::{Arc, Mutex, thread},
};

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

fn trigger(pressure: &Pressure, text: &str) -> Trigger {
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

#[test]
fn a_clock_that_jumps_stands_or_goes_back_does_no_harm() {
    struct Unsteady(Mutex<Duration>);
    impl Clock for Unsteady {
        fn now(&self) -> Duration {
            *self.0.lock()
        }
    }
    let clock = Arc::new(Unsteady(Mutex::new(ms(10_000))));
    let set = |now| *clock.0.lock() = now;
    let pressure = Pressure::new(Arc::<Unsteady>::clone(&clock));
    let trigger = trigger(&pressure, "some 500000 500000");
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

#[test]
fn the_clock_is_read_only_where_the_grade_changes() {
    struct Counting(Mutex<u32>);
    impl Clock for Counting {
        fn now(&self) -> Duration {
            *self.0.lock() += 1;
            Duration::ZERO
        }
    }
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
fn a_trigger_fires_when_its_threshold_is_hit_exactly() {
    let (clock, pressure) = scene();
    let trigger = trigger(&pressure, "some 150000 1000000");
    let _stall = pressure.stall();
    assert_eq!(pressure.poll(), Some(ms(150)));
    clock.advance(ms(150) - Duration::from_nanos(1));
    assert_eq!(pressure.poll(), Some(ms(150)));
    assert!(!has_message(&trigger));
    clock.advance(Duration::from_nanos(1));
    assert_eq!(pressure.poll(), Some(ms(1_150)), "the next one, a window later");
    assert!(has_message(&trigger) && !has_message(&trigger));
}

#[test]
fn a_stall_that_goes_on_is_told_of_once_a_window() {
    let (clock, pressure) = scene();
    let trigger = trigger(&pressure, "some 150000 1000000");
    let _stall = pressure.stall();
    let mut told = Vec::new();
    for now in 1..=5_000 {
        clock.advance(ms(1));
        pressure.poll();
        if has_message(&trigger) {
            told.push(now);
        }
    }
    assert_eq!(told, [150, 1_150, 2_150, 3_150, 4_150]);
}

#[test]
fn whoever_follows_the_deadlines_misses_nothing() {
    for text in ["some 150000 1000000", "full 500000 500000", "some 9999999 10000000"] {
        let (clock, pressure) = scene();
        let trigger = trigger(&pressure, text);
        let threshold: Threshold = text.parse().unwrap();
        assert_eq!(pressure.poll(), None, "nobody stalls");
        // Something in the window before, so that the next one takes it into account.
        let stall = pressure.stall();
        clock.advance(threshold.stall() / 3);
        drop(stall);
        clock.advance(threshold.window() - threshold.stall() / 4);
        let _stall = pressure.stall();
        for _ in 0..5 {
            let deadline = pressure.poll().expect("it will be due");
            let left = deadline - clock.now();
            assert!(!left.is_zero());
            clock.advance(left - Duration::from_nanos(1));
            assert_eq!(pressure.poll(), Some(deadline), "{text}");
            assert!(!has_message(&trigger), "{text} early");
            clock.advance(Duration::from_nanos(1));
            pressure.poll();
            assert!(has_message(&trigger), "{text} late");
        }
    }
}

#[test]
fn stall_that_spans_two_windows_counts_in_part() {
    let (clock, pressure) = scene();
    let trigger = trigger(&pressure, "some 200000 1000000");
    clock.advance(ms(900));
    let stall = pressure.stall();
    clock.advance(ms(100));
    drop(stall);
    assert!(!has_message(&trigger));
    // A tenth into the next window 90 of those 100 ms count.
    clock.advance(ms(100));
    let stall = pressure.stall();
    clock.advance(ms(100));
    // Two tenths in, 80 count, and 100 of this window.
    assert_eq!(pressure.poll(), Some(ms(1_200) + Duration::from_nanos(22_222_223)));
    assert!(!has_message(&trigger));
    clock.advance(Duration::from_nanos(22_222_223)); // 20 / (1 - 0.1)
    drop(stall);
    assert!(has_message(&trigger));
}

#[test]
fn stall_of_two_windows_ago_does_not_count() {
    let (clock, pressure) = scene();
    let trigger = trigger(&pressure, "full 200000 500000");
    let stall = pressure.stall();
    clock.advance(ms(199));
    drop(stall);
    clock.advance(ms(801));
    let stall = pressure.stall();
    clock.advance(ms(199));
    drop(stall);
    assert!(!has_message(&trigger));
}

#[test]
fn what_comes_too_soon_after_a_message_is_told_later() {
    let (clock, pressure) = scene();
    let trigger = trigger(&pressure, "some 100000 1000000");
    let stall = pressure.stall();
    clock.advance(ms(100));
    drop(stall);
    assert!(has_message(&trigger));
    assert_eq!(pressure.poll(), None, "told is told");
    clock.advance(ms(400));
    let stall = pressure.stall();
    clock.advance(ms(1));
    drop(stall);
    assert!(!has_message(&trigger), "within a window of the last message");
    assert_eq!(pressure.poll(), Some(ms(1_100)), "nobody stalls, but one is due");
    clock.advance(ms(599));
    pressure.poll();
    assert!(has_message(&trigger));
    clock.advance(ms(10_000));
    assert_eq!(pressure.poll(), None);
    assert!(!has_message(&trigger));
}

#[test]
fn a_trigger_is_armed_again_after_a_quiet_time() {
    let (clock, pressure) = scene();
    let trigger = trigger(&pressure, "some 100000 1000000");
    for _ in 0..3 {
        let stall = pressure.stall();
        clock.advance(ms(99));
        drop(stall);
        assert!(!has_message(&trigger));
        let stall = pressure.stall();
        clock.advance(ms(1));
        drop(stall);
        assert!(has_message(&trigger));
        clock.advance(ms(5_000));
    }
}

#[test]
fn a_trigger_counts_from_when_it_was_made() {
    let (clock, pressure) = scene();
    let _stall = pressure.stall();
    clock.advance(ms(5_000));
    let trigger = trigger(&pressure, "some 100000 1000000");
    assert_eq!(pressure.poll(), Some(ms(5_100)));
    assert!(!has_message(&trigger));
}

#[test]
fn some_and_full_have_their_own_triggers() {
    let (clock, pressure) = scene();
    let some = trigger(&pressure, "some 100000 1000000");
    let full = trigger(&pressure, "full 100000 1000000");
    let _worker = pressure.work();
    let stall = pressure.stall();
    clock.advance(ms(1_000));
    drop(stall);
    assert!(has_message(&some) && !has_message(&full));
}

#[test]
fn a_message_that_nobody_hears_is_not_piled_up() {
    let (clock, pressure) = scene();
    let trigger = trigger(&pressure, "some 100000 1000000");
    let _stall = pressure.stall();
    for _ in 0..10 {
        clock.advance(ms(1_000));
        pressure.poll();
    }
    assert_eq!(trigger.messages().len(), 1);
}

#[test]
fn a_trigger_is_gone_with_its_handle() {
    let (clock, pressure) = scene();
    let first = trigger(&pressure, "some 100000 1000000");
    let second = trigger(&pressure, "some 200000 1000000");
    let messages = first.messages().clone();
    let _stall = pressure.stall();
    assert_eq!(pressure.poll(), Some(ms(100)));
    drop(first);
    assert_eq!(messages.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(pressure.poll(), Some(ms(200)), "the other one is still there");
    let third = trigger(&pressure, "some 300000 1000000");
    drop(second);
    assert_eq!(pressure.poll(), Some(ms(300)));
    clock.advance(ms(300));
    pressure.poll();
    assert!(has_message(&third));
    drop(third);
    assert_eq!(pressure.poll(), None);
}

#[test]
fn a_trigger_ends_with_its_group() {
    let (clock, pressure) = scene();
    let trigger = trigger(&pressure, "some 100000 1000000");
    let stall = pressure.stall();
    clock.advance(ms(100));
    drop(stall);
    drop(pressure);
    assert!(has_message(&trigger), "what was sent is received");
    assert_eq!(trigger.messages().try_recv(), Err(TryRecvError::Disconnected));
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
