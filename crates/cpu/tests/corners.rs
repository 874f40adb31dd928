//! Where leases, workers, the rescue lane, freezes and shutdowns meet.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use fief_core::{Cgroup, Controller, Hierarchy, Registry};
use fief_cpu::{Bandwidth, Cpu, Group, JoinHandle, Pool, StartError};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// So long something that is bound to happen may take.
const LONG: Duration = Duration::from_secs(20);

struct World {
    _registry: Registry,
    tenants: Hierarchy,
    cpu: Controller<Cpu>,
}

impl World {
    /// A controller of one CPU.
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let registry = Registry::new();
        let tenants = registry.create_hierarchy("by-tenant")?;
        let cpu = registry.register(Cpu::builder().cpus(1).build())?;
        cpu.bind(&tenants)?;
        Ok(Self { _registry: registry, tenants, cpu })
    }

    fn group(&self, name: &str) -> Result<(Cgroup, Group), Box<dyn std::error::Error>> {
        let cgroup = self.tenants.root().create_child(name)?;
        let group = Group::new(&self.cpu, &cgroup)?;
        Ok((cgroup, group))
    }

    /// A group that used so much more than it may that what it has now waits long.
    fn indebted(&self, max: &str) -> Result<(Group, JoinHandle<()>), Box<dyn std::error::Error>> {
        let (_, group) = self.group("indebted")?;
        group.css().set_max(max.parse::<Bandwidth>()?);
        group.spawn_fn(|| spin(Duration::from_millis(20)))?.join()?;
        let waits = group.spawn_fn(|| ())?;
        Ok((group, waits))
    }
}

fn wait_until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "it does not become so");
        thread::sleep(Duration::from_millis(1));
    }
}

fn spin(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Has a worker hold its CPU for so long without using it.
fn hold(group: &Group, time: Duration) -> Result<JoinHandle<()>, Box<dyn std::error::Error>> {
    let (tell, told) = mpsc::channel();
    let job = group.spawn_fn(move || {
        tell.send(()).unwrap_or_default();
        thread::sleep(time);
    })?;
    told.recv_timeout(LONG)?;
    Ok(job)
}

#[test]
fn a_killed_lease_may_block_again_and_again() -> Outcome {
    let world = World::new()?;
    let (cgroup, web) = world.group("web")?;
    let lease = web.enter()?;
    cgroup.kill()?;
    for round in 0..3 {
        assert_eq!(lease.blocking(|| round), round);
        assert!(lease.checkpoint().is_err());
    }
    drop(lease);
    drop(web.enter()?);
    Ok(())
}

/// What the process has used.
#[cfg(target_os = "linux")]
fn process_time() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?);
    Some(Duration::new(seconds, nanos))
}

#[cfg(target_os = "linux")]
#[test]
fn who_minds_the_alarm_sleeps_though_no_cpu_is_free() -> Outcome {
    let world = World::new()?;
    let pool = Pool::builder(&world.cpu).workers(2).start()?;
    let (_, hog) = world.group("hog")?;
    // Due in about 300 ms.
    let (_group, waits) = world.indebted("5000 100000")?;
    let busy = hold(&hog, Duration::from_millis(1500))?;
    let before = process_time().ok_or("no clock")?;
    busy.join()?;
    let used = process_time().ok_or("no clock")? - before;
    waits.join()?;
    drop(pool);
    // Tests beside this one sleep as well, but for some 20 ms.
    assert!(used < Duration::from_millis(500), "{used:?} in 1.5 s in which nobody runs");
    Ok(())
}

#[test]
fn a_claim_is_let_in_before_the_alarm_of_another_group() -> Outcome {
    let world = World::new()?;
    let pool = Pool::builder(&world.cpu).workers(1).start()?;
    // Due in about 20 s, for which the worker has the alarm.
    let (_group, waits) = world.indebted("1000 1000000")?;
    let (_, web) = world.group("web")?;
    web.css().set_max("50000 100000".parse::<Bandwidth>()?);
    let lease = web.enter()?;
    let other = thread::spawn(move || web.enter().map(drop));
    spin(Duration::from_millis(20));
    let begun = Instant::now();
    drop(lease);
    other.join().map_err(|_| "it panicked")??;
    assert!(begun.elapsed() < LONG / 4, "{:?}, of which 20 ms are due", begun.elapsed());
    drop(pool);
    assert!(waits.join().is_err());
    Ok(())
}

