//! Edges `wake→run`, `run→run` and `done→seen`, the token, and the seat where output and handle meet.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, Wake, Waker},
};

use loom::thread;

use super::{deep, queue::Queue};
use crate::{
    JoinHandle,
    job::{
        self, Home, Outcome,
        error::JoinError,
        state::{Paused, State},
    },
    sync::{Arc, AtomicU32, Mutex, Ordering},
};

/// Counts.
#[derive(Default)]
struct Count(AtomicU32);

/// Counts its drop.
struct Counted(Arc<Count>);

/// A job that is idle, and ready as soon as its flag is set.
struct Scene {
    home: Arc<Queue>,
    flag: Arc<Count>,
    drops: Arc<Count>,
    waker: Waker,
    handle: JoinHandle<u32>,
}

impl Count {
    fn add(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self) {
        self.0.store(1, Ordering::Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.add();
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.add();
    }
}

impl Scene {
    fn new() -> Self {
        let (home, flag, drops) = (Queue::new(), Arc::default(), Arc::default());
        let waker = Arc::new(Mutex::new(None));
        let (counted, inside) = (Counted(Arc::clone(&drops)), Count::default());
        let future = {
            let (flag, waker) = (Arc::<Count>::clone(&flag), Arc::clone(&waker));
            poll_fn(move |context| {
                let _counted = &counted;
                assert_eq!(inside.0.fetch_add(1, Ordering::Relaxed), 0, "run twice at once");
                waker.lock().get_or_insert_with(|| context.waker().clone());
                let flag = flag.get();
                inside.0.fetch_sub(1, Ordering::Relaxed);
                if flag == 0 { Poll::Pending } else { Poll::Ready(flag) }
            })
        };
        let (job, handle) = job::future(Arc::clone(&home), 0, future);
        assert!(matches!(job.run(), Outcome::Idle));
        let waker = waker.lock().take().expect("polled");
        Self { home, flag, drops, waker, handle }
    }

    /// Has the home run what is queued, on a thread.
    fn runner(&self) -> thread::JoinHandle<usize> {
        let home = Arc::clone(&self.home);
        thread::spawn(move || home.run())
    }

    /// Sets the flag and wakes the job, on a thread.
    fn waker(&self) -> thread::JoinHandle<()> {
        let (flag, waker) = (Arc::clone(&self.flag), self.waker.clone());
        thread::spawn(move || {
            flag.set();
            waker.wake();
        })
    }

    /// Runs what is left, and returns what came of it.
    fn end(mut self) -> Result<u32, JoinError> {
        self.home.run();
        assert_eq!(self.home.done(), [0], "it ends once");
        assert_eq!(self.drops.get(), 1, "its future is dropped once");
        self.waker.wake_by_ref();
        assert_eq!(self.home.len(), 0, "queued when done");
        match look(&mut self.handle, Waker::noop()) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("never told"),
        }
    }
}

fn look<T>(handle: &mut JoinHandle<T>, waker: &Waker) -> Poll<Result<T, JoinError>> {
    Pin::new(handle).poll(&mut Context::from_waker(waker))
}

/// Somebody wakes a job that is queued, running or idle: who polls it last sees what came before.
#[test]
fn what_was_done_before_a_wake_up_is_seen() {
    deep(|| {
        let scene = Arc::new((State::queued(), Count::default()));
        let waker = thread::spawn({
            let scene = Arc::clone(&scene);
            move || {
                scene.1.set();
                scene.0.wake()
            }
        });
        let (state, flag) = &*scene;
        let mut last;
        loop {
            assert!(state.start());
            last = flag.get();
            if state.pause() == Paused::Idle {
                break;
            }
        }
        let is_queued = waker.join().unwrap();
        assert!(is_queued || last == 1, "a wake-up is lost");
    });
}

/// As above, for who drops the future of a job that was aborted.
#[test]
fn what_was_done_before_an_abort_is_seen_by_the_drop() {
    deep(|| {
        let scene = Arc::new((State::queued(), Count::default()));
        let aborter = thread::spawn({
            let scene = Arc::clone(&scene);
            move || {
                scene.1.set();
                scene.0.abort()
            }
        });
        let (state, flag) = &*scene;
        let mut is_over = !state.start();
        if !is_over {
            is_over = state.pause() == Paused::Aborted;
            if is_over {
                assert!(!state.start());
            }
        }
        if is_over {
            assert_eq!(flag.get(), 1);
            state.finish();
        }
        assert_eq!(aborter.join().unwrap(), !is_over, "one of them has the token");
    });
}

/// Two threads poll in turn: the second finds what the first left.
#[test]
fn what_a_poll_did_is_seen_by_the_next() {
    deep(|| {
        let scene = Arc::new((State::queued(), Count::default()));
        assert!(scene.0.start());
        let other = thread::spawn({
            let scene = Arc::clone(&scene);
            move || {
                if scene.0.wake() {
                    assert!(scene.0.start());
                    assert_eq!(scene.1.get(), 1);
                }
            }
        });
        let (state, flag) = &*scene;
        flag.set();
        let _paused = state.pause();
        other.join().unwrap();
    });
}

