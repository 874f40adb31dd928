//! The state of a job: who may touch it, and whether it has to be polled.
//!
//! One word of four bits:
//!
//! | bit | set by | cleared by |
//! |---|---|---|
//! | `QUEUED`: it has to be polled, or dropped | [`wake`](State::wake), [`abort`](State::abort) | [`start`](State::start) |
//! | `RUNNING`: it is being polled, or was for the last time | `start` | [`pause`](State::pause) |
//! | `ABORTED`: it is not to be polled again | `abort` | |
//! | `DONE`: what came of it can be had | [`finish`](State::finish) | |
//!
//! | bits | name | who has the *token* |
//! |---|---|---|
//! | neither | idle | nobody |
//! | `QUEUED` | queued | whoever has the `Runnable` |
//! | `RUNNING` | running | whoever polls it |
//! | `RUNNING`, `QUEUED` | woken | whoever polls it; after that it is queued |
//! | `RUNNING`, `DONE` | done | nobody, for good |
//!
//! # Invariants
//!
//! 1. There is at most one token. It is made by the one change from idle to queued, or with the job, which begins
//!    queued, and ends where `pause` finds the job idle, or with the job. Who has it alone may touch the future.
//! 2. A job that was woken after its last poll began is queued or woken; it is never idle. So no wake-up is lost.
//! 3. A job that is done stays running, so that no later wake-up or abort queues it.
//!
//! # Orderings
//!
//! Edge `wake→run`. What a thread did before it woke (or aborted) a job is seen by the poll (or drop) after: the
//! exchange of `wake` is Release, that of `start` Acquire. It holds for a wake-up that finds the job queued as
//! well, so that is an exchange, too, and not just a look. What others change meanwhile are read-modify-writes
//! as well, which keep the release sequence.
//!
//! Edge `run→run`. What a poll did is seen by the next one, on whichever thread: `pause` is Release, the next
//! `start` Acquire.
//!
//! Edge `token`. Who gets the token by waking or aborting an idle job sees what was done with it before, as it has to find
//! the job's home: `pause` is Release, `wake` and `abort` are Acquire. What it does with the token
//! is seen by who takes the job from the queue, by the queue's own order.
//!
//! Edge `done→seen`. What a job did is seen by who finds it done: `finish` is Release, `is_done` Acquire.
//!
//! # Tests
//!
//! `tests/loom_job.rs`.

use std::fmt;

use crate::sync::{AtomicU32, Ordering, order, skip};

/// The state of one job.
pub(crate) struct State(AtomicU32);

/// What becomes of a job after a poll that did not end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paused {
    /// Nobody has the token.
    Idle,
    /// The caller has the token still, and the job is queued.
    Woken,
    /// The same, and it is not to be polled again.
    Aborted,
}

const QUEUED: u32 = 1;
const RUNNING: u32 = 2;
const ABORTED: u32 = 4;
const DONE: u32 = 8;

impl State {
    /// Makes the state of a job that is queued: the caller has the token.
    pub(crate) fn queued() -> Self {
        Self(AtomicU32::new(QUEUED))
    }

    /// Has the job polled after this; true if the caller now has the token, and must queue it.
    #[must_use]
    pub(crate) fn wake(&self) -> bool {
        // Ordering: Relaxed: a mutant.
        if skip("job_wakes_the_queued") && self.0.load(Ordering::Relaxed) & QUEUED != 0 {
            return false;
        }
        self.queue(QUEUED, order("job_wake", token()))
    }

    /// Has the job dropped; true if the caller now has the token, and must queue it.
    ///
    /// A job that is running ends with this poll, and one that is done stays as it is.
    #[must_use]
    pub(crate) fn abort(&self) -> bool {
        self.queue(ABORTED | QUEUED, order("job_abort", token()))
    }

    fn queue(&self, bits: u32, ordering: Ordering) -> bool {
        let before = if skip("job_queues_once") {
            // Ordering: Relaxed, both: a mutant.
            let before = self.0.load(Ordering::Relaxed);
            self.0.store(before | bits, Ordering::Relaxed);
            before
        } else {
            self.0.fetch_or(bits, ordering)
        };
        before & (QUEUED | RUNNING) == 0
    }

    /// Begins to run; the caller has the token of a queued job. False if the job is not to be polled.
    #[must_use]
    pub(crate) fn start(&self) -> bool {
        // From queued to running in one addition, which leaves the other bits alone, because the token
        // says that the one bit is set and the other is not.
        // Ordering: Acquire (edges wake→run, run→run): all wake-ups and polls so far are seen.
        let before = self.0.fetch_add(RUNNING - QUEUED, order("job_start", Ordering::Acquire));
        debug_assert_eq!(before & (QUEUED | RUNNING | DONE), QUEUED, "started without a token");
        before & ABORTED == 0
    }

    /// Ends a poll that did not end the job; the caller has the token of a running job.
    #[must_use]
    pub(crate) fn pause(&self) -> Paused {
        // Ordering: Release (edge run→run): with it goes what this poll did.
        let before = self.0.fetch_sub(RUNNING, order("job_pause", Ordering::Release));
        debug_assert_eq!(before & (RUNNING | DONE), RUNNING, "paused without a token");
        if before & QUEUED == 0 || skip("job_pause_looks") {
            Paused::Idle
        } else if before & ABORTED == 0 {
            Paused::Woken
        } else {
            Paused::Aborted
        }
    }

    /// Says that what came of the job can be had; the caller has the token of a running job, which ends.
    pub(crate) fn finish(&self) {
        // Ordering: Release (edge done→seen): with it goes all that the job did.
        let before = self.0.fetch_or(DONE, order("job_finish", Ordering::Release));
        debug_assert_eq!(before & (RUNNING | DONE), RUNNING, "finished without a token");
    }

    /// Returns whether the job is done.
    pub(crate) fn is_done(&self) -> bool {
        // Ordering: Acquire (edge done→seen): the caller sees what the job did.
        self.0.load(order("job_done", Ordering::Acquire)) & DONE != 0
    }

    /// Returns whether the job was aborted; it may be done all the same.
    pub(crate) fn is_aborted(&self) -> bool {
        // Ordering: Relaxed: who acts on it starts the job, which acquires.
        self.0.load(Ordering::Relaxed) & ABORTED != 0
    }
}

/// The ordering of what may give its caller the token.
fn token() -> Ordering {
    // Ordering: Release (edge wake→run): with it goes all that the caller did before. Acquire (edge token): a caller
    // that gets the token sees what was done with it before.
    if skip("job_token") { Ordering::Release } else { Ordering::AcqRel }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ordering: Relaxed: for people to read.
        let bits = self.0.load(Ordering::Relaxed);
        f.write_str(match (bits & DONE, bits & RUNNING, bits & QUEUED) {
            (0, 0, 0) => "idle",
            (0, 0, _) => "queued",
            (0, _, 0) => "running",
            (0, _, _) => "woken",
            (..) => "done",
        })?;
        if bits & (ABORTED | DONE) == ABORTED { f.write_str(", aborted") } else { Ok(()) }
    }
}
