//! The scheduler's part in the rescue lane.

use super::{Call, Leaf, News, Next, Sched, Slice, State};
use crate::{
    rescue::{self, Lane},
    sync::Arc,
    worker::Worker,
};

impl Sched {
    /// Makes a worker the rescue lane, which may use so many percent of one CPU.
    pub(crate) fn open_lane(&self, worker: &Arc<Worker>, share: u32) {
        let now = self.time.now();
        let lane = Lane::new(Arc::clone(worker), share, now);
        let former = self.state.lock().lane.replace(lane);
        drop(former);
    }

    /// Settles what the rescue lane has done, if anything, and finds it who is in a hurry.
    pub(crate) fn next_rescue(&self, worker: &Worker, done: Option<(Slice, u64)>) -> (Next, Call) {
        let now = self.time.now();
        let mut state = self.state.lock();
        let left = done.map(|(slice, cpu)| {
            let left = state.settle(slice, cpu, now);
            state.note_rescued(&left.0, cpu, now);
            left
        });
        let next = state.find_rescue(worker, now);
        let call = self.relieve(&mut state, now);
        drop(state);
        drop(left);
        (next, call)
    }
}

impl State {
    /// Has somebody make room for a leaf that has begun to wait while all slots are taken: the lane serves it, or who
    /// is behind it ends early.
    pub(super) fn press(&mut self, leaf: &Leaf, news: News, now: u64) -> Call {
        // The lane runs jobs only.
        let is_for_lane = news.waits && !news.claims;
        let is_in_line = if is_for_lane { self.rescue(leaf, now) } else { None };
        let Some(rescuer) = is_in_line else {
            self.hurry(leaf.node);
            return Call::nobody();
        };
        rescuer.map_or_else(Call::nobody, |rescuer| Call::worker(&rescuer))
    }

    /// Puts a leaf in the lane's line, if it is in a hurry: it has a latency setting, or is ahead of all that have a
    /// slot. `None` if it is not; whom to call if it is.
    fn rescue(&mut self, leaf: &Leaf, now: u64) -> Option<Option<Arc<Worker>>> {
        let lane = self.lane.as_mut()?;
        let (tree, node) = (&self.tree, leaf.node);
        let is_in_hurry = tree.latency(node).is_ok_and(|latency| latency > 0) || {
            let mut running = self.running.iter().map(|(_, running)| running);
            running.all(|running| {
                Arc::ptr_eq(&running.flag, &lane.worker().flag)
                    || tree.is_ahead(node, &running.pick)
            })
        };
        let mut path = std::iter::successors(Some(leaf), |leaf| leaf.parent.as_deref());
        if !is_in_hurry || path.any(|leaf| tree.is_idle(leaf.node).unwrap_or(true)) {
            return None;
        }
        let (is_in_line, call) = lane.want(node, now);
        is_in_line.then_some(call)
    }

    /// Notes what the lane used for a leaf, which is in line again if it still waits and is in a hurry.
    fn note_rescued(&mut self, leaf: &Leaf, cpu: u64, now: u64) {
        if let Some(lane) = &mut self.lane {
            lane.used(cpu, now);
        }
        // Where claims wait, it might find nothing that it may run, again and again.
        let has_claims = self.claiming.contains(&leaf.node.index());
        if self.free == 0 && self.tree.is_active(leaf.node) && !has_claims {
            // The lane is awake: there is nobody to call.
            self.rescue(leaf, now);
        }
    }

    fn find_rescue(&mut self, worker: &Worker, now: u64) -> Next {
        let lane = self.lane.as_mut().filter(|lane| lane.is_of(worker));
        let Some(lane) = lane.filter(|_| !self.standing.is_over()) else {
            return Next::End;
        };
        let flag = Arc::clone(&lane.worker().flag);
        let Some(pick) = lane.next(&mut self.tree, now) else { return Next::Sleep(None) };
        let length = pick.slice().min(rescue::SLICE);
        Next::Run(self.start(pick, flag, None, now, length))
    }
}
