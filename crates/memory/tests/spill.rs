//! Spilling by the owner: on its own thread, in its own task, or not at all.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use fief_core::{Cgroup, Controller, CssRef, Limit, Registry, VirtualClock};
use fief_memory::{
    Memory, MemoryCss, Pass, ReclaimCx, Reclaimed, Reclaimer, SpillOptions, SpillTicket, Spiller,
};

use self::cache::Cache;

#[path = "support/cache.rs"]
#[expect(dead_code, reason = "other tests look closer at a cache")]
mod cache;

const M: u64 = 1 << 20;
const SECOND: Duration = Duration::from_secs(1);

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
        let hierarchy = registry.create_hierarchy("h").expect("the name is free");
        let clock = VirtualClock::new();
        let subsystem = Memory::builder().clock(Arc::new(clock.clone())).build();
        let memory = registry.register(subsystem).expect("the name is free");
        memory.bind(&hierarchy).expect("it is inactive");
        let pool = hierarchy.root().create_child("pool").expect("the name is free");
        let css = memory.css(&pool).expect("bound here");
        Self { memory, pool, css, clock, _registry: registry }
    }

    fn child(&self, name: &str) -> CssRef<MemoryCss> {
        let group = self.pool.create_child(name).expect("the name is free");
        self.memory.css(&group).expect("bound here")
    }
}

/// An owner of `bytes` that are charged to `css` and can be spilled.
fn owner(css: &MemoryCss, bytes: u64) -> Spiller {
    css.try_charge(bytes).expect("there is room");
    let spiller = css.spiller(SpillOptions::new());
    spiller.set_spillable(bytes);
    spiller
}

/// Asks for `bytes` that only owners have; returns how much was started.
fn ask(css: &MemoryCss, bytes: u64) -> u64 {
    css.reclaim(bytes).expect_err("spilling comes later").started
}

#[test]
fn an_owner_on_a_thread_of_its_own_spills_what_a_lowered_max_lacks() {
    let scene = Scene::new();
    let spiller = owner(&scene.css, 8 * M);
    let css = CssRef::clone(&scene.css);
    let spilling = thread::spawn(move || {
        let ticket = spiller.wait_blocking(SECOND).expect("the clock stands");
        css.uncharge(ticket.want());
        ticket.want()
    });
    scene.css.set_max(Limit::At(2 * M));
    assert_eq!(spilling.join().unwrap(), 6 * M);
    assert_eq!(scene.css.current(), 2 * M);
    assert_eq!(scene.css.reclaim_stats().freed, 6 * M);
    scene.css.uncharge(2 * M);
}

#[test]
fn a_charge_that_waits_is_granted_what_an_owner_spills() {
    let scene = Scene::new();
    let css = scene.child("query");
    scene.css.set_max(Limit::At(8 * M));
    let spiller = owner(&css, 8 * M);
    let spilling = thread::spawn(move || {
        let ticket = spiller.wait_blocking(SECOND).expect("the clock stands");
        assert!(ticket.want() >= 3 * M);
        css.uncharge(ticket.want());
        css.current()
    });
    let charger = scene.child("charger");
    charger.charge_blocking(3 * M, Some(SECOND)).expect("room is made");
    assert!(scene.css.current() <= 8 * M);
    let left = spilling.join().unwrap();
    charger.uncharge(3 * M);
    assert_eq!(scene.css.current(), left);
}

#[test]
fn waiting_on_a_thread_ends_by_the_controllers_clock() {
    let scene = Scene::new();
    let spiller = owner(&scene.css, M);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let ticket = spiller.wait_blocking(SECOND);
            is_over.store(true, Ordering::Relaxed);
            ticket.is_none()
        });
        thread::sleep(Duration::from_millis(50));
        assert!(!is_over.load(Ordering::Relaxed));
        // It may have begun to wait only now, so the time goes on until it is over.
        while !is_over.load(Ordering::Relaxed) {
            scene.clock.advance(SECOND / 2);
            thread::sleep(Duration::from_millis(1));
        }
        assert!(waiting.join().unwrap());
    });
    scene.css.uncharge(M);
}

