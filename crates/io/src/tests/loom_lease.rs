//! Leases: a token is in the tree, in a cell, or used, whoever takes, sweeps, fills or folds; and counts are exact.

use loom::thread;

use super::{
    deep,
    scene::{LEASE, Scene},
};
use crate::{
    cell::{Cell, Taken},
    op::Kind,
    sync::{Arc, Mutex},
    tree::{Direction, Lease},
};

#[test]
fn a_take_meets_a_sweep() {
    deep(|| {
        let (cell, swept) = (Arc::<Cell>::default(), Arc::new(Mutex::new(0)));
        cell.put(Direction::Read, Lease { ops: 9, bytes: 4 });
        let other = thread::spawn({
            let (cell, swept) = (Arc::clone(&cell), Arc::clone(&swept));
            move || {
                let mut swept = swept.lock();
                let lease = cell.sweep(Direction::Read);
                *swept += lease.bytes;
                assert!(lease.ops == 0 || 9 - lease.ops == 4 - lease.bytes, "it is torn");
            }
        });
        let taken = (0..2).filter(|_| cell.take(Kind::Read, 1) == Taken::Leased).count();
        other.join().expect("the model does not panic");
        let left = cell.sweep(Direction::Read).bytes;
        assert_eq!(
            *swept.lock() + left + u32::try_from(taken).expect("two"),
            4,
            "a token is lost, or used twice"
        );
        let counts = cell.counts();
        assert_eq!((counts.ops[0], counts.bytes[0]), (taken as u64, taken as u64));
    });
}

/// Who finds the group's limit reached has what the other one did not use.
#[test]
fn who_is_short_has_the_leases_of_others() {
    deep(|| {
        let scene = Scene::limited(2 + LEASE);
        let [one, other] = [&scene.group; 2].map(|group| scene.hand(group));
        assert!(one.read(1), "and has a lease");
        let thread = thread::spawn(move || u64::from(one.read(1)));
        let mut read = 1;
        while other.read(1) {
            read += 1;
        }
        read += thread.join().expect("the model does not panic");
        assert_eq!(read, 2 + LEASE, "a token is lost, or used twice");
        assert_eq!(scene.bytes(&scene.group), read);
        assert_eq!(scene.drain(), 0);
    });
}

/// Two take from their leases, and one finds the limit reached.
#[test]
fn two_take_as_a_third_is_short() {
    loom::model(|| {
        let burst = 3 + 2 * LEASE;
        let scene = Scene::limited(burst);
        let [one, other, third] = [&scene.group; 3].map(|group| scene.hand(group));
        assert!(one.read(1) && other.read(1), "and have leases");
        let threads = [one, other].map(|hand| thread::spawn(move || u64::from(hand.read(1))));
        let mut read = 2;
        while third.read(1) {
            read += 1;
        }
        for thread in threads {
            read += thread.join().expect("the model does not panic");
        }
        assert_eq!(read, burst, "a token is lost, or used twice");
        assert_eq!(scene.bytes(&scene.group), burst);
        assert_eq!(scene.drain(), 0);
    });
}

/// What is left of a lease is given back by who gets the next one.
#[test]
fn a_refill_meets_a_sweep() {
    deep(|| {
        let burst = 4 * LEASE;
        let scene = Scene::limited(burst);
        let [one, other] = [&scene.group; 2].map(|group| scene.hand(group));
        assert!(one.read(1), "and has a lease");
        let sweeper = thread::spawn({
            let device = Arc::clone(&scene.device);
            move || {
                device.sched.change(|_, _| ());
                u64::from(other.read(1))
            }
        });
        let mut read = 1;
        if one.read(LEASE + 1) {
            read += LEASE + 1;
        }
        read += sweeper.join().expect("the model does not panic");
        read += scene.drain();
        assert_eq!(read, burst, "a token is lost, or used twice");
        assert_eq!(scene.bytes(&scene.group), burst);
    });
}

#[test]
fn the_end_of_a_thread_meets_a_sweep() {
    deep(|| {
        let burst = 2 * LEASE;
        let scene = Scene::limited(burst);
        let [one, other] = [&scene.group; 2].map(|group| scene.hand(group));
        assert!(one.read(1), "and has a lease");
        let thread = thread::spawn(move || {
            let read = u64::from(one.read(1));
            one.fold();
            read
        });
        // The second is short.
        let mut read = 1 + [(); 2].map(|()| u64::from(other.read(1))).iter().sum::<u64>();
        read += thread.join().expect("the model does not panic");
        read += scene.drain();
        assert_eq!(read, burst, "a token is lost, or used twice");
        assert_eq!(scene.bytes(&scene.group), burst);
    });
}

/// What one thread leaves is the next one's, of another group.
#[test]
fn a_cell_changes_hands_as_leases_are_swept() {
    deep(|| {
        let burst = 2 * LEASE;
        let scene = Arc::new(Scene::limited(burst));
        let below = scene.add(&scene.group);
        let one = scene.hand(&below);
        assert!(one.read(1) && one.read(1), "the second time from a lease");
        let thread = thread::spawn({
            let scene = Arc::clone(&scene);
            move || {
                one.fold();
                u64::from(scene.hand(&scene.group).read(1))
            }
        });
        scene.sched().change(|_, _| ());
        assert!(scene.hand(&scene.root).read(1), "nothing is in its way");
        let read = thread.join().expect("the model does not panic");
        let counted = [&below, &scene.group, &scene.root].map(|node| scene.bytes(node));
        assert_eq!(counted, [2, 2 + read, 3 + read]);
        assert_eq!(2 + read + scene.drain(), burst, "a token is lost, or used twice");
    });
}

/// Its thread reads, and ends, as the group below is removed.
#[test]
fn a_removal_meets_who_takes_from_a_lease() {
    deep(|| {
        let burst = 2 * LEASE;
        let scene = Scene::limited(burst);
        let below = scene.add(&scene.group);
        let hand = scene.hand(&below);
        assert!(hand.read(1), "and has a lease");
        let thread = thread::spawn(move || {
            let read = u64::from(hand.read(1));
            hand.fold();
            read
        });
        scene.sched().retire(&below);
        let mut read = 1 + thread.join().expect("the model does not panic");
        assert_eq!(scene.bytes(&scene.group), read);
        read += scene.drain();
        assert_eq!(read, burst, "a token is lost, or used twice");
        assert_eq!(scene.bytes(&scene.group), burst);
    });
}

/// As soon as a limit is set, nobody goes past it who begins after that.
#[test]
fn a_limit_meets_who_only_counts() {
    deep(|| {
        let scene = Scene::free();
        let hand = scene.hand(&scene.group);
        assert!(hand.read(1), "and nothing is in the way of the next");
        let thread = thread::spawn({
            let cell = hand.cell;
            move || u64::from(cell.take(Kind::Read, 1) != Taken::Short)
        });
        scene.limit(Some(1));
        let mut read = 1;
        while hand.read(1) {
            read += 1;
            assert!(read <= 2, "the limit is passed");
        }
        read += thread.join().expect("the model does not panic");
        assert!(!hand.read(1));
        assert_eq!(scene.bytes(&scene.group), read);
    });
}
