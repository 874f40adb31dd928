//! Behaviour of stock, with its internals in sight.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Wake, Waker},
    thread,
};

use fief_core::{Barrier, Cgroup, Controller, CssRef, Limit, Registry, Removal};

use super::drain::drain;
use crate::{ChargeError, Memory, MemoryCss};

type Css = CssRef<MemoryCss>;

/// A registry with a tree of groups under memory control.
struct World {
    registry: Registry,
    memory: Controller<Memory>,
    root: Cgroup,
}

impl World {
    fn new(barrier: Barrier) -> Self {
        let registry = Registry::new();
        let tree = registry.create_hierarchy("by-tenant").expect("a hierarchy");
        let memory = Memory::builder().barrier(barrier).build();
        let memory = registry.register(memory).expect("a controller");
        memory.bind(&tree).expect("bound");
        Self { registry, memory, root: tree.root() }
    }

    fn child(&self, parent: &Cgroup, name: &str) -> (Cgroup, Css) {
        let child = parent.create_child(name).expect("a group");
        let css = self.memory.css(&child).expect("a css");
        (child, css)
    }

    /// A chain of groups below the root, `depth` of them; returns the css of the first and of the last.
    fn chain(&self, depth: usize) -> (Css, Css) {
        let (mut group, first) = self.child(&self.root, "first");
        let mut last = first.clone();
        for _ in 1..depth {
            (group, last) = self.child(&group, "below");
        }
        (first, last)
    }

    fn root_css(&self) -> Css {
        self.memory.root().expect("a root css")
    }

    /// Asserts that nothing is charged anywhere.
    fn assert_empty(&self) {
        drain(&self.root_css().node);
        assert_eq!(self.root_css().current(), 0);
        for group in self.root.descendants_pre() {
            let css = self.memory.css(&group).expect("a css");
            assert_eq!(css.current(), 0, "of {}", group.path());
        }
    }
}

