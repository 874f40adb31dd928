//! `memory.high`: who charges above it reclaims, and then pays with time.

use std::{
    future::ready,
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use fief_core::{
    Cgroup, Clock, Controller, CssRef, Limit, MonotonicClock, Registry, Removal, VirtualClock,
};
use fief_memory::{Memory, MemoryCss, Throttle};

use self::cache::Cache;

#[path = "support/cache.rs"]
#[expect(dead_code, reason = "other tests look closer at a cache")]
mod cache;

const K: u64 = 1 << 10;
const M: u64 = 1 << 20;

/// What 256 KiB cost at 10 % above.
const AT_TEN: Duration = Duration::from_nanos(639_992_675);

struct Scene {
    memory: Controller<Memory>,
    pool: Cgroup,
    css: CssRef<MemoryCss>,
    _registry: Registry,
}

impl Scene {
    fn new(clock: impl Clock) -> Self {
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("h").expect("the name is free");
        let subsystem = Memory::builder().clock(Arc::new(clock)).build();
        let memory = registry.register(subsystem).expect("the name is free");
        memory.bind(&hierarchy).expect("it is inactive");
        let pool = hierarchy.root().create_child("pool").expect("the name is free");
        let css = memory.css(&pool).expect("bound here");
        Self { memory, pool, css, _registry: registry }
    }

    fn child(&self, name: &str) -> (Cgroup, CssRef<MemoryCss>) {
        let group = self.pool.create_child(name).expect("the name is free");
        let css = self.memory.css(&group).expect("bound here");
        (group, css)
    }
}

/// Brings usage of a group whose high is 100 MiB to `usage`, of which it owes the last `debt`.
fn owe(css: &MemoryCss, usage: u64, debt: u64) {
    css.set_high(Limit::Max);
    css.charge_forced(usage - debt);
    css.set_high(Limit::At(100 * M));
    css.charge_forced(debt);
}

#[derive(Default)]
struct Wakes(AtomicU64);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll(throttle: &mut Throttle) -> Poll<()> {
    Pin::new(throttle).poll(&mut Context::from_waker(Waker::noop()))
}

/// Sees that a throttle sleeps for so long, to the nanosecond.
#[track_caller]
fn sleeps(time: &VirtualClock, mut throttle: Throttle, expected: Duration) {
    if !expected.is_zero() {
        assert!(poll(&mut throttle).is_pending());
        time.advance(expected - Duration::from_nanos(1));
        assert!(poll(&mut throttle).is_pending(), "{throttle:?}");
        time.advance(Duration::from_nanos(1));
    }
    assert!(poll(&mut throttle).is_ready(), "{throttle:?}");
    assert!(poll(&mut throttle).is_ready(), "it stays so");
}

#[test]
fn delays_grow_with_the_square_of_the_overage() {
    let ms = Duration::from_millis;
    for (usage, debt, expected) in [
        (100, 256 * K, 0..1),
        (101, 256 * K, 0..1), // 6 ms are not worth it
        (102, 256 * K, 25..26),
        (105, 256 * K, 159..160),
        (110, 256 * K, 639..640),
        (110, 64 * K, 159..160),
        (118, 256 * K, 2000..2001),
        (200, 64 * M, 2000..2001),
    ] {
        let time = VirtualClock::new();
        let scene = Scene::new(time.clone());
        owe(&scene.css, usage * M, debt);
        let mut throttle = scene.css.over_high();
        if poll(&mut throttle).is_pending() {
            time.advance(ms(expected.start));
            assert_eq!(poll(&mut throttle).is_pending(), expected.start < 2000, "{usage} M");
            time.advance(ms(1));
        } else {
            assert_eq!(expected.start, 0, "{usage} M");
        }
        assert!(poll(&mut throttle).is_ready(), "{usage} M");
        scene.css.uncharge(usage * M);
    }
}

#[test]
fn what_is_paid_is_paid() {
    let time = VirtualClock::new();
    let scene = Scene::new(time.clone());
    owe(&scene.css, 110 * M, 256 * K);
    sleeps(&time, scene.css.over_high(), AT_TEN);
    sleeps(&time, scene.css.over_high(), Duration::ZERO);
    scene.css.uncharge(110 * M);
}

#[test]
fn nothing_is_owed_for_charges_within_high() {
    let time = VirtualClock::new();
    let scene = Scene::new(time.clone());
    scene.css.set_high(Limit::At(100 * M));
    scene.css.charge_forced(100 * M);
    sleeps(&time, scene.css.over_high(), Duration::ZERO);
    // Nor is it by those who charged before high was lowered.
    scene.css.set_high(Limit::At(M));
    sleeps(&time, scene.css.over_high(), Duration::ZERO);
    scene.css.uncharge(100 * M);
}

#[test]
fn a_debt_too_small_to_sleep_for_adds_up() {
    let time = VirtualClock::new();
    let scene = Scene::new(time.clone());
    owe(&scene.css, 110 * M, 4 * K); // 10 ms, but for some microseconds
    sleeps(&time, scene.css.over_high(), Duration::ZERO);
    scene.css.uncharge(4 * K);
    scene.css.charge_forced(4 * K);
    sleeps(&time, scene.css.over_high(), AT_TEN / 32);
    scene.css.uncharge(110 * M);
}

#[test]
fn the_level_that_is_furthest_above_its_high_decides() {
    let time = VirtualClock::new();
    let scene = Scene::new(time.clone());
    let (group, css) = scene.child("child");
    let below = group.create_child("below").unwrap();
    let below_css = scene.memory.css(&below).unwrap();
    css.set_high(Limit::At(109 * M));
    scene.css.set_high(Limit::At(100 * M));
    below_css.set_high(Limit::At(200 * M));
    below_css.charge_forced(110 * M - 256 * K);
    let mut forgiven = below_css.over_high();
    scene.css.set_high(Limit::Max);
    css.set_high(Limit::Max);
    assert!(poll(&mut forgiven).is_ready(), "within high by now");
    scene.css.set_high(Limit::At(100 * M));
    css.set_high(Limit::At(109 * M));
    below_css.charge_forced(256 * K);
    sleeps(&time, scene.css.over_high(), Duration::ZERO); // others' debt
    sleeps(&time, below_css.over_high(), AT_TEN);
    below_css.uncharge(110 * M);
}

#[test]
fn a_sleep_ends_as_soon_as_usage_is_within_high() {
    let scene = Scene::new(VirtualClock::new());
    owe(&scene.css, 110 * M, 256 * K);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut throttle = scene.css.over_high();
    assert!(Pin::new(&mut throttle).poll(&mut Context::from_waker(&waker)).is_pending());
    let before = wakes.0.load(Ordering::Relaxed);
    scene.css.uncharge(10 * M);
    assert!(wakes.0.load(Ordering::Relaxed) > before);
    assert!(poll(&mut throttle).is_ready());
    assert!(poll(&mut scene.css.over_high()).is_ready(), "nothing is owed");
    scene.css.uncharge(100 * M);
}

#[test]
fn a_raised_high_ends_a_sleep() {
    let scene = Scene::new(VirtualClock::new());
    owe(&scene.css, 110 * M, 256 * K);
    let mut throttle = scene.css.over_high();
    assert!(poll(&mut throttle).is_pending());
    scene.css.set_high(Limit::Max);
    assert!(poll(&mut throttle).is_ready());
    scene.css.set_high(Limit::At(100 * M));
    assert!(poll(&mut scene.css.over_high()).is_ready(), "what was slept for is not owed");
    scene.css.uncharge(110 * M);
}

#[test]
fn a_sleep_that_is_given_up_leaves_the_rest_of_the_debt() {
    let time = VirtualClock::new();
    let scene = Scene::new(time.clone());
    owe(&scene.css, 110 * M, 256 * K);
    let mut throttle = scene.css.over_high();
    assert!(poll(&mut throttle).is_pending());
    time.advance(AT_TEN / 4);
    drop(throttle);
    let mut rest = scene.css.over_high();
    assert!(poll(&mut rest).is_pending());
    time.advance(AT_TEN * 74 / 100);
    assert!(poll(&mut rest).is_pending());
    time.advance(AT_TEN * 2 / 100);
    assert!(poll(&mut rest).is_ready());
    scene.css.uncharge(110 * M);
}

#[test]
fn what_can_be_reclaimed_is_not_slept_for() {
    let time = VirtualClock::new();
    let scene = Scene::new(time.clone());
    let (_, css) = scene.child("cache");
    let cache = Cache::filled(css, 16 * K, 20 * M);
    let _guard = cache.css.add_reclaimer(Arc::<Cache>::clone(&cache));
    let (_, tenant) = scene.child("tenant");
    scene.css.set_high(Limit::At(100 * M));
    tenant.charge_forced(90 * M);
    assert!(scene.css.current() > 100 * M);
    sleeps(&time, tenant.over_high(), Duration::ZERO);
    assert!(scene.css.current() <= 100 * M);
    tenant.uncharge(90 * M);
}

#[test]
fn a_removed_group_does_not_sleep() {
    let scene = Scene::new(VirtualClock::new());
    let (group, css) = scene.child("child");
    scene.css.set_high(Limit::At(M));
    css.charge_forced(4 * M);
    let mut begun = css.over_high();
    let fresh = css.over_high();
    assert!(poll(&mut begun).is_pending());
    group.remove(Removal::Detach).unwrap();
    assert!(poll(&mut begun).is_ready());
    drop(fresh);
    css.uncharge(4 * M);
}

#[test]
fn a_wrapped_future_pays_before_each_step_that_follows_a_debt() {
    let time = VirtualClock::new();
    let scene = Scene::new(time.clone());
    owe(&scene.css, 110 * M, 0);
    let steps = AtomicU64::new(0);
    let work = std::future::poll_fn(|_| {
        scene.css.charge_forced(256 * K);
        scene.css.uncharge(256 * K);
        if steps.fetch_add(1, Ordering::Relaxed) == 2 { Poll::Ready(7) } else { Poll::Pending }
    });
    let mut throttled = pin!(scene.css.throttled(work));
    let mut cx = Context::from_waker(Waker::noop());
    let mut poll = || throttled.as_mut().poll(&mut cx);
    assert_eq!((poll(), steps.load(Ordering::Relaxed)), (Poll::Pending, 1), "nothing is owed yet");
    for step in 1..3 {
        assert_eq!((poll(), steps.load(Ordering::Relaxed)), (Poll::Pending, step));
        time.advance(AT_TEN - Duration::from_nanos(1));
        assert_eq!((poll(), steps.load(Ordering::Relaxed)), (Poll::Pending, step));
        time.advance(Duration::from_nanos(1));
        let expected = if step == 2 { Poll::Ready(7) } else { Poll::Pending };
        assert_eq!((poll(), steps.load(Ordering::Relaxed)), (expected, step + 1));
    }
    assert_eq!(pin!(scene.css.throttled(ready(1))).poll(&mut cx), Poll::Pending, "it owes again");
    scene.css.uncharge(110 * M);
}

#[test]
fn a_thread_sleeps_only_when_it_asks_to() {
    let scene = Scene::new(MonotonicClock::new());
    let begin = Instant::now();
    owe(&scene.css, 110 * M, 64 * K);
    scene.css.try_charge(1).unwrap();
    scene.css.uncharge(1);
    assert!(begin.elapsed() < Duration::from_millis(100), "charges do not sleep");
    assert!(
        !scene.css.throttle_blocking(Some(Duration::from_millis(20))),
        "the time was too short"
    );
    assert!(scene.css.throttle_blocking(None));
    let slept = begin.elapsed();
    assert!(slept >= Duration::from_millis(159), "{slept:?}");
    assert!(slept < Duration::from_secs(2), "{slept:?}");
    assert!(scene.css.throttle_blocking(Some(Duration::ZERO)), "nothing is owed");
    scene.css.uncharge(110 * M);
}

#[test]
fn a_task_is_woken_without_any_runtime() {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let scene = Scene::new(MonotonicClock::new());
    owe(&scene.css, 110 * M, 64 * K);
    let begin = Instant::now();
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut throttle = pin!(scene.css.over_high());
    while throttle.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        std::thread::park_timeout(Duration::from_secs(60));
    }
    assert!(begin.elapsed() >= Duration::from_millis(159));
    assert!(begin.elapsed() < Duration::from_secs(30));
    scene.css.uncharge(110 * M);
}

