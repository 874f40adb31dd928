//! `SharedReservation`: bytes of one group that several threads grow and shrink.
//!
//! 1. Grow: charge, by way of the thread's stock, then add to what is used.
//! 2. Shrink: take from what is used, no more than there is, then uncharge that.
//!
//! So what is used is charged at every moment, and no two threads give the same bytes back.

use std::fmt;

use crate::{
    account::Account,
    chain::{MOST, Refused, Why},
    error::ChargeError,
    events::{Events, Kind},
    stock,
    sync::{Arc, AtomicU64, Ordering},
};

/// Bytes that are charged to one group, for several threads at once; dropping it gives them back.
///
/// Made by [`MemoryCss::reserve_shared`](crate::MemoryCss::reserve_shared), for interfaces that hand out `&self` only; a
/// [`Reservation`](crate::Reservation) is faster, and can do more. It stays good when its group is removed, in the same way.
///
/// # Concurrency
///
/// Each call is one atomic addition beside the charge, which mostly comes from what the thread has
/// charged ahead.
#[must_use = "dropping it gives back what it has"]
pub struct SharedReservation {
    account: Arc<Account>,
    key: u64,
    used: AtomicU64,
}

impl SharedReservation {
    pub(crate) fn of(account: Arc<Account>, key: u64) -> Self {
        Self { account, key, used: AtomicU64::new(0) }
    }

    /// Grows by `bytes`, if the group and all above it have room.
    ///
    /// # Errors
    ///
    /// See [`ChargeError`]; it is as it was.
    pub fn try_grow(&self, bytes: u64) -> Result<(), ChargeError> {
        if bytes > MOST.saturating_sub(self.used()) {
            return Err(ChargeError::TooLarge { cgroup: self.cgroup(), asked: bytes });
        }
        stock::charge_account(self.key, &self.account, bytes)
            .map_err(|refused| self.refusal(refused, bytes))?;
        self.add(bytes);
        Ok(())
    }

    /// Grows by `bytes`, whatever the limits, and returns by how much: all of it, but for what would be beyond
    /// 2^47 bytes in all.
    ///
    /// What exceeds a limit is counted in the group's events, and nobody is charged there until it is given back.
    pub fn grow_forced(&self, bytes: u64) -> u64 {
        let bytes = bytes.min(MOST.saturating_sub(self.used()));
        if bytes > 0 {
            stock::force(&self.account.node(), bytes);
            self.add(bytes);
        }
        bytes
    }

    /// Shrinks by `bytes`, or to 0 if it has less, and returns by how much.
    ///
    /// To shrink by more than it has is a mistake: it is counted in the group's events, as `underflow`, and
    /// takes nothing from anybody. The same in all builds.
    pub fn shrink(&self, bytes: u64) -> u64 {
        // Ordering: Relaxed, both: it tells about itself; who shrinks by what another thread grew by has
        // heard of it from that one, and so sees the addition.
        let before = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            Some(used.saturating_sub(bytes))
        });
        let (Ok(before) | Err(before)) = before;
        if bytes > before {
            Events::note(&self.account.node(), Kind::Underflow);
        }
        let bytes = bytes.min(before);
        if bytes > 0 {
            stock::uncharge_account(self.key, &self.account, bytes);
        }
        bytes
    }

    /// Gives back all there is, and returns how much.
    pub fn free(&self) -> u64 {
        // Ordering: Relaxed: as in `shrink`.
        let bytes = self.used.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            stock::uncharge_account(self.key, &self.account, bytes);
        }
        bytes
    }

    /// Returns how much is used, in bytes.
    #[must_use]
    #[doc(alias = "size")]
    pub fn used(&self) -> u64 {
        // Ordering: Relaxed: a figure.
        self.used.load(Ordering::Relaxed)
    }

    /// Returns the path of its group, as of now; of a removed one, what is known of it.
    #[must_use]
    pub fn cgroup(&self) -> String {
        self.account.path(self.key)
    }

    fn add(&self, bytes: u64) {
        // Ordering: Relaxed: as in `shrink`.
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    fn refusal(&self, refused: Refused, asked: u64) -> ChargeError {
        match refused.why {
            Why::Removed => ChargeError::Removed { cgroup: self.cgroup(), asked },
            Why::Max | Why::Behind(_) | Why::TooLarge => ChargeError::noted(refused, asked),
        }
    }
}

impl Drop for SharedReservation {
    fn drop(&mut self) {
        self.free();
    }
}

impl fmt::Debug for SharedReservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedReservation")
            .field("cgroup", &self.cgroup())
            .field("used", &self.used())
            .finish()
    }
}
