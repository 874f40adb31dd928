//! Spare workers, for those that wait inside a job.

use super::{Sched, Standing, State};
use crate::{
    sync::{Arc, Weak},
    worker::Worker,
};

/// At most so many spare workers.
const MOST: u32 = 512;

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
