//! Waiting for room: who is called, in which order, and what becomes of those who go away.

use std::{
    panic::resume_unwind,
    pin::pin,
    sync::{
        Arc, Barrier as Meeting,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use fief_core::{Cgroup, Limit, Registry, Removal};
use fief_memory::{Charge, ChargeError, Keeper, Memory};

use self::scene::{BARRIERS, Scene, Waiter};

#[cfg(test)]
#[expect(dead_code, reason = "what is about victims")]
#[path = "support/scene.rs"]
mod scene;

#[test]
fn a_charge_that_fits_is_ready_at_once() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (_, css) = scene.limited("a", 100);
        assert!(Waiter::new(css.charge(100)).has_it());
        assert!(Waiter::new(css.charge(0)).has_it(), "nothing is always to be had");
        css.charge_blocking(0, None).unwrap();
        assert_eq!(css.current(), 100);
        css.uncharge(100);
    }
}

#[test]
fn what_can_never_be_is_refused_at_once() {
    let scene = Scene::new(BARRIERS[0]);
    let (a, css) = scene.limited("a", 100);
    let (_, below) = scene.group(Some(&a), "b");
    for css in [&css, &below] {
        let error = Waiter::new(css.charge(101)).error();
        assert_eq!(error.to_string(), "memory.max of /a reached: 0 of 100 bytes in use, 101 asked");
        let error = css.charge_blocking(1 << 63, None).unwrap_err();
        assert!(matches!(error, ChargeError::TooLarge { .. }), "{error}");
    }
    // The same beside somebody who waits.
    css.try_charge(100).unwrap();
    let mut waiter = Waiter::new(css.charge(10));
    assert!(matches!(Waiter::new(below.charge(101)).error(), ChargeError::Over(_)));
    assert!(matches!(Waiter::new(below.charge(u64::MAX)).error(), ChargeError::TooLarge { .. }));
    css.uncharge(100);
    assert!(waiter.has_it());
    css.uncharge(10);
}

#[test]
fn room_goes_to_those_who_wait_in_their_order() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (_, css) = scene.limited("a", 30);
        css.try_charge(30).unwrap();
        let mut waiters: Vec<Waiter<'_>> = (0..5).map(|_| Waiter::new(css.charge(10))).collect();
        for turn in 0..5 {
            // Polled without having been called, later ones take nothing.
            waiters.iter_mut().rev().for_each(Waiter::poll);
            css.uncharge(10);
            waiters.iter_mut().rev().for_each(Waiter::poll);
            let done: Vec<bool> = waiters.iter_mut().map(Waiter::has_it).collect();
            let expected: Vec<bool> = (0..5).map(|index| index <= turn).collect();
            assert_eq!(done, expected);
        }
        css.uncharge(30);
        assert_eq!(css.current(), 0);
    }
}

#[test]
fn who_comes_to_a_line_does_not_take_what_others_are_called_for() {
    let scene = Scene::new(BARRIERS[0]);
    let (_, css) = scene.limited("a", 10);
    css.try_charge(10).unwrap();
    let mut first = Waiter::new(css.charge(10));
    css.uncharge(10);
    let mut second = Waiter::new(css.charge(10));
    assert!(first.has_it(), "called before the second came");
    assert!(!second.has_it());
    css.uncharge(10);
    assert!(second.has_it());
    css.uncharge(10);
}

/// Velox #15637: 8 MB are waited for, 7.98 MB are free, and 1 MB has to wait behind.
#[test]
fn a_large_waiter_does_not_block_a_small_one() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (_, css) = scene.limited("a", 8 << 20);
        css.try_charge(8 << 20).unwrap();
        let mut large = Waiter::new(css.charge(8 << 20));
        css.uncharge((8 << 20) - 20_000);
        assert!(!large.run());
        assert!(Waiter::new(css.charge(1 << 20)).has_it(), "there is room for a newcomer");
        css.try_charge((7 << 20) - 20_000).unwrap();
        let mut small = Waiter::new(css.charge(1 << 20));
        assert!(!small.run());
        css.uncharge(1 << 20);
        assert!(small.has_it(), "and for one who waits behind");
        assert!(!large.run());
        css.uncharge(8 << 20);
        assert!(large.has_it());
        css.uncharge(8 << 20);
        assert_eq!(css.current(), 0);
    }
}

