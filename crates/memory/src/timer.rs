//! Wakes tasks after a time, by the machine's clock: one thread a process, started when it is first needed.
//!
//! What is woken looks at the controller's own clock, and comes again if it is too early there.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    task::Waker,
    time::{Duration, Instant},
};

use slab::Slab;

use crate::{
    caught::caught,
    sync::{Condvar, Mutex, MutexGuard, PoisonError, forks, thread},
};

static QUEUE: Mutex<Queue> =
    Mutex::new(Queue { heap: BinaryHeap::new(), wakers: Slab::new(), runs_in: None });
static CHANGED: Condvar = Condvar::new();

struct Queue {
    /// When, and which of the wakers.
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    wakers: Slab<Waker>,
    /// The process that has the thread, as `forks` counts.
    runs_in: Option<u32>,
}

/// Has `waker` woken after `delay`, or, if no thread can be had, at once.
pub(crate) fn wake_after(delay: Duration, waker: &Waker) {
    let waker = waker.clone();
    let mut queue = QUEUE.lock();
    if queue.runs_in != Some(forks()) {
        let thread = thread::Builder::new().name(String::from("fief-memory-timer"));
        if thread.spawn(run).is_err() {
            drop(queue);
            return waker.wake();
        }
        // In the child of a fork, what others waited for is not ours; their wakers are left where they are.
        queue.heap.clear();
        queue.runs_in = Some(forks());
    }
    let place = queue.wakers.insert(waker);
    queue.heap.push(Reverse((Instant::now() + delay, place)));
    drop(queue);
    CHANGED.notify_one();
}

fn run() {
    let mut queue = QUEUE.lock();
    loop {
        let now = Instant::now();
        let left = queue.heap.peek().map(|Reverse((at, _))| at.saturating_duration_since(now));
        match left {
            None => queue = CHANGED.wait(queue).unwrap_or_else(PoisonError::into_inner),
            Some(Duration::ZERO) => {
                let due = queue.heap.pop();
                let waker = due.and_then(|Reverse((_, place))| queue.wakers.try_remove(place));
                drop(queue);
                caught(move || waker.map(Waker::wake));
                queue = QUEUE.lock();
            }
            Some(left) => queue = wait(queue, left),
        }
    }
}

fn wait(queue: MutexGuard<'static, Queue>, most: Duration) -> MutexGuard<'static, Queue> {
    CHANGED.wait_timeout(queue, most).unwrap_or_else(PoisonError::into_inner).0
}