#[derive(Default)]
struct Wakes(AtomicU64);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_owner_in_a_task_is_woken_and_takes_the_ticket() {
    let scene = Scene::new();
    let mut spiller = owner(&scene.css, 4 * M);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut cx = Context::from_waker(&waker);
    {
        let mut given_up = pin!(spiller.next());
        assert!(given_up.as_mut().poll(&mut cx).is_pending());
    }
    let mut next = pin!(spiller.next());
    assert!(next.as_mut().poll(&mut cx).is_pending());
    assert_eq!(ask(&scene.css, M), M);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    let Poll::Ready(ticket) = next.as_mut().poll(&mut cx) else { panic!("it was asked") };
    assert_eq!(ticket.want(), M);
    scene.css.uncharge(M);
    drop(ticket);
    assert_eq!(scene.css.current(), 3 * M);
    scene.css.uncharge(3 * M);
}

#[test]
fn nobody_is_asked_for_more_than_is_lacking_while_a_ticket_is_out() {
    let scene = Scene::new();
    let spiller = owner(&scene.css, 8 * M);
    assert_eq!((ask(&scene.css, M), spiller.requested()), (M, M));
    assert_eq!((ask(&scene.css, M), spiller.requested()), (M, M), "it is under way");
    assert_eq!((ask(&scene.css, 3 * M), spiller.requested()), (3 * M, 3 * M), "so much more");
    let ticket = spiller.try_next().expect("it was asked");
    assert_eq!((ticket.want(), spiller.requested()), (3 * M, 0));
    assert!(spiller.try_next().is_none());
    assert_eq!((ask(&scene.css, 8 * M), spiller.requested()), (3 * M, 0));
    scene.css.uncharge(3 * M);
    drop(ticket);
    assert_eq!(ask(&scene.css, M), M);
    scene.css.uncharge(5 * M);
}

#[test]
fn a_ticket_that_came_to_nothing_is_not_asked_for_again_at_once() {
    let scene = Scene::new();
    let spiller = owner(&scene.css, 4 * M);
    let asked = |bytes| {
        ask(&scene.css, bytes);
        spiller.try_next().map(|ticket: SpillTicket| ticket.want())
    };
    assert_eq!(asked(M), Some(M));
    assert_eq!(asked(M), None);
    scene.clock.advance(SECOND);
    assert_eq!(asked(M), Some(M));
    assert_eq!(asked(M), None);
    spiller.set_spillable(5 * M);
    assert_eq!(asked(M), Some(M), "there is more than there was");
    assert_eq!(asked(M), None);
    scene.css.uncharge(4 * M);
}

#[test]
fn a_stalled_ticket_is_counted_upon_no_more() {
    let scene = Scene::new();
    let spiller = owner(&scene.css, 4 * M);
    let other = owner(&scene.child("other"), 4 * M);
    other.set_spillable(0);
    assert_eq!(ask(&scene.css, 2 * M), 2 * M);
    scene.clock.advance(SECOND / 2);
    let ticket = spiller.try_next().expect("it was asked");
    scene.clock.advance(SECOND * 9 / 10);
    assert_eq!(ask(&scene.css, 2 * M), 2 * M, "taking it was progress");
    scene.css.uncharge(M / 2);
    assert_eq!(ask(&scene.css, 2 * M), 2 * M);
    scene.clock.advance(SECOND * 9 / 10);
    assert_eq!(ask(&scene.css, 2 * M), 2 * M, "usage fell");
    scene.clock.advance(SECOND);
    other.set_spillable(4 * M);
    assert_eq!((ask(&scene.css, 2 * M), other.requested()), (2 * M, 2 * M), "another one is asked");
    ticket.progress();
    assert_eq!(ask(&scene.css, 2 * M), 4 * M);
    scene.css.uncharge(7 * M / 2);
    drop((ticket, spiller, other));
}

