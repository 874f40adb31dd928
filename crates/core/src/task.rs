//! Members: a task has one place in every hierarchy.
//!
//! A place is a group index in a word of the task's own, 0 (the root) until it joins. Whoever
//! resolves a css for a task loads the word; attaching stores it once.
//!
//! # Orderings
//!
//! Edge `place`: see `world/column.rs`.

pub(crate) mod birth;

use std::fmt;

use self::birth::everywhere;
use crate::{
    cgroup::{Cgroup, Node, arm, walk::next_pre},
    controller::{Birth, caught},
    error::{AttachError, CreateTaskError, KillError},
    freeze::group::{self as freeze, Freezing},
    hierarchy::{Hierarchy, MAX_HIERARCHIES},
    migrate,
    registry::{Engine, Owner, Tree, engine::is_in_structure},
    sync::{Arc, Mutex},
    units::TaskId,
    world::{
        column::{Place, ROOT},
        guard,
        publish::Views,
    },
};

/// A member of exactly one group of every hierarchy: of the root until it joins another.
///
/// Dropping it ends its membership everywhere: it takes the structural lock and runs the `exit` hooks.
/// Where the lock cannot be taken, in a hook or under a read guard, the next structural call or the
/// reclaimer does that.
pub struct Task {
    owner: Arc<Owner>,
    /// `None` once it was handed over by the drop.
    shared: Option<Arc<TaskShared>>,
}

/// Which task something is about: an id and a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Member {
    /// The id: unique in the registry, never reused.
    pub id: TaskId,
    /// The name, as given.
    pub name: String,
}

/// A task as the core keeps it.
pub(crate) struct TaskShared {
    pub(crate) member: Member,
    /// Group indexes, by hierarchy index.
    places: [Place; MAX_HIERARCHIES],
    cancel: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
    pub(crate) freezing: Freezing,
    /// The task's place in its registry's arena.
    arena: usize,
}