#[test]
fn a_large_one_is_served_although_small_ones_come_without_end() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (_, css) = scene.limited("a", 100);
        (0..10).for_each(|_| css.try_charge(10).unwrap());
        let mut large = Waiter::new(css.charge(100));
        let mut passed = 0;
        let mut held = 10;
        while !large.has_it() {
            // One leaves, another one comes.
            css.uncharge(10);
            held -= 1;
            match css.try_charge(10) {
                Ok(()) => (passed, held) = (passed + 1, held + 1),
                Err(ChargeError::Over(over)) => assert_eq!(over.waiting_before, 1),
                Err(error) => panic!("{error}"),
            }
            assert!(passed <= 16, "{passed} have passed it");
        }
        assert_eq!((passed, held), (16, 0));
        let error = css.try_charge(10).unwrap_err();
        assert!(matches!(error, ChargeError::Over(over) if over.waiting_before == 0));
        css.uncharge(100);
        css.try_charge(10).unwrap();
        css.uncharge(10);
    }
}

#[test]
fn waiters_that_come_without_end_pass_a_large_one_as_rarely() {
    let scene = Scene::new(BARRIERS[0]);
    let (_, css) = scene.limited("a", 100);
    css.try_charge(95).unwrap();
    let mut large = Waiter::new(css.charge(100));
    let passed = (0..100)
        .take_while(|_| {
            let is_served = Waiter::new(css.charge(5)).has_it();
            if is_served {
                css.uncharge(5);
            }
            is_served
        })
        .count();
    assert_eq!(passed, 16);
    let error = css.try_charge(5).unwrap_err();
    assert_eq!(
        error.to_string(),
        "5 bytes asked, and room below memory.max of /a is kept for 1 before: 95 of 100 bytes in use",
    );
    let mut behind = Waiter::new(css.charge(5));
    assert!(!behind.run());
    drop(large);
    assert!(behind.has_it(), "who was behind it goes on without it");
    large = Waiter::new(css.charge(100));
    css.uncharge(100);
    assert!(large.has_it());
    css.uncharge(100);
}

#[test]
fn a_waiter_that_goes_away_leaves_its_call_to_the_next() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (_, css) = scene.limited("a", 10);
        css.try_charge(10).unwrap();

        // Never polled.
        drop(css.charge(10));
        // Asleep.
        let mut next = Waiter::new(css.charge(10));
        drop(Waiter::new(css.charge(10)));
        assert!(!next.run());
        // Called.
        let mut last = Waiter::new(css.charge(10));
        css.uncharge(10);
        assert!(next.is_woken());
        assert!(!last.is_woken());
        drop(next);
        assert!(last.has_it());
        // Ready, and dropped with its charge taken: that is the caller's.
        drop(last);
        assert_eq!(css.current(), 10);
        css.uncharge(10);
        assert_eq!(css.current(), 0);
        css.try_charge(10).unwrap(); // nobody is waited for any more
        css.uncharge(10);
    }
}

#[test]
fn two_are_called_when_there_is_room_for_two() {
    let scene = Scene::new(BARRIERS[0]);
    let (_, css) = scene.limited("a", 10);
    css.try_charge(10).unwrap();
    let mut waiters: Vec<Waiter<'_>> = (0..3).map(|_| Waiter::new(css.charge(5))).collect();
    css.uncharge(10);
    let woken: Vec<bool> = waiters.iter_mut().map(Waiter::is_woken).collect();
    assert_eq!(woken, [true, true, false]);
}

#[test]
fn a_deadline_ends_a_wait() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (_, css) = scene.limited("a", 10);
        css.try_charge(10).unwrap();
        let mut waiter = Waiter::new(css.charge(10).within(Duration::from_millis(50)));
        let mut other = Waiter::new(css.charge(10).deadline(Duration::from_secs(1)));
        scene.pass(49);
        assert!(!waiter.run());
        scene.pass(1);
        let error = waiter.error();
        assert!(matches!(error, ChargeError::DeadlinePassed(_)));
        assert_eq!(
            error.to_string(),
            "the deadline passed: memory.max of /a reached: 10 of 10 bytes in use, 10 asked",
        );
        css.uncharge(10);
        scene.clock.advance(Duration::from_secs(2));
        assert!(other.has_it(), "too late, and there is room");
        let timeout = Some(Duration::ZERO);
        let error = css.charge_blocking(1, timeout).unwrap_err();
        assert!(matches!(error, ChargeError::DeadlinePassed(_)), "{error}");
        css.uncharge(10);
    }
}

