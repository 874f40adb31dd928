//! Threads that run for a group: leases, checkpoints, and closures on workers.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use fief_core::{Cgroup, Controller, Hierarchy, Registry};
use fief_cpu::{Bandwidth, Cpu, EnterError, Group, Killed, Lease, Pool};

type Outcome = Result<(), Box<dyn std::error::Error>>;

struct World {
    registry: Registry,
    tenants: Hierarchy,
    cpu: Controller<Cpu>,
}

impl World {
    fn new(cpus: u32) -> Result<Self, Box<dyn std::error::Error>> {
        let registry = Registry::new();
        let tenants = registry.create_hierarchy("by-tenant")?;
        let cpu = registry.register(Cpu::builder().cpus(cpus).build())?;
        cpu.bind(&tenants)?;
        Ok(Self { registry, tenants, cpu })
    }

    fn group(&self, name: &str) -> Result<(Cgroup, Group), Box<dyn std::error::Error>> {
        let cgroup = self.tenants.root().create_child(name)?;
        let group = Group::new(&self.cpu, &cgroup)?;
        Ok((cgroup, group))
    }

    /// No slot is lost or doubled when nobody runs.
    fn assert_all_free(&self) {
        let cpu = self.cpu.subsystem();
        let want = format!("Cpu {{ cpus: {0}, free: {0} }}", cpu.cpus());
        wait_until(|| format!("{cpu:?}") == want);
    }
}

#[track_caller]
fn wait_until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not become so");
        thread::sleep(Duration::from_millis(1));
    }
}

fn spin(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn a_hundred_threads_never_run_more_than_there_are_cpus() -> Outcome {
    let world = World::new(2)?;
    let groups = [world.group("web")?.1, world.group("batch")?.1];
    let (running, most, rounds) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU64::new(0));
    let work = |group: &Group| {
        for _ in 0..3 {
            let lease = group.enter().expect("nobody kills it");
            for _ in 0..5 {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                spin(Duration::from_micros(20));
                running.fetch_sub(1, Ordering::SeqCst);
                lease.checkpoint().expect("nobody kills it");
            }
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            running.fetch_sub(1, Ordering::SeqCst);
            lease.blocking(|| thread::sleep(Duration::from_micros(50)));
            rounds.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        for number in 0..100 {
            let group = &groups[number % 2];
            scope.spawn(move || work(group));
        }
    });
    assert_eq!(rounds.into_inner(), 300);
    assert!(most.into_inner() <= 2);
    world.assert_all_free();
    Ok(())
}

#[test]
fn a_lease_gives_its_cpu_away_in_blocking() -> Outcome {
    let world = World::new(1)?;
    let (_, web) = world.group("web")?;
    let lease = web.enter()?;
    let result = thread::scope(|scope| {
        let other = scope.spawn(|| web.enter_timeout(Duration::from_millis(20)).err());
        assert_eq!(other.join().expect("no panic"), Some(EnterError::TimedOut));
        lease.blocking(|| {
            // It would wait for ever if the CPU were not free.
            scope.spawn(|| drop(web.enter().expect("nobody kills it"))).join().expect("no panic");
            5
        })
    });
    assert_eq!(result, 5);
    lease.checkpoint()?;
    drop(lease);
    world.assert_all_free();
    Ok(())
}

#[test]
fn a_panic_in_blocking_or_under_a_lease_loses_no_cpu() -> Outcome {
    let world = World::new(1)?;
    let (_, web) = world.group("web")?;
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let lease = web.enter().expect("nobody kills it");
        lease.blocking(|| std::panic::resume_unwind(Box::new(7)));
    }));
    assert!(caught.is_err());
    world.assert_all_free();
    let lease = web.enter()?;
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        lease.blocking(|| std::panic::resume_unwind(Box::new(7)));
    }));
    assert!(caught.is_err());
    world.assert_all_free();
    // It has none until the next checkpoint.
    lease.checkpoint()?;
    assert_eq!(format!("{:?}", world.cpu.subsystem()), "Cpu { cpus: 1, free: 0 }");
    drop(lease);
    world.assert_all_free();
    Ok(())
}

