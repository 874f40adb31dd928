//! Who runs: the tree, the slots, and who has one, waits for one, or sleeps.
//!
//! A *slot* is the right to run; there are as many as CPUs. A worker that runs has one, and so has a claim
//! that was granted. All of it is under one lock, which is taken about twice a slice, and when a group
//! begins or ceases to wait; never while others' code runs.
//!
//! # Invariants
//!
//! 1. A node is active in the tree exactly if its leaf's ring is not empty, and in `claiming` exactly if there are
//!    claims in the ring: all change under the leaf's lock, with this one taken inside.
//! 2. `free` + seats with a slot + claims that were granted = the number of slots. The rescue lane has none.
//! 3. Nobody sleeps while a slot is free and something waits: who makes a leaf wait looks for a sleeper, and
//!    who is about to sleep looks for something that waits, each under the lock. Who takes one thing and leaves
//!    another sees to a helper. No claim waits while a slot is free: who makes one wait, or frees a slot,
//!    [dispatches](Sched::dispatch) after that.
//! 4. If a group is throttled, somebody sleeps no longer than to its release (the *alarm*): a worker, or if none
//!    sleeps that can by itself, the ticker.
//! 5. Nobody is called under a lock: what is to be done is returned as a [`Call`].
//! 6. A worker that waits inside a job (*absent*) has no slot; a *spare* one is there for it, as soon as there is something
//!    to run and a slot.
//!
//! `tests/loom_sleep.rs` has the models of 3.

use std::collections::{BTreeSet, VecDeque};

use slab::Slab;

use self::loss::Latch;
use crate::{
    claim::{Claim, Flag, Grant},
    foreign::HookError,
    leaf::Leaf,
    polls::Watch,
    queue::{Item, Want},
    rescue::Lane,
    sync::{Arc, AtomicU32, Mutex, Ordering, Weak, skip},
    ticker::Ticker,
    time::Time,
    tree::{CpuTree, NodeId, Pick},
    worker::Worker,
};

mod claims;
mod lane;
mod loss;
mod staff;

pub(crate) use self::staff::{Staff, Standing};

/// Who runs, for one controller.
pub(crate) struct Sched {
    pub(crate) time: Time,
    pub(crate) polls: Watch,
    state: Mutex<State>,
    /// How many workers sleep, as a hint for who need not look under the lock.
    sleepers: AtomicU32,
    /// Whether a slot is free and nothing waits, as a hint: 0 or 1.
    calm: AtomicU32,
    pub(crate) ticker: Ticker,
    /// Who employs spare workers.
    staff: Mutex<Option<Weak<dyn Staff>>>,
    me: Weak<Self>,
}

pub(crate) struct State {
    pub(crate) tree: CpuTree,
    /// By the node's index.
    leaves: Vec<Option<Arc<Leaf>>>,
    /// Those in which claims wait, by the node's index.
    claiming: BTreeSet<usize>,
    /// Slots that nobody has.
    free: u32,
    seats: Slab<Seat>,
    /// The seats of those that sleep; the last went to sleep last, and its caches are warmest.
    asleep: Vec<usize>,
    running: Slab<Running>,
    /// How many of them are watched.
    watched: usize,
    /// When a sleeper wakes by itself.
    alarm: Option<u64>,
    /// When the ticker does; `None` if not before it is called.
    tick: Option<u64>,
    standing: Standing,
    /// The clock of pressures, once there is one.
    latch: Option<Arc<Latch>>,
    /// Who serves groups in a hurry while all slots are taken.
    lane: Option<Lane>,
    /// How many workers wait inside a job.
    absent: u32,
    /// How many there are in their place.
    spares: u32,
}

/// A worker, as the scheduler knows it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is asked by itself, and three change by themselves"
)]
struct Seat {
    worker: Arc<Worker>,
    has_slot: bool,
    is_asleep: bool,
    has_alarm: bool,
    /// It can wake by itself.
    keeps_time: bool,
}

