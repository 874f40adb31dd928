//! The scheduler's part in claims: slots for those that are no workers.

use super::{
    Call, Claim, Flag, Grant, Item, Leaf, Pick, Running, Sched, Slice, State, VecDeque, Want,
};
use crate::{
    sync::{Arc, Ordering},
    worker::Worker,
};

/// What somebody who has a slot to give finds.
enum Found {
    /// A leaf in which a claim waits, and a slice of it, with a slot; and whether a worker could take a job there.
    Claim(Slice, Want),
    /// Jobs, for a worker that is woken, while slots are left for claims.
    Jobs(Call),
    /// Jobs, for a worker that is woken; or nothing.
    Other(Call),
}

impl Sched {
    /// Whether a slot was free a moment ago, and nothing waited.
    pub(crate) fn is_calm(&self) -> bool {
        // Ordering: Relaxed: a hint. Who acts on it looks for a slot under the lock after that.
        self.calm.load(Ordering::Relaxed) != 0
    }

    /// Gives free slots to those who are next: claims get theirs, and for jobs a worker is woken.
    ///
    /// Called by who frees a slot that no worker has, and by who makes a claim wait while one is free.
    pub(crate) fn dispatch(&self) {
        self.dispatch_with(true);
    }

    /// The same; `may_hire` if no worker is free, though one is missing.
    pub(super) fn dispatch_with(&self, may_hire: bool) {
        let mut claims = VecDeque::new();
        let mut has_called = false;
        loop {
            let (slice, want) = match self.find_claim(may_hire, has_called) {
                Found::Claim(slice, want) => (slice, want),
                Found::Jobs(call) => {
                    call.make();
                    has_called = true;
                    continue;
                }
                Found::Other(call) => return call.make(),
            };
            let leaf = Arc::clone(&slice.leaf);
            let queue = leaf.take(want, &mut claims);
            let claim = claims.pop_front();
            let (Some(queue), Some(Item::Claim(claim))) = (queue, claim) else {
                // A job comes first, or somebody else was quicker.
                self.end(slice, 0);
                if let Some(call) = self.send_worker(may_hire) {
                    return call.make();
                }
                continue;
            };
            self.pass(&slice, &claim).make();
            if let Err(grant) = claim.grant(Grant::new(slice, queue))
                && let Some((slice, queue)) = grant.into_parts()
            {
                self.end(slice, 0);
                queue.release();
            }
        }
    }

    /// Looks for a claim; `has_called` a worker, for whom a slot is to be left.
    fn find_claim(&self, may_hire: bool, has_called: bool) -> Found {
        let now = self.time.now();
        let mut state = self.state.lock();
        if state.free <= u32::from(has_called) {
            return Found::Other(Call::nobody());
        }
        let Some(pick) = state.tree.pick(now) else {
            let call = self.errands(&mut state, now, Call::nobody());
            self.note(&state);
            return Found::Other(call);
        };
        let pick = if state.claiming.contains(&pick.node().index()) {
            pick
        } else {
            state.tree.settle(pick, 0, now);
            let call = if has_called { None } else { self.staff(&mut state, now, may_hire) };
            if let Some(call) = call {
                let is_rest = state.free > 1 && !state.claiming.is_empty();
                return if is_rest { Found::Jobs(call) } else { Found::Other(call) };
            }
            let Some(pick) = state.pick_claim(now) else {
                let call = self.errands(&mut state, now, Call::nobody());
                self.note(&state);
                return Found::Other(call);
            };
            pick
        };
        let has_worker = !state.asleep.is_empty() || (may_hire && state.lacks_worker());
        let want = if has_worker { Want::FirstClaim } else { Want::Claim };
        state.free -= 1;
        // Whose it is, is not known yet; nobody asks for an early end until then.
        let flag = Flag::new();
        let length = pick.slice();
        let slice = state.start(pick, flag, None, now, length);
        self.note(&state);
        Found::Claim(slice, want)
    }

    /// Has a worker look for a job, if a slot is free and there is one that could.
    fn send_worker(&self, may_hire: bool) -> Option<Call> {
        let now = self.time.now();
        let mut state = self.state.lock();
        if state.free > 0 && state.tree.has_waiting() {
            self.staff(&mut state, now, may_hire)
        } else {
            None
        }
    }