/// Waits until threads have ended, and given back what they had charged ahead: the end of a scope does not.
fn join(threads: Vec<thread::ScopedJoinHandle<'_, ()>>) {
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

fn both_barriers(test: impl Fn(World)) {
    for barrier in [Barrier::Auto, Barrier::Fence] {
        test(World::new(barrier));
    }
}

#[test]
fn a_thread_charges_ahead_and_a_drain_gets_it_all() {
    both_barriers(|world| {
        let (first, last) = world.chain(4);
        last.try_charge(100).expect("room");
        assert!(first.current() > 100, "something is charged ahead");
        assert_eq!(first.current(), last.current());
        let drained = drain(&first.node);
        assert_eq!((drained.pockets, drained.skipped), (1, 0));
        assert_eq!((first.current(), last.current()), (100, 100));
        last.uncharge(100);
        world.assert_empty();
    });
}

/// Trap: false failure while others hold stock.
#[test]
fn the_stock_of_others_is_room_for_who_needs_it() {
    both_barriers(|world| {
        let (first, last) = world.chain(2);
        first.set_max(Limit::At(1 << 20));
        let other = last.clone();
        thread::scope(|scope| {
            let (sender, receiver) = std::sync::mpsc::channel::<()>();
            let (charged, is_charged) = std::sync::mpsc::channel::<()>();
            let holder = scope.spawn(move || {
                other.try_charge(1).expect("room");
                charged.send(()).expect("it waits");
                receiver.recv().expect("told to go on");
                other.uncharge(1);
            });
            is_charged.recv().expect("charged");
            assert!(last.current() > 1, "something is charged ahead");
            last.try_charge((1 << 20) - 1).expect("all that is left");
            assert!(matches!(last.try_charge(1), Err(ChargeError::Over(_))));
            last.uncharge((1 << 20) - 1);
            sender.send(()).expect("it waits");
            holder.join().expect("no panic");
        });
        world.assert_empty();
    });
}

/// Trap: threads that end with stock.
#[test]
fn short_threads_leave_nothing_behind() {
    both_barriers(|world| {
        let (_, last) = world.chain(3);
        let turns = if cfg!(debug_assertions) { 200 } else { 2_500 };
        for _ in 0..turns {
            let threads = [(); 4].map(|()| {
                let last = last.clone();
                thread::spawn(move || {
                    last.try_charge(1_000).expect("room");
                    last.try_charge(3_000).expect("room");
                    last.uncharge(4_000);
                })
            });
            // The end of a scope would not wait for what threads drop as they end.
            threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        }
        assert_eq!(last.current(), 0, "without any drain");
        world.assert_empty();
    });
}

/// Trap: thread-locals that are dropped after the guard.
#[test]
fn a_thread_past_its_guard_counts_at_the_counters() {
    struct Late(std::cell::RefCell<Option<Css>>);
    impl Drop for Late {
        fn drop(&mut self) {
            if let Some(css) = self.0.take() {
                css.try_charge(5_000).expect("room");
                css.uncharge(4_000);
            }
        }
    }
    thread_local! {
        static LATE: Late = const { Late(std::cell::RefCell::new(None)) };
    }
    both_barriers(|world| {
        let (_, last) = world.chain(2);
        let css = last.clone();
        thread::spawn(move || {
            // Registered before the stock's guard, so dropped after it.
            LATE.with(|late| late.0.replace(Some(css.clone())));
            css.try_charge(10).expect("room");
            css.uncharge(10);
        })
        .join()
        .expect("no panic");
        assert_eq!(last.current(), 1_000);
        last.uncharge(1_000);
        world.assert_empty();
    });
}

/// Trap: a charge on one thread, its end on another.
#[test]
fn who_gives_back_need_not_be_who_charged() {
    both_barriers(|world| {
        let (_, last) = world.chain(2);
        thread::scope(|scope| {
            let (sender, receiver) = std::sync::mpsc::sync_channel::<u64>(64);
            let last = &last;
            let charger = scope.spawn(move || {
                for amount in (1..20_000).map(|turn| turn * 37 % 9_001) {
                    last.try_charge(amount).expect("room");
                    sender.send(amount).expect("taken");
                }
            });
            let other =
                scope.spawn(move || receiver.iter().for_each(|amount| last.uncharge(amount)));
            join(vec![charger, other]);
        });
        world.assert_empty();
    });
}

/// Trap: a stale entry for a group that is gone; and groups that meet at one place.
#[test]
fn groups_that_meet_in_a_table_keep_their_own() {
    both_barriers(|world| {
        let groups: Vec<_> =
            (0..150).map(|number| world.child(&world.root, &format!("g{number}"))).collect();
        for turn in 0..10 {
            for (_, css) in &groups {
                css.try_charge(turn * 100 + 1).expect("room");
            }
        }
        let each = (0..10).map(|turn| turn * 100 + 1).sum::<u64>();
        drain(&world.root_css().node);
        assert!(groups.iter().all(|(_, css)| css.current() == each));
        for (group, css) in &groups {
            for turn in 0..10 {
                css.uncharge(turn * 100 + 1);
            }
            group.remove(Removal::Detach).expect("removed");
        }
        drop(groups);
        world.assert_empty();
        world.registry.wait_reclaimed().expect("freed");
        assert_eq!(world.registry.stats().css_online, 1, "the root's");
    });
}

/// Never above the limit, nothing refused that has room, and nothing left.
#[test]
fn threads_at_the_limit_never_pass_it() {
    both_barriers(|world| {
        const THREADS: u64 = 4;
        const MOST: u64 = 700 << 10;
        // Refused wrongly at most for one entry of each thread.
        const MAX: u64 = THREADS * MOST + THREADS * (64 << 10);
        let (first, _) = world.chain(1);
        first.set_max(Limit::At(MAX));
        let live = AtomicU64::new(0);
        let refused = AtomicU64::new(0);
        let groups: Vec<_> = world.root.children().collect();
        let leaves: Vec<Css> =
            (0..6).map(|leaf| world.child(&groups[0], &format!("leaf{leaf}")).1).collect();
        let turns = if cfg!(debug_assertions) { 30_000 } else { 400_000 };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|seed| {
                    let (live, refused, leaves) = (&live, &refused, &leaves);
                    scope.spawn(move || {
                        let mut random = fastrand::Rng::with_seed(seed);
                        let mut held: HashMap<usize, u64> = HashMap::new();
                        let mut sum = 0;
                        for _ in 0..turns {
                            let leaf = random.usize(..leaves.len());
                            let amount = random.u64(1..20_000);
                            if sum + amount <= MOST && random.u8(..) < 140 {
                                match leaves[leaf].try_charge(amount) {
                                    Ok(()) => {
                                        assert!(live.fetch_add(amount, Relaxed) + amount <= MAX);
                                        *held.entry(leaf).or_default() += amount;
                                        sum += amount;
                                    }
                                    Err(_) => {
                                        refused.fetch_add(1, Relaxed);
                                    }
                                }
                            } else {
                                let back = held.get(&leaf).map_or(0, |held| random.u64(..=*held));
                                live.fetch_sub(back, Relaxed);
                                leaves[leaf].uncharge(back);
                                *held.entry(leaf).or_default() -= back;
                                sum -= back;
                            }
                        }
                        for (leaf, amount) in held {
                            live.fetch_sub(amount, Relaxed);
                            leaves[leaf].uncharge(amount);
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                for turn in 0..turns / 50 {
                    drain(&leaves[turn % leaves.len()].node);
                }
            });
            join(threads);
        });
        assert_eq!(refused.into_inner(), 0, "refused with room for all");
        world.assert_empty();
    });
}

/// As above, with a limit that is too small for all: refusals, but never above it.
#[test]
fn threads_that_are_refused_never_pass_the_limit() {
    both_barriers(|world| {
        const MAX: u64 = 300_000;
        let (first, last) = world.chain(3);
        first.set_max(Limit::At(MAX));
        let (live, granted) = (AtomicI64::new(0), AtomicU64::new(0));
        let turns = if cfg!(debug_assertions) { 20_000 } else { 300_000 };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|seed| {
                    let (live, granted, last) = (&live, &granted, &last);
                    scope.spawn(move || {
                        let mut random = fastrand::Rng::with_seed(seed);
                        let mut held = Vec::new();
                        for _ in 0..turns {
                            let amount = random.u64(1..40_000);
                            if last.try_charge(amount).is_ok() {
                                granted.fetch_add(1, Relaxed);
                                let signed = i64::try_from(amount).expect("small");
                                let now = live.fetch_add(signed, Relaxed) + signed;
                                assert!(now <= MAX.try_into().expect("small"), "{now} live");
                                held.push(amount);
                            }
                            while held.len() > random.usize(..8) {
                                let amount = held.swap_remove(random.usize(..held.len()));
                                live.fetch_sub(amount.try_into().expect("small"), Relaxed);
                                last.uncharge(amount);
                            }
                        }
                        for amount in held {
                            live.fetch_sub(amount.try_into().expect("small"), Relaxed);
                            last.uncharge(amount);
                        }
                    })
                })
                .collect();
            join(threads);
        });
        assert!(granted.into_inner() > 0);
        assert!(first.node.counter.peak() <= MAX);
        world.assert_empty();
    });
}

