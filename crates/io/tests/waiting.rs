//! Waiting: whose turn comes, what a drop gives back, and what wakers and clocks may do.
#![expect(unsafe_code, reason = "a waker whose clone is watched is made by hand")]
#![expect(clippy::mem_forget, reason = "what is forgotten is what is tested")]

#[path = "support/scene.rs"]
mod scene;

use std::{
    num::NonZeroU32,
    sync::{Arc, OnceLock},
    task::{Poll, RawWaker, RawWakerVTable, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use fief_core::{Registry, Removal};
use fief_io::{Device, Io, Limits, Op, Refusal, Stream};
use scene::{Checked, Count, Scene, poll, poll_by};

const SECOND: Duration = Duration::from_secs(1);

fn deep(depth: u32) -> fief_io::DeviceBuilder {
    Device::builder("disk").depth(depth)
}

/// Has a stream use up what its group may do.
fn exhaust(stream: &Stream) {
    while stream.try_acquire(Op::read(10_000)).is_ok() {}
}

#[test]
fn a_place_in_flight_is_given_on_when_the_permit_ends() -> Checked {
    let scene = Scene::new(deep(1))?;
    let stream = scene.disk.stream(&scene.tenants.root())?;
    let first = stream.try_acquire(Op::read(1))?;
    let count = Arc::<Count>::default();
    let waker = Waker::from(Arc::clone(&count));
    let mut second = stream.acquire(Op::read(1));
    assert!(poll_by(&mut second, &waker).is_pending());
    assert_eq!(scene.disk.stats().waiting, 1);
    first.done(1);
    assert_eq!(count.get(), 1, "once");
    let Poll::Ready(permit) = poll(&mut second) else { return Err("it waits still".into()) };
    let permit = permit?;
    let stats = scene.disk.stats();
    assert_eq!((stats.waiting, stats.in_flight, stats.grants), (0, 1, 2));
    drop(permit);
    assert_eq!(scene.disk.stats().in_flight, 0);
    assert!(poll(&mut second).is_pending(), "after its end it never resolves");
    Ok(())
}

#[test]
fn a_drop_gives_back_what_was_granted_and_not_taken() -> Checked {
    let scene = Scene::new(deep(1))?;
    let group = scene.group("web", Limits::new())?;
    let stream = scene.disk.stream(&group)?;
    let first = stream.try_acquire(Op::read(100))?;
    let mut second = stream.acquire(Op::read(200));
    let mut third = stream.acquire(Op::read(400));
    assert!(poll(&mut second).is_pending());
    assert!(poll(&mut third).is_pending());
    drop(first);
    drop(second); // granted meanwhile
    let Poll::Ready(third) = poll(&mut third) else { return Err("the turn is lost".into()) };
    third?.done(400);
    let stats = scene.css(&group).stats(&scene.disk);
    assert_eq!((stats.rbytes, stats.rios), (500, 2), "{stats:?}");
    assert_eq!(scene.disk.stats().in_flight, 0);
    Ok(())
}

#[test]
fn who_waits_for_a_limit_behind_a_full_device_is_called_when_there_is_room() -> Checked {
    // The alarm is for nobody while the device is full; who makes room has to set it.
    let registry = Registry::new();
    let tenants = registry.create_hierarchy("by-tenant")?;
    let io = registry.register(Io::new())?;
    io.bind(&tenants)?;
    let disk = deep(1).register(&io)?;
    let [slow, fast] = ["slow", "fast"].map(|name| tenants.root().create_child(name));
    let (slow, fast) = (slow?, fast?);
    let css = io.css(&slow).ok_or("removed")?;
    css.set_limits(&disk, Limits::new().riops(20))?;
    let (slow, fast) = (disk.stream(&slow)?, disk.stream(&fast)?);
    while slow.try_acquire(Op::read(1)).is_ok() {}
    let held = fast.try_acquire(Op::read(1))?;
    let began = Instant::now();
    let waited = thread::scope(|scope| {
        let waits =
            scope.spawn(|| slow.acquire_blocking(Op::read(1)).map(drop).map(|()| began.elapsed()));
        while disk.stats().waiting == 0 {
            thread::yield_now();
        }
        drop(held);
        waits.join().expect("it does not panic")
    })?;
    assert!(waited < SECOND * 20, "{waited:?}");
    Ok(())
}

#[test]
fn a_raised_limit_reaches_who_sleeps() -> Checked {
    let scene = Scene::new(Device::builder("disk"))?;
    let group = scene.group("web", Limits::new().rbps(1))?;
    let stream = scene.disk.stream(&group)?;
    stream.charge_urgent(Op::read(1 << 20))?.done(1 << 20);
    let count = Arc::<Count>::default();
    let mut waits = stream.acquire(Op::read(1));
    assert!(poll_by(&mut waits, &Waker::from(Arc::clone(&count))).is_pending());
    scene.limit(&group, Limits::new())?;
    assert_eq!(count.get(), 1);
    assert!(poll(&mut waits).is_ready());
    Ok(())
}

#[test]
fn a_change_of_depth_reaches_who_waits() -> Checked {
    let scene = Scene::new(deep(1))?;
    let stream = scene.disk.stream(&scene.tenants.root())?;
    let _first = stream.try_acquire(Op::read(1))?;
    let mut second = stream.acquire(Op::read(1));
    let mut third = stream.acquire(Op::read(1));
    assert!(poll(&mut second).is_pending() && poll(&mut third).is_pending());
    scene.disk.set_depth(NonZeroU32::new(2));
    let Poll::Ready(Ok(second)) = poll(&mut second) else { return Err("there is room".into()) };
    assert!(poll(&mut third).is_pending());
    scene.disk.set_depth(None);
    let Poll::Ready(Ok(third)) = poll(&mut third) else { return Err("there is room".into()) };
    assert_eq!(scene.disk.stats().depth, None);
    drop((second, third));
    scene.disk.set_depth(NonZeroU32::new(1));
    assert!(stream.try_acquire(Op::read(1)).is_err(), "the first is in flight still");
    Ok(())
}

#[test]
fn a_removed_device_refuses_everything_and_lets_permits_end() -> Checked {
    let scene = Scene::new(deep(1))?;
    let stream = scene.disk.stream(&scene.tenants.root())?;
    let first = stream.try_acquire(Op::read(1))?;
    let mut waits = stream.acquire(Op::read(1));
    assert!(poll(&mut waits).is_pending());
    scene.disk.remove();
    let Poll::Ready(Err(error)) = poll(&mut waits) else { return Err("it waits still".into()) };
    assert_eq!(error.why, Refusal::DeviceGone);
    drop(first);
    assert_eq!(stream.try_acquire(Op::read(1)).expect_err("it is gone").why, Refusal::DeviceGone);
    assert_eq!(stream.charge_urgent(Op::read(1)).expect_err("it is gone").why, Refusal::DeviceGone);
    assert!(scene.disk.stream(&scene.tenants.root()).is_err());
    Ok(())
}

#[test]
fn a_removed_device_is_gone_for_threads_that_have_leases() -> Checked {
    let scene = Scene::new(Device::builder("disk"))?;
    let free = scene.disk.stream(&scene.tenants.root())?;
    let group = scene.group("web", Limits::new().rbps(1 << 40))?;
    let leased = scene.disk.stream(&group)?;
    for stream in [&free, &leased] {
        stream.try_acquire(Op::read(1))?.done(1);
        stream.try_acquire(Op::read(1))?.done(1);
    }
    scene.disk.remove();
    for stream in [&free, &leased] {
        let error = stream.try_acquire(Op::read(1)).expect_err("it is gone");
        assert_eq!(error.why, Refusal::DeviceGone);
    }
    Ok(())
}

#[test]
fn a_removed_group_refuses_who_stays_there() -> Checked {
    let scene = Scene::new(deep(1))?;
    let group = scene.group("web", Limits::new())?;
    let css = scene.css(&group);
    let stream = scene.disk.stream_at(&css)?;
    let permit = stream.try_acquire(Op::read(100))?;
    let mut waits = stream.acquire(Op::read(1));
    assert!(poll(&mut waits).is_pending());
    group.remove(Removal::Detach)?;
    scene.io.subsystem().tick();
    let Poll::Ready(Err(error)) = poll(&mut waits) else { return Err("it waits still".into()) };
    assert_eq!(error.why, Refusal::Removed);
    permit.done(40);
    assert_eq!(stream.try_acquire(Op::read(1)).expect_err("removed").why, Refusal::Removed);
    let root = scene.css(&scene.tenants.root()).stats(&scene.disk);
    assert_eq!((root.rbytes, root.rios), (40, 1), "{root:?}");
    assert_eq!(scene.disk.stats().in_flight, 0);
    Ok(())
}

#[test]
fn a_stream_that_is_moved_takes_who_waits_along() -> Checked {
    let scene = Scene::new(Device::builder("disk"))?;
    let slow = scene.group("slow", Limits::new().riops(1))?;
    let fast = scene.group("fast", Limits::new())?;
    let stream = scene.disk.stream(&slow)?;
    while stream.try_acquire(Op::read(1)).is_ok() {}
    let mut waits = stream.acquire(Op::read(7));
    assert!(poll(&mut waits).is_pending());
    stream.task().ok_or("no task")?.join(&fast)?;
    let Poll::Ready(Ok(permit)) = poll(&mut waits) else { return Err("it waits still".into()) };
    permit.done(7);
    let stats = scene.css(&fast).stats(&scene.disk);
    assert_eq!((stats.rbytes, stats.rios), (7, 1), "{stats:?}");
    Ok(())
}

#[test]
fn what_was_leased_is_given_back_where_it_was_charged_after_a_move() -> Checked {
    let scene = Scene::new(Device::builder("disk"))?;
    let [old, new] = ["old", "new"].map(|name| scene.group(name, Limits::new().rbps(1 << 30)));
    let (old, new) = (old?, new?);
    let stream = scene.disk.stream(&old)?;
    stream.try_acquire(Op::read(100))?.done(100);
    let leased = stream.try_acquire(Op::read(1_000))?.into_owned();
    stream.task().ok_or("no task")?.join(&new)?;
    // On a thread that has nothing of the group at hand.
    thread::spawn(move || leased.done(10)).join().expect("it does not panic");
    let figures = |group| {
        let stats = scene.css(group).stats(&scene.disk);
        (stats.rbytes, stats.rios)
    };
    assert_eq!(figures(&old), (110, 2));
    assert_eq!(figures(&new), (0, 0));
    Ok(())
}

#[test]
fn a_kill_ends_waits() -> Checked {
    let scene = Scene::new(deep(1))?;
    let group = scene.group("web", Limits::new())?;
    let stream = scene.disk.stream(&group)?;
    let _first = stream.try_acquire(Op::read(1))?;
    let mut waits = stream.acquire(Op::read(1));
    assert!(poll(&mut waits).is_pending());
    group.kill()?;
    let Poll::Ready(Err(error)) = poll(&mut waits) else { return Err("it waits still".into()) };
    assert_eq!(error.why, Refusal::Killed);
    Ok(())
}

#[test]
fn a_deadline_that_cannot_be_kept_fails_at_once() -> Checked {
    let scene = Scene::new(Device::builder("disk"))?;
    let group = scene.group("web", Limits::new().rbps(1_000_000))?;
    let stream = scene.disk.stream(&group)?;
    exhaust(&stream);
    stream.charge_urgent(Op::read(10_000_000))?.done(10_000_000);
    let began = Instant::now();
    let error = stream.acquire_until(Op::read(1), began + SECOND).expect_err("it takes ten");
    let Refusal::WouldBlock { retry_in: Some(after) } = error.why else {
        return Err(error.into());
    };
    assert!(after > 9 * SECOND && after < 11 * SECOND, "{after:?}");
    assert!(began.elapsed() < SECOND, "it waited");
    assert_eq!(scene.disk.stats().waiting, 0);
    let error = stream.try_acquire(Op::read(1)).expect_err("it takes ten");
    let Refusal::WouldBlock { retry_in: Some(again) } = error.why else {
        return Err(error.into());
    };
    assert_eq!(again, after, "the same figure, before anybody waits");
    Ok(())
}

#[test]
fn a_deadline_ends_a_wait_for_a_place() -> Checked {
    let scene = Scene::new(deep(1))?;
    let stream = scene.disk.stream(&scene.tenants.root())?;
    let first = stream.try_acquire(Op::read(1))?;
    let error = stream.acquire_timeout(Op::read(1), Duration::from_millis(5)).expect_err("full");
    let Refusal::TimedOut { waited } = error.why else { return Err(error.into()) };
    assert!(waited >= Duration::from_millis(4), "{waited:?}");
    drop(first);
    assert_eq!(scene.disk.stats().waiting, 0);
    stream.try_acquire(Op::read(1))?.done(1);
    Ok(())
}

#[test]
fn what_is_forgotten_is_counted_and_wedges_nothing() -> Checked {
    let scene = Scene::new(deep(2).patience(SECOND))?;
    let stream = scene.disk.stream(&scene.tenants.root())?;
    std::mem::forget(stream.try_acquire(Op::read(1))?);
    scene.pass(2 * SECOND);
    assert_eq!(scene.disk.stats().overdue, 1);
    assert_eq!(scene.disk.stats().overdue, 1, "once");
    // A future that is forgotten while it waits is granted, and keeps its place until its stream is gone.
    let other = scene.disk.stream(&scene.tenants.root())?;
    let second = stream.try_acquire(Op::read(1))?;
    let mut forgotten = other.acquire(Op::read(1));
    assert!(poll(&mut forgotten).is_pending());
    std::mem::forget(forgotten);
    drop(second);
    assert!(stream.try_acquire(Op::read(1)).is_err(), "the forgotten has it");
    drop(other);
    assert_eq!(scene.disk.stats().in_flight, 1);
    stream.try_acquire(Op::read(1))?.done(1);
    // And one that waits still when its stream goes.
    let held = stream.try_acquire(Op::read(1))?;
    let other = scene.disk.stream(&scene.tenants.root())?;
    let mut forgotten = other.acquire(Op::read(1));
    assert!(poll(&mut forgotten).is_pending());
    std::mem::forget(forgotten);
    drop(other);
    drop(held);
    assert_eq!((scene.disk.stats().waiting, scene.disk.stats().in_flight), (0, 1));
    Ok(())
}

#[test]
fn a_turn_that_nobody_saw_to_is_a_stall() -> Checked {
    let scene = Scene::new(Device::builder("disk").patience(SECOND))?;
    let group = scene.group("web", Limits::new().riops(1_000))?;
    let stream = scene.disk.stream(&group)?;
    while stream.try_acquire(Op::read(1)).is_ok() {}
    let mut waits = stream.acquire(Op::read(1));
    assert!(poll(&mut waits).is_pending());
    scene.pass(10 * SECOND);
    assert!(poll(&mut waits).is_ready());
    assert_eq!(scene.disk.stats().stalls, 1);
    Ok(())
}

/// A waker that uses the stream when it is cloned, woken and dropped, and panics as it is woken.
struct Busy(OnceLock<Stream>);

const VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, let_go);

fn busy(data: *const ()) -> &'static Busy {
    // SAFETY: all wakers here are of a leaked `Busy`.
    unsafe { &*data.cast::<Busy>() }
}

