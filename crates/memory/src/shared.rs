//! What all groups of one controller share: its settings, its clock, and who looks after those that wait.

use std::{fmt, time::Duration};

use fief_core::{Barrier, Clock};

use crate::{
    keeper::Book,
    oom::policy::VictimPolicy,
    pocket::FENCED,
    reclaim,
    sync::{Arc, AtomicU64, Ordering, forks},
};

/// The settings of a controller.
pub(crate) struct Shared {
    pub(crate) barrier: Barrier,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) policy: Arc<dyn VictimPolicy>,
    /// How long those that hold memory and are not known to wait have to give some back.
    pub(crate) patience: Duration,
    pub(crate) book: Book,
    pub(crate) reclaim: reclaim::Settings,
    /// The last ticket that was given out.
    ticket: AtomicU64,
    /// Forks before the process it was made in.
    forks: u32,
}

impl Shared {
    pub(crate) fn new(
        barrier: Barrier,
        clock: Arc<dyn Clock>,
        policy: Arc<dyn VictimPolicy>,
        patience: Duration,
        book: Book,
        reclaim: reclaim::Settings,
    ) -> Arc<Self> {
        let ticket = AtomicU64::new(0);
        Arc::new(Self { barrier, clock, policy, patience, book, reclaim, ticket, forks: forks() })
    }

    /// Returns whether this process is the child of a fork, and the groups are its parent's.
    ///
    /// Locks may then be held for ever by threads that are not there: what is charged and uncharged in the
    /// child is counted, and nothing else happens.
    pub(crate) fn is_inherited(&self) -> bool {
        self.forks != forks()
    }

    /// Returns a ticket; later ones are higher.
    pub(crate) fn next_ticket(&self) -> u64 {
        // Ordering: Relaxed: it only has to be unique, and about in order.
        self.ticket.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Returns a key that no node of the process has had.
    pub(crate) fn next_key(&self) -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        // Ordering: Relaxed: it only has to be unique.
        let key = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        if self.barrier.is_asymmetric() { key } else { key | FENCED }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.is_inherited() {
            self.book.end();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("barrier", &self.barrier).finish_non_exhaustive()
    }
}
