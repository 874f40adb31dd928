//! When nobody can go on: who is the victim, when, and what becomes of it.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use fief_core::{Cgroup, Clock, CssRef, Limit, MonotonicClock, Registry};
use fief_memory::{
    Candidate, ChargeError, Keeper, LargestVictim, Memory, MemoryBuilder, MemoryCss, VictimPolicy,
};

use self::scene::{BARRIERS, Query, Scene, Waiter};

#[cfg(test)]
#[path = "support/scene.rs"]
mod scene;

/// Three queries that hold 50, 30 and 20 bytes of 100.
fn three(scene: &Scene) -> (Cgroup, CssRef<MemoryCss>, [Query; 3]) {
    let (db, css) = scene.limited("db", 100);
    let queries = [("a", 50), ("b", 30), ("c", 20)];
    let queries = queries.map(|(name, bytes)| Query::new(scene, &db, name, bytes));
    (db, css, queries)
}

fn cancelled(queries: &[Query; 3]) -> [bool; 3] {
    queries.each_ref().map(Query::is_cancelled)
}

#[test]
fn everybody_waits_and_one_is_the_victim() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (_, db, queries) = three(&scene);
        let mut waiters = queries.each_ref().map(|query| Waiter::new(query.css.charge(10)));
        scene.pass(0);
        assert_eq!(cancelled(&queries), [true, false, false], "the largest");
        let [a, b, c] = &mut waiters;
        let error = a.error();
        assert!(matches!(error, ChargeError::Killed { .. }));
        assert_eq!(
            error.to_string(),
            "/db/a is to give its memory back: 10 bytes more are not waited for there",
        );
        assert!(queries[0].css.is_killed());
        assert!(!b.run());
        queries[0].css.uncharge(50);
        assert!(!queries[0].css.is_killed(), "all is back");
        assert!(b.has_it());
        assert!(c.has_it());
        scene.pass(5_000);
        assert_eq!(cancelled(&queries), [true, false, false]);
        queries[0].css.try_charge(1).unwrap();
        queries[0].css.uncharge(1);
        queries[1].css.uncharge(40);
        queries[2].css.uncharge(30);
        assert_eq!(db.current(), 0);
    }
}

#[test]
fn there_is_no_victim_while_somebody_runs() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (_, _, queries) = three(&scene);
        let waiters = [0, 1].map(|index: usize| Waiter::new(queries[index].css.charge(10)));
        for _ in 0..10 {
            scene.pass(5_000);
        }
        assert_eq!(cancelled(&queries), [false; 3], "c may give some back");
        let last = Waiter::new(queries[2].css.charge(10));
        scene.pass(0);
        scene.pass(0); // the fronts looked again in the pass before
        drop((waiters, last));
    }
}

#[test]
fn who_has_workers_beside_its_task_runs_while_one_of_them_does() {
    let scene = Scene::new(BARRIERS[0]);
    let (_, _, mut queries) = three(&scene);
    queries[2].worker = Some(queries[2].css.enter());
    let waiters = queries.each_ref().map(|query| Waiter::new(query.css.charge(10)));
    scene.pass(0);
    assert_eq!(cancelled(&queries), [false; 3]);
    let second = Waiter::new(queries[2].css.charge(10));
    scene.pass(0);
    assert_eq!(cancelled(&queries), [true, false, false]);
    drop((waiters, second));
    // The same by the end of a worker.
    let scene = Scene::new(BARRIERS[0]);
    let (_, _, mut queries) = three(&scene);
    queries[2].worker = Some(queries[2].css.enter());
    let waiters = queries.each_ref().map(|query| Waiter::new(query.css.charge(10)));
    scene.pass(0);
    assert_eq!(cancelled(&queries), [false; 3]);
    drop(waiters);
    queries[2].worker = None;
    let waiters = queries.each_ref().map(|query| Waiter::new(query.css.charge(10)));
    scene.pass(0);
    assert_eq!(cancelled(&queries), [true, false, false]);
    drop(waiters);
}

