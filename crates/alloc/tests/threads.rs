//! Threads that come and go, blocks that go from one to the other, destructors of thread-locals.
//!
//! One test in a process of its own: it looks at the figures of all.

use std::{cell::RefCell, sync::mpsc, thread};

use fief_alloc::{AllocStats, Ambient, GroupAlloc, stats};

#[global_allocator]
static ALLOCATOR: GroupAlloc<std::alloc::System, 1> = GroupAlloc::wrapping(std::alloc::System);

fn one_allocates_and_another_frees() {
    let ambient = Ambient::new().expect("memory");
    let (full, empty) = mpsc::sync_channel::<Vec<u8>>(64);
    let freeing = thread::spawn(move || empty.into_iter().map(|block| block.len()).sum::<usize>());
    let mut sent = 0;
    for round in 0..200_000_usize {
        let size = round % 700 + 1;
        sent += size;
        full.send(ambient.run(|| vec![1; size])).expect("there is somebody");
    }
    drop(full);
    assert_eq!(freeing.join().expect("no panic"), sent);
    assert_eq!(ambient.live(), 0, "no drift");
    assert_eq!(ambient.stats().allocated, sent as u64);
}

fn short_threads_leave_nothing() {
    let ambient = Ambient::new().expect("memory");
    let before = stats();
    for round in 0..10_000_usize {
        let ambient = ambient.clone();
        let thread = thread::spawn(move || {
            let block = ambient.run(|| vec![0_u8; 1 + round % 3_000]);
            assert!(ambient.live() >= block.len() as u64);
        });
        thread.join().expect("no panic");
    }
    let AllocStats { threads, records, .. } = stats();
    assert_eq!(ambient.live(), 0);
    // A thread's place is free a little after the thread was joined.
    assert!(threads <= before.threads + 3, "{} to {threads}", before.threads);
    assert_eq!(records, before.records);
}

/// Allocates when its thread ends.
struct Late {
    ambient: Ambient,
    kept: RefCell<Vec<Vec<u8>>>,
    back: mpsc::Sender<Vec<u8>>,
}

impl Drop for Late {
    fn drop(&mut self) {
        let _scope = self.ambient.enter();
        self.kept.borrow_mut().push(vec![2; 5_000]);
        self.kept.borrow_mut().clear();
        self.back.send(vec![3; 6_000]).ok();
    }
}

thread_local! {
    static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
}

fn destructors_of_thread_locals_count() {
    let ambient = Ambient::new().expect("memory");
    let (back, blocks) = mpsc::channel();
    for _ in 0..20 {
        let late = Late { ambient: ambient.clone(), kept: RefCell::default(), back: back.clone() };
        let thread = thread::spawn(move || {
            late.kept.borrow_mut().push(late.ambient.run(|| vec![1; 100_000]));
            LATE.set(Some(late));
        });
        thread.join().expect("no panic");
    }
    drop(back);
    let left: Vec<Vec<u8>> = blocks.into_iter().collect();
    assert_eq!(left.len(), 20);
    assert_eq!(ambient.live(), 20 * 6_000, "all else is gone, the channel too");
    drop(left);
    assert_eq!(ambient.live(), 0);
}

fn groups_come_and_go() {
    let before = stats();
    let mut left = std::collections::VecDeque::new();
    for round in 0..20_000_usize {
        let ambient = Ambient::new().expect("memory");
        assert_eq!(ambient.live(), 0);
        left.push_back(ambient.run(|| vec![0_u8; round % 200 + 1]));
        assert_eq!(ambient.live(), (round % 200 + 1) as u64);
        if left.len() > 100 {
            left.pop_front();
        }
    }
    drop(left);
    fief_alloc::settle();
    let after = stats();
    assert_eq!(after.groups, before.groups);
    assert!(after.records <= before.records + 640, "{} to {}", before.records, after.records);
}

/// Blocks outlive their group's handles, and are resized and freed by other threads while records change
/// hands: no new group begins with another's bytes.
fn records_change_hands_between_threads() {
    const THREADS: usize = 4;
    let before = stats();
    let (to, from): (Vec<_>, Vec<_>) =
        (0..THREADS).map(|_| mpsc::sync_channel::<Vec<u8>>(32)).unzip();
    thread::scope(|scope| {
        for (number, from) in from.into_iter().enumerate() {
            let to = to[(number + 1) % THREADS].clone();
            scope.spawn(move || {
                for round in 0..10_000_usize {
                    let ambient = Ambient::new().expect("memory");
                    assert_eq!(ambient.live(), 0, "a record that was not spent");
                    let block = ambient.run(|| vec![0_u8; round % 900 + 100]);
                    assert_eq!(ambient.stats().allocated, block.len() as u64);
                    drop(ambient);
                    to.try_send(block).ok();
                    for mut block in from.try_iter() {
                        block.reserve_exact(round % 1_000);
                        block.truncate(10);
                        block.shrink_to_fit();
                    }
                }
            });
        }
        drop(to);
    });
    fief_alloc::settle();
    let after = stats();
    assert_eq!((after.attributed, after.groups), (before.attributed, before.groups));
    assert!(after.records <= before.records + 1_024, "{} to {}", before.records, after.records);
}

fn more_groups_than_places() {
    let groups: Vec<Ambient> = (0..500).map(|_| Ambient::new().expect("memory")).collect();
    let mut blocks = Vec::new();
    for round in 0..50 {
        for (group, index) in groups.iter().zip(1_usize..) {
            blocks.push(group.run(|| vec![0_u8; index + round]));
        }
    }
    for (group, index) in groups.iter().zip(1_usize..) {
        assert_eq!(group.live(), (50 * index + 1225) as u64);
    }
    drop(blocks);
    assert!(groups.iter().all(|group| group.live() == 0));
}

#[test]
fn threads() {
    let before = stats();
    for check in [
        one_allocates_and_another_frees,
        short_threads_leave_nothing,
        destructors_of_thread_locals_count,
        groups_come_and_go,
        records_change_hands_between_threads,
        more_groups_than_places,
    ] {
        check();
    }
    let after = stats();
    assert_eq!((after.attributed, after.groups), (before.attributed, before.groups));
}
