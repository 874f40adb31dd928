//! Edges `op↔switch`, `put→release`, `kill→try_get_online` and `init→notify`.
//!
//! A [`Scene`] is one css. Whoever wins its notification *destroys* it: writes a cell that every
//! holder reads before its put, so that loom reports a race unless all that holders did happens
//! before.

use std::sync::Mutex as Tally;

use loom::thread;

use crate::{
    css::{
        cells::{Block, Cell, CssId, Domain},
        header::{Counting, Header},
        refcount::{self, Want},
        switch,
    },
    sync::{Arc, AtomicU32, Mutex, Ordering},
    tests::{deep, never_exact, witness::Witness},
};

struct Scene {
    domain: Domain,
    id: CssId,
    header: &'static Header,
    witness: Witness,
    /// Not loom's: only added to, and read when all threads are joined.
    notified: Tally<usize>,
}

impl Scene {
    fn new(asymmetric: bool) -> Arc<Self> {
        let domain = Domain::new();
        let id = domain.take_ids(1).expect("an empty domain")[0];
        let header = domain.header(id).expect("just taken");
        header.init(Counting::spread(asymmetric));
        Arc::new(Self { domain, id, header, witness: Witness::new(7), notified: Tally::new(0) })
    }

    /// Takes a slot of this model's domain, and its cell.
    fn cell(&self) -> Option<&'static Cell> {
        let (_, block): (usize, &'static Block) = self.domain.take_slot()?;
        self.domain.cell(block, self.id)
    }

    fn destroy(&self) {
        *self.notified.lock().unwrap() += 1;
        self.witness.write(0);
    }

    fn get(&self, cell: Option<&Cell>) {
        refcount::get_slow(cell, self.header);
    }

    /// Uses the css, and gives a reference back.
    fn put(&self, cell: Option<&Cell>) {
        assert_eq!(self.witness.read(), 7, "used after its destruction");
        if refcount::put_slow(cell, self.header) {
            self.destroy();
        }
    }

    fn try_get(&self, cell: Option<&Cell>, want: Want) -> bool {
        let got = refcount::try_get_slow(cell, self.header, want, never_exact);
        if got.is_zero {
            self.destroy();
        }
        got.is_reference
    }

    /// Kills the css; the base reference is still out.
    fn kill(&self) {
        switch::kill(&self.domain, &[(self.id, self.header)], |_| self.destroy());
    }

    fn assert_destroyed_once(&self) {
        assert_eq!(*self.notified.lock().unwrap(), 1, "notifications");
    }
}

fn both_modes(model: impl Fn(Arc<Scene>) + Send + Sync + Copy + 'static) {
    for asymmetric in [true, false] {
        loom::model(move || model(Scene::new(asymmetric)));
    }
}

/// As [`both_modes`], for small models of races that take four preemptions.
fn both_modes_deeply(model: impl Fn(Arc<Scene>) + Send + Sync + Copy + 'static) {
    for asymmetric in [true, false] {
        deep(move || model(Scene::new(asymmetric)));
    }
}

fn with<F>(scene: &Arc<Scene>, run: F) -> thread::JoinHandle<()>
where
    F: FnOnce(&Scene) + 'static,
{
    let scene = Arc::clone(scene);
    thread::spawn(move || run(&scene))
}

#[test]
fn a_put_races_with_the_kill() {
    both_modes(|scene| {
        scene.get(None);
        let holder = with(&scene, |scene| scene.put(scene.cell()));
        scene.kill();
        scene.put(None);
        holder.join().unwrap();
        scene.assert_destroyed_once();
    });
}

#[test]
fn two_puts_race_with_the_kill() {
    both_modes(|scene| {
        scene.get(None);
        scene.get(None);
        let first = with(&scene, |scene| scene.put(scene.cell()));
        let second = with(&scene, |scene| scene.put(scene.cell()));
        scene.kill();
        scene.put(None);
        first.join().unwrap();
        second.join().unwrap();
        scene.assert_destroyed_once();
    });
}

/// The clone's share and the first reference's are both in the cell that is being settled: without
/// the pending mark the header would show zero meanwhile.
#[test]
fn a_clone_of_an_unaccounted_reference_races_with_the_kill() {
    both_modes_deeply(|scene| {
        let cell = scene.cell();
        scene.get(cell);
        let holder = with(&scene, move |scene| {
            scene.get(cell);
            scene.put(cell);
            scene.put(cell);
        });
        scene.kill();
        scene.put(None);
        holder.join().unwrap();
        scene.assert_destroyed_once();
    });
}

/// A put and a get bring the cell back to an older count while the switcher looks at it.
#[test]
fn a_count_that_comes_back_is_captured_once() {
    both_modes_deeply(|scene| {
        let cell = scene.cell();
        scene.get(cell);
        scene.get(cell);
        let holder = with(&scene, move |scene| {
            scene.put(cell);
            scene.get(cell);
            scene.put(cell);
            scene.put(cell);
        });
        scene.kill();
        scene.put(None);
        holder.join().unwrap();
        scene.assert_destroyed_once();
    });
}

/// Taken on one thread, dropped on another, while the kill runs.
#[test]
fn a_reference_wanders() {
    both_modes(|scene| {
        let sent = Arc::new(Mutex::new(false));
        let taker = {
            let (scene, sent) = (Arc::clone(&scene), Arc::clone(&sent));
            thread::spawn(move || {
                if scene.try_get(scene.cell(), Want::Online) {
                    *sent.lock() = true;
                }
            })
        };
        let dropper = {
            let (scene, sent) = (Arc::clone(&scene), Arc::clone(&sent));
            thread::spawn(move || {
                let cell = scene.cell();
                if std::mem::take(&mut *sent.lock()) {
                    scene.put(cell);
                }
            })
        };
        scene.kill();
        scene.put(None);
        taker.join().unwrap();
        dropper.join().unwrap();
        if std::mem::take(&mut *sent.lock()) {
            scene.put(None);
        }
        scene.assert_destroyed_once();
    });
}

#[test]
fn no_try_get_online_starts_after_the_kill_and_succeeds() {
    both_modes(|scene| {
        let killed = Arc::new(AtomicU32::new(0));
        let user = {
            let (scene, killed) = (Arc::clone(&scene), Arc::clone(&killed));
            thread::spawn(move || {
                let cell = scene.cell();
                let was_killed = killed.load(Ordering::Acquire) == 1;
                if scene.try_get(cell, Want::Online) {
                    assert!(!was_killed, "a reference after the kill");
                    scene.put(cell);
                }
            })
        };
        scene.kill();
        killed.store(1, Ordering::Release);
        scene.put(None);
        user.join().unwrap();
        scene.assert_destroyed_once();
    });
}

/// Whoever comes too late, by the header or by a cell, takes nothing and leaves nothing behind.
#[test]
fn two_try_gets_race_with_the_last_put() {
    both_modes(|scene| {
        let attempt = |scene: &Scene| {
            let cell = scene.cell();
            if scene.try_get(cell, Want::Unreleased) {
                scene.put(cell);
            }
        };
        let first = with(&scene, attempt);
        let second = with(&scene, attempt);
        scene.kill();
        scene.put(None);
        first.join().unwrap();
        second.join().unwrap();
        scene.assert_destroyed_once();
    });
}
