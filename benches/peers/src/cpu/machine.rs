//! What the machine gave: processor time obtained, and competition made on purpose.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use benches::system::{processors, thread_time};
use rustix::{
    process::setpriority_process,
    time::{ClockId, clock_gettime},
};

use super::{system::Running, work::Work};

/// Threads on each processor that take three quarters of it.
const COMPETITORS: usize = 3;

/// Measures the processor time that this process has.
#[derive(Debug)]
pub struct Meter {
    start: Instant,
    had: Duration,
}

impl Default for Meter {
    fn default() -> Self {
        Self { start: Instant::now(), had: process_time() }
    }
}

impl Meter {
    /// Returns the time since the start.
    #[must_use]
    pub fn wall(&self) -> Duration {
        self.start.elapsed()
    }

    /// Returns the processor time since the start.
    #[must_use]
    pub fn time(&self) -> Duration {
        process_time() - self.had
    }

    /// Returns how much of all processors this process had since the start, in per cent.
    #[must_use]
    pub fn percent(&self) -> f64 {
        percent(self.time(), self.wall())
    }
}

/// Returns `time` of all processors during `wall`, in per cent.
#[must_use]
pub fn percent(time: Duration, wall: Duration) -> f64 {
    100.0 * time.as_secs_f64() / wall.as_secs_f64() / processors() as f64
}

/// Returns the processor time that this process has had.
fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("a process's time is not negative")
}

/// Makes the calling thread so much nicer than usual.
///
/// # Errors
///
/// What the kernel says; an ordinary user may not lower the value again.
pub fn be_nice(nice: i32) -> rustix::io::Result<()> {
    setpriority_process(None, nice)
}

/// Threads that leave a system a quarter of the processors.
#[derive(Debug)]
pub struct Competition {
    is_over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<Duration>>,
}

impl Competition {
    /// Starts it, as `running` wants it placed.
    ///
    /// # Errors
    ///
    /// A thread that cannot be placed so.
    pub fn start(running: &Arc<dyn Running>) -> Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let (placed, is_placed) = std::sync::mpsc::channel();
        let count = COMPETITORS * processors();
        let thread = |_| {
            let (running, is_over) = (Arc::clone(running), Arc::clone(&is_over));
            let placed = placed.clone();
            thread::spawn(move || {
                placed.send(running.compete()).ok();
                // Ordering: Relaxed: a flag that may be seen late.
                while !is_over.load(Ordering::Relaxed) {
                    Work::get().run(Duration::from_micros(200));
                }
                thread_time()
            })
        };
        let competition =
            Self { is_over: Arc::clone(&is_over), threads: (0..count).map(thread).collect() };
        drop(placed);
        is_placed.iter().take(count).collect::<Result<()>>().map(|()| competition)
    }

    /// Ends it and returns the processor time that it had.
    #[must_use]
    pub fn end(mut self) -> Duration {
        self.stop()
    }

    fn stop(&mut self) -> Duration {
        // Ordering: Relaxed: as in `start`.
        self.is_over.store(true, Ordering::Relaxed);
        self.threads.drain(..).map(|thread| thread.join().unwrap_or_default()).sum()
    }
}

impl Drop for Competition {
    fn drop(&mut self) {
        self.stop();
    }
}
