//! A worker: takes a slice of the leaf that is next, runs what waits there, and settles.
//!
//! It does not matter on what it runs: a thread of the pool's own drives it, or a task of somebody's runtime, or
//! a test by hand. What it has taken lies in its *local* queue, where others find it: a worker that would sleep
//! gives back what others have there first, so nothing that could run is hidden behind a long poll.
//!
//! # Tests
//!
//! `tests/loom_sleep.rs`.

use std::{collections::VecDeque, fmt, mem, task::Waker};

#[cfg(not(loom))]
use crate::here::Here;
use crate::{
    claim::{Flag, Grant},
    job::{Outcome, Runnable},
    leaf::Pace,
    meter::Meter,
    polls,
    queue::{Item, Queue, Want},
    rare::Kind,
    sched::{Next, Sched, Slice},
    sync::{Arc, AtomicBool, AtomicU32, Mutex, Ordering, skip, thread::Thread},
};

#[cfg(not(loom))]
mod pause;

/// A worker, as others see it.
pub(crate) struct Worker {
    seat: usize,
    sched: Arc<Sched>,
    /// Whether to end the slice soon, as somebody is ahead of it; what a job looks at in a checkpoint.
    pub(crate) flag: Arc<Flag>,
    /// What it has taken, and from which of the queues that it took from.
    local: Mutex<VecDeque<Taken>>,
    driver: Mutex<Driver>,
    stint: Mutex<Stint>,
    /// From which of the queues the job is that runs.
    current: AtomicU32,
    /// Whether a job gave the slice away meanwhile.
    has_moved: AtomicBool,
    part: Part,
}

/// What a worker is there for, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Who is next; what drives it can wake by itself.
    Worker,
    /// The same, where it is woken by others only.
    #[cfg(feature = "tokio")]
    Task,
    /// Who is in a hurry while all slots are taken. It has no slot.
    Rescuer,
}

/// A job, and from which of the queues it was taken.
type Taken = (u32, Runnable);

/// What a worker is at.
struct Stint {
    slice: Option<Slice>,
    /// The queues that gave something for the slice, and how often they had been killed.
    taken: Vec<(Arc<Queue>, u32)>,
    meter: Meter,
    /// When the slice was begun.
    begun: u64,
}

/// How to wake what drives a worker.
pub(crate) enum Driver {
    Thread(Thread),
    Task(Waker),
}

/// A worker, as what drives it has it.
pub(crate) struct Runner {
    pub(crate) worker: Arc<Worker>,
    sched: Arc<Sched>,
    /// The slice before, and what it took.
    done: Option<(Slice, u64)>,
    batch: VecDeque<Item>,
    /// Polls of the slice that took long, and whose they were.
    long: Vec<(Arc<Queue>, u64)>,
    /// Asked after each poll: whether the slice has to end for the sake of what drives us.
    must_yield: fn() -> bool,
}

/// What came of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It did a slice.
    Ran,
    /// There is nothing to do, until it is woken or until then.
    Sleep(Option<u64>),
    /// There never will be.
    End,
}

impl Worker {
    pub(crate) fn seat(&self) -> usize {
        self.seat
    }

    pub(crate) fn wake(&self) {
        let driver = self.driver.lock();
        match &*driver {
            Driver::Thread(thread) => thread.unpark(),
            Driver::Task(waker) => {
                let waker = waker.clone();
                drop(driver);
                waker.wake();
            }
        }
    }

    /// Sets what is woken from now on.
    pub(crate) fn set_driver(&self, driver: Driver) {
        let former = mem::replace(&mut *self.driver.lock(), driver);
        drop(former);
    }

    /// Gives back what lies in the local queue; returns whether there was anything.
    fn give_back(&self) -> bool {
        let items = mem::take(&mut *self.local.lock());
        let had_items = !items.is_empty();
        items.into_iter().for_each(|(_, job)| job.give_back());
        had_items
    }

    /// Puts a job that was woken last in the local queue, and takes the first; says whether there are more.
    fn turn_over(&self, woken: Option<Taken>) -> Option<(Taken, bool)> {
        let mut local = self.local.lock();
        local.extend(woken);
        let first = local.pop_front()?;
        Some((first, !local.is_empty()))
    }

    fn begin(&self, slice: Slice, now: u64) {
        self.flag.unwatched();
        // Ordering: Relaxed, here and below: only the thread that runs the slice uses these two.
        self.has_moved.store(false, Ordering::Relaxed);
        let mut stint = self.stint.lock();
        (stint.slice, stint.begun) = (Some(slice), now);
    }

