//! What of one member waits to be run: its jobs, and its claims.
//!
//! # Tests
//!
//! `tests/loom_leaf.rs`.

use std::{collections::VecDeque, fmt};

use slab::Slab;

use crate::{
    claim::{Claim, Grant},
    foreign::TaskId,
    job::Runnable,
    leaf::Leaf,
    sched::Call,
    sync::{Arc, AtomicU32, Mutex, MutexGuard, Ordering, Weak, skip},
};

/// Somebody who can be run.
#[derive(Debug)]
pub(crate) enum Item {
    Job(Runnable),
    Claim(Arc<Claim>),
}

/// What somebody takes from a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// What comes first: one claim, or so many jobs.
    First(usize),
    /// So many jobs, if jobs come first.
    Jobs(usize),
    /// A claim, if one comes first.
    FirstClaim,
    /// The first claim, whatever is before it.
    Claim,
}

/// The items of one member that wait, and where they do.
pub(crate) struct Queue {
    state: Mutex<State>,
    /// How many of the items are claims; changed under the lock.
    claims: AtomicU32,
    /// How often all was ended that ran or waited.
    kills: AtomicU32,
    owner: Weak<dyn Owner>,
    /// Whose it is; the owner may be gone before its last job is told of.
    pub(crate) task: TaskId,
    pub(crate) name: Box<str>,
}

/// Whose queue it is.
pub(crate) trait Owner: Send + Sync {
    /// Sees that the queue is frozen and nobody runs anything of it; called under no lock.
    fn stopped(&self);
}

pub(crate) struct State {
    items: VecDeque<Item>,
    leaf: Arc<Leaf>,
    is_listed: bool,
    is_frozen: bool,
    is_closed: bool,
    /// How many slices are going on that took items from here.
    slices: u32,
    /// How many of the items are claims that nobody wants any more.
    gone: usize,
    /// Those that are not gone, wherever they are.
    claimants: Slab<Arc<Claim>>,
}

impl Queue {
    pub(crate) fn new(
        leaf: Arc<Leaf>,
        owner: Weak<dyn Owner>,
        task: TaskId,
        name: &str,
    ) -> Arc<Self> {
        let state = State {
            items: VecDeque::new(),
            leaf,
            is_listed: false,
            is_frozen: false,
            is_closed: false,
            slices: 0,
            gone: 0,
            claimants: Slab::new(),
        };
        let name = name.into();
        let (claims, kills) = (AtomicU32::new(0), AtomicU32::new(0));
        Arc::new(Self { state: Mutex::new(state), claims, kills, owner, task, name })
    }

    /// Has jobs wait; if the queue is closed they are returned, to be cancelled under no lock.
    ///
    /// A worker that looks for something to do next passes `is_busy`.
    pub(crate) fn push(
        self: &Arc<Self>,
        jobs: impl IntoIterator<Item = Runnable>,
        is_busy: bool,
    ) -> Vec<Runnable> {
        let mut state = self.state.lock();
        if state.is_closed && !skip("queue_closes") {
            drop(state);
            return jobs.into_iter().collect();
        }
        state.items.extend(jobs.into_iter().map(Item::Job));
        let call = self.conform(&mut state, is_busy);
        drop(state);
        call.make();
        Vec::new()
    }

    /// Has a claim wait; also in a queue that is closed for jobs.
    pub(crate) fn push_claim(self: &Arc<Self>, claim: &Arc<Claim>) {
        let mut state = self.state.lock();
        state.items.push_back(Item::Claim(Arc::clone(claim)));
        // Ordering: Relaxed, here and wherever it is written: under the lock. Who reads it without takes it as a hint.
        self.claims.fetch_add(1, Ordering::Relaxed);
        let call =
            if state.is_listed { state.leaf.has_claim() } else { self.conform(&mut state, false) };
        drop(state);
        call.make();
    }

    /// Finds a slot for a claim if nobody waits for one; what the claim has run before is settled.
    pub(crate) fn seize(
        self: &Arc<Self>,
        claim: &Arc<Claim>,
        done: Option<(Grant, u64)>,
    ) -> Option<Grant> {
        let (done, before) = match done {
            Some((grant, cpu)) => grant.into_parts().map(|(slice, queue)| ((slice, cpu), queue)),
            None => None,
        }
        .unzip();
        let mut state = self.state.lock();
        let is_wanted = !state.is_frozen;
        let (slice, call) = state.leaf.sched.seize(&state.leaf, claim, done, is_wanted);
        state.slices += u32::from(slice.is_some());
        drop(state);
        call.make();
        if let Some(before) = before {
            before.release();
        }
        Some(Grant::new(slice?, Arc::clone(self)))
    }

