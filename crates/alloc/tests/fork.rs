//! The child of a fork counts on, whatever the other threads were about.
#![cfg(unix)]
#![expect(unsafe_code, reason = "fork is what is tested")]

use std::{
    ffi::{c_int, c_uint},
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use fief_alloc::{Ambient, GroupAlloc, settle, stats};

#[global_allocator]
static ALLOCATOR: GroupAlloc = GroupAlloc::new();

unsafe extern "C" {
    fn fork() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(status: c_int) -> !;
    fn alarm(seconds: c_uint) -> c_uint;
}

/// Runs `child` in a forked child and returns its exit status.
fn in_child(child: impl FnOnce() -> bool) -> c_int {
    // SAFETY: the child allocates, which the system's allocator is made for; it leaves by `_exit`.
    let pid = unsafe { fork() };
    if pid == 0 {
        // SAFETY: ends a child that hangs.
        unsafe { alarm(60) };
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

/// Whether a child sees what was there, and counts on.
fn is_well_in_a_child(own: &Ambient, others: &Ambient) -> bool {
    let is_inherited = own.live() == 100_000 && stats().threads >= 3;
    let more = own.run(|| vec![3_u8; 50_000]);
    let is_counted = own.live() == 150_000;
    drop(more);
    settle();
    // What the others were about stays as it was: a block each, at most.
    let is_bounded = others.live() <= 2 * 9_000;
    is_inherited && is_counted && is_bounded && own.live() == 100_000
}

#[test]
fn a_forked_child_counts_on() {
    let [own, others] = [(), ()].map(|()| Ambient::new().expect("memory"));
    let kept = own.run(|| vec![1_u8; 100_000]);
    let (is_over, started) = (AtomicBool::new(false), Barrier::new(3));
    let statuses: Vec<c_int> = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                others.run(|| drop(vec![2_u8; 9_000]));
                started.wait();
                while !is_over.load(Ordering::Relaxed) {
                    others.run(|| drop(vec![2_u8; 9_000]));
                    drop(others.clone());
                    settle();
                }
            });
        }
        started.wait();
        let statuses = (0..50).map(|_| in_child(|| is_well_in_a_child(&own, &others)));
        let statuses = statuses.collect();
        is_over.store(true, Ordering::Relaxed);
        statuses
    });
    assert_eq!(statuses, [0; 50]);
    assert_eq!(own.live(), 100_000);
    drop(kept);
    assert_eq!((own.live(), others.live()), (0, 0));
}
