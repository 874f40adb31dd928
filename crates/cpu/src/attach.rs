//! Workers on a tokio runtime.
//!
//! *Attached* workers ([`PoolBuilder::tokio`]) have threads of their own, and poll inside
//! [`Handle::block_on`]: the runtime's sockets and timers work in their jobs, and the runtime's own threads
//! stay free to drive them. *Runners* ([`PoolBuilder::runners`]) are tasks of the runtime.
//!
//! Both follow these rules:
//!
//! 1. A job may use tokio's budget for a poll of a task, no more. It is given out where the runtime polls us;
//!    so a slice ends when the budget is used up, and we go back to the runtime after each *stint*, a few
//!    short slices or a long one.
//! 2. A runner goes back by tokio's `yield_now`: only then does the runtime look at its sockets and timers before
//!    it polls the runner again.
//! 3. A runner that is woken from inside a task would lie in the slot for who is next, from which no other thread
//!    takes it, while the task goes on. So an empty task is spawned after it, which pushes it out. One that is woken
//!    while the thread runs none is pushed out by the runner that the thread takes first, if it does.
//! 4. Who has gone back lies in a list of the thread's until the thread has nothing else to do, and no other thread takes
//!    it from there either. So a runner does not begin a stint on a thread on which another one lies: it goes back as well, the
//!    thread looks at its sockets, and both can be run by any thread. Other tasks do not know of this: one that
//!    blocks its thread can keep a runner, and its slot, as it can keep any task that yields.
//! 5. The runtime may be dropped before the pool. Attached workers stay, and jobs' sockets and timers fail. With
//!    the last runner the pool is shut down.
//!
//! Tokio itself may leave a task in one thread's queue while another thread sleeps: if that one went to sleep at
//! the moment when the first ceased to look for work. Whatever is woken or spawned next on the runtime mends it.
//!
//! A runner that is at work is in its [`Post`], where a shutdown takes it out without waiting for the runtime, which
//! perhaps nobody drives any more.
//!
//! # Tests
//!
//! `tests/tokio_*.rs`.

use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    task::{Context, Poll, Wake, Waker},
};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::{coop::has_budget_remaining, try_id, yield_now},
};

use crate::{
    crew::{self, Term},
    error::StartError,
    pool::{Ground, PoolBuilder},
    sched::Standing,
    shared::Shared,
    sync::{
        Arc, Mutex,
        thread::{self, ThreadId},
    },
    worker::{Driver, Runner, Turn},
};

/// How long a stint is, in nanoseconds; a slice that is going on then is not cut short.
const STINT: u64 = 200_000;

/// How many slices a stint has at most.
const SLICES: usize = 16;

impl PoolBuilder {
    /// Has the workers run futures inside a tokio runtime: its sockets, timers and [`tokio::spawn`] work in
    /// them.
    ///
    /// The workers have threads of their own, 5 nicer than the thread that starts the pool, so the runtime's
    /// threads stay free for its sockets and for whoever is not in a group; see [`rescue`](Self::rescue) for the
    /// task that is spawned on it. Polls are subject to tokio's cooperative budget.
    ///
    /// The runtime must be driven: one that has only the current thread does nothing, and wakes no job, while
    /// nobody is in its `block_on`. If it is dropped before the pool, jobs go on, and their sockets and timers
    /// fail as tokio has it: timers by a panic, which is the job's.
    pub fn tokio(self, handle: Handle) -> Self {
        self.on(Ground::Attached(handle))
    }

    /// Has the workers be tasks of a tokio runtime, without threads of their own.
    ///
    /// They share the runtime's threads with its other tasks, to which they yield after 200 µs or the poll that
    /// is going on then. [`workers`](Self::workers) is best as many as the runtime has threads. A controller whose groups have
    /// quotas starts one thread, which lets them in again when they are due.
    ///
    /// When the runtime is dropped before the pool, the pool is shut down with it.
    pub fn runners(self, handle: Handle) -> Self {
        self.on(Ground::Runners(handle))
    }
}

/// Refuses what cannot be.
pub(crate) fn check(ground: &Ground, nice: Option<i32>) -> Result<(), StartError> {
    let handle = match (ground, nice) {
        (Ground::Threads, _) => return Ok(()),
        (Ground::Runners(_), Some(nice)) => return Err(StartError::NiceOfRunners { nice }),
        (Ground::Attached(handle) | Ground::Runners(handle), _) => handle,
    };
    // A runtime that was shut down ends at once what never ends.
    let probe = handle.spawn(std::future::pending::<()>());
    if probe.is_finished() {
        return Err(StartError::Runtime);
    }
    probe.abort();
    Ok(())
}

/// An attached worker's life.
pub(crate) fn work(handle: &Handle, shared: &Arc<Shared>, term: Term) {
    // Jobs that are dropped may count on it, too.
    let _entered = handle.enter();
    let driver = Driver::Thread(thread::current());
    let mut runner = Runner::new(&shared.sched, driver, is_used_up);
    handle.block_on(poll_fn(|context| {
        let turn = stint(shared, &mut runner, SLICES);
        if crew::rest(shared, &mut runner, turn, term) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }));
}

