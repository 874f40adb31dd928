//! Bulk readers of 1 MiB one after the other, and one who reads 4 KiB anywhere every 2 ms.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use super::target::{BLOCK, Buffer, Target};
use crate::{
    cpu::figures::{Figure, Latencies},
    io::windows::Windows,
};

/// What a bulk reader asks for.
pub const BULK: usize = 1 << 20;
const INTERVAL: Duration = Duration::from_millis(2);

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The light one.
    Light,
    /// One of the bulk readers.
    Bulk(usize),
}

/// A way to read.
pub trait Way: Sync {
    /// Prepares the thread of a reader.
    ///
    /// # Errors
    ///
    /// What stands in the way.
    fn enter(&self, _who: Who) -> Result<()> {
        Ok(())
    }

    /// Reads all of a buffer.
    ///
    /// # Errors
    ///
    /// What reading says.
    fn read(&self, target: &Target, who: Who, buffer: &mut [u8], at: u64) -> Result<()>;
}

/// How many read, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Bulk readers.
    pub readers: usize,
    /// What a bulk reader asks for, in bytes.
    pub bytes: usize,
    /// Whether the light one reads.
    pub is_light: bool,
    /// Before it counts.
    pub warm_up: Duration,
    /// While it counts.
    pub span: Duration,
    /// What random places begin with.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Found {
    /// How long the light one's reads took, whatever they waited for.
    pub light: Latencies,
    /// Bytes a second that bulk readers had together.
    pub bulk: u64,
    /// Bytes of each bulk reader by time.
    pub windows: Vec<Windows>,
}

impl Load {
    /// Reads in some way.
    ///
    /// # Errors
    ///
    /// What a reader failed with.
    pub fn run(&self, target: &Target, way: &dyn Way) -> Result<Found> {
        let windows: Vec<_> =
            (0..self.readers).map(|_| Windows::new(self.warm_up, self.span)).collect();
        let (is_over, light) = (AtomicBool::new(false), Latencies::default());
        // The first to begin is the first to end.
        let [start, end] = [windows[0].start(), windows[0].end()];
        thread::scope(|scope| -> Result<()> {
            let readers = windows.iter().enumerate().map(|(number, windows)| {
                let is_over = &is_over;
                scope.spawn(move || self.bulk(target, way, number, windows, is_over))
            });
            let mut readers: Vec<_> = readers.collect();
            if self.is_light {
                readers.push(scope.spawn(|| self.light(target, way, start, &light, &is_over)));
            }
            // Ordering: Relaxed: a flag that may be seen late.
            while Instant::now() < end && !readers.iter().any(|reader| reader.is_finished()) {
                thread::sleep(end.saturating_duration_since(Instant::now()).min(INTERVAL * 10));
            }
            is_over.store(true, Ordering::Relaxed);
            let ends: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
            ends.into_iter().try_for_each(|end| end.map_err(|_| anyhow!("a reader panicked"))?)
        })?;
        let total: u64 = windows.iter().map(Windows::total).sum();
        let millis = u64::try_from(windows[0].span().as_millis())?;
        Ok(Found { light, bulk: total * 1_000 / millis, windows })
    }

    fn bulk(
        &self,
        target: &Target,
        way: &dyn Way,
        number: usize,
        windows: &Windows,
        is_over: &AtomicBool,
    ) -> Result<()> {
        let who = Who::Bulk(number);
        way.enter(who)?;
        let mut buffer = Buffer::new(self.bytes);
        let places = (target.bytes / self.bytes as u64).max(1);
        // Each begins elsewhere.
        let mut place = number as u64 * (places / self.readers as u64);
        // Ordering: Relaxed: as in `run`.
        while !is_over.load(Ordering::Relaxed) {
            way.read(target, who, buffer.get(), place % places * self.bytes as u64)?;
            windows.add(self.bytes as u64);
            place += 1;
        }
        Ok(())
    }

    fn light(
        &self,
        target: &Target,
        way: &dyn Way,
        start: Instant,
        latencies: &Latencies,
        is_over: &AtomicBool,
    ) -> Result<()> {
        way.enter(Who::Light)?;
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut buffer = Buffer::new(BLOCK);
        let places = target.bytes / BLOCK as u64;
        let mut next = Instant::now();
        // Ordering: Relaxed: as in `run`.
        while !is_over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            way.read(target, Who::Light, buffer.get(), random.u64(..places) * BLOCK as u64)?;
            if begun >= start {
                latencies.record(begun.elapsed());
            }
            // One after the other: who waits half a second asks twice in a second.
            next = (next + INTERVAL).max(Instant::now());
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }
}

impl Found {
    /// Returns the figures of a load with the light one.
    #[must_use]
    pub fn figures(&self) -> Vec<Figure> {
        let light =
            [("light p50", 0.5), ("light p90", 0.9), ("light p99", 0.99), ("light max", 1.0)];
        let mut figures: Vec<_> = Vec::new();
        if self.light.count() > 0 {
            let millis = |quantile| self.light.micros(quantile) / 1e3;
            figures.extend(light.map(|(name, at)| Figure::new(name, "ms", millis(at))));
        }
        figures.push(Figure::new("bulk", "MB/s", self.bulk as f64 / 1e6));
        figures
    }
}
