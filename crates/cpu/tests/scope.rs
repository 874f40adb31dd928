//! Closures that borrow from who waits for them.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use fief_core::{Cgroup, Controller, Hierarchy, Registry};
use fief_cpu::{Cpu, Group, JoinError, Pool};

type Outcome = Result<(), Box<dyn std::error::Error>>;

struct World {
    _registry: Registry,
    tenants: Hierarchy,
    cpu: Controller<Cpu>,
}

impl World {
    fn new(cpus: u32) -> Result<Self, Box<dyn std::error::Error>> {
        let registry = Registry::new();
        let tenants = registry.create_hierarchy("by-tenant")?;
        let cpu = registry.register(Cpu::builder().cpus(cpus).build())?;
        cpu.bind(&tenants)?;
        Ok(Self { _registry: registry, tenants, cpu })
    }

    fn group(&self, name: &str) -> Result<(Cgroup, Group), Box<dyn std::error::Error>> {
        let cgroup = self.tenants.root().create_child(name)?;
        let group = Group::new(&self.cpu, &cgroup)?;
        Ok((cgroup, group))
    }

    fn assert_all_free(&self) {
        let cpu = self.cpu.subsystem();
        let want = format!("Cpu {{ cpus: {0}, free: {0} }}", cpu.cpus());
        let begun = Instant::now();
        while format!("{cpu:?}") != want {
            assert!(begun.elapsed() < Duration::from_secs(20), "{cpu:?}");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Adds up numbers in halves, each half of a half in a scope of its own.
fn sum(group: &Group, numbers: &[u64]) -> u64 {
    if numbers.len() <= 4 {
        return numbers.iter().sum();
    }
    let (left, right) = numbers.split_at(numbers.len() / 2);
    let (mut a, mut b) = (0, 0);
    let scope = group.scope(|scope| {
        scope.spawn(|| a = sum(group, left));
        scope.spawn(|| b = sum(group, right));
    });
    scope.expect("nobody kills it");
    a + b
}

#[test]
fn closures_borrow_and_scopes_stand_in_scopes_with_any_number_of_workers() -> Outcome {
    let numbers: Vec<u64> = (0..200).collect();
    for workers in [0, 1, 3] {
        let world = World::new(2)?;
        let (_, web) = world.group("web")?;
        let mut pool = None;
        if workers > 0 {
            pool = Some(Pool::builder(&world.cpu).workers(workers).start()?);
        }
        assert_eq!(sum(&web, &numbers), 19_900, "{workers} workers, a thread of its own");
        let lease = web.enter()?;
        assert_eq!(sum(&web, &numbers), 19_900, "{workers} workers, a lease");
        drop(lease);
        if pool.is_some() {
            let (group, numbers) = (web.clone(), numbers.clone());
            let job = web.spawn_fn(move || sum(&group, &numbers))?;
            assert_eq!(job.join()?, 19_900, "{workers} workers, a job");
        }
        drop(pool);
        world.assert_all_free();
    }
    Ok(())
}

#[test]
fn many_jobs_with_scopes_on_one_worker_do_not_deadlock() -> Outcome {
    let world = World::new(1)?;
    let (_, web) = world.group("web")?;
    let pool = Pool::builder(&world.cpu).workers(1).start()?;
    let jobs: Result<Vec<_>, _> = (0..20)
        .map(|_| {
            let group = web.clone();
            web.spawn_fn(move || {
                let count = AtomicU32::new(0);
                let scope = group.scope(|scope| {
                    for _ in 0..10 {
                        scope.spawn(|| {
                            let _alive = fief_cpu::checkpoint();
                            count.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
                scope.map(|()| count.into_inner())
            })
        })
        .collect();
    for job in jobs? {
        assert_eq!(job.join()??, 10);
    }
    drop(pool);
    world.assert_all_free();
    Ok(())
}

#[test]
fn a_closure_can_spawn_into_its_scope() -> Outcome {
    let world = World::new(2)?;
    let (_, web) = world.group("web")?;
    let _pool = Pool::builder(&world.cpu).workers(2).start()?;
    let count = AtomicU32::new(0);
    let result = web.scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                for _ in 0..10 {
                    scope.spawn(|| {
                        count.fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
        }
        "done"
    });
    assert_eq!(result?, "done");
    assert_eq!(count.into_inner(), 100);
    Ok(())
}

#[test]
fn panics_are_collected_and_all_closures_are_gone() -> Outcome {
    for workers in [0, 2] {
        let world = World::new(2)?;
        let (_, web) = world.group("web")?;
        let _pool = (workers > 0).then(|| Pool::builder(&world.cpu).workers(workers).start());
        let (ran, dropped) = (AtomicU32::new(0), AtomicU32::new(0));
        let result = web.scope(|scope| {
            for number in 0..10 {
                let guard = Guard(&dropped);
                let ran = &ran;
                scope.spawn(move || {
                    let _guard = guard;
                    ran.fetch_add(1, Ordering::Relaxed);
                    if number % 3 == 0 {
                        std::panic::resume_unwind(Box::new(number));
                    }
                });
            }
        });
        let error = result.err().ok_or("it panicked")?;
        assert_eq!(error.to_string(), "of a scope's closures 4 panicked and 0 were cancelled");
        assert_eq!(error.cancelled(), 0);
        let mut numbers: Vec<i32> = error
            .into_panics()
            .into_iter()
            .filter_map(JoinError::into_panic)
            .filter_map(|payload| payload.downcast_ref().copied())
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 3, 6, 9]);
        assert_eq!((ran.into_inner(), dropped.into_inner()), (10, 10));
        world.assert_all_free();
    }
    Ok(())
}

struct Guard<'a>(&'a AtomicU32);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_panic_of_the_body_waits_for_the_closures() -> Outcome {
    let world = World::new(2)?;
    let (_, web) = world.group("web")?;
    let _pool = Pool::builder(&world.cpu).workers(2).start()?;
    let dropped = AtomicU32::new(0);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _result = web.scope(|scope| {
            for _ in 0..5 {
                let guard = Guard(&dropped);
                scope.spawn(move || {
                    thread::sleep(Duration::from_millis(2));
                    drop(guard);
                });
            }
            std::panic::resume_unwind(Box::new(3));
        });
    }));
    assert_eq!(caught.expect_err("its own").downcast_ref(), Some(&3));
    assert_eq!(dropped.into_inner(), 5);
    Ok(())
}

#[test]
fn kill_cancels_what_has_not_begun() -> Outcome {
    for is_frozen in [false, true] {
        for workers in [0, 1] {
            let world = World::new(1)?;
            let (cgroup, web) = world.group("web")?;
            let _pool = (workers > 0).then(|| Pool::builder(&world.cpu).workers(workers).start());
            if is_frozen {
                cgroup.freeze()?;
            }
            let (ran, dropped, spawned) =
                (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
            thread::scope(|threads| {
                let waiting = threads.spawn(|| {
                    web.scope(|scope| {
                        for _ in 0..100 {
                            let (guard, ran) = (Guard(&dropped), &ran);
                            scope.spawn(move || {
                                ran.fetch_add(1, Ordering::SeqCst);
                                thread::sleep(Duration::from_millis(1));
                                drop(guard);
                            });
                        }
                        spawned.store(true, Ordering::SeqCst);
                    })
                });
                while !spawned.load(Ordering::SeqCst)
                    || (!is_frozen && ran.load(Ordering::SeqCst) == 0)
                {
                    thread::yield_now();
                }
                thread::sleep(Duration::from_millis(2));
                cgroup.kill().expect("it is not removed");
                let error = waiting.join().expect("no panic").expect_err("it was killed");
                let ran = ran.load(Ordering::SeqCst) as usize;
                assert_eq!(error.cancelled() + ran, 100);
                assert!(!is_frozen || ran == 0, "{ran} ran while frozen");
            });
            assert_eq!(dropped.into_inner(), 100);
            cgroup.thaw()?;
            world.assert_all_free();
        }
    }
    Ok(())
}

#[test]
fn shutdown_cancels_what_has_not_begun_and_later_scopes_run_by_themselves() -> Outcome {
    let world = World::new(2)?;
    let (_, web) = world.group("web")?;
    let pool = Pool::builder(&world.cpu).workers(2).start()?;
    let (ran, dropped) = (AtomicU32::new(0), AtomicU32::new(0));
    let result = thread::scope(|threads| {
        threads.spawn(|| {
            while ran.load(Ordering::SeqCst) < 4 {
                thread::yield_now();
            }
            pool.shutdown();
        });
        web.scope(|scope| {
            for _ in 0..1000 {
                let (guard, ran) = (Guard(&dropped), &ran);
                scope.spawn(move || {
                    ran.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(1));
                    drop(guard);
                });
            }
        })
    });
    let cancelled = result.map_or_else(|error| error.cancelled(), |()| 0);
    assert_eq!(cancelled + ran.into_inner() as usize, 1000);
    assert!(cancelled > 0, "it was not the end of all");
    assert_eq!(dropped.into_inner(), 1000);
    assert_eq!(sum(&web, &[1; 100]), 100);
    world.assert_all_free();
    Ok(())
}

#[test]
fn an_empty_scope_returns_at_once() -> Outcome {
    let world = World::new(1)?;
    let (cgroup, web) = world.group("web")?;
    cgroup.freeze()?;
    assert_eq!(web.scope(|_| 4)?, 4);
    Ok(())
}

#[test]
fn scopes_and_leases_are_what_they_should_be() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<fief_cpu::Scope<'_, '_>>();
    is_send_and_sync::<fief_cpu::ScopeError>();
    is_send_and_sync::<fief_cpu::Wrapped<std::future::Ready<()>>>();
}
