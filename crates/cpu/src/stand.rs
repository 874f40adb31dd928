//! Where a claim stands: how a grant goes from who has a slot to who waits for one, and is not lost on the way.
//!
//! | from | to | by |
//! |---|---|---|
//! | idle | held | [`begin`](Stand::begin): its owner wants to run, and looks for a slot itself |
//! | idle | waiting | [`wake`](Stand::wake): it is to run; the caller queues the claim |
//! | waiting | idle | [`kill`](Stand::kill): it waits no longer, and never will |
//! | held | waiting | [`wait`](Stand::wait): the owner found no slot, and queues the claim |
//! | waiting | granted | [`grant`](Stand::grant): whoever took the claim from its queue |
//! | granted | held | [`begin`](Stand::begin), [`take`](Stand::take): the owner runs |
//! | granted | idle | [`revoke`](Stand::revoke): the owner did not come; it has to claim again |
//! | held | granted | [`pause`](Stand::pause): it was woken as it ran, and keeps the grant |
//! | held | idle | [`pause`](Stand::pause) |
//! | any | gone | [`leave`](Stand::leave): the owner is dropped |
//!
//! # Invariants
//!
//! 1. A grant is in one place: with who grants, here, or with who took it. Where it is refused, revoked or left behind,
//!    it is returned to the caller, who hands it on.
//! 2. A claim that was woken since its owner last began to run is waiting or granted, or its owner runs and will
//!    look, or was told to come. So no wake-up is lost.
//! 3. A claim is queued when it begins to wait, and is not waiting when it is taken from the queue; so it is queued at
//!    most once while it waits.
//!
//! Everything happens under one short lock. Wakers are others' code: they are cloned, called and dropped after
//! the lock was given back.
//!
//! # Tests
//!
//! `tests/loom_claim.rs`.

use std::task::Waker;

use crate::sync::{Mutex, skip};

/// Where a claim stands; a grant is a `G`.
pub(crate) struct Stand<G>(Mutex<State<G>>);

struct State<G> {
    place: Place<G>,
    /// Whether there is something to run since the owner began to run.
    is_woken: bool,
    /// Whether it is to wait no longer, for good.
    is_killed: bool,
    /// Whether its owner ran last by a right that it had anyway.
    is_guest: bool,
    /// Whom to tell of a grant.
    waiter: Option<Waker>,
}

#[derive(Debug, PartialEq, Eq)]
enum Place<G> {
    Idle,
    Waiting,
    Granted(G),
    /// With the owner.
    Held,
    Gone,
}

/// What an owner that wants to run is to do.
#[derive(Debug)]
pub(crate) enum Begin<G> {
    /// Run.
    Run(G),
    /// Look for a slot, and run or [wait](Stand::wait).
    Look,
    /// Come again when told to.
    Wait,
    /// Run without a slot: it was killed, or its owner has one.
    Free,
}

/// What somebody who has woken a claim is to do.
#[derive(Debug)]
pub(crate) enum Woken {
    Nothing,
    /// Queue the claim.
    Queue,
    /// Tell who polls it to do so.
    Tell(Waker),
}

/// What an owner that has run is to do.
#[derive(Debug)]
pub(crate) enum Pause<G> {
    /// End the grant, and tell who is to poll it, if it is to run without one.
    End(G, Option<Waker>),
    /// Nothing; it runs again, with the same grant, and who is to poll it is to be told.
    Again(Option<Waker>),
}

/// What an owner that is dropped leaves behind.
#[derive(Debug)]
#[must_use = "a grant that is left behind is to be handed on"]
pub(crate) struct Left<G> {
    pub(crate) grant: Option<G>,
    /// Whether the claim lies in a queue.
    pub(crate) was_waiting: bool,
    /// To be dropped under no lock.
    pub(crate) waiter: Option<Waker>,
}

impl<G> Stand<G> {
    /// Makes one that is idle, and woken.
    pub(crate) fn new() -> Self {
        let (is_killed, is_guest) = (false, false);
        let place = Place::Idle;
        Self(Mutex::new(State { place, is_woken: true, is_killed, is_guest, waiter: None }))
    }

    /// Notes that there is something to run. If nobody else waits (`is_calm`), its owner is told to come and look
    /// for a slot itself; so is one that needs none.
    pub(crate) fn wake(&self, is_calm: impl FnOnce() -> bool) -> Woken {
        let mut state = self.0.lock();
        state.is_woken = true;
        if !matches!(state.place, Place::Idle) {
            return Woken::Nothing;
        }
        if state.is_killed || state.is_guest || (state.waiter.is_some() && is_calm()) {
            return state.waiter.take().map_or(Woken::Nothing, Woken::Tell);
        }
        state.place = Place::Waiting;
        Woken::Queue
    }

    /// Asks for leave to run; `waker` is called when the answer is another than [`Begin::Wait`].
    pub(crate) fn begin(&self, waker: &Waker) -> Begin<G> {
        self.begin_as(waker, false)
    }

