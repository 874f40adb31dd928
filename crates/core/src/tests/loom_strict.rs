//! Edges `unit`, `decision` and `resume`: strict removal of several css, and the edge of a release.
//!
//! The main thread of a model is the one that has the structural lock: it arms, collects, removes and
//! kills. The others take and give references.

use std::sync::Mutex as Tally;

use loom::thread;

use crate::{
    css::{
        cells::{Cell, CssId, Domain},
        header::{Counting, Header},
        refcount::{self, Group, Want},
        switch::{self, Watched},
        uses::{Decision, Uses},
    },
    sync::{Arc, Mutex},
    tests::{deep, witness::Witness},
};

/// Two css, each of its own group or both of one.
struct Scene {
    domain: Domain,
    csses: Vec<(CssId, &'static Header)>,
    uses: Vec<Uses>,
    decision: Decision,
    /// What holders read, and who removes their group writes.
    witness: Witness,
    /// Not loom's: how often each css was handed to the reclaimer since it looked last.
    queued: Tally<[usize; 2]>,
}

impl Scene {
    fn new(counting: Counting, groups: usize) -> Arc<Self> {
        let domain = Domain::new();
        let ids = domain.take_ids(2).expect("an empty domain");
        let csses: Vec<_> =
            ids.into_iter().map(|id| (id, domain.header(id).expect("just taken"))).collect();
        csses.iter().for_each(|(_, header)| header.init(counting));
        let uses = (0..groups).map(|_| Uses::new()).collect();
        let (witness, queued) = (Witness::new(7), Tally::new([0, 0]));
        Arc::new(Self { domain, csses, uses, decision: Decision::new(), witness, queued })
    }

    fn uses(&self, css: usize) -> &Uses {
        &self.uses[css % self.uses.len()]
    }

    fn header(&self, css: usize) -> &'static Header {
        self.csses[css].1
    }

    fn watched(&self, css: usize) -> Watched<'_> {
        Watched { counted: self.csses[css], uses: self.uses(css) }
    }

    /// Takes a slot of this model's domain, and its cell for a css.
    fn cell(&self, css: usize) -> Option<&'static Cell> {
        let (_, block) = self.domain.take_slot()?;
        self.domain.cell(block, self.csses[css].0)
    }

    fn notify(&self, css: usize, is_zero: bool) {
        let mut queued = self.queued.lock().unwrap();
        queued[css] += usize::from(is_zero);
        assert!(queued[css] <= 1, "queued twice, and not looked at in between");
    }

    fn try_get(&self, css: usize, cell: Option<&Cell>, want: Want) -> bool {
        let group = || Group { uses: self.uses(css), decision: &self.decision };
        let got = refcount::try_get_slow(cell, self.header(css), want, group);
        self.notify(css, got.is_zero);
        got.is_reference
    }

    fn put(&self, css: usize, cell: Option<&Cell>) {
        assert_eq!(self.witness.read(), 7, "used after its removal");
        self.notify(css, refcount::put_slow(cell, self.header(css)));
    }

    /// Uses a css once, if it can be had; returns whether it could.
    fn use_once(&self, css: usize, cell: Option<&Cell>) -> bool {
        let got = self.try_get(css, cell, Want::Online);
        if got {
            self.put(css, cell);
        }
        got
    }

    fn make_exact(&self, css: usize) {
        switch::make_exact(&self.domain, &[self.watched(css)]);
    }

    fn collect(&self, css: usize) -> (u64, bool) {
        switch::collect(self.header(css), self.uses(css))
    }

    /// Looks at what was handed to the reclaimer, as it does; returns how many edges there were.
    fn look_at_queued(&self) -> usize {
        let queued = std::mem::take(&mut *self.queued.lock().unwrap());
        let queued = (0..2).filter(|css| queued[*css] > 0);
        queued
            .filter(|css| {
                assert!(!self.header(*css).dequeue(), "nothing is dead");
                self.collect(*css).1
            })
            .count()
    }

    /// Tries to remove every group; they are armed.
    fn remove(&self) -> bool {
        if (0..2).any(|css| self.collect(css).0 > 0) {
            return false;
        }
        let uses: Vec<&Uses> = self.uses.iter().collect();
        let is_removed = self.decision.close(&uses);
        if is_removed {
            self.witness.write(0);
        }
        is_removed
    }

    fn kill(&self, css: usize) {
        switch::kill(&self.domain, &[self.csses[css]], |_| panic!("the base is counted"));
    }
}

