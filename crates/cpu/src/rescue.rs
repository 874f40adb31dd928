//! The rescue lane: one more who runs, for groups in a hurry while all workers are inside long polls.
//!
//! Workers cannot be interrupted inside a poll. So a group that begins to wait while no slot is free is served
//! beside the slots, if it has a latency setting, or would be picked before all that run: exactly that group,
//! for one short slice, which is charged as any other; and once more if it is not done and still in a hurry.
//! Workers run at a raised nice value, so the kernel lets the lane run at once. It runs jobs, not claims; a closure
//! that it runs does not yield in its checkpoints, as the lane has no slot to give away.
//!
//! It must not become a second scheduler: an [`Allowance`] bounds it to a share of one CPU, the idle class is
//! never rescued, a group that a quota holds back is not either, and who comes while the lane has used up its
//! allowance waits for the workers.
//!
//! # Tests
//!
//! Below; `tests/rescue.rs`, `tests/tokio_rescue.rs`.

use std::collections::VecDeque;

use crate::{
    sync::Arc,
    tree::{CpuTree, NodeId, Pick},
    worker::Worker,
};

/// What part of one CPU the lane may use where nothing else is said, in percent.
#[cfg(feature = "tokio")]
pub(crate) const SHARE: u32 = 10;

/// How long a slice of the lane's is at most, in nanoseconds.
pub(crate) const SLICE: u64 = 50_000;

/// How many groups are in line at most; the workers serve who comes beyond them.
const MOST: usize = 16;

/// Over which time the lane may use what it saved, in nanoseconds.
const WINDOW: u64 = 20_000_000;

/// Numbers above are as good as this in what follows: 13 days.
const LONG: u64 = 1 << 50;

/// The lane, as the scheduler knows it.
pub(crate) struct Lane {
    worker: Arc<Worker>,
    allowance: Allowance,
    /// Who is to be served; whoever was served by others meanwhile is passed over.
    wanted: VecDeque<NodeId>,
    /// It has to be called.
    is_asleep: bool,
}

/// How much CPU time the lane may use: what a part of the time that passes gives, up to what it gives in
/// [`WINDOW`]. A slice may use more than is left; it is paid back.
#[derive(Debug)]
struct Allowance {
    /// In percent.
    share: u32,
    /// In hundredths of a nanosecond.
    left: i64,
    now: u64,
}

impl Lane {
    pub(crate) fn new(worker: Arc<Worker>, share: u32, now: u64) -> Self {
        let allowance = Allowance::new(share, now);
        Self { worker, allowance, wanted: VecDeque::new(), is_asleep: false }
    }

    /// Returns whether `worker` is the lane's.
    pub(crate) fn is_of(&self, worker: &Worker) -> bool {
        self.worker.seat() == worker.seat()
    }

    pub(crate) fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// Puts a group in line, if there is something left for it; returns whether it is, and whom to call.
    pub(crate) fn want(&mut self, node: NodeId, now: u64) -> (bool, Option<Arc<Worker>>) {
        if !self.allowance.has_some(now) {
            return (false, None);
        }
        if !self.wanted.contains(&node) {
            if self.wanted.len() == MOST {
                return (false, None);
            }
            self.wanted.push_back(node);
        }
        let is_asleep = std::mem::take(&mut self.is_asleep);
        (true, is_asleep.then(|| Arc::clone(&self.worker)))
    }

    /// Returns who is next; if nobody is, the lane has to be called from now on.
    pub(crate) fn next(&mut self, tree: &mut CpuTree, now: u64) -> Option<Pick> {
        while let Some(node) = self.wanted.pop_front() {
            if !self.allowance.has_some(now) {
                self.wanted.clear();
                break;
            }
            let pick = tree.pick_at(node, now);
            if pick.is_some() {
                return pick;
            }
        }
        self.is_asleep = true;
        None
    }

    /// Notes what a slice took, in nanoseconds.
    pub(crate) fn used(&mut self, cpu: u64, now: u64) {
        self.allowance.take(cpu, now);
    }
}

impl Allowance {
    fn new(share: u32, now: u64) -> Self {
        Self { share, left: Self::gain(share, WINDOW), now }
    }

    /// Returns whether anything is left at `now`.
    fn has_some(&mut self, now: u64) -> bool {
        let passed = now.saturating_sub(self.now);
        self.now = self.now.max(now);
        let most = Self::gain(self.share, WINDOW);
        self.left = self.left.saturating_add(Self::gain(self.share, passed)).min(most);
        self.left > 0
    }

    fn take(&mut self, cpu: u64, now: u64) {
        self.has_some(now);
        self.left = self.left.saturating_sub(Self::gain(100, cpu));
    }

    /// Returns what `share` percent of a time are, in hundredths.
    fn gain(share: u32, time: u64) -> i64 {
        i64::try_from(time.min(LONG)).unwrap_or(i64::MAX).saturating_mul(i64::from(share))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is asked when, no more is used than the share of the time, what was saved, and one slice.
        #[test]
        fn no_more_than_the_share_is_used(
            share in 1_u32..=100,
            steps in prop::collection::vec((0_u64..40_000_000, 0_u64..5_000_000), 1..200),
        ) {
            let start = 77;
            let mut allowance = Allowance::new(share, start);
            let (mut now, mut used, mut longest) = (start, 0, 0);
            for (pause, cpu) in steps {
                now += pause;
                if allowance.has_some(now) {
                    now += cpu;
                    allowance.take(cpu, now);
                    used += cpu;
                    longest = longest.max(cpu);
                }
                let most = (now - start + WINDOW) * u64::from(share) / 100 + longest;
                prop_assert!(used <= most, "{used} of {most}");
            }
        }

        /// Who asks for slices again and again gets what is due, but for one slice.
        #[test]
        fn no_less_than_the_share_is_granted(share in 1_u32..=99, cpu in 1_000_u64..1_000_000) {
            let mut allowance = Allowance::new(share, 0);
            let (mut now, mut used) = (0, 0);
            while now < 1_000_000_000 {
                if allowance.has_some(now) {
                    allowance.take(cpu, now);
                    used += cpu;
                }
                now += cpu;
            }
            prop_assert!(used >= now * u64::from(share) / 100 - cpu, "{used} in {now}");
        }
    }

    #[test]
    fn no_number_is_too_large() {
        let mut allowance = Allowance::new(100, 0);
        allowance.take(u64::MAX, u64::MAX);
        assert!(!allowance.has_some(u64::MAX));
        let mut allowance = Allowance::new(1, u64::MAX);
        assert!(allowance.has_some(0), "time that goes back stands still");
    }
}
