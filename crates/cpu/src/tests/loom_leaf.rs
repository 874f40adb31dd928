//! Ring and tree: whatever happens to queues at the same time, a node is active exactly if its ring is not empty,
//! and a job is in one place.

use std::collections::VecDeque;

use loom::thread;

use super::{
    deep,
    scene::{Member, Scene},
};
use crate::{job::Runnable, leaf::Leaf, queue::Want, sync::Arc};

/// Takes a job from a leaf if there is one, and drops it; returns how many it took.
fn take(leaf: &Leaf) -> usize {
    let mut jobs = VecDeque::new();
    if let Some(queue) = leaf.take(Want::First(1), &mut jobs) {
        queue.release();
    }
    jobs.len()
}

/// Runs `one` in a thread of its own and `other` here; returns what they return.
fn both(one: impl FnOnce() -> usize + 'static, other: impl FnOnce() -> usize) -> usize {
    let thread = thread::spawn(one);
    other() + thread.join().expect("the model does not panic")
}

#[test]
fn a_push_meets_a_take() {
    deep(|| {
        let scene = Scene::new(1);
        let member = Member::new(&scene.group);
        member.push(1);
        let (leaf, pusher) = (Arc::clone(&scene.group), Arc::clone(&member));
        let push = move || {
            pusher.push(1);
            0
        };
        let taken = both(push, || take(&leaf));
        assert_eq!(taken + scene.drain(&scene.group), 2, "a job is lost");
    });
}

#[test]
fn two_members_come_and_go_in_one_ring() {
    deep(|| {
        let scene = Scene::new(1);
        let (member, other) = (Member::new(&scene.group), Member::new(&scene.group));
        member.push(1);
        let leaf = Arc::clone(&scene.group);
        let push = move || {
            other.push(1);
            0
        };
        let taken = both(push, || take(&leaf));
        assert_eq!(taken + scene.drain(&scene.group), 2, "a job is lost");
    });
}

#[test]
fn two_take_the_last_job() {
    deep(|| {
        let scene = Scene::new(1);
        let member = Member::new(&scene.group);
        member.push(1);
        let (leaf, same) = (Arc::clone(&scene.group), Arc::clone(&scene.group));
        let taken = both(move || take(&same), || take(&leaf));
        assert_eq!(taken, 1, "a job is taken twice, or not");
        assert_eq!(scene.drain(&scene.group), 0);
    });
}

#[test]
fn a_take_meets_a_move() {
    deep(|| {
        let scene = Scene::new(1);
        let (member, other) = (Member::new(&scene.group), Member::new(&scene.group));
        member.push(1);
        other.push(1);
        let (queue, root) = (Arc::clone(&member.0), Arc::clone(&scene.root));
        let mover = move || {
            queue.move_to(&root);
            0
        };
        let taken = both(mover, || take(&scene.group));
        assert_eq!(taken, 1);
        let left = [&scene.root, &scene.group].map(|leaf| scene.drain(leaf));
        assert!(matches!(left, [0, 1] | [1, 0]), "a job is lost: {left:?}");
        assert_eq!(member.0.len() + other.0.len(), 0, "a job is in no ring");
    });
}

#[test]
fn a_push_meets_a_move() {
    deep(|| {
        let scene = Scene::new(1);
        let member = Member::new(&scene.group);
        let (queue, root) = (Arc::clone(&member.0), Arc::clone(&scene.root));
        let mover = move || {
            queue.move_to(&root);
            0
        };
        let pusher = || {
            member.push(1);
            0
        };
        both(mover, pusher);
        assert_eq!(scene.drain(&scene.group), 0, "something is left where the queue was");
        assert_eq!(scene.drain(&scene.root), 1, "a job is lost");
    });
}

#[test]
fn two_moves_meet() {
    deep(|| {
        let scene = Scene::new(1);
        let member = Member::new(&scene.group);
        member.push(1);
        let (queue, root) = (Arc::clone(&member.0), Arc::clone(&scene.root));
        let there = move || {
            queue.move_to(&root);
            0
        };
        let back = || {
            member.0.move_to(&scene.group);
            0
        };
        both(there, back);
        let left = [&scene.root, &scene.group].map(|leaf| scene.drain(leaf));
        assert!(matches!(left, [0, 1] | [1, 0]), "it is in no place, or in two: {left:?}");
    });
}

#[test]
fn a_freeze_meets_a_push_and_a_take() {
    deep(|| {
        let scene = Scene::new(1);
        let member = Member::new(&scene.group);
        member.push(1);
        let queue = Arc::clone(&member.0);
        let freeze = move || {
            queue.set_frozen(true).make();
            0
        };
        let run = || {
            member.push(1);
            take(&scene.group)
        };
        let taken = both(freeze, run);
        assert_eq!(scene.drain(&scene.group), 0, "a frozen queue is in the ring");
        assert_eq!(member.0.len(), 2 - taken, "a job is lost");
        member.0.set_frozen(false).make();
        assert_eq!(scene.drain(&scene.group), 2 - taken, "it is not in the ring again");
    });
}

#[test]
fn a_close_meets_a_push_and_a_take() {
    deep(|| {
        let scene = Scene::new(1);
        let member = Member::new(&scene.group);
        member.push(1);
        let queue = Arc::clone(&member.0);
        let close = move || {
            queue.close().into_iter().for_each(Runnable::cancel);
            0
        };
        let (job, handle) = member.job(|| ());
        let run = || {
            let taken = take(&scene.group);
            member.0.push([job], false).into_iter().for_each(Runnable::cancel);
            taken
        };
        both(close, run);
        assert!(handle.is_finished(), "a job waits in a closed queue");
        assert_eq!(scene.drain(&scene.group), 0);
    });
}
