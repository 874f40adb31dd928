//! Jobs at every state, on one thread and on several.

use std::{
    error::Error,
    future::{pending, poll_fn, ready},
    panic::{AssertUnwindSafe, catch_unwind, panic_any},
    pin::Pin,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use super::queue::Queue;
use crate::{
    JoinError, JoinHandle,
    job::{self, Outcome, Runnable},
    sync::{Arc, AtomicU32, Mutex, Ordering, thread},
};

/// Counts how often it was dropped, and panics then if it is told to.
#[derive(Clone, Default)]
struct Drops(Arc<AtomicU32>);

struct Counted {
    drops: Drops,
    is_loud: bool,
}

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicU32);

/// A future that does as it is told at each poll, and has its waker taken away.
struct Told {
    _counted: Counted,
    waker: Arc<Mutex<Option<Waker>>>,
    output: Arc<Mutex<Option<Counted>>>,
}

impl Drops {
    fn counted(&self) -> Counted {
        Counted { drops: self.clone(), is_loud: false }
    }

    fn loud(&self) -> Counted {
        Counted { drops: self.clone(), is_loud: true }
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.drops.0.fetch_add(1, Ordering::Relaxed);
        if self.is_loud {
            panic!("dropped");
        }
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Future for Told {
    type Output = Counted;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Counted> {
        *self.waker.lock() = Some(context.waker().clone());
        self.output.lock().take().map_or(Poll::Pending, Poll::Ready)
    }
}

/// A future that is pending `count` times, and wakes itself each time.
fn yields(count: usize) -> impl Future<Output = usize> {
    let mut left = count;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(count);
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Polls a handle once.
fn look<T>(handle: &mut JoinHandle<T>) -> Poll<Result<T, JoinError>> {
    Pin::new(handle).poll(&mut Context::from_waker(Waker::noop()))
}

/// The output of a job that has ended.
#[track_caller]
fn outcome<T>(mut handle: JoinHandle<T>) -> Result<T, JoinError> {
    match look(&mut handle) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the job has not ended: {handle:?}"),
    }
}

#[test]
fn a_future_is_run_to_its_output() {
    let home = Queue::new();
    let (job, handle) = job::future(Arc::clone(&home), 7, ready("done"));
    assert!(!handle.is_finished());
    assert!(matches!(job.run(), Outcome::Done));
    assert!(handle.is_finished());
    assert_eq!(outcome(handle).unwrap(), "done");
    assert_eq!((home.done(), home.pushes()), (vec![7], 0));
}

#[test]
fn a_closure_is_run_once() {
    let home = Queue::new();
    let (job, handle) = job::closure(Arc::clone(&home), 1, || 2 + 2);
    assert!(matches!(job.run(), Outcome::Done));
    assert_eq!(outcome(handle).unwrap(), 4);
    assert_eq!(home.done(), [1]);
}

#[test]
fn a_job_that_wakes_itself_is_given_back_and_not_pushed() {
    let home = Queue::new();
    let (mut job, handle) = job::future(Arc::clone(&home), 0, yields(3));
    for _ in 0..3 {
        job = match job.run() {
            Outcome::Woken(job) => job,
            outcome => panic!("{outcome:?}"),
        };
    }
    assert!(matches!(job.run(), Outcome::Done));
    assert_eq!(outcome(handle).unwrap(), 3);
    assert_eq!(home.pushes(), 0);
}

#[test]
fn a_job_that_wakes_itself_and_is_ready_is_over() {
    let home = Queue::new();
    let ready = poll_fn(|context| {
        context.waker().wake_by_ref();
        let waker = context.waker().clone();
        waker.wake();
        Poll::Ready(())
    });
    let (job, handle) = job::future(Arc::clone(&home), 0, ready);
    assert!(matches!(job.run(), Outcome::Done));
    outcome(handle).unwrap();
    assert_eq!((home.pushes(), home.done().len()), (0, 1));
}

#[test]
fn many_wake_ups_are_one_push() {
    let home = Queue::new();
    let (waker, output) = (Arc::default(), Arc::default());
    let told = Told {
        _counted: Drops::default().counted(),
        waker: Arc::clone(&waker),
        output: Arc::clone(&output),
    };
    let (job, handle) = job::future(Arc::clone(&home), 0, told);
    assert!(matches!(job.run(), Outcome::Idle));
    let waker = waker.lock().take().expect("it was polled");
    for _ in 0..10_000 {
        waker.wake_by_ref();
        let waker = waker.clone();
        waker.wake();
    }
    assert_eq!((home.pushes(), home.len()), (1, 1));
    *output.lock() = Some(Drops::default().counted());
    assert_eq!(home.run(), 1);
    assert!(outcome(handle).is_ok());
    for _ in 0..10_000 {
        waker.wake_by_ref();
    }
    assert_eq!((home.pushes(), home.len()), (1, 0));
}

#[test]
fn every_poll_has_the_same_waker() {
    let home = Queue::new();
    let mut first = None;
    let future = poll_fn(move |context| {
        let first = first.get_or_insert_with(|| context.waker().clone());
        assert!(first.will_wake(context.waker()));
        first.wake_by_ref();
        Poll::<()>::Pending
    });
    let (mut job, handle) = job::future(home, 0, future);
    for _ in 0..3 {
        job = match job.run() {
            Outcome::Woken(job) => job,
            outcome => panic!("{outcome:?}"),
        };
    }
    job.cancel();
    assert!(outcome(handle).unwrap_err().is_cancelled());
}

#[test]
fn a_job_that_is_given_back_is_queued_as_it_was() {
    let home = Queue::new();
    let (job, handle) = job::future(Arc::clone(&home), 0, yields(1));
    job.give_back();
    assert_eq!(format!("{handle:?}"), "JoinHandle(queued)");
    assert_eq!((home.pushes(), home.run()), (1, 2));
    assert_eq!(outcome(handle).unwrap(), 1);
}

/// Where a job is as something is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Never run.
    Born,
    /// It was run, and nobody woke it.
    Idle,
    /// It was run, and woken.
    Queued,
    /// It is being polled, and will be idle.
    Running,
    /// The same, and it was woken.
    Woken,
    /// It is being polled for the last time.
    Ending,
    /// Its output is in the handle.
    Done,
}

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Nothing,
    DropHandle,
    Abort,
    AbortAndDropHandle,
    /// The `Runnable` is dropped, or cancelled, where there is one.
    DropRunnable,
}

