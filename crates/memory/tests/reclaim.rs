//! Reclaimers: who is asked, in which order, and what those can do who misbehave.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use fief_core::{Cgroup, Controller, CssRef, Limit, Registry, Removal};
use fief_memory::{
    ChargeError, Memory, MemoryCss, Pass, ReclaimCx, Reclaimed, Reclaimer, ReclaimerGuard,
};

use self::cache::{Cache, charge};

#[path = "support/cache.rs"]
mod cache;

const K: u64 = 1 << 10;
const M: u64 = 1 << 20;

struct Scene {
    memory: Controller<Memory>,
    root: Cgroup,
    _registry: Registry,
}

impl Scene {
    fn new() -> Self {
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("h").expect("the name is free");
        let memory = registry.register(Memory::new()).expect("the name is free");
        memory.bind(&hierarchy).expect("it is inactive");
        Self { memory, root: hierarchy.root(), _registry: registry }
    }

    fn group(&self, parent: &Cgroup, name: &str) -> (Cgroup, CssRef<MemoryCss>) {
        let group = parent.create_child(name).expect("the name is free");
        let css = self.memory.css(&group).expect("bound here");
        (group, css)
    }

    /// Makes a group with a cache of `bytes` in it.
    fn cache(&self, parent: &Cgroup, name: &str, bytes: u64) -> (Arc<Cache>, ReclaimerGuard) {
        let cache = Cache::filled(self.group(parent, name).1, 4 * K, bytes);
        let guard = cache.css.add_reclaimer(Arc::<Cache>::clone(&cache));
        (cache, guard)
    }
}

