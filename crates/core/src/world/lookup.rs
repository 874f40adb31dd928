//! Resolving a task's css: under a guard, through a cache, or alone.
//!
//! Whoever resolves holds a world ([`Hold`]): what was in one of its columns then is not freed. What it
//! finds may be taken offline before a reference is counted. A task's css is taken offline only after
//! the task has gone elsewhere, or a world was published that shows another css for it; so the attempt
//! is repeated with the world and the place as of then, and each repetition means that somebody else
//! went forward. Nothing is waited for.
//!
//! # Orderings
//!
//! Edges `column` and `place`: see `world/column.rs`. Edge `publish`: see `world/publish.rs`.

use std::{cell::Cell, iter};

use crate::{
    controller::Controller,
    css::{
        Css, State,
        handle::{CssRef, css_by_id},
    },
    subsystem::Subsystem,
    sync::Arc,
    task::Task,
    world::{
        World,
        cache::{Cache, Pin},
        column::Column,
        guard::ReadGuard,
    },
};

thread_local! {
    static SLOW: Cell<u64> = const { Cell::new(0) };
}

/// Returns how many lookups of the calling thread took a guard where a cache is to do without, or had to
/// look again.
pub(crate) fn slow_lookups() -> u64 {
    SLOW.get()
}

/// Something that keeps a world and everything that it shows.
///
/// # Safety
///
/// From when [`Hold::world`] was loaded until the implementor is dropped, no grace period ends that
/// was opened for that world or a later one.
pub(crate) unsafe trait Hold {
    /// The world that is kept.
    fn world(&self) -> &World;
}

/// Returns the controller's column; its css are of the controller's type.
///
/// A column remembers the controller that it was made for by a mark that no other has in this process. So
/// whoever finds it in a world has found a controller of that world's registry.
#[inline]
pub(crate) fn column<'h, S: Subsystem>(
    hold: &'h impl Hold,
    controller: &Controller<S>,
) -> Option<&'h Column> {
    let column = hold.world().columns.get(controller.index())?.as_deref()?;
    (column.controller == controller.mark()).then_some(column)
}

/// Returns the css of the group where `task` sits; see [`ReadGuard::task_css`].
#[inline]
pub(crate) fn task_css<'h, S: Subsystem>(
    hold: &'h impl Hold,
    controller: &Controller<S>,
    task: &Task,
) -> Option<&'h Css<S::State>> {
    let column = column(hold, controller)?;
    if !Arc::ptr_eq(controller.owner(), task.owner()) {
        return None;
    }
    let id = column.resolve(|| task.place(column.hierarchy))?;
    // SAFETY: 1 by the line above, 2 by `column`.
    unsafe { css_by_id(id, hold) }
}

impl Task {
    /// Returns a reference to the css that `controller` keeps for this task: that of the group where
    /// the task sits, in the hierarchy to which the controller is bound.
    ///
    /// That of the root where the task joined nothing, or the controller is bound nowhere. `None`
    /// when the controller is unregistered or of another registry.
    ///
    /// Takes a guard of its own. For several lookups at a time take one ([`ReadGuard::task_css`]); a
    /// thread that looks up all the time keeps a [`Cache`].
    ///
    /// # Concurrency
    ///
    /// Lock-free: a guard, a few loads, and [`Css::try_get_online`]. Repeated when the task was moved, or
    /// the controller bound elsewhere, between the lookup and the count; only then. The result is
    /// right for a moment within the call, and may be on its way offline when the call returns.
    #[doc(alias = "task_get_css")]
    #[inline]
    #[must_use]
    pub fn css<S: Subsystem>(&self, controller: &Controller<S>) -> Option<CssRef<S::State>> {
        let guard = ReadGuard::new(self.views());
        let css = task_css(&guard, controller, self)?;
        let found = css.try_get_online();
        if found.is_some() {
            return found;
        }
        drop(guard);
        look_again_slow(controller, self)
    }
}

impl Cache {
    /// Returns what [`Task::css`] returns; `None`, too, if the task is of another registry than the
    /// cache.
    ///
    /// # Concurrency
    ///
    /// Lock-free; see the type for the cost.
    #[doc(alias = "task_get_css")]
    #[inline]
    #[must_use]
    pub fn css<S: Subsystem>(
        &self,
        controller: &Controller<S>,
        task: &Task,
    ) -> Option<CssRef<S::State>> {
        let found = self.enter().and_then(|pin| task_css(&pin, controller, task)?.try_get_online());
        if found.is_some() { found } else { self.css_slow(controller, task) }
    }

