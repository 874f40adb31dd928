//! The css of a task, looked up alone and through a cache.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use fief_core::{
    Barrier, Cache, Controller, Css, CssRef, Hierarchy, HookError, Reclaimer, Registry, Removal,
    Subsystem, Task,
};

/// How long something that must happen may take.
const LONG: Duration = Duration::from_secs(60);

/// Numbers its css, and marks those that are freed.
struct Numbers {
    name: &'static str,
    next: AtomicU64,
}

/// A number, and whether it is still there.
struct Number {
    number: u64,
    is_there: AtomicBool,
}

impl Numbers {
    fn new(name: &'static str) -> Self {
        Self { name, next: AtomicU64::new(0) }
    }
}

impl Subsystem for Numbers {
    type State = Number;

    fn name(&self) -> &str {
        self.name
    }

    fn new_css(&self, _parent: Option<&Css<Number>>) -> Result<Number, HookError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(Number { number, is_there: AtomicBool::new(true) })
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        self.is_there.store(false, Ordering::Relaxed);
    }
}

/// Registers a controller and binds it to a hierarchy of the same name.
fn bound(registry: &Registry, name: &'static str) -> (Hierarchy, Controller<Numbers>) {
    let hierarchy = registry.create_hierarchy(name).expect("the names are free");
    let controller = registry.register(Numbers::new(name)).expect("the names are free");
    controller.bind(&hierarchy).expect("the names are free");
    (hierarchy, controller)
}

/// Looks up in every way and returns the number, which is the same in each.
#[track_caller]
fn look_up(registry: &Registry, controller: &Controller<Numbers>, task: &Task) -> Option<u64> {
    let number = |css: CssRef<Number>| css.number;
    let alone = task.css(controller).map(number);
    let cache = registry.cache();
    let by_cache = cache.css(controller, task).map(number);
    let guard = registry.read();
    let guarded = guard.task_css(controller, task).map(|css| css.number);
    assert_eq!((alone, by_cache), (guarded, guarded));
    assert_eq!(cache.css(controller, task).map(number), guarded, "under a guard");
    alone
}

/// Runs `call` on a thread of its own, and fails should it not return.
#[track_caller]
fn returns(call: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        call();
        done.send(()).ok();
    });
    is_done.recv_timeout(LONG).expect("it returns");
}

#[test]
fn a_task_has_a_css_in_every_hierarchy() {
    let registry = Registry::new();
    let (tenants, one) = bound(&registry, "tenants");
    let (plans, two) = bound(&registry, "plans");
    let task = registry.create_task("task").unwrap();
    assert_eq!(look_up(&registry, &one, &task), Some(0), "the root's");
    let web = tenants.root().create_child("web").unwrap();
    let free = plans.root().create_child("free").unwrap();
    let below = free.create_child("below").unwrap();
    task.join(&web).unwrap();
    task.join(&below).unwrap();
    assert_eq!(look_up(&registry, &one, &task), Some(1));
    assert_eq!(look_up(&registry, &two, &task), Some(2));
    task.leave(&plans).unwrap();
    assert_eq!(look_up(&registry, &two, &task), Some(0));
    assert_eq!(look_up(&registry, &one, &task), Some(1));
    assert_eq!(task.css(&one).unwrap().cgroup(), Some(web));
}

#[test]
fn a_controller_is_found_wherever_it_is_bound_and_until_it_is_unregistered() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let numbers = registry.register(Numbers::new("numbers")).unwrap();
    let task = registry.create_task("task").unwrap();
    let cache = registry.cache();
    let number = || cache.css(&numbers, &task).map(|css| css.number);
    assert_eq!((number(), look_up(&registry, &numbers, &task)), (Some(0), Some(0)), "inactive");

    numbers.bind(&hierarchy).unwrap();
    let group = hierarchy.root().create_child("group").unwrap();
    task.join(&group).unwrap();
    assert_eq!((number(), look_up(&registry, &numbers, &task)), (Some(1), Some(1)));

    task.leave(&hierarchy).unwrap();
    group.remove(Removal::Detach).unwrap();
    assert_eq!((number(), look_up(&registry, &numbers, &task)), (Some(0), Some(0)));
    numbers.unbind().unwrap();
    assert_eq!((number(), look_up(&registry, &numbers, &task)), (Some(0), Some(0)));

    numbers.unregister().unwrap();
    assert_eq!((number(), look_up(&registry, &numbers, &task)), (None, None));
    // Another takes its place in the view, of the same type.
    registry.wait_reclaimed().unwrap();
    let others = registry.register(Numbers::new("others")).unwrap();
    assert_eq!((number(), look_up(&registry, &numbers, &task)), (None, None));
    assert_eq!(look_up(&registry, &others, &task), Some(0));
}

