//! What is measured in a process of its own: what groups, counting cells, notices and the memory controller
//! cost in memory; rebinds; and allocators.
//!
//! A figure of memory is the growth of a process's resident memory, to be taken in a fresh process: what was
//! freed before would be used again. A rebind walks over thousands of groups, and what else the process
//! keeps would be in its way.

use std::{hint::black_box, sync::Barrier, thread};

use fief_core::{Cgroup, Controller};

use crate::{
    forest::{Empty, Forest, manual},
    lifecycle::refusal,
    memory, rebound,
    statistic::median,
    system::resident,
};

/// What one process measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Subject {
    /// Groups nobody is told of.
    Groups,
    /// Groups that are armed, and then their notices.
    Armed,
    /// The counting cells of many threads.
    Cells,
    /// The parts of rebinds of many groups, and moves of many members.
    Rebinds,
    /// What groups and threads cost the memory controller.
    Memory,
    /// Small blocks.
    Plain,
    /// The same with an allocator that attributes large ones.
    Hooked,
    /// The same with one that attributes all.
    HookedAll,
}

impl Subject {
    /// Every subject.
    pub const ALL: [Self; 8] = [
        Self::Groups,
        Self::Armed,
        Self::Cells,
        Self::Rebinds,
        Self::Memory,
        Self::Plain,
        Self::Hooked,
        Self::HookedAll,
    ];

    /// Returns the name of the program that measures it.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Hooked => "hooked",
            Self::HookedAll => "hooked_all",
            _ => "ratios",
        }
    }

    /// Returns the names of its figures.
    #[must_use]
    pub const fn figures(self) -> &'static [&'static str] {
        match self {
            Self::Groups => &["group"],
            Self::Armed => &["group, armed", "waiting notice"],
            Self::Cells => &["cells, clustered", "cells, all", "refused, 64 threads"],
            Self::Rebinds => rebound::FIGURES,
            Self::Memory => memory::footprint::FIGURES,
            Self::Plain => &["block"],
            Self::Hooked => &["block, hooked"],
            Self::HookedAll => &["block, all hooked"],
        }
    }

    /// Measures them.
    #[must_use]
    pub fn measure(self) -> Vec<f64> {
        match self {
            Self::Groups => vec![per_group(&Forest::new(manual(), 4, 1_000))],
            Self::Armed => {
                let forest = Forest::notifying(manual(), 4, 1_000);
                let group = per_group(&forest);
                vec![group, per_notice(&forest)]
            }
            Self::Cells => cells(),
            Self::Rebinds => rebound::figures(),
            Self::Memory => memory::footprint::figures(),
            Self::Plain => vec![memory::hook::plain()],
            Self::Hooked | Self::HookedAll => vec![memory::hook::hooked()],
        }
    }

    /// Measures them, and returns what its program prints.
    #[must_use]
    pub fn line(self) -> String {
        self.measure().iter().map(f64::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// Groups by whose creation memory is measured.
const GROUPS: u32 = 20_000;

/// Returns the bytes of each of many groups that are added to `forest`.
///
/// Two threads have taken and dropped a reference to every css of theirs, so that both have made their
/// counting cells. Everything is in it: groups, names of 12 bytes, css, headers, cells, columns, what
/// the allocator adds. The caller's own handles are not.
fn per_group(forest: &Forest) -> f64 {
    touch_on_two_threads(forest, &forest.groups);
    let root = forest.hierarchy.root();
    // Resident already, and overwritten below.
    let mut made: Vec<Cgroup> = (0..GROUPS).map(|_| Cgroup::clone(&root)).collect();

    let before = resident();
    for (number, place) in made.iter_mut().enumerate() {
        *place = root.create_child(&format!("tenant{number:06}")).expect("room");
    }
    touch_on_two_threads(forest, &made);
    let after = resident();
    (after - before) as f64 / f64::from(GROUPS)
}

/// Returns the bytes of each notice of the groups of [`per_group`], all of which the reclaimer is to
/// tell of, and none of which is received.
fn per_notice(forest: &Forest) -> f64 {
    let before = resident();
    forest.registry.reap();
    let after = resident();
    (after - before) as f64 / f64::from(GROUPS)
}

fn touch_on_two_threads(forest: &Forest, groups: &[Cgroup]) {
    touch(&forest.controllers, groups);
    thread::scope(|scope| {
        let other = scope.spawn(|| touch(&forest.controllers, groups));
        other.join().expect("a touch does not panic");
    });
}

fn touch(controllers: &[Controller<Empty>], groups: &[Cgroup]) {
    for group in groups {
        for controller in controllers {
            drop(black_box(controller.css(group)));
        }
    }
}

/// Threads that have cells at one time.
const THREADS: usize = 64;
/// Css of which they have them.
const CSS: usize = 100_000;

/// Returns the bytes of all cells: when each thread has touched one css in a hundred, next to each
/// other; and when each has touched all. And the nanoseconds of a strict removal that is refused by the
/// cells of all these threads.
fn cells() -> Vec<f64> {
    let (forest, four) = (Forest::new(manual(), 1, CSS), Forest::new(manual(), 4, 1_000));
    // What a thread costs itself.
    on_all_threads(|_| ());
    let before = resident();
    on_all_threads(|thread| {
        let first = thread * CSS / 100;
        touch(&forest.controllers, &forest.groups[first..first + CSS / 100]);
    });
    let clustered = resident();
    on_all_threads(|_| touch(&forest.controllers, &forest.groups));
    let all = resident();

    on_all_threads(|_| touch(&four.controllers, &four.groups));
    let refused: Vec<f64> = four
        .groups
        .iter()
        .map(|group| {
            let held = four.controllers[3].css(group);
            let time = refusal(group).as_secs_f64() * 1e9;
            drop(held);
            time
        })
        .collect();
    vec![(clustered - before) as f64, (all - before) as f64, median(&refused)]
}

/// Runs `work` on that many threads, each of which stays until all are done: each has a slot of its
/// own.
fn on_all_threads(work: impl Fn(usize) + Sync) {
    let barrier = &Barrier::new(THREADS);
    let work = &work;
    thread::scope(|scope| {
        let run = |thread| {
            scope.spawn(move || {
                work(thread);
                barrier.wait();
            })
        };
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        // One by one: the scope itself does not wait until their stacks are gone.
        threads.into_iter().for_each(|thread| thread.join().expect("no work panics"));
    });
}