fn enter(data: *const ()) {
    if let Some(stream) = busy(data).0.get() {
        drop(stream.try_acquire(Op::read(1)));
    }
}

fn clone(data: *const ()) -> RawWaker {
    enter(data);
    RawWaker::new(data, &VTABLE)
}

fn wake(data: *const ()) {
    enter(data);
    panic!("a waker that panics");
}

fn wake_by_ref(data: *const ()) {
    enter(data);
}

fn let_go(data: *const ()) {
    enter(data);
}

#[test]
fn a_waker_may_use_the_stream_in_all_it_does_and_panic() -> Checked {
    let scene = Scene::new(deep(1))?;
    let stream = scene.disk.stream(&scene.tenants.root())?;
    let busy: &'static Busy = Box::leak(Box::new(Busy(OnceLock::new())));
    assert!(busy.0.set(stream.clone()).is_ok());
    let data = std::ptr::from_ref(busy).cast();
    // SAFETY: the functions of the table take the address of a `Busy` that is never freed.
    let waker = unsafe { Waker::from_raw(RawWaker::new(data, &VTABLE)) };
    let mut first = Some(stream.try_acquire(Op::read(1))?);
    let count = Arc::<Count>::default();
    let mut waits = stream.acquire(Op::read(1));
    let mut behind = stream.acquire(Op::read(1));
    assert!(poll_by(&mut waits, &waker).is_pending());
    assert!(poll_by(&mut waits, &Waker::from(Arc::clone(&count))).is_pending(), "one dropped");
    assert!(poll_by(&mut waits, &waker).is_pending(), "and back");
    assert!(poll_by(&mut behind, &Waker::from(Arc::clone(&count))).is_pending());
    drop(first.take()); // panics inside
    let Poll::Ready(permit) = poll_by(&mut waits, &waker) else { return Err("it waits".into()) };
    drop(permit?);
    assert_eq!(count.get(), 1, "who is behind is woken all the same");
    drop(behind);
    Ok(())
}

