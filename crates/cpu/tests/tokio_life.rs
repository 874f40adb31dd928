//! Beginnings and ends of pools on a runtime, and of jobs on them.

#[path = "support/tokio.rs"]
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use fief_core::VirtualClock;
use fief_cpu::{Cpu, Pool, SpawnError, StartError, tree::Bandwidth};
use support::{
    Driven, INSIDE, LONG, Mode, Outcome, await_from, give_way, world, world_of, world_with,
};

/// Counts those there are.
struct Counted(Arc<AtomicU64>);

impl Counted {
    fn new(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Returns how many threads of the process have a name that begins so.
#[cfg(target_os = "linux")]
fn threads(prefix: &str) -> Result<usize, std::io::Error> {
    let mut count = 0;
    for entry in std::fs::read_dir("/proc/self/task")? {
        let name = std::fs::read_to_string(entry?.path().join("comm")).unwrap_or_default();
        count += usize::from(name.starts_with(prefix));
    }
    Ok(count)
}

#[test]
fn jobs_are_cancelled_by_a_shutdown_in_every_state() -> Outcome {
    for mode in INSIDE {
        let world = world(mode, 2)?;
        let group = world.group("web")?;
        let count = Arc::default();
        let keep = || Counted::new(&count);
        let (a, b, c) = (keep(), keep(), keep());
        let idle = group.spawn(async move {
            let _kept = a;
            std::future::pending::<()>().await;
        })?;
        let running = group.spawn(async move {
            let _kept = b;
            loop {
                give_way().await;
            }
        })?;
        let sleeping = group.spawn(async move {
            let _kept = c;
            tokio::time::sleep(Duration::from_secs(3600)).await;
        })?;
        let queued: Result<Vec<_>, _> = (0..100)
            .map(|_| {
                let kept = keep();
                group.spawn(async move {
                    let _kept = kept;
                    std::future::pending::<()>().await;
                })
            })
            .collect();
        world.pool.shutdown();
        assert!(running.join().unwrap_err().is_cancelled());
        for job in queued?.into_iter().chain([idle, sleeping]) {
            assert!(job.join().unwrap_err().is_cancelled(), "{mode:?}");
        }
        assert_eq!(count.load(Ordering::SeqCst), 0, "{mode:?}");
        assert_eq!(group.spawn(async {}).unwrap_err(), SpawnError::ShutDown);
        world.pool.shutdown();
    }
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn no_thread_is_left() -> Outcome {
    for mode in [Mode::Rescued, Mode::Attached, Mode::Single] {
        let world = world_with(mode, 2, |builder| builder.thread_name("leaver"))?;
        world.group("web")?.spawn(async {})?.join()?;
        assert_eq!(threads("leaver")?, if mode == Mode::Rescued { 3 } else { 2 });
        drop(world.pool);
        // One that was joined may be listed for a moment.
        let begun = Instant::now();
        while threads("leaver")? > 0 {
            assert!(begun.elapsed() < LONG, "{mode:?}");
            thread::yield_now();
        }
    }
    Ok(())
}

/// A worker that drops its pool does not wait for itself, whatever drives it.
#[test]
fn a_job_can_end_its_pool() -> Outcome {
    for mode in INSIDE {
        let world = world(mode, 2)?;
        let group = world.group("web")?;
        let other = group.spawn(std::future::pending::<()>())?;
        let (to, from) = tokio::sync::oneshot::channel::<Pool>();
        let (tell, told) = mpsc::channel();
        let ending = group.spawn(async move {
            drop(from.await.unwrap());
            tell.send(()).unwrap();
            std::future::pending::<()>().await;
        })?;
        to.send(world.pool).unwrap();
        await_from(&told)?;
        assert!(other.join().unwrap_err().is_cancelled(), "{mode:?}");
        assert!(ending.join().unwrap_err().is_cancelled());
    }
    Ok(())
}

/// A pool can be ended on the only thread that could run its tasks.
#[test]
fn a_pool_can_be_ended_on_its_runtime() -> Outcome {
    for mode in [Mode::Single, Mode::SingleRunners] {
        let world = world(mode, 2)?;
        let job = world.group("web")?.spawn(std::future::pending::<()>())?;
        let pool = world.pool;
        let (tell, told) = mpsc::channel();
        world.runtime.handle().spawn(async move {
            drop(pool);
            tell.send(()).unwrap();
        });
        await_from(&told)?;
        assert!(job.join().unwrap_err().is_cancelled());
    }
    Ok(())
}

/// And where nobody drives it.
#[test]
fn a_pool_on_an_idle_runtime_can_be_ended() -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for is_attached in [false, true] {
        let mut world = world(Mode::Own, 1)?;
        world.pool.shutdown();
        let builder = Pool::builder(&world.cpu).workers(2);
        let handle = runtime.handle().clone();
        world.pool =
            if is_attached { builder.tokio(handle) } else { builder.runners(handle) }.start()?;
        let group = world.group("web")?;
        let job = group.spawn(std::future::pending::<()>())?;
        drop(world.pool);
        assert!(job.join().unwrap_err().is_cancelled());
    }
    runtime.block_on(tokio::task::yield_now());
    drop(runtime);
    Ok(())
}

/// A runner that nobody polls any more does not keep its slot.
#[test]
fn a_runner_is_taken_off_a_runtime_that_stands_still() -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut world = world(Mode::Own, 1)?;
    world.pool.shutdown();
    world.pool = Pool::builder(&world.cpu).workers(1).runners(runtime.handle().clone()).start()?;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let busy = world.group("web")?.spawn(async move {
        while tell.send(()).is_ok() {
            give_way().await;
        }
    })?;
    runtime.block_on(told.recv()).ok_or("gone")?;
    world.pool.shutdown(); // between two of its polls
    assert!(busy.join().unwrap_err().is_cancelled());
    world.pool = Pool::builder(&world.cpu).workers(1).start()?;
    assert_eq!(world.group("next")?.spawn(async { 7 })?.join()?, 7);
    Ok(())
}

/// Runners go with their runtime, and the pool with them; another one can be started.
#[test]
fn without_its_runtime_a_pool_of_runners_is_shut_down() -> Outcome {
    for mode in [Mode::Runners, Mode::SingleRunners] {
        let mut world = world(mode, 2)?;
        let group = world.group("web")?;
        let count = Arc::default();
        let kept = Counted::new(&count);
        let running = group.spawn(async move {
            let _kept = kept;
            loop {
                give_way().await;
            }
        })?;
        let idle = group.spawn(std::future::pending::<()>())?;
        world.runtime.end();
        assert!(running.join().unwrap_err().is_cancelled(), "{mode:?}");
        assert!(idle.join().unwrap_err().is_cancelled());
        assert_eq!(count.load(Ordering::SeqCst), 0);
        assert_eq!(group.spawn(async {}).unwrap_err(), SpawnError::ShutDown);
        let second = Pool::builder(&world.cpu).workers(1).start()?;
        let next = second.group(&world.tenants.root().create_child("next")?)?;
        drop(world.pool); // it is not in charge any more
        assert_eq!(next.spawn(async { 7 })?.join()?, 7);
    }
    Ok(())
}

/// Attached workers outlive the runtime; sockets and timers do not.
#[test]
fn without_its_runtime_an_attached_pool_goes_on() -> Outcome {
    for mode in [Mode::Attached, Mode::Alone, Mode::Single] {
        let mut world = world(mode, 1)?;
        let group = world.group("web")?;
        group.css().set_latency(Duration::from_millis(1))?;
        let sleeping = group.spawn(async {
            tokio::time::sleep(Duration::from_secs(3600)).await;
        })?;
        let idle = group.spawn(std::future::pending::<()>())?;
        group.spawn(async {})?.join()?;
        world.runtime.end();
        assert_eq!(group.spawn(async { 7 })?.join()?, 7, "{mode:?}");
        // A timer panics, or is over if it was looked at just then.
        assert!(sleeping.join().err().is_none_or(|error| error.is_panic()));
        let bind = group.spawn(tokio::net::UdpSocket::bind("127.0.0.1:0"))?;
        assert!(bind.join()?.is_err(), "{mode:?}: a socket without a runtime");
        // The rescue lane is gone, and nobody waits for it.
        let (tell, told) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let stuck = world.group("stuck")?.spawn(async move {
            begun.send(()).unwrap();
            await_from(&told).unwrap();
        })?;
        await_from(&has_begun)?;
        let late = group.spawn(async { 8 })?;
        tell.send(())?;
        assert_eq!((late.join()?, stuck.join()?), (8, ()));
        drop(world.pool);
        assert!(idle.join().unwrap_err().is_cancelled());
    }
    Ok(())
}

#[test]
fn what_cannot_be_is_refused() -> Outcome {
    let mut world = world(Mode::Runners, 1)?;
    let builder = || Pool::builder(&world.cpu);
    let handle = world.runtime.handle();
    let error = builder().runners(handle.clone()).nice(3).start().unwrap_err();
    assert!(matches!(error, StartError::NiceOfRunners { nice: 3 }));
    let started = builder().tokio(handle.clone()).start();
    assert!(matches!(started, Err(StartError::Started)));
    world.pool.shutdown();
    world.runtime.end();
    for builder in [builder().tokio(handle.clone()), builder().runners(handle.clone())] {
        let error = builder.start().unwrap_err();
        assert!(matches!(error, StartError::Runtime));
        assert_eq!(error.to_string(), "the runtime on which the workers were to run was shut down");
    }
    // What was refused has changed nothing.
    let runtime = Driven::multi(1)?;
    world.pool = builder().runners(runtime.handle()).start()?;
    assert_eq!(world.group("web")?.spawn(async { 7 })?.join()?, 7);
    Ok(())
}

/// What a job panics with is its handle's; the worker goes on.
#[test]
fn panics_end_in_their_jobs() -> Outcome {
    for mode in INSIDE {
        let world = world(mode, 1)?;
        let group = world.group("web")?;
        for _ in 0..3 {
            let error = group.spawn(async { panic!("on purpose") })?.join().unwrap_err();
            let payload = error.into_panic().ok_or("cancelled")?;
            assert_eq!(payload.downcast_ref(), Some(&"on purpose"), "{mode:?}");
            let error = group.spawn(async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                panic!("later")
            })?;
            assert!(error.join().unwrap_err().is_panic());
        }
        assert_eq!(group.spawn(async { 7 })?.join()?, 7);
    }
    Ok(())
}

