//! A member's activity in a group and in all groups above it.

use std::{fmt, iter, ops::Deref};

use crate::{
    css::Css,
    pressure::{gauge::Activity, group::Pressure},
    sync::fork,
};

/// The pressure of a css and of those above it: what happens in a group happens in its ancestors.
///
/// `C` is whatever leads to the css: a `&Css<S>`, or a `CssRef<S>` where a guard is to be kept for long.
/// `of` says where in a state its pressure is; it must not panic.
///
/// # Examples
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use fief_core::{
///     Clock, Css, HookError, Pressure, PressurePath, Registry, Subsystem, VirtualClock,
/// };
///
/// struct Queues(Arc<dyn Clock>);
///
/// impl Subsystem for Queues {
///     type State = Pressure;
///
///     fn name(&self) -> &str {
///         "queues"
///     }
///
///     fn new_css(&self, _parent: Option<&Css<Pressure>>) -> Result<Pressure, HookError> {
///         Ok(Pressure::new(Arc::clone(&self.0)))
///     }
/// }
///
/// let clock = VirtualClock::new();
/// let registry = Registry::new();
/// let tenants = registry.create_hierarchy("by-tenant")?;
/// let queues = registry.register(Queues(Arc::new(clock.clone())))?;
/// queues.bind(&tenants)?;
/// let web = tenants.root().create_child("web")?;
///
/// let css = registry.read().css(&queues, &web).and_then(Css::try_get_online).ok_or("removed")?;
/// let stall = PressurePath::new(&*css, |pressure| pressure).stall();
/// clock.advance(Duration::from_secs(1));
/// drop(stall);
///
/// assert_eq!(css.stats().some.total, 1_000_000);
/// let root = queues.root().ok_or("no root")?;
/// assert_eq!(root.stats().full.total, 1_000_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PressurePath<C, S> {
    css: C,
    of: fn(&S) -> &Pressure,
}

/// Groups that a member counts for.
///
/// Sealed: [`Pressure`], [`PressurePath`] and references to them.
pub trait Levels {
    /// Returns them, the member's own first.
    fn levels(&self) -> impl Iterator<Item = &Pressure>;
}

/// Counts a member for an activity; until it is dropped.
///
/// A guard that is forgotten leaves its member in its activity for ever, here and above.
///
/// In the child of a fork, guards of its parent's count nothing any more: they can be dropped there.
#[must_use = "the activity ends when it is dropped"]
#[derive(Debug)]
pub struct ActivityGuard<L: Levels> {
    levels: L,
    before: Activity,
    now: Activity,
    /// The process it was made in.
    forks: u32,
}

impl Levels for Pressure {
    fn levels(&self) -> impl Iterator<Item = &Self> {
        iter::once(self)
    }
}

impl<C: Deref<Target = Css<S>>, S> Levels for PressurePath<C, S> {
    fn levels(&self) -> impl Iterator<Item = &Pressure> {
        iter::successors(Some(&*self.css), |css| css.parent()).map(|css| (self.of)(css))
    }
}

impl<L: Levels> Levels for &L {
    fn levels(&self) -> impl Iterator<Item = &Pressure> {
        (**self).levels()
    }
}

impl<C: Deref<Target = Css<S>>, S> PressurePath<C, S> {
    /// Makes the path from `css` up to the root.
    pub const fn new(css: C, of: fn(&S) -> &Pressure) -> Self {
        Self { css, of }
    }

    /// Counts a member for `to` that counted for `from`, in the group and all above it.
    ///
    /// For state machines that keep the activity themselves; a member begins and ends as
    /// [`Activity::Idle`].
    ///
    /// # Concurrency
    ///
    /// [`Pressure::shift`] for each level, with one reading of the clock at most for all of them.
    pub fn shift(&self, from: Activity, to: Activity) {
        shift(self, from, to);
    }

    /// Has a member that was idle stall until the guard is dropped.
    #[doc(alias = "psi_memstall_enter")]
    pub fn stall(self) -> ActivityGuard<Self> {
        ActivityGuard::new(self, Activity::Idle, Activity::Stalled)
    }

    /// Has a member that was idle be productive until the guard is dropped.
    pub fn work(self) -> ActivityGuard<Self> {
        ActivityGuard::new(self, Activity::Idle, Activity::Productive)
    }
}

impl<C: fmt::Debug, S> fmt::Debug for PressurePath<C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PressurePath").field(&self.css).finish()
    }
}

impl<L: Levels> ActivityGuard<L> {
    pub(super) fn new(levels: L, before: Activity, now: Activity) -> Self {
        Self::new_of(fork::generation(), levels, before, now)
    }

    fn new_of(forks: u32, levels: L, before: Activity, now: Activity) -> Self {
        let mut guard = Self { levels, before, now: before, forks };
        guard.set(now);
        guard
    }

    /// Returns what the member is doing.
    #[must_use]
    pub const fn activity(&self) -> Activity {
        self.now
    }

    /// Has the member do something else from now on.
    pub fn set(&mut self, activity: Activity) {
        // In a forked child the lock of a record may be held by a thread that is not there.
        if self.forks == fork::generation() {
            shift(&self.levels, self.now, activity);
        }
        self.now = activity;
    }

    /// Has the member stall until the guard that is returned is dropped.
    ///
    /// Within a stall that is nothing: it stalls already.
    #[doc(alias = "psi_memstall_enter")]
    pub fn stall(&mut self) -> ActivityGuard<&L> {
        ActivityGuard::new_of(self.forks, &self.levels, self.now, Activity::Stalled)
    }
}

impl<L: Levels> Drop for ActivityGuard<L> {
    #[doc(alias = "psi_memstall_leave")]
    fn drop(&mut self) {
        self.set(self.before);
    }
}

/// Counts a member for `to` that counted for `from`, on every level.
pub(super) fn shift(levels: &impl Levels, from: Activity, to: Activity) {
    if from == to {
        return;
    }
    let mut now = None;
    for level in levels.levels() {
        level.shift_at(from, to, &mut now);
    }
}
