//! Looks after those that wait, for one controller: deadlines, rechecks, and whether anybody can go on.
//!
//! A *pass* calls those whose deadline is over; every 20 ms it has the front of each line look again,
//! belt and braces; and it finds groups in which nobody can go on (`oom.rs`). Passes are made by a thread of the
//! controller's own, every 5 ms while somebody waits; it is started by the first that waits, sleeps without
//! a timer while nobody does, and ends with the controller. Where no thread can be started, threads that
//! wait make the passes; futures are then looked after by whoever calls [`Memory::tick`](crate::Memory::tick).
//!
//! Nothing is done under a lock but the book itself: wakers, policies and callbacks are others' code.

use std::{collections::BTreeMap, mem, task::Waker, time::Duration};

use crate::{
    caught::caught,
    line::Company,
    node::Node,
    oom::{self, Case, Pending},
    shared::Shared,
    sync::{
        Arc, AtomicBool, Mutex, Ordering, Weak,
        thread::{self, Thread},
    },
    wait::{Sleeper, wake},
};

/// Who looks after those that wait for memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Keeper {
    /// A thread of the controller's own, started when somebody waits first. The default.
    #[default]
    Thread,
    /// The embedder, by [`Memory::tick`](crate::Memory::tick).
    ///
    /// Room that is given back wakes waiters all the same; what needs the keeper are deadlines and victims.
    Manual,
}

/// What a controller knows of those that wait.
#[derive(Debug)]
pub(crate) struct Book {
    keeper: Keeper,
    /// Whether a pass is being made.
    is_passing: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    thread: Employed,
    /// The nodes with lines in which somebody waits, by their keys; those where nobody does go with the
    /// next pass.
    places: BTreeMap<u64, Watched>,
    /// Victims whose memory is not back.
    pending: Vec<Pending>,
    /// Wakers to be called under no lock.
    letters: Vec<Waker>,
    rechecked_at: Duration,
}

#[derive(Debug, Default)]
struct Watched {
    node: Weak<Node>,
    case: Case,
}

#[derive(Debug, Default)]
enum Employed {
    #[default]
    Nobody,
    Thread(Thread),
    /// None could be started.
    Failed,
}

/// A pass that is being made.
struct Turn<'a>(&'a AtomicBool);

/// How long the keeper sleeps while somebody waits.
const PERIOD: Duration = Duration::from_millis(5);

/// How often the front of a line looks again.
const RECHECK: Duration = Duration::from_millis(20);

impl Book {
    pub(crate) fn new(keeper: Keeper) -> Self {
        Self { keeper, is_passing: AtomicBool::new(false), state: Mutex::new(State::default()) }
    }

    /// Has the thread end, as the controller is gone.
    pub(crate) fn end(&self) {
        self.ring();
    }

    fn ring(&self) {
        let thread = match &self.state.lock().thread {
            Employed::Thread(thread) => thread.clone(),
            Employed::Nobody | Employed::Failed => return,
        };
        thread.unpark();
    }

    /// Returns the nodes where somebody waits, the lower ones before those above.
    fn places(&self) -> Vec<Arc<Node>> {
        let mut state = self.state.lock();
        let mut nodes = Vec::new();
        state.places.retain(|_, watched| match watched.node.upgrade() {
            Some(node) if node.busy_line().is_some() => {
                nodes.push(node);
                true
            }
            _ => false,
        });
        drop(state);
        nodes.sort_by_cached_key(|node| std::cmp::Reverse(node.levels().count()));
        nodes
    }

    /// Returns whether it is time for a recheck, and notes that it is made.
    fn is_due(&self, now: Duration) -> bool {
        let mut state = self.state.lock();
        let is_due = now.saturating_sub(state.rechecked_at) >= RECHECK;
        if is_due || now < state.rechecked_at {
            state.rechecked_at = now;
        }
        is_due
    }

    /// Changes what is known of the node with `key`, where somebody waits.
    pub(crate) fn case<R>(&self, key: u64, change: impl FnOnce(&mut Case) -> R) -> Option<R> {
        self.state.lock().places.get_mut(&key).map(|watched| change(&mut watched.case))
    }