#[test]
fn what_is_of_another_registry_is_not_found() {
    let registries = [Registry::new(), Registry::new()];
    let [one, two] = registries.each_ref().map(|registry| bound(registry, "h").1);
    let [here, there] = registries.each_ref().map(|registry| registry.create_task("t").unwrap());
    let cache = registries[0].cache();
    assert!(here.css(&one).is_some() && there.css(&two).is_some());
    assert!(here.css(&two).is_none() && there.css(&one).is_none());
    assert!(cache.css(&one, &here).is_some());
    assert!(cache.css(&two, &here).is_none());
    assert!(cache.css(&one, &there).is_none());
    assert!(cache.css(&two, &there).is_none(), "a pair of another registry than the cache's");
}

#[test]
fn a_parked_cache_delays_nothing() {
    let registry = Registry::new();
    let (hierarchy, numbers) = bound(&registry, "h");
    let group = hierarchy.root().create_child("group").unwrap();
    let task = registry.create_task("task").unwrap();
    task.join(&group).unwrap();
    let (there, numbers, member) = (&registry, &numbers, &task);
    thread::scope(|scope| {
        let (used, is_used) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let parked = scope.spawn(move || {
            let cache = there.cache();
            let leaked = std::mem::ManuallyDrop::new(there.cache());
            assert_eq!(cache.css(numbers, member).map(|css| css.number), Some(1));
            assert_eq!(leaked.css(numbers, member).map(|css| css.number), Some(1));
            used.send(()).unwrap();
            may_go_on.recv().unwrap();
            cache.css(numbers, member).map(|css| css.number)
        });
        is_used.recv().unwrap();
        task.leave(&hierarchy).unwrap();
        group.remove(Removal::Strict).unwrap();
        let there = registry.clone();
        returns(move || {
            there.synchronize().unwrap();
            there.wait_reclaimed().unwrap();
        });
        assert_eq!(registry.stats().css_freed, 1);
        go_on.send(()).unwrap();
        assert_eq!(parked.join().unwrap(), Some(0), "it sees what is now");
    });
}

#[test]
fn caches_come_and_go_in_any_order() {
    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let (_hierarchy, numbers) = bound(&registry, "h");
    let task = registry.create_task("task").unwrap();
    let mut caches: Vec<Cache> = (0..100).map(|_| registry.cache()).collect();
    for turn in 0..100 {
        let gone = caches.swap_remove(turn * 7 % caches.len());
        assert!(gone.css(&numbers, &task).is_some());
        drop(gone);
        assert!(caches.iter().all(|cache| cache.css(&numbers, &task).is_some()));
        registry.synchronize().unwrap();
    }
}

#[test]
fn a_cache_outlives_its_registry_and_does_not_keep_it() {
    let registry = Registry::new();
    let (hierarchy, numbers) = bound(&registry, "h");
    let task = registry.create_task("task").unwrap();
    let cache = registry.cache();
    let css = cache.css(&numbers, &task).unwrap();
    drop((task, numbers, hierarchy, registry));
    assert!(css.cgroup().is_none(), "the registry is gone");
    drop(css);

    let other = Registry::new();
    let (_hierarchy, numbers) = bound(&other, "h");
    let task = other.create_task("task").unwrap();
    assert!(cache.css(&numbers, &task).is_none());
    drop(cache);
}

type Ask = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// Looks a task up whenever one of its css comes online or goes.
struct Curious {
    asks: Arc<OnceLock<Ask>>,
    answers: Arc<AtomicU64>,
}

impl Curious {
    fn ask(&self) {
        if let Some(number) = self.asks.get().and_then(|ask| ask()) {
            self.answers.fetch_add(1 + number, Ordering::Relaxed);
        }
    }
}

impl Subsystem for Curious {
    type State = ();

    fn name(&self) -> &str {
        "curious"
    }

    fn new_css(&self, _parent: Option<&Css<()>>) -> Result<(), HookError> {
        self.ask();
        Ok(())
    }

    fn offline(&self, _css: &Css<()>) {
        self.ask();
    }
}

