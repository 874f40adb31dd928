//! A group as the core keeps it.
//!
//! Who stands where is written under the structural lock. Paths, children and members are read
//! without it, under short locks of the group's own, so that hooks and walkers can ask at any time.

use std::collections::{BTreeMap, HashMap};

use crate::{
    css::{State, uses::Uses},
    freeze::word::{Edge, Word},
    hierarchy::Hier,
    notice::line::Told,
    sync::{Arc, AtomicBool, AtomicU8, AtomicU32, AtomicU64, Mutex, Ordering, RwLock},
    task::TaskShared,
    units::Limit,
    watch::Bells,
};

/// The value of a limit word that stands for `max`.
pub(crate) const UNLIMITED: u32 = u32::MAX;

/// One group.
#[derive(Debug)]
pub(crate) struct Node {
    /// Rising in order of creation.
    pub(crate) id: u64,
    /// The group's index in the columns of its hierarchy; reused a grace period after removal.
    pub(crate) index: u32,
    pub(crate) depth: u32,
    pub(crate) hierarchy: Arc<Hier>,
    pub(crate) parent: Option<Arc<Self>>,
    /// Read in errors, in the child of a fork as well: who only reads keeps nobody from that.
    name: RwLock<Arc<str>>,
    children: RwLock<Option<Box<Children>>>,
    /// Direct members, by id; the root's are those that are nowhere else. `None` for nobody: most groups
    /// of a large tree have none.
    members: Mutex<Option<Box<Members>>>,
    state: AtomicU8,
    /// Direct members and populated children.
    populated: AtomicU32,
    /// How it stands with freezing.
    pub(crate) freeze: Word,
    pub(crate) descendants: AtomicU32,
    pub(crate) dying_descendants: AtomicU32,
    pub(crate) max_depth: AtomicU32,
    pub(crate) max_descendants: AtomicU32,
    /// Css that are not released.
    pub(crate) unreleased: AtomicU32,
    /// How much the group is in use, as far as it is watched.
    pub(crate) uses: Uses,
    /// `notify_on_release`. Written under the structural lock.
    notify: AtomicBool,
    /// Whether the group is armed. Written under the structural lock.
    armed: AtomicBool,
    /// Whether the reclaimer has it on its list of groups to arm. Written under the structural lock.
    pub(crate) is_emptied: AtomicBool,
    /// See [`Told::notice`].
    notice: AtomicU64,
    /// How many rests have not ended. Written under the structural lock.
    rests: AtomicU32,
    /// What was told before its rest: 0 if there is news since; else the number of the notice that was on
    /// its way, and one. Written under the structural lock.
    told: AtomicU64,
    /// Which controllers the groups below have css of: a bit each, by the controller's index. Written under
    /// the structural lock.
    subtree: AtomicU64,
    /// Who watches it.
    pub(crate) bells: Bells,
}

type Members = BTreeMap<u64, Arc<TaskShared>>;

/// A group's children, in order of creation and by name.
#[derive(Debug, Default)]
struct Children {
    by_id: BTreeMap<u64, Arc<Node>>,
    by_name: HashMap<Arc<str>, Arc<Node>>,
}

impl Node {
    /// Returns a group that nobody can find yet.
    pub(crate) fn new(
        id: u64,
        index: u32,
        name: &str,
        hierarchy: Arc<Hier>,
        parent: Option<Arc<Self>>,
    ) -> Self {
        // Callers hold the structural lock: what is in effect for the parent is for its children.
        let is_frozen = parent.as_ref().is_some_and(|parent| parent.freeze.is_in_effect());
        Self {
            id,
            index,
            depth: parent.as_ref().map_or(0, |parent| parent.depth + 1),
            hierarchy,
            parent,
            name: RwLock::new(name.into()),
            children: RwLock::new(None),
            members: Mutex::new(None),
            state: AtomicU8::new(State::Online as u8),
            populated: AtomicU32::new(0),
            freeze: Word::new(is_frozen),
            descendants: AtomicU32::new(0),
            dying_descendants: AtomicU32::new(0),
            max_depth: AtomicU32::new(UNLIMITED),
            max_descendants: AtomicU32::new(UNLIMITED),
            unreleased: AtomicU32::new(0),
            uses: Uses::new(),
            notify: AtomicBool::new(false),
            armed: AtomicBool::new(false),
            is_emptied: AtomicBool::new(false),
            notice: AtomicU64::new(0),
            rests: AtomicU32::new(0),
            told: AtomicU64::new(0),
            subtree: AtomicU64::new(0),
            bells: Bells::new(),
        }
    }