#[test]
fn there_is_no_second_victim_before_the_memory_of_the_first_is_back() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (_, _, queries) = three(&scene);
        let waiters = queries.each_ref().map(|query| Waiter::new(query.css.charge(60)));
        scene.pass(0);
        assert_eq!(cancelled(&queries), [true, false, false]);
        let [mut a, mut b, mut c] = waiters;
        a.error();
        // It takes its time, and goes on giving back.
        for _ in 0..50 {
            scene.pass(900);
            b.run();
            c.run();
            queries[0].css.uncharge(1);
            assert_eq!(cancelled(&queries), [true, false, false]);
        }
        // All is back, and 50 bytes are not enough for anybody.
        b.run();
        c.run();
        scene.pass(0);
        assert_eq!(cancelled(&queries), [true, true, false]);
        // No progress for a second: the next one.
        b.error();
        scene.pass(999);
        c.run();
        assert_eq!(cancelled(&queries), [true, true, false]);
        scene.pass(1);
        c.run();
        scene.pass(0);
        assert_eq!(cancelled(&queries), [true, true, true], "b gave nothing back");
        c.error();
        scene.pass(10_000);
        let counts = queries.each_ref().map(|query| query.cancelled.load(Ordering::SeqCst));
        assert_eq!(counts, [1, 1, 1], "nobody is killed twice");
    }
}

#[test]
fn what_a_victim_charges_without_waiting_is_forced() {
    let scene = Scene::new(BARRIERS[0]);
    let (_, db, queries) = three(&scene);
    let mut waiters = queries.each_ref().map(|query| Waiter::new(query.css.charge(10)));
    scene.pass(0);
    let css = &queries[0].css;
    waiters[0].error();
    css.try_charge(7).unwrap();
    assert_eq!(db.current(), 107, "to unwind with");
    assert!(matches!(Waiter::new(css.charge(1)).error(), ChargeError::Killed { .. }));
    let error = css.charge_blocking(1, None).unwrap_err();
    assert!(matches!(error, ChargeError::Killed { .. }), "{error}");
    assert!(matches!(queries[1].css.try_charge(1), Err(ChargeError::Over(_))), "others are not");
    // A task that comes finds a group like any other.
    let task = queries[0].cgroup.create_task("next").unwrap();
    assert!(!css.is_killed());
    assert!(matches!(css.try_charge(1), Err(ChargeError::Over(_))));
    drop(task);
}

#[test]
fn a_group_goes_as_a_whole() {
    let scene = Scene::new(BARRIERS[0]);
    let (db, _) = scene.limited("db", 100);
    let (tenant, tenant_css) = scene.group(Some(&db), "tenant");
    let parts = ["x", "y"].map(|name| Query::new(&scene, &tenant, name, 30));
    let other = Query::new(&scene, &db, "other", 40);
    tenant_css.set_oom_group(true);
    parts.iter().for_each(|part| part.css.set_oom_group(true)); // the highest counts
    other.css.set_priority(1);
    let all = [&parts[0], &parts[1], &other];
    let mut waiters = all.map(|query| Waiter::new(query.css.charge(10)));
    scene.pass(0);
    assert_eq!(all.map(Query::is_cancelled), [true, true, false]);
    assert!(matches!(waiters[0].error(), ChargeError::Killed { .. }));
    assert!(matches!(waiters[1].error(), ChargeError::Killed { .. }));
    assert!(tenant_css.is_killed());
    parts.iter().for_each(|part| part.css.uncharge(30));
    assert!(!tenant_css.is_killed());
    assert!(waiters[2].has_it());
}

#[test]
fn what_is_kept_and_what_matters_decides() {
    let victim_of = |change: fn(&[Query; 3])| {
        let scene = Scene::new(BARRIERS[0]);
        let (_, _, queries) = three(&scene);
        change(&queries);
        let waiters = queries.each_ref().map(|query| Waiter::new(query.css.charge(10)));
        scene.pass(0);
        drop(waiters);
        queries.iter().position(Query::is_cancelled)
    };
    assert_eq!(victim_of(|_| {}), Some(0));
    assert_eq!(victim_of(|queries| queries[0].css.set_priority(1)), Some(1));
    assert_eq!(victim_of(|queries| queries[2].css.set_priority(-1)), Some(2));
}

