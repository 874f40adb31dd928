//! Edge `told`: notices of one group coalesce, and the last edge is always told.

use std::{collections::VecDeque, sync::Mutex as Tally};

use loom::thread;

use crate::{
    css::{
        cells::Domain,
        header::{Counting, Header},
        refcount::{self, Group, Want},
        switch,
        uses::{Decision, Uses},
    },
    notice::line::{Line, Told},
    sync::{Arc, AtomicU64, Mutex},
};

/// A group of one css.
struct Entry {
    header: &'static Header,
    uses: Uses,
    notice: AtomicU64,
}

impl Told for Entry {
    fn notice(&self) -> &AtomicU64 {
        &self.notice
    }

    fn is_releasable(&self) -> bool {
        self.uses.is_zero()
    }
}

/// What is not loom's: the model is one thread at a time between loom's own operations.
#[derive(Default)]
struct Log {
    /// How often the css was used, and how much of that a receiver that found it unused has seen.
    uses: usize,
    seen: usize,
    /// Whether the css was handed to the reclaimer.
    is_queued: bool,
    edges: usize,
    sent: usize,
}

struct Scene {
    entry: Arc<Entry>,
    decision: Decision,
    /// The line, and a channel that has room for all.
    outbox: Mutex<(Line<Entry>, VecDeque<Arc<Entry>>)>,
    log: Tally<Log>,
}

impl Scene {
    fn new() -> Arc<Self> {
        let domain = Domain::new();
        let id = domain.take_ids(1).expect("an empty domain")[0];
        let header = domain.header(id).expect("just taken");
        header.init(Counting::Exact);
        let entry = Arc::new(Entry { header, uses: Uses::new(), notice: AtomicU64::new(0) });
        assert!(entry.uses.leave(), "armed");
        let outbox = Mutex::new((Line::new(), VecDeque::new()));
        Arc::new(Self { entry, decision: Decision::new(), outbox, log: Tally::default() })
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap()
    }

    /// Takes a reference to the css, and drops it.
    fn use_once(&self) {
        let group = || Group { uses: &self.entry.uses, decision: &self.decision };
        let got = refcount::try_get_slow(None, self.entry.header, Want::Online, group);
        assert!(got.is_reference);
        self.log().uses += 1;
        let is_zero = refcount::put_slow(None, self.entry.header);
        self.log().is_queued |= is_zero;
    }

    /// Looks at the css if it was handed to the reclaimer, and tells of an edge.
    fn reclaim(&self) {
        if !std::mem::take(&mut self.log().is_queued) {
            return;
        }
        assert!(!self.entry.header.dequeue());
        let (_, is_edge) = switch::collect(self.entry.header, &self.entry.uses);
        if is_edge {
            self.log().edges += 1;
            let mut outbox = self.outbox.lock();
            outbox.0.join(&self.entry);
            self.move_on(&mut outbox);
        }
    }

    fn move_on(&self, (line, channel): &mut (Line<Entry>, VecDeque<Arc<Entry>>)) {
        while let Some(entry) = line.next() {
            channel.push_back(entry);
            self.log().sent += 1;
        }
        assert!(channel.len() <= 1, "two notices of one group are on their way");
    }

    /// Receives a notice, if there is one, and accepts it.
    fn receive(&self) {
        let Some(entry) = self.outbox.lock().1.pop_front() else { return };
        let mut outbox = self.outbox.lock();
        let is_releasable = outbox.0.end(&entry);
        self.move_on(&mut outbox);
        drop(outbox);
        if is_releasable {
            let mut log = self.log();
            log.seen = log.uses;
        }
    }
}

#[test]
fn the_last_edge_is_told_and_none_twice() {
    loom::model(|| {
        let scene = Scene::new();
        scene.use_once();
        scene.reclaim();
        let user = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.use_once())
        };
        let receiver = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.receive())
        };
        scene.reclaim();
        user.join().unwrap();
        scene.reclaim();
        receiver.join().unwrap();
        scene.receive();
        let log = scene.log();
        assert_eq!(log.seen, log.uses, "the last edge was not told");
        assert!(log.sent <= log.edges, "{} notices of {} edges", log.sent, log.edges);
    });
}