    /// Returns `notify_on_release`.
    pub(crate) fn notifies(&self) -> bool {
        // Ordering: Relaxed: decided on under the structural lock, read as a setting.
        self.notify.load(Ordering::Relaxed)
    }

    /// Sets `notify_on_release`; callers hold the structural lock, or nobody can find the group yet.
    pub(crate) fn set_notifies(&self, notify: bool) {
        // Ordering: Relaxed: see `notifies`.
        self.notify.store(notify, Ordering::Relaxed);
    }

    /// Returns whether the group's css count exactly, and an edge is told.
    pub(crate) fn is_armed(&self) -> bool {
        // Ordering: Relaxed: decided on under the structural lock, read as a hint.
        self.armed.load(Ordering::Relaxed)
    }

    /// Callers hold the structural lock.
    pub(crate) fn set_armed(&self, armed: bool) {
        // Ordering: Relaxed: see `is_armed`.
        self.armed.store(armed, Ordering::Relaxed);
    }

    /// Returns the number of its notice that is on its way; 0 for none.
    pub(crate) fn notice_number(&self) -> u64 {
        // Ordering: Relaxed: written under the outbox's lock; see `line.rs`.
        self.notice.load(Ordering::Relaxed)
    }

    /// Returns whether it rests: see `cgroup/arm.rs`.
    pub(crate) fn is_resting(&self) -> bool {
        // Ordering: Relaxed: written under the structural lock, as everywhere here.
        self.rests() > 0
    }

    /// Returns how many rests have not ended.
    pub(crate) fn rests(&self) -> u32 {
        self.rests.load(Ordering::Relaxed)
    }

    pub(crate) fn lie_down(&self) {
        self.rests.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends one rest; returns false if all are ended.
    pub(crate) fn stand_up(&self) -> bool {
        let rests = self.rests();
        self.rests.store(rests.saturating_sub(1), Ordering::Relaxed);
        rests > 0
    }

    /// Notes what was told before a rest: the number of the notice that is on its way, 0 for none.
    pub(crate) fn note_told(&self, notice: u64) {
        self.told.store(notice + 1, Ordering::Relaxed);
    }

    /// Notes that it is used, or somebody was told that it is.
    pub(crate) fn note_news(&self) {
        self.told.store(0, Ordering::Relaxed);
    }

    /// Returns whether there is more to tell than before its rest.
    pub(crate) fn has_news(&self) -> bool {
        self.told.load(Ordering::Relaxed) != self.notice_number() + 1
    }

    /// Returns whether the groups below have css of the controller of that index.
    pub(crate) fn enables(&self, controller: u8) -> bool {
        // Ordering: Relaxed: decided on under the structural lock, read as a setting.
        self.subtree.load(Ordering::Relaxed) & 1 << controller != 0
    }

    /// Sets the same; callers hold the structural lock.
    pub(crate) fn set_enables(&self, controller: u8, enables: bool) {
        // Ordering: Relaxed: see `enables`; nobody else stores to it meanwhile.
        let before = self.subtree.load(Ordering::Relaxed);
        let bit = 1 << controller;
        let after = if enables { before | bit } else { before & !bit };
        self.subtree.store(after, Ordering::Relaxed);
    }

    /// Enables what `other` does; callers hold the structural lock.
    pub(crate) fn enable_as(&self, other: &Self) {
        // Ordering: Relaxed: see `enables`.
        self.subtree.store(other.subtree.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(crate) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name.read())
    }

    /// Returns whether `other`, of another hierarchy, has the same name; callers hold the structural lock,
    /// under which names are given.
    pub(crate) fn is_namesake(&self, other: &Self) -> bool {
        debug_assert!(!std::ptr::eq(self, other), "a group is its own namesake");
        let name = self.name.read();
        **name == **other.name.read()
    }

    /// Returns the path as of now; a rename above may come between two components.
    pub(crate) fn path(&self) -> String {
        let names: Vec<Arc<str>> =
            self.ancestors().filter(|node| node.parent.is_some()).map(Self::name).collect();
        if names.is_empty() {
            return "/".to_owned();
        }
        names.iter().rev().flat_map(|name| ["/", name]).collect()
    }

    /// Returns the path with its hierarchy: `by-plan:/web/api`.
    pub(crate) fn full_path(&self) -> String {
        format!("{}:{}", self.hierarchy.name(), self.path())
    }

    /// Yields this group, its parent, and so on to the root.
    pub(crate) fn ancestors(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |node| node.parent.as_deref())
    }

