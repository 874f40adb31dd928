//! `Css<T>`: the header that the core keeps, the parent, and the controller's own value.
//!
//! # Orderings
//!
//! Edge `init→notify`: who wins the notification of a css sees the css, even a straggler of the id's
//! former css. The css is planted before it is killed, and a notification acquires what the kill
//! released on the same word (edge put→release of `css/refcount.rs`).
//!
//! Edge `home`: see `css/home.rs`.
//!
//! # Tests
//!
//! `tests/loom_release.rs`, model `a_put_stalls_across_release_grace_and_id_reuse`; `tests/loom_rebind.rs`.

use std::{any::Any, fmt, ops::Deref};

use crate::{
    cgroup::{Cgroup, Node},
    css::{
        cells::CssId,
        handle::CssRef,
        header::{Counting, Header},
        home::Home,
        mailbox::Mailbox,
        refcount::{Group, Want},
        switch::{Counted, Watched},
        thread,
    },
    sync::{Arc, AtomicU8, AtomicU32, Mutex, Ordering},
    world::{World, column::Column},
};

/// A stage in the life of a css, or of a group.
///
/// A group is released when the last of its css is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum State {
    /// In use; every kind of reference can be taken.
    #[doc(alias = "CSS_ONLINE")]
    Online,
    /// Its removal is decided: lookups find it no more, and from the end of the `killed` hooks on no
    /// `try_get_online` that starts succeeds.
    #[doc(alias = "CSS_DYING")]
    Dying,
    /// Its controller has let go of it; it lives on for the references that are out.
    Offline,
    /// The last reference is gone; it is freed after a grace period.
    #[doc(alias = "CSS_RELEASED")]
    Released,
}

/// The state of one subsystem for one group: derefs to the subsystem's own value.
///
/// A `&Css` is had from a [`CssRef`], from a [`ReadGuard`](crate::ReadGuard) for as long as that is
/// held, or as the argument of a hook. Its parent is fixed for life.
#[doc(alias = "cgroup_subsys_state")]
#[repr(C)] // `core` comes first: a pointer to a css is a pointer to its core
pub struct Css<T> {
    core: Core,
    state: T,
    /// Dropped last. No counted reference: the parent's base stays in while it has children.
    parent: Option<Arc<Self>>,
}

/// What the core keeps for a css, whatever its type.
///
/// # Invariants
///
/// 1. `home` points to a node, and owns one strong count of its `Arc`. It is set, under `group`, only when
///    nobody who counts looks at the old one any more: the css counts in cells, and has done so for a grace
///    period.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) header: &'static Header,
    pub(crate) id: CssId,
    /// The header's generation while this css has the id.
    pub(crate) generation: u32,
    /// The controller's index in its registry.
    pub(crate) controller: u8,
    stage: AtomicU8,
    /// Children that are not freed. Written under the structural lock.
    children: AtomicU32,
    /// The registry's one, where its id is handed over.
    mailbox: &'static Mailbox,
    /// The group that shows it, or showed it last; it counts for the use of that group. Written under the
    /// structural lock.
    home: Home<Node>,
    /// Held while the group is set, or somebody takes an owner of it.
    group: Mutex<()>,
}

/// What a css is made of, but for its parent and its value.
#[derive(Debug)]
pub(crate) struct Seed {
    pub(crate) id: CssId,
    pub(crate) header: &'static Header,
    pub(crate) arena: u32,
    pub(crate) controller: u8,
    pub(crate) group: Arc<Node>,
    pub(crate) counting: Counting,
}

/// A css of any type.
pub(crate) trait AnyCss: Send + Sync {
    fn core(&self) -> &Core;
    fn as_any(&self) -> &dyn Any;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
    fn parent_id(&self) -> Option<CssId>;
}

/// A css of any type that is kept: by the structural lock, or by a counted reference of its own.
pub(crate) struct Pin {
    css: Arc<dyn AnyCss>,
    /// Given back after `css` is: who frees the css is to be its last owner.
    held: Option<Held>,
}

/// One counted reference, without the css.
struct Held {
    id: CssId,
    header: &'static Header,
}

impl<T> Css<T> {
    /// Returns the id: unique in the process until the css is freed.
    #[must_use]
    pub fn id(&self) -> CssId {
        self.core.id
    }

    /// Returns the parent's css of the same subsystem; `None` for the root css.
    #[must_use]
    pub fn parent(&self) -> Option<&Self> {
        self.parent.as_deref()
    }

    /// Returns the stage as of now; it only ever moves on.
    #[must_use]
    pub fn state(&self) -> State {
        self.core.state()
    }

    /// Returns the path of the group that shows this css, or showed it last, as of now.
    #[must_use]
    pub fn path(&self) -> String {
        self.core.shown_by().path()
    }

    /// Returns the group that shows this css, or showed it last.
    ///
    /// `None` when the registry is gone, and for the root css of a controller that is bound nowhere.
    #[must_use]
    pub fn cgroup(&self) -> Option<Cgroup> {
        Cgroup::from_node(self.core.shown_by())
    }

