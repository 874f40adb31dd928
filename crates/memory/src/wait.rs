//! Waiting for room: a charge that tries, goes to sleep where it was refused, and tries again when called.
//!
//! [`Charging`] is the one body of all that waits: the futures, the blocking calls, those of reservations.
//! A step of it:
//!
//! 1. If it has a place in a line (`line.rs`) and was not called, it stays asleep.
//! 2. Try to charge. If it was refused, call in what is charged ahead below the level that refused, have reclaim
//!    free what is lacking, and try again.
//! 3. If it can never be, or is too late, leave with the error.
//! 4. If the level that refused is another than the one where it has a place, leave that line, join this
//!    one, and go to 2. From then on nothing is charged ahead below, so that what is given back reaches
//!    the counters.
//! 5. Else sleep, unless something happened since 1.
//!
//! # Invariants
//!
//! 1. Bytes are charged for a waiter only by its own step, which then returns `Ready(Ok)`: between the two there
//!    is nothing that could return otherwise, and no panic passes (wakers are caught). So a `Charging` that is
//!    dropped before that holds nothing but its place, whatever state it is in, and there is nothing to give
//!    back but the place.
//! 2. Whoever gives its place up, or goes to sleep again, calls those who are next by the room there is; so a
//!    call is never lost with who was called.
//!
//! # Tests
//!
//! `tests/loom_wait.rs`; `tests/waiting.rs`, `tests/victims.rs`.

use std::{
    cell::{Cell, RefCell},
    task::{Poll, Waker},
    time::Duration,
};

use fief_core::Limit;

use crate::{
    caught::caught,
    chain::{self, MOST, Refused, Why},
    error::{ChargeError, Over},
    events::{Events, Kind},
    keeper,
    line::{self, Left, Line, Request},
    node::Node,
    pressure::Stall,
    stock,
    sync::{
        Arc,
        thread::{self, Thread},
    },
    wait::seam::{Depth, is_reclaiming, reclaim},
};

pub(crate) mod seam;

/// What wakes somebody up.
#[derive(Debug)]
pub(crate) enum Sleeper {
    Task(Waker),
    Thread(Thread),
}

/// A charge that waits if it must.
#[derive(Debug)]
pub(crate) struct Charging {
    payer: Arc<Node>,
    amount: u64,
    deadline: Option<Duration>,
    /// 0 until it was refused first.
    ticket: u64,
    /// The node in whose line it has a place.
    place: Option<Arc<Node>>,
    /// How often it was passed in lines that it has left.
    passed: u32,
    /// While a future waits: it stalls.
    stall: Option<Stall>,
    /// Whether its refusal is counted.
    is_noted: bool,
    is_done: bool,
}

/// Has wakers held back, until it is dropped: by a panic, too, which the core catches.
struct HoldingBack<'a>(&'a Arc<Node>);

thread_local! {
    /// Wakers that are not to be called here, while there is a reason.
    static HELD_BACK: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
    static IS_HOLDING_BACK: Cell<bool> = const { Cell::new(false) };
}

impl Charging {
    /// Makes a charge of `amount` to `payer` and all above it; nothing happens before it is stepped.
    pub(crate) fn new(payer: Arc<Node>, amount: u64, deadline: Option<Duration>) -> Self {
        Self {
            payer,
            amount,
            deadline,
            ticket: 0,
            place: None,
            passed: 0,
            stall: None,
            is_noted: false,
            is_done: false,
        }
    }

