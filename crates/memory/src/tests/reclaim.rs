//! Reclaim as charges use it, and what it leaves for others to see.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use fief_core::{Cgroup, Controller, CssRef, Limit, Registry, VirtualClock};

use crate::{
    Memory, MemoryCss, Pass, ReclaimCx, Reclaimed, Reclaimer, ReclaimerGuard, SpillOptions,
    node::Node,
    reclaim::{
        Goal, Outcome, reclaim_for,
        registration::{Called, Giver},
        run,
    },
};

const M: u64 = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);

/// Reclaims for somebody who charges nowhere.
fn room_for(at: &Arc<Node>, want: u64, deepest: Pass) -> Outcome {
    run(at, None, Goal::Room(want), deepest)
}

struct Scene {
    memory: Controller<Memory>,
    pool: Cgroup,
    css: CssRef<MemoryCss>,
    clock: VirtualClock,
    _registry: Registry,
}

impl Scene {
    fn new() -> Self {
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("h").unwrap();
        let clock = VirtualClock::new();
        let subsystem = Memory::builder().clock(Arc::new(clock.clone())).build();
        let memory = registry.register(subsystem).unwrap();
        memory.bind(&hierarchy).unwrap();
        let pool = hierarchy.root().create_child("pool").unwrap();
        let css = memory.css(&pool).unwrap();
        Self { memory, pool, css, clock, _registry: registry }
    }

    fn hoard(&self, name: &str, pass: Pass, bytes: u64) -> (Arc<Hoard>, ReclaimerGuard) {
        let css = self.memory.css(&self.pool.create_child(name).unwrap()).unwrap();
        css.try_charge(bytes).unwrap();
        let hoard = Arc::new(Hoard { css, pass, bytes: AtomicU64::new(bytes) });
        let guard = hoard.css.add_reclaimer(Arc::<Hoard>::clone(&hoard));
        (hoard, guard)
    }
}

/// Gives to the byte.
struct Hoard {
    css: CssRef<MemoryCss>,
    pass: Pass,
    bytes: AtomicU64,
}

