//! A world with a tenant hierarchy and a pool in one of its modes.
#![allow(dead_code, clippy::allow_attributes, reason = "not every test uses all of it")]
#![expect(clippy::unwrap_used, reason = "a driver's panic is its test's")]

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use fief_core::{Controller, Hierarchy, Registry};
use fief_cpu::{Cpu, Group, Pool, PoolBuilder};
use tokio::runtime::{Builder, Runtime};

pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// So long something that is bound to happen may take.
pub(crate) const LONG: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Threads, without a runtime.
    Own,
    /// Threads and a rescue lane, without a runtime.
    Rescued,
    /// Threads inside a runtime, with a rescue lane on it.
    Attached,
    /// Threads inside a runtime.
    Alone,
    /// Threads inside a runtime that has only the current thread.
    Single,
    /// Tasks of a runtime.
    Runners,
    /// Tasks of a runtime that has only the current thread.
    SingleRunners,
}

pub(crate) const MODES: [Mode; 7] = [
    Mode::Own,
    Mode::Rescued,
    Mode::Attached,
    Mode::Alone,
    Mode::Single,
    Mode::Runners,
    Mode::SingleRunners,
];

/// Those in which jobs are inside the runtime.
pub(crate) const INSIDE: [Mode; 5] =
    [Mode::Attached, Mode::Alone, Mode::Single, Mode::Runners, Mode::SingleRunners];

pub(crate) struct World {
    pub(crate) pool: Pool,
    pub(crate) cpu: Controller<Cpu>,
    pub(crate) tenants: Hierarchy,
    pub(crate) registry: Registry,
    pub(crate) runtime: Driven,
}

/// A runtime that somebody drives.
pub(crate) struct Driven {
    runtime: Option<Runtime>,
    handle: tokio::runtime::Handle,
    driver: Option<thread::JoinHandle<()>>,
    stop: Arc<tokio::sync::Notify>,
}

impl Driven {
    pub(crate) fn multi(threads: usize) -> Result<Self, Box<dyn Error>> {
        let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        let handle = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), handle, driver: None, stop: Arc::default() })
    }

    pub(crate) fn single() -> Result<Self, Box<dyn Error>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let stop = Arc::new(tokio::sync::Notify::new());
        let stopped = Arc::clone(&stop);
        let driver = thread::spawn(move || runtime.block_on(stopped.notified()));
        Ok(Self { runtime: None, handle, driver: Some(driver), stop })
    }

    pub(crate) fn handle(&self) -> tokio::runtime::Handle {
        self.handle.clone()
    }

    /// Drops the runtime.
    pub(crate) fn end(&mut self) {
        drop(self.runtime.take());
        self.stop.notify_one();
        if let Some(driver) = self.driver.take() {
            driver.join().unwrap();
        }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.end();
    }
}

pub(crate) fn world(mode: Mode, workers: usize) -> Result<World, Box<dyn Error>> {
    world_with(mode, workers, |builder| builder)
}

pub(crate) fn world_with(
    mode: Mode,
    workers: usize,
    adapt: impl FnOnce(PoolBuilder) -> PoolBuilder,
) -> Result<World, Box<dyn Error>> {
    let cpu = Cpu::builder().cpus(u32::try_from(workers)?).build();
    world_of(mode, workers, cpu, adapt)
}

pub(crate) fn world_of(
    mode: Mode,
    workers: usize,
    cpu: Cpu,
    adapt: impl FnOnce(PoolBuilder) -> PoolBuilder,
) -> Result<World, Box<dyn Error>> {
    let registry = Registry::new();
    let tenants = registry.create_hierarchy("by-tenant")?;
    let cpu = registry.register(cpu)?;
    cpu.bind(&tenants)?;
    let runtime = match mode {
        Mode::Single | Mode::SingleRunners => Driven::single()?,
        _ => Driven::multi(workers)?,
    };
    let builder = Pool::builder(&cpu).workers(workers);
    let builder = match mode {
        Mode::Own => builder,
        Mode::Rescued => builder.rescue(10),
        Mode::Attached | Mode::Single => builder.tokio(runtime.handle()),
        Mode::Alone => builder.tokio(runtime.handle()).without_rescue(),
        Mode::Runners | Mode::SingleRunners => builder.runners(runtime.handle()),
    };
    let pool = adapt(builder).start()?;
    Ok(World { pool, cpu, tenants, registry, runtime })
}

impl World {
    pub(crate) fn group(&self, name: &str) -> Result<Group, Box<dyn Error>> {
        Ok(self.pool.group(&self.tenants.root().create_child(name)?)?)
    }
}

/// Gives way once.
pub(crate) async fn give_way() {
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

/// Keeps the thread busy.
pub(crate) fn spin(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Spawns so many who keep their threads busy for a millisecond a poll, until told otherwise.
pub(crate) fn hogs(group: &Group, count: usize) -> Result<Arc<AtomicBool>, Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    for _ in 0..count {
        let stop = Arc::clone(&stop);
        drop(group.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                spin(Duration::from_millis(1));
                give_way().await;
            }
        })?);
    }
    Ok(stop)
}

/// Waits for what is bound to come.
pub(crate) fn await_from<T>(from: &Receiver<T>) -> Result<T, RecvTimeoutError> {
    from.recv_timeout(LONG)
}