struct Scene {
    home: Arc<Queue>,
    handle: Arc<Mutex<Option<JoinHandle<Counted>>>>,
    waker: Arc<Mutex<Option<Waker>>>,
    future: Drops,
    output: Drops,
}

impl Scene {
    fn act(handle: &Mutex<Option<JoinHandle<Counted>>>, act: Act) {
        let mut handle = handle.lock();
        if let (Act::Abort | Act::AbortAndDropHandle, Some(handle)) = (act, &*handle) {
            handle.abort();
        }
        if matches!(act, Act::DropHandle | Act::AbortAndDropHandle) {
            *handle = None;
        }
    }

    /// A job at `at`, with what is runnable of it, after `act`.
    fn new(at: At, act: Act, is_loud: bool) -> (Self, Option<Runnable>) {
        let home = Queue::new();
        let (future, output) = (Drops::default(), Drops::default());
        let (waker, handle) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(None)));
        let body = {
            let counted = Counted { drops: future.clone(), is_loud };
            let (handle, waker, output) = (Arc::clone(&handle), Arc::clone(&waker), output.clone());
            poll_fn(move |context| {
                let _counted = &counted;
                *waker.lock() = Some(context.waker().clone());
                if matches!(at, At::Running | At::Woken | At::Ending) {
                    Self::act(&handle, act);
                }
                if at == At::Woken {
                    context.waker().wake_by_ref();
                }
                match at {
                    At::Ending | At::Done => {
                        Poll::Ready(Counted { drops: output.clone(), is_loud })
                    }
                    _ => Poll::Pending,
                }
            })
        };
        let (job, made) = job::future(Arc::clone(&home), 3, body);
        *handle.lock() = Some(made);
        let scene = Self { home, handle, waker, future, output };
        let mut job = Some(job);
        if at != At::Born {
            job = match job.take().map(Runnable::run) {
                Some(Outcome::Woken(job)) => Some(job),
                _ => None,
            };
        }
        if at == At::Queued {
            scene.wake();
        }
        if !matches!(at, At::Running | At::Woken | At::Ending) {
            Self::act(&scene.handle, act);
        }
        (scene, job)
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
        }
    }
}

const ALL: [At; 7] = [At::Born, At::Idle, At::Queued, At::Running, At::Woken, At::Ending, At::Done];
const ACTS: [Act; 5] =
    [Act::Nothing, Act::DropHandle, Act::Abort, Act::AbortAndDropHandle, Act::DropRunnable];