impl Task {
    /// Returns the id: unique in the registry, never reused.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.shared().member.id
    }

    /// Returns the name, as given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared().member.name
    }

    /// Returns the group where the task sits in `hierarchy`; `None` if that is of another registry
    /// or destroyed.
    #[must_use]
    pub fn cgroup(&self, hierarchy: &Hierarchy) -> Option<Cgroup> {
        if !Arc::ptr_eq(&self.owner, hierarchy.owner()) || hierarchy.is_destroyed() {
            return None;
        }
        loop {
            let place = self.place(hierarchy.hier().index);
            let node = hierarchy.hier().group(place);
            // The index may have been reused in between: then the task is somewhere else.
            if let Some(node) = node.filter(|_| self.place(hierarchy.hier().index) == place) {
                return Some(Cgroup::new(Arc::clone(&self.owner), node));
            }
            if hierarchy.is_destroyed() {
                return None;
            }
        }
    }

    /// Creates a task that sits where this one does, in every hierarchy.
    ///
    /// Nothing else is inherited: neither callbacks nor what the task has said of itself.
    ///
    /// # Concurrency
    ///
    /// Takes the structural lock, and runs the controllers' `can_fork` and `fork` hooks under it. Whoever
    /// moves, freezes or kills all members of a group meets the new one there, or comes before it
    /// is.
    ///
    /// # Errors
    ///
    /// Refuses a name with a newline or NUL or of more than 255 bytes, and what a hook refuses. There is
    /// no task then.
    #[doc(alias = "fork")]
    pub fn spawn(&self, name: &str) -> Result<Self, CreateTaskError> {
        birth::create(&self.owner, name, Some(self), &[])
    }

    /// Creates a task that sits in `cgroups`, and where this one does in every other hierarchy.
    ///
    /// A group that is named twice counts once.
    ///
    /// # Concurrency
    ///
    /// As [`Task::spawn`].
    ///
    /// # Errors
    ///
    /// As [`Task::spawn`]; and refuses two groups of one hierarchy, a removed group, and one of
    /// another registry.
    #[doc(alias = "CLONE_INTO_CGROUP")]
    pub fn spawn_into(&self, name: &str, cgroups: &[&Cgroup]) -> Result<Self, CreateTaskError> {
        birth::create(&self.owner, name, Some(self), cgroups)
    }

    /// Moves the task to `cgroup`; the same as [`Cgroup::attach`].
    ///
    /// # Errors
    ///
    /// As [`Cgroup::attach`].
    pub fn join(&self, cgroup: &Cgroup) -> Result<(), AttachError> {
        attach(&[self], cgroup)
    }

    /// Moves the task to the root of `hierarchy`.
    ///
    /// # Errors
    ///
    /// As [`Cgroup::attach`].
    pub fn leave(&self, hierarchy: &Hierarchy) -> Result<(), AttachError> {
        attach(&[self], &hierarchy.root())
    }

    /// Sets what [`Cgroup::kill`] runs for this task, in place of what was set before.
    ///
    /// It runs on the thread that kills, under no lock, once for each kill. It is to make the task's
    /// owner stop and drop the task, and to return soon. A handle that it keeps, keeps the registry alive
    /// as long as the task.
    pub fn on_cancel(&self, cancel: impl Fn() + Send + Sync + 'static) {
        let before = self.shared().cancel.lock().replace(Arc::new(cancel));
        drop(before);
    }

    /// Sets what is run when the task is asked to freeze, and when it no longer is, in place of what was
    /// set before.
    ///
    /// It is told whether the task is asked. It is asked while [`Cgroup::freeze`] is in effect for its
    /// group in any hierarchy; if so already, the callback is run before this returns. On true the
    /// task's owner is to stop at a place of its choice and call [`Task::set_frozen`] with true; on
    /// false to call it with false, and to go on.
    ///
    /// # Concurrency
    ///
    /// It runs on the thread that changed what is asked, under no lock, never twice at once; unless that
    /// thread is in a hook or holds a guard as it calls this method, it may freeze, thaw, move and drop tasks, and is to return soon. Changes that come while it runs are
    /// told when it has returned, on the same thread, and two that cancel each other out are not: the
    /// last that it is told is what holds. It may run after its task is gone. A panic is counted. A handle
    /// that it keeps, keeps the registry alive as long as the task.
    pub fn on_freeze(&self, told: impl Fn(bool) + Send + Sync + 'static) {
        freeze::listen(self.engine(), self.shared(), Arc::new(told));
    }

    /// Returns whether the task is asked to freeze.
    ///
    /// # Concurrency
    ///
    /// Wait-free: one load, for a task's owner to look at between two pieces of its work.
    #[inline]
    #[must_use]
    pub fn is_freeze_requested(&self) -> bool {
        self.shared().freezing.is_asked()
    }

    /// Says whether the task has stopped, or runs; returns whether it is asked to freeze, as of the same
    /// moment.
    ///
    /// A task that is not asked runs, whatever it says. One that has stopped counts as such until it says
    /// otherwise, also after a thaw: so say false first, go on then, and if the answer is true, stop
    /// again. A worker that can wait:
    ///
    /// ```
    /// # let registry = fief_core::Registry::new();
    /// # let task = registry.create_task("worker")?;
    /// while task.set_frozen(true) {
    ///     std::thread::park(); // its callback unparks it
    /// }
    /// # Ok::<(), fief_core::CreateTaskError>(())
    /// ```
    ///
    /// # Concurrency
    ///
    /// Takes no structural lock, but a short one under which members move: allowed in hooks and under
    /// guards.
    #[doc(alias = "cgroup_enter_frozen")]
    #[doc(alias = "cgroup_leave_frozen")]
    pub fn set_frozen(&self, frozen: bool) -> bool {
        freeze::say(self.engine(), self.shared(), frozen)
    }

    /// Returns whether the task has said that it stopped.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.shared().freezing.has_stopped()
    }

    #[inline]
    fn shared(&self) -> &Arc<TaskShared> {
        self.shared.as_ref().expect("handed over only by the drop")
    }

    /// Returns the task's place in the hierarchy of that index; the root where it has none.
    #[inline]
    pub(crate) fn place(&self, hierarchy: u32) -> u32 {
        self.shared().place(hierarchy)
    }

    pub(crate) fn views(&self) -> &Arc<Views> {
        &self.owner.engine.views
    }

    #[inline]
    pub(crate) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.owner.engine
    }

    /// Returns what a migration of the task to `node` is prepared from.
    pub(crate) fn joins(&self, node: &Arc<Node>) -> (Arc<TaskShared>, Arc<Node>) {
        (Arc::clone(self.shared()), Arc::clone(node))
    }
}

impl TaskShared {
    /// Moves the task's place; callers hold the structural lock.
    pub(crate) fn move_to(&self, hierarchy: u32, group: u32) {
        self.places[hierarchy as usize].set(group);
    }

    #[inline]
    pub(crate) fn place(&self, hierarchy: u32) -> u32 {
        self.places.get(hierarchy as usize).map_or(ROOT, Place::get)
    }
}

pub(crate) fn attach(tasks: &[&Task], cgroup: &Cgroup) -> Result<(), AttachError> {
    let (engine, node) = (&cgroup.owner().engine, cgroup.node());
    migrate::check_native(engine, tasks, || node.path())?;
    let mut tree = engine.structure("attach", || node.path())?;
    if !node.is_online() {
        let Some(task) = tasks.first() else { return Ok(()) };
        let (task, cgroup) = (task.name().to_owned(), node.path());
        return Err(AttachError::Removed { task, cgroup });
    }
    let joins: Vec<_> = tasks.iter().map(|task| task.joins(node)).collect();
    let moves = migrate::prepare(engine, &mut tree, joins)?;
    let transfers = migrate::commit(engine, &mut tree, moves);
    migrate::finish(engine, tree, transfers);
    Ok(())
}