/// Trap: drain storms. What cannot be had by a drain is not asked for again and again.
#[test]
fn a_full_group_is_not_drained_for_ever() {
    both_barriers(|world| {
        let (first, last) = world.chain(2);
        first.set_max(Limit::At(1 << 20));
        last.try_charge(1 << 20).expect("room");
        for _ in 0..1_000 {
            assert!(last.try_charge(1).is_err());
        }
        let drains = first.stats().events_local.drain;
        assert!(drains <= 1, "{drains} drains for 1,000 refusals");
        last.uncharge(1 << 20);
        world.assert_empty();
    });
}

#[test]
fn a_strict_removal_sees_charges_and_not_what_is_charged_ahead() {
    both_barriers(|world| {
        let (group, css) = world.child(&world.root, "web");
        css.try_charge(10).expect("room");
        css.try_charge(10).expect("room");
        let node = Arc::clone(&css.node);
        drop(css);
        let error = group.remove(Removal::Strict).expect_err("charged");
        assert!(error.to_string().contains("memory"), "{error}");
        // The pocket of this thread is gone, so what is given back goes to the counters.
        super::uncharge(node.key, &node, 20);
        group.remove(Removal::Strict).expect("nothing is charged any more");
        world.assert_empty();
    });
}

#[test]
fn a_detached_group_leaves_its_charges_to_its_parent() {
    both_barriers(|world| {
        let (group, css) = world.child(&world.root, "web");
        css.try_charge(1_000).expect("room");
        let account = Arc::clone(&css.account);
        group.remove(Removal::Detach).expect("removed");
        assert!(matches!(css.try_charge(1), Err(ChargeError::Removed { .. })));
        css.charge_forced(500);
        drop(css);
        world.registry.wait_reclaimed().expect("freed although something is charged");
        assert_eq!(world.registry.stats().css_online, 1);
        drain(&world.root_css().node);
        assert_eq!(world.root_css().current(), 1_500);
        crate::chain::uncharge(&account.node(), 1_500);
        world.assert_empty();
    });
}

