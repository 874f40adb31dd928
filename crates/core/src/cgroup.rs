//! Groups: the nodes of a hierarchy.

pub(crate) mod arm;
pub(crate) mod create;
pub(crate) mod name;
pub(crate) mod node;
pub(crate) mod remove;
mod strict;
mod subtree;
pub(crate) mod walk;

use std::fmt;

pub(crate) use self::node::Node;
use self::walk::{Ancestors, Children, DescendantsPost, DescendantsPre};
use crate::{
    cgroup::remove::Removal,
    css::State,
    error::{
        AttachError, CreateError, CreateTaskError, CreateWithError, FreezeError, KillError,
        LimitError, NotifyError, RemoveError, RenameError, WatchError,
    },
    freeze::group as freeze,
    hierarchy::Hierarchy,
    registry::Owner,
    sync::{Arc, Ordering},
    task::{self, Member, Task, birth},
    units::{CgroupId, Limit},
    watch::{self, Watch},
};

/// A group of a hierarchy.
///
/// A cheap handle that holds no css reference. It stays good after the group is removed: path, ids
/// and state can be read, and every operation that would change it answers `Removed`.
#[derive(Clone)]
#[doc(alias = "cgroup")]
pub struct Cgroup {
    owner: Arc<Owner>,
    node: Arc<Node>,
}

impl Cgroup {
    pub(crate) fn new(owner: Arc<Owner>, node: Arc<Node>) -> Self {
        Self { owner, node }
    }

    /// Returns a handle to `node`, unless its registry is gone, or its hierarchy the hidden one.
    pub(crate) fn from_node(node: Arc<Node>) -> Option<Self> {
        let owner = node.hierarchy.owner().filter(|_| !node.hierarchy.is_hidden())?;
        Some(Self { owner, node })
    }

    /// Returns the name; empty for the root.
    #[must_use]
    pub fn name(&self) -> String {
        self.node.name().as_ref().to_owned()
    }

    /// Returns the path from the root of the hierarchy: `/`, or `/name/name`.
    ///
    /// Valid from creation on; after removal it is the last one. Never takes the structural lock: a
    /// rename above, while it is put together, may show in part.
    #[must_use]
    pub fn path(&self) -> String {
        self.node.path()
    }

    /// Returns the id: unique in the registry, rising in order of creation, never reused.
    #[must_use]
    pub fn id(&self) -> CgroupId {
        CgroupId(self.node.id)
    }

    /// Returns how many groups are above it; 0 for the root.
    #[must_use]
    #[doc(alias = "level")]
    pub fn depth(&self) -> u32 {
        self.node.depth
    }

    /// Returns the hierarchy.
    #[must_use]
    pub fn hierarchy(&self) -> Hierarchy {
        let root = self.node.top();
        Hierarchy::with_root(Arc::clone(&self.owner), root)
    }

    /// Returns the stage as of now; it only ever moves on.
    ///
    /// A group is dying while [`Cgroup::remove`] runs, offline afterwards, and released when the
    /// last of its css is.
    #[must_use]
    pub fn state(&self) -> State {
        self.node.state()
    }

