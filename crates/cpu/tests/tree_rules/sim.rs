//! Workers, jobs and time that exist only here: a machine that picks, runs and settles.
//!
//! Deterministic: what is random comes from a seed. A slice runs whole polls of one job until its time
//! is over or the job naps; a leaf that has no job left in its queue is deactivated, as a pool does.

use std::collections::BTreeMap;

use fief_cpu::tree::{CpuTree, NodeId, Pick, TreeSettings};

/// What each job of a leaf does, again and again: it polls for a while, then naps.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) jobs: usize,
    /// Shortest and longest poll, in nanoseconds.
    pub(crate) poll: (u64, u64),
    /// Polls before the slice is given back early: at most this many.
    pub(crate) polls: u64,
    /// Polls between naps; `u64::MAX` for never.
    pub(crate) until_nap: u64,
    /// Shortest and longest nap, in nanoseconds.
    pub(crate) nap: (u64, u64),
}

impl Load {
    /// Jobs that always have something to do.
    pub(crate) fn hog(jobs: usize, poll: (u64, u64)) -> Self {
        Self { jobs, poll, polls: u64::MAX, until_nap: u64::MAX, nap: (0, 0) }
    }
}

#[derive(Debug, Default)]
struct Leaf {
    load: Option<Load>,
    /// Polls until the nap of each job that waits.
    ring: Vec<u64>,
    pub(crate) longest: u64,
}

/// A slice that was run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice {
    pub(crate) node: NodeId,
    pub(crate) start: u64,
    pub(crate) cost: u64,
}

#[derive(Debug)]
struct Run {
    pick: Pick,
    slice: Slice,
    /// What is left of the job, and how long it naps if that is nothing.
    left: u64,
}

#[derive(Debug)]
pub(crate) struct Sim {
    pub(crate) tree: CpuTree,
    pub(crate) now: u64,
    workers: usize,
    leaves: BTreeMap<usize, Leaf>,
    /// By when they end, and a number.
    runs: BTreeMap<(u64, u64), Run>,
    /// By when they wake, and a number.
    naps: BTreeMap<(u64, u64), NodeId>,
    number: u64,
    random: fastrand::Rng,
    /// Whoever lets held back groups in is late by this much.
    pub(crate) late: u64,
    /// Wall time of a slice in percent of its CPU time, at most: time the machine is taken away.
    pub(crate) steal: u64,
    pub(crate) slices: Vec<Slice>,
}

impl Sim {
    pub(crate) fn new(workers: usize, seed: u64) -> Self {
        Self {
            tree: CpuTree::new(TreeSettings::default()),
            now: 0,
            workers,
            leaves: BTreeMap::new(),
            runs: BTreeMap::new(),
            naps: BTreeMap::new(),
            number: 0,
            random: fastrand::Rng::with_seed(seed),
            late: 0,
            steal: 100,
            slices: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, parent: NodeId, weight: u16) -> NodeId {
        let node = self.tree.add(parent).expect("the parent is there");
        self.tree.set_weight(node, weight, self.now).expect("the weight is in range");
        node
    }

    pub(crate) fn root(&self) -> NodeId {
        self.tree.root()
    }

    /// Jobs begin, beside those that are there.
    pub(crate) fn load(&mut self, node: NodeId, load: Load) {
        let leaf = self.leaves.entry(node.index()).or_default();
        leaf.ring.extend((0..load.jobs).map(|_| load.until_nap));
        leaf.load = Some(load);
        self.tree.activate(node, self.now).expect("the node is there");
    }

    /// The jobs of a leaf end, those that run with their slices.
    pub(crate) fn stop(&mut self, node: NodeId) {
        self.leaves.insert(node.index(), Leaf::default());
        self.tree.deactivate(node, self.now);
    }

    pub(crate) fn usage(&self, node: NodeId) -> u64 {
        self.tree.stats(node).expect("the node is there").usage
    }

    /// The longest slice that a leaf ran so far.
    pub(crate) fn longest(&self, node: NodeId) -> u64 {
        self.leaves.get(&node.index()).map_or(0, |leaf| leaf.longest)
    }

    /// Runs until a time, and calls `look` whenever a slice was settled.
    pub(crate) fn run(&mut self, until: u64, mut look: impl FnMut(&Self, Slice)) {
        while let Some(next) = self.start().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            if self.tree.next_release().is_some_and(|due| due + self.late <= self.now) {
                self.tree.release(self.now);
            }
            while let Some(nap) = self.naps.first_entry().filter(|nap| nap.key().0 <= self.now) {
                let node = nap.remove();
                self.push(node);
            }
            if let Some(run) = self.runs.first_entry().filter(|run| run.key().0 <= self.now) {
                let run = run.remove();
                let slice = self.end(run);
                look(self, slice);
            }
        }
        self.now = self.now.max(until);
    }

    /// Gives every free worker a slice; when something happens next.
    fn start(&mut self) -> Option<u64> {
        while self.runs.len() < self.workers
            && let Some(pick) = self.tree.pick(self.now)
        {
            self.begin(pick);
        }
        let release = self.tree.next_release().map(|due| due + self.late);
        let run = self.runs.keys().next().map(|key| key.0);
        let nap = self.naps.keys().next().map(|key| key.0);
        [release, run, nap].into_iter().flatten().min()
    }

    fn begin(&mut self, pick: Pick) {
        let node = pick.node();
        let leaf = self.leaves.get_mut(&node.index()).expect("only loaded leaves are active");
        let load = leaf.load.clone().expect("only loaded leaves are active");
        let mut left = leaf.ring.remove(0);
        let (mut cost, mut polls) = (0, 0);
        while cost < pick.slice() && left > 0 && polls < load.polls {
            cost += self.random.u64(load.poll.0..=load.poll.1);
            (left, polls) = (left - 1, polls + 1);
        }
        leaf.longest = leaf.longest.max(cost);
        if leaf.ring.is_empty() {
            self.tree.deactivate(node, self.now);
        }
        let wall = cost * self.random.u64(100..=self.steal) / 100;
        self.number += 1;
        let slice = Slice { node, start: self.now, cost };
        self.runs.insert((self.now + wall.max(1), self.number), Run { pick, slice, left });
    }

    fn end(&mut self, run: Run) -> Slice {
        let Run { pick, slice, left } = run;
        let leaf = self.leaves.get_mut(&slice.node.index()).expect("it ran");
        if let Some(load) = leaf.load.clone() {
            self.go_on(&load, slice.node, left);
        }
        self.tree.settle(pick, slice.cost, self.now);
        self.slices.push(slice);
        slice
    }

    fn go_on(&mut self, load: &Load, node: NodeId, left: u64) {
        if left > 0 {
            self.leaves.entry(node.index()).or_default().ring.push(left);
            self.tree.activate(node, self.now).expect("the node is there");
        } else {
            self.number += 1;
            let nap = self.random.u64(load.nap.0..=load.nap.1);
            self.naps.insert((self.now + nap, self.number), node);
        }
    }

    fn push(&mut self, node: NodeId) {
        let leaf = self.leaves.get_mut(&node.index()).expect("it napped");
        let until_nap = leaf.load.as_ref().map_or(0, |load| load.until_nap);
        leaf.ring.push(until_nap);
        self.tree.activate(node, self.now).expect("the node is there");
    }
}