    /// Returns the root above, or this group.
    pub(crate) fn top(self: &Arc<Self>) -> Arc<Self> {
        let mut top = self;
        while let Some(parent) = &top.parent {
            top = parent;
        }
        Arc::clone(top)
    }

    pub(crate) fn state(&self) -> State {
        // Ordering: Relaxed: a reader whose guard is younger than our removal sees it through the
        // world it loaded; to one that is older, our index is not reused (edge grace).
        match self.state.load(Ordering::Relaxed) {
            0 => State::Online,
            1 => State::Dying,
            2 => State::Offline,
            _ => State::Released,
        }
    }

    pub(crate) fn is_online(&self) -> bool {
        self.state() == State::Online
    }

    /// Moves to `state`; callers hold the structural lock.
    pub(crate) fn enter(&self, state: State) {
        // Ordering: Relaxed: see `state`.
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// Returns the child of that name.
    pub(crate) fn child(&self, name: &str) -> Option<Arc<Self>> {
        let children = self.children.read();
        children.as_deref()?.by_name.get(name).map(Arc::clone)
    }

    /// Returns the first child whose id is above `id`.
    pub(crate) fn child_after(&self, id: u64) -> Option<Arc<Self>> {
        let children = self.children.read();
        let (_, child) = children.as_deref()?.by_id.range(id + 1..).next()?;
        Some(Arc::clone(child))
    }

    /// Returns the children, in order of creation.
    pub(crate) fn children(&self) -> Vec<Arc<Self>> {
        self.children.read().iter().flat_map(|children| children.by_id.values()).cloned().collect()
    }

    pub(crate) fn child_count(&self) -> usize {
        self.children.read().as_deref().map_or(0, |children| children.by_id.len())
    }

    /// Adds a child whose name is free; callers hold the structural lock.
    pub(crate) fn link(&self, child: &Arc<Self>) {
        let mut children = self.children.write();
        let children = children.get_or_insert_default();
        children.by_name.insert(child.name(), Arc::clone(child));
        children.by_id.insert(child.id, Arc::clone(child));
    }

    /// Takes a child out; callers hold the structural lock.
    pub(crate) fn unlink(&self, child: &Self) {
        let mut slot = self.children.write();
        let Some(children) = slot.as_deref_mut() else { return };
        children.by_name.remove(&child.name());
        children.by_id.remove(&child.id);
        if children.by_id.is_empty() {
            *slot = None;
        }
    }

    /// Gives `child` another name, which is free; callers hold the structural lock.
    pub(crate) fn rename_child(&self, child: &Self, name: &str) {
        let name: Arc<str> = name.into();
        let mut children = self.children.write();
        let by_name = &mut children.get_or_insert_default().by_name;
        if let Some(node) = by_name.remove(&child.name()) {
            by_name.insert(Arc::clone(&name), node);
        }
        *child.name.write() = name;
    }

    pub(crate) fn is_populated(&self) -> bool {
        // Ordering: Relaxed: a statistic; decisions are taken under the structural lock.
        self.populated.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members.lock().as_deref().map_or(0, Members::len)
    }

    /// Returns what `of` makes of each direct member, oldest first.
    pub(crate) fn members<R>(&self, of: impl FnMut(&Arc<TaskShared>) -> R) -> Vec<R> {
        self.members.lock().iter().flat_map(|members| members.values()).map(of).collect()
    }

    /// Adds a direct member; callers hold the structural lock and that of moves.
    pub(crate) fn add_member(&self, task: &Arc<TaskShared>) {
        let mut members = self.members.lock();
        members.get_or_insert_default().insert(task.member.id.get(), Arc::clone(task));
        drop(members);
        if !task.freezing.has_stopped() {
            self.count_running(true);
        }
        self.populate();
    }

    /// Takes a direct member out; callers hold the structural lock and that of moves.
    pub(crate) fn remove_member(&self, task: &TaskShared) {
        let mut slot = self.members.lock();
        let Some(members) = slot.as_deref_mut() else { return };
        let removed = members.remove(&task.member.id.get());
        if members.is_empty() {
            *slot = None;
        }
        drop(slot);
        if removed.is_some() {
            if !task.freezing.has_stopped() {
                self.count_running(false);
            }
            self.depopulate();
        }
    }

    /// Counts one member more or less that runs, up to where it makes no difference; callers hold the
    /// lock of moves.
    pub(crate) fn count_running(&self, is_more: bool) {
        for node in self.ancestors() {
            let word = &node.freeze;
            let Edge { is_edge, is_seen } = if is_more { word.add() } else { word.sub() };
            if is_seen {
                node.bells.ring();
            }
            if !is_edge {
                return;
            }
        }
    }

    /// Counts one more member or populated child; goes up only on the edge.
    fn populate(&self) {
        for node in self.ancestors() {
            // Ordering: Relaxed: written under the structural lock.
            if node.populated.fetch_add(1, Ordering::Relaxed) > 0 {
                return;
            }
            node.bells.ring();
        }
    }

    fn depopulate(&self) {
        for node in self.ancestors() {
            // Ordering: Relaxed: written under the structural lock.
            if node.populated.fetch_sub(1, Ordering::Relaxed) > 1 {
                return;
            }
            node.bells.ring();
        }
    }
}

/// Adds `delta` to the word `which` of every ancestor of `node`; callers hold the structural lock.
pub(crate) fn count_above(node: &Node, which: impl Fn(&Node) -> &AtomicU32, delta: i32) {
    for ancestor in node.ancestors().skip(1) {
        // Ordering: Relaxed: written under the structural lock, read as a statistic.
        which(ancestor).fetch_add(delta.cast_unsigned(), Ordering::Relaxed);
    }
}

/// Returns the limit that `word` holds.
pub(crate) fn limit(word: &AtomicU32) -> Limit {
    // Ordering: Relaxed: decided on under the structural lock, read as a statistic.
    match word.load(Ordering::Relaxed) {
        UNLIMITED => Limit::Max,
        limit => Limit::At(limit.into()),
    }
}

impl Told for Node {
    fn notice(&self) -> &AtomicU64 {
        &self.notice
    }

    /// Returns whether the group is armed and, as of now, in use no more.
    fn is_releasable(&self) -> bool {
        self.is_online() && self.is_armed() && self.uses.is_zero()
    }
}

impl Drop for Node {
    /// Lets go of the ancestors one by one: a chain of any depth takes no stack.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(node) = parent.and_then(Arc::into_inner) {
            let mut node = node;
            parent = node.parent.take();
        }
    }
}
