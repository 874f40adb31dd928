//! The line of those who wait for room at one node: who is called when there is some, and who may go first.
//!
//! Who waits has a *ticket*, a number that the controller gives out once for each wait, and keeps it
//! wherever it comes to wait. A line is in the order of tickets. A place in it is in one of these states:
//!
//! - *trying*: its owner is awake, and attempts its charge;
//! - *asleep*: it is to be called;
//! - *called*: there was room for it, or it has another reason to look; its owner has not begun yet;
//! - *stale*: it was called long ago, and its owner does not come: a future that nobody polls.
//!
//! An owner joins the line, passes the heavy barrier, tries once more, and sleeps. Whoever gives room back
//! passes the light barrier, looks whether anybody waits, and [calls](Line::call): from the front, everybody
//! for whom there is room besides what those before them, called and trying, are about to take. So small ones
//! pass a large one at the front; once [`AGE`] charges have passed it nobody does, until it has its room.
//! Stale places take no room from others, and let everybody pass.
//!
//! Nothing is granted: who is called charges by itself, and keeps its place until it has. So there is nothing
//! to give back when somebody who was called goes away; only others have to be called in its stead. Whoever
//! leaves, or goes to sleep again, does that: each hands on what it did not use.
//!
//! # Orderings
//!
//! Edge `waiting↔uncharge`, Dekker's argument. Who joins adds to `waiting`, passes the heavy barrier, and
//! looks at the usage, in its attempt; who uncharges subtracts from the usage, passes the light barrier
//! ([`look`]), and looks at `waiting`. The barriers are totally ordered: either the attempt sees the room, or
//! whoever made it sees the waiter, and calls it. Of several who uncharge, each looks at the room under the
//! lock of the line, after its own subtraction; so the last one to look sees it all.
//!
//! Everything else is under the lock.
//!
//! # Tests
//!
//! `tests/loom_wait.rs`; `tests/waiting.rs` for what is fair.

use std::{collections::BTreeMap, mem, time::Duration};

use crate::{
    pocket::{barrier, heavy_for},
    sync::{AtomicU64, Mutex, Ordering, skip},
};

/// How many charges may pass whoever is at the front.
pub(crate) const AGE: u32 = 16;

/// Those who wait at one node; `W` wakes one up.
#[derive(Debug)]
pub(crate) struct Line<W> {
    key: u64,
    /// How many places there are.
    waiting: AtomicU64,
    queue: Mutex<Queue<W>>,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// How much room.
    pub(crate) need: u64,
    /// The key of the node that is to be charged.
    pub(crate) payer: u64,
    /// When it is called whether there is room or not.
    pub(crate) deadline: Option<Duration>,
    /// How often it was passed elsewhere.
    pub(crate) passed: u32,
}

/// What is left of a place that was given up.
#[derive(Debug)]
pub(crate) struct Left<W> {
    /// Those who are called instead.
    pub(crate) called: Vec<W>,
    /// What would have woken its owner.
    pub(crate) sleeper: Option<W>,
    /// How often it was passed.
    pub(crate) passed: u32,
}

/// Whether others wait beside somebody who has joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    Alone,
    Others,
}

/// The line as it was at one moment.
#[derive(Debug)]
pub(crate) struct Look {
    /// Goes up with whatever happens in the line.
    pub(crate) changes: u64,
    /// Goes up when room is given back.
    pub(crate) frees: u64,
    /// Whom those charge that are asleep.
    pub(crate) asleep: Vec<u64>,
    /// Places that are called or trying.
    pub(crate) awake: usize,
    /// Whom those charge that were called, and do not come.
    pub(crate) stale: Vec<u64>,
}

#[derive(Debug)]
struct Queue<W> {
    places: BTreeMap<u64, Place<W>>,
    changes: u64,
    frees: u64,
}

#[derive(Debug)]
struct Place<W> {
    request: Request,
    state: State,
    /// While it is asleep.
    sleeper: Option<W>,
    /// How often others charged although this one was at the front.
    passed: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `again`: something happened since it began, which it may have missed.
    Trying {
        again: bool,
    },
    Asleep,
    /// `is_old`: at the last recheck it was called already.
    Called {
        is_old: bool,
    },
    Stale,
}

