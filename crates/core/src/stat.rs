//! What a registry counts about itself.

use crate::sync::{Arc, AtomicU64, Ordering};

/// A registry's figures, as of one moment each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RegistryStats {
    /// Hierarchies, without the hidden default one.
    pub hierarchies: u64,
    /// Controllers that are registered.
    pub controllers: u64,
    /// Groups that are not removed, roots included.
    pub cgroups: u64,
    /// Groups that are removed and have a css that is not released.
    #[doc(alias = "nr_dying_descendants")]
    pub cgroups_dying: u64,
    /// Groups ever created, roots included.
    pub cgroups_created: u64,
    /// Groups ever removed, roots included.
    pub cgroups_removed: u64,
    /// Tasks that have not ended.
    pub tasks: u64,
    /// Css that are online.
    pub css_online: u64,
    /// Css that are dying or offline: they have references out, or wait for the reclaimer.
    pub css_dying: u64,
    /// Css whose last reference is gone, ever, as the reclaimer has seen it.
    pub css_released: u64,
    /// Css whose memory was given back, ever.
    pub css_freed: u64,
    /// Css ever made, for groups that were then refused too.
    pub css_created: u64,
    /// Hooks, cancel callbacks and drops that panicked where they could refuse nothing.
    pub hook_panics: u64,
    /// Grace periods ever opened.
    pub grace_periods: u64,
    /// Release notices ever sent, those included that nobody has received yet.
    pub notices: u64,
    /// Strict removals ever refused, as references were out.
    pub removals_refused: u64,
}

/// The counts behind [`RegistryStats`] that no list has.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) cgroups_created: Count,
    pub(crate) cgroups_removed: Count,
    pub(crate) cgroups_released: Count,
    pub(crate) css_created: Count,
    pub(crate) css_online: Count,
    pub(crate) css_killed: Count,
    pub(crate) css_released: Count,
    pub(crate) css_freed: Count,
    pub(crate) hook_panics: Count,
    pub(crate) controllers_registered: Count,
    pub(crate) controllers_unregistered: Count,
    pub(crate) grace_periods: Count,
    pub(crate) notices: Arc<Count>,
    pub(crate) removals_refused: Count,
}

/// A number that grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: usize) {
        // Ordering: Relaxed: a statistic.
        self.0.fetch_add(more as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        // Ordering: Relaxed: a statistic.
        self.0.load(Ordering::Relaxed)
    }
}