/// Every state, everything that can be done there, with and without drops that panic: whatever happens, the
/// future and the output are dropped once, `done` is called once, and the handle is told.
#[test]
fn a_job_comes_to_its_end_from_every_state() {
    for (at, act, is_loud) in ALL
        .into_iter()
        .flat_map(|at| ACTS.map(|act| (at, act)))
        .flat_map(|(at, act)| [false, true].map(|is_loud| (at, act, is_loud)))
    {
        let case = format!("{at:?} {act:?} {is_loud}");
        let (scene, job) = Scene::new(at, act, is_loud);
        let is_ready = matches!(at, At::Ending | At::Done);
        let is_aborted = matches!(act, Act::Abort | Act::AbortAndDropHandle);
        if matches!(at, At::Running | At::Woken) && is_aborted {
            assert!(job.is_none(), "{case}: given back");
            assert_eq!(scene.future.count(), 1, "{case}: dropped after the poll");
        }
        if act == Act::DropRunnable {
            drop(job.or_else(|| scene.home.take()));
        } else if let Some(job) = job {
            assert_eq!(job.is_aborted(), is_aborted, "{case}");
            if is_aborted {
                assert!(matches!(job.run(), Outcome::Done), "{case}");
            } else {
                job.cancel();
            }
        }
        if is_aborted && !is_ready {
            scene.home.run();
            assert_eq!(scene.future.count(), 1, "{case}: dropped by who runs it");
        }
        // Now the rest, as a home does that ends.
        let handle = scene.handle.lock().take();
        if let Some(handle) = &handle {
            handle.abort();
        }
        scene.wake();
        scene.home.run();
        if let Some(mut handle) = handle {
            assert!(handle.is_finished(), "{case}");
            match look(&mut handle) {
                Poll::Ready(Ok(output)) => {
                    assert!(is_ready && !is_loud, "{case}");
                    drop(output);
                }
                Poll::Ready(Err(error)) => {
                    assert_eq!(error.is_panic(), is_loud, "{case}: {error}");
                    assert_eq!(error.is_cancelled(), !is_loud, "{case}: {error}");
                    assert!(!is_ready || is_loud, "{case}");
                }
                Poll::Pending => panic!("{case}: never told"),
            }
        }
        let is_idle = scene.home.done().is_empty();
        if is_idle {
            // Detached and idle: nobody has a handle that could abort it, and somebody its waker.
            assert!(act == Act::DropHandle, "{case}");
            scene.wake();
            scene.home.take().expect("queued").cancel();
        }
        assert_eq!(scene.home.done(), [3], "{case}");
        assert_eq!(scene.future.count(), 1, "{case}");
        assert_eq!(scene.output.count(), u32::from(is_ready), "{case}");
    }
}

/// Somebody keeps its waker and its handles for ever: that keeps neither the future nor the home.
#[test]
fn nothing_is_left_of_a_job_that_ended() {
    for at in ALL {
        let (scene, job) = Scene::new(at, Act::Abort, false);
        drop(job);
        scene.home.run();
        let handle = scene.handle.lock().take().expect("kept");
        let abort = handle.abort_handle();
        assert_eq!(scene.home.done(), [3], "{at:?}");
        assert_eq!(scene.future.count(), 1, "{at:?}");
        assert_eq!(Arc::strong_count(&scene.home), 1, "{at:?}");
        assert_eq!(scene.waker.lock().is_some(), at != At::Born, "{at:?}");
        drop((handle, abort));
    }
}

/// It has a reference into itself across a point where it waits, and as it is dropped.
#[test]
fn a_future_stays_where_it_is() {
    struct Look<'a>(&'a [AtomicU32; 4], Arc<AtomicU32>);
    impl Drop for Look<'_> {
        fn drop(&mut self) {
            let sum = self.0.iter().map(|word| word.load(Ordering::Relaxed)).sum();
            self.1.store(sum, Ordering::Relaxed);
        }
    }
    for is_run in [false, true] {
        let seen = Arc::<AtomicU32>::default();
        let told = Arc::clone(&seen);
        let future = async move {
            let words = [1, 2, 3, 4].map(AtomicU32::new);
            let look = Look(&words, told);
            yields(2).await;
            words[0].store(10, Ordering::Relaxed);
            drop(look);
        };
        let (job, handle) = job::future(Queue::new(), 0, future);
        let Outcome::Woken(job) = job.run() else { panic!("it yields") };
        let Outcome::Woken(job) = job.run() else { panic!("it yields") };
        if is_run {
            assert!(matches!(job.run(), Outcome::Done));
        } else {
            job.cancel();
        }
        assert_eq!(outcome(handle).is_ok(), is_run);
        assert_eq!(seen.load(Ordering::Relaxed), if is_run { 19 } else { 10 });
    }
}

