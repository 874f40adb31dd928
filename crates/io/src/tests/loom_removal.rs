//! Groups and devices that are removed, and streams that are moved, as somebody asks: nobody waits where nothing comes
//! any more, and what is granted is charged and counted in one place.

use loom::thread;

use super::{
    deep,
    scene::{Admitted, Got, Hand, Scene},
    settle,
};
use crate::{node::Figure, refusal::Refusal, sync::Arc};

/// Asks, and looks what came of it when `other` is over.
fn ask(hand: &Hand, other: thread::JoinHandle<()>) -> Result<Admitted, Refusal> {
    settle(hand.acquire(), || other.join().expect("the model does not panic"))
}

#[test]
fn who_is_about_to_wait_meets_the_removal_of_its_group() {
    deep(|| {
        let scene = Scene::limited(1);
        assert_eq!(scene.drain(), 1);
        let below = scene.add(&scene.group);
        let hand = scene.hand(&below);
        let remover = thread::spawn({
            let below = Arc::clone(&below);
            move || {
                let sched = &below.device.sched;
                sched.retire(&below);
                // As the ticker, who is called for that time.
                if sched.next().is_some_and(|next| next.is_zero()) {
                    sched.pump_now();
                }
            }
        });
        let got = ask(&hand, remover);
        assert_eq!(got.err(), Some(Refusal::Removed));
        assert_eq!(scene.figure(&scene.group, Figure::Waiting), 0);
        assert!(matches!(hand.acquire(), Got::Nothing(Refusal::Removed)));
        assert_eq!(scene.bytes(&scene.group), 1);
    });
}

#[test]
fn who_asks_meets_the_removal_of_its_device() {
    deep(|| {
        let scene = Scene::deep(1, None);
        let running = scene.hand(&scene.group).admit();
        let hand = scene.hand(&scene.group);
        let remover = thread::spawn({
            let device = Arc::clone(&scene.device);
            move || {
                device.sched.close();
                running.end();
            }
        });
        match ask(&hand, remover) {
            Ok(_) => panic!("the place was given back after the device was gone"),
            Err(why) => assert_eq!(why, Refusal::DeviceGone),
        }
        assert!(matches!(hand.acquire(), Got::Nothing(Refusal::DeviceGone)));
        assert_eq!(scene.in_flight(), 0);
        assert_eq!(scene.figure(&scene.group, Figure::Waiting), 0);
    });
}

/// Where it goes there is room.
#[test]
fn who_is_about_to_wait_meets_a_move() {
    deep(|| {
        let scene = Scene::limited(1);
        assert_eq!(scene.drain(), 1);
        let there = scene.add(&scene.root);
        let hand = scene.hand(&scene.group);
        let mover = thread::spawn({
            let (there, flow) = (Arc::clone(&there), hand.flow);
            move || {
                let sched = &there.device.sched;
                assert!(sched.move_flow(flow, &there));
                sched.pump_now();
            }
        });
        let admitted = match ask(&hand, mover) {
            Ok(admitted) => admitted,
            // As a stream does that was moved.
            Err(Refusal::Removed) => hand.moved(&there).admit(),
            Err(why) => panic!("{why}"),
        };
        assert_eq!(admitted.node().key, there.key);
        assert_eq!([&scene.group, &there].map(|node| scene.bytes(node)), [1, 1]);
        assert_eq!([&scene.group, &there].map(|node| scene.charged(node.id)), [1, 1]);
        let waiting = [&scene.group, &there].map(|node| scene.figure(node, Figure::Waiting));
        assert_eq!(waiting, [0, 0]);
        admitted.end();
    });
}

/// What was granted before the move, or after it, is given back where it was charged.
#[test]
fn a_drop_meets_a_grant_and_a_move() {
    deep(|| {
        let scene = Scene::deep(1, None);
        let there = scene.add(&scene.root);
        let running = scene.hand(&scene.root).admit();
        let hand = scene.hand(&scene.group);
        let waits = hand.wait();
        waits.sleep();
        let ender = thread::spawn(move || running.end());
        let mover = thread::spawn({
            let (there, flow) = (Arc::clone(&there), hand.flow);
            move || assert!(there.device.sched.move_flow(flow, &there))
        });
        waits.cancel();
        for thread in [ender, mover] {
            thread.join().expect("the model does not panic");
        }
        assert_eq!(scene.in_flight(), 0);
        assert_eq!([&scene.group, &there].map(|node| scene.bytes(node)), [0, 0]);
        assert_eq!([&scene.group, &there].map(|node| scene.charged(node.id)), [0, 0]);
        assert_eq!(scene.charged(scene.root.id), 1);
    });
}
