//! `Tally`: events counted by each thread for itself, and added up by whoever reads.
//!
//! 1. Each thread that counts has a *lane* in the tally, the one of its slot (`tally/lanes.rs`): words
//!    that only it writes, by plain adds. It is made at the thread's first event there.
//! 2. A tally knows the tallies made below it. They stand in one *family*, under one lock, that only
//!    reading, making and dropping a tally takes.
//! 3. Reading adds up the lanes: of the tally alone, or of all that are below it, too, and what tallies
//!    that are gone have left there.
//! 4. A tally that is dropped leaves what it counted, and what it was left, to the one above, and stands
//!    in the family no more. Both happen under the family's lock, so that a reader finds the events at
//!    the one place or at the other.
//!
//! A word only grows, and a sum of words that a reader has seen is seen no smaller by it, nor by who comes
//! after it: so no figure goes backwards, when a thread ends, when its slot goes to another, or when a
//! group dies.
//!
//! # Orderings
//!
//! Edge `slot` of `css/cells.rs`: the next owner of a slot goes on with the words of the former. Lanes are
//! published by `OnceLock`. All else is Relaxed: counts are seen one by one, and a reader that
//! happens after another finds no older value, by coherence. Whoever drops a tally has it alone, so that
//! everything counted there happens before.
//!
//! # Tests
//!
//! Below; properties and stress in `crates/testing/tests/counters.rs`.

use std::fmt;

use slab::Slab;

use crate::{
    sync::{Arc, Mutex, MutexGuard},
    tally::lanes::Lanes,
};

mod lanes;
#[cfg(feature = "serde")]
mod data;

/// What happened in a group and below: `N` kinds of events, each thread counting for itself.
///
/// A controller keeps one in its state, made [below](Self::below) that of the parent, and counts what it
/// likes: each kind has an index from 0. What happened in a group stays counted above it when the
/// group dies, with the drop of its state; no hook has to see to that.
///
/// ```
/// use fief_core::{Css, HookError, Subsystem, Tally};
///
/// const HIT: usize = 0;
/// const MISS: usize = 1;
///
/// struct Caches;
///
/// impl Subsystem for Caches {
///     type State = Tally<2>;
///
///     fn name(&self) -> &str {
///         "caches"
///     }
///
///     fn new_css(&self, parent: Option<&Css<Tally<2>>>) -> Result<Tally<2>, HookError> {
///         Ok(parent.map_or_else(Tally::new, |parent| Tally::below(parent)))
///     }
/// }
///
/// let root = Tally::<2>::new();
/// let web = Tally::below(&root);
/// web.add(HIT, 3);
/// root.add(MISS, 1);
/// assert_eq!((root.own(), root.total()), ([0, 1], [3, 1]));
/// drop(web);
/// assert_eq!(root.total(), [3, 1]);
/// ```
///
/// Figures wrap past 2^64 − 1, and never go backwards otherwise: not for one reader, nor for one who
/// reads after another. Several figures of one reading need not be of the same instant.
///
/// # Concurrency
///
/// [`add`](Self::add) is wait-free: a plain add on a word of the calling thread, about four loads away; the
/// first time in a tally it allocates, and may take the short lock of the slots. A thread without a slot (see
/// [`prepare_thread`](crate::prepare_thread)) pays an atomic add on a shared word. Not for signal handlers,
/// nor for a global allocator. Reading, making and dropping take one lock for a tally and all
/// related to it: reading for two loads a tally below, and as many for each thread that ever counted there.
#[doc(alias = "rstat")]
#[doc(alias = "memcg_vmstats")]
pub struct Tally<const N: usize> {
    lanes: Arc<Lanes<N>>,
    family: Arc<Family<N>>,
    /// Where it stands in the family.
    key: usize,
}

/// A tally's figures: by kind, as [`Tally::stats`] gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TallyStats<const N: usize> {
    /// What was counted in this tally.
    pub own: [u64; N],
    /// What was counted here and below, also in what is gone.
    pub total: [u64; N],
}

/// Tallies that are made below each other: a tree, or what is left of one whose root is gone.
type Family<const N: usize> = Mutex<Slab<Relative<N>>>;

/// A tally as its family sees it.
struct Relative<const N: usize> {
    lanes: Arc<Lanes<N>>,
    /// What tallies have left that were below.
    left: [u64; N],
    parent: Option<Link>,
    /// The keys of those below.
    children: Slab<usize>,
}

/// Where a tally hangs.
#[derive(Clone, Copy)]
struct Link {
    /// The key of the tally above.
    parent: usize,
    /// Its place among the children there.
    place: usize,
}

impl<const N: usize> Tally<N> {
    /// Makes a tally with nothing above it.
    #[must_use]
    pub fn new() -> Self {
        Self::join(&Arc::new(Mutex::new(Slab::new())), None)
    }

    /// Makes a tally whose events count in `parent`, too, and in all above that.
    ///
    /// It may outlive its parent: then it counts for what was above that.
    #[must_use]
    pub fn below(parent: &Self) -> Self {
        Self::join(&parent.family, Some(parent.key))
    }

    fn join(family: &Arc<Family<N>>, parent: Option<usize>) -> Self {
        let lanes = Arc::new(Lanes::new());
        let relative = Relative {
            lanes: Arc::clone(&lanes),
            left: [0; N],
            parent: None,
            children: Slab::new(),
        };
        let mut relatives = family.lock();
        let key = relatives.insert(relative);
        relatives[key].parent = parent.map(|parent| {
            let place = relatives[parent].children.insert(key);
            Link { parent, place }
        });
        drop(relatives);
        Self { lanes, family: Arc::clone(family), key }
    }

