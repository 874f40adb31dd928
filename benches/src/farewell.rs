//! From removal to freed: how long a css outlives its group while readers go on reading.

use std::{
    hint::black_box,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::Receiver,
    },
    thread,
    time::{Duration, Instant},
};

use fief_core::{Controller, Css, Registry, Removal, Task};

use crate::{
    forest::{Forest, Witness, witness},
    system::{pinned, processors},
};

/// Who reads meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// One thread on a processor of its own; remover and reclaimer share another.
    Elsewhere,
    /// Twice as many threads as processors, wherever the scheduler puts them.
    TwiceTheProcessors,
}

/// Removes groups while readers look css up without a pause; returns how long each took.
///
/// The time runs from the call of `remove` to the drop of the css's state by the reclaimer. Each
/// reader takes a guard, finds the css of a task, takes a reference, drops it, drops the guard.
#[must_use]
pub fn removals(readers: Readers, removals: u64) -> Vec<Duration> {
    match readers {
        Readers::Elsewhere => pinned(0, || Scene::new().play(1, Some(1), removals)),
        Readers::TwiceTheProcessors => Scene::new().play(2 * processors(), None, removals),
    }
}

struct Scene {
    forest: Forest,
    controller: Controller<Witness>,
    freed: Receiver<Instant>,
    task: Task,
}

impl Scene {
    fn new() -> Self {
        let forest = Forest::new(Registry::new(), 0, 0);
        let (controller, freed) = witness(&forest.registry, &forest.hierarchy);
        let place = forest.hierarchy.root().create_child("place").expect("the name is free");
        let task = forest.registry.create_task("reader").expect("no subsystem refuses");
        task.join(&place).expect("no subsystem refuses");
        Self { forest, controller, freed, task }
    }

    fn play(&self, readers: usize, processor: Option<usize>, removals: u64) -> Vec<Duration> {
        let (is_over, reads) = (AtomicBool::new(false), AtomicU64::new(0));
        let (registry, controller, task) = (&self.forest.registry, &self.controller, &self.task);
        let read = || {
            // Ordering: Relaxed: a flag and a statistic.
            while !is_over.load(Ordering::Relaxed) {
                for _ in 0..64 {
                    let guard = registry.read();
                    drop(black_box(guard.task_css(controller, task).and_then(Css::try_get)));
                }
                reads.fetch_add(64, Ordering::Relaxed);
            }
        };
        let reader = || match processor {
            Some(number) => pinned(number, read),
            None => read(),
        };
        thread::scope(|scope| {
            (0..readers).for_each(|_| drop(scope.spawn(reader)));
            while reads.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            let times = (0..removals).map(|number| self.removal(number)).collect();
            is_over.store(true, Ordering::Relaxed);
            times
        })
    }

    fn removal(&self, number: u64) -> Duration {
        // Apart by more than a scheduler's slice: removals close together would all meet the same
        // readers, asleep under their guards or not.
        thread::sleep(Duration::from_micros(3_000 + 700 * (number % 5)));
        let root = self.forest.hierarchy.root();
        let group = root.create_child("passing").expect("the name is free");
        let start = Instant::now();
        group.remove(Removal::Detach).expect("nobody joined");
        let freed = self.freed.recv_timeout(Duration::from_secs(10));
        freed.expect("a css is freed in the end") - start
    }
}