    /// Calls a worker that sleeps, or has one employed.
    fn staff(&self, state: &mut State, now: u64, may_hire: bool) -> Option<Call> {
        let call = if state.asleep.is_empty() {
            let hires = may_hire && state.lacks_worker();
            state.spares += u32::from(hires);
            Call { hires, ..Call::nobody() }
        } else {
            self.rouse(state)
        };
        let is_any = call.hires || call.worker.is_some();
        is_any.then(|| self.errands(state, now, call))
    }

    /// Notes that a slice goes to a claim, with its slot.
    fn pass(&self, slice: &Slice, claim: &Arc<Claim>) -> Call {
        let now = self.time.now();
        let mut state = self.state.lock();
        let left = state.hand_over(slice, claim);
        let call = self.errands(&mut state, now, Call::nobody());
        drop(state);
        drop(left);
        call
    }

    /// Notes that a worker's slice goes to a claim, with its slot.
    pub(crate) fn pass_on(&self, worker: &Worker, slice: &Slice, claim: &Arc<Claim>) -> Call {
        let now = self.time.now();
        let mut state = self.state.lock();
        let had_slot = std::mem::take(&mut state.seats[worker.seat()].has_slot);
        debug_assert!(had_slot, "a worker that runs has a slot");
        let left = state.hand_over(slice, claim);
        let call = self.errands(&mut state, now, Call::nobody());
        drop(state);
        drop(left);
        call
    }

    /// Notes that a worker goes on with a claim's slice, and its slot.
    pub(crate) fn take_over(&self, worker: &Worker, slice: &Slice) {
        let mut state = self.state.lock();
        state.seats[worker.seat()].has_slot = true;
        let claim = state.running[slice.key].claim.take();
        drop(state);
        drop(claim);
    }

    /// Finds a slice and a slot for a claim if one is free and nothing waits; before that, settles what it has `done`.
    ///
    /// The caller holds the lock of the claim's queue, which is at `leaf`.
    pub(crate) fn seize(
        &self,
        leaf: &Leaf,
        claim: &Arc<Claim>,
        done: Option<(Slice, u64)>,
        is_wanted: bool,
    ) -> (Option<Slice>, Call) {
        let now = self.time.now();
        let mut state = self.state.lock();
        state.free += u32::from(done.is_some());
        let left = done.map(|(slice, cpu)| state.settle(slice, cpu, now));
        let slice = if is_wanted { state.seize(leaf, claim, now) } else { None };
        self.note(&state);
        let call = self.errands(&mut state, now, Call::nobody());
        drop(state);
        // Neither the claim nor the leaf goes with it: the caller has them. The flag is ours.
        drop(left);
        (slice, call)
    }

    /// Settles a claim's slice; its slot is free.
    pub(crate) fn end(&self, slice: Slice, cpu: u64) {
        let now = self.time.now();
        let mut state = self.state.lock();
        let left = state.settle(slice, cpu, now);
        state.free += 1;
        self.note(&state);
        drop(state);
        drop(left);
    }

    /// Has all who run look up: something was frozen or killed.
    pub(crate) fn alert(&self) {
        let state = self.state.lock();
        state.running.iter().for_each(|(_, running)| running.flag.raise());
    }

    /// Notes that what a worker runs looks for the end of its slice by its flag.
    pub(crate) fn watch(&self, slice: &Slice) -> Call {
        let now = self.time.now();
        let mut state = self.state.lock();
        state.watch(slice.key);
        self.errands(&mut state, now, Call::nobody())
    }

    /// Does what is due: tells those whose slice is over, takes back what nobody came for, lets in
    /// those whose quota has come. Returns when it is to be called again.
    pub(crate) fn tick(&self) -> Option<u64> {
        let now = self.time.now();
        let mut state = self.state.lock();
        let _released = state.tree.release(now);
        let is_contended = state.tree.has_waiting();
        let mut late = Vec::new();
        for (_, running) in state.running.iter().filter(|(_, running)| running.is_watched) {
            if now >= running.end {
                running.flag.raise();
            }
            if now >= running.due() {
                late.extend(running.claim.as_ref().map(Arc::clone));
            }
        }
        drop(state);
        // A grant that nobody comes for takes a slot from others, or keeps a freeze from its end.
        late.retain(|claim| is_contended || claim.queue.is_frozen());
        late.iter().for_each(|claim| claim.revoke());
        self.dispatch();
        let now = self.time.now();
        let mut state = self.state.lock();
        state.tick = state.next_tick(now);
        state.tick
    }
}