/// Trap: a removal gives back what is charged ahead, and who sleeps for that is woken under no lock.
#[test]
fn a_removal_wakes_throttled_tasks_outside_of_itself() {
    struct Structural(OnceLock<bool>, Cgroup);
    impl Wake for Structural {
        fn wake(self: Arc<Self>) {
            let made = self.1.create_child("by-waker");
            self.0.set(made.is_ok()).ok();
        }
    }
    let scene = Scene::new(MonotonicClock::new());
    let (group, css) = scene.child("a");
    scene.css.set_high(Limit::At(M));
    css.try_charge(100).expect("room");
    let ahead = scene.css.current() - 100;
    assert!(ahead > 0, "something is charged ahead");
    // Kept from the stock, whose thread would keep some of it.
    let mut forced = scene.css.forced();
    forced.set(2 * M);
    let mut throttle = scene.css.over_high();
    let woken = Arc::new(Structural(OnceLock::new(), scene.pool.clone()));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    assert!(Pin::new(&mut throttle).poll(&mut context).is_pending());
    forced.set(M - 100);
    assert!(woken.0.get().is_none(), "above high, by what is charged ahead");
    group.remove(Removal::Detach).expect("removed");
    let start = Instant::now();
    while woken.0.get().is_none() && start.elapsed() < Duration::from_secs(5) {
        std::thread::yield_now();
    }
    assert_eq!(woken.0.get(), Some(&true), "a structural call is possible in a waker");
    css.uncharge(100);
}
