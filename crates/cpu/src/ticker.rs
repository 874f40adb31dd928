//! The ticker: a thread that looks after those who do not look at the clock themselves.
//!
//! Leases and closures look at a flag, and somebody has to raise it when a slice is over and another waits;
//! a grant that nobody comes for has to be taken back; a group whose quota has come has to be let in though no
//! worker sleeps that could be its alarm. What is due, and when, the scheduler says
//! ([`tick`](crate::sched::Sched::tick)). The thread starts when something is due for the first time, and ends when
//! nothing was for a second. By a clock other than the machine's there is none.

use std::time::Duration;

use crate::{
    sched::Sched,
    sync::{
        Arc, Mutex, Weak,
        thread::{self, Thread},
    },
};

/// How long the thread stays when nothing is due.
const STAY: Duration = Duration::from_secs(1);

/// The ticker of one controller.
pub(crate) struct Ticker(Mutex<Option<Thread>>);

impl Ticker {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Has the ticker look when it is to come next; called after that was set.
    pub(crate) fn call(&self, sched: &Arc<Sched>) {
        if !sched.time.is_machine() {
            return;
        }
        let mut thread = self.0.lock();
        if let Some(thread) = &*thread {
            return thread.unpark();
        }
        let weak = Arc::downgrade(sched);
        let builder = thread::Builder::new().name("fief-cpu-ticker".to_owned());
        // Without a thread nothing is late that looks by itself; the next call tries again.
        if let Ok(handle) = builder.spawn(move || run(&weak)) {
            *thread = Some(handle.thread().clone());
        } else {
            sched.untick();
        }
    }

    /// Ends the thread, if nothing is due.
    fn end(&self, sched: &Sched) -> bool {
        let mut thread = self.0.lock();
        let ends = !sched.is_ticking();
        if ends {
            *thread = None;
        }
        ends
    }

    /// Has the thread find that there is no scheduler any more.
    pub(crate) fn stop(&self) {
        if let Some(thread) = self.0.lock().take() {
            thread.unpark();
        }
    }
}

fn run(sched: &Weak<Sched>) {
    loop {
        let Some(tick) = sched.upgrade().map(|sched| {
            let next = sched.tick();
            next.map(|next| next.saturating_sub(sched.time.now()))
        }) else {
            return;
        };
        thread::park_timeout(tick.map_or(STAY, Duration::from_nanos));
        if tick.is_none() && sched.upgrade().is_none_or(|sched| sched.ticker.end(&sched)) {
            return;
        }
    }
}