/// Does some slices.
fn stint(shared: &Shared, runner: &mut Runner, most: usize) -> Turn {
    let end = shared.sched.time.now().saturating_add(STINT);
    for _ in 1..most {
        let turn = runner.turn();
        if turn != Turn::Ran || is_used_up() || shared.sched.time.now() >= end {
            return turn;
        }
    }
    runner.turn()
}

/// Returns whether jobs can use nothing of tokio's until we have gone back to it.
fn is_used_up() -> bool {
    !has_budget_remaining()
}

/// What of a pool is on a runtime.
#[derive(Default)]
pub(crate) struct Tasks {
    posts: Mutex<Vec<Arc<Post>>>,
    waits: Arc<Waits>,
    crew: Arc<Mutex<Crew>>,
}

/// The runners of a pool.
#[derive(Debug, Default)]
struct Crew {
    /// How many there are that the runtime may take away.
    count: usize,
    /// It has taken them all, and the pool was shut down with the last.
    is_lost: bool,
}

impl Tasks {
    pub(crate) fn send_runners(&self, shared: &Arc<Shared>, handle: &Handle, count: usize) {
        self.crew.lock().count = count;
        for _ in 0..count {
            let driver = Driver::Task(Waker::noop().clone());
            let post = self.post(Runner::task(&shared.sched, driver, is_used_up), SLICES);
            self.send(shared, handle, post, Some(Arc::clone(&self.crew)));
        }
    }

    pub(crate) fn send_rescuer(&self, shared: &Arc<Shared>, handle: &Handle, share: u32) {
        let driver = Driver::Task(Waker::noop().clone());
        let runner = Runner::rescuer(&shared.sched, driver, is_used_up, share);
        self.send(shared, handle, self.post(runner, 1), None);
    }

    fn post(&self, runner: Runner, slices: usize) -> Post {
        let seat = runner.worker.seat();
        let noop = || Waker::noop().clone();
        let place = Place { runner: Some(runner), waker: noop(), rising: noop() };
        let (place, at_work) = (Mutex::new(place), Mutex::new(None));
        Post { place, at_work, seat, waits: Arc::clone(&self.waits), slices }
    }

    fn send(
        &self,
        shared: &Arc<Shared>,
        handle: &Handle,
        post: Post,
        crew: Option<Arc<Mutex<Crew>>>,
    ) {
        let post = Arc::new(post);
        self.posts.lock().push(Arc::clone(&post));
        let is_multi = handle.runtime_flavor() != RuntimeFlavor::CurrentThread;
        let runtime = is_multi.then(|| handle.clone());
        let shared = Arc::clone(shared);
        let guard = Guard { post, crew, shared };
        drop(handle.spawn(serve(guard, runtime)));
    }

    /// Returns whether the runtime has taken all runners, and the pool was shut down.
    pub(crate) fn are_lost(&self) -> bool {
        self.crew.lock().is_lost
    }

    /// Leaves all that is there to the process it was forked from.
    pub(crate) fn forget(&self) {
        self.posts.lock().drain(..).for_each(std::mem::forget);
    }

    /// Ends all that is there; polls that are going on on other threads are waited for.
    pub(crate) fn retire(&self) {
        self.crew.lock().count = 0;
        let posts = std::mem::take(&mut *self.posts.lock());
        posts.iter().for_each(|post| post.retire());
    }
}

/// Where a runner is between the polls of its task.
struct Post {
    place: Mutex<Place>,
    /// Who polls it.
    at_work: Mutex<Option<ThreadId>>,
    seat: usize,
    waits: Arc<Waits>,
    /// How many slices it does at a time.
    slices: usize,
}

struct Place {
    /// `None` once it has ended.
    runner: Option<Runner>,
    /// Its task's.
    waker: Waker,
    /// The same, for when it lies.
    rising: Waker,
}

/// Which runners wait where for their turn on a thread, by their seats.
#[derive(Default)]
struct Waits(Mutex<Vec<(usize, ThreadId, Spot)>>);

/// Where a runner waits, so that perhaps no other thread can take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spot {
    /// It has gone back, and is in the list of those who have.
    List,
    /// It was woken while the thread ran no task, and is perhaps in the slot for who is next.
    Slot,
}

impl Waits {
    /// Notes that a runner waits on this thread.
    fn note(&self, seat: usize, spot: Spot) {
        let mut waits = self.0.lock();
        waits.retain(|(other, ..)| *other != seat);
        waits.push((seat, thread::current().id(), spot));
    }

    /// Notes that a runner waits no longer; returns where others do on this thread.
    fn end(&self, seat: usize) -> Option<Spot> {
        let mut waits = self.0.lock();
        waits.retain(|(other, ..)| *other != seat);
        // Most often it is empty, and the thread need not be known.
        let here = (!waits.is_empty()).then(|| thread::current().id())?;
        let spots = waits.iter().filter(|(_, thread, _)| *thread == here);
        let mut spots = spots.map(|(.., spot)| *spot);
        let first = spots.next()?;
        Some(if spots.any(|spot| spot == Spot::List) { Spot::List } else { first })
    }
}

