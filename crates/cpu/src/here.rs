//! What the calling thread runs, and with what right: for code that does not know who called it.

use std::{
    cell::{Cell, RefCell},
    fmt,
    marker::PhantomData,
    mem,
    rc::Rc,
};

use crate::{lease::Tenure, sync::Arc, worker::Worker};

/// With what right the calling thread runs.
#[derive(Clone)]
pub(crate) enum Here {
    Worker(Arc<Worker>),
    Lease(Rc<Tenure>),
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
    /// How many guards say that the thread is not to wait.
    static GUARDS: Cell<u32> = const { Cell::new(0) };
}

/// The group was killed: what runs for it is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the group was killed, or its workers were shut down")]
#[expect(clippy::exhaustive_structs, reason = "it has nothing more to say")]
pub struct Killed;

/// While it lives, the thread does not wait in a [`checkpoint`].
///
/// For code that holds a lock which others need: one that waits for its turn inside would have them wait
/// for the slice of a group that may be far behind, or has used up its quota.
#[must_use = "checkpoints wait again when it is dropped"]
pub struct NoYield(PhantomData<*const ()>);

/// Lets others run, if it is their turn: for closures and futures on workers, and for threads with a
/// [`Lease`](crate::Lease). Anywhere else it does nothing.
///
/// To be called about every 10 to 100 µs, where no lock is held that others need ([`no_yield`]). While the thread waits
/// here, another one takes its place in the pool.
///
/// # Concurrency
///
/// Wait-free if it is nobody else's turn: a look at a thread-local and one load. Else it waits until the group's
/// turn comes again.
///
/// # Errors
///
/// [`Killed`] if what runs is to end. A job that goes on is charged on, but each checkpoint says the same. A thread
/// with a lease has none any more: what it does is not charged.
#[inline]
pub fn checkpoint() -> Result<(), Killed> {
    let is_up = |here: &RefCell<Option<Here>>| match &*here.borrow() {
        None => false,
        Some(Here::Worker(worker)) => worker.flag.is_up(),
        Some(Here::Lease(tenure)) => tenure.flag.is_up(),
    };
    // At the end of a thread it has no right any more.
    if HERE.try_with(is_up) == Ok(true) { checkpoint_slow() } else { Ok(()) }
}

#[cold]
fn checkpoint_slow() -> Result<(), Killed> {
    match current() {
        None => Ok(()),
        Some(Here::Worker(worker)) => worker.checkpoint_slow(),
        Some(Here::Lease(tenure)) => tenure.checkpoint_slow(),
    }
}

/// Runs something that waits, for a lock, a file or another thread: meanwhile the slot is given away, and
/// in a pool, another worker takes this one's place. After that it waits for its turn.
///
/// Where the thread neither is a worker nor has a lease, `wait` is just called; so it is while a [`no_yield`]
/// guard lives.
///
/// # Panics
///
/// As `wait` does.
pub fn blocking<R>(wait: impl FnOnce() -> R) -> R {
    if may_yield() { blocking_always(wait) } else { wait() }
}

/// The same, also while guards live: for who waits for others that need the slot.
pub(crate) fn blocking_always<R>(wait: impl FnOnce() -> R) -> R {
    match current() {
        None => wait(),
        Some(Here::Worker(worker)) => worker.blocking(wait),
        Some(Here::Lease(tenure)) => tenure.blocking(wait),
    }
}

/// Has checkpoints of this thread not wait while the guard lives.
pub fn no_yield() -> NoYield {
    GUARDS.set(GUARDS.get() + 1);
    NoYield(PhantomData)
}

pub(crate) fn may_yield() -> bool {
    GUARDS.get() == 0
}

/// Returns with what right the calling thread runs.
pub(crate) fn current() -> Option<Here> {
    HERE.try_with(|here| here.borrow().clone()).unwrap_or_default()
}

/// Returns whether the calling thread is a worker that runs jobs.
pub(crate) fn is_worker() -> bool {
    let is_worker = |here: &RefCell<Option<Here>>| matches!(&*here.borrow(), Some(Here::Worker(_)));
    HERE.try_with(is_worker) == Ok(true)
}

/// Runs `act` as if the thread ran by no right; also if it panics, it has it back after.
pub(crate) fn outside<R>(act: impl FnOnce() -> R) -> R {
    let _entered = Entered { before: HERE.take(), _thread: PhantomData };
    act()
}

/// While it lives, the thread runs by a right of ours.
pub(crate) struct Entered {
    before: Option<Here>,
    _thread: PhantomData<*const ()>,
}

impl Here {
    /// Notes that the thread runs by this right.
    pub(crate) fn enter(self) -> Entered {
        Entered { before: HERE.replace(Some(self)), _thread: PhantomData }
    }
}

/// Notes that the thread has a lease.
pub(crate) fn set_lease(tenure: &Rc<Tenure>) {
    let lease = Some(Here::Lease(Rc::clone(tenure)));
    // At the end of a thread nobody asks.
    let former = HERE.try_with(|here| here.replace(lease));
    drop(former);
}

/// Forgets a lease, if it is what the thread runs by.
pub(crate) fn forget_lease(tenure: &Rc<Tenure>) {
    let is_its = |here: &mut Here| match here {
        Here::Lease(other) => Rc::ptr_eq(other, tenure),
        Here::Worker(_) => false,
    };
    // At the end of a thread there is nothing to forget.
    let former = HERE.try_with(|here| here.borrow_mut().take_if(is_its));
    drop(former);
}

impl Drop for Entered {
    fn drop(&mut self) {
        let before = mem::take(&mut self.before);
        // At the end of a thread there is nothing to put back.
        let own = HERE.try_with(|here| here.replace(before));
        drop(own);
    }
}

impl Drop for NoYield {
    fn drop(&mut self) {
        GUARDS.set(GUARDS.get() - 1);
    }
}

impl fmt::Debug for NoYield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoYield").finish_non_exhaustive()
    }
}
