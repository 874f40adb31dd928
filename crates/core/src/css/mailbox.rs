//! How dropping a reference wakes the reclaimer, from any context.
//!
//! A mailbox is the release list of one registry and the bell beside it. Mailboxes live for ever
//! and are used again by later registries, so that whoever pushed the last css of a registry can
//! still ring when the registry is already gone: a bell rung for nobody is a spurious wake-up.
//!
//! # Orderings
//!
//! Edge `bell`: the pusher adds to the list, fences, looks at the bell; the reclaimer sets the
//! bell, fences, looks at the list. At least one sees the other, so no wake-up is lost.
//!
//! # Tests
//!
//! `tests/loom_release.rs`, model `no_wake_up_is_lost`.

use crate::{
    css::{
        cells::{CssId, Domain},
        release::ReleaseList,
    },
    sync::{AtomicU32, Ordering, fence, skip},
};

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

/// A release list with a bell.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(crate) list: ReleaseList,
    bell: AtomicU32,
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        Self { list: ReleaseList::new(), bell: AtomicU32::new(AWAKE) }
    }

    /// Hands `id` to the reclaimer. Never blocks, locks or allocates; at most one system call.
    pub(crate) fn deliver(&self, domain: &Domain, id: CssId) {
        self.list.push(domain, id);
        self.ring();
    }

    /// Wakes the reclaimer if it sleeps; returns whether it did.
    pub(crate) fn ring(&self) -> bool {
        if !skip("bell_ringer_fence") {
            fence(Ordering::SeqCst);
        }
        // Ordering: Relaxed (edge bell): ordered by the fence.
        if self.bell.load(Ordering::Relaxed) != ASLEEP {
            return false;
        }
        // Ordering: Relaxed: of several ringers one makes the call; the sleeper looks again at the
        // list, whose own edge carries the data.
        let woken = self.bell.swap(AWAKE, Ordering::Relaxed) == ASLEEP;
        if woken {
            wake(&self.bell);
        }
        woken
    }

    /// Announces that the reclaimer is about to sleep; it must then look for work once more.
    pub(crate) fn set(&self) {
        // Ordering: Relaxed (edge bell): ordered by the fence.
        self.bell.store(ASLEEP, Ordering::Relaxed);
        if !skip("bell_sleeper_fence") {
            fence(Ordering::SeqCst);
        }
    }

    /// Takes the announcement back.
    pub(crate) fn unset(&self) {
        // Ordering: Relaxed: a ringer that still sees it makes a call too many.
        self.bell.store(AWAKE, Ordering::Relaxed);
    }

    /// Returns whether nobody rang since [`Mailbox::set`].
    pub(crate) fn is_set(&self) -> bool {
        // Ordering: Relaxed: the sleeper's loop condition.
        self.bell.load(Ordering::Relaxed) == ASLEEP
    }

    /// Sleeps until somebody rings after [`Mailbox::set`]; may wake for no reason.
    #[cfg(not(loom))]
    pub(crate) fn sleep(&self) {
        if self.is_set() {
            wait(&self.bell);
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
