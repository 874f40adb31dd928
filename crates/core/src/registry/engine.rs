//! What every handle of a registry shares: the structural lock and what it protects.
//!
//! Two layers, so that a registry can end while its css live on: handles hold the [`Owner`], whose
//! drop takes everything offline; the reclaimer's thread holds the [`Engine`] until the last css is
//! freed.

use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    fmt,
};

use slab::Slab;

use crate::{
    cgroup::Node,
    controller::{Identity, Instance, caught},
    css::{
        AnyCss, cells::CssId, header::Counting, mailbox::Mailbox, thread as slots, uses::Decision,
    },
    error::StructuralError,
    hierarchy::{Hier, Ties},
    lifecycle,
    reclaim::{Garbage, Reclaimer},
    stat::{Count, Counts, RegistryStats},
    sync::{
        Arc, AtomicBool, Mutex, MutexGuard, Ordering, RwLock, Weak, barrier::Barrier, fork, thread,
    },
    task::TaskShared,
    world::{
        World,
        column::Column,
        guard,
        publish::{Graces, Views},
    },
};

thread_local! {
    static IN_STRUCTURE: Cell<bool> = const { Cell::new(false) };
}

/// Mailboxes of registries that are gone, for the next.
static MAILBOXES: Mutex<Vec<&'static Mailbox>> = Mutex::new(Vec::new());

/// The lock of the mailboxes that wait.
pub(crate) type Locks = MutexGuard<'static, Vec<&'static Mailbox>>;

/// Takes every lock of this module that is no registry's own.
pub(crate) fn lock_all() -> Locks {
    MAILBOXES.lock()
}

/// What handles hold: the registry ends with the last of them.
pub(crate) struct Owner {
    pub(crate) engine: Arc<Engine>,
}

/// A registry's state, as the reclaimer sees it.
pub(crate) struct Engine {
    tree: Mutex<Tree>,
    pub(crate) views: Arc<Views>,
    /// What becomes of the strict removal that is tried at this moment.
    pub(crate) decision: Arc<Decision>,
    pub(crate) mailbox: &'static Mailbox,
    pub(crate) counts: Counts,
    /// Every hierarchy that is not destroyed, oldest first. Written under the structural lock.
    pub(crate) directory: RwLock<Vec<Arc<Hier>>>,
    /// Every task that has not ended.
    pub(crate) tasks: Mutex<Slab<Arc<TaskShared>>>,
    /// Held while members change groups or say that they stopped: who holds it sees each in one group of a
    /// hierarchy.
    pub(crate) moves: Mutex<()>,
    /// Tasks dropped where the structural lock cannot be taken.
    pub(crate) departed: Mutex<Vec<Arc<TaskShared>>>,
    /// Whether counting goes without a fence.
    asymmetric: bool,
    pub(crate) reclaimer: Reclaimer,
    /// Whether the reclaimer's thread was started.
    pub(crate) has_thread: AtomicBool,
    forks: u32,
}

/// What the structural lock protects.
pub(crate) struct Tree {
    pub(crate) hierarchies: Slab<Arc<Hier>>,
    /// The hidden hierarchy that shows the root css of inactive controllers.
    pub(crate) default: Arc<Hier>,
    pub(crate) controllers: Slab<Bound>,
    /// Those bound to each hierarchy, by its id; made when first asked for.
    by_hierarchy: BTreeMap<u64, Arc<[Bound]>>,
    /// Every css that is not released.
    pub(crate) csses: Slab<Arc<dyn AnyCss>>,
    /// Css that were notified and are not yet released, in that order.
    pub(crate) notified: VecDeque<CssId>,
    /// Groups that may have to be armed: their last member or child went.
    pub(crate) emptied: Vec<Arc<Node>>,
    pub(crate) graces: Graces<Garbage>,
    /// What waits for the next grace period.
    pub(crate) retired: Vec<Garbage>,
    /// What waits for no reader any more, and for the next pass: it is dropped under no lock.
    pub(crate) ripe: Vec<Garbage>,
    /// The current world, kept beside it to make the next from.
    pub(crate) world: Arc<World>,
    pub(crate) last_id: BTreeMap<&'static str, u64>,
    /// The last handle is gone, and whoever dropped it looks at nothing any more.
    pub(crate) is_closed: bool,
}

/// A controller, where it is bound, and its column.
#[derive(Clone)]
pub(crate) struct Bound {
    pub(crate) instance: Arc<dyn Instance>,
    pub(crate) hierarchy: Arc<Hier>,
    pub(crate) column: Arc<Column>,
    /// Css of this controller that are not freed.
    pub(crate) unfreed: usize,
    pub(crate) is_registered: bool,
}

