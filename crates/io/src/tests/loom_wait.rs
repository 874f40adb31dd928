//! Those who wait: a grant is taken or given back, once; nobody sleeps on who could go on; and nobody waits where no stream
//! is any more.

use loom::thread;

use super::{
    deep,
    scene::{Got, Scene},
    settle,
};
use crate::{cell::Taken, node::Figure, op::Kind, refusal::Refusal, sync::Arc, tree::Direction};

#[test]
fn a_grant_meets_a_poll_with_another_waker() {
    deep(|| {
        let scene = Scene::deep(1, None);
        let running = scene.hand(&scene.group).admit();
        let waits = scene.hand(&scene.group).wait();
        let ender = thread::spawn(move || running.end());
        let mut got = None;
        let mut bell = Arc::default();
        for _ in 0..2 {
            bell = Arc::default();
            got = waits.poll(&bell);
            if got.is_some() {
                break;
            }
        }
        ender.join().expect("the model does not panic");
        let got = got.unwrap_or_else(|| waits.wake(&bell));
        got.expect("nothing was removed").end();
        assert_eq!(scene.in_flight(), 0);
        assert_eq!(scene.bytes(&scene.group), 2);
    });
}

/// What nobody takes is the next one's.
#[test]
fn a_grant_meets_a_drop() {
    deep(|| {
        let scene = Scene::deep(1, None);
        let running = scene.hand(&scene.group).admit();
        let [first, second] = [&scene.group; 2].map(|group| scene.hand(group).wait());
        first.sleep();
        let bell = second.sleep();
        let ender = thread::spawn(move || running.end());
        first.cancel();
        ender.join().expect("the model does not panic");
        second.wake(&bell).expect("nothing was removed").end();
        assert_eq!(scene.in_flight(), 0);
        assert_eq!(scene.bytes(&scene.group), 2);
        assert_eq!(scene.charged(scene.group.id), 2);
        assert_eq!(scene.figure(&scene.group, Figure::Waiting), 0);
    });
}

/// As a future does that is leaked, when its stream is dropped.
#[test]
fn a_grant_meets_the_end_of_a_stream() {
    deep(|| {
        let scene = Scene::deep(1, None);
        let running = scene.hand(&scene.group).admit();
        let hand = scene.hand(&scene.group);
        hand.wait().sleep();
        let second = scene.hand(&scene.group).wait();
        let bell = second.sleep();
        let ender = thread::spawn(move || running.end());
        scene.sched().shut(hand.flow);
        ender.join().expect("the model does not panic");
        second.wake(&bell).expect("nothing was removed").end();
        assert_eq!(scene.in_flight(), 0);
        assert_eq!(scene.bytes(&scene.group), 2);
    });
}

#[test]
fn a_grant_meets_a_kill() {
    deep(|| {
        let scene = Scene::deep(1, None);
        let running = scene.hand(&scene.group).admit();
        let hand = scene.hand(&scene.group);
        let waits = hand.wait();
        let bell = waits.sleep();
        let ender = thread::spawn(move || running.end());
        scene.sched().refuse_flow(hand.flow, Refusal::Killed);
        ender.join().expect("the model does not panic");
        let is_granted = match waits.wake(&bell) {
            Ok(admitted) => {
                admitted.end();
                true
            }
            Err(why) => {
                assert_eq!(why, Refusal::Killed);
                false
            }
        };
        assert_eq!(scene.in_flight(), 0);
        assert_eq!(scene.bytes(&scene.group), 1 + u64::from(is_granted));
        assert_eq!(scene.figure(&scene.group, Figure::Waiting), 0);
    });
}

#[test]
fn who_is_about_to_wait_meets_an_end() {
    deep(|| {
        let scene = Scene::deep(1, None);
        let running = scene.hand(&scene.group).admit();
        let ender = thread::spawn(move || running.end());
        let got = settle(scene.hand(&scene.group).acquire(), || ender.join().expect("it ends"));
        got.expect("nothing was removed").end();
        assert_eq!(scene.in_flight(), 0);
    });
}

