//! The depth follows the target, and nothing else moves it.

use super::*;

const MILLI: u64 = 1_000_000;

fn depth(depth: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(depth)
}

/// A device that serves one after the other, each in `service`, kept full; returns the depth after `for_long`.
fn serve(governor: &mut Governor, from: u64, for_long: u64, service: u64) -> (u32, u64) {
    let (mut now, mut depth) = (from, governor.depth);
    while now < from + for_long {
        now += service;
        let took = service * u64::from(depth.get());
        depth = governor.note(None, took, true, now).unwrap_or(depth);
        assert_eq!(depth, governor.depth);
    }
    (depth.get(), now)
}

#[test]
fn the_depth_settles_where_the_target_is_kept_and_goes_up_again() {
    // 100 us each: at 2 ms no more than 20 fit.
    let mut governor = Governor::new(Some(2 * MILLI), depth(64));
    let (settled, now) = serve(&mut governor, 0, 3_000 * MILLI, MILLI / 10);
    assert!((10..=20).contains(&settled), "{settled}");
    // A device that is four times as slow, and then quick again.
    let (slow, now) = serve(&mut governor, now, 3_000 * MILLI, MILLI * 4 / 10);
    assert!((2..=5).contains(&slow), "{slow}");
    let (quick, _) = serve(&mut governor, now, 5_000 * MILLI, MILLI / 100);
    assert_eq!(quick, 64, "never more than is configured");
}

#[test]
fn a_device_that_can_do_no_better_keeps_one() {
    let mut governor = Governor::new(Some(MILLI), depth(8));
    assert_eq!(serve(&mut governor, 0, 5_000 * MILLI, 5 * MILLI).0, 1);
}

#[test]
fn a_short_burst_cuts_nothing() {
    let mut governor = Governor::new(Some(MILLI), depth(8));
    let mut now = 0;
    for round in 0..10 {
        for step in 0..400 {
            now += MILLI / 4; // 100 ms a round, of which the first half is slow
            let took = if step < 200 { 5 * MILLI } else { MILLI / 2 };
            assert_eq!(governor.note(None, took, true, now), None, "in round {round}");
        }
    }
}

#[test]
fn nothing_grows_while_nobody_waits_or_another_misses() {
    let mut governor = Governor::new(Some(MILLI), depth(16));
    let mut now = serve(&mut governor, 0, 2_000 * MILLI, MILLI / 2).1;
    let cut = governor.depth;
    assert!(cut.get() < 4, "{cut}");
    for _ in 0..400 {
        now += MILLI / 4;
        assert_eq!(governor.note(None, 1, false, now), None, "nobody waits");
    }
    for _ in 0..400 {
        now += MILLI / 4;
        governor.note(Some((7, 1)), 2, true, now);
    }
    for _ in 0..200 {
        now += MILLI / 4;
        governor.note(Some((7, 1)), 2, true, now);
        governor.note(None, 1, true, now);
    }
    assert!(governor.depth <= cut, "a group with a target of its own misses it");
}

#[test]
fn without_a_target_the_depth_comes_back() {
    let mut governor = Governor::new(None, depth(8));
    let mut now = 0;
    while governor.depth.get() > 1 {
        now += MILLI;
        governor.note(Some((1, MILLI)), 9 * MILLI, true, now);
    }
    assert_eq!(governor.note(None, 1, true, now), None, "it is heard of still");
    assert_eq!(governor.note(None, 1, true, now + 2 * STALE), depth(8));
}

#[test]
fn a_window_with_many_samples_keeps_few() {
    let mut governor = Governor::new(Some(10_000 * MILLI), depth(8));
    for step in 0..100_000 {
        governor.note(None, step, true, 1);
    }
    assert!(governor.probes[0].1.samples.len() <= SAMPLES);
}

#[test]
fn a_clock_that_stands_still_or_goes_back_harms_nothing() {
    let mut governor = Governor::new(Some(u64::MAX), depth(1));
    for now in [u64::MAX, 0, 5, u64::MAX, 1] {
        for _ in 0..50 {
            assert_eq!(governor.note(None, u64::MAX, true, now), None);
        }
    }
}

#[test]
fn a_new_most_is_followed_unless_the_depth_was_cut() {
    let mut governor = Governor::new(Some(MILLI), depth(8));
    assert_eq!(governor.set_most(depth(16)).get(), 16);
    serve(&mut governor, 0, 2_000 * MILLI, MILLI);
    assert_eq!(governor.depth.get(), 1);
    assert_eq!(governor.set_most(depth(32)).get(), 1);
}
