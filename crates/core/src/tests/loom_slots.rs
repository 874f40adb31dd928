//! Edges `slot` and `chunk`: cells that change hands, and threads beyond the last slot.

use loom::thread;

use crate::{
    css::{
        cells::{CssId, Domain},
        header::{Counting, Header},
        refcount::{self, Want},
        switch,
    },
    sync::Arc,
    tests::never_exact,
};

struct Scene {
    domain: Domain,
    id: CssId,
    header: &'static Header,
}

impl Scene {
    fn new() -> Arc<Self> {
        let domain = Domain::new();
        let id = domain.take_ids(1).expect("an empty domain")[0];
        let header = domain.header(id).expect("just taken");
        header.init(Counting::PerThread);
        Arc::new(Self { domain, id, header })
    }

    /// A short thread's life: a slot if there is one, a reference, and the slot back.
    fn visit(&self, keep: bool) -> (bool, bool) {
        let slot = self.domain.take_slot();
        let cell = slot.and_then(|(_, block)| self.domain.cell(block, self.id));
        let got =
            refcount::try_get_slow(cell, self.header, Want::Unreleased, never_exact).is_reference;
        let notified = got && !keep && refcount::put_slow(cell, self.header);
        if let Some((slot, _)) = slot {
            self.domain.give_back_slot(slot);
        }
        (got, notified)
    }

    fn put(&self) -> bool {
        let slot = self.domain.take_slot();
        let notified =
            refcount::put_slow(slot.and_then(|(_, block)| block.cell(self.id)), self.header);
        if let Some((slot, _)) = slot {
            self.domain.give_back_slot(slot);
        }
        notified
    }

    fn kill(&self) {
        switch::kill(&self.domain, &[(self.id, self.header)], |_| panic!("the base is counted"));
    }
}

/// The first thread's reference is dropped by the second, in the slot that the first left.
#[test]
fn a_slot_changes_hands_during_the_kill() {
    loom::model(|| {
        let scene = Scene::new();
        let visitors = thread::spawn({
            let scene = Arc::clone(&scene);
            move || {
                let first = Arc::clone(&scene);
                let (got, _) = thread::spawn(move || first.visit(true)).join().unwrap();
                got && scene.put()
            }
        });
        scene.kill();
        let last = refcount::put_slow(None, scene.header);
        let visited = visitors.join().unwrap();
        assert!(last != visited, "exactly one notification");
    });
}

/// A slot's first chunk appears while the kill looks at the slots.
#[test]
fn a_chunk_is_made_during_the_kill() {
    loom::model(|| {
        let scene = Scene::new();
        let visitor = thread::spawn({
            let scene = Arc::clone(&scene);
            move || scene.visit(false).1
        });
        scene.kill();
        let last = refcount::put_slow(None, scene.header);
        assert!(last != visitor.join().unwrap(), "exactly one notification");
    });
}

/// Three threads share two slots.
#[test]
fn a_thread_beyond_the_last_slot_is_exact() {
    loom::model(|| {
        let scene = Scene::new();
        let _first = scene.domain.take_slot();
        let visit = |scene: &Arc<Scene>| {
            let scene = Arc::clone(scene);
            thread::spawn(move || scene.visit(false).1)
        };
        let (second, third) = (visit(&scene), visit(&scene));
        scene.kill();
        let mut notified = usize::from(refcount::put_slow(None, scene.header));
        notified += usize::from(second.join().unwrap()) + usize::from(third.join().unwrap());
        assert_eq!(notified, 1);
    });
}
