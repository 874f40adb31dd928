//! Futures on a controller's own workers.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    task::Poll,
    time::Duration,
};

use fief_core::{Controller, Hierarchy, Registry, Removal};
use fief_cpu::{Cpu, Group, Pool, SpawnError, StartError};

type Outcome = Result<(), Box<dyn std::error::Error>>;

struct World {
    registry: Registry,
    tenants: Hierarchy,
    cpu: Controller<Cpu>,
    pool: Pool,
}

fn world(workers: usize) -> Result<World, Box<dyn std::error::Error>> {
    let registry = Registry::new();
    let tenants = registry.create_hierarchy("by-tenant")?;
    let cpu = registry.register(Cpu::builder().cpus(u32::try_from(workers)?).build())?;
    cpu.bind(&tenants)?;
    let pool = Pool::builder(&cpu).workers(workers).start()?;
    Ok(World { registry, tenants, cpu, pool })
}

/// Yields so often.
async fn yields(count: u64) -> u64 {
    for _ in 0..count {
        let mut is_first = true;
        std::future::poll_fn(|context| {
            if std::mem::take(&mut is_first) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
    count
}

#[test]
fn a_future_runs_and_its_output_comes_back() -> Outcome {
    let world = world(2)?;
    let web = world.pool.group(&world.tenants.root().create_child("web")?)?;
    let handles: Result<Vec<_>, _> = (0..100).map(|n| web.spawn(yields(n))).collect();
    let sum: Result<u64, _> = handles?.into_iter().map(|handle| handle.join()).sum();
    assert_eq!(sum?, 4950);
    Ok(())
}

#[test]
fn jobs_wake_each_other_across_groups_and_workers() -> Outcome {
    static LEFT: AtomicU64 = AtomicU64::new(0);
    let world = world(2)?;
    let root = world.tenants.root();
    let mut handles = Vec::new();
    for number in 0..8 {
        let group = world.pool.group(&root.create_child(&format!("g{number}"))?)?;
        for _ in 0..10 {
            LEFT.fetch_add(1, Ordering::Relaxed);
            let (to, from) = tokio::sync::mpsc::channel::<u64>(1);
            let mut from = from;
            handles.push(group.spawn(async move {
                let mut sum = 0;
                while let Some(n) = from.recv().await {
                    sum += n;
                }
                LEFT.fetch_sub(1, Ordering::Relaxed);
                sum
            })?);
            let feeder = group.fork("feeder")?;
            handles.push(feeder.spawn(async move {
                for n in 0..500 {
                    to.send(n).await.unwrap();
                }
                0
            })?);
        }
    }
    let sum: Result<u64, _> = handles.into_iter().map(|handle| handle.join()).sum();
    assert_eq!(sum?, 80 * 499 * 500 / 2);
    assert_eq!(LEFT.load(Ordering::Relaxed), 0);
    Ok(())
}

#[test]
fn a_group_with_jobs_cannot_be_removed_and_one_without_can() -> Outcome {
    let world = world(1)?;
    let cgroup = world.tenants.root().create_child("web")?;
    let web = world.pool.group(&cgroup)?;
    let job = web.spawn(std::future::pending::<()>())?;
    drop(web);
    assert!(cgroup.remove(Removal::Strict).is_err());
    assert_eq!(cgroup.kill()?, 1);
    assert!(job.join().unwrap_err().is_cancelled());
    // The membership ends with the job, on the worker.
    while cgroup.is_populated() {
        std::thread::yield_now();
    }
    world.registry.wait_reclaimed()?;
    cgroup.remove(Removal::Strict)?;
    Ok(())
}

#[test]
fn frozen_jobs_wait_and_go_on() -> Outcome {
    let world = world(2)?;
    let cgroup = world.tenants.root().create_child("web")?;
    let web = world.pool.group(&cgroup)?;
    let count = std::sync::Arc::new(AtomicU64::new(0));
    let counter = std::sync::Arc::clone(&count);
    let job = web.spawn(async move {
        loop {
            counter.fetch_add(1, Ordering::Relaxed);
            yields(1).await;
        }
    })?;
    while count.load(Ordering::Relaxed) < 1000 {
        std::thread::yield_now();
    }
    cgroup.freeze()?;
    while !cgroup.is_frozen() {
        std::thread::yield_now();
    }
    let frozen = count.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(count.load(Ordering::Relaxed), frozen);
    cgroup.thaw()?;
    while count.load(Ordering::Relaxed) == frozen {
        std::thread::yield_now();
    }
    cgroup.kill()?;
    assert!(job.join().unwrap_err().is_cancelled());
    Ok(())
}

#[test]
fn a_shut_down_pool_cancels_and_refuses() -> Outcome {
    let world = world(2)?;
    let web = world.pool.group(&world.tenants.root().create_child("web")?)?;
    let waiting = web.spawn(std::future::pending::<()>())?;
    let running = web.spawn(yields(u64::MAX))?;
    world.pool.shutdown();
    assert!(waiting.join().unwrap_err().is_cancelled());
    assert!(running.join().unwrap_err().is_cancelled());
    assert_eq!(web.spawn(async {}).unwrap_err(), SpawnError::ShutDown);
    Ok(())
}

#[test]
fn what_cannot_be_is_refused() -> Outcome {
    let registry = Registry::new();
    let tenants = registry.create_hierarchy("by-tenant")?;
    let cpu = registry.register(Cpu::new())?;
    cpu.bind(&tenants)?;
    let cgroup = tenants.root().create_child("web")?;
    let web = Group::new(&cpu, &cgroup)?;
    assert_eq!(web.spawn(async {}).unwrap_err(), SpawnError::NoWorkers);
    assert!(matches!(Pool::builder(&cpu).workers(0).start(), Err(StartError::NoWorkers)));
    let _pool = Pool::builder(&cpu).start()?;
    assert!(matches!(Pool::builder(&cpu).start(), Err(StartError::Started)));
    let foreign = Registry::new();
    let error = Group::of(&cpu, foreign.create_task("stray")?).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"stray\" cannot use the cpu controller: it is unregistered, or of another registry",
    );
    Ok(())
}

#[test]
fn a_job_follows_its_member() -> Outcome {
    let world = world(2)?;
    let root = world.tenants.root();
    let [web, batch] = ["web", "batch"].map(|name| root.create_child(name));
    let (web, batch) = (web?, batch?);
    let group = world.pool.group(&web)?;
    let job = group.spawn(yields(u64::MAX))?;
    for _ in 0..100 {
        group.task().join(&batch)?;
        let (here, there) = (group.css(), world.cpu.css(&batch).ok_or("removed")?);
        assert!(std::ptr::eq(&raw const *here, &raw const *there));
        group.task().join(&web)?;
    }
    job.abort();
    assert!(job.join().unwrap_err().is_cancelled());
    Ok(())
}

#[test]
fn a_kill_ends_what_a_freeze_holds() -> Outcome {
    let world = world(1)?;
    let cgroup = world.tenants.root().create_child("web")?;
    let web = world.pool.group(&cgroup)?;
    cgroup.freeze()?;
    let jobs: Result<Vec<_>, _> = (0..10).map(|_| web.spawn(yields(1))).collect();
    let jobs = jobs?;
    assert_eq!(cgroup.kill()?, 1);
    for job in jobs {
        assert!(job.join().unwrap_err().is_cancelled());
    }
    Ok(())
}