type Chooser = fn(&[Candidate]) -> Option<usize>;

/// A policy made of a closure.
struct By<F>(F);

impl<F: Fn(&[Candidate]) -> Option<usize> + Send + Sync + 'static> VictimPolicy for By<F> {
    fn choose(&self, candidates: &[Candidate]) -> Option<usize> {
        (self.0)(candidates)
    }
}

fn with(policy: impl VictimPolicy) -> impl FnOnce(MemoryBuilder) -> MemoryBuilder {
    move |builder| builder.victim_policy(policy)
}

#[test]
fn a_policy_chooses() {
    let policy = By(|candidates: &[Candidate]| {
        let seen: Vec<_> = candidates
            .iter()
            .map(|seen| {
                (seen.cgroup.as_str(), seen.usage, seen.above_protection, seen.participants)
            })
            .collect();
        assert_eq!(seen, [("/db/a", 50, 50, 1), ("/db/b", 30, 30, 1), ("/db/c", 20, 20, 1)]);
        Some(2)
    });
    let scene = Scene::with(BARRIERS[0], with(policy));
    let (_, _, queries) = three(&scene);
    let waiters = queries.each_ref().map(|query| Waiter::new(query.css.charge(10)));
    scene.pass(0);
    assert_eq!(cancelled(&queries), [false, false, true]);
    drop(waiters);
}

#[test]
fn a_policy_that_fails_is_replaced_by_the_default() {
    let policies: [Chooser; 2] = [|_| resume_unwind(Box::new("moody")), |_| Some(usize::MAX)];
    for policy in policies {
        let scene = Scene::with(BARRIERS[0], with(By(policy)));
        let (_, _, queries) = three(&scene);
        let waiters = queries.each_ref().map(|query| Waiter::new(query.css.charge(10)));
        scene.pass(0);
        assert_eq!(cancelled(&queries), [true, false, false]);
        drop(waiters);
    }
}

#[test]
fn a_policy_may_decline_and_is_asked_again() {
    let asked = Arc::new(AtomicU32::new(0));
    let policy = By({
        let asked = Arc::clone(&asked);
        move |all: &[Candidate]| match asked.fetch_add(1, Ordering::SeqCst) {
            0..3 => None,
            _ => LargestVictim::new().choose(all),
        }
    });
    let scene = Scene::with(BARRIERS[0], with(policy));
    let (_, _, queries) = three(&scene);
    let waiters = queries.each_ref().map(|query| Waiter::new(query.css.charge(10)));
    for _ in 0..3 {
        scene.pass(0);
        assert_eq!(cancelled(&queries), [false; 3]);
    }
    scene.pass(0);
    assert_eq!(cancelled(&queries), [true, false, false]);
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    drop(waiters);
}

#[test]
fn those_of_whom_nothing_is_known_are_given_patience() {
    for barrier in BARRIERS {
        let patience = Duration::from_secs(3);
        let scene = Scene::with(barrier, |builder| builder.patience(patience));
        let (db, _) = scene.limited("db", 100);
        let (_, holder) = scene.group(Some(&db), "holder");
        holder.try_charge(70).unwrap();
        let told = Arc::new(AtomicU32::new(0));
        let guard = holder.on_kill({
            let told = Arc::clone(&told);
            move || {
                told.fetch_add(1, Ordering::SeqCst);
                resume_unwind(Box::new("moody"));
            }
        });
        let query = Query::new(&scene, &db, "query", 30);
        let mut waiter = Waiter::new(query.css.charge(60));
        let mut passes = |count: u64| {
            for _ in 0..count {
                scene.pass(500);
                waiter.run();
                scene.pass(0);
            }
            (told.load(Ordering::SeqCst), query.is_cancelled())
        };
        assert_eq!(passes(6), (0, false));
        holder.uncharge(1);
        assert_eq!(passes(6), (0, false), "there is life in it");
        assert_eq!(passes(1), (1, false), "the largest is told, and its panic ends there");
        assert!(holder.is_killed());
        holder.uncharge(69);
        assert!(waiter.has_it());
        drop(guard);
        query.css.uncharge(90);
    }
}