    /// Gives a claim a place in the list of those there are.
    pub(crate) fn enlist(&self, make: impl FnOnce(usize) -> Arc<Claim>) -> Arc<Claim> {
        let mut state = self.state.lock();
        let entry = state.claimants.vacant_entry();
        let claim = make(entry.key());
        entry.insert(Arc::clone(&claim));
        claim
    }

    pub(crate) fn delist(&self, key: usize) {
        let claim = self.state.lock().claimants.try_remove(key);
        drop(claim);
    }

    /// Returns the claims there are.
    pub(crate) fn claimants(&self) -> Vec<Arc<Claim>> {
        self.state.lock().claimants.iter().map(|(_, claim)| Arc::clone(claim)).collect()
    }

    /// Notes that a claim in it is not waiting any more; takes such out when they are more than half of the items.
    pub(crate) fn forget(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.gone += 1;
        if state.gone * 2 <= state.items.len() {
            return;
        }
        state.gone = 0;
        let is_gone = |item: &Item| matches!(item, Item::Claim(claim) if !claim.stand.is_waiting());
        let items = std::mem::take(&mut state.items).into_iter();
        let (gone, items): (VecDeque<_>, VecDeque<_>) = items.partition(is_gone);
        state.items = items;
        let count = u32::try_from(gone.len()).unwrap_or(u32::MAX);
        self.claims.fetch_sub(count, Ordering::Relaxed);
        if state.is_listed {
            state.leaf.lost_claims(count);
        }
        let call = self.conform(&mut state, true);
        drop(state);
        call.make();
        drop(gone);
    }

    /// Returns how many items wait in it.
    pub(crate) fn len(&self) -> usize {
        let state = self.state.lock();
        state.items.len().saturating_sub(state.gone)
    }

    /// Returns how many claims wait in it, as a hint.
    pub(crate) fn claims(&self) -> u32 {
        self.claims.load(Ordering::Relaxed)
    }