    /// Takes a reference, unless the css is released.
    ///
    /// # Concurrency
    ///
    /// Wait-free while the css is online: a plain add on a cell of the calling thread. The first time
    /// near a css, the thread may take a short lock and make its cells; see
    /// [`prepare_thread`](crate::prepare_thread). Lock-free once it is dying, or while its group waits for
    /// its release: an atomic add on a shared word; the first from zero there adds to the group's word,
    /// too.
    #[doc(alias = "css_tryget")]
    #[inline]
    pub fn try_get(&self) -> Option<CssRef<T>> {
        self.try_get_as(Want::Unreleased)
    }

    /// Takes a reference, unless the removal of the css is decided.
    ///
    /// # Concurrency
    ///
    /// As [`Css::try_get`]. None that starts after the removal was confirmed succeeds, so a
    /// controller's `offline` hook sees no new users.
    #[doc(alias = "css_tryget_online")]
    #[inline]
    pub fn try_get_online(&self) -> Option<CssRef<T>> {
        self.try_get_as(Want::Online)
    }

    #[inline(always)]
    fn try_get_as(&self, want: Want) -> Option<CssRef<T>> {
        // `self` is live by the module's invariant 2, so the id is its own.
        let got = thread::try_get(self.core.id, self.core.header, want);
        got.then(|| CssRef::from_counted(self))
    }

    pub(crate) fn core_of(&self) -> &Core {
        &self.core
    }
}

impl<T: Send + Sync + 'static> Css<T> {
    /// Makes a css that counts one reference, the base, and can be found by its id.
    pub(crate) fn plant(seed: Seed, parent: Option<Arc<Self>>, state: T) -> Arc<Self> {
        let Seed { id, header, arena, controller, group, counting } = seed;
        let generation = header.generation();
        let stage = AtomicU8::new(State::Online as u8);
        let children = AtomicU32::new(0);
        let mailbox = group.hierarchy.mailbox;
        // INVARIANT: 1 of `Core`.
        let home = Home::new(&group);
        let _: *const Node = Arc::into_raw(group);
        let group = Mutex::new(());
        let core =
            Core { header, id, generation, controller, stage, children, mailbox, home, group };
        let css = Arc::new(Self { core, state, parent });
        // INVARIANT: 1 of `css.rs`; the caller puts the `Arc` into the arena.
        // Ordering: Relaxed: published with the css (edge column); a straggler that notifies for it
        // sees both through the kill, or a user's add (edge init→notify).
        header.payload.store(Arc::as_ptr(&css).cast_mut().cast(), Ordering::Relaxed);
        header.arena.store(arena, Ordering::Relaxed);
        header.init(counting);
        css
    }
}

impl Core {
    pub(crate) fn state(&self) -> State {
        // Ordering: Acquire (edge dying): who sees the css dying sees where its group's members went.
        match self.stage.load(Ordering::Acquire) {
            0 => State::Online,
            1 => State::Dying,
            2 => State::Offline,
            _ => State::Released,
        }
    }

    /// Moves to `state`; callers hold the structural lock.
    pub(crate) fn enter(&self, state: State) {
        // Ordering: Release (edge dying): members that had to leave have left.
        self.stage.store(state as u8, Ordering::Release);
    }

    /// Returns the group that shows this css, as the structural lock's owner sees it.
    pub(crate) fn group(&self) -> Arc<Node> {
        let is_set_by_nobody = self.group.lock();
        let node = self.home.get();
        // SAFETY: by invariant 1 `node` is an `Arc`'s, and `home` owns a count of it while the lock is held.
        unsafe { Arc::increment_strong_count(node) };
        drop(is_set_by_nobody);
        // SAFETY: as above; the count is the one just taken.
        unsafe { Arc::from_raw(node) }
    }

    /// Returns the group that shows this css, or showed it last, as of now.
    pub(crate) fn shown_by(&self) -> Arc<Node> {
        let view = self.group().hierarchy.views.load();
        self.shown_in(&view)
    }

    /// Returns the group that shows this css, or showed it last, as of `world`, which the caller keeps
    /// from being given up.
    pub(crate) fn shown_in(&self, world: &World) -> Arc<Node> {
        let column = world.columns.get(usize::from(self.controller)).and_then(Option::as_deref);
        // First the column's movers, then the group: once there are none, every css has its new group.
        let movers = column.and_then(Column::movers);
        let group = self.group();
        let is_behind = column.is_some_and(|column| column.hierarchy != group.hierarchy.index);
        // One that is dying stays where it was.
        let movers = movers.filter(|_| is_behind && self.state() == State::Online);
        movers.and_then(|movers| movers.image(group.index).cloned()).unwrap_or(group)
    }

    /// Makes another group the one that shows this css.
    ///
    /// Callers hold the structural lock; the css counts in cells, and has done so for a grace period, or
    /// ever since it was made.
    pub(crate) fn move_to(&self, group: &Arc<Node>) {
        let is_read_by_nobody = self.group.lock();
        let before = self.home.get();
        // INVARIANT: 1, by what the caller says; the count is that of `into_raw`.
        let _: *const Node = Arc::into_raw(Arc::clone(group));
        self.home.set(group);
        drop(is_read_by_nobody);
        // SAFETY: by invariant 1 `home` owned a count of it, which is ours now.
        drop(unsafe { Arc::from_raw(before) });
    }

