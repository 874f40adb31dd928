//! Figures: what was done, and how long operations waited for it.

use std::{fs, time::Duration};

use crate::{
    css::IoCss,
    device::{Device, DeviceInner},
    node::{Figure, Node},
    sync::Arc,
};

/// What a group did on a device.
///
/// Of operations that were admitted, by what they used in the end: what is in flight counts as what was asked for. They
/// only grow, but for what is given back and for those that say how it is now; what a group did that is gone stays with
/// those above it.
///
/// These are operations as they were asked for, whatever the machine makes of them: a read that the page cache serves is a
/// read. [`Io::process_stats`](crate::Io::process_stats) has what the process had the machine's devices do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct IoStats {
    /// Bytes read.
    pub rbytes: u64,
    /// Bytes written.
    pub wbytes: u64,
    /// Reads.
    pub rios: u64,
    /// Writes.
    pub wios: u64,
    /// Bytes discarded.
    pub dbytes: u64,
    /// Discards.
    pub dios: u64,
    /// How long operations waited for a limit, together, until they were admitted.
    pub wait: Duration,
    /// How long operations waited for their turn or for a place in flight, together, until they were admitted.
    pub queue: Duration,
    /// How often a limit of this very group began to hold back operations of its own or of groups below; not how often one
    /// above or below it did, as in the kernel's `cpu.stat`. 0 in [`own_stats`](IoCss::own_stats).
    pub nr_throttled: u64,
    /// Operations that were [charged without waiting](crate::Stream::charge_urgent).
    pub nr_urgent: u64,
    /// How many wait now.
    pub waiting: u64,
    /// How many are in flight now, on a device that counts them: one with a depth.
    pub inflight: u64,
    /// What operations cost by the device's [model](crate::CostModel), of those that were admitted by way of its lock. On
    /// a device with a depth that is all of them. Elsewhere it leaves out what threads did from the room that they had at
    /// hand, and says little.
    pub cost: Duration,
    /// How long it takes from now until the limits of this very group are out of debt: the longest of them. After an
    /// operation that was larger than what was left, or [did not wait](crate::Stream::charge_urgent). 0 in
    /// [`own_stats`](IoCss::own_stats).
    pub debt: Duration,
}

/// What the process had the machine's devices do, by the kernel's reckoning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ProcessStats {
    /// Bytes fetched from storage.
    #[doc(alias = "read_bytes")]
    pub device_rbytes: u64,
    /// Bytes that were written to storage, or are to be: pages made dirty.
    #[doc(alias = "write_bytes")]
    pub device_wbytes: u64,
}

impl IoCss {
    /// Returns what the group and all below it did on a device, of one moment.
    ///
    /// # Concurrency
    ///
    /// Takes the device's lock, and looks at every group below and at what every thread has of them.
    #[must_use]
    #[doc(alias = "io.stat")]
    pub fn stats(&self, device: &Device) -> IoStats {
        self.figures(&device.inner, Node::total).unwrap_or_default()
    }

    /// Returns what the group itself did on a device, of one moment, and what groups did that were removed below it.
    ///
    /// # Concurrency
    ///
    /// Takes the device's lock, and looks at what every thread has of the group.
    #[must_use]
    #[doc(alias = "io.stat.local")]
    pub fn own_stats(&self, device: &Device) -> IoStats {
        let stats = self.figures(&device.inner, |node| node.own()).unwrap_or_default();
        stats.without_limits()
    }

    /// Returns figures of a device, if the group has a node there.
    pub(crate) fn figures(
        &self,
        device: &Arc<DeviceInner>,
        figures: impl FnOnce(&Arc<Node>) -> [u64; Figure::COUNT],
    ) -> Option<IoStats> {
        let node = self.existing(device).flatten()?;
        let (figures, throttled, debt) = device.sched.look(|tree, now| {
            let throttled = tree.stats(node.id).map_or(0, |stats| stats.throttled);
            (figures(&node), throttled, tree.debt(node.id, now).unwrap_or(0))
        });
        let of = |figure: Figure| figures[figure as usize];
        let time = |figure| Duration::from_nanos(of(figure));
        Some(IoStats {
            rbytes: of(Figure::ReadBytes),
            wbytes: of(Figure::WriteBytes),
            rios: of(Figure::Reads),
            wios: of(Figure::Writes),
            dbytes: of(Figure::DiscardBytes),
            dios: of(Figure::Discards),
            wait: time(Figure::LimitWait),
            queue: time(Figure::QueueWait),
            nr_throttled: throttled,
            nr_urgent: of(Figure::Urgent),
            waiting: of(Figure::Waiting),
            inflight: of(Figure::InFlight),
            cost: time(Figure::Cost),
            debt: Duration::from_nanos(debt),
        })
    }
}

impl IoStats {
    /// Returns them without what is of the group's limits, which are for all below it.
    pub(crate) fn without_limits(self) -> Self {
        Self { nr_throttled: 0, debt: Duration::ZERO, ..self }
    }
}

impl ProcessStats {
    /// Reads them, where the kernel tells.
    pub(crate) fn read() -> Option<Self> {
        Self::of(&fs::read_to_string("/proc/self/io").ok()?)
    }

    fn of(text: &str) -> Option<Self> {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            line?.trim().parse().ok()
        };
        Some(Self { device_rbytes: value("read_bytes")?, device_wbytes: value("write_bytes")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_taken_by_its_name() {
        let text = "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 4096\nwrite_bytes: 18446744073709551615\ncancelled_write_bytes: 7\n";
        let stats = ProcessStats { device_rbytes: 4096, device_wbytes: u64::MAX };
        assert_eq!(ProcessStats::of(text), Some(stats));
        for text in [
            "",
            "read_bytes: 1\n",
            "read_bytes: 1\nwrite_bytes: -1\n",
            "read_bytes 1\nwrite_bytes: 1\n",
        ] {
            assert_eq!(ProcessStats::of(text), None, "{text:?}");
        }
    }
}