impl Sched {
    /// Whether the ticker is to come by itself.
    pub(crate) fn is_ticking(&self) -> bool {
        self.state.lock().tick.is_some()
    }

    /// Notes that the ticker does not come.
    pub(crate) fn untick(&self) {
        self.state.lock().tick = None;
    }
}

impl Sched {
    /// Returns how many slots nobody has.
    pub(crate) fn free(&self) -> u32 {
        self.state.lock().free
    }
}

impl Drop for Sched {
    fn drop(&mut self) {
        self.ticker.stop();
    }
}

impl State {
    /// Picks of the leaves with claims the one that is next, though jobs may be before it.
    fn pick_claim(&mut self, now: u64) -> Option<Pick> {
        let mut best: Option<Pick> = None;
        let places: Vec<_> = self.claiming.iter().copied().collect();
        for place in places {
            let Some(node) = self.leaves[place].as_ref().map(|leaf| leaf.node) else {
                continue;
            };
            if best.as_ref().is_some_and(|best| !self.tree.is_ahead(node, best)) {
                continue;
            }
            if let Some(pick) = self.tree.pick_at(node, now)
                && let Some(worse) = best.replace(pick)
            {
                self.tree.settle(worse, 0, now);
            }
        }
        best
    }

    fn seize(&mut self, leaf: &Leaf, claim: &Arc<Claim>, now: u64) -> Option<Slice> {
        if self.free == 0 || self.tree.has_waiting() || self.tree.is_active(leaf.node) {
            return None;
        }
        let activation = self.tree.activate(leaf.node, now);
        debug_assert!(activation.is_ok(), "the node of a css that is referenced is there");
        let pick = self.tree.pick_at(leaf.node, now);
        self.tree.deactivate(leaf.node, now);
        self.free -= 1;
        let Some(pick) = pick else {
            self.free += 1;
            return None;
        };
        claim.flag.lower();
        let (flag, length) = (Arc::clone(&claim.flag), pick.slice());
        Some(self.start(pick, flag, Some(Arc::clone(claim)), now, length))
    }

    fn hand_over(&mut self, slice: &Slice, claim: &Arc<Claim>) -> (Arc<Flag>, Option<Arc<Claim>>) {
        // What is raised from here on is about this slice.
        claim.flag.lower();
        let running = &mut self.running[slice.key];
        let flag = std::mem::replace(&mut running.flag, Arc::clone(&claim.flag));
        let before = running.claim.replace(Arc::clone(claim));
        self.watch(slice.key);
        (flag, before)
    }

    /// Whether the ticker sleeps too long.
    pub(super) fn needs_tick(&mut self, now: u64) -> bool {
        let Some(next) = self.next_tick(now) else { return false };
        // It is called a little early rather than twice.
        if self.tick.is_some_and(|tick| tick <= next.saturating_add(SOON / 2)) {
            return false;
        }
        self.tick = Some(next);
        true
    }

    /// Returns when the ticker has something to do.
    fn next_tick(&self, now: u64) -> Option<u64> {
        // Who runs finds those whose quota has come; if all slots are taken, that is soon enough.
        let is_early = |release: &u64| self.alarm.is_none_or(|alarm| *release < alarm);
        let release = self.tree.next_release().filter(|release| self.free > 0 && is_early(release));
        if self.watched == 0 {
            return release;
        }
        let is_contended = self.tree.has_waiting();
        let watched = self.running.iter().filter(|(_, running)| running.is_watched);
        let due = watched.map(|(_, running)| match is_contended || running.is_limited {
            true => running.due().max(now.saturating_add(SOON)),
            false => running.due().max(now.saturating_add(IDLE)),
        });
        due.chain(release).min()
    }
}

impl Running {
    /// When the ticker is to look at it.
    fn due(&self) -> u64 {
        self.end.saturating_add(self.claim.as_ref().map_or(0, |claim| claim.grace()))
    }
}

/// The ticker looks no more often, in nanoseconds.
const SOON: u64 = 50_000;

/// How long the ticker leaves those alone who run while nobody waits, in nanoseconds.
const IDLE: u64 = 5_000_000;
