//! Sleep and calls: nobody sleeps while a slot is free and something waits that they could run.
//!
//! Workers are driven as they are by threads: until there is nothing to do, and again if they were called
//! since.

use std::task::Waker;

use loom::{sync::Condvar, thread};

use super::{
    deep,
    scene::{Hand, Member, Scene},
};
use crate::{
    claim::{Claim, Flag, Grant, Kind},
    stand::Begin,
    sync::{Arc, AtomicU32, Mutex, Ordering},
};

/// Counts the jobs that ran.
type Count = Arc<AtomicU32>;

fn count(by: &Count) -> impl FnOnce() + Send + 'static {
    let by = Arc::clone(by);
    move || {
        by.fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes a claim, which looks for a slot.
fn claim(scene: &Scene, member: &Member) -> (Arc<Claim>, Option<Grant>) {
    let claim = Claim::new(&member.0, &scene.sched, Flag::new(), Kind::Lease);
    assert!(matches!(claim.stand.begin(Waker::noop()), Begin::Look));
    let grant = claim.seize(None);
    (claim, grant)
}

fn get(count: &Count) -> u32 {
    count.load(Ordering::Relaxed)
}

/// Two workers, of which one is about to be inside a long poll.
#[derive(Default)]
struct Pair {
    /// The other one, when it sleeps.
    asleep: Mutex<Option<Hand>>,
    bell: Condvar,
}

impl Pair {
    /// Runs what there is, if it was called; then the one that has a long poll may go on with what drives this one.
    fn drive(&self, mut hand: Hand) {
        hand.work_if_called();
        *self.asleep.lock() = Some(hand);
        self.bell.notify_one();
    }

    /// What a long poll does: it lets the other worker do what it will do while this one is here.
    fn stay(&self) {
        let mut asleep = self.asleep.lock();
        while asleep.is_none() {
            asleep = self.bell.wait(asleep).expect("the model does not panic");
        }
        let other = asleep.take();
        drop(asleep);
        let mut other = other.expect("it is there");
        other.work_if_called();
        *self.asleep.lock() = Some(other);
    }
}

/// Has two workers, one of which runs a job that stays until nobody does anything any more, run `jobs` others of a
/// leaf where so many polls were `quick` that several are taken at a time. They sleep first, or look by themselves.
fn beside_a_long_poll(jobs: u32, quick: u32, sleep: bool) {
    let scene = Scene::new(2);
    let mut pace = scene.group.pace();
    (0..quick).for_each(|_| pace.note(0));
    scene.group.set_pace(pace);
    let [mut one, mut other] = [scene.hand(), scene.hand()];
    if sleep {
        one.work();
        other.work();
    } else {
        one.call();
        other.call();
    }
    let (ran, seen) = (Count::default(), Count::default());
    let (member, pair) = (Member::new(&scene.group), Arc::<Pair>::default());
    let long = {
        let (ran, seen, pair) = (Arc::clone(&ran), Arc::clone(&seen), Arc::clone(&pair));
        move || {
            pair.stay();
            seen.store(get(&ran), Ordering::Relaxed);
        }
    };
    let rest = (0..jobs).map(|_| member.job(count(&ran)).0);
    let all: Vec<_> = std::iter::once(member.job(long).0).chain(rest).collect();
    assert!(member.0.push(all, false).is_empty());
    let thread = {
        let pair = Arc::clone(&pair);
        thread::spawn(move || pair.drive(other))
    };
    pair.drive(one);
    thread.join().expect("the model does not panic");
    assert_eq!(get(&seen), jobs, "jobs are hidden behind a long poll");
    pair.asleep.lock().take();
}

#[test]
fn what_is_pushed_as_a_worker_goes_to_sleep_is_run() {
    loom::model(|| {
        let scene = Scene::new(1);
        let mut hand = scene.hand();
        let (ran, member) = (Count::default(), Member::new(&scene.group));
        let (job, _handle) = member.job(count(&ran));
        let thread = thread::spawn(move || drop(member.0.push([job], false)));
        hand.work();
        thread.join().expect("the model does not panic");
        hand.work_if_called();
        assert_eq!(get(&ran), 1, "a wake-up is lost");
    });
}

#[test]
fn a_slot_that_a_claim_leaves_goes_to_who_waits() {
    loom::model(|| {
        let scene = Scene::new(1);
        let mut hand = scene.hand();
        hand.work();
        let (ran, member) = (Count::default(), Member::new(&scene.group));
        let (_claim, grant) = claim(&scene, &member);
        let grant = grant.expect("nobody else waits");
        let (job, _handle) = member.job(count(&ran));
        let thread = thread::spawn(move || drop(member.0.push([job], false)));
        grant.end(0);
        thread.join().expect("the model does not panic");
        hand.work_if_called();
        assert_eq!(get(&ran), 1, "a slot is free, and a job waits");
    });
}

#[test]
fn a_claim_that_finds_no_slot_has_that_of_another() {
    deep(|| {
        let scene = Scene::new(1);
        let member = Member::new(&scene.group);
        let (first, grant) = claim(&scene, &member);
        let grant = grant.expect("nobody else waits");
        let thread = thread::spawn(move || grant.end(0));
        let (second, grant) = claim(&scene, &member);
        let grant = grant.or_else(|| {
            assert!(second.stand.wait());
            second.push();
            thread.join().expect("the model does not panic");
            second.stand.take()
        });
        grant.expect("a slot is free, and a claim waits").end(0);
        assert_eq!(scene.sched.free(), 1);
        [first, second].iter().for_each(|claim| claim.leave(0));
    });
}

#[test]
fn what_is_left_in_a_ring_is_found_beside_a_long_poll() {
    loom::model(|| beside_a_long_poll(1, 0, true));
}

#[test]
fn what_a_worker_has_taken_is_found_beside_its_long_poll() {
    // Two are taken at once.
    loom::model(|| beside_a_long_poll(2, 8, false));
}
