//! Controllers rebound between two trees of one shape, and members moved between two groups.

use std::{
    cell::Cell,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use fief_core::{
    Cgroup, Controller, Hierarchy, Registry, Task,
    bench::{self, Step},
};

use crate::{
    forest::{Empty, manual},
    statistic::median,
};

/// Groups of a tree, members of a crew.
const MANY: usize = 10_000;
/// Rebinds, and moves of all members, in a figure.
const TURNS: usize = 21;

/// The names of what [`figures`] returns.
pub const FIGURES: &[&str] = &[
    "publication",
    "preparation",
    "check",
    "rebind",
    "publication, deep",
    "preparation, deep",
    "check, deep",
    "rebind, deep",
    "publication, members",
    "preparation, members",
    "check, members",
    "rebind, members",
    "attach",
    "publication, 64 threads",
];

/// Rebinds in turn, of trees of two shapes and with members, and moves of members; returns nanoseconds.
#[must_use]
pub fn figures() -> Vec<f64> {
    let flat = Shape::Flat(MANY);
    let twins = [Twins::new(flat), Twins::new(DEEP), Twins::new(flat).with_members()];
    let crew = Crew::new(2, MANY);
    let mut times: [Vec<Times>; 3] = Default::default();
    let mut attached = Vec::with_capacity(TURNS);
    for _ in 0..TURNS {
        times.iter_mut().zip(&twins).for_each(|(times, twins)| times.push(twins.rebind()));
        attached.push(crew.attach_all().as_secs_f64() * 1e9 / MANY as f64);
    }
    let parts: [fn(&Times) -> Duration; 4] =
        [|it| it.publication, |it| it.preparation, |it| it.check, |it| it.all];
    let of = |times: &[Times], part: fn(&Times) -> Duration| {
        median(&times.iter().map(|times| part(times).as_secs_f64() * 1e9).collect::<Vec<_>>())
    };
    let mut figures: Vec<f64> =
        times.iter().flat_map(|times| parts.map(|part| of(times, part))).collect();
    figures.push(median(&attached));
    twins[0].read_on_threads(64);
    let after: Vec<Times> = (0..TURNS).map(|_| twins[0].rebind()).collect();
    figures.push(of(&after, parts[0]));
    figures
}

/// How the groups of a tree hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// So many children of the root.
    Flat(usize),
    /// Three levels: so many children, each with so many, each with so many.
    Deep([usize; 3]),
}

/// 10,000 groups on three levels.
pub const DEEP: Shape = Shape::Deep([10, 27, 36]);

/// Two hierarchies of one shape, and a controller that goes from the one to the other and back.
#[derive(Debug)]
pub struct Twins {
    registry: Registry,
    controller: Controller<Empty>,
    trees: [Hierarchy; 2],
    groups: [Vec<Cgroup>; 2],
    tasks: Vec<Task>,
    is_at_second: Cell<bool>,
}

/// How long the parts of a rebind took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Comparing the trees and the places of all tasks.
    pub check: Duration,
    /// Everything else before the publication.
    pub preparation: Duration,
    /// The publication.
    pub publication: Duration,
    /// Everything from the first step to the last.
    pub all: Duration,
}

impl Twins {
    /// Plants two trees of that shape, and binds an empty subsystem to the first.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let registry = manual();
        let empty = Empty::new("empty");
        let controller = registry.register(empty).expect("the name is free");
        let trees =
            ["one", "other"].map(|name| registry.create_hierarchy(name).expect("a free name"));
        let groups = [0, 1].map(|tree| {
            let root = trees[tree].root();
            match shape {
                Shape::Flat(count) => below(&root, count),
                Shape::Deep(counts) => {
                    counts
                        .iter()
                        .fold((vec![root], Vec::new()), |(level, mut all), count| {
                            let next: Vec<_> =
                                level.iter().flat_map(|group| below(group, *count)).collect();
                            all.extend(next.iter().cloned());
                            (next, all)
                        })
                        .1
                }
            }
        });
        controller.bind(&trees[0]).expect("nobody refuses");
        Self {
            registry,
            controller,
            trees,
            groups,
            tasks: Vec::new(),
            is_at_second: Cell::new(false),
        }
    }

    /// Gives every group a member, which sits in its counterpart as well.
    #[must_use]
    pub fn with_members(mut self) -> Self {
        let [ours, theirs] = &self.groups;
        let member = |(one, other): (&Cgroup, &Cgroup)| {
            let task = self.registry.create_task("member").expect("nobody refuses");
            task.join(one).expect("nobody refuses");
            task.join(other).expect("nobody refuses");
            task
        };
        self.tasks = ours.iter().zip(theirs).map(member).collect();
        self
    }

    /// Takes a guard on so many threads at one time.
    fn read_on_threads(&self, count: usize) {
        let (registry, barrier) = (&self.registry, &Barrier::new(count));
        thread::scope(|scope| {
            for _ in 0..count {
                scope.spawn(|| {
                    let guard = registry.read();
                    barrier.wait();
                    drop(guard);
                });
            }
        });
    }

    /// Rebinds the controller to the tree where it is not.
    pub fn rebind(&self) -> Times {
        let target = &self.trees[usize::from(!self.is_at_second.get())];
        let (mut times, start) = (Times::default(), Instant::now());
        let mut before = start;
        let is_done = bench::rebind(&self.controller, target, |step| {
            let now = Instant::now();
            let took = now - before;
            match step {
                Step::Compared | Step::Agreed => times.check += took,
                Step::Planned | Step::Prepared => times.preparation += took,
                Step::Published => times.publication += took,
                _ => {}
            }
            before = now;
        });
        assert!(is_done, "the trees have one shape");
        self.is_at_second.set(!self.is_at_second.get());
        times.all = start.elapsed();
        times
    }
}

fn below(parent: &Cgroup, count: usize) -> Vec<Cgroup> {
    (0..count).map(|number| parent.create_child(&format!("group{number}")).expect("room")).collect()
}

/// Members of one group that go to another and back, all at once.
#[derive(Debug)]
pub struct Crew {
    groups: [Cgroup; 2],
    tasks: Vec<Task>,
    _controllers: Vec<Controller<Empty>>,
    is_at_second: Cell<bool>,
}

impl Crew {
    /// Makes two groups with css of so many empty subsystems, and so many members of the first.
    #[must_use]
    pub fn new(subsystems: usize, members: usize) -> Self {
        let registry = manual();
        let hierarchy = registry.create_hierarchy("crew").expect("the name is free");
        let controllers = (0..subsystems)
            .map(|number| {
                let empty = Empty::new(&format!("empty{number}"));
                let controller = registry.register(empty).expect("the name is free");
                controller.bind(&hierarchy).expect("no groups yet");
                controller
            })
            .collect();
        let groups = ["one", "other"]
            .map(|name| hierarchy.root().create_child(name).expect("the name is free"));
        let member = |_| groups[0].create_task("member").expect("nobody refuses");
        let tasks = (0..members).map(member).collect();
        Self { groups, tasks, _controllers: controllers, is_at_second: Cell::new(false) }
    }

    /// Moves all members to the group where they are not; returns how long the call took.
    pub fn attach_all(&self) -> Duration {
        let all: Vec<&Task> = self.tasks.iter().collect();
        let target = &self.groups[usize::from(!self.is_at_second.get())];
        let start = Instant::now();
        target.attach_all(&all).expect("nobody refuses");
        let time = start.elapsed();
        self.is_at_second.set(!self.is_at_second.get());
        time
    }
}