#[test]
fn what_is_freed_on_another_thread_wakes_a_waiter() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (a, top) = scene.limited("a", 1 << 20);
        let (_, css) = scene.group(Some(&a), "b");
        let (charged, waited) = (Meeting::new(2), Meeting::new(2));
        // So much is left that a thread would keep what it frees for what it charges next.
        let left = 64 << 10;
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                css.try_charge(64).unwrap();
                charged.wait();
                waited.wait();
                css.uncharge(64);
            });
            charged.wait();
            css.try_charge((1 << 20) - left - 64).unwrap();
            let mut waiter = Waiter::new(css.charge(left + 64));
            assert!(!waiter.run());
            waited.wait();
            other.join().unwrap();
            assert!(waiter.has_it());
        });
        css.uncharge(1 << 20);
        assert_eq!((css.current(), top.current()), (0, 0));
        // Room had to be called in, so it takes a while.
        for _ in 0..2_000 {
            css.try_charge(64).unwrap();
            css.uncharge(64);
        }
        assert!(css.current() > 0, "kept for what is charged next again, as nobody waits");
    }
}

#[test]
fn a_waiter_moves_to_the_level_that_refuses_it() {
    let scene = Scene::new(BARRIERS[0]);
    let (a, top) = scene.limited("a", 10);
    let (_, css) = scene.group(Some(&a), "b");
    css.set_max(Limit::At(10));
    css.try_charge(10).unwrap();
    let mut waiter = Waiter::new(css.charge(10));
    let mut late = Waiter::new(top.charge(10));
    // Room in /a/b, and none in /a.
    css.uncharge(5);
    top.try_charge(5).unwrap();
    css.uncharge(5);
    top.try_charge(5).unwrap();
    assert!(!waiter.run());
    top.uncharge(10);
    assert!(waiter.has_it(), "it has waited longer than who waited in /a all the time");
    assert!(!late.run());
    css.uncharge(10);
    assert!(late.has_it());
    top.uncharge(10);
}

#[test]
fn who_was_passed_too_often_is_passed_nowhere_else() {
    let scene = Scene::new(BARRIERS[0]);
    let (a, top) = scene.limited("a", 100);
    let (_, css) = scene.group(Some(&a), "b");
    css.set_max(Limit::At(100));
    css.try_charge(95).unwrap();
    let mut large = Waiter::new(css.charge(100)); // at /a/b
    for _ in 0..16 {
        css.try_charge(5).unwrap();
        css.uncharge(5);
    }
    assert!(matches!(css.try_charge(5), Err(ChargeError::Over(over)) if over.waiting_before == 1));
    css.uncharge(95);
    top.try_charge(95).unwrap();
    assert!(!large.run()); // at /a
    assert!(matches!(top.try_charge(5), Err(ChargeError::Over(over)) if over.waiting_before == 1));
    top.uncharge(95);
    assert!(large.has_it());
    css.uncharge(100);
}

#[test]
fn a_new_limit_calls_those_whom_it_concerns() {
    let scene = Scene::new(BARRIERS[0]);
    let (_, css) = scene.limited("a", 10);
    css.try_charge(10).unwrap();
    let mut waiter = Waiter::new(css.charge(10));
    css.set_max(Limit::At(20));
    assert!(waiter.has_it());
    let mut waiter = Waiter::new(css.charge(20));
    css.set_max(Limit::At(19));
    let error = waiter.error();
    assert!(matches!(error, ChargeError::Over(over) if over.max == Limit::At(19)));
    css.uncharge(20);
}

#[test]
fn a_waiter_of_a_removed_group_is_told() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (a, top) = scene.limited("a", 10);
        let (b, css) = scene.group(Some(&a), "b");
        top.try_charge(10).unwrap();
        let mut waiter = Waiter::new(css.charge(10));
        b.remove(Removal::Detach).unwrap();
        scene.pass(0); // the wakers of a structural call are the keeper's to call
        assert!(matches!(waiter.error(), ChargeError::Removed { .. }));
        let error = Waiter::new(css.charge(1)).error();
        assert!(matches!(error, ChargeError::Removed { .. }), "{error}");
        top.uncharge(10);
        top.try_charge(10).unwrap();
        top.uncharge(10);
    }
}

#[test]
fn who_is_called_and_never_comes_lets_others_pass() {
    let scene = Scene::new(BARRIERS[0]);
    let (_, css) = scene.limited("a", 10);
    css.try_charge(10).unwrap();
    let mut sleepy = Waiter::new(css.charge(10));
    let mut other = Waiter::new(css.charge(10));
    css.uncharge(10);
    scene.pass(20);
    assert!(!other.run(), "the other one may still come");
    scene.pass(20);
    assert!(other.has_it());
    css.uncharge(10);
    sleepy.poll();
    assert!(sleepy.has_it(), "its place was kept");
    css.uncharge(10);
}

