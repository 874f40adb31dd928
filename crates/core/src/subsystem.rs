//! The kind of controller: what somebody who writes one implements.

use crate::{css::Css, error::HookError, file::ControlFile, sync::Arc, task::Member};

/// A kind of controller: how to make its state for a group, and what to do as groups live and die.
///
/// Every hook but [`name`](Self::name) and [`new_css`](Self::new_css) has a default body that does
/// nothing. The trait is dyn-compatible: `Box<dyn Subsystem<State = T>>` is itself a subsystem.
///
/// # Concurrency
///
/// Hooks run on the thread that makes the structural call, one at a time for a registry, under its
/// structural lock. [`released`](Self::released) runs on whatever thread makes a pass of the
/// reclaimer, and [`exit`](Self::exit) and [`drain`](Self::drain) may. A structural call from inside a hook answers
/// [`Reentrant`](crate::StructuralError::Reentrant), for every registry; lookups, references and drops
/// are allowed. A hook that waits for another thread's structural call waits for ever.
/// [`post_attach`](Self::post_attach), [`files`](Self::files), [`read_file`](Self::read_file),
/// [`write_file`](Self::write_file), the drop of a `State` and that of the subsystem run under no lock,
/// the drops on the reclaimer's thread or any that makes a pass.
///
/// # Panics
///
/// A hook that panics is caught. Where it could have refused it has; elsewhere the structural call
/// goes on, and [`RegistryStats::hook_panics`](crate::RegistryStats) counts it.
///
/// # Order
///
/// For one css: `new_css`, `online`, … `drain`, `killed`, `offline`, `released`, drop; `drain` may come
/// more often. `online` runs
/// for a parent before its children; `offline`, `released` and the drop for children before their
/// parent. `killed`, `offline` and `released` run once for every css that came online, and for no
/// other; a css that is leaked (see [`CssRef`](crate::CssRef)) is never released. As a registry ends,
/// each of `drain`, `killed` and `offline` runs for all css of a hierarchy before the next does.
///
/// # Lifetime
///
/// A `State` or subsystem that keeps a handle (a registry, hierarchy, group, controller or task) keeps
/// its registry alive for ever. Weak references and css references do not.
#[doc(alias = "cgroup_subsys")]
pub trait Subsystem: Send + Sync + 'static {
    /// What the subsystem keeps for each group.
    type State: Send + Sync + 'static;

    /// Returns the name: a lower-case letter and up to 31 of `a-z 0-9 _`, but not `cgroup`.
    ///
    /// Asked once, at registration; a panic counts as an empty name.
    fn name(&self) -> &str;

    /// Makes the state for a group whose parent's css is `parent`, or for the root.
    ///
    /// It is to be neutral: nothing is charged to it, and nobody can see it yet.
    ///
    /// # Errors
    ///
    /// Any refusal; the group is then not created.
    #[doc(alias = "css_alloc")]
    fn new_css(&self, parent: Option<&Css<Self::State>>) -> Result<Self::State, HookError>;

    /// Sees a css that is about to be shown; its parent is online.
    ///
    /// # Errors
    ///
    /// Any refusal; the group is then not created, and neither `offline` nor `released` follows.
    #[doc(alias = "css_online")]
    fn online(&self, css: &Css<Self::State>) -> Result<(), HookError> {
        let _ = css;
        Ok(())
    }

    /// Sees that the removal of a css is decided: lookups find it no more, and references that are
    /// held can still be had more of.
    #[doc(alias = "css_killed")]
    fn killed(&self, css: &Css<Self::State>) {
        let _ = css;
    }

    /// Lets go of a css: no `try_get_online` can succeed any more, all its children are offline.
    ///
    /// References that are out stay good. What can move to [`Css::parent`] moves here, so that what
    /// lives on for them is small.
    #[doc(alias = "css_offline")]
    fn offline(&self, css: &Css<Self::State>) {
        let _ = css;
    }

    /// Sees that the last reference to a css is gone; only guards taken before may still look at it.
    #[doc(alias = "css_released")]
    fn released(&self, css: &Css<Self::State>) {
        let _ = css;
    }

    /// Gives back what the controller caches for a css, per thread or otherwise.
    ///
    /// Called before a removal is decided, which a strict one may then refuse; when the group is armed,
    /// that is, when its last member or child is gone and somebody waits for its release; when a
    /// controller is unregistered, as a registry ends, and for css that were online when another
    /// controller refused. So it may be called any number of times. Caches are to hold no references: who
    /// caches goes by id and generation, as a [`WeakCss`](crate::WeakCss) does.
    #[doc(alias = "pre_destroy")]
    fn drain(&self, css: &Css<Self::State>) {
        let _ = css;
    }

    /// Sees that the controller's root css is shown by another hierarchy's root from now on.
    ///
    /// Called by `bind`, by `unbind`, by `remount`, and when the hierarchy is destroyed; not at registration.
    #[doc(alias = "bind")]
    fn bound(&self, root: &Css<Self::State>) {
        let _ = root;
    }

    /// Sees that every css of the controller is shown by another hierarchy from now on.
    ///
    /// Called once by a rebind, after the last reader of the view before, and after the `attach` of members
    /// whose css changed.
    fn rebound(&self, root: &Css<Self::State>) {
        let _ = root;
    }

    /// Decides whether a member may move.
    ///
    /// # Errors
    ///
    /// Any refusal; the member then stays, and `cancel_attach` follows for the controllers that had
    /// agreed.
    fn can_attach(&self, migration: &Migration<'_, Self::State>) -> Result<(), HookError> {
        let _ = migration;
        Ok(())
    }

    /// Takes back what `can_attach` did, as another controller refused.
    fn cancel_attach(&self, migration: &Migration<'_, Self::State>) {
        let _ = migration;
    }

    /// Sees that a member has moved; nothing can fail any more.
    fn attach(&self, migration: &Migration<'_, Self::State>) {
        let _ = migration;
    }

    /// Sees that a member has moved, under no lock.
    ///
    /// The core holds a reference to either css meanwhile: a strict removal of its group is refused.
    fn post_attach(&self, migration: &Migration<'_, Self::State>) {
        let _ = migration;
    }

    /// Decides whether a task may come into being in the group of `css`.
    ///
    /// Asked for every task that there is, too, as the subsystem is registered: they are at its root css.
    ///
    /// # Errors
    ///
    /// Any refusal; the task is then not created, and `cancel_fork` follows for the controllers that
    /// had agreed.
    fn can_fork(&self, css: &Css<Self::State>, task: &Member) -> Result<(), HookError> {
        let _ = (css, task);
        Ok(())
    }

    /// Takes back what `can_fork` did, as another controller refused.
    fn cancel_fork(&self, css: &Css<Self::State>, task: &Member) {
        let _ = (css, task);
    }

    /// Sees a new task, which is a member already; or one that was there before the subsystem.
    fn fork(&self, css: &Css<Self::State>, task: &Member) {
        let _ = (css, task);
    }

    /// Sees that a task has ended; it is no member any more.
    #[doc(alias = "release")]
    fn exit(&self, css: &Css<Self::State>, task: &Member) {
        let _ = (css, task);
    }

    /// Returns the control files that a group with a css of this subsystem has: `NAME.file`.
    ///
    /// A file's own name is one word or several joined by dots, each a lower-case letter and more of
    /// `a-z 0-9 _`; at most 64 bytes together, and each name once. Asked once, at registration; a panic
    /// there refuses the registration. Default: none.
    #[doc(alias = "cftype")]
    fn files(&self) -> &[ControlFile] {
        &[]
    }

    /// Reads a control file that [`files`](Self::files) lists as one that can be read; `file` is its
    /// own name, without the subsystem's.
    ///
    /// Runs on the thread that reads, under no lock, beside every other hook, with a reference to the
    /// css held. The css may go offline meanwhile: then the answer is dropped. Use
    /// [`render`](crate::file::render) for the shapes of cgroup v2.
    ///
    /// # Errors
    ///
    /// Any refusal. Default: refuses every file.
    #[doc(alias = "seq_show")]
    fn read_file(&self, css: &Css<Self::State>, file: &str) -> Result<String, HookError> {
        let _ = css;
        Err(format!("{file} is listed, but cannot be read by its subsystem").into())
    }

    /// Writes a control file that [`files`](Self::files) lists as one that can be written; `file` is
    /// its own name, without the subsystem's, and `input` the whole text, as given.
    ///
    /// Runs as [`read_file`](Self::read_file) does, and may take long. Use [`parse`](crate::file::parse):
    /// an [`InputError`](crate::file::InputError) that is returned names file and group in the end.
    ///
    /// # Errors
    ///
    /// Any refusal; nothing is to have changed then. Default: refuses every file.
    fn write_file(&self, css: &Css<Self::State>, file: &str, input: &str) -> Result<(), HookError> {
        let _ = (css, input);
        Err(format!("{file} is listed, but cannot be written by its subsystem").into())
    }
}