#[test]
fn a_waker_that_drops_the_future_is_fine() -> Checked {
    struct Dropper(std::sync::Mutex<Option<fief_io::OwnedPermit>>);
    impl Wake for Dropper {
        fn wake(self: Arc<Self>) {
            drop(self.0.lock().expect("nobody panics").take());
        }
    }
    let scene = Scene::new(deep(2))?;
    let stream = scene.disk.stream(&scene.tenants.root())?;
    let (one, two) = (stream.try_acquire(Op::read(1))?, stream.try_acquire(Op::read(1))?);
    let dropper = Arc::new(Dropper(std::sync::Mutex::new(Some(two.into_owned()))));
    let mut waits = stream.acquire(Op::read(1));
    let mut behind = stream.acquire(Op::read(1));
    assert!(poll_by(&mut waits, &Waker::from(dropper)).is_pending());
    assert!(poll(&mut behind).is_pending());
    drop(one); // wakes, which ends the other, which lets the next one go on
    assert!(poll(&mut waits).is_ready());
    assert!(poll(&mut behind).is_ready());
    Ok(())
}

#[test]
fn who_only_counts_goes_on_to_while_others_wait() -> Checked {
    let scene = Scene::new(Device::builder("disk"))?;
    let slow = scene.group("slow", Limits::new().riops(1))?;
    let free = scene.disk.stream(&scene.tenants.root())?;
    let slow = scene.disk.stream(&slow)?;
    free.try_acquire(Op::read(1))?.done(1);
    let grants = scene.disk.stats().grants;
    for _ in 0..10 {
        while slow.try_acquire(Op::read(1)).is_ok() {}
        free.try_acquire(Op::read(1))?.done(1);
    }
    let slow_ones = scene.disk.stats().grants - grants;
    assert!(slow_ones <= 2, "{slow_ones} by way of the lock: of the slow group only");
    let stats = scene.css(&scene.tenants.root()).stats(&scene.disk);
    assert!(stats.rios >= 11, "{stats:?}");
    Ok(())
}

#[test]
fn what_a_thread_has_is_given_back_when_it_ends() -> Checked {
    let scene = Scene::new(Device::builder("disk"))?;
    let group = scene.group("web", Limits::new().rbps(1 << 30))?;
    let stream = scene.disk.stream(&group)?;
    thread::scope(|scope| {
        for _ in 0..4 {
            let stream = stream.clone();
            scope.spawn(move || {
                for _ in 0..100 {
                    stream.acquire_blocking(Op::write(10)).expect("nobody removes it").done(10);
                }
            });
        }
    });
    let stats = scene.css(&group).stats(&scene.disk);
    assert_eq!((stats.wbytes, stats.wios), (4_000, 400), "{stats:?}");
    Ok(())
}
