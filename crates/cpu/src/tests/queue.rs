//! A home for jobs that runs them when it is told to.

use std::collections::VecDeque;

use crate::{
    job::{Home, Outcome, Runnable},
    sync::{Arc, AtomicU32, Mutex, Ordering},
};

/// Where jobs wait until they are run.
pub(super) struct Queue {
    jobs: Mutex<VecDeque<Runnable>>,
    /// How often a job was pushed here.
    pushes: AtomicU32,
    /// The keys of the jobs that have ended, in this order.
    done: Mutex<Vec<usize>>,
}

impl Queue {
    pub(super) fn new() -> Arc<Self> {
        let (jobs, done) = (Mutex::new(VecDeque::new()), Mutex::new(Vec::new()));
        Arc::new(Self { jobs, pushes: AtomicU32::new(0), done })
    }

    pub(super) fn take(&self) -> Option<Runnable> {
        self.jobs.lock().pop_front()
    }

    /// Runs what is queued, until nothing is; returns how many runs that took.
    pub(super) fn run(&self) -> usize {
        let mut runs = 0;
        while let Some(job) = self.take() {
            runs += 1;
            if let Outcome::Woken(job) = job.run() {
                self.jobs.lock().push_back(job);
            }
        }
        runs
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.lock().len()
    }

    pub(super) fn pushes(&self) -> u32 {
        self.pushes.load(Ordering::Relaxed)
    }

    pub(super) fn done(&self) -> Vec<usize> {
        self.done.lock().clone()
    }
}

impl Home for Queue {
    fn push(self: &Arc<Self>, job: Runnable) {
        self.pushes.fetch_add(1, Ordering::Relaxed);
        self.jobs.lock().push_back(job);
    }

    fn done(&self, key: usize) {
        self.done.lock().push(key);
    }
}