/// Charges 2 KiB when it is woken, as an executor might that charges for its queue.
struct Payer(Css, AtomicU64);

impl Wake for Payer {
    fn wake(self: Arc<Self>) {
        if self.0.try_charge(2_048).is_ok() {
            self.1.fetch_add(1, Relaxed);
        }
    }
}

/// What is charged ahead for one group is given back to make place for another: that wakes somebody, and
/// the waker charges the other group, too.
#[test]
fn a_waker_may_charge_in_the_middle_of_a_charge() {
    both_barriers(|world| {
        let (_, first) = world.child(&world.root, "first");
        let mut meets = None;
        for number in 0..640 {
            let (_, css) = world.child(&world.root, &format!("g{number}"));
            if super::place(css.key) == super::place(first.key) {
                meets = Some(css);
                break;
            }
        }
        let second = meets.expect("keys count up");
        let payer = Arc::new(Payer(second.clone(), AtomicU64::new(0)));
        first.set_high(Limit::At(1 << 20));
        first.try_charge(100_000).expect("room");
        let ahead = first.current() - 100_000;
        assert!(ahead > 0, "something is charged ahead");
        super::chain::force(&first.node, 1 << 20);
        let mut throttle = Box::pin(first.over_high());
        let waker = Waker::from(Arc::clone(&payer));
        let mut context = Context::from_waker(&waker);
        assert!(throttle.as_mut().poll(&mut context).is_pending());
        super::chain::uncharge(&first.node, 100_000);
        assert_eq!(payer.1.load(Relaxed), 0, "above high, by what is charged ahead");
        second.try_charge(1).expect("room");
        assert_eq!(payer.1.load(Relaxed), 1, "woken in the middle of that");
        drop(throttle);
        second.uncharge(2_049);
        first.uncharge(1 << 20);
        world.assert_empty();
    });
}

/// A charge of nothing meets a drain: what is in the pocket is given back all the same.
#[test]
fn a_charge_of_nothing_settles_what_was_called_in() {
    both_barriers(|world| {
        let (_, css) = world.chain(1);
        css.try_charge(100).expect("room");
        for (_, entry) in css.node.pockets.list.lock().iter().flat_map(|list| list.iter()) {
            entry.pocket.revoke();
        }
        super::charge_slow(&css.node, 0, super::Step::Revoked).expect("nothing");
        assert_eq!(css.current(), 100);
        css.uncharge(100);
        world.assert_empty();
    });
}

/// A strict removal that is refused leaves nobody who waits for the last charge to go; a group whose release is to
/// be told does.
#[test]
fn a_group_that_was_drained_charges_ahead_again_unless_it_is_awaited() {
    both_barriers(|world| {
        for is_told in [false, true] {
            let (group, css) = world.child(&world.root, if is_told { "told" } else { "web" });
            group.set_notify_on_release(is_told).expect("it is there");
            group.remove(Removal::Strict).expect_err("we hold its css");
            for _ in 0..600 {
                css.try_charge(100).expect("room");
                css.uncharge(100);
            }
            assert_eq!(css.current() > 0, !is_told, "kept for what is charged next");
        }
        world.assert_empty();
    });
}

