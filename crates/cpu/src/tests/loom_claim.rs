//! The way of a grant: from who has a slot to who waits for one, while that is woken, moved, killed, dropped.

use std::task::{Wake, Waker};

use loom::thread;

use crate::{
    stand::{Begin, Left, Pause, Stand, Woken},
    sync::{Arc, AtomicU32, Mutex, Ordering},
};

/// The right to run; there is one.
#[derive(Debug, PartialEq, Eq)]
struct Slot;

/// How often somebody was told.
#[derive(Default)]
struct Told(AtomicU32);

/// A claim, and the slot while nobody has it.
struct Scene {
    stand: Stand<Slot>,
    free: Mutex<Option<Slot>>,
}

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Told {
    fn waker() -> (Arc<Self>, Waker) {
        let told = Arc::new(Self::default());
        (Arc::clone(&told), Waker::from(told))
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Scene {
    fn new() -> Arc<Self> {
        Arc::new(Self { stand: Stand::new(), free: Mutex::new(Some(Slot)) })
    }

    /// Has the claim wait, as an owner does that finds no slot.
    fn wait(&self, waker: &Waker) {
        assert!(matches!(self.stand.begin(waker), Begin::Look));
        assert!(self.stand.wait());
    }

    /// Grants the slot; if it is refused it stays free.
    fn grant(&self) {
        let Some(slot) = self.free.lock().take() else { return };
        match self.stand.grant(slot) {
            Ok(waiter) => waiter.into_iter().for_each(Waker::wake),
            Err(slot) => self.put(slot),
        }
    }

    fn put(&self, slot: Slot) {
        let former = self.free.lock().replace(slot);
        assert_eq!(former, None, "there are two slots");
    }

    /// Ends the claim, and hands on what it had.
    fn leave(&self) {
        let Left { grant, waiter, .. } = self.stand.leave();
        grant.into_iter().for_each(|slot| self.put(slot));
        drop(waiter);
    }

    fn is_free(&self) -> bool {
        self.free.lock().is_some()
    }
}

#[test]
fn a_grant_to_who_is_gone_is_handed_on() {
    loom::model(|| {
        let scene = Scene::new();
        let (_told, waker) = Told::waker();
        scene.wait(&waker);
        let granter = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.grant())
        };
        scene.leave();
        granter.join().expect("the model does not panic");
        assert!(scene.is_free(), "the slot is lost");
    });
}

#[test]
fn who_waits_is_told_of_a_grant_though_another_task_polls() {
    loom::model(|| {
        let scene = Scene::new();
        let (_former, waker) = Told::waker();
        scene.wait(&waker);
        let granter = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.grant())
        };
        let (told, waker) = Told::waker();
        let answer = scene.stand.begin(&waker);
        granter.join().expect("the model does not panic");
        match answer {
            Begin::Run(slot) => scene.put(slot),
            Begin::Wait => {
                assert_eq!(told.count(), 1, "nobody tells the task that polled last");
                assert!(matches!(scene.stand.begin(&waker), Begin::Run(Slot)));
            }
            Begin::Look | Begin::Free => panic!("it waits"),
        }
    });
}

#[test]
fn a_wake_up_while_it_runs_is_not_lost() {
    loom::model(|| {
        let scene = Scene::new();
        let (told, waker) = Told::waker();
        assert!(matches!(scene.stand.begin(&waker), Begin::Look));
        let other = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || matches!(scene.stand.wake(|| false), Woken::Queue))
        };
        let paused = scene.stand.pause(Slot);
        let is_queued = other.join().expect("the model does not panic");
        match paused {
            Pause::Again(waiter) => {
                assert!(!is_queued, "it runs on and is queued");
                waiter.into_iter().for_each(Waker::wake);
                assert_eq!(told.count(), 1);
                assert!(matches!(scene.stand.begin(&waker), Begin::Run(Slot)));
            }
            Pause::End(Slot, waiter) => {
                assert!(is_queued, "it sleeps, and was woken");
                assert!(waiter.is_none());
            }
        }
    });
}

#[test]
fn who_wakes_and_who_is_told_to_come_meet() {
    // It is idle, and a slot is free: who wakes it tells its task, and the poll looks for the slot.
    loom::model(|| {
        let scene = Scene::new();
        let (told, waker) = Told::waker();
        assert!(matches!(scene.stand.begin(&waker), Begin::Look));
        let other = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || match scene.stand.wake(|| true) {
                Woken::Tell(waiter) => waiter.wake(),
                Woken::Nothing => {}
                Woken::Queue => panic!("nobody else waits"),
            })
        };
        if let Pause::Again(waiter) = scene.stand.pause(Slot) {
            waiter.into_iter().for_each(Waker::wake);
        }
        other.join().expect("the model does not panic");
        assert_eq!(told.count(), 1, "its task is not told, or twice");
        assert!(matches!(scene.stand.begin(&waker), Begin::Run(Slot) | Begin::Look));
    });
}

#[test]
fn a_kill_and_a_grant_leave_the_slot_in_one_place() {
    loom::model(|| {
        let scene = Scene::new();
        let (told, waker) = Told::waker();
        scene.wait(&waker);
        let granter = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.grant())
        };
        let Left { grant, waiter, .. } = scene.stand.kill();
        assert!(grant.is_none());
        waiter.into_iter().for_each(Waker::wake);
        granter.join().expect("the model does not panic");
        assert!(told.count() >= 1, "it waits for ever");
        match scene.stand.begin(&waker) {
            Begin::Run(slot) => scene.put(slot),
            Begin::Free => {}
            answer => panic!("it is killed, and its poll says {answer:?}"),
        }
        assert!(scene.is_free(), "the slot is lost");
    });
}

#[test]
fn a_grant_is_revoked_or_used() {
    loom::model(|| {
        let scene = Scene::new();
        let (told, waker) = Told::waker();
        scene.wait(&waker);
        scene.grant();
        assert_eq!(told.count(), 1);
        let revoker = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || {
                let slot = scene.stand.revoke();
                let is_revoked = slot.is_some();
                slot.into_iter().for_each(|slot| scene.put(slot));
                is_revoked
            })
        };
        let answer = scene.stand.begin(&waker);
        let is_revoked = revoker.join().expect("the model does not panic");
        match answer {
            Begin::Run(slot) => {
                assert!(!is_revoked, "two have the slot");
                scene.put(slot);
            }
            // It looks for another one.
            Begin::Look => assert!(is_revoked),
            answer => panic!("it is woken, and its poll says {answer:?}"),
        }
        assert!(scene.is_free(), "the slot is lost");
    });
}