    /// Returns whether `node` shows this css as its own; callers hold the structural lock.
    pub(crate) fn is_of(&self, node: &Node) -> bool {
        std::ptr::eq(self.home.get(), node)
    }

    /// Hands the css that has `id` to its registry's reclaimer; the caller won its notification.
    pub(crate) fn notify(id: CssId) {
        let Some(header) = thread::domain().header(id) else { return };
        // Ordering: Relaxed: the caller's exchange acquired it (edge init→notify).
        let core = header.payload.load(Ordering::Relaxed).cast::<Self>().cast_const();
        // SAFETY: a css's core is its first field (`repr(C)`), and by invariants 1 and 2 of `css.rs`
        // the payload is live for whoever has won the notification and not yet delivered it.
        // Read first: with the push the css is the reclaimer's.
        let mailbox = unsafe { (*core).mailbox };
        mailbox.deliver(thread::domain(), id);
    }

    /// Returns what the counting of the css that `header` counts has to know of its group.
    ///
    /// The caller has tried to get a reference to that css, under a guard or beside another reference.
    pub(crate) fn group_of<'c>(header: &Header) -> Group<'c> {
        // Ordering: Relaxed: the caller reached the css, which was published after this was stored.
        let core = header.payload.load(Ordering::Relaxed).cast::<Self>().cast_const();
        // SAFETY: a css's core is its first field (`repr(C)`), and by invariant 2 of `css.rs` the
        // payload lives as long as the caller's guard or reference, which its operation on the count
        // is under.
        let home = unsafe { &(*core).home };
        let home = home.get();
        // SAFETY: by invariant 1 of `Core` it was the css's group at a moment after the caller found the
        // css counting exactly, and owned. The node lives until the css is moved again, for which a grace period
        // goes by: a caller under a guard has let it go. One beside a reference that was counted before
        // is not here: that css holds a unit, and nobody asks for its group.
        let home = unsafe { &*home };
        Group { uses: &home.uses, decision: &home.hierarchy.decision }
    }

    pub(crate) fn counted(&self) -> Counted {
        (self.id, self.header)
    }

    /// Returns what a switch to exact counting and back has to know; `node` shows this css.
    pub(crate) fn watched<'n>(&self, node: &'n Node) -> Watched<'n> {
        debug_assert!(self.is_of(node), "a css counts for the group that shows it");
        Watched { counted: self.counted(), uses: &node.uses }
    }

    /// Counts one child more; callers hold the structural lock.
    pub(crate) fn add_child(&self) {
        // Ordering: Relaxed: written and read under the structural lock.
        self.children.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one child less, which is freed; callers hold the structural lock.
    pub(crate) fn remove_child(&self) {
        // Ordering: Relaxed: written and read under the structural lock.
        self.children.fetch_sub(1, Ordering::Relaxed);
        if self.state() == State::Offline {
            self.put_base();
        }
    }

    /// Gives back the base reference, unless children need it; callers hold the structural lock, and
    /// have killed the css.
    pub(crate) fn put_base(&self) {
        // Ordering: Relaxed: written and read under the structural lock.
        if self.children.load(Ordering::Relaxed) == 0 {
            thread::put(self.id, self.header);
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // SAFETY: by invariant 1 `home` owns a count of it, and nobody can look any more.
        drop(unsafe { Arc::from_raw(self.home.get()) });
    }
}

impl<T: Send + Sync + 'static> AnyCss for Css<T> {
    fn core(&self) -> &Core {
        &self.core
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }

    fn parent_id(&self) -> Option<CssId> {
        self.parent().map(Self::id)
    }
}

impl Pin {
    /// Pins a css that may have no reference yet, unless its removal is decided; the caller holds the
    /// structural lock, or is under a guard.
    ///
    /// Unlike [`Pin::new`] it counts for the group's use, too.
    pub(crate) fn try_new(css: &Arc<dyn AnyCss>) -> Option<Self> {
        let Core { id, header, .. } = *css.core();
        let got = thread::try_get(id, header, Want::Online);
        got.then(|| Self { css: Arc::clone(css), held: Some(Held { id, header }) })
    }

    /// Pins a css that the caller knows to be live, and keeps so by the structural lock.
    pub(crate) fn new(css: &Arc<dyn AnyCss>) -> Self {
        Self { css: Arc::clone(css), held: None }
    }

    /// Takes a reference, for the time after the structural lock.
    pub(crate) fn hold(&mut self) {
        let Core { id, header, .. } = *self.css.core();
        self.held.get_or_insert_with(|| {
            thread::get(id, header);
            Held { id, header }
        });
    }

    pub(crate) fn css(&self) -> &dyn AnyCss {
        &*self.css
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        thread::put(self.id, self.header);
    }
}

impl<T> Deref for Css<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.state
    }
}

impl<T: fmt::Debug> fmt::Debug for Css<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Css")
            .field("path", &self.path())
            .field("stage", &self.state())
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
