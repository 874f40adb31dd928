//! Long polls: which there were, and who is told.
//!
//! What runs cannot be taken off its CPU, so a poll that takes long makes everybody else wait who has no slot,
//! and other jobs of its own group. It is told of because only its author can do something about it.
//!
//! The worker knows when a poll began and when it ended, so a poll that is not long costs one comparison. (Where
//! polls are very short the clock is read after every fourth: it is then the last of them that is told of.) One
//! that is long goes into a histogram of its group and of each group above, made with the first; then the
//! application is told, after the slice and under no lock.
//!
//! The default of 10 ms is fifty slices: by then a whole round of other groups could have been served, and a
//! client that waits notices. It is far above what is advised for a poll (10 to 100 µs, with tokio) and what
//! tokio-metrics calls a slow one (50 µs), for those are for a look at one service, and this goes on always: at 10
//! ms a worker is told of a hundred a second at most.
//!
//! It is the wall that is looked at, not the CPU's clock: a poll that blocks holds its worker all the same. So a
//! machine that takes the CPU away makes polls long, too.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;

use crate::{
    caught::{caught, discard},
    foreign::{CpuCss, TaskId},
    leaf::Leaf,
    queue::Queue,
    rare::Kind,
    sync::Arc,
    time::nanos,
    trace::event,
};

/// What counts as long unless the builder says something else.
const LONG: Duration = Duration::from_millis(10);

/// Longer ones count as this: a day.
const LONGEST: u64 = 86_400_000_000;

/// How exact the histogram is: two decimal digits.
const DIGITS: u8 = 2;

/// A poll that took long.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LongPoll {
    /// The path of the group it was run for.
    pub cgroup: String,
    /// The task whose job it was.
    pub task: TaskId,
    /// The task's name.
    pub name: String,
    /// How long it took, by the wall.
    pub duration: Duration,
}

/// How long the long polls of a group, and of all below it, were; to two decimal digits.
#[derive(Clone)]
pub struct LongPolls {
    record: Option<Box<Record>>,
}

type Hear = dyn Fn(&LongPoll) + Send + Sync;

/// What is long, and who is told.
#[derive(Clone)]
pub(crate) struct Watch {
    pub(crate) threshold: u64,
    pub(crate) hear: Option<Arc<Hear>>,
}

/// The long polls of one group.
#[derive(Clone)]
pub(crate) struct Record {
    /// In microseconds.
    histogram: Histogram<u32>,
    count: u64,
    longest: Duration,
}

impl CpuCss {
    /// Returns how long the long polls of the group and of all below it were.
    ///
    /// # Concurrency
    ///
    /// Takes a short lock, and copies a few KiB if there were any.
    #[must_use]
    pub fn long_polls(&self) -> LongPolls {
        LongPolls { record: self.leaf.rare.get().and_then(|rare| rare.polls.lock().clone()) }
    }
}

impl LongPolls {
    /// Returns how many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| record.count)
    }

    /// Returns the longest, exactly; nothing if there was none.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.record.as_ref().map_or(Duration::ZERO, |record| record.longest)
    }

    /// Returns how long at most the given part of them were, 0.99 for 99 of 100; nothing if there was none.
    ///
    /// Parts below 0, above 1 and not a number count as 0 and 1.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Duration {
        let part = if part.is_nan() { 1.0 } else { part };
        let found = self.record.as_ref().map(|record| {
            Duration::from_micros(record.histogram.value_at_quantile(part)).min(record.longest)
        });
        found.unwrap_or_default()
    }
}

impl fmt::Debug for LongPolls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("LongPolls");
        debug.field("count", &self.count()).field("median", &self.quantile(0.5));
        debug.field("p99", &self.quantile(0.99)).field("max", &self.max()).finish()
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self { threshold: nanos(LONG), hear: None }
    }
}

impl Record {
    fn add(record: &mut Option<Box<Self>>, duration: Duration) {
        if record.is_none() {
            // Refused only for a number of digits that there is not.
            let Ok(histogram) = Histogram::new(DIGITS) else { return };
            *record = Some(Box::new(Self { histogram, count: 0, longest: Duration::ZERO }));
        }
        let Some(record) = record else { return };
        let micros = u64::try_from(duration.as_micros()).unwrap_or(LONGEST);
        // It grows as it needs to; only what is beyond any size is refused.
        record.histogram.record(micros.clamp(1, LONGEST)).ok();
        record.count += 1;
        record.longest = record.longest.max(duration);
    }
}

/// Counts a poll of a queue's owner that took long, and tells of it. Under no lock.
#[cold]
pub(crate) fn tell(leaf: &Leaf, queue: &Queue, took: u64) {
    let duration = Duration::from_nanos(took);
    for level in leaf.levels() {
        Record::add(&mut level.rare().polls.lock(), duration);
    }
    leaf.note(Kind::LongPoll);
    let (task, name) = (queue.task, queue.name.clone().into());
    let poll = LongPoll { cgroup: leaf.path(), task, name, duration };
    event!("long_poll", cgroup = %poll.cgroup, task = %poll.name, micros = duration.as_micros());
    if let Some(hear) = &leaf.sched.polls.hear
        && let Err(payload) = caught(|| hear(&poll))
    {
        discard(payload);
    }
}
