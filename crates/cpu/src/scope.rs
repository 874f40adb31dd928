//! Scopes: closures that borrow from who waits for them.
//!
//! The closures of a scope lie in the scope's own queue. For each one a *ticket* is spawned, a job that runs the first closure
//! that has not begun. The thread that waits does the same, with the right to run that it has or claims. So it
//! does not depend on a worker: if none comes, it runs them all, and the tickets find nothing.
//!
//! # Invariants
//!
//! 1. `pending` counts the closures that are in the queue, or were taken out and are not gone: run to
//!    their end or dropped, with all that they borrow.
//! 2. [`run`] does not return, and does not unwind, before `pending` is zero.
//!
//! A ticket that is dropped unrun, as its group is killed or the pool shut down, takes a closure out and drops it. There are
//! no fewer tickets than closures in the queue, or the waiting thread runs the others, so all are taken out.

use std::{collections::VecDeque, fmt, marker::PhantomData, mem, panic};

use crate::{
    caught::{caught, discard, drop_caught},
    error::{EnterError, ScopeError},
    here,
    job::error::JoinError,
    lease::Lease,
    member::Member,
    sync::{
        Arc, Mutex,
        thread::{self, Thread},
    },
};

/// Where closures are spawned that borrow: see [`Group::scope`](crate::Group::scope).
pub struct Scope<'scope, 'env: 'scope> {
    data: Arc<Data>,
    member: Arc<Member>,
    /// Invariant in both, as in the standard library's.
    _scope: PhantomData<&'scope mut &'scope ()>,
    _env: PhantomData<&'env mut &'env ()>,
}

type Closure = Box<dyn FnOnce() + Send>;

/// What a scope's closures have in common.
struct Data {
    state: Mutex<State>,
    waiter: Thread,
}

#[derive(Default)]
struct State {
    /// Those that have not begun.
    queue: VecDeque<Closure>,
    pending: usize,
    panics: Vec<JoinError>,
    cancelled: usize,
}

/// Runs one closure of a scope, or cancels one when it is dropped.
struct Ticket(Option<Arc<Data>>);

/// Waits for all closures when it is dropped.
struct Rest<'a>(&'a Data);

impl<'scope> Scope<'scope, '_> {
    /// Has a closure run, on a worker or on the thread that waits for the scope.
    ///
    /// It may borrow what outlives the scope, and the scope itself, to spawn more.
    ///
    /// # Concurrency
    ///
    /// Allocates the closure's place and a job, and takes short locks.
    pub fn spawn(&'scope self, closure: impl FnOnce() + Send + 'scope) {
        let closure: Box<dyn FnOnce() + Send + 'scope> = Box::new(closure);
        // SAFETY: only the lifetime differs. By invariants 1 and 2 the closure is gone when `run` returns, and
        // `'scope` does not end before.
        let closure = unsafe {
            mem::transmute::<Box<dyn FnOnce() + Send + 'scope>, Box<dyn FnOnce() + Send>>(closure)
        };
        let data = &self.data;
        let has_workers = self.member.check().is_ok();
        let mut state = data.state.lock();
        // INVARIANT: 1.
        state.pending += 1;
        state.queue.push_back(closure);
        drop(state);
        if has_workers {
            let ticket = Ticket(Some(Arc::clone(data)));
            // If the pool was shut down just now, it drops the ticket, and so a closure, as of those before.
            drop(self.member.spawn_fn(move || ticket.run()));
        }
        if thread::current().id() != data.waiter.id() {
            data.waiter.unpark();
        }
    }
}

/// Calls `body` with a scope of `member`'s, and waits for all that is spawned there.
pub(crate) fn run<'env, R>(
    member: &Arc<Member>,
    body: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
) -> Result<R, ScopeError> {
    let data = Arc::new(Data { state: Mutex::default(), waiter: thread::current() });
    let scope = Scope {
        data: Arc::clone(&data),
        member: Arc::clone(member),
        _scope: PhantomData,
        _env: PhantomData,
    };
    // INVARIANT: 2, also if something below panics.
    let rest = Rest(&data);
    let result = caught(|| body(&scope));
    data.wait(member);
    drop(rest);
    let state = mem::take(&mut *data.state.lock());
    match result {
        Err(payload) => {
            discard(state);
            panic::resume_unwind(payload)
        }
        Ok(result) if state.panics.is_empty() && state.cancelled == 0 => Ok(result),
        Ok(result) => {
            discard(result);
            Err(ScopeError::new(state.panics, state.cancelled))
        }
    }
}

impl Data {
    /// Helps until all are gone.
    fn wait(&self, member: &Arc<Member>) {
        if here::current().is_some() {
            return self.help();
        }
        while self.is_pending() {
            let give_up =
                || if self.has_waiting() { None } else { Some(std::time::Duration::ZERO) };
            match Lease::enter(member, &give_up) {
                Ok(_lease) => self.help(),
                Err(EnterError::Killed) => while self.cancel() {},
                Err(EnterError::Forked) => while self.run_one() {},
                Err(EnterError::TimedOut | EnterError::Nested) => self.park(),
            }
        }
    }

    /// Runs what has not begun with the right that the thread has, which it gives away while it waits.
    fn help(&self) {
        while self.is_pending() {
            if !self.run_one() {
                here::blocking_always(|| self.park());
            }
            if here::checkpoint().is_err() {
                while self.cancel() {}
            }
        }
    }

    /// Sleeps until there is something to do.
    fn park(&self) {
        while self.is_pending() && !self.has_waiting() {
            thread::park();
        }
    }

    fn is_pending(&self) -> bool {
        self.state.lock().pending > 0
    }

    fn has_waiting(&self) -> bool {
        !self.state.lock().queue.is_empty()
    }

    fn take(&self) -> Option<Closure> {
        self.state.lock().queue.pop_front()
    }

    /// Runs a closure that has not begun; false if there is none.
    fn run_one(&self) -> bool {
        let Some(closure) = self.take() else { return false };
        // It is gone when this returns: the call moved it.
        let result = caught(closure);
        self.finish(|state| state.panics.extend(result.err().map(JoinError::panicked)));
        true
    }

    /// Drops a closure that has not begun; false if there is none.
    fn cancel(&self) -> bool {
        let Some(closure) = self.take() else { return false };
        let result = drop_caught(closure);
        self.finish(|state| {
            state.cancelled += 1;
            state.panics.extend(result.err().map(JoinError::panicked));
        });
        true
    }

    /// Notes that a closure is gone.
    fn finish(&self, note: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        note(&mut state);
        // INVARIANT: 1: it was run or dropped, in the caller.
        state.pending -= 1;
        let is_last = state.pending == 0;
        drop(state);
        if is_last {
            self.waiter.unpark();
        }
    }
}

impl Ticket {
    fn run(mut self) {
        if let Some(data) = self.0.take() {
            data.run_one();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(data) = self.0.take() {
            data.cancel();
        }
    }
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        while self.0.is_pending() {
            if !self.0.cancel() {
                thread::park();
            }
        }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.data.state.lock();
        f.debug_struct("Scope").field("pending", &state.pending).finish_non_exhaustive()
    }
}
