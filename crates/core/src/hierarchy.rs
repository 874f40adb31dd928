//! Hierarchies: trees of groups with a name, and the controllers bound to them.

use std::{collections::BTreeMap, fmt};

use slab::Slab;

use crate::{
    bind,
    cgroup::{Cgroup, Node, name, remove},
    controller::AnyController,
    css::{State, mailbox::Mailbox, uses::Decision},
    error::{BindError, CapacityError, CreateHierarchyError, DestroyError, LookupError},
    notice::Outbox,
    reclaim::Garbage,
    registry::Owner,
    stat::Count,
    sync::{Arc, AtomicBool, Mutex, Ordering, Weak},
    units::HierarchyId,
    world::{column::ROOT, publish::Views},
};

/// Hierarchies of a registry, without the hidden default one.
pub(crate) const MAX_HIERARCHIES: usize = 64;
/// Groups of a hierarchy that are not removed, or removed less than a grace period ago.
pub(crate) const MAX_GROUPS: usize = 1 << 24;
/// The index of the hidden default hierarchy, where every task is at the root.
const HIDDEN: u32 = u32::MAX;

/// A tree of groups with a name and zero or more controllers.
///
/// A cheap handle, good after the hierarchy is destroyed; then every operation says so.
#[derive(Clone)]
#[doc(alias = "cgroup_root")]
pub struct Hierarchy {
    owner: Arc<Owner>,
    hier: Arc<Hier>,
    root: Arc<Node>,
}

/// A hierarchy as the core keeps it.
pub(crate) struct Hier {
    id: u64,
    /// Which of a task's places is in this hierarchy; reused a grace period after the end.
    pub(crate) index: u32,
    name: String,
    pub(crate) views: Arc<Views>,
    /// The registry's one.
    pub(crate) decision: Arc<Decision>,
    /// The registry's one: where css of this hierarchy's groups are handed over.
    pub(crate) mailbox: &'static Mailbox,
    /// Release notices on their way.
    pub(crate) outbox: Outbox,
    owner: Weak<Owner>,
    is_destroyed: AtomicBool,
    /// The indexes and names of the controllers bound here, by their keys. Written under the structural
    /// lock.
    pub(crate) controllers: Mutex<BTreeMap<u64, (u8, String)>>,
    /// Every group, by its index in the columns; the root is 0.
    groups: Mutex<Slab<Arc<Node>>>,
}

/// What a hierarchy shares with its registry.
pub(crate) struct Ties {
    pub(crate) owner: Weak<Owner>,
    pub(crate) views: Arc<Views>,
    pub(crate) decision: Arc<Decision>,
    pub(crate) mailbox: &'static Mailbox,
    pub(crate) notices: Arc<Count>,
}

pub(crate) fn create(owner: &Arc<Owner>, name: &str) -> Result<Hierarchy, CreateHierarchyError> {
    let engine = &owner.engine;
    if !name::is_hierarchy(name) {
        return Err(CreateHierarchyError::Name { name: name.to_owned() });
    }
    let mut tree = engine.structure("create_hierarchy", || name.to_owned())?;
    if tree.hierarchies.len() == MAX_HIERARCHIES {
        // Those that are destroyed count until a grace period is over: perhaps it is.
        drop(tree);
        engine.pass();
        tree = engine.structure("create_hierarchy", || name.to_owned())?;
    }
    if tree.hierarchies.iter().any(|(_, hier)| hier.name == name && !hier.is_destroyed()) {
        return Err(CreateHierarchyError::Exists { name: name.to_owned() });
    }
    if tree.hierarchies.len() == MAX_HIERARCHIES {
        let source = CapacityError { what: "hierarchies", limit: MAX_HIERARCHIES };
        return Err(CreateHierarchyError::Capacity { name: name.to_owned(), source });
    }
    let id = tree.next_id("hierarchy");
    let entry = tree.hierarchies.vacant_entry();
    let index = u32::try_from(entry.key()).expect("there are few hierarchies");
    let hier = Arc::new(Hier::new((id, index, name.to_owned()), engine.ties(owner)));
    entry.insert(Arc::clone(&hier));
    engine.directory.write().push(Arc::clone(&hier));
    let root = hier.plant_root(tree.next_id("cgroup"));
    engine.counts.cgroups_created.add(1);
    crate::trace::event!("create_hierarchy", hierarchy = name, "created");
    Ok(Hierarchy { owner: Arc::clone(owner), hier, root })
}

