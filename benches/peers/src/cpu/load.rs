//! What the systems are loaded with: futures that work, give way, and count what they did.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::work::Work;

/// A future that a system runs.
pub type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How often a task that only gives way looks at the flag and publishes its count.
const YIELDS: u64 = 64;
/// How long jobs may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the jobs of a run share: the sign to end, and what each group has done.
#[derive(Debug)]
pub struct Load {
    is_over: AtomicBool,
    live: AtomicUsize,
    done: Box<[Cell]>,
}

/// A count with a cache line of its own, and the next one that hardware fetches with it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell(AtomicU64);

/// Counts a job as alive until it is dropped.
#[derive(Debug)]
pub struct Alive(Arc<Load>);

impl Alive {
    /// Returns the load that the job belongs to.
    #[must_use]
    pub fn load(&self) -> &Load {
        &self.0
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        // Ordering: Relaxed: a count that is waited for; nothing is read on the strength of it.
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Load {
    /// Returns a load with so many counts, one a group as a rule.
    #[must_use]
    pub fn new(counts: usize) -> Arc<Self> {
        let done = (0..counts).map(|_| Cell::default()).collect();
        Arc::new(Self { is_over: AtomicBool::new(false), live: AtomicUsize::new(0), done })
    }

    /// Whether jobs should end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        // Ordering: Relaxed: jobs may see it a poll later.
        self.is_over.load(Ordering::Relaxed)
    }

    /// Adds to a count.
    pub fn add(&self, count: usize, amount: u64) {
        // Ordering: Relaxed: figures, summed up by whoever samples them.
        self.done[count].0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Returns what was counted.
    #[must_use]
    pub fn sample(&self) -> Vec<u64> {
        // Ordering: Relaxed: as in `add`.
        self.done.iter().map(|cell| cell.0.load(Ordering::Relaxed)).collect()
    }

    /// Returns the sum of all counts.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.sample().iter().sum()
    }

    /// Samples the counts every `window`, `windows` times after the first.
    #[must_use]
    pub fn windows(&self, window: Duration, windows: u32) -> Vec<Vec<u64>> {
        let start = Instant::now();
        let mut samples = vec![self.sample()];
        for number in 1..=windows {
            thread::sleep((start + window * number).saturating_duration_since(Instant::now()));
            samples.push(self.sample());
        }
        samples
    }

    /// Counts a job as alive.
    #[must_use]
    pub fn alive(self: &Arc<Self>) -> Alive {
        // Ordering: Relaxed: as in `Alive::drop`.
        self.live.fetch_add(1, Ordering::Relaxed);
        Alive(Arc::clone(self))
    }

    /// Tells jobs to end and waits for it, calling `nudge` meanwhile for those that sleep.
    ///
    /// # Errors
    ///
    /// Jobs that do not end: the system has lost them.
    pub fn finish(&self, nudge: impl Fn()) -> Result<()> {
        self.is_over.store(true, Ordering::Relaxed);
        let start = Instant::now();
        // Ordering: Relaxed: as in `Alive::drop`.
        while self.live.load(Ordering::Relaxed) > 0 {
            nudge();
            thread::sleep(Duration::from_millis(1));
            let live = self.live.load(Ordering::Relaxed);
            ensure!(start.elapsed() < PATIENCE, "{live} jobs have not ended");
        }
        Ok(())
    }
}

/// Gives way once: wakes itself and is pending.
pub async fn give_way() {
    let mut has_waited = false;
    poll_fn(|context| {
        if has_waited {
            return Poll::Ready(());
        }
        has_waited = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Returns a job that works for `poll`, counts its nanoseconds and gives way, until the end.
#[must_use]
pub fn hog(load: &Arc<Load>, count: usize, poll: Duration) -> Job {
    let (alive, work) = (load.alive(), Work::get());
    let amount = u64::try_from(poll.as_nanos()).expect("a short poll");
    Box::pin(async move {
        while !alive.0.is_over() {
            work.run(poll);
            alive.0.add(count, amount);
            give_way().await;
        }
    })
}

/// Returns a job that does nothing but give way and counts that.
#[must_use]
pub fn yielder(load: &Arc<Load>, count: usize) -> Job {
    let alive = load.alive();
    Box::pin(async move {
        while !alive.0.is_over() {
            for _ in 0..YIELDS {
                give_way().await;
            }
            alive.0.add(count, YIELDS);
        }
    })
}