#[test]
fn caches_are_evicted_before_anybody_is_asked_to_spill() {
    let scene = Scene::new();
    let cache = Cache::filled(scene.child("cache"), 4 << 10, M);
    let _guard = cache.css.add_reclaimer(Arc::<Cache>::clone(&cache));
    let css = scene.child("query");
    let spiller = owner(&css, 4 * M);
    assert!(scene.css.reclaim(M / 2).is_ok());
    assert_eq!(spiller.requested(), 0);
    let error = scene.css.reclaim(2 * M).expect_err("the rest is spilled");
    assert_eq!((error.freed, error.started), (M / 2, 3 * M / 2));
    assert_eq!(spiller.requested(), 3 * M / 2);
    css.uncharge(4 * M);
}

#[test]
fn owners_are_asked_in_proportion_and_by_weight() {
    let scene = Scene::new();
    let sizes = [(24, 100), (24, 200), (48, 100), (0, 100)];
    let owners: Vec<_> = sizes
        .iter()
        .enumerate()
        .map(|(i, &(size, weight))| {
            let css = scene.child(&format!("c{i}"));
            css.try_charge(size * M).unwrap();
            let spiller = css.spiller(SpillOptions::new().weight(weight));
            spiller.set_spillable(size * M);
            (spiller, css)
        })
        .collect();
    assert_eq!(ask(&scene.css, 28 * M), 28 * M);
    let asked: Vec<_> = owners.iter().map(|(spiller, _)| spiller.requested()).collect();
    assert_eq!(asked, [8 * M, 4 * M, 16 * M, 0]);
    owners.iter().zip(sizes).for_each(|((_, css), (size, _))| css.uncharge(size * M));
}

#[test]
fn what_min_keeps_is_not_spilled_and_low_only_when_nothing_else_is() {
    let scene = Scene::new();
    let groups = ["min", "low", "free"].map(|name| scene.child(name));
    let spillers = groups.each_ref().map(|css| owner(css, 4 * M));
    groups[0].set_min(Limit::At(4 * M));
    groups[1].set_low(Limit::At(4 * M));
    let requested = || spillers.each_ref().map(Spiller::requested);
    assert_eq!(ask(&scene.css, 4 * M), 4 * M);
    assert_eq!(requested(), [0, 0, 4 * M]);
    assert_eq!(ask(&scene.css, 12 * M), 8 * M);
    assert_eq!(requested(), [0, 4 * M, 4 * M]);
    groups.iter().for_each(|css| css.uncharge(4 * M));
}

#[test]
fn a_spiller_that_is_gone_is_not_asked() {
    let scene = Scene::new();
    let spiller = owner(&scene.css, M);
    assert_eq!(ask(&scene.css, M), M);
    let ticket = spiller.try_next();
    drop(spiller);
    assert_eq!(ask(&scene.css, M), 0);
    drop(ticket);
    assert_eq!(ask(&scene.css, M), 0);
    scene.css.uncharge(M);
}

#[test]
fn a_reclaimer_may_have_its_spill_done_elsewhere() {
    struct Writer(mpsc::Sender<SpillTicket>);
    impl Reclaimer for Writer {
        fn pass(&self) -> Pass {
            Pass::Spill
        }
        fn reclaimable(&self) -> u64 {
            4 * M
        }
        fn reclaim(&self, _: u64, cx: &ReclaimCx<'_>) -> Reclaimed {
            let Some(ticket) = cx.ticket() else { return Reclaimed::Busy };
            self.0.send(ticket).expect("the thread runs");
            Reclaimed::Started
        }
    }
    let scene = Scene::new();
    scene.css.try_charge(4 * M).unwrap();
    let (send, receive) = mpsc::channel::<SpillTicket>();
    let _guard = scene.css.add_reclaimer(Arc::new(Writer(send)));
    assert_eq!(ask(&scene.css, M), M);
    assert_eq!(ask(&scene.css, 2 * M), M, "not again, while the ticket is out");
    let css = CssRef::clone(&scene.css);
    thread::spawn(move || receive.recv().map(|ticket| css.uncharge(ticket.want())))
        .join()
        .unwrap()
        .expect("one was sent");
    assert_eq!(scene.css.current(), 3 * M);
    scene.css.uncharge(3 * M);
}