pub(crate) fn all(owner: &Arc<Owner>) -> Vec<Hierarchy> {
    owner.engine.directory.read().iter().cloned().filter_map(|hier| of(owner, hier)).collect()
}

/// Returns a handle to `hier`, unless it is destroyed.
pub(crate) fn of(owner: &Arc<Owner>, hier: Arc<Hier>) -> Option<Hierarchy> {
    let root = hier.root()?;
    Some(Hierarchy { owner: Arc::clone(owner), hier, root })
}

impl Hierarchy {
    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> String {
        self.hier.name.clone()
    }

    /// Returns the id: unique in the registry, never reused.
    #[must_use]
    pub fn id(&self) -> HierarchyId {
        HierarchyId(self.hier.id)
    }

    /// Returns the root group.
    #[must_use]
    pub fn root(&self) -> Cgroup {
        Cgroup::new(Arc::clone(&self.owner), Arc::clone(&self.root))
    }

    /// Returns the group at `path`: `/`, or `/name/name`.
    ///
    /// Takes a short lock for each component; allowed in hooks.
    ///
    /// # Errors
    ///
    /// Names the component that is not there, or the rule that the path breaks.
    pub fn lookup(&self, path: &str) -> Result<Cgroup, LookupError> {
        if self.is_destroyed() {
            return Err(LookupError::Destroyed { hierarchy: self.name() });
        }
        let malformed = || LookupError::Path { hierarchy: self.name(), path: path.to_owned() };
        let relative = path.strip_prefix('/').ok_or_else(malformed)?;
        if relative.is_empty() {
            return Ok(self.root());
        }
        let mut cgroup = self.root();
        for name in relative.split('/') {
            if name.is_empty() {
                return Err(malformed());
            }
            cgroup = cgroup.child(name).ok_or_else(|| LookupError::NotFound {
                hierarchy: self.name(),
                parent: cgroup.path(),
                name: name.to_owned(),
            })?;
        }
        Ok(cgroup)
    }

    /// Returns the names of the controllers bound here, in order of registration.
    #[must_use]
    pub fn controllers(&self) -> Vec<String> {
        self.hier.controllers.lock().values().map(|(_, name)| name.clone()).collect()
    }

    /// Makes `controllers` the set that is bound here, in one step: those that are bound here and not named
    /// go inactive, as by [`Controller::unbind`](crate::Controller::unbind); those that are named and
    /// inactive are bound, as by [`Controller::bind`](crate::Controller::bind).
    ///
    /// # Concurrency
    ///
    /// Takes the structural lock; readers see all controllers as before or all as afterwards.
    ///
    /// # Errors
    ///
    /// Refuses a controller that is bound to another hierarchy, unregistered, or of another registry, a
    /// hierarchy that is destroyed, and what a hook refuses. Nothing has changed then.
    #[doc(alias = "cgroup1_reconfigure")]
    pub fn remount(&self, controllers: &[&dyn AnyController]) -> Result<(), BindError> {
        bind::remount(self, controllers)
    }

    /// Ends the hierarchy; its controllers go inactive, their root css with them.
    ///
    /// Members need not leave: without groups below the root they are all there.
    ///
    /// # Errors
    ///
    /// Refuses a hierarchy with groups below its root, or destroyed already. Nothing has changed
    /// then.
    pub fn destroy(&self) -> Result<(), DestroyError> {
        let engine = &self.owner.engine;
        let mut tree = engine.structure("destroy", || self.name())?;
        let hierarchy = self.name();
        if self.is_destroyed() {
            return Err(DestroyError::Destroyed { hierarchy });
        }
        let children = self.root.child_count();
        if children > 0 {
            return Err(DestroyError::Busy { hierarchy, children });
        }
        bind::unbind_all(engine, &mut tree, &self.hier);
        // Ordering: Relaxed: decided on under the structural lock.
        self.hier.is_destroyed.store(true, Ordering::Relaxed);
        engine.directory.write().retain(|hier| !hier.is_destroyed());
        remove::root(engine, &self.root);
        tree.unlist(&self.hier);
        self.hier.outbox.close();
        tree.retired.push(Garbage::Hierarchy(Arc::clone(&self.hier)));
        crate::trace::event!("destroy", hierarchy = %hierarchy, "destroyed");
        drop(tree);
        engine.wake();
        Ok(())
    }

