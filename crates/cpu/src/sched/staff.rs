//! Whether there are workers, and spare ones for those that wait inside a job.

use super::{Sched, State};
use crate::{
    sync::{Arc, Weak},
    worker::Worker,
};

/// At most so many spare workers.
const MOST: u32 = 512;

/// Whether there are workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// There never were.
    Unstaffed,
    Open,
    /// They are on their way out.
    Closing,
    Closed,
}

impl Standing {
    /// Whether workers are to end.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Self::Closing | Self::Closed)
    }
}

/// Who employs workers.
pub(crate) trait Staff: Send + Sync {
    /// Employs a spare worker; false if that cannot be.
    fn hire(&self) -> bool;
}

impl Sched {
    /// Sets who employs spare workers from now on.
    pub(crate) fn set_staff(&self, staff: Weak<dyn Staff>) {
        let former = self.staff.lock().replace(staff);
        drop(former);
    }

    /// Employs a spare worker, which has been counted.
    pub(super) fn hire(&self) {
        let staff = self.staff.lock().as_ref().and_then(Weak::upgrade);
        if !staff.is_some_and(|staff| staff.hire()) {
            self.state.lock().spares -= 1;
            self.dispatch_with(false); // claims need no worker
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        self.state.lock().standing
    }

    /// Opens the pool; false if there are workers, be it that they are about to end.
    pub(crate) fn open(&self) -> bool {
        let mut state = self.state.lock();
        let is_empty = state.seats.is_empty();
        let opens = is_empty && !matches!(state.standing, Standing::Open | Standing::Closing);
        if opens {
            state.standing = Standing::Open;
        }
        opens
    }

    /// Closes the pool.
    pub(crate) fn set_standing(&self, standing: Standing) {
        self.state.lock().standing = standing;
    }

    /// Notes that a worker is about to wait inside a job, where it has no slot.
    pub(crate) fn absent(&self) {
        self.state.lock().absent += 1;
    }

    /// Notes that it waits no more.
    pub(crate) fn present(&self) {
        self.state.lock().absent -= 1;
    }

    /// Notes that a spare worker has ended with its pool.
    pub(crate) fn leave_spare(&self) {
        self.state.lock().spares -= 1;
    }

    /// Ends a spare worker that sleeps, if so it still does: false if it was called meanwhile.
    pub(crate) fn dismiss(&self, worker: &Arc<Worker>) -> bool {
        let mut state = self.state.lock();
        let seat = &state.seats[worker.seat()];
        if seat.has_slot || !seat.is_asleep || seat.has_alarm {
            return false;
        }
        self.get_up(&mut state, worker.seat());
        state.spares -= 1;
        true
    }
}

impl State {
    /// Whether a worker is to be employed for one that is absent.
    pub(super) fn lacks_worker(&self) -> bool {
        let is_short = self.spares < self.absent.min(MOST);
        self.standing == Standing::Open && self.asleep.is_empty() && is_short
    }
}