/// Trap 5: a handle or a future is dropped or aborted in any state; nothing is lost, nobody hangs.
#[test]
fn jobs_are_dropped_in_every_state() -> Outcome {
    for mode in INSIDE {
        let world = world(mode, 2)?;
        let group = world.group("web")?;
        let (count, inner) = (Arc::default(), group.clone());
        let counter: Arc<AtomicU64> = Arc::clone(&count);
        let all = group.spawn(async move {
            for round in 0..300 {
                let kept = Counted::new(&counter);
                let mut job = inner
                    .spawn(async move {
                        let _kept = kept;
                        for _ in 0..round % 7 {
                            tokio::task::yield_now().await;
                        }
                        tokio::time::sleep(Duration::from_micros(round % 5 * 300)).await;
                        round
                    })
                    .unwrap();
                match round % 6 {
                    0 => job.abort(),
                    1 => drop(tokio::time::timeout(Duration::ZERO, job).await),
                    2 => tokio::select! {
                        biased;
                        output = &mut job => assert_eq!(output.unwrap(), round),
                        () = give_way() => job.abort(),
                    },
                    3 => {
                        // By one of the runtime's own tasks, which is dropped while it waits.
                        let waiting = tokio::spawn(job);
                        give_way().await;
                        waiting.abort();
                        drop(waiting.await);
                    }
                    4 => assert_eq!(job.await.unwrap(), round),
                    _ => drop(job),
                }
            }
        })?;
        all.join()?;
        while count.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
        }
        assert_eq!(group.spawn(async { 7 })?.join()?, 7, "{mode:?}");
    }
    Ok(())
}

