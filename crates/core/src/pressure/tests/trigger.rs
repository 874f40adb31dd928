//! Triggers on a virtual clock: when there is a message, and when the next one is due.

use std::time::Duration;

use crossbeam_channel::TryRecvError;

use crate::{
    clock::Clock,
    pressure::{
        Pressure, Threshold,
        tests::{Unsteady, arm, has_message, ms, scene},
    },
    sync::{Arc, Mutex},
};

#[test]
fn a_trigger_fires_when_its_threshold_is_hit_exactly() {
    let (clock, pressure) = scene();
    let trigger = arm(&pressure, "some 150000 1000000");
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
    let trigger = arm(&pressure, "some 150000 1000000");
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
        let trigger = arm(&pressure, text);
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
    let trigger = arm(&pressure, "some 200000 1000000");
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
    let trigger = arm(&pressure, "full 200000 500000");
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
    let trigger = arm(&pressure, "some 100000 1000000");
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
    let trigger = arm(&pressure, "some 100000 1000000");
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
    let trigger = arm(&pressure, "some 100000 1000000");
    assert_eq!(pressure.poll(), Some(ms(5_100)));
    assert!(!has_message(&trigger));
}

#[test]
fn some_and_full_have_their_own_triggers() {
    let (clock, pressure) = scene();
    let some = arm(&pressure, "some 100000 1000000");
    let full = arm(&pressure, "full 100000 1000000");
    let _worker = pressure.work();
    let stall = pressure.stall();
    clock.advance(ms(1_000));
    drop(stall);
    assert!(has_message(&some) && !has_message(&full));
}

#[test]
fn a_message_that_nobody_hears_is_not_piled_up() {
    let (clock, pressure) = scene();
    let trigger = arm(&pressure, "some 100000 1000000");
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
    let first = arm(&pressure, "some 100000 1000000");
    let second = arm(&pressure, "some 200000 1000000");
    let messages = first.messages().clone();
    let _stall = pressure.stall();
    assert_eq!(pressure.poll(), Some(ms(100)));
    drop(first);
    assert_eq!(messages.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(pressure.poll(), Some(ms(200)), "the other one is still there");
    let third = arm(&pressure, "some 300000 1000000");
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
    let trigger = arm(&pressure, "some 100000 1000000");
    let stall = pressure.stall();
    clock.advance(ms(100));
    drop(stall);
    drop(pressure);
    assert!(has_message(&trigger), "what was sent is received");
    assert_eq!(trigger.messages().try_recv(), Err(TryRecvError::Disconnected));
}

#[test]
fn a_trigger_made_in_the_past_counts_from_now() {
    let clock = Arc::new(Unsteady(Mutex::new(ms(10_000))));
    let pressure = Pressure::new(Arc::<Unsteady>::clone(&clock));
    let _stall = pressure.stall();
    *clock.0.lock() = ms(0);
    let _trigger = arm(&pressure, "some 200000 500000");
    assert_eq!(pressure.poll(), Some(ms(10_200)));
}