#[test]
fn a_panic_in_a_poll_goes_to_the_handle() {
    let home = Queue::new();
    let (job, handle) = job::future(Arc::clone(&home), 0, async {
        let what = String::from("luck");
        panic!("no {what}")
    });
    assert!(matches!(job.run(), Outcome::Done));
    let error = outcome::<()>(handle).unwrap_err();
    assert!(error.is_panic() && !error.is_cancelled());
    assert_eq!(error.to_string(), "the job panicked: no luck");
    let payload = error.into_panic().expect("a panic");
    assert_eq!(payload.downcast_ref::<String>().expect("a text"), "no luck");
    assert_eq!(home.done(), [0]);

    let (job, handle) = job::closure(home, 0, || panic_any(5_u8));
    assert!(matches!(job.run(), Outcome::Done));
    let error = outcome::<()>(handle).unwrap_err();
    assert_eq!(error.to_string(), "the job panicked");
    let payload = catch_unwind(AssertUnwindSafe(|| error.resume_unwind())).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&5_u8));
}

#[test]
fn the_first_panic_of_a_job_counts() {
    let drops = Drops::default();
    let loud = drops.loud();
    let future = poll_fn(move |_| {
        let _kept = &loud;
        panic!("first");
    });
    let (job, handle) = job::future(Queue::new(), 0, future);
    assert!(matches!(job.run(), Outcome::Done));
    let error = outcome::<()>(handle).unwrap_err();
    assert_eq!((error.to_string().as_str(), drops.count()), ("the job panicked: first", 1));
}

#[test]
fn a_payload_that_panics_when_dropped_goes_no_further() {
    let drops = Drops::default();
    let payload = drops.loud();
    let (job, handle) = job::closure(Queue::new(), 0, move || panic_any(payload));
    drop::<JoinHandle<()>>(handle);
    assert!(matches!(job.run(), Outcome::Done));
    assert_eq!(drops.count(), 1);
}

#[test]
fn an_output_that_panics_when_dropped_goes_no_further() {
    for is_first in [false, true] {
        let drops = Drops::default();
        let output = drops.loud();
        let (job, handle) = job::closure(Queue::new(), 0, || output);
        let mut handle = Some(handle);
        if is_first {
            handle = None;
        }
        assert!(matches!(job.run(), Outcome::Done));
        drop(handle);
        assert_eq!(drops.count(), 1);
    }
}

#[test]
fn errors_say_what_happened() {
    let (job, handle) = job::future(Queue::new(), 0, pending::<()>());
    drop(job);
    let error = outcome(handle).unwrap_err();
    assert_eq!(error.to_string(), "the job was cancelled");
    let error: Box<dyn Error + Send + Sync> = Box::new(error.resume_unwind());
    assert_eq!(format!("{error:?}"), "JoinError(Cancelled)");
}