    /// Ends what it is at; returns the slice, and what to charge, if it has one still.
    fn finish(&self, now: u64) -> Option<(Slice, u64)> {
        let mut stint = self.stint.lock();
        let slice = stint.slice.take();
        let wall = now.saturating_sub(stint.begun);
        let done = slice.map(|slice| (slice, stint.meter.lap(wall)));
        let taken = mem::take(&mut stint.taken);
        drop(stint);
        taken.into_iter().for_each(|(queue, _)| queue.release());
        done
    }

    /// Returns a queue that the slice took something from.
    fn taken(&self, number: u32) -> Option<Arc<Queue>> {
        let stint = self.stint.lock();
        stint.taken.get(number as usize).map(|(queue, _)| Arc::clone(queue))
    }

    /// Notes that the slice took something from a queue; returns the queue's number.
    fn note_taken(&self, queue: Arc<Queue>) -> u32 {
        let mut stint = self.stint.lock();
        let kills = queue.kills();
        stint.taken.push((queue, kills));
        u32::try_from(stint.taken.len() - 1).unwrap_or(u32::MAX)
    }
}

impl Runner {
    pub(crate) fn new(sched: &Arc<Sched>, driver: Driver, must_yield: fn() -> bool) -> Self {
        Self::with_part(Part::Worker, sched, driver, must_yield)
    }

    /// Makes a worker whose driver cannot wake by itself.
    #[cfg(feature = "tokio")]
    pub(crate) fn task(sched: &Arc<Sched>, driver: Driver, must_yield: fn() -> bool) -> Self {
        Self::with_part(Part::Task, sched, driver, must_yield)
    }

    /// Makes the rescue lane, which may use `share` percent of one CPU.
    pub(crate) fn rescuer(
        sched: &Arc<Sched>,
        driver: Driver,
        must_yield: fn() -> bool,
        share: u32,
    ) -> Self {
        let runner = Self::with_part(Part::Rescuer, sched, driver, must_yield);
        sched.open_lane(&runner.worker, share);
        runner
    }

    fn with_part(part: Part, sched: &Arc<Sched>, driver: Driver, must_yield: fn() -> bool) -> Self {
        let meter = Meter::new(&sched.time);
        let stint = Stint { slice: None, taken: Vec::new(), meter, begun: 0 };
        let make = |seat| {
            Arc::new(Worker {
                seat,
                sched: Arc::clone(sched),
                flag: Flag::new(),
                local: Mutex::new(VecDeque::new()),
                driver: Mutex::new(driver),
                stint: Mutex::new(stint),
                current: AtomicU32::new(0),
                has_moved: AtomicBool::new(false),
                part,
            })
        };
        Self {
            worker: sched.sit(part == Part::Worker, make),
            sched: Arc::clone(sched),
            done: None,
            batch: VecDeque::new(),
            long: Vec::new(),
            must_yield,
        }
    }

    /// Does a slice, if there is something to do.
    pub(crate) fn turn(&mut self) -> Turn {
        loop {
            let (done, is_rescuer) = (self.done.take(), self.worker.part == Part::Rescuer);
            let (next, call) = if is_rescuer {
                self.sched.next_rescue(&self.worker, done)
            } else {
                self.sched.next(&self.worker, done)
            };
            call.make();
            match next {
                Next::Run(slice) => {
                    if is_rescuer {
                        slice.leaf.note(Kind::Rescue);
                    }
                    self.done = self.run(slice);
                    return Turn::Ran;
                }
                Next::End => return Turn::End,
                Next::Sleep(until) if is_rescuer => return Turn::Sleep(until),
                Next::Sleep(until) => {
                    let others = self.sched.others(self.worker.seat);
                    let looks = !skip("worker_looks_behind");
                    if !(looks && others.iter().any(|other| other.give_back())) {
                        return Turn::Sleep(until);
                    }
                }
            }
        }
    }

    /// Settles the slice that was done, if it may be long until the next one.
    pub(crate) fn settle(&mut self) {
        if let Some((slice, cpu)) = self.done.take() {
            self.sched.settle(slice, cpu);
        }
    }

    /// Notes that the driver has slept.
    pub(crate) fn slept(&mut self) {
        self.worker.stint.lock().meter.skip();
    }