impl Post {
    /// Does some slices.
    fn work(&self, shared: &Shared, runtime: Option<&Handle>, waker: &Waker) -> Turn {
        let mut place = self.place.lock();
        let Place { runner: Some(runner), waker: former, rising } = &mut *place else {
            return Turn::End;
        };
        *self.at_work.lock() = Some(thread::current().id());
        if !former.will_wake(waker) {
            former.clone_from(waker);
            let caller = |is_in_list| Caller {
                waker: waker.clone(),
                runtime: runtime.cloned(),
                seat: self.seat,
                waits: Arc::clone(&self.waits),
                is_in_list,
            };
            runner.worker.set_driver(Driver::Task(Waker::from(Arc::new(caller(false)))));
            *rising = Waker::from(Arc::new(caller(true)));
        }
        match (self.waits.end(self.seat), runtime) {
            (Some(Spot::List), Some(_)) => {
                *self.at_work.lock() = None;
                return Turn::Ran;
            }
            (Some(Spot::Slot), Some(runtime)) => push_out(runtime),
            _ => {}
        }
        // It may be another thread than before, and has run others' tasks.
        runner.slept();
        let turn = stint(shared, runner, self.slices);
        if self.slices > 1 {
            runner.settle(); // others' tasks may come before the next
        }
        *self.at_work.lock() = None;
        turn
    }

    /// Goes back to the runtime, so that it looks at its sockets first.
    async fn yield_now(&self) {
        if self.slices == 1 {
            // Short, and seldom: it need not lie where one thread alone can take it from.
            let wake = |context: &mut Context<'_>| context.waker().wake_by_ref();
            return called_after(wake).await;
        }
        let rising = self.place.lock().rising.clone();
        let lie_down = |_: &mut Context<'_>| {
            self.waits.note(self.seat, Spot::List);
            let mut deferred = pin!(yield_now());
            // Ready at once would be as good: it has been woken then.
            let _: Poll<()> = deferred.as_mut().poll(&mut Context::from_waker(&rising));
        };
        called_after(lie_down).await;
    }

    /// Ends the runner, unless it is what calls.
    fn retire(&self) {
        if *self.at_work.lock() == Some(thread::current().id()) {
            return;
        }
        let runner = self.place.lock().runner.take();
        drop(runner);
    }
}

/// A runner's life.
async fn serve(guard: Guard, runtime: Option<Handle>) {
    let Guard { post, shared, .. } = &guard;
    loop {
        let work = |context: &mut Context<'_>| {
            Poll::Ready(post.work(shared, runtime.as_ref(), context.waker()))
        };
        match poll_fn(work).await {
            Turn::End => break,
            Turn::Sleep(_) => called().await,
            Turn::Ran => post.yield_now().await,
        }
    }
    post.retire();
}

/// Waits until the task is woken; it may have been since it was polled last.
async fn called() {
    called_after(|_| ()).await;
}

/// Does something, and waits until the task is woken.
async fn called_after(act: impl FnOnce(&mut Context<'_>)) {
    let mut act = Some(act);
    poll_fn(|context| match act.take() {
        Some(act) => {
            act(context);
            Poll::Pending
        }
        None => Poll::Ready(()),
    })
    .await;
}

/// Ends a runner when its task is dropped.
struct Guard {
    post: Arc<Post>,
    crew: Option<Arc<Mutex<Crew>>>,
    shared: Arc<Shared>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let runner = self.post.place.lock().runner.take();
        let Some(runner) = runner else { return };
        // The runtime takes it away.
        drop(runner);
        let Some(crew) = &self.crew else { return };
        let mut crew = crew.lock();
        // Nothing is left to take away if the pool is shut down.
        let is_last = crew.count == 1;
        crew.count = crew.count.saturating_sub(1);
        if is_last {
            crew.is_lost = true;
            self.shared.sched.set_standing(Standing::Closed);
        }
        drop(crew);
        if is_last {
            self.shared.close_members();
        }
    }
}

/// Wakes a task so that any thread of its runtime can run it.
struct Caller {
    waker: Waker,
    /// Where the task is, if the runtime has several threads.
    runtime: Option<Handle>,
    seat: usize,
    waits: Arc<Waits>,
    /// It is called by the list of those who have gone back.
    is_in_list: bool,
}

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let Some(runtime) = &self.runtime else { return self.waker.wake_by_ref() };
        let is_in_task = !self.is_in_list && try_id().is_some();
        if !is_in_task {
            self.waits.note(self.seat, Spot::Slot);
        }
        self.waker.wake_by_ref();
        if is_in_task {
            push_out(runtime);
        }
    }
}

/// Pushes whoever is next on this thread out of the slot for that, to where other threads can take it.
fn push_out(runtime: &Handle) {
    drop(runtime.spawn(std::future::ready(())));
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("crew", &self.crew).finish_non_exhaustive()
    }
}
