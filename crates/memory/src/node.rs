//! A group's half of the book: what is charged there and below, and what may be.
//!
//! Nodes form the tree of css, once more: a charge that outlives its group walks nodes, not css, so that
//! no css is kept for it. A css owns its node; so do children's nodes, whoever is in a slow path, and the
//! pockets (`pocket.rs`) of room that was charged ahead.

use std::{fmt, iter};

use fief_core::{Counter, Limit, WeakCss};

use crate::{
    account::Accounts,
    css::MemoryCss,
    mark::Mark,
    peak::Peaks,
    pin::Pin,
    rare::Rare,
    shared::Shared,
    stock::Pockets,
    sync::{Arc, AtomicBool, AtomicU8, AtomicU32, AtomicU64, OnceLock, Ordering, Weak},
};

/// The accounting of one group.
pub(crate) struct Node {
    pub(crate) counter: Counter,
    pub(crate) high: AtomicU64,
    /// Unique in the process, never 0, never used again.
    pub(crate) key: u64,
    pub(crate) parent: Option<Arc<Self>>,
    pub(crate) shared: Arc<Shared>,
    /// Whether the removal of the group is decided: only forced charges are taken.
    is_closed: AtomicBool,
    /// 0, or that nothing is charged ahead here, as somebody waits for the last charge to go; and for how many
    /// attempts that has been so.
    exact: AtomicU8,
    /// What finds the css; set as it comes online.
    pub(crate) css: OnceLock<WeakCss<MemoryCss>>,
    pub(crate) pin: Pin,
    pub(crate) accounts: Accounts,
    pub(crate) pockets: Pockets,
    pub(crate) peaks: Peaks,
    /// Members, and workers.
    pub(crate) participants: AtomicU32,
    /// Whether the group is a victim.
    pub(crate) mark: Mark,
    pub(crate) rare: OnceLock<Box<Rare>>,
}

/// As a bound: none.
pub(crate) const NONE: u64 = u64::MAX;

impl Node {
    pub(crate) fn root(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self::new(shared, None))
    }

    pub(crate) fn below(parent: &Arc<Self>) -> Arc<Self> {
        let node = Arc::new(Self::new(Arc::clone(&parent.shared), Some(Arc::clone(parent))));
        let mut siblings = parent.rare().children.lock();
        if siblings.len() == siblings.capacity() {
            siblings.retain(|sibling| sibling.strong_count() > 0);
        }
        siblings.push(Arc::downgrade(&node));
        drop(siblings);
        node
    }

    fn new(shared: Arc<Shared>, parent: Option<Arc<Self>>) -> Self {
        Self {
            counter: Counter::with_barrier(shared.barrier),
            high: AtomicU64::new(NONE),
            key: shared.next_key(),
            parent,
            shared,
            is_closed: AtomicBool::new(false),
            exact: AtomicU8::new(0),
            css: OnceLock::new(),
            pin: Pin::default(),
            accounts: Accounts::default(),
            pockets: Pockets::new(),
            peaks: Peaks::new(),
            participants: AtomicU32::new(0),
            mark: Mark::new(),
            rare: OnceLock::new(),
        }
    }

    /// Yields the node and all above it.
    pub(crate) fn levels(self: &Arc<Self>) -> impl Iterator<Item = &Arc<Self>> + Clone {
        iter::successors(Some(self), |node| node.parent.as_ref())
    }

    /// Returns the children that live, as of now; in a forked child none.
    pub(crate) fn children(&self) -> Vec<Arc<Self>> {
        if self.shared.is_inherited() {
            return Vec::new();
        }
        let Some(rare) = self.rare.get() else { return Vec::new() };
        rare.children.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Returns whether `other` is this node or above it.
    pub(crate) fn is_below(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        self.levels().any(|level| Arc::ptr_eq(level, other))
    }

    /// Returns whether only forced charges are taken.
    pub(crate) fn is_closed(&self) -> bool {
        // Ordering: Relaxed: as for `is_exact`; who charges at that moment may still do so.
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Takes only forced charges from now on, and protects nothing; `drain_own` is to follow.
    pub(crate) fn close(&self) {
        // Ordering: Relaxed: as above.
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// Charges nothing ahead here from now on; `drain_own` is to follow.
    pub(crate) fn be_exact(&self) {
        // Ordering: Relaxed: found under the lock of the list, which the drain takes.
        self.exact.store(1, Ordering::Relaxed);
    }

    /// Charges ahead again.
    pub(crate) fn be_swift(&self) {
        // Ordering: Relaxed: stock is allowed a little later, at worst.
        self.exact.store(0, Ordering::Relaxed);
    }

    /// Returns whether nothing is to be charged ahead here.
    pub(crate) fn is_exact(&self) -> bool {
        // Ordering: Relaxed: as above.
        self.exact.load(Ordering::Relaxed) > 0
    }

    /// Looks now and then whether anybody still waits for the last charge to go, as after a strict removal that
    /// was refused nobody does.
    pub(crate) fn reconsider(&self) {
        // Ordering: Relaxed, both: a count that may miss some.
        let attempts = self.exact.load(Ordering::Relaxed);
        if attempts == 0 {
            return;
        }
        self.exact.store(attempts.checked_add(1).unwrap_or(1), Ordering::Relaxed);
        if attempts == u8::MAX && !self.is_awaited() {
            self.be_swift();
        }
    }

    /// Returns whether somebody is to be told when the group is in use no more.
    fn is_awaited(&self) -> bool {
        let css = self.css.get().and_then(WeakCss::upgrade);
        css.and_then(|css| css.cgroup()).is_none_or(|group| group.notify_on_release())
    }

    /// Takes a task in, for which the group is as good as new.
    pub(crate) fn receive(&self) {
        self.be_swift();
        self.join();
        self.mark.clear();
    }

    /// Leaves what is charged here to the node above.
    pub(crate) fn retire(&self) {
        self.close();
        if let Some(parent) = &self.parent {
            self.accounts.hand_over(parent);
            self.hand_over_givers(parent);
        }
        self.pin.close();
    }

    /// Returns the node that answers for what is charged here: this one, or once its group is removed the
    /// nearest above whose group is not.
    pub(crate) fn answering(self: &Arc<Self>) -> &Arc<Self> {
        let top = || self.levels().last().unwrap_or(self);
        self.levels().find(|level| !level.is_closed()).unwrap_or_else(top)
    }

    /// Returns how much more may be charged here before somebody is refused or throttled.
    pub(crate) fn ease(&self) -> u64 {
        // Ordering: Relaxed: a setting.
        let high = self.high.load(Ordering::Relaxed);
        self.headroom().min(high.saturating_sub(self.counter.current()))
    }

    /// Returns how much more may be charged here.
    pub(crate) fn headroom(&self) -> u64 {
        match self.counter.max() {
            Limit::Max => NONE,
            Limit::At(max) => max.saturating_sub(self.counter.current()),
        }
    }

    /// Returns the path of the group, or what is known of it.
    pub(crate) fn path(&self) -> String {
        let css = self.css.get().and_then(WeakCss::upgrade);
        css.map_or_else(|| String::from("a removed group"), |css| css.path())
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("key", &self.key)
            .field("counter", &self.counter)
            .finish_non_exhaustive()
    }
}