    /// As [`Cache::css`], under a guard.
    #[cold]
    #[inline(never)]
    fn css_slow<S: Subsystem>(
        &self,
        controller: &Controller<S>,
        task: &Task,
    ) -> Option<CssRef<S::State>> {
        SLOW.set(SLOW.get() + 1);
        let is_native = Arc::ptr_eq(self.views(), task.views());
        if is_native { task.css(controller) } else { None }
    }
}

// SAFETY: invariant 3 of `world/cache.rs`; the end of a grace period waits for its `Laggards`.
unsafe impl Hold for Pin<'_> {
    #[inline]
    fn world(&self) -> &World {
        Self::world(self)
    }
}

/// Looks up until a reference is counted, or there is nothing to find.
///
/// A css that is dying, and found again in the next round, is that of a task which stays: whoever moves a
/// task away from a group does so before the group's css die, and we have seen that (edge dying). Then the
/// nearest ancestor's does, as it does for a group without a css of its own. One that is refused twice
/// and not dying does as it is.
#[cold]
#[inline(never)]
fn look_again_slow<S: Subsystem>(
    controller: &Controller<S>,
    task: &Task,
) -> Option<CssRef<S::State>> {
    SLOW.set(SLOW.get() + 1);
    let mut before = None;
    loop {
        let guard = ReadGuard::new(task.views());
        let css = task_css(&guard, controller, task)?;
        let found = css.try_get_online();
        if found.is_some() {
            return found;
        }
        let core = css.core_of();
        let (identity, is_dying) = ((core.id, core.generation), css.state() != State::Online);
        let seen = before.filter(|(seen, _)| *seen == identity);
        if seen == Some((identity, true)) {
            return iter::successors(css.parent(), |css| css.parent())
                .find_map(Css::try_get_online);
        }
        if seen.is_some() && !is_dying {
            // The removal of its group is decided, and the task is about to be moved by the same edit.
            let found = css.try_get();
            if found.is_some() {
                return found;
            }
            before = None; // released meanwhile: so the task was moved
            continue;
        }
        before = Some((identity, is_dying));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        HookError, Reclaimer, Registry,
        css::{switch, thread},
    };

    struct Unit;

    impl Subsystem for Unit {
        type State = ();

        fn name(&self) -> &str {
            "unit"
        }

        fn new_css(&self, _parent: Option<&Css<()>>) -> Result<(), HookError> {
            Ok(())
        }
    }

    /// Race 14 of the kernel's: a member of a group that is dying and stays so finds something usable.
    #[test]
    fn a_member_of_a_dying_group_finds_the_nearest_ancestor_s_css() {
        let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
        let hierarchy = registry.create_hierarchy("h").expect("the name is free");
        let controller = registry.register(Unit).expect("the name is free");
        controller.bind(&hierarchy).expect("no groups yet");
        let mut path = vec![hierarchy.root()];
        for name in ["a", "b", "c"] {
            let below = path[path.len() - 1].create_child(name).expect("the name is free");
            path.push(below);
        }
        let task = registry.create_task("task").expect("nobody refuses");
        task.join(&path[3]).expect("nobody refuses");
        let cache = registry.cache();
        let found = || {
            let found = task.css(&controller).map(|css| css.path());
            assert_eq!(cache.css(&controller, &task).map(|css| css.path()), found);
            found
        };
        assert_eq!(found().as_deref(), Some("/a/b/c"));
        for (index, expected) in [(3, Some("/a/b")), (2, Some("/a")), (1, Some("/")), (0, None)] {
            let css = registry.read().css(&controller, &path[index]).and_then(Css::try_get);
            let css = css.expect("online");
            css.core_of().enter(State::Dying);
            switch::kill(thread::domain(), &[css.core_of().counted()], |_| ());
            assert_eq!(found().as_deref(), expected);
        }
        #[expect(clippy::mem_forget, reason = "with css that are shown and killed it cannot end")]
        std::mem::forget((registry, hierarchy, controller, path, task));
    }
}
