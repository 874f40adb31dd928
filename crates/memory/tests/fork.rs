//! In the child of a fork charges and reservations are counted, and wait for no thread of the parent's.
#![cfg(unix)]
#![expect(unsafe_code, reason = "fork is what is tested")]

use std::{
    ffi::{c_int, c_uint},
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use fief_core::{Limit, Registry};
use fief_memory::{ChargeError, Memory, SpillOptions};

unsafe extern "C" {
    fn fork() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(status: c_int) -> !;
    fn alarm(seconds: c_uint) -> c_uint;
}

/// Runs `child` in a forked child and returns its exit status.
fn in_child(child: impl FnOnce() -> bool) -> c_int {
    // SAFETY: the child touches only what is documented to work in one, and leaves by `_exit`.
    let pid = unsafe { fork() };
    if pid == 0 {
        // SAFETY: ends a child that hangs.
        unsafe { alarm(10) };
        let is_well = child();
        // SAFETY: ends the child without running the parent's exit handlers.
        unsafe { _exit(if is_well { 0 } else { 1 }) }
    }
    let mut status = -1;
    // SAFETY: `status` is a live word, and `pid` our own child.
    let waited = unsafe { waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    status
}

/// Another thread fills and drains pockets all the time, so that a fork often finds the lock of the
/// list held.
#[test]
fn a_child_needs_no_lock_that_a_thread_of_its_parent_held() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let memory = registry.register(Memory::new()).unwrap();
    memory.bind(&hierarchy).unwrap();
    let web = hierarchy.root().create_child("web").unwrap();
    let css = memory.css(&web).unwrap();
    css.set_max(Limit::At(1 << 30));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut others: Vec<_> = (0..2000).map(|_| css.reserve()).collect();
            while !done.load(Ordering::Relaxed) {
                for other in &mut others {
                    other.grow(1).expect("there is room");
                }
                css.try_charge(1 << 31).expect_err("above the max");
            }
        });
        for round in 0..200 {
            let mut reservation = css.reserve();
            let shared = css.reserve_shared();
            reservation.grow(1000).unwrap();
            shared.try_grow(1000).unwrap();
            // So that the other thread is somewhere else each time.
            thread::sleep(Duration::from_micros(round * 7 % 100));
            let status = in_child(|| {
                let is_well = reservation.grow(100_000).is_ok()
                    && shared.try_grow(100_000).is_ok()
                    && css.try_charge(1 << 31).is_err()
                    && reservation.grow(1 << 31).is_err();
                let is_exact = reservation.shrink(50_000) == 50_000
                    && shared.shrink(50_000) == 50_000
                    && (reservation.used(), shared.used()) == (51_000, 51_000);
                css.reserve().grow(1).expect("there is room");
                let piece = reservation.split(1000);
                drop((piece, reservation, shared));
                is_well && is_exact
            });
            if status != 0 {
                done.store(true, Ordering::Relaxed);
            }
            assert_eq!(status, 0);
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// Another thread joins and leaves a line all the time, so that a fork often finds its lock held.
#[test]
fn a_child_does_not_wait() {
    let registry = Registry::new();
    let memory = registry.register(Memory::new()).unwrap();
    let css = memory.root().unwrap();
    css.set_max(Limit::At(10));
    css.try_charge(10).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let mut charge = pin!(css.charge(1));
                let result = charge.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(result.is_pending());
            }
        });
        for round in 0..100 {
            let mut charge = Box::pin(css.charge(2));
            let mut context = Context::from_waker(Waker::noop());
            assert!(charge.as_mut().poll(&mut context).is_pending());
            let unpolled = css.charge(1);
            thread::sleep(Duration::from_micros(round * 7 % 100));
            let status = in_child(|| {
                let result = charge.as_mut().poll(&mut context);
                let is_told = matches!(result, Poll::Ready(Err(ChargeError::Over(_))))
                    && matches!(css.charge_blocking(1, None), Err(ChargeError::Over(_)))
                    && matches!(css.reserve().grow_blocking(1, None), Err(ChargeError::Over(_)));
                css.uncharge(4);
                let is_counted = css.charge_blocking(2, None).is_ok() && css.current() == 8;
                memory.subsystem().tick();
                drop((css.enter(), unpolled, charge));
                is_told && is_counted
            });
            if status != 0 {
                done.store(true, Ordering::Relaxed);
            }
            assert_eq!(status, 0);
        }
        done.store(true, Ordering::Relaxed);
    });
    css.uncharge(10);
}

/// Another thread looks at the ticket all the time, so that a fork often finds the lock of the sweep held.
#[test]
fn a_ticket_and_a_throttle_end_in_a_child() {
    let registry = Registry::new();
    let memory = registry.register(Memory::new()).unwrap();
    let css = memory.root().unwrap();
    let spiller = css.spiller(SpillOptions::new());
    css.set_high(Limit::At(1 << 20));
    css.charge_forced(10 << 20);
    spiller.set_spillable(10 << 20);
    css.set_max(Limit::At(5 << 20));
    let ticket = spiller.try_next().expect("asked");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut context = Context::from_waker(Waker::noop());
            while !done.load(Ordering::Relaxed) {
                for _ in 0..1000 {
                    ticket.progress();
                }
                css.charge_forced(1 << 20);
                let mut other = pin!(css.over_high());
                for _ in 0..10 {
                    let _ = other.as_mut().poll(&mut context);
                }
                css.uncharge(1 << 20);
            }
        });
        for round in 0..100 {
            css.charge_forced(1 << 20);
            let mut throttle = Box::pin(css.over_high());
            let mut context = Context::from_waker(Waker::noop());
            let _ = throttle.as_mut().poll(&mut context);
            thread::sleep(Duration::from_micros(round * 7 % 100));
            let status = in_child(|| {
                // SAFETY: a copy of the child's own, which is not used there again.
                let ticket = unsafe { std::ptr::read(&raw const ticket) };
                ticket.progress();
                let is_over = throttle.as_mut().poll(&mut context).is_ready();
                drop((throttle, ticket));
                is_over
            });
            css.uncharge(1 << 20);
            if status != 0 {
                done.store(true, Ordering::Relaxed);
            }
            assert_eq!(status, 0);
        }
        done.store(true, Ordering::Relaxed);
    });
    drop(ticket);
    css.uncharge(10 << 20);
}