/// The structural lock, held.
pub(crate) struct Structure<'e> {
    engine: &'e Engine,
    tree: Option<MutexGuard<'e, Tree>>,
    /// Tasks that ended on the way; dropped under no lock.
    departed: Vec<Arc<TaskShared>>,
}

impl Owner {
    pub(crate) fn new(barrier: Barrier, reclaimer: Reclaimer) -> Arc<Self> {
        Arc::new_cyclic(|owner| Self { engine: Arc::new(Engine::new(owner, barrier, reclaimer)) })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.engine.close();
    }
}

impl Engine {
    fn new(owner: &Weak<Owner>, barrier: Barrier, reclaimer: Reclaimer) -> Self {
        let views = Arc::new(Views::new(World::default()));
        let mailbox = MAILBOXES.lock().pop();
        let mailbox = mailbox.unwrap_or_else(|| Box::leak(Box::new(Mailbox::new())));
        let (decision, counts) = (Arc::new(Decision::new()), Counts::default());
        let default = Hier::hidden(Ties {
            owner: Weak::clone(owner),
            views: Arc::clone(&views),
            decision: Arc::clone(&decision),
            mailbox,
            notices: Arc::clone(&counts.notices),
        });
        Self {
            tree: Mutex::new(Tree::new(default)),
            views,
            decision,
            mailbox,
            counts,
            directory: RwLock::new(Vec::new()),
            tasks: Mutex::new(Slab::new()),
            moves: Mutex::new(()),
            departed: Mutex::new(Vec::new()),
            asymmetric: barrier.is_asymmetric(),
            reclaimer,
            has_thread: AtomicBool::new(false),
            forks: fork::generation(),
        }
    }

    /// Takes the structural lock for `operation` on `target`.
    pub(crate) fn structure(
        &self,
        operation: &'static str,
        target: impl FnOnce() -> String,
    ) -> Result<Structure<'_>, StructuralError> {
        if self.is_forked() {
            return Err(StructuralError::Forked { operation, target: target() });
        }
        if is_in_structure() {
            return Err(StructuralError::Reentrant { operation, target: target() });
        }
        if guard::is_held() {
            return Err(StructuralError::GuardHeld { operation, target: target() });
        }
        let mut structure = self.lock();
        // Members that are gone do not stand in the way of what comes now.
        structure.departed = self.bury_departed(&mut structure);
        Ok(structure)
    }

    /// Takes the structural lock; the caller is not inside it already.
    pub(crate) fn lock(&self) -> Structure<'_> {
        debug_assert!(!is_in_structure(), "the structural lock is not reentrant");
        debug_assert!(!guard::is_held(), "a rebind waits for guards under it");
        let tree = self.tree.lock();
        IN_STRUCTURE.set(true);
        Structure { engine: self, tree: Some(tree), departed: Vec::new() }
    }

    /// Lets the structural lock go, and wakes the reclaimer if it has groups to arm.
    pub(crate) fn let_go(self: &Arc<Self>, tree: Structure<'_>) {
        let has_emptied = !tree.emptied.is_empty();
        drop(tree);
        if has_emptied {
            self.wake();
        }
    }

    /// Returns whether anybody has the structural lock at this moment.
    #[cfg(test)]
    pub(crate) fn is_locked(&self) -> bool {
        self.tree.is_locked()
    }

    /// Returns what a hierarchy shares with its registry.
    pub(crate) fn ties(&self, owner: &Arc<Owner>) -> Ties {
        Ties {
            owner: Arc::downgrade(owner),
            views: Arc::clone(&self.views),
            decision: Arc::clone(&self.decision),
            mailbox: self.mailbox,
            notices: Arc::clone(&self.counts.notices),
        }
    }

    /// Returns how css count that count in cells.
    pub(crate) fn counting(&self) -> Counting {
        Counting::spread(self.asymmetric)
    }

    /// Returns whether the light barrier is free.
    pub(crate) fn is_asymmetric(&self) -> bool {
        self.asymmetric
    }

    /// Returns whether this process is a fork of the one the registry was made in.
    pub(crate) fn is_forked(&self) -> bool {
        fork::generation() != self.forks
    }

    /// Counts a hook that panicked where it could refuse nothing, and goes on.
    pub(crate) fn tolerate<E: fmt::Display>(&self, what: &'static str, result: Result<(), E>) {
        if let Err(_error) = result {
            crate::trace::event!(what, error = %_error, "a hook panicked");
            self.counts.hook_panics.add(1);
        }
    }

    /// Drops users' values one by one, so that each may panic; the caller holds no lock.
    pub(crate) fn drop_each<T>(&self, values: impl IntoIterator<Item = T>) {
        for value in values {
            self.tolerate("drop", caught(|| drop(value)));
        }
    }

    /// Makes `world` current and opens the grace period of the one before; returns its number.
    pub(crate) fn publish(&self, tree: &mut Tree, world: impl Into<Arc<World>>) -> u64 {
        let world = world.into();
        let before = std::mem::replace(&mut tree.world, Arc::clone(&world));
        // Not the last: the swap returns it.
        drop(before);
        let old = self.views.swap(world);
        let garbage = std::mem::take(&mut tree.retired);
        self.counts.grace_periods.add(1);
        tree.graces.close_idle();
        tree.graces.open(old, garbage)
    }

    pub(crate) fn stats(&self) -> RegistryStats {
        if self.is_forked() {
            return RegistryStats::default(); // the locks below may be held for ever
        }
        let counts = &self.counts;
        let less = |all: &Count, gone: &Count| all.get().saturating_sub(gone.get());
        RegistryStats {
            hierarchies: self.directory.read().len() as u64,
            controllers: less(&counts.controllers_registered, &counts.controllers_unregistered),
            cgroups: less(&counts.cgroups_created, &counts.cgroups_removed),
            cgroups_dying: less(&counts.cgroups_removed, &counts.cgroups_released),
            cgroups_created: counts.cgroups_created.get(),
            cgroups_removed: counts.cgroups_removed.get(),
            tasks: self.tasks.lock().len() as u64,
            css_online: less(&counts.css_online, &counts.css_killed),
            css_dying: less(&counts.css_killed, &counts.css_released),
            css_released: counts.css_released.get(),
            css_freed: counts.css_freed.get(),
            css_created: counts.css_created.get(),
            hook_panics: counts.hook_panics.get(),
            grace_periods: counts.grace_periods.get(),
            notices: counts.notices.get(),
            removals_refused: counts.removals_refused.get(),
        }
    }

    /// Takes everything offline, as the last handle is gone.
    fn close(self: &Arc<Self>) {
        if self.is_forked() {
            // Another thread may have been writing it as the process forked: it stays as it is.
            return forget(Arc::clone(self));
        }
        if is_in_structure() || guard::is_held() {
            // Inside a hook or under a guard nothing can be taken offline: a thread does it.
            let engine = Arc::clone(self);
            let builder = thread::Builder::new().name("fief-close".to_owned());
            // Should there be no thread, the engine's drop leaks what is not freed.
            builder.spawn(move || engine.close()).ok();
            return;
        }
        self.take_down();
        self.finish();
    }

    /// Takes everything offline.
    fn take_down(&self) {
        let mut tree = self.lock();
        tree.departed = self.bury_departed(&mut tree);
        lifecycle::close(self, &mut tree);
    }

    /// Gives the mailbox to the next registry; nothing of this one can ring it on purpose any more.
    pub(crate) fn retire_mailbox(&self) {
        MAILBOXES.lock().push(self.mailbox);
    }
}

