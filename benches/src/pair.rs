//! Ways to keep something alive for a moment, ours beside the peers', behind one trait.
//!
//! A *pair* is to take a hold and to let go of it: clone and drop, load and drop, lock and unlock.
//! A lock or a guard that stands for many pairs is taken outside the loop.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use fief_core::{Controller, Css, CssRef, Registry, Task, WeakCss};
use parking_lot::RwLock;

use crate::forest::{Empty, Forest};

/// Something whose pairs can be timed, on several threads at once.
pub trait Pair: Sync {
    /// Runs that many pairs on the calling thread.
    fn run(&self, pairs: u64);
}

/// `Arc`: clone and drop.
#[derive(Debug, Default)]
pub struct ArcClone(Arc<u64>);

impl Pair for ArcClone {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            drop(black_box(Arc::clone(black_box(&self.0))));
        }
    }
}

/// One shared word: add and subtract.
#[derive(Debug, Default)]
pub struct Atomic(AtomicU64);

impl Pair for Atomic {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            black_box(self.0.fetch_add(1, Ordering::Relaxed));
            black_box(self.0.fetch_sub(1, Ordering::Release));
        }
    }
}

/// `ArcSwap`: a guard taken and dropped.
#[derive(Debug, Default)]
pub struct SwapLoad(ArcSwap<u64>);

impl Pair for SwapLoad {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            drop(black_box(self.0.load()));
        }
    }
}

/// `ArcSwap`: an `Arc` taken and dropped.
#[derive(Debug, Default)]
pub struct SwapLoadFull(ArcSwap<u64>);

impl Pair for SwapLoadFull {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            drop(black_box(self.0.load_full()));
        }
    }
}

/// `crossbeam_epoch`: pinned and unpinned.
#[derive(Debug, Default)]
pub struct EpochPin;

impl Pair for EpochPin {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            drop(black_box(crossbeam_epoch::pin()));
        }
    }
}

/// `parking_lot::RwLock`: locked for reading and unlocked.
#[derive(Debug, Default)]
pub struct RwLockRead(RwLock<u64>);

impl Pair for RwLockRead {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            drop(black_box(self.0.read()));
        }
    }
}

/// `CssRef`: clone and drop; the kernel's `css_get` and `css_put`.
#[derive(Debug)]
pub struct CssClone(pub CssRef<()>);

impl Pair for CssClone {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            drop(black_box(CssRef::clone(black_box(&self.0))));
        }
    }
}

/// `Css::try_get` and drop, under one guard for all pairs.
#[derive(Debug)]
pub struct CssTryGet {
    registry: Registry,
    css: CssRef<()>,
}

impl CssTryGet {
    /// Takes the css of group `number` of `forest`.
    #[must_use]
    pub fn new(forest: &Forest, number: usize) -> Self {
        Self { registry: Registry::clone(&forest.registry), css: forest.css(number) }
    }
}

impl Pair for CssTryGet {
    fn run(&self, pairs: u64) {
        let guard = self.registry.read();
        for _ in 0..pairs {
            drop(black_box(black_box(&self.css).try_get()));
        }
        drop(guard);
    }
}

/// A weak reference upgraded and dropped, under one guard for all pairs.
#[derive(Debug)]
pub struct UpgradeUnder {
    registry: Registry,
    weak: WeakCss<()>,
}

impl UpgradeUnder {
    /// Takes the first css of `forest`.
    #[must_use]
    pub fn new(forest: &Forest) -> Self {
        let weak = CssRef::downgrade(&forest.css(0));
        Self { registry: Registry::clone(&forest.registry), weak }
    }
}

impl Pair for UpgradeUnder {
    fn run(&self, pairs: u64) {
        let guard = self.registry.read();
        for _ in 0..pairs {
            drop(black_box(guard.upgrade(black_box(&self.weak))));
        }
    }
}

/// A weak reference upgraded and dropped, with a guard of its own for each.
#[derive(Debug)]
pub struct UpgradeAlone(WeakCss<()>);

