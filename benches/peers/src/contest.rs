//! Small requests that fit beside large ones that do not: a race for the last room under a limit.

use std::{
    fmt, iter,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

/// What there is, in bytes.
pub const LIMIT: usize = 1 << 20;
/// What a small request asks for.
pub const SMALL: usize = 4 << 10;
/// What a large request asks for.
pub const LARGE: usize = 1 << 30;
/// Small requests of a thread in a round: four times what there is.
const REQUESTS: usize = 4 * LIMIT / SMALL;

/// What came of one round, or of several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Rounds.
    pub rounds: u32,
    /// Rounds after which more was held than there is.
    pub over: u32,
    /// The most bytes that were held after a round.
    pub most: usize,
    /// The fewest bytes that were held after a round: all there is, if no small request is refused for
    /// a large one.
    pub fewest: usize,
    /// The fewest bytes that could be held once nobody else asked for any more.
    pub settled: usize,
    /// Large requests that were granted.
    pub large: usize,
}

impl Outcome {
    fn and(self, other: Self) -> Self {
        Self {
            rounds: self.rounds + other.rounds,
            over: self.over + other.over,
            most: self.most.max(other.most),
            fewest: self.fewest.min(other.fewest),
            settled: self.settled.min(other.settled),
            large: self.large + other.large,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, over, most, fewest, settled, large } = self;
        write!(f, "{over} of {rounds} rounds over; {fewest} to {most} bytes held, ")?;
        write!(f, "{settled} at least in the end; ")?;
        write!(f, "{large} large requests granted")
    }
}

/// Runs so many rounds: two threads make small requests and keep what they get, another large ones.
///
/// `begin` runs on the first thread as a round begins, `end` once everything is given back.
pub fn race<T: Send>(
    rounds: u32,
    begin: impl Fn(),
    take: impl Fn(usize) -> Option<T> + Sync,
    end: impl Fn(),
) -> Outcome {
    let none = Outcome { fewest: usize::MAX, settled: usize::MAX, ..Outcome::default() };
    (0..rounds).map(|_| round(&begin, &take, &end)).fold(none, Outcome::and)
}

fn round<T: Send>(
    begin: &impl Fn(),
    take: &(impl Fn(usize) -> Option<T> + Sync),
    end: &impl Fn(),
) -> Outcome {
    let [is_open, is_done] = [const { AtomicBool::new(false) }; 2];
    let [there, asked, granted] = [const { AtomicUsize::new(0) }; 3];
    // Ordering: Relaxed throughout: flags and figures of a race; joining orders the rest.
    let arrive = || {
        there.fetch_add(1, Ordering::Relaxed);
        wait_until(|| is_open.load(Ordering::Relaxed));
    };
    let small = |held: &mut Vec<T>| {
        wait_until(|| asked.load(Ordering::Relaxed) > 0);
        held.extend(iter::repeat_with(|| take(SMALL)).take(REQUESTS).flatten());
    };
    // Where the limit is the process's, nothing else may allocate from `begin` to `end`.
    let mut held = [const { Vec::new() }; 2];
    held.iter_mut().for_each(|held| held.reserve_exact(2 * REQUESTS));
    let [mine, theirs] = &mut held;
    let count = thread::scope(|scope| {
        let large = scope.spawn(|| {
            arrive();
            while !is_done.load(Ordering::Relaxed) {
                asked.fetch_add(1, Ordering::Relaxed);
                granted.fetch_add(usize::from(take(LARGE).is_some()), Ordering::Relaxed);
            }
        });
        let other = scope.spawn(|| {
            arrive();
            small(theirs);
            theirs.len()
        });
        let end = Raise([&is_open, &is_done]);
        wait_until(|| there.load(Ordering::Relaxed) == 2);
        begin();
        is_open.store(true, Ordering::Relaxed);
        small(mine);
        let count = mine.len() + other.join().expect("no request panics");
        drop(end);
        large.join().expect("no request panics");
        mine.extend(iter::repeat_with(|| take(SMALL)).take(REQUESTS).map_while(|it| it));
        count
    });
    let settled = held.iter().map(Vec::len).sum::<usize>() * SMALL;
    drop(held);
    end();
    let (fewest, large) = (count * SMALL, granted.into_inner());
    Outcome { rounds: 1, over: u32::from(settled > LIMIT), most: settled, fewest, settled, large }
}

/// Raises flags at the end, by a panic as well, so that nobody waits for them any more.
struct Raise<'f>([&'f AtomicBool; 2]);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        // Ordering: Relaxed: as in `round`.
        self.0.iter().for_each(|flag| flag.store(true, Ordering::Relaxed));
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}
