//! Owned references to a css: counted, and weak.
//!
//! # Orderings
//!
//! None of its own: `css/refcount.rs` has them.

use std::{fmt, marker::PhantomData, ops::Deref, ptr::NonNull};

use crate::{
    css::{Core, Css, cells::CssId, header::Header, thread},
    sync::{Arc, Ordering},
    world::{guard::ReadGuard, lookup::Hold, publish::Views},
};

/// An owned reference to a css: keeps it from being freed, not from going offline.
///
/// Clone and drop are the kernel's `css_get` and `css_put`. Both are a plain add on a cell of the
/// calling thread while the css is online (no locked instruction), and an atomic add on a shared word
/// once it is dying, or while its group waits for its release (see
/// [`Cgroup::set_notify_on_release`](crate::Cgroup::set_notify_on_release)). A reference may be dropped on another thread than it was taken
/// on, and after its group, hierarchy and registry are gone.
///
/// A css that ever had 2^42 references at one time, or whose registry ended in a forked child or where
/// no thread could be started for it, is leaked: it is never freed early.
///
/// # Concurrency
///
/// Dropping never blocks, takes a lock, allocates or runs code of others, whatever the context. The
/// last drop of such a css adds three exchanges, and at most one system call to wake the reclaimer. Cloning may make the thread's counting cells (see
/// [`prepare_thread`](crate::prepare_thread)) the first time. Not for signal handlers.
///
/// # Invariants
///
/// 1. `css` is live: this value owns one of its counted references.
#[doc(alias = "css_get")]
#[doc(alias = "css_put")]
pub struct CssRef<T> {
    css: NonNull<Css<T>>,
    _shares: PhantomData<Css<T>>,
}

impl<T> CssRef<T> {
    /// Returns an owner of a reference that was counted already.
    #[inline(always)]
    pub(crate) fn from_counted(css: &Css<T>) -> Self {
        // INVARIANT: 1, the reference counted by the caller.
        Self { css: NonNull::from_ref(css), _shares: PhantomData }
    }

    /// Returns a reference that keeps nothing alive and finds the css again while it lives.
    #[must_use]
    pub fn downgrade(this: &Self) -> WeakCss<T> {
        WeakCss::new(this)
    }

    #[inline(always)]
    fn count(&self) -> (CssId, &'static Header) {
        let core = self.core_of();
        (core.id, core.header)
    }
}

impl<T> Clone for CssRef<T> {
    #[inline]
    fn clone(&self) -> Self {
        let (id, header) = self.count();
        thread::get(id, header);
        // INVARIANT: 1, the reference just counted.
        Self { css: self.css, _shares: PhantomData }
    }
}

impl<T> Drop for CssRef<T> {
    #[inline]
    fn drop(&mut self) {
        // The css may be freed as soon as the count is down, so look at it first.
        let (id, header) = self.count();
        thread::put(id, header);
    }
}

impl<T> Deref for CssRef<T> {
    type Target = Css<T>;

    #[inline]
    fn deref(&self) -> &Css<T> {
        // SAFETY: by invariant 1 the css is live while `self` is.
        unsafe { self.css.as_ref() }
    }
}

impl<T: fmt::Debug> fmt::Debug for CssRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CssRef").field(&**self).finish()
    }
}

// SAFETY: sending a `CssRef` shares `&Css<T>` with the other thread, which needs `T: Sync`. The value
// itself is dropped by the reclaimer on yet another thread, which needs `T: Send`.
unsafe impl<T: Send + Sync> Send for CssRef<T> {}

// SAFETY: a shared `CssRef` can be cloned into an owned one, so the same two reasons apply.
unsafe impl<T: Send + Sync> Sync for CssRef<T> {}

/// A reference that keeps nothing alive: an id, and the generation it was seen in.
///
/// # Concurrency
///
/// Upgrading is [`Css::try_get`] by way of the id: two loads more under a read guard that is held
/// ([`ReadGuard::upgrade`]); alone it pays for the guard.
pub struct WeakCss<T> {
    id: CssId,
    generation: u32,
    header: &'static Header,
    views: Arc<Views>,
    /// Shares a `Css<T>` while upgraded, and owns none.
    _shares: PhantomData<fn() -> Css<T>>,
}

impl<T> WeakCss<T> {
    fn new(css: &Css<T>) -> Self {
        let Core { id, generation, header, .. } = css.core_of();
        let views = Arc::clone(&css.core_of().group().hierarchy.views);
        Self { id: *id, generation: *generation, header, views, _shares: PhantomData }
    }

    /// Returns the id of the css, which may since have been given to another.
    #[must_use]
    pub fn id(&self) -> CssId {
        self.id
    }

    /// Takes a reference, unless the css is released.
    #[must_use]
    pub fn upgrade(&self) -> Option<CssRef<T>> {
        let view = self.views.load();
        let upgraded = self.upgrade_in_view();
        drop(view);
        upgraded
    }

    /// Takes a reference under `guard`, if that is a guard of the css's registry.
    #[inline]
    pub(crate) fn upgrade_under(&self, guard: &ReadGuard<'_>) -> Option<CssRef<T>> {
        if !guard.is_of(&self.views) {
            return self.upgrade();
        }
        self.upgrade_in_view()
    }

    /// As [`WeakCss::upgrade`], for a caller that holds a view of the registry's world.
    #[inline(always)]
    fn upgrade_in_view(&self) -> Option<CssRef<T>> {
        // The generation moves on at release, before the grace period that our view would keep
        // open begins. So while it is ours the css is not freed, and the id not reused.
        if self.header.generation() != self.generation {
            return None;
        }
        // Ordering: Relaxed: stored before the css was first published, and not again while the
        // generation stands.
        let css = self.header.payload.load(Ordering::Relaxed).cast::<Css<T>>();
        // SAFETY: the css of this id and generation is a `Css<T>`, as we were made from one; by
        // invariant 2 of `css.rs` it lives while the view is held.
        let css = unsafe { &*css };
        css.try_get()
    }
}

impl<T> Clone for WeakCss<T> {
    fn clone(&self) -> Self {
        let Self { id, generation, header, .. } = *self;
        Self { id, generation, header, views: Arc::clone(&self.views), _shares: PhantomData }
    }
}

impl<T> fmt::Debug for WeakCss<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WeakCss").field(&self.id.get()).finish()
    }
}

/// Finds the css of `id` under a guard, or in a lookup by a cache; see [`ReadGuard::css`].
///
/// # Safety
///
/// 1. `id` was found in a column of the world that `hold` keeps.
/// 2. The css of that column are of type `T`.
#[inline(always)]
pub(crate) unsafe fn css_by_id<T>(id: CssId, _hold: &impl Hold) -> Option<&Css<T>> {
    let header = thread::domain().header(id)?;
    // Ordering: Relaxed: the column's slot was loaded with Acquire after the css was complete (edge
    // column), and the id is not reused while the world is held.
    let css = header.payload.load(Ordering::Relaxed).cast::<Css<T>>();
    // SAFETY: the payload is a `Css<T>` by clause 2; it was in its column under the hold (1), so by
    // invariant 2 of `css.rs` it lives while that lasts.
    Some(unsafe { &*css })
}
