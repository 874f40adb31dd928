//! The read guard: resolves css, and keeps what it resolved from being freed.

use std::{cell::Cell, fmt, marker::PhantomData};

use crate::{
    cgroup::Cgroup,
    controller::Controller,
    css::{
        Css, State,
        handle::{CssRef, WeakCss, css_by_id},
    },
    subsystem::Subsystem,
    sync::Arc,
    task::Task,
    world::{
        World,
        column::{Column, ROOT},
        lookup::{self, Hold},
        publish::{View, Views},
    },
};

thread_local! {
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// A short look at a registry's groups: css resolved through it live at least as long as it.
///
/// What it shows is the current state but for one thing: where each controller is bound, which is
/// as of the moment the guard was taken.
///
/// # Concurrency
///
/// Taking one and dropping it costs two locked instructions, and repeats only in a case so rare that
/// arc-swap counts it in wraps of an integer; each lookup is a few loads. A guard that is held keeps every
/// css that is released meanwhile from being freed, for all of the registry: hold it for as long
/// as the lookup takes, not across blocking calls or `await` (it is not `Send`). A rebind of the registry
/// waits for it, and every structural call for that: a guard that is leaked ends them all, and who blocks
/// under one on what such a call does waits for ever. Structural calls
/// and `synchronize` on the same thread answer
/// [`GuardHeld`](crate::StructuralError::GuardHeld) meanwhile, those of other registries too. From
/// the ninth guard that a thread holds at one time on, each is dearer.
#[doc(alias = "rcu_read_lock")]
#[must_use = "css can be resolved only while the guard is held"]
pub struct ReadGuard<'r> {
    view: View,
    views: &'r Arc<Views>,
    _not_send: PhantomData<*const ()>,
}

impl<'r> ReadGuard<'r> {
    #[inline]
    pub(crate) fn new(views: &'r Arc<Views>) -> Self {
        HELD.set(HELD.get() + 1);
        Self { view: views.load(), views, _not_send: PhantomData }
    }

    /// Returns the css that `controller` keeps for `cgroup`, or for the nearest group above that has one
    /// (see [`Cgroup::set_subtree_control`]).
    ///
    /// `None` when the group is being removed, the controller is not bound to its hierarchy, or
    /// either is of another registry.
    #[inline]
    pub fn css<S>(&self, controller: &Controller<S>, cgroup: &Cgroup) -> Option<&Css<S::State>>
    where
        S: Subsystem,
    {
        let node = cgroup.node();
        let column = lookup::column(self, controller)?;
        // A group index is reused only a grace period after its group's removal: while the group
        // is online under this guard, the slot is its own.
        let shows = column.hierarchy == node.hierarchy.index && self.is_of(&node.hierarchy.views);
        if !shows || node.state() != State::Online {
            return None;
        }
        let id = column.get(node.index)?;
        // SAFETY: 1 by the line above, 2 by `column`.
        unsafe { css_by_id(id, self) }
    }

    /// Returns the css of the group where `task` sits, in the hierarchy `controller` is bound to.
    ///
    /// That of the root where the task joined nothing, or the controller is bound nowhere. `None`
    /// when the controller is unregistered or of another registry.
    #[inline]
    pub fn task_css<S>(&self, controller: &Controller<S>, task: &Task) -> Option<&Css<S::State>>
    where
        S: Subsystem,
    {
        lookup::task_css(self, controller, task)
    }

    /// Returns the root css of `controller`, wherever it is bound.
    ///
    /// `None` when the controller is unregistered or of another registry.
    #[inline]
    pub fn root_css<S>(&self, controller: &Controller<S>) -> Option<&Css<S::State>>
    where
        S: Subsystem,
    {
        let id = lookup::column(self, controller)?.get(ROOT)?;
        // SAFETY: 1 by the line above, 2 by `column`.
        unsafe { css_by_id(id, self) }
    }

    /// Returns the group that shows `css`, or showed it last, where controllers are bound as this guard
    /// sees it.
    ///
    /// As [`Css::cgroup`], but in step with what the guard resolves, wherever controllers go meanwhile.
    /// Takes short locks.
    #[must_use]
    pub fn cgroup<T>(&self, css: &Css<T>) -> Option<Cgroup> {
        let core = css.core_of();
        if !self.is_of(&core.group().hierarchy.views) {
            return css.cgroup();
        }
        let node = core.shown_in(&self.view);
        let column = self.view.columns.get(usize::from(core.controller))?.as_deref();
        let is_elsewhere = |column: &&Column| column.hierarchy != node.hierarchy.index;
        match column.filter(is_elsewhere).filter(|_| node.parent.is_none()) {
            // The controller was bound or unbound since, which waits for no guard.
            Some(column) => Cgroup::from_node(node.hierarchy.root_beside(column.hierarchy)?),
            None => Cgroup::from_node(node),
        }
    }

    /// Takes a reference by a weak one, unless the css is released.
    #[inline]
    #[must_use]
    pub fn upgrade<T>(&self, weak: &WeakCss<T>) -> Option<CssRef<T>> {
        weak.upgrade_under(self)
    }

    /// Returns whether this guard is of the registry that `views` belong to.
    #[inline]
    pub(crate) fn is_of(&self, views: &Arc<Views>) -> bool {
        Arc::ptr_eq(self.views, views)
    }
}

// SAFETY: the view is counted in the world's `Arc`, for which the end of a grace period waits.
unsafe impl Hold for ReadGuard<'_> {
    #[inline]
    fn world(&self) -> &World {
        &self.view
    }
}

impl Drop for ReadGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        HELD.set(HELD.get() - 1);
    }
}

impl fmt::Debug for ReadGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadGuard").field("controllers", &self.view.columns.len()).finish()
    }
}

/// Returns whether the calling thread holds a guard of any registry.
pub(crate) fn is_held() -> bool {
    HELD.get() > 0
}