#[test]
fn who_is_about_to_wait_meets_what_is_given_back() {
    deep(|| {
        let scene = Scene::limited(1);
        let giver = scene.hand(&scene.group);
        assert!(giver.read(1), "there is room");
        let giver = thread::spawn(move || giver.give_back(1));
        let got = settle(scene.hand(&scene.group).acquire(), || giver.join().expect("it ends"));
        got.expect("nothing was removed").end();
        assert_eq!(scene.bytes(&scene.group), 1);
        assert_eq!(scene.drain(), 0);
    });
}

/// While somebody waits nobody has a lease, nor gets one.
#[test]
fn who_is_about_to_wait_meets_who_takes_from_a_lease() {
    deep(|| {
        let scene = Scene::limited(4);
        let [one, other] = [&scene.group; 2].map(|group| scene.hand(group));
        assert!(one.read(1), "and has a lease");
        let reader = thread::spawn({
            let one = one.clone();
            move || u64::from(one.read(1))
        });
        let mut read = 1;
        let waits = loop {
            match other.acquire() {
                Got::Room(_) => read += 1,
                Got::Turn(waits) => break waits,
                Got::Nothing(why) => panic!("{why}"),
            }
        };
        read += reader.join().expect("the model does not panic");
        assert_eq!(read, 4, "somebody waits beside a lease");
        for hand in [&one, &other] {
            assert_eq!(hand.cell.take(Kind::Read, 0), Taken::Short, "somebody has a lease");
            assert_eq!(hand.cell.sweep(Direction::Read).ops, 0);
        }
        waits.cancel();
        assert_eq!(scene.bytes(&scene.group), 4);
    });
}

/// Two have ended, and of two who wait one goes away: the other has a place, and so does who comes.
#[test]
fn two_ends_meet_a_drop() {
    deep(|| {
        let scene = Scene::deep(2, None);
        let running = [(); 2].map(|()| scene.hand(&scene.group).admit());
        let [first, second] = [&scene.group; 2].map(|group| scene.hand(group).wait());
        first.sleep();
        let bell = second.sleep();
        let enders = running.map(|running| thread::spawn(move || running.end()));
        first.cancel();
        let got = settle(scene.hand(&scene.group).acquire(), || {
            enders.into_iter().for_each(|ender| ender.join().expect("it ends"));
        });
        for got in [got, second.wake(&bell)] {
            got.expect("nothing was removed").end();
        }
        assert_eq!(scene.in_flight(), 0);
        assert_eq!(scene.bytes(&scene.group), 4);
        assert_eq!(scene.charged(scene.group.id), 4);
    });
}

/// There is room for all at once, and they are woken in several goes.
#[test]
fn all_who_wait_are_woken() {
    deep(|| {
        let scene = Scene::deep(1, None);
        let running = scene.hand(&scene.group).admit();
        let [first, second] = [&scene.group; 2].map(|group| scene.hand(group).wait());
        let bell = first.sleep();
        let opener = thread::spawn({
            let device = Arc::clone(&scene.device);
            move || device.sched.set_depth(None)
        });
        let last = Arc::default();
        let got = second.poll(&last);
        opener.join().expect("the model does not panic");
        let got = got.unwrap_or_else(|| second.wake(&last));
        for got in [got, first.wake(&bell)] {
            got.expect("nothing was removed").end();
        }
        running.end();
        assert_eq!(scene.bytes(&scene.group), 3);
    });
}

/// Who is held by the depth, and then by a limit, is looked after when nothing but time can help.
#[test]
fn who_waits_for_a_limit_has_an_alarm() {
    deep(|| {
        let scene = Scene::deep(1, Some(1));
        let running = scene.hand(&scene.group).admit();
        let waits = scene.hand(&scene.group).wait();
        let ender = thread::spawn(move || running.end());
        let got = settle(scene.hand(&scene.root).acquire(), || ender.join().expect("it ends"));
        scene.check_alarm();
        got.expect("nothing was removed").end();
        scene.check_alarm();
        waits.cancel();
    });
}