    /// Sets when it gives up, on the controller's clock.
    pub(crate) fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = Some(deadline);
    }

    /// Returns when it gives up that is to wait for at most `timeout` from now on.
    pub(crate) fn after(payer: &Node, timeout: Duration) -> Duration {
        payer.shared.clock.now().saturating_add(timeout)
    }

    /// Returns how much it charges.
    pub(crate) fn amount(&self) -> u64 {
        self.amount
    }

    pub(crate) fn payer(&self) -> &Arc<Node> {
        &self.payer
    }

    /// Returns whether it has come to its end.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Goes as far as it can; if that is not to the end, `sleeper` is woken when it may go further.
    pub(crate) fn step(&mut self, sleeper: &Sleeper) -> Poll<Result<(), ChargeError>> {
        let result = self.steps(sleeper);
        if result.is_ready() {
            self.is_done = true;
            self.leave();
        } else if self.stall.is_none() && matches!(sleeper, Sleeper::Task(_)) {
            self.stall = Some(self.payer.stall());
        }
        result
    }

    /// Goes to the end, blocking the thread.
    pub(crate) fn block(mut self) -> Result<(), ChargeError> {
        let sleeper = Sleeper::Thread(thread::current());
        let payer = Arc::clone(&self.payer);
        let mut stall = None;
        loop {
            if let Poll::Ready(result) = self.step(&sleeper) {
                return result;
            }
            stall.get_or_insert_with(|| payer.stall_here());
            keeper::park(&payer.shared, self.deadline);
            self.call_late();
        }
    }

    /// Calls those here whose deadline is over, if its own is: what the keeper does, unless it is held up.
    fn call_late(&self) {
        let now = self.payer.shared.clock.now();
        let is_late = |deadline: Option<Duration>| deadline.is_some_and(|deadline| deadline <= now);
        if let Some(at) = self.place.as_ref().filter(|_| is_late(self.deadline))
            && let Some(line) = at.busy_line()
        {
            wake(line.summon(|request| is_late(request.deadline)));
        }
    }

    fn steps(&mut self, sleeper: &Sleeper) -> Poll<Result<(), ChargeError>> {
        if self.payer.shared.is_inherited() {
            self.ticket = 0;
            self.place = None; // nobody is left who could give up the line's lock
        }
        if self.ticket == 0 {
            if let Some(result) = self.first() {
                return Poll::Ready(result);
            }
            self.ticket = self.payer.shared.next_ticket();
        }
        let mut was_called = false;
        loop {
            if let Some(at) = &self.place {
                match at.line().begin(self.ticket, sleeper.clone()) {
                    Ok(unused) => drop(unused),
                    Err(replaced) => {
                        drop(replaced);
                        return Poll::Pending;
                    }
                }
                if self.payer.is_killed() {
                    return Poll::Ready(Err(self.killed()));
                }
            }
            let refused = match self.attempt(was_called) {
                Ok(()) => return Poll::Ready(Ok(())),
                Err(refused) => refused,
            };
            if let Some(error) = self.end(&refused) {
                return Poll::Ready(Err(error));
            }
            was_called = self.is_at(&refused.node);
            if !was_called {
                self.go_to(refused.node);
                continue;
            }
            let at = &refused.node;
            if let Ok(called) = at.line().sleep(self.ticket, sleeper.clone(), || at.headroom()) {
                wake(called);
                return Poll::Pending;
            }
        }
    }

    /// Charges as those do that do not wait, unless somebody does; `None` if it has to wait.
    fn first(&self) -> Option<Result<(), ChargeError>> {
        let (payer, amount) = (&self.payer, self.amount);
        let may_wait = amount > 0 && !payer.shared.is_inherited() && !is_reclaiming();
        let is_second =
            payer.is_killed() || payer.levels().any(|level| level.busy_line().is_some());
        let refused = match may_wait && is_second && amount <= MOST {
            true => None,
            false => match stock::charge(payer.key, payer, amount) {
                Ok(()) => return Some(Ok(())),
                Err(refused) => Some(refused),
            },
        };
        let never = self.never();
        match refused {
            Some(refused) if !may_wait || refused.is_final() => Some(refused),
            _ => never,
        }
        .map(|refused| Err(ChargeError::noted(refused, amount)))
    }

    /// Charges if there is room, or reclaim makes some.
    fn attempt(&self, was_called: bool) -> Result<(), Refused> {
        let charge = || chain::try_charge_as(&self.payer, self.amount, Some(self.ticket));
        let refused = match stock::calling_in(&self.payer, charge) {
            Err(refused) if refused.why == Why::Max => refused,
            result => return result,
        };
        if self.is_at(&refused.node) && !was_called {
            return Err(refused);
        }
        let lacking = self.amount.saturating_sub(refused.node.headroom());
        let freed = reclaim(&refused.node, &self.payer, lacking, Depth::All).freed;
        if freed == 0 { Err(refused) } else { charge() }
    }

    /// Returns why it is not to try again, if so; counts the refusal.
    fn end(&mut self, refused: &Refused) -> Option<ChargeError> {
        if refused.is_final() {
            return Some(ChargeError::new(refused.clone(), self.amount));
        }
        if !std::mem::replace(&mut self.is_noted, true) {
            Events::note(&refused.node, Kind::Max);
        }
        if self.payer.is_killed() {
            return Some(self.killed());
        }
        if let Some(refused) = self.never() {
            return Some(ChargeError::new(refused, self.amount));
        }
        let deadline = self.deadline?;
        let is_over = self.payer.shared.clock.now() >= deadline;
        is_over.then(|| ChargeError::DeadlinePassed(Over::of(refused.clone(), self.amount)))
    }

    /// Returns the refusal of a level whose max is below the amount, whatever is in use.
    fn never(&self) -> Option<Refused> {
        let mut levels = self.payer.levels();
        let level = levels.find(|level| !level.counter.max().allows(self.amount))?;
        Some(Refused::by(level, level.counter.current()))
    }

    fn killed(&self) -> ChargeError {
        ChargeError::Killed { cgroup: self.payer.path(), asked: self.amount }
    }

    fn is_at(&self, node: &Arc<Node>) -> bool {
        self.place.as_ref().is_some_and(|at| Arc::ptr_eq(at, node))
    }

    /// Leaves the line it is in, and joins that of `node`.
    fn go_to(&mut self, node: Arc<Node>) {
        let stall = self.stall.take();
        self.leave();
        self.stall = stall;
        let company = node.line().join(self.ticket, self.request());
        let node = self.place.insert(node);
        keeper::watch(node, company);
        node.forbid_stock();
    }

    fn request(&self) -> Request {
        let Self { amount: need, deadline, passed, .. } = *self;
        Request { need, payer: self.payer.key, deadline, passed }
    }

    /// Gives its place up, if it has one.
    fn leave(&mut self) {
        self.stall = None;
        let Some(at) = self.place.take() else { return };
        if at.shared.is_inherited() {
            return; // nobody is left who could give up the line's lock
        }
        let left = at.line().leave(self.ticket, || at.headroom());
        at.allow_stock();
        if let Some(Left { called, sleeper, passed }) = left {
            self.passed = passed;
            wake(called);
            caught(|| drop(sleeper));
        }
    }
}

