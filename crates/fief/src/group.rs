//! A group to run futures in.

#[cfg(feature = "alloc")]
use std::sync::OnceLock;
use std::{fmt, sync::Arc};

use fief_core::{Cgroup, CreateTaskError, CssRef, ReadFileError, Task, WriteFileError};
use fief_cpu::{CpuCss, JoinHandle};
use fief_io::IoCss;
use fief_memory::MemoryCss;

use crate::{
    error::RunError,
    fief::Parts,
    here::{self, Here},
    run::Run,
};

/// A group, to which futures are given: their CPU time, memory and I/O are charged to it.
///
/// Clones are the same group. A handle is no member, and keeps nothing: the group can be removed while it is there.
#[derive(Clone)]
pub struct Group {
    parts: Arc<Parts>,
    cgroup: Cgroup,
    /// What its futures allocate, once any did.
    #[cfg(feature = "alloc")]
    ambient: Arc<OnceLock<Option<fief_alloc::Ambient>>>,
}

impl Group {
    pub(crate) fn new(parts: &Arc<Parts>, cgroup: Cgroup) -> Self {
        Self {
            parts: Arc::clone(parts),
            cgroup,
            #[cfg(feature = "alloc")]
            ambient: Arc::default(),
        }
    }

    /// Runs a future in the group, and has its output; it begins at once, on a worker.
    ///
    /// While it runs it is a member of the group, with a task of its own; in other hierarchies it is where the caller
    /// is, if that runs [here](crate::here()) itself. Its polls are charged CPU time, and take turns by
    /// `cpu.weight` and `cpu.max`; what it [reserves](Here::reserve) is charged to `memory`, what it reads and
    /// writes through [wrappers](Here::limit) to `io`. With the feature `alloc`, and
    /// `fief_alloc::GroupAlloc` as the global allocator, what its polls allocate is charged as well, after the fact.
    /// It follows when it is moved, and all of that when controllers are rebound, but for what is allocated.
    ///
    /// Dropping the [`Run`] aborts the future; so does [`kill`](Cgroup::kill).
    ///
    /// # Concurrency
    ///
    /// Takes the registry's structural lock to make the member, and allocates.
    pub fn run<F>(&self, future: F) -> Run<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Run::new(self.cgroup.path(), self.spawn(future))
    }

    /// As [`run`](Self::run), for what goes on when the handle is dropped, as with tokio.
    ///
    /// # Errors
    ///
    /// If the group was removed, a controller refuses a member, or there are no workers.
    pub fn spawn<F>(&self, future: F) -> Result<JoinHandle<F::Output>, RunError>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let here = self.enter()?;
        let member = here.member().clone();
        let future = here::Within::new(here, future);
        #[cfg(feature = "alloc")]
        if let Some(ambient) = self.ambient() {
            return self.spawned(member.spawn(ambient.wrap(future)));
        }
        self.spawned(member.spawn(future))
    }

    fn spawned<T>(&self, spawned: Result<T, fief_cpu::SpawnError>) -> Result<T, RunError> {
        spawned.map_err(|source| RunError::Spawn { cgroup: self.cgroup.path(), source })
    }

    /// Makes a member of the group, for what is run by other means: threads with
    /// [leases](fief_cpu::Group::enter), futures that another executor polls, streams that are kept.
    ///
    /// # Errors
    ///
    /// If the group was removed, or a controller refuses a member.
    pub fn enter(&self) -> Result<Here, RunError> {
        let unregistered = |source| RunError::Unregistered { cgroup: self.cgroup.path(), source };
        let member = fief_cpu::Group::of(&self.parts.cpu, self.task()?).map_err(unregistered)?;
        Ok(Here::new(self.clone(), member))
    }

    /// Makes the task of a new member.
    fn task(&self) -> Result<Task, CreateTaskError> {
        let name = self.cgroup.name();
        let near = here::here().filter(|here| here.is_of(&self.parts));
        near.map_or_else(
            || self.cgroup.create_task(&name),
            |near| near.task().spawn_into(&name, &[&self.cgroup]),
        )
    }

    /// What its futures allocate is for; `None` if nobody can tell.
    #[cfg(feature = "alloc")]
    fn ambient(&self) -> Option<&fief_alloc::Ambient> {
        let ambient = || {
            let css = fief_alloc::is_installed().then(|| self.memory())??;
            fief_alloc::Ambient::of(&css).ok()
        };
        self.ambient.get_or_init(ambient).as_ref()
    }

    /// Reads a control file: [`Cgroup::read`].
    ///
    /// # Errors
    ///
    /// As [`Cgroup::read`].
    pub fn read(&self, file: &str) -> Result<String, ReadFileError> {
        self.cgroup.read(file)
    }

    /// Writes a control file: [`Cgroup::write`].
    ///
    /// # Errors
    ///
    /// As [`Cgroup::write`].
    pub fn write(&self, file: &str, value: &str) -> Result<(), WriteFileError> {
        self.cgroup.write(file, value)
    }

    /// Returns the group itself: its path, children and members; to freeze, kill and remove it.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Returns its memory css; `None` if it was removed.
    #[must_use]
    pub fn memory(&self) -> Option<CssRef<MemoryCss>> {
        self.parts.memory.css(&self.cgroup)
    }

    /// Returns its CPU css; `None` if it was removed.
    #[must_use]
    pub fn cpu(&self) -> Option<CssRef<CpuCss>> {
        self.parts.cpu.css(&self.cgroup)
    }

    /// Returns its I/O css; `None` if it was removed.
    #[must_use]
    pub fn io(&self) -> Option<CssRef<IoCss>> {
        self.parts.io.css(&self.cgroup)
    }

    pub(crate) fn parts(&self) -> &Arc<Parts> {
        &self.parts
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Group").field(&self.cgroup).finish()
    }
}