#[test]
fn who_waits_gets_a_cpu_at_a_checkpoint() -> Outcome {
    let world = World::new(1)?;
    let ((_, web), (_, batch)) = (world.group("web")?, world.group("batch")?);
    let is_over = AtomicBool::new(false);
    let turns = thread::scope(|scope| {
        let (begun, has_begun) = mpsc::channel();
        let is_over = &is_over;
        scope.spawn(move || {
            let lease = batch.enter().expect("nobody kills it");
            begun.send(()).expect("it is awaited");
            while !is_over.load(Ordering::Relaxed) {
                spin(Duration::from_micros(10));
                lease.checkpoint().expect("nobody kills it");
            }
        });
        has_begun.recv().expect("it begins");
        let turns: Vec<_> =
            (0..20).map(|_| web.enter_timeout(Duration::from_secs(10)).is_ok()).collect();
        is_over.store(true, Ordering::Relaxed);
        turns
    });
    assert_eq!(turns, vec![true; 20]);
    world.assert_all_free();
    Ok(())
}

#[test]
fn a_guard_keeps_the_cpu() -> Outcome {
    let world = World::new(1)?;
    let ((_, web), (_, batch)) = (world.group("web")?, world.group("batch")?);
    let lease = batch.enter()?;
    let is_in = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let lease = web.enter().expect("nobody kills it");
            is_in.store(true, Ordering::SeqCst);
            drop(lease);
        });
        let guard = lease.no_yield();
        let inner = fief_cpu::no_yield();
        for _ in 0..3000 {
            spin(Duration::from_micros(10));
            lease.checkpoint().expect("nobody kills it");
        }
        drop(guard);
        lease.blocking(|| thread::sleep(Duration::from_millis(1)));
        assert!(!is_in.load(Ordering::SeqCst), "it waited in spite of a guard");
        drop(inner);
        while !is_in.load(Ordering::SeqCst) {
            lease.checkpoint().expect("nobody kills it");
        }
    });
    drop(lease);
    world.assert_all_free();
    Ok(())
}

#[test]
fn a_thread_has_one_lease() -> Outcome {
    let world = World::new(2)?;
    let (_, web) = world.group("web")?;
    let lease = web.enter()?;
    assert_eq!(web.enter().err(), Some(EnterError::Nested));
    // While it waits it has none.
    lease.blocking(|| web.enter().map(drop))?;
    fief_cpu::blocking(|| web.enter().map(drop))?;
    assert_eq!(web.enter().err(), Some(EnterError::Nested));
    fief_cpu::checkpoint()?;
    drop(lease);
    fief_cpu::checkpoint()?;
    drop(web.enter()?);
    world.assert_all_free();
    Ok(())
}

#[test]
fn kill_ends_leases_that_run_and_that_wait() -> Outcome {
    let world = World::new(1)?;
    let ((web_group, web), (_, batch)) = (world.group("web")?, world.group("batch")?);
    let lease = web.enter()?;
    thread::scope(|scope| {
        let waiting = scope.spawn(|| web.enter().err());
        wait_until(|| format!("{web:?}").contains("waiting: 1"));
        web_group.kill().expect("it is not removed");
        assert_eq!(waiting.join().expect("no panic"), Some(EnterError::Killed));
    });
    assert!(lease.is_killed());
    assert_eq!(lease.checkpoint(), Err(Killed));
    assert_eq!(lease.checkpoint(), Err(Killed), "for good");
    assert_eq!(lease.blocking(|| 3), 3);
    assert_eq!(fief_cpu::checkpoint(), Err(Killed));
    // It has given its CPU back.
    world.assert_all_free();
    thread::scope(|scope| {
        scope.spawn(|| drop(batch.enter().expect("another group"))).join().expect("no panic");
    });
    drop(lease);
    drop(web.enter()?); // who comes after the kill is not killed
    world.assert_all_free();
    Ok(())
}

#[test]
fn a_frozen_group_waits_at_a_checkpoint() -> Outcome {
    let world = World::new(1)?;
    let ((cgroup, web), (_, batch)) = (world.group("web")?, world.group("batch")?);
    let (count, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let lease = web.enter().expect("nobody kills it");
            while !is_over.load(Ordering::Relaxed) {
                count.fetch_add(1, Ordering::SeqCst);
                lease.checkpoint().expect("nobody kills it");
            }
        });
        wait_until(|| count.load(Ordering::SeqCst) > 0);
        cgroup.freeze().expect("it is not removed");
        wait_until(|| cgroup.is_frozen());
        let frozen = count.load(Ordering::SeqCst);
        // Its CPU is free for others.
        drop(batch.enter().expect("nobody kills it"));
        assert_eq!(web.enter_timeout(Duration::from_millis(5)).err(), Some(EnterError::TimedOut));
        assert_eq!(count.load(Ordering::SeqCst), frozen);
        cgroup.thaw().expect("it is not removed");
        wait_until(|| count.load(Ordering::SeqCst) > frozen);
        is_over.store(true, Ordering::Relaxed);
    });
    world.assert_all_free();
    Ok(())
}

