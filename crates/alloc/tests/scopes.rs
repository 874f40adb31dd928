//! Scopes and futures: where a thread is, and that it is there no longer than it should.

use std::{
    panic,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread,
};

use fief_alloc::{Ambient, GroupAlloc};

#[global_allocator]
static ALLOCATOR: GroupAlloc = GroupAlloc::new();

fn groups<const N: usize>() -> [Ambient; N] {
    std::array::from_fn(|_| Ambient::new().expect("memory"))
}

fn block(size: usize) -> Vec<u8> {
    Vec::with_capacity(size)
}

/// Unwinds without a report, which would allocate in the group.
fn unwind() {
    panic::resume_unwind(Box::new(()));
}

#[test]
fn scopes_nest_and_restore() {
    let [outer, inner] = groups();
    let mut blocks = Vec::new();
    let first = outer.enter();
    blocks.push(block(1_024));
    let second = inner.enter();
    blocks.push(block(2_048));
    let again = outer.enter();
    blocks.push(block(4_096));
    drop(again);
    blocks.push(block(2_048));
    drop(second);
    blocks.push(block(1_024));
    assert_eq!((outer.live(), inner.live()), (6_144, 4_096));
    drop(first);
    let orphan = block(5_000);
    assert_eq!((outer.live(), inner.live()), (6_144, 4_096));
    drop(blocks);
    drop(orphan);
    assert_eq!((outer.live(), inner.live()), (0, 0));
}

#[test]
fn unwinding_restores() {
    let [outer, inner] = groups();
    let _scope = outer.enter();
    let panicked = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        let _scope = inner.enter();
        inner.run(unwind);
    }));
    assert!(panicked.is_err());
    let kept = block(3_000);
    assert_eq!((outer.live(), inner.live()), (3_000, 0));
    drop(kept);
}

#[test]
fn a_thread_begins_in_no_group() {
    let [ambient] = groups();
    let _scope = ambient.enter();
    let there = thread::scope(|scope| scope.spawn(|| block(7_000)).join().expect("no panic"));
    assert!(
        ambient.live() < 7_000,
        "what the spawning itself needs is the group's, the block is not"
    );
    drop(there);
}

#[test]
fn small_blocks_are_nobodys() {
    let [ambient] = groups();
    let small = ambient.run(|| block(1_023));
    assert_eq!(ambient.live(), 0);
    assert_eq!(ambient.run(|| block(1_024)).capacity(), 1_024);
    assert_eq!(ambient.stats().allocated, 1_024);
    assert_eq!(ambient.stats().freed, 1_024);
    drop(small);
}

#[test]
fn a_group_lives_in_its_blocks() {
    let [ambient] = groups();
    let clone = ambient.clone();
    let left = ambient.run(|| block(10_000));
    drop(ambient);
    assert_eq!(clone.live(), 10_000);
    drop(clone);
    // Its record is not another's as long as the block is there.
    let others: Vec<Ambient> = (0..200).map(|_| Ambient::new().expect("memory")).collect();
    assert!(others.iter().all(|other| other.live() == 0));
    drop(left);
    assert!(others.iter().all(|other| other.live() == 0));
}

struct Unwoken;

impl Wake for Unwoken {
    fn wake(self: Arc<Self>) {}
}

/// Allocates in each of its polls, and in its drop.
struct Polled {
    blocks: Vec<Vec<u8>>,
    polls: usize,
    at_drop: std::sync::mpsc::Sender<Vec<u8>>,
}

impl Future for Polled {
    type Output = Vec<Vec<u8>>;

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.blocks.push(block(2_000));
        this.polls -= 1;
        if this.polls == 0 { Poll::Ready(std::mem::take(&mut this.blocks)) } else { Poll::Pending }
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        self.at_drop.send(block(3_000)).expect("somebody listens");
    }
}

#[test]
fn a_future_takes_its_group_from_thread_to_thread() {
    let [ambient, elsewhere] = groups();
    let (at_drop, dropped) = std::sync::mpsc::channel();
    let future = Polled { blocks: Vec::with_capacity(16), polls: 5, at_drop };
    let mut future = Box::pin(ambient.wrap(future));
    assert_eq!(future.ambient().live(), 0);
    for poll in 1..5 {
        future = thread::spawn({
            let (ambient, elsewhere) = (ambient.clone(), elsewhere.clone());
            move || {
                let _scope = elsewhere.enter();
                let waker = Waker::from(Arc::new(Unwoken));
                let mut context = Context::from_waker(&waker);
                assert!(future.as_mut().poll(&mut context).is_pending());
                assert_eq!(ambient.live(), 2_000 * poll);
                let own = block(1_500);
                assert_eq!(elsewhere.live(), 1_500, "the poll is over");
                drop(own);
                future
            }
        })
        .join()
        .expect("no panic");
    }
    drop(future);
    let left = dropped.recv().expect("sent in the drop");
    assert_eq!(ambient.live(), 3_000, "what the drop allocated; all else is freed");
    drop(left);
    assert_eq!((ambient.live(), elsewhere.live()), (0, 0));
}

#[test]
fn a_future_that_panics_leaves_the_group() {
    let [ambient] = groups();
    let mut future = pin!(ambient.wrap(async { unwind() }));
    let waker = Waker::from(Arc::new(Unwoken));
    let mut context = Context::from_waker(&waker);
    let polled = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        let _: Poll<()> = future.as_mut().poll(&mut context);
    }));
    assert!(polled.is_err());
    let kept = block(3_000);
    assert_eq!(ambient.run(|| ambient.live()), 0);
    drop(kept);
}
