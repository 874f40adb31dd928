//! Edge `frozen`, and that a task is told last what holds.

use loom::thread;

use crate::{
    freeze::{teller::Teller, word::Word},
    sync::{Arc, AtomicU32, Mutex, Ordering},
    tests::witness::Witness,
};

/// Two members of a child group that stop, and whoever finds its parent frozen.
struct Scene {
    moves: Mutex<()>,
    parent: Word,
    child: Word,
    done: [Witness; 2],
}

impl Scene {
    fn stop(&self, member: usize) {
        self.done[member].write(7);
        let moves = self.moves.lock();
        if self.child.sub().is_edge {
            self.parent.sub();
        }
        drop(moves);
    }

    fn look(&self) {
        if self.parent.is_frozen() {
            assert!(self.done.iter().all(|done| done.read() == 7));
        }
    }
}

#[test]
fn what_members_did_before_they_stopped_is_seen() {
    loom::model(|| {
        let done = std::array::from_fn(|_| Witness::new(0));
        let (parent, child) = (Word::new(false), Word::new(false));
        let scene = Arc::new(Scene { moves: Mutex::new(()), parent, child, done });
        scene.parent.add();
        assert_eq!([scene.child.add().is_edge, scene.child.add().is_edge], [true, false]);
        let members = [0, 1].map(|member| {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.stop(member))
        });
        scene.parent.set_in_effect(true);
        scene.look();
        for member in members {
            member.join().unwrap();
        }
        assert!(scene.parent.is_frozen());
        scene.look();
    });
}

/// Freezes and thaws on two threads; what the callback leaves behind must be what holds.
struct Worker {
    structure: Mutex<()>,
    asked: AtomicU32,
    teller: Teller<()>,
    heard: AtomicU32,
}

impl Worker {
    fn ask(&self, asked: bool) {
        let structure = self.structure.lock();
        self.asked.store(asked.into(), Ordering::Relaxed);
        drop(structure);
        self.tell();
    }

    fn tell(&self) {
        let is_asked = || self.asked.load(Ordering::Relaxed) > 0;
        let run = |(), asked: bool| self.heard.store(asked.into(), Ordering::Relaxed);
        self.teller.tell(is_asked, run);
    }

    fn check(&self) {
        let words = [&self.asked, &self.heard].map(|word| word.load(Ordering::Relaxed));
        assert_eq!(words[0], words[1], "told what does not hold");
    }
}

fn worker() -> Arc<Worker> {
    let (structure, teller) = (Mutex::new(()), Teller::new());
    let (asked, heard) = (AtomicU32::new(0), AtomicU32::new(0));
    Arc::new(Worker { structure, asked, teller, heard })
}

#[test]
fn the_last_that_is_told_is_what_holds() {
    loom::model(|| {
        let worker = worker();
        worker.teller.set(());
        let others = [true, false].map(|asked| {
            let worker = Arc::clone(&worker);
            thread::spawn(move || worker.ask(asked))
        });
        for other in others {
            other.join().unwrap();
        }
        worker.check();
    });
}

#[test]
fn a_callback_that_comes_late_is_told() {
    loom::model(|| {
        let worker = worker();
        let other = {
            let worker = Arc::clone(&worker);
            thread::spawn(move || worker.ask(true))
        };
        worker.teller.set(());
        worker.tell();
        other.join().unwrap();
        worker.check();
    });
}