    /// Returns the parent; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let parent = self.node.parent.as_ref()?;
        Some(Self::new(Arc::clone(&self.owner), Arc::clone(parent)))
    }

    /// Returns the child of that name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<Self> {
        Some(Self::new(Arc::clone(&self.owner), self.node.child(name)?))
    }

    /// Walks the children in order of creation.
    #[must_use]
    pub fn children(&self) -> Children {
        Children::new(self)
    }

    /// Walks this group, its parent, and so on to the root.
    #[must_use]
    pub fn ancestors(&self) -> Ancestors {
        Ancestors::new(self)
    }

    /// Walks this group and all below it, parents before children, siblings in order of creation.
    ///
    /// # Concurrency
    ///
    /// Takes no structural lock. A group that is there all the time is met exactly once, whatever
    /// others create and remove meanwhile; the current one may be removed.
    #[must_use]
    #[doc(alias = "css_for_each_descendant_pre")]
    pub fn descendants_pre(&self) -> DescendantsPre {
        DescendantsPre::new(self)
    }

    /// Walks this group and all below it, children before parents, siblings in order of creation.
    ///
    /// # Concurrency
    ///
    /// As [`Cgroup::descendants_pre`].
    #[must_use]
    #[doc(alias = "css_for_each_descendant_post")]
    pub fn descendants_post(&self) -> DescendantsPost {
        DescendantsPost::new(self)
    }

    /// Returns how many groups are below this one, removed ones not counted.
    #[must_use]
    #[doc(alias = "nr_descendants")]
    pub fn descendant_count(&self) -> u32 {
        // Ordering: Relaxed: a statistic.
        self.node.descendants.load(Ordering::Relaxed)
    }

    /// Returns how many groups below this one are removed and have a css that is not released.
    #[must_use]
    #[doc(alias = "nr_dying_descendants")]
    pub fn dying_descendant_count(&self) -> u32 {
        // Ordering: Relaxed: a statistic.
        self.node.dying_descendants.load(Ordering::Relaxed)
    }

    /// Returns how many levels of groups there may be below this one; default [`Limit::Max`].
    #[must_use]
    #[doc(alias = "cgroup.max.depth")]
    pub fn max_depth(&self) -> Limit {
        node::limit(&self.node.max_depth)
    }

    /// Returns how many groups there may be below this one; default [`Limit::Max`].
    #[must_use]
    #[doc(alias = "cgroup.max.descendants")]
    pub fn max_descendants(&self) -> Limit {
        node::limit(&self.node.max_descendants)
    }

    /// Sets how many levels of groups there may be below this one: 0 to 2^31 − 1, or no limit.
    ///
    /// A limit below what there is stands, and holds for groups to come.
    ///
    /// # Errors
    ///
    /// Refuses a number out of range, and a removed group.
    pub fn set_max_depth(&self, limit: Limit) -> Result<(), LimitError> {
        create::set_limit(self, "cgroup.max.depth", limit, |node| &node.max_depth)
    }

    /// Sets how many groups there may be below this one: 0 to 2^31 − 1, or no limit.
    ///
    /// A limit below what there is stands, and holds for groups to come.
    ///
    /// # Errors
    ///
    /// Refuses a number out of range, and a removed group.
    pub fn set_max_descendants(&self, limit: Limit) -> Result<(), LimitError> {
        create::set_limit(self, "cgroup.max.descendants", limit, |node| &node.max_descendants)
    }

    /// Creates a child, with a css of every controller bound to the hierarchy.
    ///
    /// # Concurrency
    ///
    /// Takes the structural lock, and runs the controllers' `new_css` and `online` hooks under it.
    /// Readers see the group with all its css or not at all.
    ///
    /// # Errors
    ///
    /// Names the rule: a bad or taken name, a removed parent, a limit on the way up, a controller
    /// that refused. Nothing has changed then.
    #[doc(alias = "cgroup_mkdir")]
    pub fn create_child(&self, name: &str) -> Result<Self, CreateError> {
        create::child(self, name)
    }

    /// Creates a child with `tasks` as its first members, in one step.
    ///
    /// Between the two calls that it stands for, somebody else could remove the group: whoever removes
    /// groups that are not in use. Tasks come from wherever they are in this hierarchy; one that is named
    /// twice counts once.
    ///
    /// # Concurrency
    ///
    /// As [`Cgroup::create_child`] and [`Cgroup::attach`], under one hold of the structural lock.
    ///
    /// # Errors
    ///
    /// What either call refuses. Then there is no group, and every task is where it was.
    pub fn create_child_with(&self, name: &str, tasks: &[&Task]) -> Result<Self, CreateWithError> {
        create::child_with(self, name, tasks)
    }

    /// Gives this group another name under the same parent.
    ///
    /// # Errors
    ///
    /// Refuses a bad or taken name, the root, and a removed group. A name it has already is no
    /// error.
    pub fn rename(&self, name: &str) -> Result<(), RenameError> {
        create::rename(self, name)
    }

    /// Removes this group, by the given policy.
    ///
    /// Another group can have its name at once, with css of its own. The group's css go offline before
    /// the call returns, and are freed a grace period after their last references go.
    ///
    /// # Concurrency
    ///
    /// Takes the structural lock, and runs the controllers' `drain`, `killed` and `offline` hooks
    /// under it. Waits for no reader and no reference; one process-wide barrier for all css, and none if
    /// the group waits for its release (see [`Cgroup::set_notify_on_release`]), or is in use and the
    /// removal strict.
    ///
    /// # Errors
    ///
    /// Refuses a group with members or children, the root, and one removed already; and by
    /// [`Removal::Strict`] one with references out. Nothing has changed then, but that caches were
    /// drained.
    #[doc(alias = "cgroup_rmdir")]
    pub fn remove(&self, removal: Removal) -> Result<(), RemoveError> {
        remove::remove(self, removal)
    }

    /// Removes this group and all below it, children before their parents, all or none; returns how many
    /// there were.
    ///
    /// # Concurrency
    ///
    /// As [`Cgroup::remove`], with one barrier, under one hold of the structural lock: for as long as there
    /// are groups times their depth, about a microsecond each. A subtree is freed one level a grace
    /// period.
    ///
    /// # Errors
    ///
    /// Refuses a subtree in which a group has members, the root, and a group removed already; and by
    /// [`Removal::Strict`] one in which a css has references out: no group of it is removed then.
    pub fn remove_subtree(&self, removal: Removal) -> Result<usize, RemoveError> {
        remove::remove_subtree(self, removal)
    }

    /// Returns whether the receivers of [`Hierarchy::notices`] are told when the group is in use no more.
    #[must_use]
    pub fn notify_on_release(&self) -> bool {
        self.node.notifies()
    }

    /// Sets whether the receivers of [`Hierarchy::notices`] are told when the group is in use no more;
    /// default false, and for a new child what its parent has.
    ///
    /// Set on a group that is not in use, it tells nothing by itself. Unset, a notice that nobody has
    /// accepted comes to nothing. The root itself is never told of.
    ///
    /// While the group has neither members nor children, its css then count exactly: references cost an
    /// atomic add on a shared word, and the first and the last one more.
    ///
    /// # Concurrency
    ///
    /// Takes the structural lock. On a group without members and children it runs the controllers'
    /// `drain` hooks, and costs one process-wide barrier.
    ///
    /// # Errors
    ///
    /// Refuses a removed group.
    pub fn set_notify_on_release(&self, notify: bool) -> Result<(), NotifyError> {
        create::set_notifies(self, notify)
    }

    /// Watches this group: see [`Watch`].
    ///
    /// # Errors
    ///
    /// Refuses a removed group, and the root.
    #[doc(alias = "cgroup.events")]
    pub fn watch(&self) -> Result<Watch, WatchError> {
        watch::watch(self)
    }

    /// Returns whether it, or a group below it, has members.
    #[must_use]
    #[doc(alias = "cgroup_populated")]
    pub fn is_populated(&self) -> bool {
        if self.node.parent.is_none() && self.node.is_online() {
            return !self.owner.engine.tasks.lock().is_empty();
        }
        self.node.is_populated()
    }

    /// Returns the direct members, oldest first, all as of one moment.
    ///
    /// # Concurrency
    ///
    /// Takes no structural lock, but a short one under which members move: of tasks that
    /// are moved together it finds all or none, and one that stays exactly once. They may be elsewhere, or
    /// gone, as it returns. For a root it looks at every task of the registry.
    #[must_use]
    #[doc(alias = "cgroup.tasks")]
    pub fn members(&self) -> Vec<Member> {
        task::members(self, |task| task.member.clone())
    }

    /// Creates a task that is a member of this group, and of the root of every other hierarchy.
    ///
    /// # Concurrency
    ///
    /// As [`Task::spawn`].
    ///
    /// # Errors
    ///
    /// Refuses a name with a newline or NUL or of more than 255 bytes, a removed group, and what a hook
    /// refuses. There is no task then.
    pub fn create_task(&self, name: &str) -> Result<Task, CreateTaskError> {
        birth::create(&self.owner, name, None, &[self])
    }

    /// Moves `task` here, from wherever it is in this hierarchy.
    ///
    /// # Concurrency
    ///
    /// Takes the structural lock. Whoever resolves the task's css afterwards finds this group's.
    ///
    /// # Errors
    ///
    /// Refuses a removed group, a task of another registry, and what a controller's `can_attach`
    /// refuses. The task is then where it was.
    #[doc(alias = "cgroup_attach_task")]
    pub fn attach(&self, task: &Task) -> Result<(), AttachError> {
        task::attach(&[task], self)
    }

    /// Moves `tasks` here, from wherever each is in this hierarchy, all or none.
    ///
    /// One that is named twice counts once; one that is here already stays.
    ///
    /// # Concurrency
    ///
    /// As [`Cgroup::attach`], under one hold of the structural lock.
    ///
    /// # Errors
    ///
    /// As [`Cgroup::attach`]; a refusal of one task is one of all. Every task is then where it was.
    #[doc(alias = "cgroup_transfer_tasks")]
    pub fn attach_all(&self, tasks: &[&Task]) -> Result<(), AttachError> {
        task::attach(tasks, self)
    }

    /// Requests that the members of this group and of those below stop, and of those that join later.
    ///
    /// Each is told through its callback, see [`Task::on_freeze`], unless it was asked before, as a freeze
    /// is in effect for its group in another hierarchy. The group is frozen when all have said that they
    /// stopped: [`Cgroup::is_frozen`], [`Event::Frozen`](crate::Event). A group created below is born frozen.
    /// Requested already, it is no error.
    ///
    /// Frozen members can be moved, killed and dropped; a strict removal counts references as ever.
    ///
    /// # Concurrency
    ///
    /// Takes the structural lock, for as long as there are groups and members below. Callbacks run on the
    /// calling thread, under no lock, one after the other; one that runs on another thread
    /// at that moment is told there, and the call does not wait for it.
    ///
    /// # Errors
    ///
    /// Refuses a removed group, and the root.
    #[doc(alias = "cgroup.freeze")]
    pub fn freeze(&self) -> Result<(), FreezeError> {
        freeze::request(self, true)
    }

    /// Takes [`Cgroup::freeze`] back; members may run again if no other request holds them.
    ///
    /// # Concurrency
    ///
    /// As [`Cgroup::freeze`].
    ///
    /// # Errors
    ///
    /// As [`Cgroup::freeze`].
    #[doc(alias = "cgroup.freeze")]
    pub fn thaw(&self) -> Result<(), FreezeError> {
        freeze::request(self, false)
    }

    /// Returns whether a freeze is requested of this very group, as of now.
    #[must_use]
    #[doc(alias = "cgroup.freeze")]
    pub fn is_freeze_requested(&self) -> bool {
        self.node.freeze.is_requested()
    }

    /// Returns whether a freeze is in effect here, and every member of this group and of those below has
    /// said that it stopped.
    ///
    /// What they did before they said so has happened before the call returns.
    ///
    /// # Concurrency
    ///
    /// Wait-free: one load.
    #[must_use]
    #[doc(alias = "cgroup.events")]
    pub fn is_frozen(&self) -> bool {
        self.node.freeze.is_frozen()
    }

    /// Runs the cancel callback of every member of this group and of those below it.
    ///
    /// Returns how many there were, those without a callback included. The members leave when they see
    /// fit; who joins afterwards is not affected. Callbacks run on the calling thread, under no lock,
    /// perhaps after their task is gone; one that panics is counted.
    ///
    /// # Errors
    ///
    /// Refuses a removed group.
    #[doc(alias = "cgroup.kill")]
    pub fn kill(&self) -> Result<usize, KillError> {
        task::kill(self)
    }

    pub(crate) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }
}

impl PartialEq for Cgroup {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.node, &other.node)
    }
}

impl Eq for Cgroup {}

impl fmt::Debug for Cgroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cgroup")
            .field("hierarchy", &self.node.hierarchy.name())
            .field("path", &self.path())
            .field("state", &self.state())
            .finish()
    }
}