#[test]
fn where_nobody_can_be_told_everybody_goes_on_waiting() {
    let scene = Scene::new(BARRIERS[0]);
    let (db, _) = scene.limited("db", 100);
    let (_, holder) = scene.group(Some(&db), "holder");
    let (_, other) = scene.group(Some(&db), "other");
    holder.try_charge(100).unwrap();
    let mut waiter = Waiter::new(other.charge(10));
    for _ in 0..10 {
        scene.pass(1_000);
        waiter.run();
        scene.pass(0);
    }
    assert!(!waiter.run());
    assert!(!holder.is_killed());
    holder.uncharge(10);
    assert!(waiter.has_it());
}

#[test]
fn a_tree_that_is_large_is_looked_at_at_once_when_somebody_waits() {
    let scene = Scene::new(BARRIERS[0]);
    let (db, _, queries) = three(&scene);
    let crowd: Vec<_> =
        (0..2_000).map(|index| scene.group(Some(&db), &format!("idle-{index}"))).collect();
    let mut waiters: Vec<_> =
        queries[..2].iter().map(|query| Waiter::new(query.css.charge(10))).collect();
    (0..3).for_each(|_| scene.pass(1));
    assert_eq!(cancelled(&queries), [false; 3]);
    waiters.push(Waiter::new(queries[2].css.charge(10)));
    scene.pass(1);
    assert_eq!(cancelled(&queries), [true, false, false]);
    drop((waiters, crowd));
}

#[test]
fn a_limit_far_down_costs_nobody_elsewhere() {
    let scene = Scene::new(BARRIERS[0]);
    let (db, _) = scene.limited("db", 100);
    let (low, low_css) = scene.group(Some(&db), "low");
    low_css.set_max(Limit::At(20));
    let inside = Query::new(&scene, &low, "inside", 20);
    let outside = Query::new(&scene, &db, "outside", 80);
    let mut waiters = [Waiter::new(inside.css.charge(10)), Waiter::new(outside.css.charge(10))];
    scene.pass(0);
    assert_eq!([inside.is_cancelled(), outside.is_cancelled()], [true, false]);
    waiters[0].error();
    inside.css.uncharge(20);
    assert!(waiters[1].has_it());
}

/// Who waits above could go on by what is given back elsewhere.
#[test]
fn a_level_is_not_stuck_whose_people_wait_above_it() {
    let scene = Scene::new(BARRIERS[0]);
    let (db, _) = scene.limited("db", 100);
    let (low, low_css) = scene.group(Some(&db), "low");
    low_css.set_max(Limit::At(60));
    let [x, y] = ["x", "y"].map(|name| Query::new(&scene, &low, name, 25));
    let outside = Query::new(&scene, &db, "outside", 50);
    let mut waiters = [
        Waiter::new(x.css.charge(20)), // at /db/low
        Waiter::new(y.css.charge(10)), // at /db
    ];
    scene.pass(0);
    assert_eq!([&x, &y, &outside].map(Query::is_cancelled), [false; 3]);
    outside.css.uncharge(30);
    assert!(waiters[1].has_it());
    assert!(!waiters[0].run());
}

#[test]
fn moving_tasks_take_their_part_along() {
    let scene = Scene::new(BARRIERS[0]);
    let (db, _) = scene.limited("db", 100);
    let query = Query::new(&scene, &db, "query", 100);
    let helper = query.cgroup.create_task("helper").unwrap();
    let waiter = Waiter::new(query.css.charge(10));
    scene.pass(0);
    assert!(!query.is_cancelled(), "the helper runs");
    helper.leave(&scene.hierarchy).unwrap();
    scene.pass(0);
    assert!(query.is_cancelled());
    drop(waiter);
}

#[test]
fn the_root_is_a_victim_only_if_there_is_nobody_else() {
    let scene = Scene::new(BARRIERS[0]);
    let root = scene.memory.root().unwrap();
    root.set_max(Limit::At(100));
    root.try_charge(90).unwrap();
    let query = Query::new(&scene, &scene.hierarchy.root(), "query", 10);
    let (_worker, _guard) = (root.enter(), root.on_kill(|| {}));
    let waiters = [Waiter::new(query.css.charge(10)), Waiter::new(root.charge(10))];
    scene.pass(0);
    assert!(query.is_cancelled());
    assert!(!root.is_killed());
    query.css.uncharge(10);
    drop(waiters);
    let mut waiter = Waiter::new(root.charge(20));
    scene.pass(0);
    assert!(root.is_killed());
    assert!(matches!(waiter.error(), ChargeError::Killed { .. }));
}