/// A slice that is going on.
struct Running {
    pick: Pick,
    end: u64,
    /// How to ask for an early end.
    flag: Arc<Flag>,
    /// Who has it, if that is a claim.
    claim: Option<Arc<Claim>>,
    /// Whether the ticker says when it is over.
    is_watched: bool,
    /// Whether a quota applies to it, as of when the ticker began to watch.
    is_limited: bool,
}

/// What a worker is to do.
pub(crate) enum Next {
    Run(Slice),
    /// Sleep until called, or until then.
    Sleep(Option<u64>),
    /// The pool is being shut down.
    End,
}

/// A slice of a leaf's, to be settled.
#[must_use = "a slice that is not settled stays estimated"]
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) leaf: Arc<Leaf>,
    /// When it is over.
    pub(crate) end: u64,
    key: usize,
}

/// What is new about a leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct News {
    /// Something waits there, or nothing does any more.
    pub(crate) waits: bool,
    /// Claims do.
    pub(crate) claims: bool,
}

/// What is to be done once no lock is held.
#[must_use = "somebody may have to be woken"]
#[derive(Default)]
pub(crate) struct Call {
    worker: Option<Arc<Worker>>,
    /// What else is to be done, and for whom.
    sched: Option<Arc<Sched>>,
    dispatches: bool,
    ticks: bool,
    hires: bool,
}

impl Sched {
    pub(crate) fn new(tree: CpuTree, slots: u32, time: Time, polls: Watch) -> Arc<Self> {
        let state = State {
            tree,
            leaves: Vec::new(),
            claiming: BTreeSet::new(),
            free: slots,
            seats: Slab::new(),
            asleep: Vec::new(),
            running: Slab::new(),
            watched: 0,
            alarm: None,
            tick: None,
            standing: Standing::Unstaffed,
            latch: None,
            lane: None,
            absent: 0,
            spares: 0,
        };
        Arc::new_cyclic(|me| Self {
            ticker: Ticker::new(),
            time,
            polls,
            state: Mutex::new(state),
            sleepers: AtomicU32::new(0),
            calm: AtomicU32::new(1),
            staff: Mutex::new(None),
            me: Weak::clone(me),
        })
    }