/// Moves the task of that id to `cgroup`; returns whether there is one.
pub(crate) fn attach_by_id(id: u64, cgroup: &Cgroup) -> Result<bool, AttachError> {
    let (engine, node) = (&cgroup.owner().engine, cgroup.node());
    let mut tree = engine.structure("attach", || node.path())?;
    if !node.is_online() {
        return Err(AttachError::Removed { task: format!("task {id}"), cgroup: node.path() });
    }
    let tasks = engine.tasks.lock();
    let found = tasks.iter().find(|(_, task)| task.member.id.get() == id);
    let found = found.map(|(_, task)| Arc::clone(task));
    drop(tasks);
    let Some(task) = found else { return Ok(false) };
    let joins = vec![(Arc::clone(&task), Arc::clone(node))];
    let moves = migrate::prepare(engine, &mut tree, joins)?;
    let transfers = migrate::commit(engine, &mut tree, moves);
    migrate::finish(engine, tree, transfers);
    // The task may have ended meanwhile: then this is the last to hold its cancel callback.
    engine.drop_each([task]);
    Ok(true)
}

/// Ends a task's membership everywhere; callers hold the structural lock.
pub(crate) fn depart(engine: &Engine, tree: &mut Tree, task: &Arc<TaskShared>) {
    let seats = everywhere(tree, |hierarchy| task.place(hierarchy));
    let hierarchies = tree.hierarchies.iter().map(|(_, hier)| hier);
    let places = hierarchies.map(|hier| (task.place(hier.index), hier));
    let groups: Vec<_> = places
        .filter(|(place, _)| *place != ROOT)
        .filter_map(|(place, hier)| hier.group(place))
        .collect();
    let moves = engine.moves.lock();
    groups.iter().for_each(|node| node.remove_member(task));
    drop(moves);
    groups.iter().for_each(|node| arm::emptied(tree, node));
    let ended = engine.tasks.lock().try_remove(task.arena);
    drop(ended);
    for (css, bound) in &seats {
        engine.tolerate("exit", bound.instance.bear(Birth::Exit, &task.member, &**css));
    }
}

/// Returns what `of` makes of each direct member of `cgroup`, oldest first.
pub(crate) fn members<R>(cgroup: &Cgroup, mut of: impl FnMut(&Arc<TaskShared>) -> R) -> Vec<R> {
    let (engine, node) = (&cgroup.owner().engine, cgroup.node());
    let _moves = engine.moves.lock();
    if node.index != ROOT || !node.is_online() {
        return node.members(of);
    }
    // The root's members are those that are nowhere else.
    let hierarchy = node.hierarchy.index;
    let tasks = engine.tasks.lock();
    let at_root = tasks.iter().filter(|(_, task)| task.place(hierarchy) == ROOT);
    let mut members: Vec<_> = at_root.map(|(_, task)| (task.member.id, of(task))).collect();
    members.sort_by_key(|(id, _)| *id);
    members.into_iter().map(|(_, member)| member).collect()
}

pub(crate) fn kill(cgroup: &Cgroup) -> Result<usize, KillError> {
    let (engine, top) = (&cgroup.owner().engine, cgroup.node());
    let tree = engine.structure("kill", || top.path())?;
    if !top.is_online() {
        return Err(KillError::Removed { cgroup: top.path() });
    }
    let mut killed = members(cgroup, Arc::clone);
    let mut last = Arc::clone(top);
    while let Some(node) = next_pre(top, &last) {
        killed.extend(node.members(Arc::clone));
        last = node;
    }
    crate::trace::event!("kill", cgroup = %top.path(), members = killed.len(), "cancelling");
    drop(tree);
    let count = killed.len();
    for task in killed {
        let cancel = task.cancel.lock().clone();
        let run = || cancel.iter().for_each(|cancel| cancel());
        engine.tolerate("cancel", caught(run));
        // The callback may have ended the task: then these are the last to hold it.
        engine.drop_each(cancel);
        engine.drop_each([task]);
    }
    Ok(count)
}

impl Drop for Task {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        let engine = &self.owner.engine;
        if engine.is_forked() {
            return;
        }
        if is_in_structure() || guard::is_held() {
            // Handed over, not shared: the cancel callback is not to be dropped here.
            engine.departed.lock().push(shared);
            engine.wake();
            return;
        }
        let mut tree = engine.lock();
        depart(engine, &mut tree, &shared);
        engine.let_go(tree);
        engine.drop_each([shared]);
    }
}

impl Drop for TaskShared {
    /// Drops the two callbacks one by one, so that each may panic; runs under no lock.
    fn drop(&mut self) {
        let told = caught(|| drop(self.freezing.take()));
        let cancel = self.cancel.lock().take();
        drop(cancel);
        if let Err(error) = told {
            std::panic::resume_unwind(Box::new(error.to_string()));
        }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("id", &self.id()).field("name", &self.name()).finish()
    }
}

impl fmt::Debug for TaskShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TaskShared").field(&self.member).finish()
    }
}