/// Comes between giving room back and the look whether anybody waits for it.
pub(crate) fn look(key: u64) {
    if !skip("line_light") {
        barrier(key);
    }
}

impl<W> Line<W> {
    pub(crate) fn new(key: u64) -> Self {
        let queue = Queue { places: BTreeMap::new(), changes: 0, frees: 0 };
        Self { key, waiting: AtomicU64::new(0), queue: Mutex::new(queue) }
    }

    /// Returns whether anybody waits; decides where it comes after [`look`].
    pub(crate) fn is_awaited(&self) -> bool {
        // Ordering: Relaxed (edge waiting↔uncharge): ordered after the change of the usage by the barrier.
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Returns how many places there are.
    pub(crate) fn waiting(&self) -> u64 {
        // Ordering: Relaxed: a figure.
        self.waiting.load(Ordering::Relaxed)
    }

    /// Takes a place, trying: an attempt is to follow, and then [`sleep`](Self::sleep) or
    /// [`leave`](Self::leave).
    pub(crate) fn join(&self, ticket: u64, request: Request) -> Company {
        let mut queue = self.queue.lock();
        let state = State::Trying { again: false };
        let place = Place { request, state, sleeper: None, passed: request.passed };
        let is_new = queue.places.insert(ticket, place).is_none();
        debug_assert!(is_new, "a ticket has one place");
        queue.changes += 1;
        // Ordering: Relaxed (edge waiting↔uncharge): ordered before the attempt by the barrier.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let company = if queue.places.len() == 1 { Company::Alone } else { Company::Others };
        drop(queue);
        if !skip("line_heavy") {
            heavy_for(self.key);
        }
        company
    }

    /// Begins an attempt, if the place is called. If not, `sleeper` is who is woken when it is; then
    /// whom it replaces is returned, to be dropped.
    pub(crate) fn begin(&self, ticket: u64, sleeper: W) -> Result<W, Option<W>> {
        let mut queue = self.queue.lock();
        let Some(place) = queue.places.get_mut(&ticket) else { return Ok(sleeper) };
        if place.state == State::Asleep {
            return Err(place.sleeper.replace(sleeper));
        }
        place.state = State::Trying { again: false };
        queue.changes += 1;
        Ok(sleeper)
    }

    /// Goes to sleep after an attempt that failed, unless something happened meanwhile: then the owner is
    /// to try again, and gets `sleeper` back. Returns who is called instead.
    pub(crate) fn sleep(
        &self,
        ticket: u64,
        sleeper: W,
        room: impl FnOnce() -> u64,
    ) -> Result<Vec<W>, W> {
        let mut queue = self.queue.lock();
        let Some(place) = queue.places.get_mut(&ticket) else { return Err(sleeper) };
        if place.state == (State::Trying { again: true }) && !skip("line_tries_again") {
            place.state = State::Trying { again: false };
            return Err(sleeper);
        }
        place.state = State::Asleep;
        place.sleeper = Some(sleeper);
        queue.changes += 1;
        if skip("line_hands_on") {
            return Ok(Vec::new());
        }
        Ok(queue.call(room()))
    }

    /// Gives the place up; `None` if there was none.
    pub(crate) fn leave(&self, ticket: u64, room: impl FnOnce() -> u64) -> Option<Left<W>> {
        let mut queue = self.queue.lock();
        let place = queue.places.remove(&ticket)?;
        // Ordering: Relaxed: somebody looks in vain, at worst.
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        queue.changes += 1;
        let called = if skip("line_leaves") { Vec::new() } else { queue.call(room()) };
        Some(Left { called, sleeper: place.sleeper, passed: place.passed })
    }

    /// Calls those for whom there is room, and returns what wakes them.
    pub(crate) fn call(&self, room: impl FnOnce() -> u64) -> Vec<W> {
        let mut queue = self.queue.lock();
        queue.frees += 1;
        queue.call(room())
    }

    /// Calls those that `is_meant` says, whether there is room or not.
    pub(crate) fn summon(&self, is_meant: impl Fn(&Request) -> bool) -> Vec<W> {
        let mut queue = self.queue.lock();
        let mut called = Vec::new();
        for place in queue.places.values_mut().filter(|place| is_meant(&place.request)) {
            match &mut place.state {
                State::Trying { again } => *again = true,
                State::Asleep => called.extend(place.call()),
                State::Called { .. } | State::Stale => {}
            }
        }
        queue.changes += u64::from(!called.is_empty());
        called
    }

    /// Calls whoever is at the front, whatever room there is, and has those let others pass that were called
    /// before the last recheck, and have not come.
    pub(crate) fn recheck(&self, room: impl FnOnce() -> u64) -> Vec<W> {
        let mut queue = self.queue.lock();
        for place in queue.places.values_mut() {
            place.state = match place.state {
                State::Called { is_old: true } => State::Stale,
                State::Called { is_old: false } => State::Called { is_old: true },
                state => state,
            };
        }
        let front = queue.places.values_mut().find(|place| place.state != State::Stale);
        let front = front.filter(|place| place.state == State::Asleep);
        let mut called: Vec<W> = front.and_then(Place::call).into_iter().collect();
        called.extend(queue.call(room()));
        queue.changes += u64::from(!called.is_empty());
        called
    }

    /// Returns how many are before a charge of `need`, which has to wait for them; 0 if it may go on.
    ///
    /// Without a ticket it only gives way to one that was passed too often.
    pub(crate) fn before(&self, ticket: Option<u64>, need: u64, room: u64) -> u64 {
        let queue = self.queue.lock();
        let (mut left, mut is_front, mut count) = (room, true, 0);
        for (other, place) in &queue.places {
            if ticket.is_some_and(|own| own <= *other) {
                break;
            }
            if place.state == State::Stale {
                continue;
            }
            count += 1;
            if mem::take(&mut is_front) && place.passed >= AGE {
                return count;
            }
            if ticket.is_none() {
                return 0;
            }
            if place.state != State::Asleep {
                left = left.checked_sub(place.request.need).unwrap_or(left);
            }
        }
        if need <= left { 0 } else { count }
    }

    /// Counts a charge that went through at this node, for whoever was before it.
    pub(crate) fn note_passed(&self, ticket: Option<u64>) {
        let mut queue = self.queue.lock();
        let mut places = queue.places.iter_mut();
        let front = places.find(|(_, place)| place.state != State::Stale);
        if let Some((_, place)) = front.filter(|(other, _)| ticket.is_none_or(|own| **other < own))
        {
            place.passed = place.passed.saturating_add(1);
        }
    }

    /// Returns how the line is.
    pub(crate) fn view(&self) -> Look {
        let queue = self.queue.lock();
        let mut look = Look {
            changes: queue.changes,
            frees: queue.frees,
            asleep: Vec::new(),
            awake: 0,
            stale: Vec::new(),
        };
        for place in queue.places.values() {
            match place.state {
                State::Asleep => look.asleep.push(place.request.payer),
                State::Stale => look.stale.push(place.request.payer),
                State::Trying { .. } | State::Called { .. } => look.awake += 1,
            }
        }
        look
    }
}

impl<W> Queue<W> {
    fn call(&mut self, room: u64) -> Vec<W> {
        let (mut left, mut is_front) = (room, true);
        let mut called = Vec::new();
        for place in self.places.values_mut() {
            let need = place.request.need;
            match &mut place.state {
                State::Stale => continue,
                State::Trying { again } => {
                    *again |= need <= room;
                    left = left.checked_sub(need).unwrap_or(left);
                }
                State::Called { .. } => left = left.checked_sub(need).unwrap_or(left),
                State::Asleep if need <= left => {
                    left -= need;
                    called.extend(place.call());
                }
                State::Asleep => {}
            }
            // Whoever is behind would be refused, go to sleep again, and be called in vain, over and over.
            if is_front && place.passed >= AGE {
                break;
            }
            is_front = false;
        }
        self.changes += u64::from(!called.is_empty());
        called
    }
}

impl<W> Place<W> {
    fn call(&mut self) -> Option<W> {
        self.state = State::Called { is_old: false };
        self.sleeper.take()
    }
}