    /// Returns whether the hierarchy is destroyed.
    #[must_use]
    pub fn is_destroyed(&self) -> bool {
        self.hier.is_destroyed()
    }

    pub(crate) fn hier(&self) -> &Arc<Hier> {
        &self.hier
    }

    pub(crate) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    /// Returns the hierarchy in which `root` is the root.
    pub(crate) fn with_root(owner: Arc<Owner>, root: Arc<Node>) -> Self {
        Self { owner, hier: Arc::clone(&root.hierarchy), root }
    }
}

impl Hier {
    fn new((id, index, name): (u64, u32, String), ties: Ties) -> Self {
        let Ties { owner, views, decision, mailbox, notices } = ties;
        let (groups, outbox) = (Mutex::new(Slab::new()), Outbox::new(notices));
        let (is_destroyed, controllers) = (AtomicBool::new(false), Mutex::default());
        Self {
            id,
            index,
            name,
            views,
            decision,
            mailbox,
            outbox,
            owner,
            is_destroyed,
            controllers,
            groups,
        }
    }

    /// Returns the hierarchy that nobody sees, with its root.
    pub(crate) fn hidden(ties: Ties) -> Arc<Self> {
        let hier = Arc::new(Self::new((0, HIDDEN, "default".to_owned()), ties));
        hier.plant_root(0);
        hier
    }

    /// Returns whether this is the one that shows the root css of inactive controllers.
    pub(crate) fn is_hidden(&self) -> bool {
        self.index == HIDDEN
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn owner(&self) -> Option<Arc<Owner>> {
        self.owner.upgrade()
    }

    pub(crate) fn is_destroyed(&self) -> bool {
        // Ordering: Relaxed: decided on under the structural lock.
        self.is_destroyed.load(Ordering::Relaxed)
    }

    fn plant_root(self: &Arc<Self>, id: u64) -> Arc<Node> {
        self.plant(id, "", None).expect("the first of many groups")
    }

    /// Makes a group that nobody can find yet; `None` when every index is taken.
    pub(crate) fn plant(
        self: &Arc<Self>,
        id: u64,
        name: &str,
        parent: Option<&Arc<Node>>,
    ) -> Option<Arc<Node>> {
        let mut groups = self.groups.lock();
        if groups.len() >= MAX_GROUPS {
            return None;
        }
        let entry = groups.vacant_entry();
        let index = u32::try_from(entry.key()).ok()?;
        let node = Arc::new(Node::new(id, index, name, Arc::clone(self), parent.cloned()));
        entry.insert(Arc::clone(&node));
        Some(node)
    }

    /// Gives a group's index back, a grace period after it could last be found.
    pub(crate) fn give_back(&self, index: u32) {
        let node = self.groups.lock().try_remove(index as usize);
        drop(node);
    }

    /// Returns the root, unless the hierarchy has ended.
    pub(crate) fn root(&self) -> Option<Arc<Node>> {
        let root = self.group(ROOT)?;
        (root.state() == State::Online).then_some(root)
    }

    /// Returns the root of the hierarchy of that index in the same registry, unless it has ended or is the
    /// hidden one.
    pub(crate) fn root_beside(&self, index: u32) -> Option<Arc<Node>> {
        let owner = self.owner()?;
        let directory = owner.engine.directory.read();
        directory.iter().find(|hier| hier.index == index)?.root()
    }

    /// Returns the group at `index`.
    pub(crate) fn group(&self, index: u32) -> Option<Arc<Node>> {
        self.groups.lock().get(index as usize).cloned()
    }

    /// Returns every group that has an index, removed ones of this grace period included.
    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.groups.lock().iter().map(|(_, node)| Arc::clone(node)).collect()
    }

    /// Lets go of every group, as the registry ends.
    pub(crate) fn forget(&self) {
        self.outbox.close();
        let groups = std::mem::take(&mut *self.groups.lock());
        drop(groups);
    }
}

impl PartialEq for Hierarchy {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.hier, &other.hier)
    }
}

impl Eq for Hierarchy {}

impl fmt::Debug for Hierarchy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let destroyed = self.is_destroyed();
        f.debug_struct("Hierarchy")
            .field("name", &self.name())
            .field("destroyed", &destroyed)
            .finish()
    }
}

impl fmt::Debug for Hier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hier").field(&self.name).finish()
    }
}