fn with<R: 'static>(
    scene: &Arc<Scene>,
    run: impl FnOnce(&Scene) -> R + 'static,
) -> thread::JoinHandle<R> {
    let scene = Arc::clone(scene);
    thread::spawn(move || run(&scene))
}

/// A group of two css, or two groups of one: each `try_get` succeeds if nothing is removed, and none if
/// everything is.
#[test]
fn css_are_removed_together_or_stay_usable_together() {
    for groups in [1, 2] {
        loom::model(move || {
            let scene = Scene::new(Counting::Exact, groups);
            scene.uses.iter().for_each(|uses| assert!(uses.leave()));
            let users = [0, 1].map(|css| {
                with(&scene, move |scene| scene.try_get(css, scene.cell(css), Want::Online))
            });
            let is_removed = scene.remove();
            let got = users.map(|user| user.join().unwrap());
            assert_eq!(got, [!is_removed; 2], "removed: {is_removed}");
        });
    }
}

/// What holders did happens before the removal that found them gone.
#[test]
fn a_removal_comes_after_the_last_put() {
    loom::model(|| {
        let scene = Scene::new(Counting::Exact, 1);
        assert!(scene.uses[0].leave());
        let first = with(&scene, |scene| scene.use_once(0, scene.cell(0)));
        let second = with(&scene, |scene| scene.use_once(0, None));
        let is_removed = scene.remove();
        let got = [first, second].map(|user| user.join().unwrap());
        assert!(is_removed || got == [true; 2], "nothing was removed, and a try_get failed");
    });
}

/// The same for a put that the switch finds in a cell.
#[test]
fn a_removal_comes_after_a_put_in_a_cell() {
    for counting in [Counting::PerThread, Counting::Fenced] {
        loom::model(move || {
            let scene = Scene::new(counting, 1);
            refcount::get_slow(None, scene.header(0));
            let holder = with(&scene, |scene| scene.put(0, scene.cell(0)));
            // The other css first: its barrier would do for what is to be shown here.
            (0..2).rev().for_each(|css| scene.make_exact(css));
            scene.uses[0].leave();
            let is_removed = scene.remove();
            holder.join().unwrap();
            assert!(is_removed || scene.remove(), "nobody holds anything");
        });
    }
}

/// The attempt that a `try_get` met is over when it looks, and another one was made.
#[test]
fn a_try_get_takes_no_later_attempt_for_its_own() {
    for is_in_use in [false, true] {
        deep(move || {
            let scene = Arc::new((Decision::new(), [Uses::new(), Uses::new(), Uses::new()]));
            let (decision, [first, second, third]) = &*scene;
            assert!(first.leave() && third.leave() && (is_in_use || second.leave()));
            let user = {
                let scene = Arc::clone(&scene);
                thread::spawn(move || scene.1[0].enter(&scene.0))
            };
            let is_removed = decision.close(&[first, second]);
            assert!(!is_removed || !is_in_use);
            assert!(decision.close(&[third]));
            assert_eq!(user.join().unwrap(), !is_removed);
        });
    }
}

/// Two css of an armed group are used; every edge is told once.
#[test]
fn each_edge_of_a_release_is_told_once() {
    loom::model(|| {
        let scene = Scene::new(Counting::Exact, 1);
        assert!(scene.uses[0].leave());
        let users = [0, 1].map(|css| with(&scene, move |scene| scene.use_once(css, None)));
        let mut edges = scene.look_at_queued();
        assert_eq!(users.map(|user| user.join().unwrap()), [true; 2]);
        edges += scene.look_at_queued();
        assert!((1..=2).contains(&edges), "{edges} edges");
        assert!(scene.uses[0].is_zero());
    });
}

/// Two users of one css: it is handed to the reclaimer once, and looked at.
#[test]
fn a_css_is_queued_once() {
    loom::model(|| {
        let scene = Scene::new(Counting::Exact, 1);
        assert!(scene.uses[0].leave());
        let users = [0, 1].map(|_| with(&scene, |scene| scene.use_once(0, None)));
        assert_eq!(users.map(|user| user.join().unwrap()), [true; 2]);
        assert_eq!(scene.look_at_queued(), 1);
        assert!(scene.uses[0].is_zero());
    });
}

