//! Streams that are moved while threads ask by them: nobody is told that a group was removed that the stream has left,
//! and what each was granted is counted, once.

use std::{
    error::Error,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    task::{Context, Poll, Waker},
    thread,
};

use fief_core::{MemberPolicy, RebindOptions, Registry, Removal};
use fief_io::{AcquireError, Device, Io, IoStats, Limits, Op, Refusal, Stream};

type Outcome = Result<(), Box<dyn Error>>;

/// Asks in every way, until it is over; returns how many were granted.
fn ask(stream: &Stream, is_over: &AtomicBool) -> Result<u64, AcquireError> {
    let mut granted = 0;
    let op = Op::read(10);
    while !is_over.load(Relaxed) {
        match stream.try_acquire(op) {
            Ok(permit) => {
                permit.done(10);
                granted += 1;
            }
            Err(error) if matches!(error.why, Refusal::WouldBlock { .. }) => {}
            Err(error) => return Err(error),
        }
        stream.charge_urgent(op)?.done(10);
        stream.acquire_blocking(op)?.done(10);
        granted += 2;
        let mut waits = Box::pin(stream.acquire(op));
        if let Poll::Ready(permit) = waits.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            permit?.done(10);
            granted += 1;
        }
    }
    Ok(granted)
}

/// Has four threads ask by a stream, while `disturb` is called so often.
fn ask_meanwhile(
    stream: &Stream,
    rounds: u64,
    mut disturb: impl FnMut(u64) -> Outcome,
) -> Result<u64, Box<dyn Error>> {
    let is_over = AtomicBool::new(false);
    let (asked, disturbed) = thread::scope(|scope| {
        let askers: Vec<_> = (0..4).map(|_| scope.spawn(|| ask(stream, &is_over))).collect();
        let disturbed = (0..rounds).try_for_each(&mut disturb);
        is_over.store(true, Relaxed);
        let join = |asker: thread::ScopedJoinHandle<'_, _>| asker.join().expect("no panic");
        (askers.into_iter().map(join).sum::<Result<u64, AcquireError>>(), disturbed)
    });
    disturbed?;
    Ok(asked?)
}

fn figures(stats: IoStats) -> (u64, u64, u64, u64) {
    (stats.rios, stats.rbytes, stats.waiting, stats.inflight)
}

#[test]
fn who_asks_while_the_stream_is_moved_is_never_told_that_a_group_is_gone() -> Outcome {
    for depth in [None, Some(2)] {
        let registry = Registry::new();
        let tree = registry.create_hierarchy("h")?;
        let io = registry.register(Io::new())?;
        io.bind(&tree)?;
        let disk = Device::builder("disk");
        let disk = depth.map_or(disk.clone(), |depth| disk.depth(depth)).register(&io)?;
        let stay = tree.root().create_child("stay")?;
        let stream = disk.stream(&stay)?;
        let task = stream.task().ok_or("no task")?;
        let granted = ask_meanwhile(&stream, 1_000, |_| {
            // The group is there for as long as the task is in it.
            let passing = tree.root().create_child("passing")?;
            io.css(&passing).ok_or("removed")?.set_limits(&disk, Limits::new().rbps(1 << 30))?;
            task.join(&passing)?;
            task.join(&stay)?;
            passing.remove(Removal::Detach)?;
            Ok(())
        })?;
        let root = io.root().ok_or("unregistered")?;
        assert_eq!(figures(root.stats(&disk)), (granted, granted * 10, 0, 0), "depth {depth:?}");
    }
    Ok(())
}

#[test]
fn who_asks_while_the_controller_is_rebound_goes_on_and_is_counted_once() -> Outcome {
    let registry = Registry::new();
    let trees = [registry.create_hierarchy("by-tenant")?, registry.create_hierarchy("by-plan")?];
    let io = registry.register(Io::new())?;
    io.bind(&trees[0])?;
    let disk = Device::builder("disk").depth(3).register(&io)?;
    let groups = trees.each_ref().map(|tree| -> Result<_, Box<dyn Error>> {
        Ok([tree.root().create_child("a")?, tree.root().create_child("b")?])
    });
    let [here, there] = groups;
    let groups = [here?, there?];
    let stream = disk.stream(&groups[0][0])?;
    // In the other tree it is where another css is shown after a rebind.
    stream.task().ok_or("no task")?.join(&groups[1][1])?;
    let options = RebindOptions::new().members(MemberPolicy::Move);
    let granted = ask_meanwhile(&stream, 200, |round| {
        let to = usize::from(round % 2 == 0);
        io.rebind(&trees[to], &options)?;
        let there = io.css(&groups[to][to]).ok_or("removed")?;
        assert_eq!(stream.css().id(), there.id());
        let before = there.stats(&disk).rios;
        while there.stats(&disk).rios == before {
            thread::yield_now();
        }
        Ok(())
    })?;
    let [a, b] = groups[0].each_ref().map(|group| io.css(group).map(|css| css.stats(&disk)));
    let (a, b) = (a.ok_or("removed")?, b.ok_or("removed")?);
    assert_eq!(a.rios + b.rios, granted);
    assert!(a.rios > 0 && b.rios > 0, "{a:?} {b:?}");
    let root = io.root().ok_or("unregistered")?;
    assert_eq!(figures(root.stats(&disk)), (granted, granted * 10, 0, 0));
    Ok(())
}

#[test]
fn a_root_that_is_retired_refuses_and_lets_permits_end() -> Outcome {
    let registry = Registry::new();
    let io = registry.register(Io::new())?;
    let disk = Device::builder("disk").depth(3).register(&io)?;
    let free = Device::builder("free").register(&io)?;
    let root = io.root().ok_or("unregistered")?;
    let (at, leased) = (disk.stream_at(&root)?, free.stream_at(&root)?);
    let (kept, owned) = (at.try_acquire(Op::read(1))?, at.charge_urgent(Op::read(1))?.into_owned());
    // A thread that has something of the root at hand, and ends when that is retired.
    let (has, is_gone) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    let counted = AtomicU64::new(0);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            while leased.try_acquire(Op::read(1)).map(drop).is_ok() {
                if counted.fetch_add(1, Relaxed) == 100 {
                    has.wait();
                    is_gone.wait();
                }
            }
        });
        has.wait();
        let result = io.unregister();
        is_gone.wait();
        other.join().expect("it does not panic");
        result
    })?;
    assert_eq!(counted.load(Relaxed), 101, "refused as soon as it is gone");
    for stream in [&at, &leased] {
        let refused = [
            stream.try_acquire(Op::read(1)).map(drop),
            stream.acquire_blocking(Op::read(1)).map(drop),
            stream.charge_urgent(Op::write(1)).map(drop),
        ];
        for result in refused {
            assert_eq!(result.unwrap_err().why, Refusal::Removed);
        }
    }
    assert_eq!(disk.stats().in_flight, 2);
    kept.done(0);
    owned.done(1);
    assert_eq!((disk.stats().in_flight, root.stats(&disk)), (0, IoStats::default()));
    assert!(disk.stream_at(&root).is_err());
    Ok(())
}