/// Three wake, abort and run as they may: at any time one has the token at most.
#[test]
fn one_has_the_token() {
    loom::model(|| {
        let scene = Arc::new((State::queued(), Count::default()));
        let use_it = |(state, inside): &(State, Count)| {
            loop {
                assert_eq!(inside.add(), 0, "two have the token");
                let is_wanted = state.start();
                inside.0.fetch_sub(1, Ordering::Relaxed);
                if !is_wanted {
                    return state.finish();
                }
                if state.pause() == Paused::Idle {
                    return;
                }
            }
        };
        let others = [State::wake, State::abort].map(|call: fn(&State) -> bool| {
            let scene = Arc::clone(&scene);
            thread::spawn(move || {
                if call(&scene.0) {
                    use_it(&scene);
                }
            })
        });
        use_it(&scene);
        for other in others {
            other.join().unwrap();
        }
        assert!(scene.0.is_done(), "an abort is lost");
    });
}

/// A job that is queued, runs or is idle is woken when it could end, and ends.
#[test]
fn no_wake_up_is_lost() {
    loom::model(|| {
        let scene = Scene::new();
        scene.waker.wake_by_ref();
        let threads = (scene.runner(), scene.waker());
        threads.0.join().unwrap();
        threads.1.join().unwrap();
        assert_eq!(scene.end().unwrap(), 1);
    });
}

/// Two wake an idle job: it is queued once, or after it ran again.
#[test]
fn a_job_is_queued_once() {
    loom::model(|| {
        let scene = Scene::new();
        let wakers = [scene.waker(), scene.waker()];
        let runs = scene.home.run();
        for waker in wakers {
            waker.join().unwrap();
        }
        assert!(scene.home.len() <= 1, "queued twice");
        let pushes = scene.home.pushes() as usize;
        assert_eq!(pushes, runs + scene.home.len());
        assert_eq!(scene.end().unwrap(), 1);
    });
}

/// An abort, a wake-up with which the job would end, and who runs it: it ends once, one way or the other.
#[test]
fn an_abort_races_with_the_end() {
    loom::model(|| {
        let scene = Scene::new();
        let waker = scene.waker();
        let aborter = thread::spawn({
            let abort = scene.handle.abort_handle();
            move || abort.abort()
        });
        scene.home.run();
        waker.join().unwrap();
        aborter.join().unwrap();
        match scene.end() {
            Ok(output) => assert_eq!(output, 1),
            Err(error) => assert!(error.is_cancelled(), "{error}"),
        }
    });
}

/// A home that shuts down drops what is queued while the job is woken and aborted.
#[test]
fn a_runnable_that_is_dropped_ends_its_job() {
    loom::model(|| {
        let scene = Scene::new();
        scene.waker.wake_by_ref();
        let (waker, queued) = (scene.waker(), scene.home.take());
        let aborter = thread::spawn({
            let abort = scene.handle.abort_handle();
            move || abort.abort()
        });
        drop(queued.expect("woken"));
        waker.join().unwrap();
        aborter.join().unwrap();
        assert!(scene.end().unwrap_err().is_cancelled());
    });
}

/// The job ends as its handle is polled, with one waker and then another.
#[test]
fn who_waits_for_the_output_is_woken() {
    loom::model(|| {
        let mut scene = Scene::new();
        scene.flag.set();
        scene.waker.wake_by_ref();
        let runner = scene.runner();
        let wakers = [(); 2].map(|()| Arc::<Count>::default());
        let mut got = None;
        for waker in &wakers {
            if let Poll::Ready(output) = look(&mut scene.handle, &Waker::from(Arc::clone(waker))) {
                got = Some(output.unwrap());
                break;
            }
        }
        runner.join().unwrap();
        if got.is_none() {
            assert_eq!(wakers[1].get(), 1, "nobody is woken");
            got = Some(scene.end().unwrap());
        }
        assert_eq!(got, Some(1));
    });
}

/// The job ends as its handle is dropped, polled before or not: the output is dropped once.
#[test]
fn an_output_is_dropped_once() {
    for is_polled in [false, true] {
        loom::model(move || {
            let (home, drops) = (Queue::new(), Arc::default());
            let output = Counted(Arc::clone(&drops));
            let (job, mut handle) = job::closure(Arc::clone(&home), 0, || output);
            home.push(job);
            let runner = thread::spawn({
                let home = Arc::clone(&home);
                move || home.run()
            });
            let taken = is_polled.then(|| look(&mut handle, Waker::noop()));
            drop(handle);
            runner.join().unwrap();
            let is_taken = matches!(&taken, Some(Poll::Ready(Ok(_))));
            assert_eq!(drops.get(), u32::from(!is_taken));
            drop(taken);
            assert_eq!(drops.get(), 1);
        });
    }
}

#[test]
fn what_a_job_did_is_seen_by_who_finds_it_done() {
    deep(|| {
        let home = Queue::new();
        let done = Arc::<Count>::default();
        let (job, handle) = job::closure(home, 0, {
            let done = Arc::clone(&done);
            move || done.set()
        });
        let runner = thread::spawn(move || assert!(matches!(job.run(), Outcome::Done)));
        if handle.is_finished() {
            assert_eq!(done.get(), 1);
        }
        runner.join().unwrap();
        assert!(handle.is_finished());
    });
}