/// References are put while their group is armed: its edge is found by the arming, or told.
#[test]
fn an_edge_races_with_the_arming() {
    for counting in [Counting::PerThread, Counting::Fenced] {
        loom::model(move || {
            let scene = Scene::new(counting, 1);
            refcount::get_slow(None, scene.header(0));
            let holder = with(&scene, |scene| scene.put(0, scene.cell(0)));
            let user = with(&scene, |scene| scene.use_once(0, scene.cell(0)));
            scene.make_exact(0);
            scene.collect(0);
            let mut edges = usize::from(scene.uses[0].leave());
            holder.join().unwrap();
            assert!(user.join().unwrap());
            edges += scene.look_at_queued();
            assert!((1..=2).contains(&edges), "{edges} edges");
            assert!(scene.uses[0].is_zero());
        });
    }
}

/// A group was told as releasable while a put that had raced with its arming was about to look whether its
/// share was settled: a strict removal is refused only if an edge follows.
#[test]
fn a_refusal_is_followed_by_an_edge() {
    deep(|| {
        let scene = Scene::new(Counting::PerThread, 2);
        refcount::get_slow(None, scene.header(0));
        let holder = with(&scene, |scene| scene.put(0, scene.cell(0)));
        scene.make_exact(0);
        scene.collect(0);
        let is_told = scene.uses[0].leave();
        let is_refused = switch::references(&scene.domain, scene.csses[0]) > 0;
        holder.join().unwrap();
        let edges = scene.look_at_queued();
        assert!(!is_told || !is_refused || edges > 0, "told, refused, and no edge follows");
    });
}

/// The group gets a member and loses it again, while a css is used; in the end the count is right.
#[test]
fn a_css_is_used_across_disarming_and_arming() {
    for counting in [Counting::PerThread, Counting::Fenced] {
        loom::model(move || {
            let scene = Scene::new(Counting::Exact, 1);
            assert!(scene.uses[0].leave());
            let user = with(&scene, |scene| scene.use_once(0, scene.cell(0)));
            scene.uses[0].add();
            switch::resume(scene.header(0), &scene.uses[0], counting);
            scene.make_exact(0);
            scene.collect(0);
            let mut edges = usize::from(scene.uses[0].leave());
            assert!(user.join().unwrap());
            edges += scene.look_at_queued();
            assert!((1..=2).contains(&edges), "{edges} edges");
            assert!(scene.uses[0].is_zero());
            scene.kill(0);
            assert!(refcount::put_slow(None, scene.header(0)), "only the base was left");
            assert!(scene.header(0).dequeue());
        });
    }
}

/// A strict removal is refused and the css counts in cells again; then the group is detached.
#[test]
fn a_refused_removal_leaves_the_count_right() {
    for counting in [Counting::PerThread, Counting::Fenced] {
        loom::model(move || {
            let scene = Scene::new(counting, 1);
            refcount::get_slow(None, scene.header(0));
            let holder = with(&scene, |scene| scene.put(0, scene.cell(0)));
            scene.make_exact(0);
            let (references, _) = scene.collect(0);
            assert!(references <= 1);
            switch::resume(scene.header(0), &scene.uses[0], counting);
            scene.kill(0);
            scene.notify(0, refcount::put_slow(None, scene.header(0)));
            holder.join().unwrap();
            let queued = scene.queued.lock().unwrap()[0];
            assert!(queued == 1 && scene.header(0).dequeue(), "released once");
        });
    }
}

/// The pending mark of a late `try_get` is the last that keeps a dead css from zero, and the switcher has
/// taken an older part of its cell: it notifies, and still settles the rest.
#[test]
fn a_late_try_get_settles_all_of_its_share() {
    for counting in [Counting::PerThread, Counting::Fenced] {
        deep(move || {
            let scene = Scene::new(counting, 1);
            let handed = Arc::new(Mutex::new(false));
            let user = {
                let (scene, handed) = (Arc::clone(&scene), Arc::clone(&handed));
                thread::spawn(move || {
                    let cell = scene.cell(0);
                    refcount::get_slow(cell, scene.header(0));
                    *handed.lock() = true;
                    if scene.try_get(0, cell, Want::Unreleased) {
                        scene.put(0, cell);
                    }
                    cell
                })
            };
            let is_handed = *handed.lock();
            if is_handed {
                scene.kill(0);
                scene.notify(0, refcount::put_slow(None, scene.header(0)));
                scene.notify(0, refcount::put_slow(None, scene.header(0)));
            }
            let cell = user.join().unwrap().expect("a slot");
            if is_handed {
                let queued = scene.queued.lock().unwrap()[0];
                assert!(queued == 1 && scene.header(0).dequeue(), "released once");
                assert!(cell.is_settled(), "a share is left behind");
            }
        });
    }
}