    /// The same for who may have a right to run anyway (`is_guest`), and then looks for none.
    pub(crate) fn begin_as(&self, waker: &Waker, is_guest: bool) -> Begin<G> {
        let mut state = self.0.lock();
        let is_known = state.waiter.as_ref().is_some_and(|waiter| waiter.will_wake(waker));
        if is_known {
            return state.begin(is_guest);
        }
        drop(state);
        let own = waker.clone();
        let mut state = self.0.lock();
        let former = state.waiter.replace(own);
        let answer = if skip("claim_looks_again") { Begin::Wait } else { state.begin(is_guest) };
        drop(state);
        drop(former);
        answer
    }

    /// Has the owner, which found no slot, wait; the caller queues the claim. False if it was killed.
    #[must_use]
    pub(crate) fn wait(&self) -> bool {
        let mut state = self.0.lock();
        debug_assert!(matches!(state.place, Place::Held), "only its owner has it wait");
        state.is_woken = true;
        state.place = if state.is_killed { Place::Idle } else { Place::Waiting };
        !state.is_killed
    }

    /// Sets whom to tell of a grant.
    pub(crate) fn set_waiter(&self, waiter: Waker) {
        let former = self.0.lock().waiter.replace(waiter);
        drop(former);
    }

    /// Gives a grant to who waits; returns whom to tell, or the grant, if nobody waits any more.
    pub(crate) fn grant(&self, grant: G) -> Result<Option<Waker>, G> {
        let mut state = self.0.lock();
        if !matches!(state.place, Place::Waiting) && !skip("claim_refuses_the_gone") {
            return Err(grant);
        }
        let former = std::mem::replace(&mut state.place, Place::Granted(grant));
        let waiter = state.waiter.take();
        drop(state);
        drop(former);
        Ok(waiter)
    }

    /// Takes the grant, if it has come.
    pub(crate) fn take(&self) -> Option<G> {
        let mut state = self.0.lock();
        if !matches!(state.place, Place::Granted(_)) {
            return None;
        }
        match std::mem::replace(&mut state.place, Place::Held) {
            Place::Granted(grant) => Some(grant),
            _ => None,
        }
    }

    /// Ends a run, with the grant that it had, which it keeps if it was woken.
    pub(crate) fn pause(&self, grant: G) -> Pause<G> {
        let mut state = self.0.lock();
        debug_assert!(matches!(state.place, Place::Held), "only who holds a grant ends its run");
        if state.is_woken && !state.is_killed && !skip("claim_pause_looks") {
            state.place = Place::Granted(grant);
            return Pause::Again(state.waiter.take());
        }
        state.place = Place::Idle;
        let is_told = state.is_woken && state.is_killed;
        Pause::End(grant, if is_told { state.waiter.take() } else { None })
    }

    /// Whether there is something to run since the owner began to.
    pub(crate) fn is_woken(&self) -> bool {
        self.0.lock().is_woken
    }

    /// Takes the grant from who did not come for it; it has to claim again.
    pub(crate) fn revoke(&self) -> Option<G> {
        let mut state = self.0.lock();
        if !matches!(state.place, Place::Granted(_)) {
            return None;
        }
        match std::mem::replace(&mut state.place, Place::Idle) {
            Place::Granted(grant) => Some(grant),
            _ => None,
        }
    }

    /// Has it wait no longer, for good; a grant stays until its owner looks.
    pub(crate) fn kill(&self) -> Left<G> {
        let mut state = self.0.lock();
        state.is_killed = true;
        let was_waiting = matches!(state.place, Place::Waiting);
        if was_waiting {
            state.place = Place::Idle;
        }
        Left { grant: None, was_waiting, waiter: state.waiter.take() }
    }

    /// Ends it, as its owner is dropped.
    pub(crate) fn leave(&self) -> Left<G> {
        let mut state = self.0.lock();
        let place = std::mem::replace(&mut state.place, Place::Gone);
        let waiter = state.waiter.take();
        drop(state);
        let was_waiting = matches!(place, Place::Waiting);
        let grant = match place {
            Place::Granted(grant) if !skip("claim_hands_on") => Some(grant),
            _ => None,
        };
        Left { grant, was_waiting, waiter }
    }

    /// Whether it lies in a queue, and wants to.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.0.lock().place, Place::Waiting)
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.0.lock().is_killed
    }
}

impl<G> State<G> {
    fn begin(&mut self, is_guest: bool) -> Begin<G> {
        let place = std::mem::replace(&mut self.place, Place::Held);
        match place {
            Place::Granted(grant) => {
                self.is_woken = false;
                Begin::Run(grant)
            }
            Place::Idle if self.is_woken => {
                (self.is_woken, self.is_guest) = (false, is_guest);
                if self.is_killed || is_guest {
                    self.place = Place::Idle;
                    return Begin::Free;
                }
                Begin::Look
            }
            place => {
                self.place = place;
                Begin::Wait
            }
        }
    }
}