impl Hoard {
    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Reclaimer for Hoard {
    fn pass(&self) -> Pass {
        self.pass
    }

    fn reclaimable(&self) -> u64 {
        self.bytes()
    }

    fn reclaim(&self, want: u64, _: &ReclaimCx<'_>) -> Reclaimed {
        let given = want.min(self.bytes());
        self.bytes.fetch_sub(given, Ordering::Relaxed);
        self.css.uncharge(given);
        Reclaimed::Done(given)
    }
}

impl Drop for Hoard {
    fn drop(&mut self) {
        self.css.uncharge(self.bytes());
    }
}

#[test]
fn a_charge_reclaims_what_it_lacks_and_no_deeper_than_it_says() {
    let scene = Scene::new();
    let passes = [Pass::Benign, Pass::Evict, Pass::Destructive];
    let hoards = passes.map(|pass| scene.hoard(&format!("{pass:?}"), pass, 4 * M));
    let node = &scene.css.node;
    assert_eq!(room_for(node, 100 * M, Pass::Destructive), Outcome::default(), "there is no max");
    scene.css.set_max(Limit::At(13 * M));
    let left = || hoards.each_ref().map(|(hoard, _)| hoard.bytes() / M);
    assert_eq!(room_for(node, M, Pass::Destructive), Outcome::default(), "there is room");
    assert_eq!(room_for(node, 3 * M, Pass::Benign).freed, 2 * M, "so much is lacking");
    assert_eq!(room_for(node, 8 * M, Pass::Benign).freed, 2 * M);
    assert_eq!(left(), [0, 4, 4]);
    assert_eq!(room_for(node, 13 * M, Pass::Spill).freed, 4 * M);
    assert_eq!(left(), [0, 0, 4]);
    assert_eq!(room_for(node, 10 * M, Pass::Destructive).freed, M);
    assert_eq!(left(), [0, 0, 3]);
}

#[test]
fn who_charges_gives_first_above_its_fair_share_and_last_below() {
    let scene = Scene::new();
    let (greedy, _greedy) = scene.hoard("greedy", Pass::Evict, 8 * M);
    let (modest, _modest) = scene.hoard("modest", Pass::Evict, 2 * M);
    scene.css.set_max(Limit::At(10 * M));
    let (at, asks) = (&scene.css.node, |hoard: &Hoard, bytes| {
        reclaim_for(&scene.css.node, &hoard.css.node, bytes, Pass::Evict).freed
    });
    assert_eq!(asks(&greedy, M), M);
    assert_eq!((greedy.bytes(), modest.bytes()), (7 * M, 2 * M));
    assert_eq!(asks(&modest, 2 * M), M);
    assert_eq!((greedy.bytes(), modest.bytes()), (6 * M, 2 * M));
    // The others have nothing left: then it is one's own turn.
    assert_eq!(asks(&modest, 9 * M), 7 * M);
    assert_eq!((greedy.bytes(), modest.bytes()), (0, M));
    assert_eq!(at.counter.current(), M);
}

#[test]
fn to_be_asked_for_what_low_keeps_is_an_event() {
    let scene = Scene::new();
    let (hoard, _guard) = scene.hoard("low", Pass::Evict, 8 * M);
    hoard.css.set_low(Limit::At(6 * M));
    let events = || {
        let of = |css: &MemoryCss| (css.stats().events_local.low, css.stats().events.low);
        (of(&hoard.css), of(&scene.css))
    };
    assert!(scene.css.reclaim(2 * M).is_ok());
    assert_eq!(events(), ((0, 0), (0, 0)));
    assert!(scene.css.reclaim(4 * M).is_ok());
    assert_eq!(events(), ((1, 1), (0, 1)), "once a reclaim");
    assert_eq!(hoard.bytes(), 2 * M);
}

#[test]
fn a_group_that_is_being_removed_protects_nothing() {
    let scene = Scene::new();
    let (hoard, _guard) = scene.hoard("min", Pass::Evict, 2 * M);
    hoard.css.set_min(Limit::At(2 * M));
    assert_eq!(scene.css.reclaim(M).unwrap_err().freed, 0);
    hoard.css.node.close();
    assert!(scene.css.reclaim(M).is_ok_and(|freed| freed == M));
}

#[test]
fn spills_and_reclaimers_count_as_under_way_for_a_second() {
    let scene = Scene::new();
    let child = scene.memory.css(&scene.pool.create_child("child").unwrap()).unwrap();
    child.try_charge(4 * M).unwrap();
    let spiller = child.spiller(SpillOptions::new());
    spiller.set_spillable(4 * M);
    let under_way = || scene.css.node.spills_under_way();
    assert_eq!(under_way(), 0);
    scene.css.reclaim(M).unwrap_err();
    assert_eq!((under_way(), child.node.spills_under_way()), (1, 1), "asked");
    scene.clock.advance(SECOND);
    assert_eq!(under_way(), 0);
    let ticket = spiller.try_next().unwrap();
    assert_eq!(under_way(), 1, "taken");
    scene.clock.advance(SECOND);
    assert_eq!(under_way(), 0);
    child.uncharge(M);
    assert_eq!(under_way(), 1, "usage fell");
    drop(ticket);
    assert_eq!(under_way(), 0);
    child.uncharge(3 * M);
}

#[test]
fn a_reclaimer_that_runs_is_under_way_for_a_second() {
    struct Slow(Mutex<(mpsc::Sender<()>, mpsc::Receiver<()>)>);
    impl Reclaimer for Slow {
        fn reclaimable(&self) -> u64 {
            M
        }
        fn reclaim(&self, _: u64, _: &ReclaimCx<'_>) -> Reclaimed {
            let channels = self.0.lock().unwrap();
            channels.0.send(()).unwrap();
            channels.1.recv().ok();
            Reclaimed::Busy
        }
    }
    let scene = Scene::new();
    scene.css.try_charge(M).unwrap();
    let ((enter, entered), (release, released)) = (mpsc::channel(), mpsc::channel());
    let _guard = scene.css.add_reclaimer(Arc::new(Slow(Mutex::new((enter, released)))));
    thread::scope(|scope| {
        scope.spawn(|| scene.css.reclaim(M).unwrap_err());
        entered.recv().unwrap();
        assert_eq!(scene.css.node.spills_under_way(), 1);
        assert!(room_for(&scene.css.node, M, Pass::Evict) == Outcome::default());
        scene.clock.advance(SECOND);
        assert_eq!(scene.css.node.spills_under_way(), 0);
        release.send(()).unwrap();
    });
    assert_eq!(scene.css.node.spills_under_way(), 0);
    scene.css.uncharge(M);
}

#[test]
fn registrations_are_counted_up_the_tree_until_they_end() {
    let scene = Scene::new();
    let has_any = || scene.css.node.has_givers_below();
    assert!(!has_any());
    let (hoard, guard) = scene.hoard("a", Pass::Evict, M);
    let spiller = hoard.css.spiller(SpillOptions::new());
    let root = scene.css.node.parent.as_ref().unwrap();
    drop(guard);
    assert!(has_any() && root.has_givers_below());
    drop(spiller);
    assert!(!has_any() && !root.has_givers_below());
    assert!(hoard.css.node.givers().is_some_and(|here| here.is_empty()));
}

/// A spiller may come to the roll above although it is unregistered: as the group goes, at that moment.
#[test]
fn an_owner_that_is_gone_is_not_asked() {
    let scene = Scene::new();
    let giver = Giver::owner(Arc::clone(&scene.css.account), 100);
    assert!(matches!(giver.estimate(), Called::Returned(0)));
    giver.sweep.close();
    assert!(matches!(giver.estimate(), Called::Gone));
}
