//! Values of users that are dropped late, on other threads, and badly.

use std::{
    panic::panic_any,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, panicking, yield_now},
};

use fief_core::{Css, HookError, Member, Reclaimer, Registry, Removal, Subsystem};

/// What a value does when it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drops {
    Well,
    Panicking,
    /// With a payload that panics in turn.
    Twice,
}

#[derive(Debug)]
struct Value {
    drops: Drops,
    dropped: Arc<AtomicU64>,
}

struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        assert!(panicking(), "a payload's drop");
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        match self.drops {
            Drops::Well => {}
            Drops::Panicking => panic!("a value's drop"),
            Drops::Twice => panic_any(Payload),
        }
    }
}

/// A subsystem whose own drop, and whose children's states' drops, do as they are told.
struct Kind {
    name: &'static str,
    own: Value,
    states: Drops,
    exits: Arc<AtomicU64>,
}

impl Kind {
    fn new(name: &'static str, own: Drops, states: Drops) -> Self {
        let own = Value { drops: own, dropped: Arc::default() };
        Self { name, own, states, exits: Arc::default() }
    }

    fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.own.dropped)
    }
}

impl Subsystem for Kind {
    type State = Value;

    fn name(&self) -> &str {
        self.name
    }

    fn new_css(&self, parent: Option<&Css<Value>>) -> Result<Value, HookError> {
        let drops = if parent.is_some() { self.states } else { Drops::Well };
        Ok(Value { drops, dropped: self.dropped() })
    }

    fn exit(&self, _css: &Css<Value>, _task: &Member) {
        self.exits.fetch_add(1, Ordering::Relaxed);
    }
}

/// Keeps panics that are meant from filling the output.
fn quietly() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_meant = info.payload().is::<Payload>()
                || info.payload_as_str().is_some_and(|text| text.contains("'s drop"));
            if !is_meant {
                usual(info);
            }
        }));
    });
}

fn wait_for(count: &AtomicU64, expected: u64) {
    while count.load(Ordering::Relaxed) < expected {
        yield_now();
    }
}

#[test]
fn the_reclaimer_survives_every_bad_drop() {
    for (own, states) in [(Drops::Panicking, Drops::Twice), (Drops::Twice, Drops::Panicking)] {
        quietly();
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("h").unwrap();
        let bad = Kind::new("bad", own, states);
        let dropped = bad.dropped();
        let bad = registry.register(bad).unwrap();
        bad.bind(&hierarchy).unwrap();
        hierarchy.root().create_child("a").unwrap().remove(Removal::Detach).unwrap();
        wait_for(&dropped, 1);
        bad.unbind().unwrap();
        let root = bad.root().unwrap();
        bad.unregister().unwrap();
        drop(bad);
        drop(root);
        // The root's state, and the subsystem itself.
        wait_for(&dropped, 3);

        let good = Kind::new("good", Drops::Well, Drops::Well);
        let dropped = good.dropped();
        let good = registry.register(good).unwrap();
        good.bind(&hierarchy).unwrap();
        hierarchy.root().create_child("a").unwrap().remove(Removal::Detach).unwrap();
        wait_for(&dropped, 1);
        assert!(registry.stats().hook_panics >= 2);
        registry.wait_reclaimed().unwrap();
    }
}

#[test]
fn a_cancel_callback_is_dropped_under_no_lock() {
    let registry = Registry::new();
    let task = registry.create_task("t").unwrap();
    let (sender, receiver) = mpsc::channel();
    /// Makes a structural call when dropped.
    struct Caller(Registry, mpsc::Sender<bool>);
    impl Drop for Caller {
        fn drop(&mut self) {
            self.1.send(self.0.synchronize().is_ok()).ok();
        }
    }
    let caller = Mutex::new(Caller(registry.clone(), sender));
    task.on_cancel(move || drop(caller.lock()));
    let guard = registry.read();
    drop(task);
    drop(guard);
    assert_eq!(receiver.recv(), Ok(true));
}

#[test]
fn callbacks_that_panic_when_dropped_are_dropped_one_by_one() {
    quietly();
    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let group = hierarchy.root().create_child("a").unwrap();
    let bomb = || Value { drops: Drops::Panicking, dropped: Arc::default() };
    let member = |bomb: Value| {
        let task = registry.create_task("t").unwrap();
        task.join(&group).unwrap();
        let bomb = Mutex::new(bomb);
        task.on_cancel(move || drop(bomb.lock()));
        task
    };
    // Two that end on the way of another call.
    let tasks = [member(bomb()), member(bomb())];
    let guard = registry.read();
    drop(tasks);
    drop(guard);
    group.rename("b").unwrap();
    assert_eq!(registry.stats().hook_panics, 2);

    // Two that end in their own callbacks.
    let tasks: Vec<_> =
        [bomb(), bomb()].map(member).map(|task| Arc::new(Mutex::new(Some(task)))).into();
    for task in &tasks {
        let (shared, last) = (Arc::clone(task), bomb());
        let end = move || {
            let _ = &last;
            shared.lock().unwrap().take();
        };
        if let Some(task) = &*task.lock().unwrap() {
            // Setting a callback drops the one before, here and in the open.
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| task.on_cancel(end)))
                .unwrap_err();
        }
    }
    drop(tasks);
    assert_eq!(group.kill().unwrap(), 2);
    assert_eq!(registry.stats().hook_panics, 4);
    assert!(!group.is_populated());
}

#[test]
fn a_task_dropped_under_a_guard_is_no_member_afterwards() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let group = hierarchy.root().create_child("a").unwrap();
    let task = registry.create_task("t").unwrap();
    task.join(&group).unwrap();
    let guard = registry.read();
    drop(task);
    drop(guard);
    group.remove(Removal::Detach).unwrap();
}

#[test]
fn a_task_dropped_last_of_all_has_its_exit() {
    let other = Registry::new();
    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let kind = Kind::new("kind", Drops::Well, Drops::Well);
    let exits = Arc::clone(&kind.exits);
    let controller = registry.register(kind).unwrap();
    let task = registry.create_task("t").unwrap();
    let guard = other.read();
    drop(task);
    drop(guard);
    drop((controller, registry));
    assert_eq!(exits.load(Ordering::Relaxed), 1);
}

#[test]
fn the_last_handle_may_go_under_a_guard() {
    let other = Registry::new();
    let registry = Registry::new();
    let kind = Kind::new("kind", Drops::Well, Drops::Well);
    let dropped = kind.dropped();
    let controller = registry.register(kind).unwrap();
    let guard = other.read();
    drop((controller, registry));
    drop(guard);
    // The root's state, and the subsystem itself.
    wait_for(&dropped, 2);
}

#[test]
fn a_member_on_the_move_keeps_the_common_parent_populated() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let parent = hierarchy.root().create_child("a").unwrap();
    let (x, y) = (parent.create_child("x").unwrap(), parent.create_child("y").unwrap());
    let task = registry.create_task("t").unwrap();
    task.join(&x).unwrap();
    let (stop, stopped) = mpsc::channel::<()>();
    let watcher = thread::spawn(move || {
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            assert!(parent.is_populated());
        }
    });
    for _ in 0..20_000 {
        task.join(&y).unwrap();
        task.join(&x).unwrap();
    }
    drop(stop);
    watcher.join().unwrap();
}