impl Drop for Engine {
    /// Leaks css that are not freed: in a forked child, or where no thread could be started, nobody
    /// is left to wait for their references.
    fn drop(&mut self) {
        let tree = self.tree.get_mut();
        tree.csses.drain().for_each(std::mem::forget);
        tree.graces.drain().for_each(std::mem::forget);
        tree.retired.drain(..).for_each(std::mem::forget);
        tree.ripe.drain(..).for_each(std::mem::forget);
        tree.rebound();
        let controllers: Vec<Bound> = tree.controllers.drain().collect();
        if is_in_structure() || guard::is_held() {
            // The registry ended beside us, and we had the last of it: users' values are dropped by a
            // thread, or leaked should there be none.
            let dropped =
                move || controllers.into_iter().for_each(|one| drop(caught(|| drop(one))));
            return drop(thread::Builder::new().name("fief-close".to_owned()).spawn(dropped));
        }
        self.drop_each(controllers);
    }
}

impl Tree {
    /// Returns whether nothing is left to free, and nobody is left who could make anything.
    pub(crate) fn is_over(&self) -> bool {
        self.is_closed && self.csses.is_empty() && !self.graces.is_open()
    }

    fn new(default: Arc<Hier>) -> Self {
        Self {
            hierarchies: Slab::new(),
            default,
            controllers: Slab::new(),
            by_hierarchy: BTreeMap::new(),
            csses: Slab::new(),
            notified: VecDeque::new(),
            emptied: Vec::new(),
            graces: Graces::new(),
            retired: Vec::new(),
            ripe: Vec::new(),
            world: Arc::new(World::default()),
            last_id: BTreeMap::new(),
            is_closed: false,
        }
    }

