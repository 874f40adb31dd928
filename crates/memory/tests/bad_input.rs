//! Numbers at the ends of their ranges, reclaimers and policies of bad will, and callbacks that do not return.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use fief_core::{Cgroup, Controller, CssRef, Limit, Registry, Removal};
use fief_memory::{
    Charge, ChargeError, Memory, MemoryBuilder, MemoryCss, Pass, ReclaimCx, Reclaimed, Reclaimer,
    SpillOptions,
};

struct Scene {
    _registry: Registry,
    memory: Controller<Memory>,
    web: Cgroup,
    css: CssRef<MemoryCss>,
}

fn scene(builder: MemoryBuilder) -> Scene {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").expect("the name is free");
    let memory = registry.register(builder.build()).expect("the name is free");
    memory.bind(&hierarchy).expect("it is inactive");
    let web = hierarchy.root().create_child("web").expect("the name is free");
    let css = memory.css(&web).expect("it is bound");
    Scene { _registry: registry, memory, web, css }
}

const NUMBERS: [u64; 11] = [
    0,
    1,
    4096,
    (1 << 47) - 1,
    1 << 47,
    (1 << 47) + 1,
    1 << 62,
    (1 << 63) - 2,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX,
];

/// What is charged by hand is given back at once.
fn charge_by_hand(css: &MemoryCss, bytes: u64) {
    let charges: [&dyn Fn() -> Result<(), ChargeError>; 5] = [
        &|| css.try_charge(bytes),
        &|| css.charge_with(bytes, Charge::Reclaim),
        &|| css.charge_blocking(bytes, Some(Duration::ZERO)),
        &|| css.charge_blocking(bytes, Some(Duration::MAX)),
        &|| css.charge_blocking(bytes, None),
    ];
    for charge in charges {
        if charge().is_ok() {
            css.uncharge(bytes);
        }
    }
    let forced = css.charge_forced(bytes);
    assert_eq!(forced, bytes.min(1 << 47));
    css.uncharge(forced);
}

/// Results are of no interest: what counts is what is charged at the end.
fn charge_by_reservations(css: &MemoryCss, bytes: u64) {
    let mut one = css.reserve();
    one.grow(bytes).ok();
    one.resize(bytes).ok();
    one.keep(bytes).ok();
    one.grow_forced(bytes);
    one.split(bytes).map(drop).ok();
    one.shrink(bytes.min(one.used()));
    one.grow_blocking(bytes, Some(Duration::ZERO)).ok();
    one.grow_blocking(bytes, Some(Duration::ZERO)).ok();
    let shared = css.reserve_shared();
    shared.try_grow(bytes).ok();
    shared.try_grow(bytes).ok();
    shared.grow_forced(bytes);
    shared.shrink(bytes.min(shared.used()));
    let mut forced = css.forced();
    [bytes, u64::MAX, bytes].into_iter().for_each(|bytes| forced.set(bytes));
}

#[test]
fn numbers_at_the_ends_lose_and_gain_nothing() {
    for max in NUMBERS.map(Limit::At).into_iter().chain([Limit::Max]) {
        let Scene { _registry, memory, css, .. } = scene(Memory::builder());
        css.set_max(max);
        css.set_high(max);
        css.set_low(max);
        css.set_min(max);
        for bytes in NUMBERS {
            charge_by_hand(&css, bytes);
            charge_by_reservations(&css, bytes);
            let spiller = css.spiller(SpillOptions::new().weight(0));
            spiller.set_spillable(bytes);
            assert_eq!(css.reclaim(bytes).is_ok(), bytes == 0);
            assert_eq!(css.usage_exact(), (0, 0), "max {max}, {bytes} bytes");
        }
        let root = memory.root().expect("registered");
        assert_eq!(root.usage_exact(), (0, 0));
        assert!(!root.is_tainted(), "max {max}");
    }
}

#[test]
fn a_refusal_after_reclaim_is_counted_as_any() {
    let Scene { _registry, css, .. } = scene(Memory::builder());
    css.set_max(Limit::At(10));
    css.try_charge(10).unwrap();
    css.charge_with(1, Charge::Reclaim).unwrap_err();
    css.charge_with(11, Charge::Reclaim).unwrap_err();
    assert_eq!(css.stats().events_local.max, 2);
    css.uncharge(10);
}

#[test]
fn a_usage_is_one_after_the_panic_of_a_double_uncharge() {
    let Scene { _registry, css, .. } = scene(Memory::builder());
    for bytes in [5000, u64::MAX, 5000] {
        // In a build with debug assertions it panics the first time at each level.
        catch_unwind(AssertUnwindSafe(|| css.uncharge(bytes))).ok();
        assert_eq!(css.current(), 0);
        assert!(css.is_tainted());
    }
    css.try_charge(10).unwrap();
    assert_eq!(css.usage_exact().0, 10);
    css.uncharge(10);
}

