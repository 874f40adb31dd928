//! Four threads on two processors: at a limit, and beside a drain.

use std::{
    hint::black_box,
    iter,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use fief_core::{CssRef, Limit};
use fief_memory::MemoryCss;

use super::{BYTES, Grove, charge_and_uncharge};
use crate::system::{pinned, thread_time};

const THREADS: usize = 4;
/// Charges that a thread tries: so many that all four are there at one time, on two processors.
const ATTEMPTS: u32 = 1_000_000;
/// The same where each is refused.
const REFUSALS: u32 = 50_000;
/// What each charges at a time, and how many of these it wants to have.
const BLOCK: u64 = 4 << 10;
const WANTED: usize = 32;
/// How often is drained, and what lies between two drains.
const DRAINS: usize = 500;
const PAUSE: Duration = Duration::from_micros(100);

/// What an attempt costs at a limit.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Processor time, in nanoseconds.
    pub nanoseconds: f64,
    /// How many of a thousand are refused.
    pub refused: f64,
    /// How many drains there are in a thousand attempts.
    pub drains: f64,
}

/// Returns what an attempt costs where each of four threads wants as much as there is: it charges block after
/// block, and once it is refused, or has all it wants, gives half back.
///
/// What it gives back is in the time.
#[must_use]
pub fn attempt() -> Attempt {
    let (grove, tenant, css) = below_a_limit(BLOCK * WANTED as u64);
    let refused = AtomicUsize::new(0);
    let nanoseconds = each_attempt(ATTEMPTS, || {
        let (mut held, mut refusals) = (0, 0);
        for _ in 0..ATTEMPTS {
            let is_taken = css.try_charge(BLOCK).is_ok();
            held += usize::from(is_taken);
            refusals += usize::from(!is_taken);
            if !is_taken || held == WANTED {
                let rest = held / 2;
                (rest..held).for_each(|_| css.uncharge(BLOCK));
                held = rest;
            }
        }
        (0..held).for_each(|_| css.uncharge(BLOCK));
        // Ordering: Relaxed: the join of the threads orders it.
        refused.fetch_add(refusals, Ordering::Relaxed);
    });
    let in_thousand = |count: f64| count * 1e3 / (THREADS as f64 * f64::from(ATTEMPTS));
    let refused = in_thousand(refused.into_inner() as f64);
    let drains = in_thousand(tenant.stats().events.drain as f64);
    drop(grove);
    Attempt { nanoseconds, refused, drains }
}

/// Returns the processor time of an attempt, in nanoseconds, where all four are refused each time.
#[must_use]
pub fn refusal() -> f64 {
    let (grove, _tenant, css) = below_a_limit(BLOCK);
    css.try_charge(BLOCK).expect("there is as much");
    let time = each_attempt(REFUSALS, || {
        for _ in 0..REFUSALS {
            assert!(black_box(css.try_charge(BYTES)).is_err(), "nobody gives anything back");
        }
    });
    css.uncharge(BLOCK);
    drop(grove);
    time
}

/// A group that may have so much, and one below it.
fn below_a_limit(max: u64) -> (Grove, CssRef<MemoryCss>, CssRef<MemoryCss>) {
    let grove = Grove::new();
    let tenant = grove.hierarchy.root().create_child("tenant").expect("the name is free");
    let query = tenant.create_child("query").expect("the name is free");
    let [tenant, query] = [tenant, query].map(|group| grove.css(&group));
    tenant.set_max(Limit::At(max));
    (grove, tenant, query)
}

/// Runs `work`, of so many attempts, on all threads at the same time; returns the nanoseconds of one.
fn each_attempt(attempts: u32, work: impl Fn() + Sync) -> f64 {
    let barrier = &Barrier::new(THREADS);
    let timed = &|| {
        barrier.wait();
        let start = thread_time();
        work();
        thread_time() - start
    };
    let total: Duration = thread::scope(|scope| {
        let start = |number| scope.spawn(move || pinned(number, timed));
        let threads: Vec<_> = (0..THREADS).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("no attempt panics")).sum()
    });
    total.as_secs_f64() * 1e9 / (THREADS as f64 * f64::from(attempts))
}

/// Returns the time of each of many drains of a group that four threads charge and uncharge meanwhile. A
/// drain counts if there was something to call in.
#[must_use]
pub fn drains() -> Vec<Duration> {
    let grove = Grove::new();
    let css = grove.siblings(1).remove(0);
    let (started, is_over) = (&AtomicUsize::new(0), &AtomicBool::new(false));
    let charge = &|| {
        // Ordering: Relaxed, both: they hand nothing over.
        started.fetch_add(1, Ordering::Relaxed);
        while !is_over.load(Ordering::Relaxed) {
            charge_and_uncharge(black_box(&css));
        }
    };
    thread::scope(|scope| {
        for number in 0..THREADS {
            scope.spawn(move || pinned(number, charge));
        }
        while started.load(Ordering::Relaxed) < THREADS {
            thread::yield_now();
        }
        let times = iter::repeat_with(|| drain(&css)).flatten().take(DRAINS).collect();
        is_over.store(true, Ordering::Relaxed);
        times
    })
}

fn drain(css: &MemoryCss) -> Option<Duration> {
    thread::sleep(PAUSE);
    let start = Instant::now();
    let drained = css.drain();
    let time = start.elapsed();
    (drained.pockets + drained.inside > 0).then_some(time)
}
