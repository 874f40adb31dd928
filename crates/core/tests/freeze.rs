//! Freezing: who is asked, who has stopped, and what is told, while members come and go.

use std::{
    sync::{
        Arc, Barrier, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use fief_core::{
    Cgroup, Css, Event, FreezeError, HookError, Member, Registry, Removal, StructuralError,
    Subsystem, Task, Watch,
};

/// How long something may take that comes soon.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a task's callback has heard.
type Heard = Arc<Mutex<Vec<bool>>>;

fn listen(task: &Task) -> Heard {
    let heard = Heard::default();
    let inside = Arc::clone(&heard);
    task.on_freeze(move |asked| inside.lock().expect("not poisoned").push(asked));
    heard
}

fn drain(heard: &Heard) -> Vec<bool> {
    std::mem::take(&mut *heard.lock().expect("not poisoned"))
}

fn events(watch: &Watch) -> Vec<Event> {
    std::iter::from_fn(|| watch.try_recv().ok()).collect()
}

/// A registry, and `/a`, `/a/b` and `/c` of a hierarchy.
fn tree(registry: &Registry, name: &str) -> [Cgroup; 3] {
    let root = registry.create_hierarchy(name).expect("nobody refuses").root();
    let a = root.create_child("a").expect("nobody refuses");
    let (b, c) = (
        a.create_child("b").expect("nobody refuses"),
        root.create_child("c").expect("nobody refuses"),
    );
    [a, b, c]
}

#[test]
fn a_group_is_frozen_when_its_last_member_has_stopped() {
    let registry = Registry::new();
    let [a, b, c] = tree(&registry, "h");
    let (one, two) = (a.create_task("one").unwrap(), b.create_task("two").unwrap());
    let (heard_one, heard_two) = (listen(&one), listen(&two));
    let watches = [&a, &b, &c].map(|group| group.watch().unwrap());
    assert!(!one.set_frozen(true), "nobody asks");
    assert!(!one.is_frozen());

    a.freeze().unwrap();
    assert_eq!([drain(&heard_one), drain(&heard_two)], [[true], [true]]);
    assert!(one.is_freeze_requested() && two.is_freeze_requested());
    assert_eq!([&a, &b, &c].map(Cgroup::is_freeze_requested), [true, false, false]);
    assert_eq!([&a, &b, &c].map(Cgroup::is_frozen), [false; 3]);
    assert!(one.set_frozen(true));
    assert!(!a.is_frozen(), "one below runs");
    assert!(two.set_frozen(true));
    assert_eq!([&a, &b, &c].map(Cgroup::is_frozen), [true, true, false]);
    assert_eq!(watches.each_ref().map(events), [vec![Event::Frozen], vec![Event::Frozen], vec![]]);

    // Whoever runs all the same is believed, and reminded.
    assert!(two.set_frozen(false));
    assert_eq!([&a, &b].map(Cgroup::is_frozen), [false; 2]);
    assert!(two.set_frozen(true));
    assert_eq!(watches.each_ref().map(events), [vec![], vec![], vec![]], "it made no difference");

    a.thaw().unwrap();
    assert_eq!([drain(&heard_one), drain(&heard_two)], [[false], [false]]);
    assert_eq!([&a, &b, &c].map(Cgroup::is_frozen), [false; 3]);
    assert_eq!(watches.each_ref().map(events), [vec![Event::Thawed], vec![Event::Thawed], vec![]]);
    assert!(!one.set_frozen(true), "nobody asks any more");
    assert!(!one.is_frozen());
    assert!(!two.set_frozen(false));
}

#[test]
fn an_empty_group_is_frozen_at_once_and_what_is_born_there_too() {
    let registry = Registry::new();
    let [a, b, _] = tree(&registry, "h");
    a.freeze().unwrap();
    a.freeze().unwrap();
    assert!(a.is_frozen() && b.is_frozen());
    let born = b.create_child("born").unwrap();
    assert!(born.is_frozen() && !born.is_freeze_requested());
    let watch = a.watch().unwrap();
    let task = born.create_task("t").unwrap();
    assert!(task.is_freeze_requested(), "born into a frozen group");
    assert!(!a.is_frozen());
    assert_eq!(drain(&listen(&task)), [true], "told as it begins to listen");
    let child = task.spawn("child").unwrap();
    assert!(child.is_freeze_requested() && !child.is_frozen(), "what was said is not inherited");
    assert_eq!(events(&watch), [Event::Populated, Event::Thawed]);
    task.set_frozen(true);
    drop(child);
    assert_eq!(events(&watch), [Event::Frozen]);
    drop(task);
    assert!(a.is_frozen());
    assert_eq!(events(&watch), [Event::Emptied]);
    born.remove(Removal::Detach).unwrap();
    a.thaw().unwrap();
    assert!(!b.create_child("warm").unwrap().is_frozen());
    assert_eq!(events(&watch), [Event::Thawed]);
}

#[test]
fn a_request_below_holds_when_the_one_above_ends() {
    let registry = Registry::new();
    let [a, b, _] = tree(&registry, "h");
    let below = b.create_child("c").unwrap();
    let (above, task) = (a.create_task("above").unwrap(), below.create_task("t").unwrap());
    let heard = [listen(&above), listen(&task)];
    let frozen = || [&a, &b, &below].map(Cgroup::is_frozen);
    above.set_frozen(true);
    b.freeze().unwrap();
    a.freeze().unwrap();
    assert_eq!(heard.each_ref().map(drain), [[true], [true]], "asked once");
    above.set_frozen(true);
    task.set_frozen(true);
    assert_eq!(frozen(), [true; 3]);
    a.thaw().unwrap();
    assert_eq!(heard.each_ref().map(drain), [vec![false], vec![]]);
    assert_eq!(frozen(), [false, true, true]);
    a.freeze().unwrap();
    b.thaw().unwrap();
    assert_eq!(heard.each_ref().map(drain), [vec![true], vec![]], "held from above");
    assert_eq!(frozen(), [true; 3], "stopped all the while");
    a.thaw().unwrap();
    assert_eq!(heard.each_ref().map(drain), [[false], [false]]);
}

#[test]
fn a_task_is_asked_while_any_of_its_groups_is() {
    let registry = Registry::new();
    let ([a, ..], [x, _, z]) = (tree(&registry, "one"), tree(&registry, "two"));
    let task = a.create_task("t").unwrap();
    x.attach(&task).unwrap();
    let heard = listen(&task);
    x.freeze().unwrap();
    task.set_frozen(true);
    assert!(x.is_frozen() && !a.is_frozen());
    a.freeze().unwrap();
    assert_eq!(drain(&heard), [true]);
    assert!(a.is_frozen(), "it had stopped already");
    x.thaw().unwrap();
    assert_eq!(drain(&heard), [false; 0]);
    z.attach(&task).unwrap();
    assert!(task.is_freeze_requested());
    a.thaw().unwrap();
    assert_eq!(drain(&heard), [false]);
}

#[test]
fn a_task_that_moves_is_told() {
    let registry = Registry::new();
    let [a, b, c] = tree(&registry, "h");
    let root = a.parent().unwrap();
    let (one, two) = (c.create_task("one").unwrap(), registry.create_task("two").unwrap());
    let heard = [listen(&one), listen(&two)];
    a.freeze().unwrap();
    let watch = a.watch().unwrap();
    b.attach_all(&[&one, &two]).unwrap();
    assert_eq!(heard.each_ref().map(drain), [[true], [true]]);
    assert_eq!(events(&watch), [Event::Populated, Event::Thawed]);
    one.set_frozen(true);
    two.set_frozen(true);
    a.attach(&one).unwrap();
    assert_eq!(drain(&heard[0]), [false; 0], "from frozen to frozen");
    assert_eq!(events(&watch), [Event::Frozen]);
    root.attach_all(&[&one, &two]).unwrap();
    assert_eq!(heard.each_ref().map(drain), [[false], [false]]);
    assert!(a.is_frozen());
    // It has not said that it runs: so it is still when it comes back.
    a.create_child_with("d", &[&two]).unwrap();
    assert_eq!(drain(&heard[1]), [true]);
    assert!(a.is_frozen());
    assert!(two.set_frozen(false), "asked again before it ran");
    assert!(!a.is_frozen());
}

#[test]
fn every_change_rings_upward() {
    let registry = Registry::new();
    let [a, b, c] = tree(&registry, "h");
    let (one, two) = (b.create_task("one").unwrap(), c.create_task("two").unwrap());
    let other = b.create_task("other").unwrap();
    let watch = a.watch().unwrap();
    let rings = |what: &str, change: &dyn Fn(), told: Event| {
        assert!(watch.try_recv().is_err(), "before {what}");
        change();
        assert!(watch.bell().try_recv().is_ok(), "{what} rings");
        assert_eq!(events(&watch), [told], "{what}");
    };
    a.freeze().unwrap();
    assert!(other.set_frozen(true));
    rings("the last stops", &|| _ = one.set_frozen(true), Event::Frozen);
    rings("one runs", &|| _ = one.set_frozen(false), Event::Thawed);
    rings("the only one to run leaves", &|| c.attach(&one).unwrap(), Event::Frozen);
    rings("one that runs comes", &|| b.attach_all(&[&one, &two]).unwrap(), Event::Thawed);
    assert!(one.set_frozen(true));
    rings("the last stops", &|| _ = two.set_frozen(true), Event::Frozen);
    rings("a thaw", &|| a.thaw().unwrap(), Event::Thawed);
    rings("a freeze", &|| a.freeze().unwrap(), Event::Frozen);
    let born = Mutex::new(None);
    let bear = || *born.lock().unwrap() = Some(one.spawn("born").unwrap());
    rings("a birth", &bear, Event::Thawed);
    rings("an end", &|| drop(born.lock().unwrap().take()), Event::Frozen);
}

#[test]
fn refusals() {
    let registry = Registry::new();
    let [a, _, c] = tree(&registry, "h");
    let root = a.parent().unwrap();
    let text = |result: Result<(), FreezeError>| result.unwrap_err().to_string();
    assert_eq!(text(root.freeze()), "the root of hierarchy h cannot be frozen");
    assert_eq!(text(root.thaw()), "the root of hierarchy h cannot be frozen");
    c.freeze().unwrap();
    let watch = c.watch().unwrap();
    c.remove(Removal::Detach).unwrap();
    assert_eq!(text(c.thaw()), "/c is removed");
    assert!(c.is_frozen() && c.is_freeze_requested(), "as it was");
    assert_eq!(events(&watch), [Event::Removed]);
    let guard = registry.read();
    let held = a.freeze().unwrap_err();
    assert!(matches!(held, FreezeError::Structural(StructuralError::GuardHeld { .. })));
    let task = a.parent().map(|_| a.is_freeze_requested());
    assert_eq!(task, Some(false));
    drop(guard);
    let empty = registry.create_hierarchy("empty").unwrap();
    empty.destroy().unwrap();
    assert_eq!(text(empty.root().freeze()), "/ is removed");
}

#[test]
fn frozen_members_are_killed_and_leave() {
    let registry = Registry::new();
    let [a, b, _] = tree(&registry, "h");
    let tasks: Arc<Mutex<Vec<Task>>> = Arc::default();
    for group in [&a, &b] {
        let task = group.create_task("t").unwrap();
        let all = Arc::downgrade(&tasks);
        let id = task.id();
        task.on_cancel(move || {
            let Some(all) = all.upgrade() else { return };
            let mut all = all.lock().unwrap();
            let place = all.iter().position(|task| task.id() == id).unwrap();
            let task = all.remove(place);
            drop(all);
            assert!(task.set_frozen(false), "runs to its end, still asked not to");
        });
        tasks.lock().unwrap().push(task);
    }
    a.freeze().unwrap();
    tasks.lock().unwrap().iter().for_each(|task| assert!(task.set_frozen(true)));
    let watch = a.watch().unwrap();
    assert_eq!(a.kill().unwrap(), 2);
    assert!(!a.is_populated() && a.is_frozen());
    assert_eq!(events(&watch), [Event::Emptied]);
    a.remove_subtree(Removal::Strict).unwrap();
}

#[test]
fn callbacks_may_freeze_thaw_move_drop_and_panic() {
    let registry = Registry::new();
    let [a, _, c] = tree(&registry, "h");
    let task = Arc::new(Mutex::new(Some(a.create_task("t").unwrap())));
    let heard = Heard::default();
    let callback = {
        let (a, c, task, heard) = (a.clone(), c.clone(), Arc::downgrade(&task), Arc::clone(&heard));
        move |asked| {
            heard.lock().unwrap().push(asked);
            let count = heard.lock().unwrap().len();
            match count {
                1 => a.thaw().unwrap(),
                2 => a.freeze().unwrap(),
                3 => {
                    let task = task.upgrade().unwrap();
                    c.attach(task.lock().unwrap().as_ref().unwrap()).unwrap();
                }
                _ => panic!("told once too often"),
            }
            assert_eq!(heard.lock().unwrap().len(), count, "told again before it returned");
        }
    };
    let begun = task.lock().unwrap().take().unwrap();
    begun.on_freeze(callback);
    *task.lock().unwrap() = Some(begun);
    a.freeze().unwrap();
    assert_eq!(drain(&heard), [true, false, true, false]);
    assert_eq!(registry.stats().hook_panics, 1);
    let other = a.create_task("other").unwrap();
    let quitter = Arc::new(Mutex::new(Some(a.create_task("quitter").unwrap())));
    a.thaw().unwrap();
    let inside = Arc::downgrade(&quitter);
    let task = quitter.lock().unwrap().take().unwrap();
    task.on_freeze(move |_| drop(inside.upgrade().and_then(|task| task.lock().unwrap().take())));
    *quitter.lock().unwrap() = Some(task);
    a.freeze().unwrap();
    assert!(quitter.lock().unwrap().is_none());
    assert_eq!(a.members().len(), 1);
    assert!(other.is_freeze_requested());
}

#[test]
fn another_callback_is_told_anew() {
    let registry = Registry::new();
    let [a, ..] = tree(&registry, "h");
    let task = a.create_task("t").unwrap();
    a.freeze().unwrap();
    let first = listen(&task);
    let second = listen(&task);
    a.thaw().unwrap();
    assert_eq!([drain(&first), drain(&second)], [vec![true], vec![true, false]]);
}

/// Callbacks whose drops panic are dropped each by itself, under no lock.
#[test]
fn callbacks_that_are_dropped_badly() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("bad"));
        }
    }
    let registry = Registry::new();
    let [a, ..] = tree(&registry, "h");
    let task = a.create_task("t").unwrap();
    let (one, two) = (Bad, Bad);
    task.on_cancel(move || _ = &one);
    task.on_freeze(move |_| _ = &two);
    drop(task);
    assert_eq!(registry.stats().hook_panics, 1, "one value, one count");
    assert!(!a.is_populated());
}

