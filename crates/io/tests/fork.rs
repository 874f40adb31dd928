//! In the child of a fork operations are refused, and what is dropped there is the parent's: nothing waits for a
//! thread that the child does not have, and the parent's figures stay exact.
#![cfg(unix)]
#![expect(unsafe_code, reason = "fork is what is tested")]

use std::{
    error::Error,
    ffi::{c_int, c_uint},
    io::{Read as _, Write as _},
    pin::pin,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use fief_core::{Cgroup, Controller, Hierarchy, Registry};
use fief_io::{AcquireError, Device, Io, IoStats, Limits, Op, Permit, Refusal, Stream};

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

struct Scene {
    _registry: Registry,
    tenants: Hierarchy,
    io: Controller<Io>,
    disk: Device,
    web: Cgroup,
}

impl Scene {
    fn new(depth: u32) -> Result<Self, Box<dyn Error>> {
        let registry = Registry::new();
        let tenants = registry.create_hierarchy("by-tenant")?;
        let io = registry.register(Io::new())?;
        io.bind(&tenants)?;
        let disk = Device::builder("disk").depth(depth).register(&io)?;
        let web = tenants.root().create_child("web")?;
        Ok(Self { _registry: registry, tenants, io, disk, web })
    }

    fn stats(&self, group: &Cgroup) -> IoStats {
        self.io.css(group).expect("the group is there").stats(&self.disk)
    }
}

fn is_forked<T>(result: Result<T, AcquireError>) -> bool {
    result.is_err_and(|error| error.why == Refusal::Forked)
}

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Has a thread take and give back places all the time, so that a fork often finds the device's lock held.
fn beside_a_busy_thread(stream: &Stream, rounds: u64, mut round: impl FnMut(u64) -> c_int) -> u64 {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut done = 0;
            while !is_over.load(Relaxed) {
                let permit = stream.acquire_blocking(Op::write(100)).expect("there is room");
                permit.done(60);
                done += 1;
            }
            done
        });
        let mut statuses = (0..rounds).map(|at| {
            // So that the other thread is somewhere else each time.
            thread::sleep(Duration::from_micros(at * 7 % 100));
            round(at)
        });
        let failed = statuses.find(|status| *status != 0);
        is_over.store(true, Relaxed);
        let done = busy.join().expect("it does not panic");
        assert_eq!(failed, None);
        done
    })
}

#[test]
fn a_child_is_refused_and_waits_for_nobody() -> Result<(), Box<dyn Error>> {
    let scene = Scene::new(2)?;
    let (stream, busy) = (scene.disk.stream(&scene.web)?, scene.disk.stream(&scene.web)?);
    let mut file = stream.limit(tempfile::tempfile()?);
    let done = beside_a_busy_thread(&busy, 100, |_| {
        in_child(|| {
            let op = Op::read(10);
            let is_refused = is_forked(stream.try_acquire(op))
                && is_forked(stream.acquire_blocking(op))
                && is_forked(stream.acquire_timeout(op, Duration::from_secs(100)))
                && is_forked(stream.acquire_until(op, Instant::now()))
                && is_forked(stream.charge_urgent(op));
            let is_told = matches!(poll(stream.acquire(op)), Poll::Ready(Err(_)))
                && matches!(poll(stream.acquire_owned(op)), Poll::Ready(Err(_)))
                && file.write(b"no").is_err()
                && file.read(&mut [0; 2]).is_err();
            is_refused && is_told
        })
    });
    let stats = scene.stats(&scene.web);
    assert_eq!((stats.wios, stats.wbytes, stats.rios), (done, done * 60, 0), "{stats:?}");
    Ok(())
}

#[test]
fn what_a_child_drops_is_the_parents() -> Result<(), Box<dyn Error>> {
    let scene = Scene::new(3)?;
    let stream = scene.disk.stream(&scene.web)?;
    let other = scene.disk.stream(&scene.tenants.root())?;
    let slow = scene.web.create_child("slow")?;
    scene.io.css(&slow).ok_or("removed")?.set_limits(&scene.disk, Limits::new().riops(1))?;
    let slow = scene.disk.stream(&slow)?;
    // In debt for minutes.
    for _ in 0..500 {
        slow.charge_urgent(Op::read(1))?.done(1);
    }
    let slow_ones = scene.stats(&scene.web).rios;
    let done = beside_a_busy_thread(&other, 100, |_| {
        let permit = stream.try_acquire(Op::read(1_000)).ok();
        let owned = stream.charge_urgent(Op::read(1_000)).map(Permit::into_owned).ok();
        let mut waits = Box::pin(slow.acquire(Op::read(1)));
        let mut waits_owned = Box::pin(slow.acquire_owned(Op::read(1)));
        let cx = &mut Context::from_waker(Waker::noop());
        let are_pending =
            waits.as_mut().poll(cx).is_pending() && waits_owned.as_mut().poll(cx).is_pending();
        let (held, in_flight) = ((permit, owned), scene.disk.stats().in_flight);
        let spare = scene.disk.stream(&scene.web).expect("the group is there");
        let status = in_child(|| {
            // SAFETY: a copy of the child's own; what it is a copy of is not used there again.
            let (permit, owned) = unsafe { std::ptr::read(&raw const held) };
            let is_told = is_ready_refused(waits.as_mut().poll(cx))
                && matches!(waits_owned.as_mut().poll(cx), Poll::Ready(Err(_)));
            drop((waits, waits_owned, spare, owned));
            if let Some(permit) = permit {
                permit.done(1);
            }
            is_told
        });
        assert!(are_pending && in_flight >= 1);
        // Here the waits were dropped by the parent's copy of the closure, and the permits are at work.
        let stats = scene.stats(&scene.web);
        assert_eq!(
            (stats.waiting, stats.inflight),
            (0, 1 + u64::from(held.0.is_some())),
            "{stats:?}"
        );
        status
    });
    let stats = scene.stats(&scene.web);
    assert_eq!((stats.waiting, stats.inflight), (0, 0), "{stats:?}");
    assert_eq!(scene.disk.stats().in_flight, 0);
    let root = scene.stats(&scene.tenants.root());
    assert_eq!((root.wios, root.wbytes), (done, done * 60), "{root:?}");
    assert_eq!(stats.rbytes, (stats.rios - slow_ones) * 1_000 + slow_ones);
    Ok(())
}

fn is_ready_refused(polled: Poll<Result<Permit<'_>, AcquireError>>) -> bool {
    if let Poll::Ready(result) = polled { is_forked(result) } else { false }
}