/// Wakers are others' code.
#[test]
fn a_waker_that_panics_takes_nobody_along() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            resume_unwind(Box::new("bomb"));
        }
    }
    let scene = Scene::new(BARRIERS[0]);
    let (_, css) = scene.limited("a", 10);
    css.try_charge(10).unwrap();
    let bomb = Waker::from(Arc::new(Bomb));
    let mut charge = pin!(css.charge(5));
    assert!(charge.as_mut().poll(&mut Context::from_waker(&bomb)).is_pending());
    let mut other = Waiter::new(css.charge(5));
    css.uncharge(10);
    assert!(other.has_it());
    let result = charge.as_mut().poll(&mut Context::from_waker(&bomb));
    assert!(matches!(result, Poll::Ready(Ok(()))));
    css.uncharge(10);
    assert_eq!(css.current(), 0);
}

/// What a removal gives back calls waiters, and their wakers are not called under the lock of the tree.
#[test]
fn a_waker_may_change_the_tree() {
    struct Builder(Cgroup, AtomicBool);
    impl Wake for Builder {
        fn wake(self: Arc<Self>) {
            self.1.store(self.0.create_child("made").is_ok(), Ordering::SeqCst);
        }
    }
    let scene = Scene::new(BARRIERS[0]);
    let (_, css) = scene.limited("a", 10);
    css.try_charge(10).unwrap();
    let (b, below) = scene.limited("b", 10);
    below.try_charge(10).unwrap();
    let builder = Arc::new(Builder(scene.hierarchy.root(), AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&builder));
    let mut charge = pin!(below.charge(10));
    assert!(charge.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    b.remove(Removal::Detach).unwrap();
    scene.pass(0);
    assert!(builder.1.load(Ordering::SeqCst), "it was called, and allowed to");
}

#[test]
fn what_waits_may_go_to_another_thread() {
    fn is_send<T: Send>(_: &T) {}
    let scene = Scene::new(BARRIERS[0]);
    let (_, css) = scene.limited("a", 10);
    is_send(&css.charge(1));
    is_send(&css.reserve().grow_async(1));
    is_send(&css.enter());
    is_send(&css.on_kill(|| {}));
}

#[test]
#[should_panic(expected = "a charge is polled after it was ready")]
fn a_charge_is_not_to_be_polled_again() {
    let scene = Scene::new(BARRIERS[0]);
    let (_, css) = scene.limited("a", 10);
    let mut charge = pin!(css.charge(5));
    let mut context = Context::from_waker(Waker::noop());
    assert!(charge.as_mut().poll(&mut context).is_ready());
    assert!(charge.as_mut().poll(&mut context).is_ready());
}

#[test]
fn a_wait_is_one_refusal_and_lost_time() {
    let scene = Scene::new(BARRIERS[0]);
    let (a, css) = scene.limited("a", 10);
    css.try_charge(10).unwrap();
    let mut waiter = Waiter::new(css.charge(10));
    for _ in 0..5 {
        scene.pass(20);
        assert!(!waiter.run());
    }
    css.uncharge(10);
    assert!(waiter.has_it());
    scene.clock.advance(Duration::from_secs(1));
    let events = a.read("memory.events").unwrap();
    assert!(events.contains("max 1\n"), "{events}");
    let stalled = css.pressure().some.total;
    assert_eq!(stalled, 100_000, "microseconds");
    css.uncharge(10);
}

#[test]
fn a_charge_says_what_is_done_for_it() {
    let scene = Scene::new(BARRIERS[0]);
    let (_, css) = scene.limited("a", 10);
    css.charge_with(10, Charge::NoWait).unwrap();
    for how in [Charge::NoWait, Charge::Reclaim] {
        assert!(matches!(css.charge_with(1, how), Err(ChargeError::Over(_))), "{how:?}");
    }
    css.charge_with(5, Charge::Force).unwrap();
    assert_eq!(css.current(), 15);
    assert!(matches!(css.try_charge(1), Err(ChargeError::Over(_))), "until it is paid back");
    css.uncharge(15);
}

#[test]
fn a_reservation_waits_for_room_to_grow() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (_, css) = scene.limited("a", 100);
        let mut other = css.reserve();
        other.grow(70).unwrap();
        let mut sort = css.reserve();
        let mut growth = Waiter::new(sort.grow_async(30));
        assert!(growth.has_it(), "there is room");
        drop(growth);
        sort.keep(40).unwrap_err();
        let mut growth = Waiter::new(sort.grow_async(50));
        other.shrink(40);
        assert!(!growth.run());
        other.shrink(10);
        assert!(growth.has_it());
        drop(growth);
        assert_eq!((sort.used(), css.current()), (80, 100));
        let growth = Waiter::new(sort.grow_async(1));
        let mut late = Waiter::new(css.charge(1));
        other.shrink(1);
        assert!(!late.run());
        drop(growth);
        assert!(late.has_it(), "dropped as it was called, it is as it was");
        let error = Waiter::new(sort.grow_async(101)).error();
        assert!(matches!(error, ChargeError::Over(_)), "more than there will ever be: {error}");
        let error = sort.grow_blocking(20, Some(Duration::ZERO)).unwrap_err();
        assert!(matches!(error, ChargeError::DeadlinePassed(_)), "{error}");
        other.free();
        sort.grow_blocking(19, None).unwrap();
        assert_eq!((sort.used(), css.current()), (99, 100));
        css.uncharge(1);
        drop((sort, other));
        assert_eq!(css.current(), 0);
    }
}