/// Lets a test act while a task is born.
#[derive(Clone, Default)]
struct Birth(Arc<OnceLock<Act>>);

/// Told the hook.
type Act = Box<dyn Fn(&str) + Send + Sync>;

impl Birth {
    fn run(&self, hook: &str) {
        self.0.get().into_iter().for_each(|act| act(hook));
    }
}

impl Subsystem for Birth {
    type State = ();

    fn name(&self) -> &str {
        "birth"
    }

    fn new_css(&self, _parent: Option<&Css<()>>) -> Result<(), HookError> {
        Ok(())
    }

    fn can_fork(&self, _css: &Css<()>, _task: &Member) -> Result<(), HookError> {
        self.run("can_fork");
        Ok(())
    }

    fn fork(&self, css: &Css<()>, task: &Member) {
        self.run("fork");
        let group = css.cgroup().expect("nobody refuses");
        assert!(group.members().contains(task), "a member by the time of fork");
    }
}

#[test]
fn race_28_freeze_between_can_fork_and_fork() {
    let registry = Registry::new();
    let [a, b, _] = tree(&registry, "h");
    let birth = Birth::default();
    registry.register(birth.clone()).unwrap();
    let parent = b.create_task("parent").unwrap();
    let (to_freezer, begin) = mpsc::channel::<String>();
    let (begun, at_it) = mpsc::channel();
    let at_it = Mutex::new(at_it);
    thread::scope(|scope| {
        let a = &a;
        scope.spawn(move || {
            thread::scope(|freezers| {
                for _hook in begin {
                    let begun = begun.clone();
                    freezers.spawn(move || {
                        begun.send(()).unwrap();
                        a.freeze().unwrap();
                        a.thaw().unwrap();
                        a.freeze().unwrap();
                    });
                }
            });
        });
        let to_freezer = Mutex::new(Some(to_freezer));
        let act = move |hook: &str| {
            // In either hook somebody comes to freeze, and waits for the lock that we hold.
            let mut to_freezer = to_freezer.lock().unwrap();
            to_freezer.as_ref().unwrap().send(hook.to_owned()).unwrap();
            at_it.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            thread::sleep(Duration::from_millis(20));
            if hook == "fork" {
                *to_freezer = None;
            }
        };
        assert!(birth.0.set(Box::new(act)).is_ok());
        let child = parent.spawn("child").unwrap();
        a.freeze().unwrap();
        assert!(child.is_freeze_requested(), "escaped the freeze");
        assert!(!a.is_frozen());
        parent.set_frozen(true);
        child.set_frozen(true);
        assert!(a.is_frozen());
    });
}

