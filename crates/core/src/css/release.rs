//! The list of css whose last reference was dropped.
//!
//! Dropping may happen in any context, so the list is intrusive: a css's header carries the link,
//! and a push allocates nothing, locks nothing and runs no code of others. The reclaimer takes the
//! whole list at once. Links are ids, not pointers: headers live for ever.
//!
//! # Orderings
//!
//! Edge `push→take`: what the notifier saw (and by edge `put→release`, what every holder did) happens
//! before the reclaimer handles the css.
//!
//! # Tests
//!
//! `tests/loom_release.rs`.

use crate::{
    css::cells::{CssId, Domain},
    sync::{AtomicU32, Ordering, order},
};

/// A stack of css ids, pushed by any thread and taken whole by one.
#[derive(Debug)]
pub(crate) struct ReleaseList {
    /// The id on top; 0 when empty.
    head: AtomicU32,
}

impl ReleaseList {
    pub(crate) fn new() -> Self {
        Self { head: AtomicU32::new(0) }
    }

    /// Adds `id`, whose notification the caller has won; returns whether the list was empty.
    ///
    /// Lock-free; retries only when another push came between.
    pub(crate) fn push(&self, domain: &Domain, id: CssId) -> bool {
        let Some(header) = domain.header(id) else { return false };
        // Ordering: Relaxed: only compared.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // Ordering: Relaxed: published by the exchange below.
            header.next.store(head, Ordering::Relaxed);
            // Ordering: Release (edge push→take).
            match self.head.compare_exchange_weak(
                head,
                id.get(),
                order("push_exchange", Ordering::Release),
                Ordering::Relaxed,
            ) {
                Ok(_) => return head == 0,
                Err(now) => head = now,
            }
        }
    }

    /// Takes every id, in the order in which they were pushed.
    pub(crate) fn take(&self, domain: &Domain) -> Vec<CssId> {
        // Ordering: Acquire (edge push→take).
        let mut link = self.head.swap(0, order("take_swap", Ordering::Acquire));
        let mut ids = Vec::new();
        while link != 0 {
            let id = CssId(link);
            ids.push(id);
            // Ordering: Relaxed: published by the push.
            link = domain.header(id).map_or(0, |header| header.next.load(Ordering::Relaxed));
        }
        ids.reverse();
        ids
    }

    /// Returns whether there is nothing to take.
    pub(crate) fn is_empty(&self) -> bool {
        // Ordering: Relaxed: a hint; a push wakes whoever sleeps on it.
        self.head.load(Ordering::Relaxed) == 0
    }
}