/// The whole of it on the machine's clock, by the keeper's thread; who waits does so on threads.
#[test]
fn threads_that_all_wait_are_freed_by_the_keeper() {
    for barrier in BARRIERS {
        let registry = Registry::new();
        let memory = Memory::builder().barrier(barrier).keeper(Keeper::Thread).build();
        let memory = registry.register(memory).unwrap();
        let hierarchy = registry.create_hierarchy("tree").unwrap();
        memory.bind(&hierarchy).unwrap();
        let (root, count) = (memory.root().unwrap(), AtomicU32::new(0));
        root.set_max(Limit::At(400));
        let begin = std::sync::Barrier::new(4);
        let killed: u32 = thread::scope(|scope| {
            let threads = ["a", "b", "c", "d"].map(|name| {
                let cgroup = hierarchy.root().create_child(name).unwrap();
                let css = memory.css(&cgroup).unwrap();
                let (begin, count) = (&begin, &count);
                scope.spawn(move || {
                    let worker = css.enter();
                    css.try_charge(100).unwrap();
                    begin.wait();
                    let since = Instant::now();
                    let result = css.charge_blocking(50, None);
                    let waited = since.elapsed();
                    let killed = u32::from(matches!(result, Err(ChargeError::Killed { .. })));
                    css.uncharge(if result.is_ok() { 150 } else { 100 });
                    drop(worker);
                    count.fetch_add(1, Ordering::SeqCst);
                    println!("{name}: {result:?} after {waited:?}");
                    killed
                })
            });
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((killed, count.load(Ordering::SeqCst)), (1, 4), "one, and all are through");
        assert_eq!(root.current(), 0);
    }
}

#[test]
fn a_controller_that_is_gone_leaves_no_keeper() {
    struct Counted(MonotonicClock, Arc<AtomicU32>);
    impl Clock for Counted {
        fn now(&self) -> Duration {
            self.0.now()
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicU32::new(0));
    let clock = Counted(MonotonicClock::new(), Arc::clone(&dropped));
    let registry = Registry::new();
    let memory = registry.register(Memory::builder().clock(Arc::new(clock)).build()).unwrap();
    let root = memory.root().unwrap();
    root.set_max(Limit::At(1));
    root.charge_blocking(1, None).unwrap();
    let error = root.charge_blocking(1, Some(Duration::from_millis(1))).unwrap_err();
    assert!(matches!(error, ChargeError::DeadlinePassed(_)), "the keeper was there: {error}");
    root.uncharge(1);
    drop((error, root, memory, registry));
    let end = Instant::now() + Duration::from_secs(30);
    while dropped.load(Ordering::SeqCst) == 0 || keepers() > 0 {
        assert!(Instant::now() < end, "somebody keeps the controller");
        thread::sleep(Duration::from_millis(1));
    }
}

/// How many keepers there are in this process, those of other tests included.
fn keepers() -> usize {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let names = threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "fief-memory").count()
}

/// Trap: the victim was the only one who waited.
#[test]
fn members_that_could_not_be_cancelled_are_cancelled_later() {
    for barrier in BARRIERS {
        let scene = Scene::new(barrier);
        let (db, _) = scene.limited("db", 100);
        let query = Query::new(&scene, &db, "a", 95);
        let mut waiter = Waiter::new(query.css.charge(10));
        let guard = scene.registry.read();
        scene.pass(0);
        assert!(query.css.is_killed());
        assert!(!query.is_cancelled(), "a structural call, under a guard");
        assert!(matches!(waiter.error(), ChargeError::Killed { .. }));
        scene.pass(5);
        assert!(!query.is_cancelled());
        drop(guard);
        scene.pass(5);
        assert!(query.is_cancelled());
        query.css.uncharge(95);
    }
}