#[test]
fn the_lane_leaves_claims_alone() -> Outcome {
    let world = World::new()?;
    let pool = Pool::builder(&world.cpu).workers(1).rescue(10).start()?;
    let ((_, hog), (_, light)) = (world.group("hog")?, world.group("light")?);
    light.css().set_latency(Duration::from_millis(1))?;
    let busy = hold(&hog, Duration::from_millis(500))?;
    // The lane runs this; meanwhile a thread comes, which it cannot serve.
    let job = hold(&light, Duration::from_millis(100))?;
    let other = light.clone();
    let enters = thread::spawn(move || other.enter().map(drop));
    job.join()?;
    busy.join()?;
    enters.join().map_err(|_| "it panicked")??;
    let rescues = light.css().stats().own_nr_rescues;
    drop(pool);
    assert!((1..5).contains(&rescues), "{rescues}");
    Ok(())
}

#[test]
fn a_wrapped_future_in_a_job_needs_no_second_cpu() -> Outcome {
    let world = World::new()?;
    let pool = Pool::builder(&world.cpu).workers(1).start()?;
    let (_, web) = world.group("web")?;
    let (tell, told) = mpsc::channel();
    let (send, receive) = tokio::sync::oneshot::channel();
    let job = web.spawn(web.wrap(async move {
        for round in 0..100 {
            tokio::task::yield_now().await;
            tell.send(round).unwrap_or_default();
        }
        receive.await.is_ok()
    }))?;
    for round in 0..100 {
        assert_eq!(told.recv_timeout(LONG)?, round);
    }
    send.send(()).map_err(|()| "it is gone")?;
    assert!(job.join()?);
    drop(pool);
    assert_eq!(format!("{:?}", world.cpu.subsystem()), "Cpu { cpus: 1, free: 1 }");
    Ok(())
}

#[test]
fn a_pool_is_not_started_while_another_one_ends() -> Outcome {
    let world = World::new()?;
    let pool = Pool::builder(&world.cpu).workers(2).start()?;
    let (_, hog) = world.group("hog")?;
    let is_down = AtomicBool::new(false);
    let job = hold(&hog, Duration::from_millis(300))?;
    thread::scope(|scope| {
        scope.spawn(|| {
            pool.shutdown();
            is_down.store(true, Ordering::SeqCst);
        });
        wait_until(|| hog.spawn_fn(|| ()).is_err());
        let early = Pool::builder(&world.cpu).workers(1).start();
        if !is_down.load(Ordering::SeqCst) {
            assert!(matches!(early, Err(StartError::Started)), "{early:?}");
        }
        wait_until(|| is_down.load(Ordering::SeqCst));
    });
    drop(job);
    let next = Pool::builder(&world.cpu).workers(1).start()?;
    let (_, web) = world.group("web")?;
    web.spawn_fn(|| ())?.join()?;
    drop(next);
    Ok(())
}

#[test]
fn a_grant_that_nobody_comes_for_does_not_keep_a_freeze_from_its_end() -> Outcome {
    let world = World::new()?;
    let ((cgroup, web), (_, batch)) = (world.group("web")?, world.group("batch")?);
    let polls = Arc::new(AtomicBool::new(false));
    let is_polled = Arc::clone(&polls);
    let mut wrapped = pin!(web.wrap(async move { is_polled.store(true, Ordering::SeqCst) }));
    let mut context = Context::from_waker(Waker::noop());
    let lease = batch.enter()?;
    assert_eq!(wrapped.as_mut().poll(&mut context), Poll::Pending);
    drop(lease);
    assert_eq!(format!("{:?}", world.cpu.subsystem()), "Cpu { cpus: 1, free: 0 }");
    cgroup.freeze()?;
    wait_until(|| cgroup.is_frozen());
    assert_eq!(wrapped.as_mut().poll(&mut context), Poll::Pending);
    assert!(!polls.load(Ordering::SeqCst));
    cgroup.thaw()?;
    assert_eq!(wrapped.as_mut().poll(&mut context), Poll::Ready(()));
    Ok(())
}
