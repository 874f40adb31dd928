//! Time and sleep in a model of loom's: time passes when the model says so, and whoever slept for long enough comes back
//! then.

use std::{sync::PoisonError, time::Duration};

use loom::{sync::Condvar, thread::ThreadId};

use super::Mutex;

/// A time of the model's clock, which begins at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

/// What the clock says, and who sleeps by it.
struct Night {
    state: Mutex<State>,
    changes: Condvar,
}

#[derive(Default)]
struct State {
    now: Duration,
    /// Those whose next sleep ends at once.
    unparked: Vec<ThreadId>,
    /// Threads that have not ended.
    running: usize,
    /// Those of them that sleep.
    parked: usize,
}

loom::lazy_static! {
    static ref NIGHT: Night = Night { state: Mutex::default(), changes: Condvar::new() };
}

impl Instant {
    pub(crate) fn now() -> Self {
        Self(NIGHT.state.lock().now)
    }

    pub(crate) fn checked_add(self, duration: Duration) -> Option<Self> {
        self.0.checked_add(duration).map(Self)
    }

    pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Night {
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        let result = change(&mut state);
        drop(state);
        self.changes.notify_all();
        result
    }

    /// Waits until `is_over`, which may change something then.
    fn sleep(&self, mut is_over: impl FnMut(&mut State) -> bool) {
        let mut state = self.state.lock();
        while !is_over(&mut state) {
            state = self.changes.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        self.changes.notify_all();
    }
}

/// Has time pass.
pub(crate) fn pass(time: Duration) {
    NIGHT.change(|state| state.now += time);
}

/// Has time pass once all threads that a [`Builder`](thread::Builder) made sleep.
pub(crate) fn pass_asleep(time: Duration) {
    NIGHT.sleep(|state| {
        let is_asleep = state.running == state.parked;
        if is_asleep {
            state.now += time;
        }
        is_asleep
    });
}

/// Waits for the end of all threads that a [`Builder`](thread::Builder) made.
pub(crate) fn rest() {
    NIGHT.sleep(|state| state.running == 0);
}

/// Threads that park by the model's clock.
pub(crate) mod thread {
    use std::io;

    use super::{Duration, NIGHT, ThreadId};

    /// A thread.
    #[derive(Clone, Debug)]
    pub(crate) struct Thread(ThreadId);

    /// Makes a thread.
    pub(crate) struct Builder;

    /// What is had of a thread that was made.
    pub(crate) struct Made(Thread);

    impl Thread {
        /// Ends its sleep, or the next one.
        pub(crate) fn unpark(&self) {
            NIGHT.change(|state| {
                if !state.unparked.contains(&self.0) {
                    state.unparked.push(self.0);
                }
            });
        }
    }

    impl Builder {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) fn name(self, _name: String) -> Self {
            self
        }

        pub(crate) fn spawn(self, run: impl FnOnce() + Send + 'static) -> io::Result<Made> {
            NIGHT.change(|state| state.running += 1);
            let thread = loom::thread::spawn(|| {
                run();
                NIGHT.change(|state| state.running -= 1);
            });
            Ok(Made(Thread(thread.thread().id())))
        }
    }

    impl Made {
        pub(crate) fn thread(&self) -> &Thread {
            &self.0
        }
    }

    /// Sleeps for so long, or until it is unparked.
    pub(crate) fn park_timeout(time: Duration) {
        let own = loom::thread::current().id();
        let until = NIGHT.change(|state| {
            state.parked += 1;
            state.now.saturating_add(time)
        });
        NIGHT.sleep(|state| {
            let token = state.unparked.iter().position(|thread| *thread == own);
            let is_over = token.is_some() || state.now >= until;
            if is_over {
                token.map(|at| state.unparked.swap_remove(at));
                state.parked -= 1;
            }
            is_over
        });
    }
}
