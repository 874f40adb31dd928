//! A group's standing when nobody can go on: who works there, whether it is a victim, and whom to tell.

use std::fmt;

use slab::Slab;

use crate::{
    caught::caught,
    css::MemoryCss,
    node::Node,
    sync::{Arc, Mutex, Ordering},
};

/// What is called when the group is a victim.
#[derive(Default)]
pub(crate) struct Callbacks(Mutex<Slab<Callback>>);

type Callback = Arc<dyn Fn() + Send + Sync>;

/// Somebody who works for a group; from [`MemoryCss::enter`].
#[must_use = "it is counted until it is dropped"]
#[derive(Debug)]
pub struct Worker(Arc<Node>);

/// A callback that is registered; from [`MemoryCss::on_kill`].
#[must_use = "the callback is registered until it is dropped"]
#[derive(Debug)]
pub struct KillGuard {
    node: Arc<Node>,
    entry: usize,
}

impl MemoryCss {
    /// Counts somebody who works for the group, until the guard is dropped; tasks are counted by themselves.
    ///
    /// A group whose workers all wait for memory, one waiting charge for each, can give none back. If that is so
    /// for all that hold memory below a limit, one of them is the [victim](crate::VictimPolicy), at once.
    /// Groups that hold memory and have neither tasks nor workers are given some
    /// [patience](crate::MemoryBuilder::patience) before: nobody knows what they do. A worker who waits with
    /// several charges at a time counts for as many, so give each a guard.
    ///
    /// Once the group is removed the guard counts for nobody.
    ///
    /// # Concurrency
    ///
    /// Wait-free: an atomic add.
    pub fn enter(&self) -> Worker {
        self.node.join();
        Worker(Arc::clone(&self.node))
    }

    /// Has `callback` called when the group is a victim, or one above it, until the guard is dropped.
    ///
    /// For users without tasks; those are cancelled by [`Cgroup::kill`](fief_core::Cgroup::kill). It is
    /// called on the thread that makes the pass, mostly the keeper's, under no lock; a panic is caught. It is to
    /// return soon, as nobody is looked after meanwhile: no other victim is chosen, and futures are not told of their
    /// deadlines; threads that block keep theirs. It may be called once more after the guard was dropped, if
    /// that was at the same moment.
    pub fn on_kill(&self, callback: impl Fn() + Send + Sync + 'static) -> KillGuard {
        let entry = self.node.rare().callbacks.0.lock().insert(Arc::new(callback));
        KillGuard { node: Arc::clone(&self.node), entry }
    }

    /// Returns whether the group was chosen as a victim, and has not given its memory back yet.
    ///
    /// While it is, its waits fail with [`Killed`](crate::ChargeError::Killed), and charges that do not wait are
    /// taken although there is no room, so that it can unwind. It is over when nothing is charged any more, or
    /// a task comes to the group.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.node.is_killed()
    }
}

impl Callbacks {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Calls what is registered.
    pub(crate) fn tell(&self) {
        let told: Vec<Callback> = self.0.lock().iter().map(|(_, told)| Arc::clone(told)).collect();
        for callback in told {
            caught(|| callback());
            caught(|| drop(callback));
        }
    }
}

impl Node {
    /// Counts somebody who works here.
    pub(crate) fn join(&self) {
        // Ordering: Relaxed: a figure; what they charge is seen by the counters.
        self.participants.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts somebody less.
    pub(crate) fn part(&self) {
        // Ordering: Relaxed: as above.
        self.participants.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn participants(&self) -> u64 {
        // Ordering: Relaxed: as above.
        self.participants.load(Ordering::Relaxed).into()
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.mark.is_set()
    }

    /// Makes the group a victim, unless it has given everything back.
    pub(crate) fn convict(&self) {
        self.mark.set(self.key, || self.counter.current());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.part();
    }
}

impl Drop for KillGuard {
    fn drop(&mut self) {
        if self.node.shared.is_inherited() {
            return;
        }
        let dropped = self.node.rare().callbacks.0.lock().try_remove(self.entry);
        caught(|| drop(dropped));
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callbacks").field("count", &self.0.lock().len()).finish()
    }
}
