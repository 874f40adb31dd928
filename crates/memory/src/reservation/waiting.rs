//! Growth that waits for room.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    chain::MOST,
    error::ChargeError,
    pocket::Step,
    reservation::{How, Reservation},
    sync::Arc,
    wait::{Charging, Sleeper},
};

/// Growth that waits for room; from [`Reservation::grow_async`].
///
/// # Cancel safety
///
/// The reservation grows in the poll that returns `Ready(Ok(()))`. Dropped before that, it is as it was.
#[must_use = "futures do nothing unless polled"]
pub struct GrowFuture<'a> {
    reservation: &'a mut Reservation,
    bytes: u64,
    deadline: Option<Duration>,
    charging: Option<Charging>,
    is_done: bool,
}

impl Reservation {
    /// Grows by `bytes`, and waits for room if there is none, as [`MemoryCss::charge`] does.
    ///
    /// # Errors
    ///
    /// Those of [`MemoryCss::charge`]; it is as it was.
    ///
    /// # Panics
    ///
    /// The future, if it is polled after it was ready.
    ///
    /// [`MemoryCss::charge`]: crate::MemoryCss::charge
    pub fn grow_async(&mut self, bytes: u64) -> GrowFuture<'_> {
        GrowFuture { reservation: self, bytes, deadline: None, charging: None, is_done: false }
    }

    /// Grows by `bytes`, and blocks the thread while it waits for room, as [`MemoryCss::charge_blocking`] does.
    ///
    /// # Errors
    ///
    /// Those of [`MemoryCss::charge`]; it is as it was.
    ///
    /// [`MemoryCss::charge`]: crate::MemoryCss::charge
    /// [`MemoryCss::charge_blocking`]: crate::MemoryCss::charge_blocking
    pub fn grow_blocking(
        &mut self,
        bytes: u64,
        timeout: Option<Duration>,
    ) -> Result<(), ChargeError> {
        let deadline = timeout.map(|timeout| Charging::after(&self.account.node(), timeout));
        let Err(charging) = self.grow_or_wait(bytes, deadline)? else { return Ok(()) };
        let lacking = charging.amount();
        charging.block()?;
        self.take_over(bytes, lacking);
        Ok(())
    }

    /// Grows by `bytes` at once, or returns the charge that has to be waited for.
    fn grow_or_wait(
        &mut self,
        bytes: u64,
        deadline: Option<Duration>,
    ) -> Result<Result<(), Charging>, ChargeError> {
        let step = self.slack.take(bytes);
        if step == Step::Done || self.look_after(step) || bytes == 0 {
            return Ok(Ok(()));
        }
        let used = self.used();
        let Some(wanted) = used.checked_add(bytes).filter(|wanted| *wanted <= MOST) else {
            return Err(self.too_large(bytes));
        };
        let node = Arc::clone(&self.account.node());
        if node.key != self.slack.key() {
            return Err(ChargeError::Removed { cgroup: self.cgroup(), asked: bytes });
        }
        // Who is a victim is to hear of it, and who comes late waits behind others.
        let is_second = node.is_killed() || node.levels().any(|level| level.busy_line().is_some());
        if !is_second && self.change_with(wanted, self.kept, How::Try, 0).is_ok() {
            return Ok(Ok(()));
        }
        let lacking = wanted.max(self.kept) - used.max(self.kept);
        Ok(Err(Charging::new(node, lacking, deadline)))
    }

    /// Grows by `bytes`, for which `lacking` are charged.
    fn take_over(&mut self, bytes: u64, lacking: u64) {
        let wanted = self.used() + bytes;
        let grown = self.change_with(wanted, self.kept, How::Exactly, lacking);
        debug_assert!(grown.is_ok(), "what is charged already is not refused");
    }
}

impl GrowFuture<'_> {
    /// Gives up at `deadline`, a time of the controller's clock.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Gives up after `timeout` by the controller's clock, from now on.
    pub fn within(mut self, timeout: Duration) -> Self {
        self.deadline = Some(Charging::after(&self.reservation.account.node(), timeout));
        self
    }

    fn step(&mut self, sleeper: &Sleeper) -> Poll<Result<(), ChargeError>> {
        let charging = match &mut self.charging {
            Some(charging) => charging,
            none => match self.reservation.grow_or_wait(self.bytes, self.deadline)? {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(charging) => none.insert(charging),
            },
        };
        let result = charging.step(sleeper);
        if let Poll::Ready(Ok(())) = result {
            self.reservation.take_over(self.bytes, charging.amount());
        }
        result
    }
}

impl Future for GrowFuture<'_> {
    type Output = Result<(), ChargeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.is_done, "a growth is polled after it was ready");
        let result = self.step(&Sleeper::Task(context.waker().clone()));
        self.is_done = result.is_ready();
        result
    }
}

impl fmt::Debug for GrowFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrowFuture")
            .field("reservation", &self.reservation)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
