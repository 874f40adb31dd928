//! The jobs that run under load, on workers of `fief-cpu`; and a book of how often each was polled.
//!
//! A job is a future of a member of its own, spawned by a task of the script, so it goes where that was at that
//! moment and is moved with the controller from then on. It yields a few times. At rest all have ended: each was
//! polled once more often than it yielded, or was cancelled, and was dropped once.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use fief_core::{Cgroup, Controller, Registry, Task};
use fief_cpu::{Cpu, CpuStats, Group, JoinHandle, Pool, StartError};

use super::{below, refuse};
use crate::{
    refusal::Failure,
    stress::Random,
    sync::{Arc, AtomicU64, Mutex, Ordering, lock, thread},
};

/// The controller and its workers, once there are, and all jobs.
#[derive(Debug, Default)]
pub(super) struct Yard {
    shop: Mutex<Option<Shop>>,
    jobs: Mutex<Vec<Job>>,
    ended: AtomicU64,
    cancelled: AtomicU64,
}

#[derive(Debug)]
struct Shop {
    controller: Controller<Cpu>,
    pool: Pool,
    opened: Instant,
}

/// A job, and what is known of it from outside.
#[derive(Debug)]
struct Job {
    handle: JoinHandle<()>,
    yields: u64,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    polls: AtomicU64,
    drops: AtomicU64,
}

/// Is ready when it was polled often enough.
struct Yields {
    left: u64,
    seen: Arc<Seen>,
}

impl Yard {
    pub(super) fn open(&self, controller: Controller<Cpu>) -> Result<(), StartError> {
        let pool = Pool::builder(&controller).workers(WORKERS).start()?;
        *lock(&self.shop) = Some(Shop { controller, pool, opened: Instant::now() });
        Ok(())
    }

    pub(super) fn controller(&self) -> Option<Controller<Cpu>> {
        lock(&self.shop).as_ref().map(|shop| shop.controller.clone())
    }

    /// Jobs that ended, and those of them that were cancelled.
    pub(super) fn counts(&self) -> (u64, u64) {
        // Ordering: Relaxed, here and below: counts, compared at rest.
        (self.ended.load(Ordering::Relaxed), self.cancelled.load(Ordering::Relaxed))
    }

    /// Has a job made for `task` now and then.
    pub(super) fn turn(&self, task: &Task, random: &mut Random) -> Result<(), Failure> {
        let Some(controller) = self.controller() else { return Ok(()) };
        if random.below(8) > 0 || lock(&self.jobs).len() >= JOBS {
            return Ok(());
        }
        let failed = |error: &dyn std::error::Error| refuse(format!("no job was made: {error}"));
        let own = task.spawn(NAME).map_err(|error| failed(&error))?;
        let member = Group::of(&controller, own).map_err(|error| failed(&error))?;
        for _ in 0..=random.below(3) {
            let (yields, seen) = (random.below(20) as u64, Arc::default());
            let future = Yields { left: yields, seen: Arc::clone(&seen) };
            let handle = member.spawn(future).map_err(|error| failed(&error))?;
            lock(&self.jobs).push(Job { handle, yields, seen });
        }
        Ok(())
    }

    /// Sees all jobs end, and compares what was seen of them, and what groups show.
    pub(super) fn compare(&self, registry: &Registry) -> Result<(), Failure> {
        let Some(controller) = self.controller() else { return Ok(()) };
        let jobs = std::mem::take(&mut *lock(&self.jobs));
        await_that("a job to end", || jobs.iter().all(|job| job.handle.is_finished()))?;
        await_that("members to go", || !registry.hierarchies().into_iter().any(has_jobs))?;
        jobs.into_iter().try_for_each(|job| self.close(job))?;
        let elapsed =
            lock(&self.shop).as_ref().map_or(Duration::ZERO, |shop| shop.opened.elapsed());
        let Some(root) = controller.root() else { return Ok(()) };
        check(&root.path(), &root.stats(), elapsed)?;
        let groups = controller.hierarchy().into_iter().flat_map(below);
        for (group, css) in groups.filter_map(|it| Some((it.clone(), controller.css(&it)?))) {
            let stats = css.stats();
            check(&group.path(), &stats, elapsed)?;
            let children = group.children().filter_map(|child| controller.css(&child));
            let parts = children.map(|child| child.usage()).sum::<Duration>() + stats.own_usage;
            if css.id() != root.id() && parts > stats.usage {
                let (path, usage) = (group.path(), stats.usage);
                return Err(refuse(format!("cpu: {path} used {usage:?}, its parts {parts:?}")));
            }
        }
        Ok(())
    }

