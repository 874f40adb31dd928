//! glommio: an executor on `io_uring`, with a task queue for the light reader and one for the bulk readers.

use std::{
    cell::{Cell, RefCell},
    os::fd::AsRawFd as _,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use glommio::{
    Latency, LocalExecutorBuilder, Placement, Shares, TaskQueueHandle, io::DmaFile, timer::sleep,
};

use super::{
    load::{BULK, Found, Load},
    target::{BLOCK, Target},
};
use crate::{cpu::figures::Latencies, io::windows::Windows};

const INTERVAL: Duration = Duration::from_millis(2);
/// What the light one asks for.
const LATENCY: Latency = Latency::Matters(Duration::from_millis(1));
/// Shares of the light one and of the others.
const SHARES: [usize; 2] = [1_000, 100];

/// What the tasks share.
struct Work {
    file: DmaFile,
    load: Load,
    bytes: u64,
    is_over: Cell<bool>,
    light: Latencies,
    windows: Windows,
    failed: RefCell<Option<String>>,
}

/// Reads the file with one executor; or says why there is none.
///
/// # Errors
///
/// What reading says.
pub fn run(target: &Target, load: &Load) -> Result<Result<Found, String>> {
    let builder = LocalExecutorBuilder::new(Placement::Unbound).io_memory(32 << 20);
    let executor = match builder.ring_depth(128).make() {
        Ok(executor) => executor,
        Err(error) => return Ok(Err(format!("the kernel refuses: {error}"))),
    };
    let path = format!("/proc/self/fd/{}", target.file.as_raw_fd());
    let (bytes, load) = (target.bytes, *load);
    executor.run(async move {
        let file = DmaFile::open(&path).await.map_err(|error| anyhow!("opening: {error}"))?;
        let queue = |number: usize, latency| {
            let shares = Shares::Static(SHARES[number]);
            glommio::executor().create_task_queue(shares, latency, &number.to_string())
        };
        let queues = [queue(0, LATENCY), queue(1, Latency::NotImportant)];
        let work = Rc::new(Work {
            file,
            load,
            bytes,
            is_over: Cell::new(false),
            light: Latencies::default(),
            windows: Windows::new(load.warm_up, load.span),
            failed: RefCell::new(None),
        });
        work.all(queues).await?;
        let work = Rc::into_inner(work).ok_or_else(|| anyhow!("a task goes on"))?;
        work.file.close().await.map_err(|error| anyhow!("closing: {error}"))?;
        if let Some(error) = work.failed.into_inner() {
            return Err(anyhow!("reading: {error}"));
        }
        let bulk = work.windows.total() * 1_000 / u64::try_from(work.windows.span().as_millis())?;
        Ok(Ok(Found { light: work.light, bulk, windows: vec![work.windows] }))
    })
}

impl Work {
    async fn all(self: &Rc<Self>, [light, bulk]: [TaskQueueHandle; 2]) -> Result<()> {
        let refused = |error: glommio::GlommioError<()>| anyhow!("a task: {error}");
        let mut tasks = Vec::new();
        for number in 0..self.load.readers {
            let work = Rc::clone(self);
            let task = glommio::spawn_local_into(async move { work.bulk(number).await }, bulk);
            tasks.push(task.map_err(refused)?);
        }
        if self.load.is_light {
            let work = Rc::clone(self);
            let task = glommio::spawn_local_into(async move { work.light().await }, light);
            tasks.push(task.map_err(refused)?);
        }
        sleep(self.windows.end().saturating_duration_since(Instant::now())).await;
        self.is_over.set(true);
        for task in tasks {
            task.await;
        }
        Ok(())
    }

    async fn read(&self, at: u64, bytes: usize) -> bool {
        match self.file.read_at_aligned(at, bytes).await {
            Ok(read) => read.len() == bytes,
            Err(error) => {
                self.failed.replace(Some(error.to_string()));
                self.is_over.set(true);
                false
            }
        }
    }

    async fn bulk(&self, number: usize) {
        let places = (self.bytes / BULK as u64).max(1);
        let mut place = number as u64 * (places / self.load.readers as u64);
        while !self.is_over.get() {
            if self.read(place % places * BULK as u64, BULK).await {
                self.windows.add(BULK as u64);
            }
            place += 1;
        }
    }

    async fn light(&self) {
        let mut random = fastrand::Rng::with_seed(self.load.seed);
        let places = self.bytes / BLOCK as u64;
        let mut next = Instant::now();
        while !self.is_over.get() {
            let begun = Instant::now();
            let is_read = self.read(random.u64(..places) * BLOCK as u64, BLOCK).await;
            if is_read && begun >= self.windows.start() {
                self.light.record(begun.elapsed());
            }
            next = (next + INTERVAL).max(Instant::now());
            sleep(next.saturating_duration_since(Instant::now())).await;
        }
    }
}