type Give = dyn Fn(u64, &ReclaimCx<'_>) -> Reclaimed + Send + Sync;

/// A reclaimer of which a test says what it does.
struct Odd {
    says: u64,
    asked: AtomicU64,
    give: Box<Give>,
}

impl Odd {
    fn new(
        says: u64,
        give: impl Fn(u64, &ReclaimCx<'_>) -> Reclaimed + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { says, asked: AtomicU64::new(0), give: Box::new(give) })
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Reclaimer for Odd {
    fn reclaimable(&self) -> u64 {
        self.says
    }

    fn reclaim(&self, want: u64, cx: &ReclaimCx<'_>) -> Reclaimed {
        self.asked.fetch_add(1, Ordering::Relaxed);
        (self.give)(want, cx)
    }
}

#[test]
fn a_cache_gives_back_what_a_charge_lacks() {
    let scene = Scene::new();
    let (pool, css) = scene.group(&scene.root, "pool");
    css.set_max(Limit::At(16 * M));
    let (cache, _guard) = scene.cache(&pool, "cache", 12 * M);
    let (_, query) = scene.group(&pool, "query");
    assert!(charge(&query, 8 * M));
    assert_eq!((cache.bytes(), css.current()), (8 * M, 16 * M));
    let stats = cache.css.reclaim_stats();
    assert_eq!((stats.freed, stats.reported), (4 * M, 4 * M));
    query.uncharge(8 * M);
}

#[test]
fn nobody_is_asked_for_nothing_or_where_there_is_room() {
    let scene = Scene::new();
    let (pool, css) = scene.group(&scene.root, "pool");
    let (cache, _guard) = scene.cache(&pool, "cache", M);
    assert!(css.reclaim(0).is_ok_and(|freed| freed == 0));
    css.set_max(Limit::At(M));
    css.set_high(Limit::At(M));
    assert_eq!(cache.asked(), 0);
}

#[test]
fn trap_20_a_charge_that_can_never_fit_reclaims_nothing() {
    let scene = Scene::new();
    let (pool, css) = scene.group(&scene.root, "pool");
    let (cache, _guard) = scene.cache(&pool, "cache", M);
    assert!(css.try_charge(0).is_ok());
    assert!(matches!(css.try_charge(1 << 48), Err(ChargeError::TooLarge { .. })));
    assert_eq!(cache.asked(), 0);
}

#[test]
fn the_benign_come_first_and_the_destructive_not_by_request() {
    let scene = Scene::new();
    let (pool, css) = scene.group(&scene.root, "pool");
    let kinds = [Pass::Evict, Pass::Destructive, Pass::Benign].map(|pass| {
        let (_, css) = scene.group(&pool, &format!("{pass:?}"));
        let cache = Cache::of_pass(pass, css, 4 * K, M);
        let guard = cache.css.add_reclaimer(Arc::<Cache>::clone(&cache));
        (cache, guard)
    });
    let left = || kinds.each_ref().map(|(cache, _)| cache.bytes());
    assert!(css.reclaim(M).is_ok());
    assert_eq!(left(), [M, M, 0]);
    assert!(css.reclaim(M / 2).is_ok());
    assert_eq!(left(), [M / 2, M, 0]);
    let error = css.reclaim(2 * M).expect_err("there is half a MiB");
    assert_eq!(error.to_string(), "524288 of 2097152 bytes of /pool reclaimed, 0 being spilled",);
    assert_eq!(left(), [0, M, 0]);
}

#[test]
fn only_what_is_below_is_asked() {
    let scene = Scene::new();
    let (a, a_css) = scene.group(&scene.root, "a");
    let (b, b_css) = scene.group(&scene.root, "b");
    let (here, _here) = scene.cache(&a, "cache", M);
    let (there, _there) = scene.cache(&b, "cache", M);
    a_css.set_max(Limit::At(M / 2));
    assert_eq!((here.bytes(), there.bytes()), (M / 2, M));
    b_css.set_high(Limit::At(M / 4));
    assert_eq!((here.bytes(), there.bytes()), (M / 2, M / 4));
}

#[test]
fn race_63_a_lowered_max_is_in_force_before_anything_is_reclaimed() {
    let scene = Scene::new();
    let (pool, css) = scene.group(&scene.root, "pool");
    let (cache, _guard) = scene.cache(&pool, "cache", 4 * M);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (watching, watched) = (Arc::clone(&seen), CssRef::clone(&css));
    let odd = Odd::new(u64::MAX, move |_, _| {
        watching.lock().unwrap().push((watched.max(), watched.try_charge(3 * M).is_err()));
        Reclaimed::Done(0)
    });
    let _odd = css.add_reclaimer(odd);
    css.try_charge(M).unwrap();

    assert!(css.set_max(Limit::At(2 * M)) >= 5 * M, "what was in use");
    assert_eq!((css.current(), cache.bytes()), (2 * M, M));
    let seen = seen.lock().unwrap();
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|&(max, refused)| max == Limit::At(2 * M) && refused), "{seen:?}");
    css.uncharge(M);
}

#[test]
fn trap_5_a_max_below_what_can_be_freed_holds_from_then_on() {
    let scene = Scene::new();
    let (pool, css) = scene.group(&scene.root, "pool");
    let (_cache, _guard) = scene.cache(&pool, "cache", M);
    css.try_charge(4 * M).unwrap();
    assert!(css.set_max(Limit::At(2 * M)) >= 5 * M);
    assert_eq!(css.current(), 4 * M, "the cache is empty, the rest is somebody's");
    assert!(css.try_charge(1).is_err());
    css.uncharge(4 * M);
    css.try_charge(2 * M).unwrap();
    css.uncharge(2 * M);
}

#[test]
fn trap_21_what_a_reclaimer_says_is_not_believed() {
    let scene = Scene::new();
    let (pool, css) = scene.group(&scene.root, "pool");
    css.try_charge(8 * M).unwrap();
    let liar = Odd::new(u64::MAX, |_, _| Reclaimed::Done(u64::MAX));
    let starter = Odd::new(u64::MAX, |_, _| Reclaimed::Started);
    let shy = Odd::new(0, |_, _| Reclaimed::Done(0));
    let _guards = [&liar, &starter, &shy].map(|odd| css.add_reclaimer(Arc::<Odd>::clone(odd)));
    let error = css.reclaim(M).expect_err("nobody gives");
    assert_eq!((error.freed, error.started), (0, 0));
    assert_eq!([&liar, &starter, &shy].map(|odd| odd.asked()), [1, 1, 0], "once a call");
    let stats = css.reclaim_stats();
    assert_eq!((stats.freed, stats.reported, stats.asked), (0, u64::MAX, 2));

    let (honest, _guard) = scene.cache(&pool, "honest", 2 * M);
    assert!(css.reclaim(M).is_ok_and(|freed| freed == M));
    assert_eq!(honest.bytes(), M);
    css.uncharge(8 * M);
}

#[test]
fn one_who_gives_more_than_was_asked_spares_the_others() {
    let scene = Scene::new();
    let (pool, css) = scene.group(&scene.root, "pool");
    let generous = ["a", "b", "c"].map(|name| {
        let (_, css) = scene.group(&pool, name);
        css.try_charge(8 * M).unwrap();
        let giving = CssRef::clone(&css);
        let odd = Odd::new(8 * M, move |_, _| {
            giving.uncharge(8 * M);
            Reclaimed::Done(0)
        });
        (css.add_reclaimer(Arc::<Odd>::clone(&odd)), odd)
    });
    assert!(css.reclaim(3 * M).is_ok_and(|freed| freed >= 8 * M));
    assert_eq!(generous.iter().map(|(_, odd)| odd.asked()).sum::<u64>(), 1);
    assert!(css.reclaim(16 * M).is_ok());
}

#[test]
fn what_is_uncharged_in_small_parts_is_seen() {
    let scene = Scene::new();
    let (_, css) = scene.group(&scene.root, "pool");
    (0..1024).for_each(|_| css.try_charge(K).unwrap());
    let giving = CssRef::clone(&css);
    let odd = Odd::new(M, move |want, _| {
        (0..want / K).for_each(|_| giving.uncharge(K));
        Reclaimed::Done(want)
    });
    let _guard = css.add_reclaimer(odd);
    for round in 1..=8 {
        // No more than what a thread keeps for itself.
        let freed = css.reclaim(2 * K).expect("it has more");
        assert_eq!((freed, css.current()), (4 * K, M - round * 4 * K));
    }
    css.uncharge(M - 32 * K);
}

#[test]
fn a_reclaimer_that_panics_is_passed_over_after_three_times() {
    let scene = Scene::new();
    let (pool, css) = scene.group(&scene.root, "pool");
    css.try_charge(8 * M).unwrap();
    let odd = Odd::new(u64::MAX, |_, _| panic!("not again"));
    let guard = css.add_reclaimer(Arc::<Odd>::clone(&odd));
    let (cache, _guard) = scene.cache(&pool, "cache", 4 * M);
    for round in 1..=4 {
        assert!(css.reclaim(M).is_ok());
        assert_eq!(odd.asked(), round.min(3));
    }
    assert_eq!(cache.bytes(), 0);
    assert!(guard.is_passed_over());
    let stats = css.reclaim_stats();
    assert_eq!((stats.panics, stats.passed_over), (3, 1));
    css.uncharge(8 * M);
}

#[test]
fn a_panic_now_and_then_is_forgiven() {
    let scene = Scene::new();
    let (_, css) = scene.group(&scene.root, "pool");
    css.try_charge(8 * M).unwrap();
    let calls = AtomicU64::new(0);
    let odd = Odd::new(u64::MAX, move |_, _| {
        assert!(calls.fetch_add(1, Ordering::Relaxed) % 2 == 1, "every other time");
        Reclaimed::Done(0)
    });
    let guard = css.add_reclaimer(Arc::<Odd>::clone(&odd));
    for _ in 0..8 {
        css.reclaim(M).unwrap_err();
    }
    assert_eq!((odd.asked(), guard.is_passed_over()), (8, false));
    css.uncharge(8 * M);
}

#[test]
fn trap_1_a_reclaimer_that_charges_gets_from_the_reserve_and_reclaims_nothing() {
    let scene = Scene::new();
    let (_, css) = scene.group(&scene.root, "pool");
    css.try_charge(4 * M).unwrap();
    css.set_max(Limit::At(4 * M));
    let nested = Arc::new(Mutex::new(Vec::new()));
    let (found, own) = (Arc::clone(&nested), CssRef::clone(&css));
    let odd = Odd::new(4 * M, move |_, _| {
        let reclaimed = own.reclaim(M).map_err(|error| error.freed);
        let granted = own.try_charge(M).is_ok();
        let too_much = own.try_charge(1).is_ok();
        own.uncharge(M + 64 * K);
        found.lock().unwrap().push((reclaimed, granted, too_much));
        Reclaimed::Done(64 * K)
    });
    let _guard = css.add_reclaimer(Arc::<Odd>::clone(&odd));
    assert!(css.try_charge(1).is_err(), "the reserve is not for everybody");
    assert!(css.reclaim(64 * K).is_ok());
    assert_eq!(*nested.lock().unwrap(), [(Err(0), true, false)]);
    assert_eq!(css.current(), 4 * M - 64 * K);
    assert_eq!(odd.asked(), 1);
    css.uncharge(4 * M - 64 * K);
}

#[test]
fn trap_2_a_reclaimer_whose_lock_the_charger_holds_says_busy() {
    let scene = Scene::new();
    let (pool, css) = scene.group(&scene.root, "pool");
    let (cache, _guard) = scene.cache(&pool, "cache", M);
    // As a cache does that charges for a new entry while it is locked.
    let entries = cache.entries.lock().unwrap();
    assert_eq!(css.reclaim(4 * K).unwrap_err().freed, 0);
    drop(entries);
    assert!(css.reclaim(4 * K).is_ok());

    let busy = Odd::new(M, |_, _| Reclaimed::Busy);
    let _busy = css.add_reclaimer(Arc::<Odd>::clone(&busy));
    css.try_charge(M).unwrap();
    assert!(css.reclaim(M / 2).is_ok());
    assert_eq!((busy.asked(), css.reclaim_stats().busy), (1, 1));
    css.uncharge(M);
}

#[test]
fn a_reclaimer_that_never_returns_holds_up_nobody_else() {
    let scene = Scene::new();
    let (pool, css) = scene.group(&scene.root, "pool");
    css.try_charge(8 * M).unwrap();
    let (release, released) = mpsc::channel::<()>();
    let (enter, entered) = mpsc::channel();
    let (released, enter) = (Mutex::new(released), Mutex::new(enter));
    let odd = Odd::new(8 * M, move |_, _| {
        enter.lock().unwrap().send(()).unwrap();
        released.lock().unwrap().recv().ok();
        Reclaimed::Done(0)
    });
    let guard = css.add_reclaimer(Arc::<Odd>::clone(&odd));
    let (cache, _guard) = scene.cache(&pool, "cache", 4 * M);
    thread::scope(|scope| {
        let stuck = scope.spawn(|| css.reclaim(8 * M).map_err(|error| error.freed));
        entered.recv().unwrap();
        let before = cache.bytes();
        assert!(css.reclaim(K).is_ok());
        assert!(cache.bytes() < before);
        assert_eq!(odd.asked(), 1);
        assert!(css.reclaim_stats().busy > 0);
        css.set_max(Limit::At(9 * M));
        drop(guard); // while it runs
        release.send(()).unwrap();
        stuck.join().unwrap().unwrap_err();
    });
    assert_eq!(css.reclaim(16 * M).unwrap_err().asked, 16 * M);
    assert_eq!(odd.asked(), 1, "the guard is gone");
    css.uncharge(8 * M);
}

#[test]
fn a_guard_may_be_dropped_inside_the_reclaimer() {
    struct Once {
        guard: Arc<OnceLock<Mutex<Option<ReclaimerGuard>>>>,
        dropped: Arc<AtomicU64>,
    }
    impl Reclaimer for Once {
        fn reclaimable(&self) -> u64 {
            M
        }
        fn reclaim(&self, _: u64, _: &ReclaimCx<'_>) -> Reclaimed {
            drop(self.guard.get().expect("it is set").lock().unwrap().take());
            assert_eq!(self.dropped.load(Ordering::Relaxed), 0, "not while it runs");
            Reclaimed::Done(0)
        }
    }
    impl Drop for Once {
        fn drop(&mut self) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
    let scene = Scene::new();
    let (_, css) = scene.group(&scene.root, "pool");
    css.try_charge(M).unwrap();
    let (slot, dropped) = (Arc::new(OnceLock::new()), Arc::new(AtomicU64::new(0)));
    let once = Once { guard: Arc::clone(&slot), dropped: Arc::clone(&dropped) };
    slot.set(Mutex::new(Some(css.add_reclaimer(Arc::new(once))))).expect("it is empty");
    assert_eq!(css.reclaim(K).unwrap_err().freed, 0);
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    assert_eq!(css.reclaim_stats().panics, 0);
    css.uncharge(M);
}

#[test]
fn nobody_is_asked_whose_guard_was_dropped_by_one_before_in_the_same_round() {
    let scene = Scene::new();
    let (_, css) = scene.group(&scene.root, "pool");
    css.try_charge(8 * M).unwrap();
    let guards = Arc::new(Mutex::new(Vec::new()));
    let odds = [(); 3].map(|()| {
        let guards = Arc::clone(&guards);
        Odd::new(2 * M, move |_, _| {
            drop::<Vec<ReclaimerGuard>>(guards.lock().unwrap().drain(..).collect());
            Reclaimed::Done(0)
        })
    });
    *guards.lock().unwrap() =
        odds.iter().map(|odd| css.add_reclaimer(Arc::<Odd>::clone(odd))).collect();
    css.reclaim(3 * M).unwrap_err();
    assert_eq!(odds.iter().map(|odd| odd.asked()).sum::<u64>(), 1);
    css.uncharge(8 * M);
}

#[test]
fn what_a_removed_group_has_is_given_for_its_parent() {
    let scene = Scene::new();
    let (pool, css) = scene.group(&scene.root, "pool");
    let (child, child_css) = scene.group(&pool, "child");
    child_css.charge_forced(M);
    let held = CssRef::clone(&child_css);
    let odd = Odd::new(M, move |want, cx| {
        assert_eq!(cx.cgroup(), "/pool");
        held.uncharge(want);
        Reclaimed::Done(want)
    });
    let guard = child_css.add_reclaimer(odd);
    child.remove(Removal::Detach).expect("nobody is in it");
    drop((child, child_css));
    assert_eq!(css.current(), M);
    assert!(css.reclaim(M / 2).is_ok_and(|freed| freed == M / 2));
    assert_eq!(css.reclaim_stats().freed, M / 2);
    drop(guard);
    css.reclaim(M / 2).unwrap_err();
    css.uncharge(M / 2);
}

#[test]
fn threads_that_reclaim_at_the_limit_lose_and_gain_nothing() {
    let scene = Scene::new();
    let (pool, css) = scene.group(&scene.root, "pool");
    css.set_max(Limit::At(4 * M));
    let caches: Vec<_> = (0..4).map(|i| scene.cache(&pool, &format!("c{i}"), 512 * K)).collect();
    let tenants: Vec<_> = (0..4).map(|i| scene.group(&pool, &format!("t{i}")).1).collect();
    thread::scope(|scope| {
        for (seed, tenant) in tenants.iter().enumerate() {
            let (css, caches) = (&css, &caches);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed as u64);
                let mut held = Vec::new();
                for _ in 0..4000 {
                    let bytes = random.u64(1..128 * K);
                    if charge(tenant, bytes) {
                        held.push(bytes);
                    }
                    assert!(css.current() <= 4 * M);
                    if held.len() > 6 {
                        tenant.uncharge(held.swap_remove(random.usize(..held.len())));
                    }
                    let (cache, _) = &caches[random.usize(..4)];
                    if cache.css.try_charge(cache.entry).is_ok() {
                        *cache.entries.lock().unwrap() += 1;
                    }
                }
                tenant.uncharge(held.iter().sum());
            });
        }
    });
    drop(caches);
    css.set_max(Limit::At(0)); // calls in what is charged ahead
    assert_eq!(css.try_charge(1).map_err(|_| css.current()), Err(0));
}
