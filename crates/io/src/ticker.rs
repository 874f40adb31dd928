//! The ticker: a thread that looks after those who wait and have no thread of their own.
//!
//! Whoever comes or goes looks whether somebody else can go on; only where nobody does it is the ticker who wakes.
//! It starts when something is due for the first time, and ends when nothing was for a second. By a clock
//! other than the machine's there is none: who advances that clock calls [`Io::tick`](crate::Io::tick).
//!
//! # Invariants
//!
//! 1. What is due first is not before `due`, or the thread is about to look: `due` is taken away before it does.
//! 2. While there is a `thread`, it sleeps no longer than until `due`, or was unparked. It ends only while nothing is
//!    due, and says so under the same lock.
//!
//! # Tests
//!
//! `tests/loom_ticker.rs`.

use std::time::Duration;

use crate::sync::{
    Arc, Instant, Mutex, Weak, skip,
    thread::{self, Thread},
};

/// How long the thread stays when nothing is due.
const STAY: Duration = Duration::from_secs(1);

/// The ticker of one controller.
#[derive(Debug, Default)]
pub(crate) struct Ticker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    thread: Option<Thread>,
    /// When something is due, as far as the ticker was told.
    due: Option<Instant>,
}

/// What the ticker looks after.
pub(crate) trait Ticking: Send + Sync + 'static {
    /// Returns its ticker.
    fn ticker(&self) -> &Ticker;

    /// Does what is due; returns in how long something is due next.
    fn tick(&self) -> Option<Duration>;
}

impl Ticker {
    /// Has the ticker look in so long, or before.
    pub(crate) fn call<T: Ticking>(who: &Arc<T>, delay: Duration) {
        let Some(at) = Instant::now().checked_add(delay) else { return };
        let mut state = who.ticker().0.lock();
        if state.thread.is_some() && state.due.is_some_and(|due| due <= at) {
            return;
        }
        state.due = Some(at);
        if let Some(thread) = &state.thread {
            if !skip("ticker_wakes") {
                thread.unpark();
            }
            return;
        }
        let weak = Arc::downgrade(who);
        let builder = thread::Builder::new().name("fief-io-ticker".to_owned());
        // Without a thread nothing is late that looks by itself; the next call tries again.
        if let Ok(handle) = builder.spawn(move || run(&weak)) {
            state.thread = Some(handle.thread().clone());
        }
    }

    /// Has the thread find that there is nobody any more.
    pub(crate) fn stop(&self) {
        if let Some(thread) = self.0.lock().thread.take()
            && !skip("ticker_stops")
        {
            thread.unpark();
        }
    }

    /// Returns how long to sleep; `None` if what was due is due.
    fn rest(&self) -> Option<Duration> {
        let mut state = self.0.lock();
        let rest = match state.due {
            None => STAY,
            Some(due) => due.saturating_duration_since(Instant::now()),
        };
        if rest.is_zero() {
            state.due = None; // who calls from now on is heard again
            return None;
        }
        Some(rest)
    }

    /// Ends the thread, if nothing is due.
    fn end(&self) -> bool {
        let mut state = self.0.lock();
        let ends = state.due.is_none() || skip("ticker_looks_again");
        if ends {
            state.thread = None;
        }
        ends
    }
}

/// Makes the calling thread's short sleeps as short as they are asked for.
#[cfg(all(target_os = "linux", not(loom)))]
fn sleep_exactly() {
    // Refused, a sleep takes 50 µs longer.
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)).ok();
}

#[cfg(any(not(target_os = "linux"), loom))]
fn sleep_exactly() {}

fn run<T: Ticking>(who: &Weak<T>) {
    sleep_exactly();
    loop {
        let Some(ticking) = who.upgrade() else { return };
        let rest = ticking.ticker().rest();
        if rest.is_none()
            && let Some(next) = ticking.tick()
            && !skip("ticker_goes_on")
        {
            Ticker::call(&ticking, next);
        }
        let is_idle = rest == Some(STAY);
        drop(ticking);
        if let Some(rest) = rest {
            thread::park_timeout(rest);
        }
        if is_idle && who.upgrade().is_none_or(|who| who.ticker().end()) {
            return;
        }
    }
}
