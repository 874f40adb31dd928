//! What all groups of one controller share.

use std::{collections::HashMap, fmt};

use fief_core::TaskId;

use crate::{
    member::Member,
    sched::Sched,
    sync::{Arc, Mutex, Weak, forks},
};

/// What all groups of one controller share.
pub(crate) struct Shared {
    pub(crate) sched: Arc<Sched>,
    pub(crate) cpus: u32,
    /// Those who are to hear when their css changes.
    pub(crate) members: Mutex<HashMap<TaskId, Weak<Member>>>,
    /// Forks before the process it was made in.
    forks: u32,
}

impl Shared {
    pub(crate) fn new(sched: Arc<Sched>, cpus: u32) -> Arc<Self> {
        Arc::new(Self { sched, cpus, members: Mutex::new(HashMap::new()), forks: forks() })
    }

    /// Returns whether this process is the child of a fork, and the workers are its parent's.
    ///
    /// Locks may then be held for ever by threads that are not there.
    pub(crate) fn is_inherited(&self) -> bool {
        self.forks != forks()
    }

    /// Returns the member of that task, if it is one of ours.
    pub(crate) fn member(&self, task: TaskId) -> Option<Arc<Member>> {
        self.members.lock().get(&task)?.upgrade()
    }

    /// Cancels all jobs of all members.
    pub(crate) fn close_members(&self) {
        self.all_members().iter().for_each(|member| member.close());
    }

    /// Returns all members there are.
    pub(crate) fn all_members(&self) -> Vec<Arc<Member>> {
        self.members.lock().values().filter_map(Weak::upgrade).collect()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("cpus", &self.cpus).finish_non_exhaustive()
    }
}
