//! Edges `push→take` and `bell`, and a put that is overtaken by the end of its css.

use loom::thread;

use crate::{
    css::{
        cells::{CssId, Domain},
        header::Counting,
        mailbox::Mailbox,
        refcount,
        release::ReleaseList,
        switch,
    },
    sync::{Arc, Ordering},
    tests::{deep, witness::Witness},
};

struct Scene {
    domain: Domain,
    list: ReleaseList,
    mailbox: Mailbox,
    ids: Vec<CssId>,
    written: [Witness; 3],
}

impl Scene {
    fn new() -> Arc<Self> {
        let domain = Domain::new();
        let ids = domain.take_ids(2).expect("an empty domain");
        let (list, mailbox) = (ReleaseList::new(), Mailbox::new());
        let written = std::array::from_fn(|_| Witness::new(0));
        Arc::new(Self { domain, list, mailbox, ids, written })
    }

    fn write(&self, index: usize) {
        self.written[index].write(7);
    }

    fn read(&self, index: usize) -> u64 {
        self.written[index].read()
    }

    fn push(&self, index: usize) {
        self.write(index);
        self.list.push(&self.domain, self.ids[index]);
    }
}

#[test]
fn what_was_pushed_is_taken_once_and_seen_whole() {
    loom::model(|| {
        let scene = Scene::new();
        let pushers = [0, 1].map(|index| {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.push(index))
        });
        let mut taken = scene.list.take(&scene.domain);
        for id in &taken {
            let index = scene.ids.iter().position(|known| known == id).expect("an id pushed");
            assert_eq!(scene.read(index), 7);
        }
        for pusher in pushers {
            pusher.join().unwrap();
        }
        taken.extend(scene.list.take(&scene.domain));
        taken.sort();
        assert_eq!(taken, scene.ids);
    });
}

/// A drop delivers and rings; the reclaimer hears, looks, and falls asleep unless rung.
#[test]
fn no_wake_up_is_lost() {
    loom::model(|| {
        let scene = Scene::new();
        let dropper = thread::spawn({
            let scene = Arc::clone(&scene);
            move || {
                scene.mailbox.list.push(&scene.domain, scene.ids[0]);
                scene.mailbox.ring()
            }
        });
        let was_rung = scene.mailbox.is_rung();
        scene.mailbox.hear();
        let has_mail = !scene.mailbox.list.is_empty();
        assert!(has_mail || !was_rung, "what was rung for is there");
        let is_asleep = scene.mailbox.doze();
        let is_woken = dropper.join().unwrap();
        assert!(has_mail || is_woken || !is_asleep, "the reclaimer sleeps beside its mail");
    });
}

/// A put is stalled after its share was taken. Meanwhile the css is released, the id is given to a
/// second css, and that one comes to its end too: each is notified once, and who notifies for the
/// second sees it, even the straggler of the first.
#[test]
fn a_put_stalls_across_release_grace_and_id_reuse() {
    deep(|| {
        let scene = Scene::new();
        let id = scene.ids[0];
        let header = scene.domain.header(id).expect("taken");
        header.init(Counting::PerThread);
        refcount::get_slow(None, header);
        let straggler = thread::spawn({
            let scene = Arc::clone(&scene);
            move || {
                let cell =
                    scene.domain.take_slot().and_then(|(_, block)| scene.domain.cell(block, id));
                if !refcount::put_slow(cell, header) {
                    return None;
                }
                // As `Core::notify` does: the css of this id, whichever it is by now.
                let index = header.arena.load(Ordering::Relaxed) as usize;
                if index > 0 {
                    assert_eq!(scene.read(index), 7, "the second css as it was made");
                }
                scene.list.push(&scene.domain, id);
                Some(index)
            }
        });
        let end = || {
            switch::kill(&scene.domain, &[(id, header)], |_| panic!("the base is counted"));
            refcount::put_slow(None, header)
        };
        let mut ends = [0, 0];
        ends[0] += usize::from(end() || !scene.list.take(&scene.domain).is_empty());
        let is_reused = ends[0] == 1;
        if is_reused {
            scene.write(1);
            header.arena.store(1, Ordering::Relaxed);
            header.init(Counting::PerThread);
            ends[1] += usize::from(end());
        }
        match straggler.join().unwrap() {
            Some(1) => ends[1] += 1,
            // Taken from the list already, if the id was reused.
            Some(_) if !is_reused => ends[0] += 1,
            _ => {}
        }
        assert_eq!(ends, [1, usize::from(is_reused)], "one notification a css");
    });
}
