//! What creation, removal and kill cost.

use std::{
    hint,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use fief_core::{Barrier, Cgroup, Removal, bench::Batch};

use crate::{
    forest::Forest,
    system::{membarrier, pinned},
};

/// Times as many creations and removals of one group: until the last call is done, and until the
/// last css is freed.
#[must_use]
pub fn come_and_go(forest: &Forest, times: u64) -> [Duration; 2] {
    let start = Instant::now();
    (0..times).for_each(|_| forest.come_and_go());
    let called = start.elapsed();
    forest.settle();
    [called, start.elapsed()]
}

/// Times as many creations, removals and passes of the reclaimer, all on the calling thread.
#[must_use]
pub fn come_and_go_reaped(forest: &Forest, times: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        forest.come_and_go();
        forest.registry.reap();
    }
    start.elapsed()
}

/// Times the removal of one group with as many css as `forest` has subsystems.
#[must_use]
pub fn removal(forest: &Forest, removal: Removal) -> Duration {
    let group: Cgroup = forest.hierarchy.root().create_child("passing").expect("a free name");
    let start = Instant::now();
    group.remove(removal).expect("nobody joined, and nobody has a reference");
    let time = start.elapsed();
    forest.registry.reap();
    time
}

/// Times the strict removal of a group that is in use: the call, and the drop of its error.
#[must_use]
pub fn refusal(group: &Cgroup) -> Duration {
    let start = Instant::now();
    let refused = group.remove(Removal::Strict).is_err();
    let time = start.elapsed();
    assert!(refused, "a reference is out");
    time
}

/// Times the kill of `count` counts with one barrier; the calling thread has cells for each.
#[must_use]
pub fn kill(count: usize) -> Duration {
    let mut batch = Batch::new(count, Barrier::Auto).expect("there are 2^24 ids");
    batch.touch();
    let start = Instant::now();
    batch.kill();
    start.elapsed()
}

/// Times one `membarrier`, the primitive a kill is held against.
#[must_use]
pub fn barrier() -> Duration {
    let start = Instant::now();
    membarrier();
    start.elapsed()
}

/// Runs `work` while another thread of this process spins on another processor, which a barrier has
/// to reach.
pub fn beside_a_busy_thread<R>(work: impl FnOnce() -> R) -> R {
    let (is_started, is_over) = (&AtomicBool::new(false), &AtomicBool::new(false));
    thread::scope(|scope| {
        let spin = move || {
            // Ordering: Relaxed: flags, with no data behind them.
            is_started.store(true, Ordering::Relaxed);
            while !is_over.load(Ordering::Relaxed) {
                hint::spin_loop();
            }
        };
        scope.spawn(move || pinned(1, spin));
        while !is_started.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        let _over = Over(is_over);
        pinned(0, work)
    })
}

/// Stops the busy thread, whatever comes of the work.
struct Over<'f>(&'f AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        // Ordering: Relaxed: a flag, with no data behind it.
        self.0.store(true, Ordering::Relaxed);
    }
}
