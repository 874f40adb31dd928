//! A scheduler with queues and workers as they are, without a registry and without threads of its own.

use std::{
    collections::VecDeque,
    mem,
    task::{Wake, Waker},
    time::Duration,
};

use crate::{
    foreign::{Clock, TaskId},
    job::{self, Home, Runnable, join::JoinHandle},
    leaf::Leaf,
    polls::Watch,
    queue::{Owner, Queue, Want},
    sched::{Sched, Standing},
    sync::{Arc, Mutex, Weak},
    time::Time,
    tree::{CpuTree, TreeSettings},
    worker::{Driver, Runner, Turn},
};

/// A scheduler, the root's leaf, and one of a group below.
pub(super) struct Scene {
    pub(super) sched: Arc<Sched>,
    pub(super) root: Arc<Leaf>,
    pub(super) group: Arc<Leaf>,
}

/// A worker, and whether it is to be driven again.
pub(super) struct Hand {
    runner: Runner,
    bell: Arc<Bell>,
}

/// Whether somebody was called, as a thread that parks finds it.
#[derive(Default)]
pub(super) struct Bell(Mutex<bool>);

/// Where jobs go that are woken or given back.
pub(super) struct Member(pub(super) Arc<Queue>);

/// Time stands still.
struct Still;

/// Nobody's.
struct Nobody;

impl Scene {
    pub(super) fn new(slots: u32) -> Self {
        let tree = CpuTree::new(TreeSettings::default());
        let sched = Sched::new(tree, slots, Time::of(Arc::new(Still)), Watch::default());
        sched.set_standing(Standing::Open);
        let root =
            sched.add(None, |node| Leaf::new(&sched, node, None)).expect("the root is there");
        let parent = Some(Arc::clone(&root));
        let group = sched.add(Some(root.node), |node| Leaf::new(&sched, node, parent));
        Self { group: group.expect("the root takes a child"), sched, root }
    }

    pub(super) fn hand(&self) -> Hand {
        let bell = Arc::<Bell>::default();
        let driver = Driver::Task(Waker::from(Arc::clone(&bell)));
        Hand { runner: Runner::new(&self.sched, driver, || false), bell }
    }

    /// Whether the tree has it that something waits in a leaf.
    pub(super) fn is_active(&self, leaf: &Leaf) -> bool {
        self.sched.with(|tree, _| tree.is_active(leaf.node))
    }

    /// Takes all jobs out of a leaf, and returns how many those were; the tree and the ring have to agree before
    /// each of them, and after the last.
    pub(super) fn drain(&self, leaf: &Leaf) -> usize {
        let mut jobs = VecDeque::new();
        loop {
            let (is_active, had) = (self.is_active(leaf), jobs.len());
            let queue = leaf.take(Want::First(1), &mut jobs);
            assert_eq!(queue.is_some(), is_active, "the ring and the tree disagree");
            let Some(queue) = queue else { return jobs.len() };
            assert!(jobs.len() > had, "nothing was taken");
            queue.release();
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // It has the leaves, and they it.
        self.sched.remove(&self.group);
        self.sched.remove(&self.root);
    }
}

impl Hand {
    /// Runs what there is, until it sleeps and was not called.
    pub(super) fn work(&mut self) {
        loop {
            while self.runner.turn() == Turn::Ran {}
            if !self.bell.is_rung() {
                return;
            }
        }
    }

    /// Has it look.
    pub(super) fn call(&self) {
        *self.bell.0.lock() = true;
    }

    /// Runs what there is, if it was called since it slept.
    pub(super) fn work_if_called(&mut self) {
        if self.bell.is_rung() {
            self.work();
        }
    }
}

impl Bell {
    /// Returns whether it was rung since it was looked at.
    pub(super) fn is_rung(&self) -> bool {
        mem::take(&mut *self.0.lock())
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.0.lock() = true;
    }
}

impl Member {
    pub(super) fn new(leaf: &Arc<Leaf>) -> Arc<Self> {
        let owner: Weak<Nobody> = Weak::new();
        Arc::new(Self(Queue::new(Arc::clone(leaf), owner, TaskId, "model")))
    }

    /// Makes a job, which is queued by nobody yet.
    pub(super) fn job(
        self: &Arc<Self>,
        act: impl FnOnce() + Send + 'static,
    ) -> (Runnable, JoinHandle<()>) {
        job::closure(Arc::clone(self), 0, act)
    }

    /// Queues so many jobs that do nothing.
    pub(super) fn push(self: &Arc<Self>, count: usize) {
        let jobs: Vec<_> = (0..count).map(|_| self.job(|| ()).0).collect();
        let refused = self.0.push(jobs, false);
        refused.into_iter().for_each(Runnable::cancel);
    }
}

impl Home for Member {
    fn push(self: &Arc<Self>, job: Runnable) {
        self.0.push([job], false).into_iter().for_each(Runnable::cancel);
    }

    fn give_back(self: &Arc<Self>, job: Runnable) {
        self.0.push([job], true).into_iter().for_each(Runnable::cancel);
    }

    fn done(&self, _key: usize) {}
}

impl Owner for Nobody {
    fn stopped(&self) {}
}

impl Clock for Still {
    fn now(&self) -> Duration {
        Duration::from_secs(1)
    }
}
