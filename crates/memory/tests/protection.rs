//! What `memory.min` and `memory.low` keep while reclaimers give back what they have.

use std::sync::{Arc, atomic::Ordering};

use fief_core::{Cgroup, Controller, CssRef, Limit, Registry};
use fief_memory::{Memory, MemoryCss, ReclaimerGuard};

use self::cache::{Cache, charge};

#[path = "support/cache.rs"]
mod cache;

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
}

fn cache(css: &CssRef<MemoryCss>, bytes: u64) -> (Arc<Cache>, ReclaimerGuard) {
    let cache = Cache::filled(CssRef::clone(css), 16 << 10, bytes);
    let guard = css.add_reclaimer(Arc::<Cache>::clone(&cache));
    (cache, guard)
}

fn is_close(bytes: u64, expected: f64) -> bool {
    let bytes = f64::from(u32::try_from(bytes >> 10).expect("it is small")) / 1024.0;
    (bytes - expected).abs() <= expected.max(1.0) * 0.03
}

/// The kernel's selftest, for `min` or for `low`: A(200M) has B(50M), which has C(75M), D(25M), E(0) and F(500M), and G,
/// which charges so much at a time.
fn kernel_vector(protect: fn(&MemoryCss, u64), step: u64) {
    let scene = Scene::new();
    let (a, a_css) = scene.group(&scene.root, "a");
    let (b, b_css) = scene.group(&a, "b");
    let (_, g_css) = scene.group(&a, "g");
    a_css.set_max(Limit::At(200 * M));
    protect(&a_css, 50 * M);
    protect(&b_css, 50 * M);
    let parts =
        [("c", 75, 50), ("d", 25, 50), ("e", 0, 50), ("f", 500, 0)].map(|(name, keep, used)| {
            let (_, css) = scene.group(&b, name);
            protect(&css, keep * M);
            (cache(&css, used * M), css)
        });
    // The kernel's takes 148M of its own, and some for what it needs itself: B is left with its 50M.
    for _ in 0..150 / step {
        assert!(charge(&g_css, step * M), "{a_css:?}");
    }
    let used = parts.each_ref().map(|(_, css)| css.current());
    for (bytes, expected) in used.into_iter().zip([29.0, 21.0, 0.0, 0.0]) {
        assert!(is_close(bytes, expected), "{used:?}");
    }
    assert!(is_close(b_css.current(), 50.0), "{}", b_css.current());
    assert!(a_css.current() <= 200 * M);
    g_css.uncharge(150 * M);
}

#[test]
fn min_is_shared_as_in_the_kernels_selftest() {
    kernel_vector(|css, bytes| css.set_min(Limit::At(bytes)), 1);
    kernel_vector(|css, bytes| css.set_min(Limit::At(bytes)), 150);
}

#[test]
fn low_is_shared_as_in_the_kernels_selftest() {
    kernel_vector(|css, bytes| css.set_low(Limit::At(bytes)), 1);
    kernel_vector(|css, bytes| css.set_low(Limit::At(bytes)), 150);
}

#[test]
fn low_is_taken_when_nobody_else_has_anything_and_min_never_is() {
    let scene = Scene::new();
    let (top, top_css) = scene.group(&scene.root, "top");
    let (_, low) = scene.group(&top, "low");
    let (_, min) = scene.group(&top, "min");
    let (_, free) = scene.group(&top, "free");
    low.set_low(Limit::At(8 * M));
    min.set_min(Limit::At(8 * M));
    let held = [&low, &min, &free].map(|css| cache(css, 8 * M));
    let was_protected = || held[0].0.was_protected.load(Ordering::Relaxed);

    assert!(top_css.reclaim(8 * M).is_ok_and(|freed| freed == 8 * M));
    assert_eq!([&low, &min, &free].map(|css| css.current()), [8 * M, 8 * M, 0]);
    assert!(!was_protected());

    assert!(top_css.reclaim(4 * M).is_ok_and(|freed| freed == 4 * M));
    assert_eq!([&low, &min, &free].map(|css| css.current()), [4 * M, 8 * M, 0]);
    assert!(was_protected());

    let error = top_css.reclaim(16 * M).expect_err("min is kept");
    assert_eq!((error.freed, error.asked), (4 * M, 16 * M));
    assert_eq!([&low, &min, &free].map(|css| css.current()), [0, 8 * M, 0]);
    assert_eq!(held[1].0.asked(), 0);
}

#[test]
fn a_group_is_not_protected_against_itself() {
    let scene = Scene::new();
    let (_, css) = scene.group(&scene.root, "a");
    css.set_min(Limit::At(8 * M));
    let (_cache, _guard) = cache(&css, 8 * M);
    css.set_max(Limit::At(2 * M));
    assert_eq!(css.current(), 2 * M);
}

#[test]
fn a_single_active_tenant_gets_the_pool_while_idle_caches_give_way() {
    let scene = Scene::new();
    let (pool, pool_css) = scene.group(&scene.root, "pool");
    pool_css.set_max(Limit::At(64 * M));
    let tenants: Vec<_> = (0..8).map(|i| scene.group(&pool, &format!("t{i}")).1).collect();
    let idle: Vec<_> = tenants[1..].iter().map(|css| cache(css, 9 * M)).collect();
    let active = &tenants[0];
    // Nobody is asked while there is room.
    assert!(charge(active, M));
    assert!(idle.iter().all(|(cache, _)| cache.asked() == 0));
    let got = (1..64).take_while(|_| charge(active, M)).count() + 1;
    assert!(got >= 61, "{got} of 64 MiB");
    active.uncharge(got as u64 * M);
}

#[test]
fn those_who_are_not_protected_give_in_proportion() {
    let scene = Scene::new();
    let (pool, pool_css) = scene.group(&scene.root, "pool");
    let caches: Vec<_> = [10, 20, 30]
        .map(|size| {
            let (_, css) = scene.group(&pool, &format!("of-{size}"));
            cache(&css, size * M)
        })
        .into();
    assert!(pool_css.reclaim(24 * M).is_ok());
    let left: Vec<u64> = caches.iter().map(|(cache, _)| cache.bytes()).collect();
    for (bytes, expected) in left.iter().zip([6.0, 12.0, 18.0]) {
        assert!(is_close(*bytes, expected), "{left:?}");
    }
}