    /// Reads or changes the tree and what goes with it.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut CpuTree, u64) -> R) -> R {
        let now = self.time.now();
        act(&mut self.state.lock().tree, now)
    }

    /// Changes a group's settings; if that lets somebody in who was held back, a sleeper is called.
    pub(crate) fn change<R>(&self, act: impl FnOnce(&mut CpuTree, u64) -> R) -> R {
        let now = self.time.now();
        let mut state = self.state.lock();
        let result = act(&mut state.tree, now);
        let call = self.relieve(&mut state, now);
        drop(state);
        call.make();
        result
    }

    /// Sees to it that somebody runs what waits, if a slot is free: the caller will not look for something.
    fn relieve(&self, state: &mut State, now: u64) -> Call {
        let is_due = state.free > 0 && state.tree.has_waiting();
        let call = if is_due {
            Call { dispatches: true, ..Call::nobody() }
        } else {
            self.watch_time(state)
        };
        let call = self.errands(state, now, call);
        self.note(state);
        call
    }

    /// Adds the node of a new group, or finds that of the root, and has `make` make its leaf.
    ///
    /// There is one root, so a second registry is refused; so is the first, as long as its former root is referenced.
    pub(crate) fn add(
        &self,
        parent: Option<NodeId>,
        make: impl FnOnce(NodeId) -> Leaf,
    ) -> Result<Arc<Leaf>, HookError> {
        let mut state = self.state.lock();
        let node = match parent {
            Some(parent) => state.tree.add(parent)?,
            None if state.leaves.first().is_some_and(Option::is_some) => {
                return Err("this controller is in use already: make another one".into());
            }
            None => state.tree.root(),
        };
        let leaf = Arc::new(make(node));
        let place = node.index();
        if state.leaves.len() <= place {
            state.leaves.resize_with(place + 1, || None);
        }
        state.leaves[place] = Some(Arc::clone(&leaf));
        Ok(leaf)
    }

    /// Takes a group's node out; slices that are going on there are still charged above it.
    pub(crate) fn remove(&self, leaf: &Leaf) {
        let mut state = self.state.lock();
        let place = state.leaves.get_mut(leaf.node.index());
        let gone = place.and_then(Option::take);
        let removed = state.tree.remove(leaf.node);
        drop(state);
        debug_assert!(removed.is_ok() || leaf.parent.is_none(), "a node is removed once");
        drop(gone);
    }

    /// Notes that a leaf has begun to wait, or claims there have; callers hold its lock.
    ///
    /// A worker that is about to look for something itself passes `is_busy`, and nobody is called.
    pub(crate) fn activate(&self, leaf: &Leaf, news: News, is_busy: bool) -> Call {
        if !news.waits && !news.claims {
            return Call::nobody();
        }
        let now = self.time.now();
        let mut state = self.state.lock();
        let now = state.tree.go_on(now);
        if news.waits {
            let activation = state.tree.activate(leaf.node, now);
            state.begin_wait(leaf, now);
            debug_assert!(activation.is_ok(), "the node of a css that is referenced is there");
        }
        if news.claims {
            state.claiming.insert(leaf.node.index());
        }
        self.note(&state);
        if is_busy {
            return Call::nobody();
        }
        if state.tree.is_throttled(leaf.node) {
            let call = self.watch_time(&mut state);
            return self.errands(&mut state, now, call);
        }
        if state.free == 0 {
            let call = state.press(leaf, news, now);
            return self.errands(&mut state, now, call);
        }
        let call = if news.claims || state.asleep.is_empty() {
            Call { dispatches: news.claims || state.lacks_worker(), ..Call::nobody() }
        } else {
            self.rouse(&mut state)
        };
        self.errands(&mut state, now, call)
    }

    /// Notes that a leaf waits no longer, or claims there do not; callers hold its lock.
    pub(crate) fn deactivate(&self, leaf: &Leaf, news: News) {
        if !news.waits && !news.claims {
            return;
        }
        let now = self.time.now();
        let mut state = self.state.lock();
        let now = state.tree.go_on(now);
        if news.claims {
            state.claiming.remove(&leaf.node.index());
        }
        if news.waits {
            state.tree.deactivate(leaf.node, now);
            state.end_wait(leaf, now);
        }
        self.note(&state);
    }

    /// Calls a sleeper if there is a slot and something to do for it: what waits, or what the caller `has`
    /// and will not run at once.
    pub(crate) fn help(&self, has: bool) -> Call {
        // Ordering: Relaxed: a hint. Who goes to sleep looks at what others have, by locks (invariant 3).
        if self.sleepers.load(Ordering::Relaxed) == 0 {
            return Call::nobody();
        }
        let mut state = self.state.lock();
        let is_due = state.free > 0 && (has || state.tree.has_waiting());
        if is_due { self.rouse(&mut state) } else { Call::nobody() }
    }

    /// Gives a free slot to a sleeper.
    fn rouse(&self, state: &mut State) -> Call {
        let seat = state.asleep.last().copied().filter(|_| !skip("sched_rouses"));
        let Some(seat) = seat else { return Call::nobody() };
        self.get_up(state, seat);
        state.free -= 1;
        state.seats[seat].has_slot = true;
        self.note(state);
        Call::worker(&state.seats[seat].worker)
    }

    /// Has a sleeper look at the time, if none will when a group is released.
    fn watch_time(&self, state: &mut State) -> Call {
        let Some(release) = state.tree.next_release() else { return Call::nobody() };
        if state.alarm.is_some_and(|alarm| alarm <= release) {
            return Call::nobody();
        }
        let mut asleep = state.asleep.iter().rev();
        let Some(seat) = asleep.find(|seat| state.seats[**seat].keeps_time).copied() else {
            return Call::nobody();
        };
        self.get_up(state, seat);
        Call::worker(&state.seats[seat].worker)
    }

    fn get_up(&self, state: &mut State, seat: usize) {
        if !state.seats[seat].is_asleep {
            return;
        }
        state.asleep.retain(|other| *other != seat);
        self.note(state);
        let seat = &mut state.seats[seat];
        seat.is_asleep = false;
        if std::mem::take(&mut seat.has_alarm) {
            state.alarm = None;
        }
    }

    fn go_to_sleep(&self, state: &mut State, seat: usize) -> Option<u64> {
        state.asleep.push(seat);
        self.note(state);
        let release = state.tree.next_release().filter(|_| state.seats[seat].keeps_time);
        let alarm = release.filter(|release| state.alarm.is_none_or(|alarm| *release < alarm));
        if alarm.is_some() {
            state.alarm = alarm;
            state.seats.iter_mut().for_each(|(_, seat)| seat.has_alarm = false);
        }
        let seat = &mut state.seats[seat];
        (seat.is_asleep, seat.has_alarm) = (true, alarm.is_some());
        alarm
    }

    /// Keeps the hints as the state is.
    fn note(&self, state: &State) {
        let sleepers = u32::try_from(state.asleep.len()).unwrap_or(u32::MAX);
        // Ordering: Relaxed: hints, see `help` and `is_calm`.
        self.sleepers
            .store(if skip("sched_tells_sleepers") { 0 } else { sleepers }, Ordering::Relaxed);
        let is_calm = state.free > 0 && !state.tree.has_waiting();
        self.calm.store(is_calm.into(), Ordering::Relaxed);
    }

    /// Adds to a call what else is to be done as the state is now.
    fn errands(&self, state: &mut State, now: u64, mut call: Call) -> Call {
        call.ticks = state.needs_tick(now);
        if call.dispatches || call.ticks || call.hires {
            call.sched = self.me.upgrade();
        }
        call
    }

    /// Settles the slice that a worker has done, if any, and finds it the next one.
    pub(crate) fn next(&self, worker: &Worker, done: Option<(Slice, u64)>) -> (Next, Call) {
        let now = self.time.now();
        let mut state = self.state.lock();
        let left = done.map(|(slice, cpu)| state.settle(slice, cpu, now));
        let seat = worker.seat();
        self.get_up(&mut state, seat);
        let next = self.find(&mut state, seat, now);
        // Whoever had the alarm is perhaps at work now.
        let mut call = self.watch_time(&mut state);
        call.dispatches = matches!(next, Next::End) && !state.claiming.is_empty();
        let call = self.errands(&mut state, now, call);
        self.note(&state);
        drop(state);
        drop(left);
        (next, call)
    }

    /// Settles a slice; the worker keeps its slot.
    pub(crate) fn settle(&self, slice: Slice, cpu: u64) {
        let now = self.time.now();
        let mut state = self.state.lock();
        let left = state.settle(slice, cpu, now);
        let call = self.relieve(&mut state, now);
        drop(state);
        drop(left);
        call.make();
    }

    fn find(&self, state: &mut State, seat: usize, now: u64) -> Next {
        let is_closed = state.standing.is_over();
        if !state.seats[seat].has_slot && !is_closed {
            if state.free == 0 {
                // What is due waits for who has a slot: it is nothing to wake for again.
                let _released = state.tree.release(now);
                return Next::Sleep(self.go_to_sleep(state, seat));
            }
            state.free -= 1;
            state.seats[seat].has_slot = true;
        }
        let pick = if is_closed || skip("sched_looks") { None } else { state.tree.pick(now) };
        let Some(pick) = pick else {
            if !skip("sched_frees") {
                state.free += u32::from(std::mem::take(&mut state.seats[seat].has_slot));
            }
            if is_closed {
                return Next::End;
            }
            return Next::Sleep(self.go_to_sleep(state, seat));
        };
        let flag = Arc::clone(&state.seats[seat].worker.flag);
        let length = pick.slice();
        Next::Run(state.start(pick, flag, None, now, length))
    }

    /// Gives a worker a seat, from which it has everything to find out.
    pub(crate) fn sit(
        &self,
        keeps_time: bool,
        make: impl FnOnce(usize) -> Arc<Worker>,
    ) -> Arc<Worker> {
        let mut state = self.state.lock();
        let entry = state.seats.vacant_entry();
        let worker = make(entry.key());
        entry.insert(Seat {
            worker: Arc::clone(&worker),
            has_slot: false,
            is_asleep: false,
            has_alarm: false,
            keeps_time,
        });
        worker
    }

    /// Takes a worker's seat away; it has no slot any more.
    pub(crate) fn stand_up(&self, worker: &Worker, done: Option<(Slice, u64)>) {
        let now = self.time.now();
        let mut state = self.state.lock();
        let left = done.map(|(slice, cpu)| state.settle(slice, cpu, now));
        self.get_up(&mut state, worker.seat());
        let seat = state.seats.remove(worker.seat());
        state.free += u32::from(seat.has_slot);
        let is_lane = state.lane.as_ref().is_some_and(|lane| lane.is_of(worker));
        let lane = if is_lane { state.lane.take() } else { None };
        self.note(&state);
        drop(state);
        drop((seat, lane, left));
        self.dispatch();
    }

    /// Returns all workers but the one at that seat.
    pub(crate) fn others(&self, seat: usize) -> Vec<Arc<Worker>> {
        let state = self.state.lock();
        let others = state.seats.iter().filter(|(key, _)| *key != seat);
        others.map(|(_, seat)| Arc::clone(&seat.worker)).collect()
    }
}