/// Somebody filled the pocket between the look and the refill.
#[test]
fn a_refill_leaves_what_it_does_not_need() {
    both_barriers(|world| {
        let (_, css) = world.chain(1);
        css.try_charge(100).expect("room");
        css.node.be_exact();
        let charged =
            super::JANITOR.with(|janitor| janitor.refill(&css.node, super::pocket(css.key), 10));
        charged.expect("room");
        drain(&css.node);
        assert_eq!(css.current(), 110);
        css.uncharge(110);
        world.assert_empty();
    });
}

/// What the pocket did is done, though it was called in and the thread is about to end.
#[test]
fn a_thread_past_its_guard_does_nothing_twice() {
    struct Late(std::cell::RefCell<Option<Css>>);
    impl Drop for Late {
        fn drop(&mut self) {
            if let Some(css) = self.0.take() {
                super::charge_slow(&css.node, 5_000, super::Step::Revoked).expect("done");
                super::uncharge_slow(&css.node, 4_000, super::Step::Revoked);
            }
        }
    }
    thread_local! {
        static LATE: Late = const { Late(std::cell::RefCell::new(None)) };
    }
    both_barriers(|world| {
        let (_, last) = world.chain(2);
        last.charge_forced(10_000);
        let css = last.clone();
        thread::spawn(move || {
            // Registered before the stock's guard, so dropped after it.
            LATE.with(|late| late.0.replace(Some(css.clone())));
            css.try_charge(10).expect("room");
            css.uncharge(10);
        })
        .join()
        .expect("no panic");
        assert_eq!(last.current(), 10_000);
        last.uncharge(10_000);
        world.assert_empty();
    });
}

/// Trap: who gives back what nobody has does not take the group's reference from others.
#[test]
fn an_underflow_of_nothing_leaves_the_pin_alone() {
    both_barriers(|world| {
        let (group, css) = world.child(&world.root, "web");
        for _ in 0..3 {
            let node = Arc::clone(&css.node);
            // It panics the first time in builds with assertions.
            let under = std::panic::AssertUnwindSafe(|| super::chain::uncharge(&node, 1));
            std::panic::catch_unwind(under).ok();
        }
        css.node.be_exact();
        css.try_charge(10).expect("room");
        let node = Arc::clone(&css.node);
        drop(css);
        group.remove(Removal::Strict).expect_err("charged");
        super::chain::uncharge(&node, 10);
        group.remove(Removal::Strict).expect("nothing is charged any more");
    });
}

/// Trap: the core catches what panics in a hook, and the thread goes on.
#[test]
fn wakers_are_not_held_back_after_a_panic() {
    let world = World::new(Barrier::Auto);
    let (_, css) = world.chain(1);
    let panics = || crate::wait::under_lock(&css.node, || panic!("in a hook"));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).expect_err("it panics");
    let payer = Arc::new(Payer(css.clone(), AtomicU64::new(0)));
    crate::wait::wake(vec![crate::wait::Sleeper::Task(Waker::from(Arc::clone(&payer)))]);
    assert_eq!(payer.1.load(Relaxed), 1, "called here, at once");
    css.uncharge(2_048);
    world.assert_empty();
}

/// Trap: nobody calls twice who was called once.
#[test]
fn a_waker_that_cannot_be_held_back_is_called() {
    struct Late(std::cell::RefCell<Option<Arc<Payer>>>);
    impl Drop for Late {
        fn drop(&mut self) {
            if let Some(payer) = self.0.take() {
                crate::wait::under_lock(&payer.0.node, || {
                    crate::wait::wake(vec![crate::wait::Sleeper::Task(Waker::from(Arc::clone(
                        &payer,
                    )))]);
                });
            }
        }
    }
    thread_local! {
        static LATE: Late = const { Late(std::cell::RefCell::new(None)) };
    }
    let world = World::new(Barrier::Auto);
    let (_, css) = world.chain(1);
    let payer = Arc::new(Payer(css.clone(), AtomicU64::new(0)));
    let late = Arc::clone(&payer);
    thread::spawn(move || {
        // Registered before the list of those held back, so dropped after it.
        LATE.with(|place| place.0.replace(Some(Arc::clone(&late))));
        crate::wait::under_lock(&late.0.node, || {});
    })
    .join()
    .expect("no panic");
    assert_eq!(payer.1.load(Relaxed), 1);
    css.uncharge(2_048);
    world.assert_empty();
}