impl UpgradeAlone {
    /// Takes the first css of `forest`.
    #[must_use]
    pub fn new(forest: &Forest) -> Self {
        Self(CssRef::downgrade(&forest.css(0)))
    }
}

impl Pair for UpgradeAlone {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            drop(black_box(black_box(&self.0).upgrade()));
        }
    }
}

/// A guard taken and dropped, with nothing looked up.
#[derive(Debug)]
pub struct Guard(pub Registry);

impl Pair for Guard {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            drop(black_box(black_box(&self.0).read()));
        }
    }
}

/// The css of a task found and held: guards of `per_guard` lookups each, tasks in a fixed shuffle.
#[derive(Debug)]
pub struct Lookup {
    registry: Registry,
    controller: Controller<Empty>,
    tasks: Vec<Task>,
    per_guard: u64,
}

impl Lookup {
    /// Looks up the tasks of all groups of `forest`.
    #[must_use]
    pub fn new(forest: &Forest, per_guard: u64) -> Self {
        let registry = Registry::clone(&forest.registry);
        let controller = Controller::clone(&forest.controllers[0]);
        Self { registry, controller, tasks: forest.tasks(), per_guard }
    }
}

impl Pair for Lookup {
    fn run(&self, pairs: u64) {
        // A full-period generator: every task once a turn, in an order no prefetcher knows.
        let mask = self.tasks.len().next_power_of_two() - 1;
        let mut place = 0_usize;
        let mut left = pairs;
        while left > 0 {
            let guard = self.registry.read();
            for _ in 0..self.per_guard.min(left) {
                place = place.wrapping_mul(5).wrapping_add(1) & mask;
                let task = &self.tasks[place % self.tasks.len()];
                let css = guard.task_css(&self.controller, task);
                drop(black_box(css.and_then(Css::try_get)));
            }
            left -= self.per_guard.min(left);
        }
    }
}

/// The css of a task found, counted and let go again.
#[derive(Debug)]
pub struct TaskCss {
    registry: Registry,
    controller: Controller<Empty>,
    tasks: Vec<Task>,
    way: Way,
}

/// How a task's css is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Way {
    /// By `Task::css`, which takes a guard of its own.
    Alone,
    /// Under a guard for sixteen lookups.
    Guarded,
    /// Through a cache that the thread keeps.
    Cached,
}

/// In which order tasks are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// As they were made.
    InTurn,
    /// In one that no prefetcher knows.
    Shuffled,
}

impl TaskCss {
    /// Looks up a member of each group of `forest`.
    #[must_use]
    pub fn new(forest: &Forest, way: Way, order: Order) -> Self {
        let registry = Registry::clone(&forest.registry);
        let controller = Controller::clone(&forest.controllers[0]);
        let mut tasks = forest.tasks();
        if order == Order::Shuffled {
            shuffle(&mut tasks);
        }
        Self { registry, controller, tasks, way }
    }
}

impl Pair for TaskCss {
    fn run(&self, pairs: u64) {
        let mut turns = self.tasks.iter().cycle().map(black_box);
        let mut left = usize::try_from(pairs).expect("a batch is small");
        match self.way {
            Way::Alone => {
                for task in turns.take(left) {
                    drop(black_box(task.css(&self.controller)));
                }
            }
            Way::Cached => {
                let cache = self.registry.cache();
                for task in turns.take(left) {
                    drop(black_box(cache.css(&self.controller, task)));
                }
            }
            Way::Guarded => {
                while left > 0 {
                    let some = left.min(16);
                    left -= some;
                    let guard = self.registry.read();
                    for task in turns.by_ref().take(some) {
                        let css = guard.task_css(&self.controller, task);
                        drop(black_box(css.and_then(Css::try_get_online)));
                    }
                }
            }
        }
    }
}

/// Puts `tasks` into an order that no prefetcher knows, the same each time.
fn shuffle(tasks: &mut [Task]) {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for last in (1..tasks.len()).rev() {
        // Marsaglia's xorshift, 2003.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let among = u64::try_from(last + 1).expect("a vector is not that long");
        tasks.swap(last, usize::try_from(random % among).expect("less than its length"));
    }
}
