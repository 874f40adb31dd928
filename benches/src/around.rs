//! Lookups of tasks' css in windows with a rebind, and in windows without.
//!
//! In those without, the other processor does the same work to another registry: what is compared is
//! what a rebind does to the lookups of its own registry, not what a busy sibling does to a processor. Windows
//! beside an idle one are measured, too.

use std::{
    hint,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use fief_core::{CssRef, Hierarchy, RebindOptions, Registry, Task, bench::slow_lookups};

use crate::{
    charged::{Charged, State, UNITS},
    forest::manual,
    statistic::median,
    system::pinned,
};

/// How long a window is.
pub const WINDOW: Duration = Duration::from_millis(5);
/// Kinds of windows.
pub const KINDS: usize = 4;
/// Groups of the controller that is rebound, each with a member.
const GROUPS: usize = 1_000;

/// Two registries of one kind: the one that is looked at, and the one for which work is done elsewhere.
#[derive(Debug)]
pub struct Around {
    here: Scene,
    elsewhere: Scene,
}

/// A controller of counters, two trees that it goes between, and members of all groups.
#[derive(Debug)]
struct Scene {
    registry: Registry,
    controller: fief_core::Controller<Charged>,
    trees: [Hierarchy; 2],
    tasks: Vec<Task>,
}

/// How css are looked up in windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// By `Task::css`.
    Task,
    /// Through a cache that the thread keeps.
    Cache,
}

/// What the windows of one kind came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kind {
    /// The median of the windows' 99th percentiles, in nanoseconds.
    pub p99: f64,
    /// Lookups that went a slow way, in a window on average.
    pub slow: f64,
}

/// A window's own figures.
struct Window {
    p99: f64,
    slow: f64,
}

impl Scene {
    fn new() -> Self {
        let registry = manual();
        let controller = registry.register(Charged).expect("the name is free");
        let trees =
            ["one", "other"].map(|name| registry.create_hierarchy(name).expect("a free name"));
        let mut tasks = Vec::with_capacity(GROUPS);
        for number in 0..GROUPS {
            let task = registry.create_task("member").expect("nobody refuses");
            for tree in &trees {
                let group = tree.root().create_child(&format!("group{number}")).expect("room");
                task.join(&group).expect("nobody refuses");
            }
            tasks.push(task);
        }
        controller.bind(&trees[0]).expect("nobody refuses");
        Self { registry, controller, trees, tasks }
    }

    fn rebind(&self) {
        let is_there = |tree: &&Hierarchy| self.controller.hierarchy().as_ref() != Some(tree);
        let target = self.trees.iter().find(is_there).expect("there are two");
        let options = RebindOptions::new();
        self.controller.rebind(target, &options).expect("the trees have one shape");
    }
}

impl Around {
    /// Plants the trees.
    #[must_use]
    pub fn new() -> Self {
        Self { here: Scene::new(), elsewhere: Scene::new() }
    }

    /// Looks up and charges in `each` windows of every kind, interleaved: with a rebind, with one of another
    /// registry, with one of that again, and with none.
    ///
    /// One thread looks up, on a processor of its own; the calling one rebinds, or waits.
    #[must_use]
    pub fn windows(&self, by: By, each: usize) -> [Kind; KINDS] {
        let (turn, answered) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
        let is_over = &AtomicBool::new(false);
        let kinds: [Vec<Window>; KINDS] = thread::scope(|scope| {
            let look = move || {
                let windows = self.look_up(by, each, (turn, answered));
                // Ordering: Relaxed: a flag, with no data behind it.
                is_over.store(true, Ordering::Relaxed);
                windows
            };
            let looker = scope.spawn(move || pinned(1, look));
            pinned(0, || self.rebind_in_turn((turn, answered), is_over));
            looker.join().expect("no lookup panics")
        });
        kinds.map(|windows| {
            let p99: Vec<f64> = windows.iter().map(|window| window.p99).collect();
            let slow: f64 = windows.iter().map(|window| window.slow).sum();
            Kind { p99: median(&p99), slow: slow / windows.len() as f64 }
        })
    }

    /// Rebinds once in every window of the kinds that want it, when a quarter of it is over.
    fn rebind_in_turn(&self, (turn, answered): (&AtomicUsize, &AtomicUsize), is_over: &AtomicBool) {
        let mut done = 0;
        // Ordering: Relaxed: see `windows`.
        while !is_over.load(Ordering::Relaxed) {
            // Ordering: Acquire, with the looker's Release: the window has begun.
            let now = turn.load(Ordering::Acquire);
            if now == done {
                hint::spin_loop();
                continue;
            }
            done = now;
            let start = Instant::now();
            while start.elapsed() < WINDOW / 4 {
                hint::spin_loop();
            }
            match done % KINDS {
                1 => self.here.rebind(),
                2 | 3 => self.elsewhere.rebind(),
                _ => {}
            }
            // Ordering: Release, with the looker's Acquire: the rebind is over.
            answered.store(done, Ordering::Release);
        }
    }

    fn look_up(
        &self,
        by: By,
        each: usize,
        (turn, answered): (&AtomicUsize, &AtomicUsize),
    ) -> [Vec<Window>; KINDS] {
        let mut kinds: [Vec<Window>; KINDS] = Default::default();
        let cache = self.here.registry.cache();
        let mut look = |task: &Task| match by {
            By::Task => task.css(&self.here.controller),
            By::Cache => cache.css(&self.here.controller, task),
        };
        let mut times = Vec::with_capacity(1 << 20);
        // One window of each kind before those that count.
        for number in 1..=KINDS * (each + 1) {
            // Ordering: see `rebind_in_turn`.
            turn.store(number, Ordering::Release);
            let window = self.window(&mut look, &mut times);
            if number > KINDS {
                kinds[(number + KINDS - 1) % KINDS].push(window);
            }
            while answered.load(Ordering::Acquire) != number {
                hint::spin_loop();
            }
        }
        kinds
    }

    fn window(
        &self,
        look: &mut impl FnMut(&Task) -> Option<CssRef<State>>,
        times: &mut Vec<u32>,
    ) -> Window {
        times.clear();
        let slow = slow_lookups();
        let start = Instant::now();
        let mut before = start;
        // A step that is prime to the number of tasks: not in the order in which they lie.
        let mut place = 0;
        while before - start < WINDOW {
            place = (place + 619) % self.here.tasks.len();
            let css = look(&self.here.tasks[place]).expect("every task has a css");
            if UNITS.try_charge(&css, 1).is_ok() {
                UNITS.uncharge(&css, 1);
            }
            drop(css);
            let now = Instant::now();
            times.push(u32::try_from((now - before).as_nanos()).unwrap_or(u32::MAX));
            before = now;
        }
        let slow = (slow_lookups() - slow) as f64;
        let rank = times.len() * 99 / 100;
        let (_, p99, _) = times.select_nth_unstable(rank);
        Window { p99: f64::from(*p99), slow }
    }
}

impl Default for Around {
    fn default() -> Self {
        Self::new()
    }
}