    /// Notes that all that runs or waits is to end; those that run look for it.
    pub(crate) fn note_kill(&self) {
        // Ordering: Relaxed: flags are raised after it, and who sees one, by locks, sees it.
        self.kills.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn kills(&self) -> u32 {
        self.kills.load(Ordering::Relaxed)
    }

    /// Lists or unlists the queue, as it is to be.
    fn conform(self: &Arc<Self>, state: &mut State, is_busy: bool) -> Call {
        let is_due = !state.items.is_empty() && (!state.is_frozen || skip("queue_freezes"));
        if is_due == state.is_listed {
            return Call::nobody();
        }
        state.is_listed = is_due;
        if is_due {
            return state.leaf.list(Arc::clone(self), is_busy);
        }
        state.leaf.unlist(self);
        Call::nobody()
    }

    /// Notes that a slice that took items is over.
    pub(crate) fn release(&self) {
        let mut state = self.state.lock();
        state.slices -= 1;
        let has_stopped = state.is_frozen && state.slices == 0;
        drop(state);
        if has_stopped && let Some(owner) = self.owner.upgrade() {
            owner.stopped();
        }
    }

    /// Freezes the queue or thaws it.
    pub(crate) fn set_frozen(self: &Arc<Self>, is_frozen: bool) -> Call {
        let mut state = self.state.lock();
        state.is_frozen = is_frozen;
        self.conform(&mut state, false)
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.state.lock().is_frozen
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    /// Returns whether it is frozen, and nothing of it runs.
    pub(crate) fn has_stopped(&self) -> bool {
        let state = self.state.lock();
        state.is_frozen && state.slices == 0
    }

    /// Moves what waits to another leaf; what runs stays there until its slice is over.
    pub(crate) fn move_to(self: &Arc<Self>, leaf: &Arc<Leaf>) {
        let mut state = self.state.lock();
        if Arc::ptr_eq(&state.leaf, leaf) {
            return;
        }
        if std::mem::take(&mut state.is_listed) && !skip("queue_leaves") {
            state.leaf.unlist(self);
        }
        let former = std::mem::replace(&mut state.leaf, Arc::clone(leaf));
        let call = self.conform(&mut state, false);
        drop(state);
        drop(former);
        call.make();
    }

    /// Takes those jobs out that are `wanted`, to be cancelled under no lock.
    pub(crate) fn take_if(self: &Arc<Self>, wanted: impl Fn(&Runnable) -> bool) -> Vec<Runnable> {
        let mut state = self.state.lock();
        let taken = state.take_jobs(wanted);
        let call = self.conform(&mut state, true);
        drop(state);
        call.make();
        taken
    }

    /// Closes the queue for jobs, for good; returns those that waited, to be cancelled under no lock.
    pub(crate) fn close(self: &Arc<Self>) -> Vec<Runnable> {
        let mut state = self.state.lock();
        state.is_closed = true;
        let jobs = state.take_jobs(|_| true);
        let call = self.conform(&mut state, true);
        drop(state);
        call.make();
        jobs
    }

    /// Takes everything out, at the end of its member.
    pub(crate) fn clear(self: &Arc<Self>) -> VecDeque<Item> {
        let mut state = self.state.lock();
        let items = std::mem::take(&mut state.items);
        let claims = self.claims.swap(0, Ordering::Relaxed);
        if state.is_listed {
            state.leaf.lost_claims(claims);
        }
        let call = self.conform(&mut state, true);
        drop(state);
        call.make();
        items
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    /// Takes what is wanted for a slice that is released after, of jobs no more than half; returns how many claims
    /// were taken out, also such as nobody wants any more.
    pub(crate) fn take(&mut self, queue: &Queue, want: Want, into: &mut VecDeque<Item>) -> u32 {
        let had = into.len();
        let mut claims = 0;
        match want {
            Want::Claim => {
                while let Some(place) = self.items.iter().position(Item::is_claim)
                    && into.len() == had
                {
                    claims += 1;
                    let claim = self.items.remove(place);
                    into.extend(claim.filter(|claim| self.is_wanted(claim)));
                }
            }
            Want::FirstClaim => claims += self.take_first_claim(into),
            Want::Jobs(most) => self.take_first_jobs(most, into),
            Want::First(most) => {
                claims += self.take_first_claim(into);
                if into.len() == had {
                    self.take_first_jobs(most, into);
                }
            }
        }
        self.slices += u32::from(into.len() > had);
        // Ordering: Relaxed: see `push_claim`.
        queue.claims.fetch_sub(claims, Ordering::Relaxed);
        claims
    }

    fn take_first_claim(&mut self, into: &mut VecDeque<Item>) -> u32 {
        let (had, mut claims) = (into.len(), 0);
        while self.items.front().is_some_and(Item::is_claim) && into.len() == had {
            claims += 1;
            let claim = self.items.pop_front();
            into.extend(claim.filter(|claim| self.is_wanted(claim)));
        }
        claims
    }

    fn take_first_jobs(&mut self, most: usize, into: &mut VecDeque<Item>) {
        let count = most.min(self.items.len().div_ceil(2)).max(1);
        let count = self.items.iter().take(count).take_while(|item| !item.is_claim()).count();
        into.extend(self.items.drain(..count));
    }

    fn take_jobs(&mut self, wanted: impl Fn(&Runnable) -> bool) -> Vec<Runnable> {
        let (mut taken, mut left) = (Vec::new(), VecDeque::new());
        for item in std::mem::take(&mut self.items) {
            match item {
                Item::Job(job) if wanted(&job) => taken.push(job),
                item => left.push_back(item),
            }
        }
        self.items = left;
        taken
    }

    fn is_wanted(&mut self, item: &Item) -> bool {
        let is_wanted = !matches!(item, Item::Claim(claim) if !claim.stand.is_waiting());
        if !is_wanted {
            self.gone = self.gone.saturating_sub(1);
        }
        is_wanted
    }

    pub(crate) fn has_items(&self) -> bool {
        !self.items.is_empty()
    }

    pub(crate) fn set_unlisted(&mut self) {
        self.is_listed = false;
    }
}

impl Item {
    fn is_claim(&self) -> bool {
        matches!(self, Self::Claim(_))
    }

    pub(crate) fn into_job(self) -> Option<Runnable> {
        match self {
            Self::Job(job) => Some(job),
            Self::Claim(_) => None,
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        debug_assert_eq!(self.state.get_mut().slices, 0, "a slice was not released");
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("claims", &self.claims()).finish_non_exhaustive()
    }
}