#[test]
fn a_killed_group_need_not_be_thawed() -> Outcome {
    let world = World::new(1)?;
    let (cgroup, web) = world.group("web")?;
    cgroup.freeze()?;
    thread::scope(|scope| {
        let waiting = scope.spawn(|| web.enter().err());
        wait_until(|| format!("{web:?}").contains("waiting: 1"));
        cgroup.kill().expect("it is not removed");
        assert_eq!(waiting.join().expect("no panic"), Some(EnterError::Killed));
    });
    world.assert_all_free();
    Ok(())
}

#[test]
fn waiting_leases_follow_their_member() -> Outcome {
    let world = World::new(1)?;
    let ((web, group), (batch, _)) = (world.group("web")?, world.group("batch")?);
    let held = world.group("holder")?.1;
    let lease = held.enter()?;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..10).map(|_| scope.spawn(|| group.enter().map(drop))).collect();
        wait_until(|| format!("{group:?}").contains("waiting: 10"));
        for _ in 0..50 {
            group.task().join(&batch).expect("it is not removed");
            group.task().join(&web).expect("it is not removed");
        }
        group.task().join(&batch).expect("it is not removed");
        world.cpu.unbind().expect("it is bound");
        world.cpu.bind(&world.tenants).expect("it is unbound");
        drop(lease);
        threads.into_iter().for_each(|thread| {
            assert_eq!(thread.join().expect("no panic"), Ok(()));
        });
    });
    world.assert_all_free();
    Ok(())
}

#[test]
fn leases_go_on_when_the_pool_is_shut_down() -> Outcome {
    let world = World::new(2)?;
    let (_, web) = world.group("web")?;
    let pool = Pool::builder(&world.cpu).workers(2).start()?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let count: Vec<_> = (0..6).map(|_| AtomicU64::new(0)).collect();
        let count = Arc::new(count);
        for number in 0..6 {
            let (count, web, is_over) = (Arc::clone(&count), &web, &is_over);
            scope.spawn(move || {
                let lease = web.enter().expect("nobody kills it");
                while !is_over.load(Ordering::Relaxed) {
                    count[number].fetch_add(1, Ordering::Relaxed);
                    spin(Duration::from_micros(10));
                    lease.checkpoint().expect("nobody kills it");
                }
            });
        }
        let all = |least: u64| count.iter().all(|count| count.load(Ordering::Relaxed) >= least);
        wait_until(|| all(10));
        pool.shutdown();
        let most = count.iter().map(|count| count.load(Ordering::Relaxed)).max().unwrap_or(0);
        wait_until(|| all(most + 10));
        is_over.store(true, Ordering::Relaxed);
    });
    world.assert_all_free();
    Ok(())
}

#[test]
fn workers_and_leases_share_the_cpus() -> Outcome {
    let world = World::new(1)?;
    let ((_, web), (_, batch)) = (world.group("web")?, world.group("batch")?);
    let pool = Pool::builder(&world.cpu).workers(1).start()?;
    let is_over = Arc::new(AtomicBool::new(false));
    let polls = Arc::new(AtomicU64::new(0));
    let (ended, counted) = (Arc::clone(&is_over), Arc::clone(&polls));
    let job = web.spawn(async move {
        while !ended.load(Ordering::Relaxed) {
            spin(Duration::from_micros(10));
            counted.fetch_add(1, Ordering::Relaxed);
            yield_now().await;
        }
    })?;
    let mut turns = 0;
    let lease = batch.enter()?;
    let begun = polls.load(Ordering::Relaxed);
    while polls.load(Ordering::Relaxed) < begun + 200 {
        turns += 1;
        spin(Duration::from_micros(10));
        lease.checkpoint()?;
    }
    drop(lease);
    assert!(turns > 20, "{turns}: both run");
    is_over.store(true, Ordering::Relaxed);
    job.join()?;
    drop(pool);
    world.assert_all_free();
    Ok(())
}