/// One member on its way from one css to another.
#[derive(Debug)]
#[non_exhaustive]
pub struct Migration<'a, T> {
    /// The member.
    pub task: &'a Member,
    /// The css of the group where it is.
    pub source: &'a Css<T>,
    /// The css of the group where it goes.
    pub target: &'a Css<T>,
}

macro_rules! forward {
    ($pointer:ty) => {
        impl<S: Subsystem + ?Sized> Subsystem for $pointer {
            type State = S::State;

            fn name(&self) -> &str {
                (**self).name()
            }
            fn new_css(&self, parent: Option<&Css<Self::State>>) -> Result<Self::State, HookError> {
                (**self).new_css(parent)
            }
            fn online(&self, css: &Css<Self::State>) -> Result<(), HookError> {
                (**self).online(css)
            }
            fn killed(&self, css: &Css<Self::State>) {
                (**self).killed(css);
            }
            fn offline(&self, css: &Css<Self::State>) {
                (**self).offline(css);
            }
            fn released(&self, css: &Css<Self::State>) {
                (**self).released(css);
            }
            fn drain(&self, css: &Css<Self::State>) {
                (**self).drain(css);
            }
            fn bound(&self, root: &Css<Self::State>) {
                (**self).bound(root);
            }
            fn rebound(&self, root: &Css<Self::State>) {
                (**self).rebound(root);
            }
            fn can_attach(&self, migration: &Migration<'_, Self::State>) -> Result<(), HookError> {
                (**self).can_attach(migration)
            }
            fn cancel_attach(&self, migration: &Migration<'_, Self::State>) {
                (**self).cancel_attach(migration);
            }
            fn attach(&self, migration: &Migration<'_, Self::State>) {
                (**self).attach(migration);
            }
            fn post_attach(&self, migration: &Migration<'_, Self::State>) {
                (**self).post_attach(migration);
            }
            fn can_fork(&self, css: &Css<Self::State>, task: &Member) -> Result<(), HookError> {
                (**self).can_fork(css, task)
            }
            fn cancel_fork(&self, css: &Css<Self::State>, task: &Member) {
                (**self).cancel_fork(css, task);
            }
            fn fork(&self, css: &Css<Self::State>, task: &Member) {
                (**self).fork(css, task);
            }
            fn exit(&self, css: &Css<Self::State>, task: &Member) {
                (**self).exit(css, task);
            }
            fn files(&self) -> &[ControlFile] {
                (**self).files()
            }
            fn read_file(&self, css: &Css<Self::State>, file: &str) -> Result<String, HookError> {
                (**self).read_file(css, file)
            }
            fn write_file(
                &self,
                css: &Css<Self::State>,
                file: &str,
                input: &str,
            ) -> Result<(), HookError> {
                (**self).write_file(css, file, input)
            }
        }
    };
}

forward!(Box<S>);
forward!(Arc<S>);