#[test]
fn race_28_spawn_beside_freeze() {
    let registry = Registry::new();
    let [a, b, _] = tree(&registry, "h");
    for _ in 0..200 {
        let parent = b.create_task("parent").unwrap();
        let start = Barrier::new(2);
        let children = thread::scope(|scope| {
            let spawner = scope.spawn(|| {
                start.wait();
                let spawn = |_| parent.spawn("child").unwrap();
                (0..4).map(spawn).collect::<Vec<_>>()
            });
            start.wait();
            a.freeze().unwrap();
            spawner.join().unwrap()
        });
        assert!(children.iter().all(Task::is_freeze_requested), "one escaped");
        assert!(!a.is_frozen());
        children.iter().chain([&parent]).for_each(|task| assert!(task.set_frozen(true)));
        assert!(a.is_frozen());
        a.thaw().unwrap();
        assert!(!children.iter().any(Task::is_freeze_requested));
    }
}

#[test]
fn who_finds_a_group_frozen_finds_its_members_at_rest() {
    let registry = Registry::new();
    let [a, b, _] = tree(&registry, "h");
    /// Ends the workers, whatever comes.
    struct Over<'o>(&'o AtomicBool, &'o Cgroup);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
            self.1.thaw().unwrap();
        }
    }
    let is_over = AtomicBool::new(false);
    let works: [AtomicU64; 2] = Default::default();
    thread::scope(|scope| {
        for (work, group) in works.iter().zip([&a, &b]) {
            let is_over = &is_over;
            let task = group.create_task("worker").unwrap();
            scope.spawn(move || {
                let worker = thread::current();
                task.on_freeze(move |_| worker.unpark());
                while !is_over.load(Ordering::Relaxed) {
                    while task.is_freeze_requested() && task.set_frozen(true) {
                        thread::park_timeout(PATIENCE);
                    }
                    if !task.set_frozen(false) {
                        work.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let over = Over(&is_over, &a);
        for _ in 0..300 {
            a.freeze().unwrap();
            // Each worker may do one more piece before it hears; then none.
            let deadline = Instant::now() + PATIENCE;
            while !a.is_frozen() {
                assert!(Instant::now() < deadline, "a worker does not stop");
                thread::yield_now();
            }
            let before = works.each_ref().map(|work| work.load(Ordering::Relaxed));
            thread::yield_now();
            assert_eq!(works.each_ref().map(|work| work.load(Ordering::Relaxed)), before);
            a.thaw().unwrap();
        }
        drop(over);
    });
}

/// The state of a generator of random numbers: xorshift, by George Marsaglia (2003).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("nobody refuses")
    }
}

/// A worker of the stress: what it was told last.
struct Worker {
    task: Task,
    heard: Arc<AtomicBool>,
}

impl Worker {
    fn new(task: Task) -> Self {
        let heard = Arc::new(AtomicBool::new(false));
        let (inside, is_telling) = (Arc::clone(&heard), AtomicBool::new(false));
        task.on_freeze(move |asked| {
            assert!(!is_telling.swap(true, Ordering::Relaxed), "told twice at once");
            thread::yield_now();
            inside.store(asked, Ordering::Relaxed);
            is_telling.store(false, Ordering::Relaxed);
        });
        task.on_cancel(|| {});
        Self { task, heard }
    }
}

/// Freezes, thaws, moves, spawns, says, kills and drops at random.
fn disturb(random: &mut Random, registry: &Registry, groups: &[Cgroup], workers: &mut Vec<Worker>) {
    let group = &groups[random.below(groups.len())];
    let many: Vec<&Task> = workers.iter().map(|worker| &worker.task).take(3).collect();
    let worker = workers.get(random.below(8));
    match (random.below(10), worker) {
        (0 | 1, _) => drop(group.freeze()),
        (2 | 3, _) => drop(group.thaw()),
        (4, Some(worker)) => group.attach(&worker.task).expect("nobody refuses"),
        (5, _) => group.attach_all(&many).expect("nobody refuses"),
        (6, Some(worker)) => _ = worker.task.set_frozen(random.below(2) == 0),
        (7, Some(worker)) if workers.len() < 8 => {
            let child = worker.task.spawn_into("child", &[group]).expect("nobody refuses");
            workers.push(Worker::new(child));
        }
        (8, _) if !workers.is_empty() => drop(workers.swap_remove(random.below(workers.len()))),
        (9, _) => _ = group.kill().expect("nobody refuses"),
        _ if workers.len() < 4 => {
            workers.push(Worker::new(registry.create_task("t").expect("nobody refuses")));
        }
        _ => {}
    }
}

/// Returns whether a freeze is in effect by what each group requests.
fn is_asked(group: &Cgroup) -> bool {
    group.ancestors().any(|group| group.is_freeze_requested())
}

#[test]
fn at_the_end_everybody_is_told_what_holds() {
    let registry = Registry::new();
    let mut groups = Vec::new();
    for name in ["one", "two"] {
        groups.extend(tree(&registry, name));
    }
    let roots = [&groups[0], &groups[3]].map(|group| group.parent().unwrap());
    let all: Vec<Cgroup> = groups.iter().chain(&roots).cloned().collect();
    let mut workers = Vec::new();
    let rounds = if cfg!(debug_assertions) { 100 } else { 300 };
    for round in 0..rounds {
        let disturbers = [1, 2, 3].map(|thread| {
            let (registry, all) = (registry.clone(), all.clone());
            thread::spawn(move || {
                let mut random = Random(thread + 7 * (round + 1));
                let mut workers = Vec::new();
                for _ in 0..200 {
                    disturb(&mut random, &registry, &all, &mut workers);
                }
                workers
            })
        });
        for disturber in disturbers {
            workers.extend(disturber.join().unwrap());
        }
        check(&registry, &groups, &workers);
        workers.truncate(5);
    }
    assert_eq!(registry.stats().hook_panics, 0);
    drop(workers);
    for group in &groups {
        assert_eq!(group.is_frozen(), is_asked(group), "empty, and frozen if asked");
    }
}

/// Compares with what groups request, where tasks sit and what they said.
fn check(registry: &Registry, groups: &[Cgroup], workers: &[Worker]) {
    fn places(registry: &Registry, task: &Task) -> Vec<Cgroup> {
        let all = registry.hierarchies();
        all.iter().map(|hierarchy| task.cgroup(hierarchy).expect("nobody refuses")).collect()
    }
    for Worker { task, heard } in workers {
        let asked = places(registry, task).iter().any(is_asked);
        assert_eq!(task.is_freeze_requested(), asked);
        assert_eq!(heard.load(Ordering::Relaxed), asked, "told what does not hold");
    }
    for group in groups {
        let runs = |worker: &Worker| {
            let task = &worker.task;
            !task.is_frozen()
                && places(registry, task)
                    .iter()
                    .any(|place| place.ancestors().any(|at| at == *group))
        };
        let is_frozen = is_asked(group) && !workers.iter().any(runs);
        assert_eq!(group.is_frozen(), is_frozen, "{group:?}");
        let event = group.watch().expect("nobody refuses").try_recv();
        assert!(event.is_err(), "{event:?} is no news");
    }
}