    fn close(&self, job: Job) -> Result<(), Failure> {
        let Job { handle, yields, seen } = job;
        let (polls, drops) = (&seen.polls, &seen.drops);
        let (polls, drops) = (polls.load(Ordering::Relaxed), drops.load(Ordering::Relaxed));
        self.ended.fetch_add(1, Ordering::Relaxed);
        let is_right = match handle.join() {
            Ok(()) => polls == yields + 1,
            Err(error) if error.is_cancelled() => {
                self.cancelled.fetch_add(1, Ordering::Relaxed);
                polls <= yields
            }
            Err(_) => false,
        };
        if is_right && drops == 1 {
            return Ok(());
        }
        let text = format!("a job that yields {yields} times was polled {polls} times");
        Err(refuse(format!("cpu: {text}, and dropped {drops} times")))
    }

    /// Ends the workers, and unregisters the controller.
    pub(super) fn settle(&self) -> Result<(), Failure> {
        let Some(Shop { controller, pool, .. }) = lock(&self.shop).take() else { return Ok(()) };
        drop(pool);
        if controller.hierarchy().is_some() {
            controller.unbind()?;
        }
        Ok(controller.unregister()?)
    }
}

/// Checks the figures of a group by themselves.
fn check(path: &str, stats: &CpuStats, elapsed: Duration) -> Result<(), Failure> {
    let is_right = stats.own_usage <= stats.usage
        && stats.own_wait <= stats.wait
        && stats.wait <= elapsed
        && stats.throttled <= elapsed
        && stats.usage <= elapsed * u32::try_from(WORKERS).unwrap_or(u32::MAX);
    if is_right { Ok(()) } else { Err(refuse(format!("cpu: {path} shows {stats:?}"))) }
}

fn has_jobs(hierarchy: fief_core::Hierarchy) -> bool {
    let is_job = |group: &Cgroup| group.members().iter().any(|member| member.name == NAME);
    below(hierarchy).any(|group| is_job(&group))
}

fn await_that(what: &str, is_so: impl Fn() -> bool) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() > deadline {
            return Err(refuse(format!("cpu: waited {PATIENCE:?} for {what}")));
        }
        thread::sleep(Duration::from_micros(50));
    }
    Ok(())
}

impl Future for Yields {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.seen.polls.fetch_add(1, Ordering::Relaxed);
        if self.left == 0 {
            return Poll::Ready(());
        }
        self.left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Yields {
    fn drop(&mut self) {
        self.seen.drops.fetch_add(1, Ordering::Relaxed);
    }
}

const WORKERS: usize = 2;

/// How many jobs there are between two rests, at most.
const JOBS: usize = 2_000;

/// How members of jobs are called.
const NAME: &str = "job";

/// How long rest may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    /// A yard with workers, and a job that has ended: it yielded twice.
    fn ended() -> (Registry, Yard, Job) {
        let (registry, yard) = (Registry::new(), Yard::default());
        yard.open(registry.register(Cpu::new()).unwrap()).unwrap();
        let member = Group::of(&yard.controller().unwrap(), registry.create_task(NAME).unwrap());
        let seen = Arc::default();
        let future = Yields { left: 2, seen: Arc::clone(&seen) };
        let handle = member.unwrap().spawn(future).unwrap();
        await_that("it", || handle.is_finished()).unwrap();
        (registry, yard, Job { handle, yields: 2, seen })
    }

    #[test]
    fn a_job_that_was_polled_too_often_or_too_rarely_is_told() {
        let (registry, yard, job) = ended();
        lock(&yard.jobs).push(job);
        yard.compare(&registry).unwrap();
        for yields in [1, 3] {
            let (registry, yard, job) = ended();
            lock(&yard.jobs).push(Job { yields, ..job });
            let told = yard.compare(&registry).unwrap_err().text;
            let was = format!("cpu: a job that yields {yields} times was polled 3 times");
            assert_eq!(told, format!("{was}, and dropped 1 times"));
        }
        let (registry, yard, job) = ended();
        job.seen.drops.fetch_add(1, Ordering::Relaxed);
        lock(&yard.jobs).push(job);
        assert!(yard.compare(&registry).unwrap_err().text.ends_with("and dropped 2 times"));
        yard.settle().unwrap();
        assert!(yard.controller().is_none());
    }

    #[test]
    fn figures_that_cannot_be_are_told() {
        let second = Duration::from_secs(1);
        let mut stats = CpuStats::default();
        (stats.own_usage, stats.usage, stats.wait) = (second, second * 2, second);
        check("/", &stats, second).unwrap();
        assert!(check("/", &stats, second / 2).is_err(), "more than has passed");
        stats.own_wait = second * 2;
        assert!(check("/", &stats, second).unwrap_err().text.starts_with("cpu: / shows"));
    }
}