#[test]
fn who_waits_for_the_output_is_woken_once() {
    let (job, mut handle) = job::future(Queue::new(), 0, ready(1));
    let [first, second] = [(); 2].map(|()| Arc::new(Woken::default()));
    for woken in [&first, &second, &second] {
        let waker = Waker::from(Arc::clone(woken));
        assert!(Pin::new(&mut handle).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert!(matches!(job.run(), Outcome::Done));
    let counts = [&first, &second].map(|woken| woken.0.load(Ordering::Relaxed));
    assert_eq!(counts, [0, 1], "the last that asked");
    assert_eq!(outcome(handle).unwrap(), 1);
}

#[test]
#[should_panic(expected = "a join handle is polled after it was ready")]
fn a_handle_is_ready_once() {
    let (job, mut handle) = job::future(Queue::new(), 0, ready(()));
    assert!(matches!(job.run(), Outcome::Done));
    assert!(look(&mut handle).is_ready());
    assert!(look(&mut handle).is_ready());
}

#[test]
fn the_future_is_gone_and_the_home_told_before_the_handle_is_ready() {
    let drops = Drops::default();
    let home = Queue::new();
    let seen = Arc::new(Mutex::new(None));
    struct Look(Drops, Arc<Queue>, Arc<Mutex<Option<(u32, usize)>>>);
    impl Wake for Look {
        fn wake(self: Arc<Self>) {
            *self.2.lock() = Some((self.0.count(), self.1.done().len()));
        }
    }
    let counted = drops.counted();
    let future = async move {
        let _counted = counted;
        pending::<()>().await;
    };
    let (job, mut handle) = job::future(Arc::clone(&home), 0, future);
    let waker = Waker::from(Arc::new(Look(drops, home, Arc::clone(&seen))));
    assert!(Pin::new(&mut handle).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(job);
    assert_eq!(*seen.lock(), Some((1, 1)));
}

#[test]
fn a_thread_waits_for_a_job() {
    let home = Queue::new();
    let (job, handle) = job::closure(Arc::clone(&home), 0, || 6 * 7);
    let runner = thread::spawn(move || {
        thread::sleep(Duration::from_millis(5));
        assert!(matches!(job.run(), Outcome::Done));
    });
    assert_eq!(handle.join().unwrap(), 42);
    runner.join().unwrap();
}

#[test]
fn abort_handles_outlive_the_job() {
    let home = Queue::new();
    let (job, handle) = job::future(Arc::clone(&home), 0, pending::<()>());
    let abort = handle.abort_handle();
    assert!(matches!(job.run(), Outcome::Idle));
    drop(handle);
    assert!(!abort.is_finished());
    abort.clone().abort();
    abort.abort();
    assert_eq!((home.pushes(), home.run()), (1, 1));
    assert!(abort.is_finished());
    abort.abort();
    assert_eq!((home.pushes(), home.done().len()), (1, 1));
    assert_eq!(format!("{abort:?}"), "AbortHandle(done)");
}

#[test]
fn states_have_names() {
    let home = Queue::new();
    let (job, handle) = job::future(Arc::clone(&home), 0, pending::<()>());
    assert_eq!(format!("{job:?} {handle:?}"), "Runnable(Some(queued)) JoinHandle(queued)");
    assert!(matches!(job.run(), Outcome::Idle));
    assert_eq!(format!("{handle:?}"), "JoinHandle(idle)");
    handle.abort();
    assert_eq!(format!("{handle:?}"), "JoinHandle(queued, aborted)");
    home.run();
    assert_eq!(format!("{handle:?}"), "JoinHandle(done)");
}

/// Wakes from all sides while two threads run the job: none is lost, and the job is never run by both.
#[test]
fn no_wake_up_is_lost_in_a_storm() {
    const ROUNDS: u32 = 20_000;
    let home = Queue::new();
    let asked = Arc::new(AtomicU32::new(0));
    let inside = Arc::new(AtomicU32::new(0));
    let waker = Arc::new(Mutex::new(None));
    let (job, handle) = {
        let (asked, waker) = (Arc::clone(&asked), Arc::clone(&waker));
        job::future(
            Arc::clone(&home),
            0,
            poll_fn(move |context| {
                assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "run twice at once");
                waker.lock().get_or_insert_with(|| context.waker().clone());
                let is_over = asked.load(Ordering::Relaxed) == 2 * ROUNDS;
                inside.fetch_sub(1, Ordering::Relaxed);
                if is_over { Poll::Ready(()) } else { Poll::Pending }
            }),
        )
    };
    assert!(matches!(job.run(), Outcome::Idle));
    let wakers = [(); 2].map(|()| {
        let (asked, waker) = (Arc::clone(&asked), waker.lock().clone().expect("polled"));
        thread::spawn(move || {
            for _ in 0..ROUNDS {
                asked.fetch_add(1, Ordering::Relaxed);
                waker.wake_by_ref();
            }
        })
    });
    let runners = [(); 2].map(|()| {
        let home = Arc::clone(&home);
        thread::spawn(move || {
            while home.done().is_empty() {
                home.run();
                thread::yield_now();
            }
        })
    });
    for thread in wakers.into_iter().chain(runners) {
        thread.join().unwrap();
    }
    handle.join().unwrap();
    assert!(home.pushes() <= 2 * ROUNDS);
}

fn _is_send_and_sync<T: Send + Sync + Unpin + 'static>() {}

/// Compiles.
fn _auto_traits() {
    _is_send_and_sync::<JoinHandle<std::cell::Cell<u8>>>();
    _is_send_and_sync::<JoinError>();
    _is_send_and_sync::<crate::AbortHandle>();
    _is_send_and_sync::<Runnable>();
}