type Deed = dyn Fn(&MemoryCss, &Cgroup, u64) -> Reclaimed + Send + Sync;

struct IllWilled {
    css: CssRef<MemoryCss>,
    web: Cgroup,
    deed: &'static Deed,
    pass: Pass,
    weight: u32,
    estimate: u64,
}

impl Reclaimer for IllWilled {
    fn pass(&self) -> Pass {
        self.pass
    }

    fn weight(&self) -> u32 {
        self.weight
    }

    fn reclaimable(&self) -> u64 {
        self.estimate
    }

    fn reclaim(&self, want: u64, _: &ReclaimCx<'_>) -> Reclaimed {
        (self.deed)(&self.css, &self.web, want)
    }
}

const DEEDS: [&Deed; 7] = [
    &|_, _, _| Reclaimed::Done(u64::MAX),
    &|_, _, _| Reclaimed::Started,
    &|_, _, _| Reclaimed::Busy,
    &|_, _, _| panic!("ill-willed"),
    &|css, _, want| {
        css.charge_blocking(u64::MAX, None).expect_err("more than any charge may be");
        css.reclaim(5).expect_err("in a reclaimer");
        css.set_max(Limit::At(900));
        css.set_high(Limit::At(1));
        Reclaimed::Done(want)
    },
    &|_, web, _| {
        web.write("memory.max", "500").ok();
        web.read("memory.stat").ok();
        web.create_child("below").ok();
        Reclaimed::Busy
    },
    &|_, web, _| {
        web.kill().ok();
        web.remove(Removal::Detach).ok();
        Reclaimed::Done(0)
    },
];

#[test]
fn ill_willed_reclaimers_cost_nobody_a_deadline_or_a_byte() {
    let estimates = [1, u64::MAX];
    for pass in [Pass::Benign, Pass::Evict, Pass::Spill, Pass::Destructive] {
        for (deed, weight) in DEEDS.into_iter().zip([0, 1, u32::MAX].into_iter().cycle()) {
            for estimate in estimates {
                let builder = Memory::builder().patience(Duration::MAX).spill_floor(u64::MAX);
                let Scene { _registry, memory, web, css } =
                    scene(builder.reclaim_reserve(u64::MAX));
                css.set_max(Limit::At(1000));
                css.try_charge(1000).unwrap();
                let reclaimer = IllWilled { css: css.clone(), web, deed, pass, weight, estimate };
                let guard = css.add_reclaimer(Arc::new(reclaimer));
                css.charge_with(1, Charge::Reclaim).unwrap_err();
                css.charge_blocking(1, Some(Duration::from_millis(5))).unwrap_err();
                css.reclaim(10).unwrap_err();
                css.uncharge(1000);
                drop(guard);
                assert_eq!(memory.root().unwrap().usage_exact(), (0, 0));
            }
        }
    }
}

#[test]
fn a_callback_that_never_returns_costs_no_thread_its_deadline() {
    let Scene { _registry, memory, web, css } = scene(Memory::builder().patience(Duration::ZERO));
    let other = web.parent().and_then(|root| root.create_child("other").ok()).unwrap();
    let other = memory.css(&other).unwrap();
    for css in [&css, &other] {
        css.set_max(Limit::At(100));
        css.try_charge(100).unwrap();
    }
    let (entered, entries) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let guard = css.on_kill(move || {
        entered.send(()).ok();
        released.lock().unwrap().recv().ok();
    });
    assert!(matches!(css.charge_blocking(1, None), Err(ChargeError::Killed { .. })));
    entries.recv().unwrap();

    let (done, results) = mpsc::channel();
    let waiter = thread::spawn({
        let other = other.clone();
        move || done.send(other.charge_blocking(1, Some(Duration::from_millis(20))))
    });
    let result = results.recv_timeout(Duration::from_secs(20));
    drop(release);
    assert!(matches!(result, Ok(Err(ChargeError::DeadlinePassed(_)))), "{result:?}");
    waiter.join().unwrap().unwrap();
    drop(guard);
    css.uncharge(100);
    other.uncharge(100);
}

/// In a build without assertions: with them, the counter panics as it finds it.
#[cfg(not(debug_assertions))]
#[test]
fn what_is_given_back_twice_is_not_taken_from_others() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").expect("free");
    let memory = registry.register(Memory::new()).expect("free");
    memory.bind(&hierarchy).expect("inactive");
    let [web, other] = ["web", "other"].map(|name| {
        let group = hierarchy.root().create_child(name).expect("free");
        memory.css(&group).expect("online")
    });
    other.try_charge(1_000_000).expect("room");
    web.try_charge(500_000).expect("room");
    web.uncharge(800_000);
    let root = memory.root().expect("a root css");
    assert_eq!((root.usage_exact().0, other.current()), (1_000_000, 1_000_000));
    assert!(web.is_tainted() && web.stats().events.underflow > 0);
    other.uncharge(1_000_000);
    assert_eq!(root.usage_exact().0, 0);
}