#[test]
fn a_thread_that_waits_is_woken() {
    for barrier in BARRIERS {
        let registry = Registry::new();
        let memory = registry.register(Memory::builder().barrier(barrier).build()).unwrap();
        let css = memory.root().unwrap();
        css.set_max(Limit::At(10));
        css.try_charge(10).unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| css.charge_blocking(10, None));
            css.uncharge(10);
            waiter.join().unwrap().unwrap();
        });
        let error = css.charge_blocking(1, Some(Duration::from_millis(1))).unwrap_err();
        assert!(matches!(error, ChargeError::DeadlinePassed(_)), "{error}");
        css.uncharge(10);
    }
}

/// Eight threads, and room for three of them at a time. Nobody looks after them: a call that is lost is lost.
#[test]
fn nobody_waits_for_ever() {
    const THREADS: u64 = 8;
    const MAX: u64 = 3 * 4096;
    const PATIENCE: Duration = Duration::from_secs(10);
    for barrier in BARRIERS {
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("tree").unwrap();
        let memory = Memory::builder().barrier(barrier).keeper(Keeper::Manual).build();
        let memory = registry.register(memory).unwrap();
        memory.bind(&hierarchy).unwrap();
        let root = memory.root().unwrap();
        root.set_max(Limit::At(MAX));
        let (in_use, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        let is_through = AtomicU64::new(0);
        let end = Instant::now() + Duration::from_millis(500);
        thread::scope(|scope| {
            for index in 0..THREADS {
                let cgroup = hierarchy.root().create_child(&format!("group-{index}")).unwrap();
                let css = memory.css(&cgroup).unwrap();
                let (in_use, is_over, is_through, root) = (&in_use, &is_over, &is_through, &root);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(index);
                    let worker = css.enter();
                    let mut count = 0_u64;
                    while Instant::now() < end || count == 0 {
                        let bytes = random.u64(1..=4096);
                        if random.u8(..) < 32 {
                            let mut charge = Box::pin(css.charge(bytes));
                            let mut context = Context::from_waker(Waker::noop());
                            match charge.as_mut().poll(&mut context) {
                                Poll::Ready(result) => result.unwrap(),
                                Poll::Pending => continue,
                            }
                        } else {
                            css.charge_blocking(bytes, Some(PATIENCE)).unwrap();
                        }
                        let used = in_use.fetch_add(bytes, Ordering::Relaxed) + bytes;
                        if used > MAX || root.current() > MAX {
                            is_over.store(true, Ordering::Relaxed);
                        }
                        if random.bool() {
                            thread::yield_now();
                        }
                        in_use.fetch_sub(bytes, Ordering::Relaxed);
                        css.uncharge(bytes);
                        count += 1;
                    }
                    drop(worker);
                    is_through.fetch_add(1, Ordering::Relaxed);
                });
            }
            // Who was forgotten would wait for ever; with a pass its deadline is noticed.
            while is_through.load(Ordering::Relaxed) < THREADS {
                thread::sleep(Duration::from_millis(10));
                if Instant::now() > end + 2 * PATIENCE {
                    memory.subsystem().tick();
                }
            }
        });
        assert!(!is_over.load(Ordering::Relaxed), "never above max");
        for cgroup in hierarchy.root().children() {
            cgroup.remove(Removal::Strict).unwrap();
        }
        assert_eq!(root.current(), 0);
    }
}