impl State {
    /// Begins a slice of `length`; who runs it has a slot, or is the rescue lane.
    fn start(
        &mut self,
        pick: Pick,
        flag: Arc<Flag>,
        claim: Option<Arc<Claim>>,
        now: u64,
        length: u64,
    ) -> Slice {
        let end = now.saturating_add(length);
        let leaf = self.leaves[pick.node().index()].clone();
        let leaf = leaf.expect("a node that is picked has a leaf: its members hold its css");
        self.begin_slice(&leaf, now);
        let (is_watched, is_limited) = (false, false);
        let is_claim = claim.is_some();
        let key = self.running.insert(Running { pick, end, flag, claim, is_watched, is_limited });
        if is_claim {
            self.watch(key);
        }
        Slice { leaf, end, key }
    }

    /// Has the ticker say when a slice is over.
    fn watch(&mut self, key: usize) {
        let is_limited = self.is_limited(self.running[key].pick.node());
        let running = &mut self.running[key];
        running.is_limited = is_limited;
        if !std::mem::replace(&mut running.is_watched, true) {
            self.watched += 1;
        }
    }

    /// Whether a quota applies to a node.
    fn is_limited(&self, node: NodeId) -> bool {
        let mut above = Some(node);
        while let Some(node) = above {
            if self.tree.bandwidth(node).is_ok_and(|bandwidth| bandwidth.quota().is_some()) {
                return true;
            }
            above = self.tree.parent(node).ok().flatten();
        }
        false
    }