impl Drop for Charging {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Clone for Sleeper {
    fn clone(&self) -> Self {
        match self {
            Self::Task(waker) => Self::Task(waker.clone()),
            Self::Thread(thread) => Self::Thread(thread.clone()),
        }
    }
}

impl Node {
    fn line(&self) -> &Line<Sleeper> {
        self.rare().line.get_or_init(|| Box::new(Line::new(self.key)))
    }

    /// Returns the line, if somebody waits there.
    pub(crate) fn busy_line(&self) -> Option<&Line<Sleeper>> {
        let line = self.rare.get()?.line.get().filter(|line| line.is_awaited());
        line.filter(|_| !self.shared.is_inherited()).map(|line| &**line)
    }

    /// Calls those who wait here or above and are meant, whether there is room or not.
    pub(crate) fn summon(self: &Arc<Self>, is_meant: impl Fn(&Request) -> bool) {
        for level in self.levels() {
            if let Some(line) = level.busy_line() {
                wake(line.summon(&is_meant));
            }
        }
    }

    /// Has those who wait here see that the bound is another.
    pub(crate) fn note_max(self: &Arc<Self>, max: Limit) {
        if let Some(line) = self.busy_line() {
            wake(line.summon(|request| !max.allows(request.need)));
            wake(line.call(|| self.headroom()));
        }
    }
}

/// Returns how many wait at `level` before a charge of `amount`; 0 if it may go on.
pub(crate) fn before(level: &Node, ticket: Option<u64>, amount: u64) -> u64 {
    level.busy_line().map_or(0, |line| line.before(ticket, amount, level.headroom()))
}

/// Sees that somebody charged at `level`.
pub(crate) fn note_passed(level: &Node, ticket: Option<u64>) {
    if let Some(line) = level.busy_line() {
        line.note_passed(ticket);
    }
}

/// Comes between giving back at `level` and [`call`].
pub(crate) fn look(level: &Node) {
    line::look(level.key);
}

/// Calls those who wait at `level`, where room was given back.
pub(crate) fn call(level: &Node) {
    if let Some(line) = level.busy_line() {
        wake(line.call(|| level.headroom()));
    }
}

/// Wakes those that were called. Wakers are others' code: what panics is caught.
pub(crate) fn wake(called: Vec<Sleeper>) {
    for sleeper in called {
        match sleeper {
            Sleeper::Thread(thread) => thread.unpark(),
            Sleeper::Task(waker) if IS_HOLDING_BACK.get() => {
                let mut waker = Some(waker);
                HELD_BACK.try_with(|held| held.borrow_mut().extend(waker.take())).ok();
                // Past the thread-locals' destructors: nobody would call it again.
                caught(|| waker.map(Waker::wake));
            }
            Sleeper::Task(waker) => {
                caught(|| waker.wake());
            }
        }
    }
}

/// Runs what may call waiters while a lock is held that their wakers could ask for: the keeper calls them.
pub(crate) fn under_lock(node: &Arc<Node>, run: impl FnOnce()) {
    let holding = (!IS_HOLDING_BACK.replace(true)).then_some(HoldingBack(node));
    run();
    drop(holding);
}

impl Drop for HoldingBack<'_> {
    fn drop(&mut self) {
        IS_HOLDING_BACK.set(false);
        let held = HELD_BACK.try_with(RefCell::take).unwrap_or_default();
        if !held.is_empty() {
            keeper::post(&self.0.shared, held);
        }
    }
}
