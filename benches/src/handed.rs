//! References taken on one thread and dropped on another.

use std::{
    hint::black_box,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use fief_core::{CssRef, prepare_thread};

use crate::statistic::median;

/// References that change hands together: 16 KiB, well inside a first-level cache.
const HANDFUL: usize = 2048;
/// References of a handful whose drops are not timed.
const FIRST: usize = 64;

/// Where the references are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropper {
    /// On the thread that took them.
    Same,
    /// On another, which called [`prepare_thread`].
    Prepared,
    /// On another, which has no cells.
    Unprepared,
}

/// Returns the time of each of `handfuls` handfuls: the taking of every reference, and its drop.
///
/// Every handful goes to the other thread, and comes back. The journey is not in the time, and the
/// same in each case: whoever drops has waited for the handful, and looks at each reference once
/// before the clock starts.
#[must_use]
pub fn handfuls(css: &CssRef<()>, dropper: Dropper, handfuls: usize) -> Vec<Duration> {
    let (there, inbox) = channel();
    let (outbox, back) = channel();
    thread::scope(|scope| {
        scope.spawn(move || serve(dropper, &inbox, &outbox));
        let mut hand = Vec::with_capacity(HANDFUL);
        let times = (0..handfuls)
            .map(|_| {
                let took = taken(css, &mut hand);
                there.send(std::mem::take(&mut hand)).expect("the other thread lives");
                let (returned, dropped_there) = back.recv().expect("the other thread lives");
                hand = returned;
                took + dropped_there.unwrap_or_else(|| dropped(&mut hand))
            })
            .collect();
        drop(there);
        times
    })
}

/// Returns the nanoseconds of one pair, the median of some handfuls.
#[must_use]
pub fn nanoseconds(css: &CssRef<()>, dropper: Dropper) -> f64 {
    let times = handfuls(css, dropper, 41);
    let each = |time: &Duration| time.as_secs_f64() * 1e9 / HANDFUL as f64;
    median(&times.iter().map(each).collect::<Vec<_>>())
}

/// Returns the time of `pairs` pairs, by the handful.
#[must_use]
pub fn timed(css: &CssRef<()>, dropper: Dropper, pairs: u64) -> Duration {
    let count = pairs.div_ceil(HANDFUL as u64);
    let times = handfuls(css, dropper, usize::try_from(count).expect("few pairs"));
    let all: Duration = times.iter().sum();
    all.mul_f64(pairs as f64 / (count * HANDFUL as u64) as f64)
}

type Hand = Vec<CssRef<()>>;

/// The other thread: drops every handful, or sends it back as it came.
fn serve(dropper: Dropper, inbox: &Receiver<Hand>, outbox: &Sender<(Hand, Option<Duration>)>) {
    if dropper == Dropper::Prepared {
        assert!(prepare_thread(), "there are slots for all");
    }
    for mut hand in inbox {
        let time = (dropper != Dropper::Same).then(|| dropped(&mut hand));
        outbox.send((hand, time)).expect("the first thread waits");
    }
}

/// Fills the hand, once to make its memory the thread's own and once by the clock.
fn taken(css: &CssRef<()>, hand: &mut Hand) -> Duration {
    let more = || (0..HANDFUL).map(|_| CssRef::clone(black_box(css)));
    hand.extend(more());
    hand.clear();
    let start = Instant::now();
    hand.extend(more());
    start.elapsed()
}

/// Empties the hand, the first few references of it before the clock starts: with them come the
/// dropping thread's cells and the code.
fn dropped(hand: &mut Hand) -> Duration {
    hand.iter().for_each(|css| {
        black_box(css.id());
    });
    hand.truncate(HANDFUL - FIRST);
    let start = Instant::now();
    hand.clear();
    start.elapsed().mul_f64(HANDFUL as f64 / (HANDFUL - FIRST) as f64)
}