    /// Returns the next id of that kind, from 1.
    pub(crate) fn next_id(&mut self, kind: &'static str) -> u64 {
        let last = self.last_id.entry(kind).or_default();
        *last += 1;
        *last
    }

    /// Returns the controller as it stands, unless it is unregistered or of another registry.
    pub(crate) fn controller(&self, identity: &Identity) -> Option<Bound> {
        let bound = self.controllers.get(identity.index.into())?;
        let is_it = bound.is_registered && std::ptr::eq(bound.identity(), identity);
        is_it.then(|| bound.clone())
    }

    /// Returns the controllers that are registered, in order of registration.
    pub(crate) fn registered(&self) -> Vec<Bound> {
        self.those(|_| true)
    }

    /// Returns the controllers bound to `hierarchy`, in order of registration.
    pub(crate) fn bound_to(&mut self, hierarchy: &Arc<Hier>) -> Arc<[Bound]> {
        if let Some(bound) = self.by_hierarchy.get(&hierarchy.id()) {
            return Arc::clone(bound);
        }
        let bound: Arc<[Bound]> =
            self.those(|bound| Arc::ptr_eq(&bound.hierarchy, hierarchy)).into();
        self.by_hierarchy.insert(hierarchy.id(), Arc::clone(&bound));
        bound
    }

    /// Forgets who is bound to a hierarchy that has ended.
    pub(crate) fn unlist(&mut self, hierarchy: &Hier) {
        self.by_hierarchy.remove(&hierarchy.id());
    }

    /// Forgets who is bound where: a controller came, moved or went.
    pub(crate) fn rebound(&mut self) {
        self.by_hierarchy.clear();
    }

    fn those(&self, which: impl Fn(&Bound) -> bool) -> Vec<Bound> {
        let all = self.controllers.iter().map(|(_, bound)| bound);
        let mut those: Vec<Bound> =
            all.filter(|bound| bound.is_registered && which(bound)).cloned().collect();
        those.sort_by_key(|bound| bound.identity().key);
        those
    }

    /// Returns the names of registered subsystems.
    pub(crate) fn subsystem_names(&self) -> impl Iterator<Item = &str> {
        let bound = self.controllers.iter().map(|(_, bound)| bound);
        bound.filter(|bound| bound.is_registered).map(|bound| bound.identity().name.as_str())
    }

    /// Returns the css of `id`, which is not released.
    pub(crate) fn css(&self, id: CssId) -> Option<&Arc<dyn AnyCss>> {
        let header = slots::domain().header(id)?;
        // Ordering: Relaxed: written under the structural lock, which the caller holds.
        self.csses.get(header.arena.load(Ordering::Relaxed) as usize)
    }
}

impl Bound {
    pub(crate) fn identity(&self) -> &Identity {
        self.instance.identity()
    }

    /// Returns the css of the group at `index`, or of the nearest above that has one; some group of the
    /// hierarchy has.
    pub(crate) fn css<'t>(&self, tree: &'t Tree, index: u32) -> Option<&'t Arc<dyn AnyCss>> {
        tree.css(self.column.get(index)?)
    }

    /// Returns the css that `node` has of its own.
    pub(crate) fn own_css<'t>(&self, tree: &'t Tree, node: &Node) -> Option<&'t Arc<dyn AnyCss>> {
        self.css(tree, node.index).filter(|css| css.core().is_of(node))
    }
}

/// Keeps an engine for ever.
#[expect(clippy::mem_forget, reason = "what is half written must not be dropped")]
fn forget(engine: Arc<Engine>) {
    std::mem::forget(engine);
}

/// Returns whether the calling thread holds a structural lock, and so is in a hook.
pub(crate) fn is_in_structure() -> bool {
    IN_STRUCTURE.get()
}

impl std::ops::Deref for Structure<'_> {
    type Target = Tree;

    fn deref(&self) -> &Tree {
        self.tree.as_ref().expect("held until dropped")
    }
}

impl std::ops::DerefMut for Structure<'_> {
    fn deref_mut(&mut self) -> &mut Tree {
        self.tree.as_mut().expect("held until dropped")
    }
}

impl Drop for Structure<'_> {
    fn drop(&mut self) {
        IN_STRUCTURE.set(false);
        self.tree = None;
        self.engine.drop_each(self.departed.drain(..));
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pass_ends_a_registry_while_whoever_closed_it_still_looks_into_its_mailbox() {
        let engine = Arc::new(Engine::new(&Weak::new(), Barrier::Auto, Reclaimer::Manual));
        engine.take_down();
        while engine.pass().has_progress {}
        assert!(!engine.pass().is_over, "then the mailbox would be another registry's");
        engine.finish();
        assert!(engine.lock().is_over());
    }
}
