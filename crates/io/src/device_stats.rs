//! What a device tells of itself, and the watch over what does not end.

use std::num::NonZeroU32;

/// How long an operation may be in flight before it counts as overdue, unless set otherwise: 10 s, in nanoseconds.
pub(crate) const PATIENCE: u64 = 10_000_000_000;

/// How a device is doing; from [`Device::stats`](crate::Device::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct DeviceStats {
    /// Operations that wait now.
    pub waiting: u64,
    /// Operations that were granted and have not ended; 0 on a device without a [depth](crate::DeviceBuilder::depth),
    /// which does not count them.
    pub in_flight: u32,
    /// How many may be in flight now; `None` for any number.
    pub depth: Option<u32>,
    /// Operations that were in flight for longer than the device's [patience](crate::DeviceBuilder::patience), each counted once:
    /// by a permit that was forgotten, most likely, which keeps its place for ever.
    pub overdue: u64,
    /// How often somebody could go on, and nobody saw to it for as long as the device's
    /// [patience](crate::DeviceBuilder::patience): the machine stood still, or no thread could be started, or nobody
    /// called [`Io::tick`](crate::Io::tick).
    pub stalls: u64,
    /// Operations that were granted by way of the device's lock. What threads take from what they have at hand is not
    /// in it.
    pub grants: u64,
}

/// What is watched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    /// In nanoseconds.
    pub(crate) patience: u64,
    pub(crate) overdue: u64,
    pub(crate) grants: u64,
    stalls: u64,
    /// Since when, or from when on, somebody who waits can go on.
    pub(crate) due: Option<u64>,
}

impl Default for Watch {
    fn default() -> Self {
        Self { patience: PATIENCE, overdue: 0, grants: 0, stalls: 0, due: None }
    }
}

impl Watch {
    /// Notes that somebody who waited goes on.
    pub(crate) fn looked(&mut self, now: u64) {
        let since = self.due.take();
        if since.is_some_and(|since| now.saturating_sub(since) > self.patience) {
            self.stalls += 1;
        }
    }

    pub(crate) fn stats(
        &self,
        waiting: usize,
        in_flight: u32,
        depth: Option<NonZeroU32>,
    ) -> DeviceStats {
        DeviceStats {
            waiting: waiting as u64,
            in_flight,
            depth: depth.map(NonZeroU32::get),
            overdue: self.overdue,
            stalls: self.stalls,
            grants: self.grants,
        }
    }
}