    /// Changes which victims' memory is not back.
    pub(crate) fn pending<R>(&self, change: impl FnOnce(&mut Vec<Pending>) -> R) -> R {
        change(&mut self.state.lock().pending)
    }

    fn deliver(&self) {
        let letters = mem::take(&mut self.state.lock().letters);
        wake(letters.into_iter().map(Sleeper::Task).collect());
    }
}

/// Notes that somebody has begun to wait at `node`, beside others or alone, and sees that there is a keeper.
pub(crate) fn watch(node: &Arc<Node>, company: Company) {
    let shared = &node.shared;
    let mut state = shared.book.state.lock();
    let is_first = state.places.is_empty();
    let entry = state.places.entry(node.key).or_default();
    if company == Company::Alone {
        *entry = Watched { node: Arc::downgrade(node), case: Case::default() };
    }
    drop(state);
    if is_first {
        employ(shared);
    }
}

/// Has the keeper call wakers that are not to be called here.
pub(crate) fn post(shared: &Arc<Shared>, mut letters: Vec<Waker>) {
    shared.book.state.lock().letters.append(&mut letters);
    employ(shared);
}

/// Wakes the keeper, which is started if there is none.
fn employ(shared: &Arc<Shared>) {
    if shared.book.keeper == Keeper::Manual {
        return;
    }
    let mut state = shared.book.state.lock();
    if let Employed::Nobody = state.thread {
        let weak = Arc::downgrade(shared);
        let builder = thread::Builder::new().name("fief-memory".to_owned());
        state.thread = match builder.spawn(move || keep(&weak)) {
            Ok(handle) => Employed::Thread(handle.thread().clone()),
            Err(_) => Employed::Failed,
        };
    }
    drop(state);
    shared.book.ring();
}

/// The keeper's life.
fn keep(shared: &Weak<Shared>) {
    while let Some(alive) = shared.upgrade() {
        let is_needed = caught(|| pass(&alive)).unwrap_or(true);
        // With the last owner goes the clock, which is others' code.
        caught(|| drop(alive));
        if is_needed {
            thread::park_timeout(PERIOD);
        } else {
            thread::park();
        }
    }
}

/// Blocks the calling thread, which has a place in a line, until it is woken, or a while.
///
/// No longer than to `deadline`: a callback or a policy that does not return holds up the keeper, which is
/// to cost nobody else a deadline.
pub(crate) fn park(shared: &Arc<Shared>, deadline: Option<Duration>) {
    let is_alone = matches!(shared.book.state.lock().thread, Employed::Failed);
    if is_alone {
        thread::park_timeout(PERIOD);
        pass(shared);
    } else if let Some(deadline) = deadline {
        // Clocks that are advanced by hand may be close to it for long.
        thread::park_timeout(deadline.saturating_sub(shared.clock.now()).max(PERIOD));
    } else {
        thread::park();
    }
}

/// Makes a pass, unless one is being made; returns whether there is to be another one soon.
pub(crate) fn pass(shared: &Arc<Shared>) -> bool {
    let book = &shared.book;
    if shared.is_inherited() {
        return false;
    }
    // Ordering: Acquire and, in the drop, Release: a pass sees what the one before it wrote.
    if book.is_passing.swap(true, Ordering::Acquire) {
        return true;
    }
    let turn = Turn(&book.is_passing);
    book.deliver();
    let places = book.places();
    let now = shared.clock.now();
    if places.is_empty() {
        return oom::make_up(shared, now);
    }
    let is_due = book.is_due(now);
    for node in &places {
        let Some(line) = node.busy_line() else { continue };
        wake(line.summon(|request| request.deadline.is_some_and(|deadline| deadline <= now)));
    }
    oom::judge(shared, &places, now);
    // Last: who is called to look again is not asleep.
    for node in places.iter().filter(|_| is_due) {
        if let Some(line) = node.busy_line() {
            wake(line.recheck(|| node.headroom()));
        }
    }
    drop(turn);
    true
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Ordering: Release: as in `pass`.
        self.0.store(false, Ordering::Release);
    }
}
