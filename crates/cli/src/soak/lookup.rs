//! Lookups of a css for a task, timed, while controllers move and while they do not.
//!
//! The thread that moves the controllers divides its time into [`Windows`], one with a rebind and one
//! without in turn. Workers look up as they always do, each through a cache of its own; within a window
//! each lookup is timed, and entered into the histogram of that window. A lookup that
//! begins in one window and ends in another is entered into neither.

use std::time::{Duration, Instant};

use fief_core::{Cache, Controller, CssRef, Registry, Subsystem, Task};
use hdrhistogram::Histogram;

use crate::{
    soak::stage::Stage,
    sync::{Count, Mutex},
};

/// Whether controllers moved in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A rebind began and ended in it.
    Rebind,
    /// None did.
    Quiet,
}

/// The windows of a soak.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    /// One more than the index of the window that is open; 0 if none is.
    open: Count,
    all: Mutex<Vec<(Kind, Times)>>,
}

/// Nanoseconds of lookups; as exact as two digits, which is a sixth of the size of three.
pub(crate) type Times = Histogram<u32>;

/// How lookups went in the windows of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Windows with enough lookups to tell a p99.
    pub(crate) windows: usize,
    /// Lookups that were timed in them.
    pub(crate) timed: u64,
    /// Medians over the windows, in nanoseconds.
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    /// The middle half of the windows' p99.
    pub(crate) p99_from: u64,
    pub(crate) p99_to: u64,
}

/// A thread's lookups.
#[derive(Debug)]
pub(crate) struct Lookups<'a> {
    windows: &'a Windows,
    cache: Cache,
    clock: Duration,
    /// The window that `times` is of.
    current: u64,
    times: Times,
}

impl Windows {
    /// Runs `body` in a window of its own.
    pub(crate) fn within<T>(&self, kind: Kind, body: impl FnOnce() -> T) -> T {
        let mut all = self.all.lock();
        all.push((kind, times()));
        let number = all.len() as u64;
        drop(all);
        self.open.set(number);
        let result = body();
        self.open.set(0);
        result
    }

    /// How lookups went, in the windows of `kind`.
    pub(crate) fn summary(&self, kind: Kind) -> Summary {
        let all = self.all.lock();
        let of_kind = all.iter().filter(|(other, times)| *other == kind && times.len() >= ENOUGH);
        let quantiles = |quantile: f64| -> Vec<u64> {
            let windows = of_kind.clone().map(|(_, times)| times.value_at_quantile(quantile));
            let mut quantiles: Vec<u64> = windows.collect();
            quantiles.sort_unstable();
            quantiles
        };
        let p99 = quantiles(0.99);
        Summary {
            windows: p99.len(),
            timed: of_kind.clone().map(|(_, times)| times.len()).sum(),
            p50: quarter(&quantiles(0.5), 2),
            p99: quarter(&p99, 2),
            p99_from: quarter(&p99, 1),
            p99_to: quarter(&p99, 3),
        }
    }

    fn add(&self, number: u64, times: &Times) {
        let index = usize::try_from(number).unwrap_or(0).checked_sub(1);
        let mut all = self.all.lock();
        if let Some((_, sum)) = index.and_then(|index| all.get_mut(index)) {
            sum.add(times).expect("both have the same bounds");
        }
    }
}

/// The value below which `quarters` quarters of `sorted` lie; 0 of none.
fn quarter(sorted: &[u64], quarters: usize) -> u64 {
    sorted
        .get((sorted.len() * quarters / 4).min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(0)
}

fn times() -> Times {
    Histogram::new_with_bounds(1, LONGEST, 2)
        .expect("two digits up to a second are within the limits")
}

impl<'a> Lookups<'a> {
    /// Lookups of the thread that calls.
    pub(crate) fn new(stage: &'a Stage) -> Self {
        Self::of(&stage.windows, &stage.trees.registry, stage.clock())
    }

    /// Lookups of the thread that calls, on a machine whose clock takes this long to read.
    pub(crate) fn of(windows: &'a Windows, registry: &Registry, clock: Duration) -> Self {
        Self { windows, cache: registry.cache(), clock, current: 0, times: times() }
    }

    /// Looks up the css that counts for `task`.
    pub(crate) fn css<S: Subsystem>(
        &mut self,
        controller: &Controller<S>,
        task: &Task,
    ) -> Option<CssRef<S::State>> {
        let window = self.windows.open.get();
        if window == 0 {
            return self.cache.css(controller, task);
        }
        let start = Instant::now();
        let css = self.cache.css(controller, task);
        let time = start.elapsed().saturating_sub(self.clock);
        if self.windows.open.get() == window {
            self.record(window, time);
        }
        css
    }

    fn record(&mut self, window: u64, time: Duration) {
        if window != self.current {
            self.flush();
            self.current = window;
        }
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(LONGEST);
        self.times.saturating_record(nanoseconds);
    }

    fn flush(&mut self) {
        if !self.times.is_empty() {
            self.windows.add(self.current, &self.times);
            self.times.reset();
        }
        self.current = 0;
    }
}

impl Drop for Lookups<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Whether two kinds of windows can be told apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Comparison {
    /// There are fewer than [`LEAST`] windows of one kind.
    TooFew,
    /// The median with rebinds is within the middle half of the windows without.
    NoDifference,
    /// It is this many times the median without.
    Times(f64),
}

/// Compares the medians of p99.
pub(crate) fn compare(rebind: &Summary, quiet: &Summary) -> Comparison {
    if rebind.windows.min(quiet.windows) < LEAST {
        Comparison::TooFew
    } else if (quiet.p99_from..=quiet.p99_to).contains(&rebind.p99) {
        Comparison::NoDifference
    } else {
        Comparison::Times(rebind.p99 as f64 / quiet.p99.max(1) as f64)
    }
}

/// Lookups below which a window tells no p99.
pub(crate) const ENOUGH: u64 = 100;

/// Windows of each kind that a comparison takes.
pub(crate) const LEAST: usize = 100;

/// The longest time told apart from longer ones, in nanoseconds: a second.
const LONGEST: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    use crate::soak::stage::tests::small_stage;

    #[test]
    fn lookups_are_timed_within_windows_only() {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        let task = stage.trees.registry.create_task("worker").unwrap();
        let mut lookups = Lookups::new(&stage);
        let mut look_up = |times: u64| {
            for _ in 0..times {
                assert!(lookups.css(&stage.queries, &task).is_some());
            }
        };
        look_up(40);
        stage.windows.within(Kind::Rebind, || look_up(ENOUGH));
        stage.windows.within(Kind::Quiet, || look_up(ENOUGH - 1));
        stage.windows.within(Kind::Quiet, || look_up(2 * ENOUGH));
        look_up(40);
        drop(lookups);
        let [rebind, quiet] = [Kind::Rebind, Kind::Quiet].map(|kind| stage.windows.summary(kind));
        assert_eq!((rebind.windows, rebind.timed), (1, ENOUGH));
        // The first of these has one lookup too few.
        assert_eq!((quiet.windows, quiet.timed), (1, 2 * ENOUGH));
        assert!(quiet.p99 >= quiet.p50 && quiet.p99_from <= quiet.p99_to);
    }

    #[test]
    fn quarters_are_of_what_is_there() {
        assert_eq!(quarter(&[], 2), 0);
        assert_eq!([1, 2, 3].map(|quarters| quarter(&[7], quarters)), [7; 3]);
        assert_eq!(
            [1, 2, 3].map(|quarters| quarter(&[1, 2, 3, 4, 5, 6, 7, 8], quarters)),
            [3, 5, 7]
        );
    }
}