/// A group that its quota holds back is let go when it is due, though all workers sleep, and are tasks.
#[test]
fn a_throttled_group_is_released_while_runners_sleep() -> Outcome {
    for mode in [Mode::Runners, Mode::SingleRunners, Mode::Attached] {
        let clock = VirtualClock::new();
        let cpu = Cpu::builder().cpus(2).clock(Arc::new(clock.clone())).build();
        let world = world_of(mode, 2, cpu, |builder| builder)?;
        let group = world.group("web")?;
        let max = Bandwidth::new(Duration::from_millis(1), Duration::from_millis(10))?;
        group.css().set_max(max);
        let (tell, told) = mpsc::channel();
        let hand = clock.clone();
        let job = group.spawn(async move {
            for number in 0..5 {
                hand.advance(Duration::from_millis(5)); // five times what a period gives
                tell.send(number).unwrap();
                give_way().await;
            }
        })?;
        let begun = Instant::now();
        let mut next = 0;
        while next < 5 || !job.is_finished() {
            match told.recv_timeout(Duration::from_millis(1)) {
                Ok(number) => {
                    assert_eq!(number, next);
                    next += 1;
                }
                Err(_) if begun.elapsed() < LONG => {
                    thread::sleep(Duration::from_millis(1)); // the sender may be gone
                    clock.advance(Duration::from_millis(10));
                    world.cpu.subsystem().tick(); // by the machine's clock a thread does that
                }
                Err(error) => return Err(format!("{mode:?}, {next}: {error}").into()),
            }
        }
        job.join()?;
        drop(world.pool);
    }
    Ok(())
}

#[test]
fn a_nice_value_is_set_or_refused() -> Outcome {
    // Whoever may raise a priority gets what it asks for.
    let world = world(Mode::Alone, 1)?;
    let group = world.group("nicer")?;
    let nice = group.spawn(async { nice_value() })?.join()?;
    assert_eq!(nice, nice_value().map(|nice| (nice + 5).min(19)));
    world.pool.shutdown();
    match Pool::builder(&world.cpu).tokio(world.runtime.handle()).workers(1).nice(-20).start() {
        Ok(pool) => pool.shutdown(),
        Err(StartError::Nice { number: 1, workers: 1, nice: -20, .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let pool =
        Pool::builder(&world.cpu).tokio(world.runtime.handle()).workers(1).nice(7).start()?;
    let group = pool.group(&world.tenants.root().create_child("web")?)?;
    let nice = group.spawn(async { nice_value() })?.join()?;
    assert!(nice.is_none_or(|nice| nice == 7), "{nice:?}");
    Ok(())
}

/// Returns the nice value of the calling thread, where there are any.
fn nice_value() -> Option<i32> {
    if !cfg!(all(target_os = "linux", not(fief_portable))) {
        return None;
    }
    let stat = std::fs::read_to_string("/proc/thread-self/stat").ok()?;
    let fields = stat.rsplit(')').next()?;
    fields.split_whitespace().nth(16)?.parse().ok()
}