    /// Runs what waits in a leaf until its slice is over, or passes it to the claim that comes first; returns the slice
    /// and what to charge, unless it was given away.
    fn run(&mut self, slice: Slice) -> Option<(Slice, u64)> {
        let mut now = self.sched.time.now();
        let (leaf, end) = (Arc::clone(&slice.leaf), slice.end);
        self.worker.begin(slice, now);
        #[cfg(not(loom))]
        let _here = Here::Worker(Arc::clone(&self.worker)).enter();
        // Claims want a slot, which the rescue lane has not.
        let is_rescuer = self.worker.part == Part::Rescuer;
        let first = if is_rescuer { Want::Jobs } else { Want::First };
        let mut pace = leaf.pace();
        let mut want = first(pace.batch());
        while let Some(queue) = leaf.take(want, &mut self.batch) {
            if matches!(self.batch.front(), Some(Item::Claim(_))) {
                self.pass_on(queue);
                return None;
            }
            let from = self.worker.note_taken(queue);
            let jobs = self.batch.drain(..).filter_map(Item::into_job);
            self.worker.local.lock().extend(jobs.map(|job| (from, job)));
            if !skip("worker_helps") {
                self.sched.help(false).make();
            }
            if self.run_local(&mut pace, end, &mut now) {
                break;
            }
            want = Want::Jobs(pace.batch());
        }
        leaf.set_pace(pace);
        self.worker.give_back();
        if is_rescuer {
            self.sched.help(false).make(); // a task may be long in coming back
        }
        let done = self.worker.finish(now);
        if !self.long.is_empty() {
            self.long.drain(..).for_each(|(queue, took)| polls::tell(&leaf, &queue, took));
            self.slept(); // that was nobody's work
        }
        done
    }

    /// Passes the slice and the slot to the claim that was taken.
    fn pass_on(&mut self, queue: Arc<Queue>) {
        let slice = self.worker.stint.lock().slice.take();
        if let (Some(slice), Some(Item::Claim(claim))) = (slice, self.batch.pop_front()) {
            self.sched.pass_on(&self.worker, &slice, &claim).make();
            // One that went away meanwhile is refused; the grant ends, and its slot goes to who is next.
            drop(claim.grant(Grant::new(slice, queue)));
        }
    }

    /// Runs what lies in the local queue; returns whether the slice is over.
    fn run_local(&mut self, pace: &mut Pace, end: u64, now: &mut u64) -> bool {
        let worker = Arc::clone(&self.worker);
        let mut woken = None;
        // Polls since the clock was read.
        let mut unread = 0;
        while let Some(((from, job), has_more)) = worker.turn_over(woken.take()) {
            if has_more && !skip("worker_shares") {
                self.sched.help(true).make();
            }
            // Ordering: Relaxed, here and below: see `begin`.
            worker.current.store(from, Ordering::Relaxed);
            let outcome = job.run();
            let has_moved = worker.has_moved.load(Ordering::Relaxed);
            match outcome {
                // Its number means nothing any more.
                Outcome::Woken(job) if has_moved => job.give_back(),
                Outcome::Woken(job) => woken = Some((from, job)),
                Outcome::Idle | Outcome::Done => {}
            }
            unread += 1;
            let mut is_over = has_moved || worker.flag.is_hurried() || (self.must_yield)();
            if is_over || unread >= pace.stride() {
                self.read_clock(pace, now, mem::take(&mut unread), (from, has_moved));
                is_over |= *now >= end;
            }
            if is_over {
                worker.local.lock().extend(woken);
                return true;
            }
        }
        if unread > 0 {
            // Ordering: Relaxed: as above.
            let from = worker.current.load(Ordering::Relaxed);
            self.read_clock(pace, now, unread, (from, false));
        }
        false
    }

    /// Notes how long the last polls took, of which the last was `from` that queue.
    fn read_clock(
        &mut self,
        pace: &mut Pace,
        now: &mut u64,
        polls: u32,
        (from, has_moved): (u32, bool),
    ) {
        let before = mem::replace(now, self.sched.time.now());
        let took = now.saturating_sub(before);
        pace.note(took / u64::from(polls));
        // One that gave its slot away meanwhile held up nobody.
        if took >= self.sched.polls.threshold && !has_moved {
            self.long.extend(self.worker.taken(from).map(|queue| (queue, took)));
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.worker.give_back();
        self.sched.stand_up(&self.worker, self.done.take());
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("seat", &self.seat).finish_non_exhaustive()
    }
}