    /// Counts `count` events of a kind.
    ///
    /// # Panics
    ///
    /// If `kind` is not below `N`.
    #[inline]
    #[track_caller]
    pub fn add(&self, kind: usize, count: u64) {
        assert!(kind < N, "kind {kind} of events in a tally of {N}");
        self.lanes.add(kind, count);
    }

    /// Returns what was counted here, by kind. Takes no lock.
    #[must_use]
    pub fn own(&self) -> [u64; N] {
        self.lanes.sum()
    }

    /// Returns what was counted here and below, by kind, also in what is gone.
    #[must_use]
    pub fn total(&self) -> [u64; N] {
        total(&self.family.lock(), self.key)
    }

    /// Returns both, so that `own` is no more than `total`.
    #[must_use]
    pub fn stats(&self) -> TallyStats<N> {
        // What is seen here the total has, too, as it is read later.
        let own = self.own();
        TallyStats { own, total: self.total() }
    }
}

impl<const N: usize> Default for Tally<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Drop for Tally<N> {
    fn drop(&mut self) {
        leave(&mut self.family.lock(), self.key);
    }
}

impl<const N: usize> fmt::Debug for Tally<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").field("own", &self.own()).finish_non_exhaustive()
    }
}

/// Adds up a tally and all below it, by a walk without recursion.
fn total<const N: usize>(relatives: &MutexGuard<'_, Slab<Relative<N>>>, key: usize) -> [u64; N] {
    let mut sum = [0; N];
    let mut unseen = vec![key];
    while let Some(key) = unseen.pop() {
        let relative = &relatives[key];
        add_up(&mut sum, &relative.left);
        add_up(&mut sum, &relative.lanes.sum());
        unseen.extend(relative.children.iter().map(|(_, child)| *child));
    }
    sum
}

/// Takes a tally out of its family, and leaves what it has to the one above.
fn leave<const N: usize>(relatives: &mut Slab<Relative<N>>, key: usize) {
    let Relative { lanes, left, parent, children } = relatives.remove(key);
    if let Some(Link { parent, place }) = parent {
        let above = &mut relatives[parent];
        add_up(&mut above.left, &left);
        add_up(&mut above.left, &lanes.sum());
        above.children.remove(place);
    }
    for (_, child) in children {
        relatives[child].parent = parent.map(|Link { parent, .. }| {
            let place = relatives[parent].children.insert(child);
            Link { parent, place }
        });
    }
}

fn add_up<const N: usize>(sum: &mut [u64; N], more: &[u64; N]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum = sum.wrapping_add(*more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::thread;

    #[test]
    fn a_tally_counts_for_all_above_it() {
        let root = Tally::<2>::new();
        let [web, batch] = [(), ()].map(|()| Tally::below(&root));
        let api = Tally::below(&web);
        root.add(0, 1);
        web.add(0, 2);
        batch.add(1, 4);
        api.add(0, 8);
        api.add(0, 8);
        let stats = [&root, &web, &batch, &api].map(Tally::stats);
        let own = stats.map(|stats| stats.own);
        assert_eq!(own, [[1, 0], [2, 0], [0, 4], [16, 0]]);
        let total = stats.map(|stats| stats.total);
        assert_eq!(total, [[19, 4], [18, 0], [0, 4], [16, 0]]);
    }

    #[test]
    fn what_dies_leaves_its_counts_above_once() {
        let root = Tally::<1>::new();
        let web = Tally::below(&root);
        for round in 1..=3 {
            let api = Tally::below(&web);
            api.add(0, 5);
            assert_eq!((web.total(), root.total()), ([5 * round], [5 * round]));
            drop(api);
            assert_eq!((web.total(), root.total()), ([5 * round], [5 * round]));
        }
        assert_eq!(web.own(), [0], "what others counted is not its own");
        drop(web);
        assert_eq!(root.total(), [15]);
        assert_eq!(root.family.lock().len(), 1);
    }

    #[test]
    fn a_tally_that_outlives_its_parent_counts_for_what_is_above() {
        let root = Tally::<1>::new();
        let web = Tally::below(&root);
        let api = Tally::below(&web);
        drop(web);
        api.add(0, 3);
        assert_eq!((root.total(), api.total()), ([3], [3]));
        drop(root);
        let below = Tally::below(&api);
        below.add(0, 1);
        drop(below);
        assert_eq!((api.own(), api.total()), ([3], [4]));
    }

    #[test]
    fn counts_outlive_their_threads() {
        let (root, turns) = (Tally::<1>::new(), 40);
        let web = Tally::below(&root);
        for turn in 0..turns {
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| web.add(0, 1));
                }
            });
            assert_eq!(root.total(), [3 * (turn + 1)]);
        }
    }

    #[test]
    fn threads_that_count_at_once_lose_nothing() {
        let (root, each) = (Tally::<1>::new(), 300_000);
        let web = Tally::below(&root);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..each).for_each(|_| web.add(0, 1)));
            }
        });
        assert_eq!((web.own(), root.total()), ([4 * each], [4 * each]));
    }

    #[test]
    #[should_panic(expected = "kind 2 of events in a tally of 2")]
    fn a_kind_that_there_is_not_is_refused() {
        Tally::<2>::new().add(2, 1);
    }
}
