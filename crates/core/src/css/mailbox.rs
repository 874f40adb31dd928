//! How dropping a reference wakes the reclaimer, from any context.
//!
//! A mailbox is the release list of one registry and the bell beside it. Mailboxes live for ever
//! and are used again by later registries, so that whoever pushed the last css of a registry can
//! still ring when the registry is already gone: a bell rung for nobody is a spurious wake-up.
//!
//! # Orderings
//!
//! Edge `bell`: what was handed over before a ring is seen by whoever hears it. A ring sets the bell
//! to [`RUNG`] whatever it was, and the reclaimer falls asleep only by an exchange from [`HEARD`], so
//! a ring either keeps it from sleeping or wakes it.
//!
//! # Tests
//!
//! `tests/loom_release.rs`, model `no_wake_up_is_lost`.

use crate::{
    css::{
        cells::{CssId, Domain},
        release::ReleaseList,
    },
    sync::{AtomicU32, Ordering, order, skip},
};

/// The reclaimer has heard every ring, and is at work.
const HEARD: u32 = 0;
/// Somebody rang since.
const RUNG: u32 = 1;
/// The reclaimer has heard every ring, and sleeps.
const ASLEEP: u32 = 2;

/// A release list with a bell.
///
/// # Invariants
///
/// 1. The list is taken from by one registry at a time: who gives the mailbox away is the last of its registry to look
///    into it (`reclaim.rs`, `finish`). Anybody may ring.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) list: ReleaseList,
    bell: AtomicU32,
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        Self { list: ReleaseList::new(), bell: AtomicU32::new(HEARD) }
    }

    /// Hands `id` to the reclaimer. Never blocks, locks or allocates; at most one system call.
    pub(crate) fn deliver(&self, domain: &Domain, id: CssId) {
        self.list.push(domain, id);
        self.ring();
    }

    /// Tells the reclaimer that there is work; returns whether it had to be woken.
    pub(crate) fn ring(&self) -> bool {
        // Ordering: Release (edge bell): what was handed over comes first.
        let must_wake = self.bell.swap(RUNG, order("bell_ring", Ordering::Release)) == ASLEEP;
        if must_wake {
            wake(&self.bell);
        }
        must_wake
    }

    /// Hears every ring up to now; the reclaimer then looks for work.
    pub(crate) fn hear(&self) {
        // Ordering: Acquire (edge bell): what was handed over before a ring is seen.
        self.bell.swap(HEARD, order("bell_hear", Ordering::Acquire));
    }

    /// Returns whether somebody rang since [`Mailbox::hear`].
    pub(crate) fn is_rung(&self) -> bool {
        // Ordering: Relaxed: a hint; `hear` acquires.
        self.bell.load(Ordering::Relaxed) == RUNG
    }

    /// Announces sleep; returns whether the reclaimer may: not when somebody rang.
    pub(crate) fn doze(&self) -> bool {
        if skip("bell_dozes") {
            // Ordering: Relaxed: a mutant that forgets a ring.
            self.bell.store(ASLEEP, Ordering::Relaxed);
            return true;
        }
        // Ordering: Relaxed: nothing is read on the strength of it.
        self.bell.compare_exchange(HEARD, ASLEEP, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Sleeps until somebody rings; returns at once if somebody did since [`Mailbox::hear`].
    #[cfg(not(loom))]
    pub(crate) fn sleep(&self) {
        if self.doze() {
            // Ordering: Relaxed: a hint; `hear` acquires.
            while self.bell.load(Ordering::Relaxed) == ASLEEP {
                wait(&self.bell);
            }
        }
    }
}

#[cfg(all(target_os = "linux", not(loom), not(fief_portable)))]
fn wake(bell: &AtomicU32) {
    use rustix::thread::futex;
    // The bell is a live, aligned word: the call cannot fail in a way that matters.
    futex::wake(bell, futex::Flags::PRIVATE, 1).ok();
}

#[cfg(all(target_os = "linux", not(loom), not(fief_portable)))]
fn wait(bell: &AtomicU32) {
    use rustix::thread::futex;
    // Interrupted, or rung already: the caller looks again in either case.
    futex::wait(bell, futex::Flags::PRIVATE, ASLEEP, None).ok();
}

/// Without a futex the sleeper looks every 10 ms: a drop must not take the lock of a condvar.
#[cfg(any(not(target_os = "linux"), loom, fief_portable))]
fn wake(_bell: &AtomicU32) {}

#[cfg(all(any(not(target_os = "linux"), fief_portable), not(loom)))]
fn wait(_bell: &AtomicU32) {
    crate::sync::thread::sleep(std::time::Duration::from_millis(10));
}