async fn yield_now() {
    let mut is_first = true;
    std::future::poll_fn(|context| {
        if std::mem::take(&mut is_first) {
            context.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(())
    })
    .await;
}

#[test]
fn a_closure_lets_others_run_at_its_checkpoints() -> Outcome {
    let world = World::new(1)?;
    let ((_, web), (_, batch)) = (world.group("web")?, world.group("batch")?);
    let pool = Pool::builder(&world.cpu).workers(1).start()?;
    let is_over = Arc::new(AtomicBool::new(false));
    let (begun, has_begun) = mpsc::channel();
    let ended = Arc::clone(&is_over);
    let hog = batch.spawn_fn(move || {
        begun.send(()).expect("it is awaited");
        let mut turns = 0;
        while !ended.load(Ordering::Relaxed) {
            spin(Duration::from_micros(10));
            fief_cpu::checkpoint()?;
            turns += 1;
        }
        Ok::<u64, Killed>(turns)
    })?;
    has_begun.recv()?;
    // Futures and closures of another group, and of the same.
    for _ in 0..20 {
        web.spawn(yield_now())?.join()?;
        assert_eq!(web.spawn_fn(|| 4)?.join()?, 4);
        assert_eq!(batch.spawn_fn(|| 5)?.join()?, 5);
        drop(web.enter()?);
    }
    is_over.store(true, Ordering::Relaxed);
    assert!(hog.join()?? > 0);
    drop(pool);
    world.assert_all_free();
    Ok(())
}

#[test]
fn a_closure_that_blocks_leaves_the_cpu_to_others() -> Outcome {
    let world = World::new(1)?;
    let (_, web) = world.group("web")?;
    let pool = Pool::builder(&world.cpu).workers(1).start()?;
    // Each one waits for the next, which needs a worker of its own.
    let barrier = Arc::new(Barrier::new(9));
    let handles: Result<Vec<_>, _> = (0..8)
        .map(|number| {
            let barrier = Arc::clone(&barrier);
            web.spawn_fn(move || {
                fief_cpu::blocking(|| barrier.wait());
                number
            })
        })
        .collect();
    let handles = handles?;
    barrier.wait();
    let sum: Result<i32, _> = handles.into_iter().map(|handle| handle.join()).sum();
    assert_eq!(sum?, 28);
    // A panic in there ends the job, and nothing else.
    let job = web.spawn_fn(|| fief_cpu::blocking(|| std::panic::resume_unwind(Box::new(1))))?;
    let error = job.join().err().ok_or("it panicked")?;
    assert!(error.is_panic());
    assert_eq!(web.spawn_fn(|| 4)?.join()?, 4);
    drop(pool);
    world.assert_all_free();
    Ok(())
}

#[test]
fn kill_and_shutdown_reach_a_closure_at_its_checkpoint() -> Outcome {
    let world = World::new(1)?;
    let ((cgroup, web), (_, batch)) = (world.group("web")?, world.group("batch")?);
    let pool = Pool::builder(&world.cpu).workers(1).start()?;
    let hog = |group: &Group| {
        let (begun, has_begun) = mpsc::channel();
        let job = group.spawn_fn(move || {
            begun.send(()).expect("it is awaited");
            while fief_cpu::checkpoint().is_ok() {
                spin(Duration::from_micros(5));
            }
            fief_cpu::checkpoint()
        });
        has_begun.recv().expect("it begins");
        job
    };
    let job = hog(&web)?;
    cgroup.kill()?;
    assert_eq!(job.join()?, Err(Killed));
    // Two share the CPU, so that one is waiting in its checkpoint.
    let (first, second) = (hog(&web)?, hog(&batch)?);
    let frozen = hog(&web)?;
    cgroup.freeze()?;
    wait_until(|| cgroup.is_frozen());
    pool.shutdown();
    assert_eq!(first.join()?, Err(Killed));
    assert_eq!(second.join()?, Err(Killed));
    assert_eq!(frozen.join()?, Err(Killed));
    world.assert_all_free();
    Ok(())
}

#[test]
fn a_quota_holds_for_a_lease_by_itself() -> Outcome {
    let world = World::new(2)?;
    let (cgroup, web) = world.group("web")?;
    web.css().set_max(Bandwidth::new(Duration::from_millis(10), Duration::from_millis(100))?);
    let begun = Instant::now();
    let lease = web.enter()?;
    let (mut work, mut last) = (Duration::ZERO, Instant::now());
    while begun.elapsed() < Duration::from_millis(500) {
        lease.checkpoint()?;
        let now = Instant::now();
        let passed = now - last;
        // What is longer is a wait, or the machine's.
        work += if passed < Duration::from_micros(100) { passed } else { Duration::ZERO };
        last = now;
    }
    drop(lease);
    let took = begun.elapsed();
    // Nobody sleeps, and nobody else runs: the ticker lets it in.
    assert!(work > took / 50, "{work:?} of {took:?}");
    assert!(work < took / 6, "{work:?} of {took:?}");
    // What waits for its quota ends with its group.
    web.css().set_max(Bandwidth::new(Duration::from_millis(1), Duration::from_secs(1))?);
    let lease = web.enter()?;
    spin(Duration::from_millis(30));
    thread::scope(|scope| {
        scope.spawn(|| {
            wait_until(|| format!("{web:?}").contains("waiting: 1"));
            cgroup.kill().expect("it is not removed");
        });
        loop {
            if lease.checkpoint().is_err() {
                return;
            }
        }
    });
    drop(lease);
    world.assert_all_free();
    Ok(())
}

#[test]
fn leases_come_and_go_while_all_else_happens() -> Outcome {
    let world = World::new(2)?;
    let pool = Pool::builder(&world.cpu).workers(2).start()?;
    let root = world.tenants.root();
    let groups: Result<Vec<_>, _> = (0..4).map(|n| world.group(&format!("g{n}"))).collect();
    let groups = groups?;
    let is_over = AtomicBool::new(false);
    let turns = AtomicU64::new(0);
    thread::scope(|scope| {
        for number in 0..12 {
            let (group, is_over, turns) = (&groups[number % 4].1, &is_over, &turns);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(number as u64);
                while !is_over.load(Ordering::Relaxed) {
                    let patience = Duration::from_micros(random.u64(0..500));
                    let Ok(lease) = group.enter_timeout(patience) else { continue };
                    for _ in 0..random.u32(0..20) {
                        spin(Duration::from_micros(random.u64(0..30)));
                        if lease.checkpoint().is_err() {
                            break;
                        }
                        if random.u32(0..10) == 0 {
                            lease.blocking(thread::yield_now);
                        }
                    }
                    turns.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut random = fastrand::Rng::with_seed(99);
        for _ in 0..300 {
            let (cgroup, group) = &groups[random.usize(0..4)];
            match random.u32(0..6) {
                0 => {
                    cgroup.freeze().expect("it is not removed");
                    thread::sleep(Duration::from_micros(200));
                    cgroup.thaw().expect("it is not removed");
                }
                1 => drop(cgroup.kill()),
                2 => group.task().join(&groups[random.usize(0..4)].0).expect("it is there"),
                3 => group.task().join(&root).expect("it is there"),
                4 => drop(group.spawn(yield_now())),
                _ => drop(group.spawn_fn(|| fief_cpu::blocking(thread::yield_now))),
            }
            thread::sleep(Duration::from_micros(random.u64(0..500)));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(turns.into_inner() > 100);
    drop(pool);
    world.assert_all_free();
    drop(world.registry);
    Ok(())
}

#[test]
fn a_lease_may_outlive_what_its_thread_knows_of_it() -> Outcome {
    thread_local! {
        static LAST: std::cell::RefCell<Option<(Lease, Checks)>> = const { std::cell::RefCell::new(None) };
    }
    struct Checks(Group);
    impl Drop for Checks {
        fn drop(&mut self) {
            // Thread-locals are being dropped: it may know nothing of leases any more.
            let _checked = fief_cpu::checkpoint();
            fief_cpu::blocking(|| drop(fief_cpu::no_yield()));
            drop(self.0.enter_timeout(Duration::from_millis(1)));
        }
    }
    let world = World::new(2)?;
    let (_, web) = world.group("web")?;
    let thread = thread::spawn(move || {
        LAST.with_borrow(|_| ()); // dropped after what is made later
        let lease = web.enter().expect("nobody kills it");
        LAST.set(Some((lease, Checks(web))));
    });
    assert!(thread.join().is_ok());
    world.assert_all_free();
    Ok(())
}

#[test]
fn who_gives_up_as_its_turn_comes_hands_it_on() -> Outcome {
    let world = World::new(1)?;
    let groups = [world.group("web")?.1, world.group("batch")?.1];
    let (entered, given_up) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for number in 0..4 {
            let (group, entered, given_up) = (&groups[number % 2], &entered, &given_up);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(number as u64);
                for _ in 0..5000 {
                    let patience = Duration::from_micros(random.u64(0..20));
                    match group.enter_timeout(patience) {
                        Ok(_lease) => spin(Duration::from_micros(random.u64(0..5))),
                        Err(_) => _ = given_up.fetch_add(1, Ordering::Relaxed),
                    }
                    entered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(entered.into_inner(), 20_000);
    assert!(given_up.into_inner() > 100, "nobody gave up");
    world.assert_all_free();
    Ok(())
}