    /// Charges a slice; returns what is to be dropped under no lock.
    fn settle(&mut self, slice: Slice, cpu: u64, now: u64) -> (Arc<Leaf>, Left) {
        let Running { pick, flag, claim, is_watched, .. } = self.running.remove(slice.key);
        self.watched -= usize::from(is_watched);
        self.tree.settle(pick, cpu, now);
        self.end_slice(&slice.leaf, now);
        (slice.leaf, (flag, claim))
    }

    /// Asks somebody whose leaf is behind to end their slice soon.
    fn hurry(&mut self, node: NodeId) {
        let behind = |running: &&Running| self.tree.is_ahead(node, &running.pick);
        let running = self.running.iter().map(|(_, running)| running);
        if let Some(running) = running.filter(behind).find(|running| !running.flag.is_hurried()) {
            running.flag.raise();
        }
    }
}

/// What is left of a slice.
type Left = (Arc<Flag>, Option<Arc<Claim>>);

impl Call {
    pub(crate) fn nobody() -> Self {
        Self::default()
    }

    fn worker(worker: &Arc<Worker>) -> Self {
        Self { worker: Some(Arc::clone(worker)), ..Self::default() }
    }

    /// Does what is to be done; the caller holds no lock.
    pub(crate) fn make(self) {
        if let Some(worker) = self.worker {
            worker.wake();
        }
        let Some(sched) = self.sched else { return };
        if self.dispatches {
            sched.dispatch();
        }
        if self.ticks {
            sched.ticker.call(&sched);
        }
        if self.hires {
            sched.hire();
        }
    }
}