#[test]
fn caches_may_be_used_and_made_in_a_hook_and_kept_over_structural_calls() {
    let registry = Registry::new();
    let (hierarchy, numbers) = bound(&registry, "h");
    let other = registry.create_hierarchy("other").unwrap();
    let (asks, answers) = (Arc::default(), Arc::default());
    let curious = Curious { asks: Arc::clone(&asks), answers: Arc::clone(&answers) };
    registry.register(curious).unwrap().bind(&other).unwrap();
    let task = registry.create_task("task").unwrap();
    task.join(&hierarchy.root().create_child("one").unwrap()).unwrap();
    thread_local! {
        static CACHE: OnceLock<Cache> = const { OnceLock::new() };
    }
    let (there, member) = (registry.clone(), task);
    asks.set(Box::new(move || {
        CACHE.with(|cache| {
            let cache = cache.get_or_init(|| there.cache());
            Some(cache.css(&numbers, &member)?.number)
        })
    }))
    .map_err(|_| "set once")
    .unwrap();
    let group = other.root().create_child("group").unwrap();
    assert_eq!(answers.load(Ordering::Relaxed), 2, "in `new_css`");
    registry.synchronize().unwrap();
    group.remove(Removal::Detach).unwrap();
    assert_eq!(answers.load(Ordering::Relaxed), 4, "in `offline`");
}

/// Looks members up, by caches and alone, while they move, groups come and go, and controllers too.
fn storm(barrier: Barrier) {
    let registry = Registry::builder().barrier(barrier).build();
    let (hierarchy, numbers) = bound(&registry, "h");
    let other = registry.create_hierarchy("other").expect("the name is free");
    let tasks = [0, 1].map(|_| registry.create_task("member").expect("nobody refuses"));
    let is_over = AtomicBool::new(false);
    let go_on = || !is_over.load(Ordering::Relaxed);
    thread::scope(|scope| {
        for task in &tasks {
            let (registry, hierarchy, numbers, go_on) = (&registry, &hierarchy, &numbers, &go_on);
            scope.spawn(move || {
                let cache = registry.cache();
                while go_on() {
                    come_and_go(hierarchy, numbers, task, &cache);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                while go_on() {
                    look_on(&registry.cache(), &numbers, &tasks);
                }
            });
        }
        let end = Instant::now() + Duration::from_secs(2);
        let cache = registry.cache();
        while Instant::now() < end {
            pass(&registry, &other, |passing| cache.css(passing, &tasks[0]).map(|css| css.number));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    drop(tasks);
    registry.wait_reclaimed().expect("no guard is held");
    let stats = registry.stats();
    assert_eq!(stats.css_freed, stats.css_created - 1, "all but the root's");
    assert!(stats.css_created > 10);
}

/// Moves `task`, which no other thread moves, to a group and back.
fn come_and_go(hierarchy: &Hierarchy, numbers: &Controller<Numbers>, task: &Task, cache: &Cache) {
    let name = format!("of {:?}", thread::current().id());
    let group = hierarchy.root().create_child(&name).expect("the name is free");
    task.join(&group).expect("nobody refuses");
    let found = cache.css(numbers, task).expect("a task is always somewhere");
    assert_eq!(found.cgroup().as_ref(), Some(&group));
    assert_eq!(task.css(numbers).map(|css| css.number), Some(found.number));
    task.leave(hierarchy).expect("nobody refuses");
    assert_eq!(cache.css(numbers, task).map(|css| css.number), Some(0));
    group.remove(Removal::Detach).expect("nobody is there");
    assert!(found.is_there.load(Ordering::Relaxed), "a reference is out");
}

/// Looks up tasks that others move.
fn look_on(cache: &Cache, numbers: &Controller<Numbers>, tasks: &[Task]) {
    for task in (0..1_000).flat_map(|_| tasks) {
        for found in [cache.css(numbers, task), task.css(numbers)] {
            let found = found.expect("a task is always somewhere");
            assert!(found.is_there.load(Ordering::Relaxed));
        }
    }
}

/// Registers a controller, binds it, and takes it out again.
fn pass(
    registry: &Registry,
    hierarchy: &Hierarchy,
    number: impl Fn(&Controller<Numbers>) -> Option<u64>,
) {
    let passing = registry.register(Numbers::new("passing")).expect("the name is free");
    passing.bind(hierarchy).expect("no groups");
    assert_eq!(number(&passing), Some(0));
    passing.unbind().expect("no groups");
    passing.unregister().expect("inactive");
    assert_eq!(number(&passing), None);
    registry.synchronize().expect("no guard is held");
}

#[test]
fn lookups_find_what_is_there_while_everything_moves() {
    storm(Barrier::Auto);
}

#[test]
fn lookups_find_what_is_there_while_everything_moves_with_fences() {
    storm(Barrier::Fence);
}
