//! Somebody who works in a tenant's groups, and the jobs that are given to it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::{Result, anyhow};
use fief_core::Task;
use fief_cpu::Group;
use fief_io::Stream;
use fief_memory::Reservation;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;

use super::{tenant::Tenant, world::World};
use crate::sync::Arc;

/// A member of groups: what it spawns, reserves and reads is charged there.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    cpu: Group,
    pub(crate) stream: Stream,
}

/// What is running, in a group or in the runtime.
#[derive(Debug)]
pub(crate) enum Job<T> {
    Plain(tokio::task::JoinHandle<T>),
    Grouped(fief_cpu::JoinHandle<T>),
}

/// A future whose polls are timed by the thread's clock.
struct Timed<F> {
    future: Pin<Box<F>>,
    tenant: Arc<Tenant>,
}

impl Member {
    pub(crate) fn new(world: &World, task: Task) -> Result<Self> {
        let cpu = Group::of(&world.cpu, task)?;
        let stream = world.disk.stream_for(cpu.task())?;
        Ok(Self { cpu, stream })
    }

    pub(crate) fn task(&self) -> &Task {
        self.cpu.task()
    }

    /// Returns an empty reservation where the member is now.
    ///
    /// # Errors
    ///
    /// Once the controller is unregistered.
    pub(crate) fn reserve(&self, world: &World) -> Result<Reservation> {
        let css = self.task().css(&world.memory);
        Ok(css.ok_or_else(|| anyhow!("the memory controller is gone"))?.reserve())
    }

    /// Has a future run: in the member's group, or in the runtime as long as nobody shares CPU time.
    ///
    /// # Errors
    ///
    /// When there are no workers.
    pub(crate) fn spawn<F>(
        &self,
        world: &World,
        tenant: &Arc<Tenant>,
        future: F,
    ) -> Result<Job<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let timed = Timed { future: Box::pin(future), tenant: Arc::clone(tenant) };
        if world.is_shared.is_raised() {
            Ok(Job::Grouped(self.cpu.spawn(timed)?))
        } else {
            Ok(Job::Plain(world.runtime.spawn(timed)))
        }
    }
}

impl<T> Job<T> {
    /// Waits for the output, not in the runtime; `None` if the job was cancelled.
    ///
    /// # Errors
    ///
    /// If it panicked.
    pub(crate) fn join(self, runtime: &Handle) -> Result<Option<T>> {
        match self {
            Self::Plain(job) => plain(runtime.block_on(job)),
            Self::Grouped(job) => grouped(job.join()),
        }
    }

    /// Waits for the output; `None` if the job was cancelled.
    ///
    /// # Errors
    ///
    /// If it panicked.
    pub(crate) async fn output(self) -> Result<Option<T>> {
        match self {
            Self::Plain(job) => plain(job.await),
            Self::Grouped(job) => grouped(job.await),
        }
    }
}

fn plain<T>(output: Result<T, tokio::task::JoinError>) -> Result<Option<T>> {
    match output {
        Ok(output) => Ok(Some(output)),
        Err(error) if error.is_cancelled() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn grouped<T>(output: Result<T, fief_cpu::JoinError>) -> Result<Option<T>> {
    match output {
        Ok(output) => Ok(Some(output)),
        Err(error) if error.is_cancelled() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl<F: Future> Future for Timed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, tenant } = &mut *self;
        timed(tenant, || future.as_mut().poll(context))
    }
}

/// Adds to the tenant's books what the thread's clock says of `work`.
pub(crate) fn timed<R>(tenant: &Tenant, work: impl FnOnce() -> R) -> R {
    let before = thread_time();
    let result = work();
    let used = thread_time().saturating_sub(before);
    tenant.tally.cpu.add(u64::try_from(used.as_nanos()).unwrap_or(0));
    result
}

/// CPU time of the calling thread.
pub(crate) fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// CPU time of the process.
pub(crate) fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
