//! Release notices: what one costs, and how soon it comes.

use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use fief_core::{CssRef, Registry};

use crate::{forest::Forest, lifecycle::beside_a_busy_thread};

/// Edges that the reclaimer finds in one pass, and that are received before the next.
pub const BATCH: usize = 10;

/// Lets the last references to one css each of some groups of `forest` go, and reaps, receives and
/// accepts; returns the time of one notice.
///
/// The groups are armed, and the caller is their reclaimer. Taking the references is not in the time.
pub fn edges(forest: &Forest, numbers: impl Iterator<Item = usize>) -> Duration {
    let notices = forest.hierarchy.notices();
    let held: Vec<CssRef<()>> = numbers.map(|number| forest.css(number)).collect();
    let count = u32::try_from(held.len()).expect("few groups");
    let start = Instant::now();
    drop(held);
    forest.registry.reap();
    for _ in 0..count {
        let notice = notices.try_recv().expect("one notice an edge");
        black_box(notice.accept().expect("nobody uses the group"));
    }
    start.elapsed() / count
}

/// What ends the use of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its last member leaves. The group is to be armed first, which takes a barrier.
    Member,
    /// The last reference to one of its css goes.
    Reference,
}

/// Ends the use of a group again and again; returns how long it took each time until the notice was
/// received.
///
/// The group has four css. Another thread spins on the other processor: the caller, who waits for the
/// notice, and the reclaimer, who sleeps at the start, have one together.
#[must_use]
pub fn delays(end: End, times: u64) -> Vec<Duration> {
    beside_a_busy_thread(|| {
        let forest = Forest::notifying(Registry::new(), 4, 1);
        let notices = forest.hierarchy.notices();
        let task = forest.registry.create_task("member").expect("no subsystem refuses");
        let delay = |number| {
            let css = (end == End::Reference).then(|| forest.css(0));
            if end == End::Member {
                task.join(&forest.groups[0]).expect("no subsystem refuses");
            }
            // Until the reclaimer sleeps; not always as long.
            thread::sleep(Duration::from_micros(1_000 + 130 * (number % 7)));
            let start = Instant::now();
            match css {
                Some(css) => drop(css),
                None => task.leave(&forest.hierarchy).expect("it is a member"),
            }
            let notice = notices.recv_timeout(Duration::from_secs(10)).expect("an edge is told");
            let delay = start.elapsed();
            drop(black_box(notice.accept()));
            delay
        };
        (0..times).map(delay).collect()
    })
}
