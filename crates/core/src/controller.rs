//! The live instance of a subsystem in a registry, and the erased form in which the core calls it.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{
    bind,
    cgroup::Cgroup,
    css::{AnyCss, Css, Seed, handle::CssRef},
    error::{self, BindError, HookError, RebindError, UnregisterError},
    file::{ControlFile, Listing},
    hierarchy::Hierarchy,
    rebind::{self, RebindOptions},
    registry::{Engine, Owner},
    subsystem::{Migration, Subsystem},
    sync::{Arc, AtomicU64, OnceLock, Ordering},
    task::Member,
    units::SubsystemId,
    world::guard::ReadGuard,
};

/// The mark of the next controller; 2^64 are never made.
static MARKS: AtomicU64 = AtomicU64::new(0);

/// A subsystem as registered: bound to one hierarchy, or to none.
///
/// A cheap handle. While a controller is bound nowhere it is *inactive*: its root css is kept by the
/// registry's hidden default hierarchy, and every task resolves to it.
pub struct Controller<S: Subsystem> {
    owner: Arc<Owner>,
    registered: Arc<Registered<S>>,
}

/// A subsystem and what it is called by.
#[derive(Debug)]
pub(crate) struct Registered<S: Subsystem> {
    identity: Identity,
    subsystem: S,
    /// Its control files; set before it can be bound.
    files: OnceLock<Listing>,
}

/// What a controller is called by.
#[derive(Debug)]
pub(crate) struct Identity {
    /// Unique in the registry, never reused.
    pub(crate) key: u64,
    /// Unique in the process: columns have it.
    pub(crate) mark: u64,
    /// The column's index; reused once the controller's last css is freed.
    pub(crate) index: u8,
    pub(crate) name: String,
}

/// A hook that only looks at a css.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    Drain,
    Killed,
    Offline,
    Released,
    Bound,
    Rebound,
}

impl Sight {
    /// Returns the hook's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Killed => "killed",
            Self::Offline => "offline",
            Self::Released => "released",
            Self::Bound => "bound",
            Self::Rebound => "rebound",
        }
    }
}

/// A hook of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    Can,
    Cancel,
    Attach,
    Post,
}

/// A hook of a task's birth or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Birth {
    Can,
    Cancel,
    Fork,
    Exit,
}

/// A controller of any subsystem. An error is a refusal, or a panic that was caught.
pub(crate) trait Instance: Send + Sync {
    fn identity(&self) -> &Identity;
    fn new_css(
        &self,
        seed: Seed,
        parent: Option<Arc<dyn AnyCss>>,
    ) -> Result<Arc<dyn AnyCss>, HookError>;
    fn online(&self, css: &dyn AnyCss) -> Result<(), HookError>;
    fn see(&self, sight: Sight, css: &dyn AnyCss) -> Result<(), HookError>;
    fn migrate(&self, step: Move, task: &Member, places: Places<'_>) -> Result<(), HookError>;
    fn bear(&self, step: Birth, task: &Member, css: &dyn AnyCss) -> Result<(), HookError>;
    /// Returns the control files, without asking the subsystem.
    fn files(&self) -> &[ControlFile];
    fn read_file(&self, css: &dyn AnyCss, file: &str) -> Result<String, HookError>;
    fn write_file(&self, css: &dyn AnyCss, file: &str, input: &str) -> Result<(), HookError>;
}

/// Where a member comes from, and where it goes.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    pub(crate) source: &'a dyn AnyCss,
    pub(crate) target: &'a dyn AnyCss,
}

impl<S: Subsystem> Controller<S> {
    pub(crate) fn new(owner: Arc<Owner>, registered: Arc<Registered<S>>) -> Self {
        Self { owner, registered }
    }

    /// Returns the subsystem's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.registered.identity.name
    }

    /// Returns the controller's id.
    #[must_use]
    pub fn id(&self) -> SubsystemId {
        SubsystemId(self.registered.identity.key)
    }

    /// Returns the subsystem itself.
    #[must_use]
    pub fn subsystem(&self) -> &S {
        &self.registered.subsystem
    }

    /// Returns the hierarchy it is bound to; `None` while it is inactive, and once unregistered.
    #[must_use]
    pub fn hierarchy(&self) -> Option<Hierarchy> {
        self.root()?.cgroup().map(|root| root.hierarchy())
    }

    /// Moves the root css from the default hierarchy to the root of `hierarchy`, and gives every group
    /// below a css of its own, parents first.
    ///
    /// Members below the root change css: the controller sees them through `can_attach` and `attach`.
    /// Groups created there from then on have a css of this controller.
    ///
    /// # Concurrency
    ///
    /// Takes the structural lock; readers see the controller either unbound or bound. A charge that found
    /// the root css before may still be made to it afterwards.
    ///
    /// # Errors
    ///
    /// Refuses a controller that is bound or unregistered, a hierarchy that is destroyed or of another
    /// registry, and what a hook refuses. Nothing has changed then.
    #[doc(alias = "rebind_subsystems")]
    pub fn bind(&self, hierarchy: &Hierarchy) -> Result<(), BindError> {
        bind::bind(&self.owner, &self.registered.identity, hierarchy)
    }

    /// Moves the root css back to the default hierarchy, and takes the others offline, children first.
    ///
    /// Waits for nobody: css with references out live on, as by [`Removal::Detach`](crate::Removal::Detach),
    /// and members resolve to the root css.
    ///
    /// # Concurrency
    ///
    /// Takes the structural lock; readers see the controller either bound or unbound.
    ///
    /// # Errors
    ///
    /// Refuses a controller that is bound nowhere or unregistered, and what a `can_attach` hook refuses.
    /// Nothing has changed then.
    pub fn unbind(&self) -> Result<(), BindError> {
        bind::unbind(&self.owner, &self.registered.identity)
    }

    /// Moves the controller to `target`, a hierarchy of the same shape as the one it is bound to, while
    /// lookups, charges and references go on.
    ///
    /// At one instant for every reader, each css is shown by its group's counterpart in `target`: the group
    /// of the same name under the counterpart of its parent, or the one that the options name. Css keep
    /// their ids, values, counts, references and parents; what a group of the target shows changes, and
    /// which css tasks resolve to. Css that are dying stay where they were.
    ///
    /// # Concurrency
    ///
    /// Takes the structural lock, and holds it until nobody reads by the view before: a charge that found a
    /// css by that may be made to it until the call returns, not later. Readers wait for nobody. The call
    /// takes time in proportion to the number of groups, and ends when the last older guard does.
    ///
    /// # Errors
    ///
    /// Names the first path at which the trees differ; refuses a controller that is bound nowhere, is on the
    /// target already, or unregistered, a target that is destroyed or of another registry, a mapping that is
    /// no bijection, members whose css would change unless the options say otherwise, and then what a
    /// `can_attach` hook refuses. Nothing has changed then.
    pub fn rebind(&self, target: &Hierarchy, options: &RebindOptions) -> Result<(), RebindError> {
        rebind::rebind(&self.owner, &[self], target, options)
    }

    /// Takes an inactive controller out of its registry; its css go as their references do.
    ///
    /// The root css goes offline in the call, with the hooks that belong to it. The name is free at once.
    ///
    /// # Errors
    ///
    /// Refuses a controller that is bound, or unregistered already. Nothing has changed then.
    pub fn unregister(&self) -> Result<(), UnregisterError> {
        bind::unregister(&self.owner, &self.registered.identity)
    }

    /// Returns the root css; `None` once the controller is unregistered.
    ///
    /// Usable whether the controller is bound or not.
    #[must_use]
    pub fn root(&self) -> Option<CssRef<S::State>> {
        let guard = ReadGuard::new(&self.engine().views);
        guard.root_css(self)?.try_get_online()
    }

    /// Returns a reference to the css of `cgroup`; see [`ReadGuard::css`] for when there is none.
    ///
    /// Takes a guard of its own; for several lookups, take one guard and use that.
    #[must_use]
    pub fn css(&self, cgroup: &Cgroup) -> Option<CssRef<S::State>> {
        let guard = ReadGuard::new(&self.engine().views);
        guard.css(self, cgroup)?.try_get_online()
    }

    /// Sets the control files, once.
    pub(crate) fn list(&self, files: Listing) {
        let is_first = self.registered.files.set(files).is_ok();
        debug_assert!(is_first, "a subsystem is registered once");
    }

    #[inline]
    pub(crate) fn index(&self) -> usize {
        self.registered.identity.index.into()
    }

    #[inline]
    pub(crate) fn mark(&self) -> u64 {
        self.registered.identity.mark
    }

    #[inline]
    pub(crate) fn owner(&self) -> &Arc<Owner> {
        &self.owner
    }

    fn engine(&self) -> &Engine {
        &self.owner.engine
    }
}

/// A controller of any subsystem, where several are handled at once.
pub trait AnyController: sealed::Sealed {
    /// Returns the subsystem's name.
    fn name(&self) -> &str;

    /// Returns the controller's id.
    fn id(&self) -> SubsystemId;
}

pub(crate) mod sealed {
    use crate::{controller::Identity, registry::Owner, sync::Arc};

    /// What the core has to know of a controller of any subsystem.
    pub trait Sealed {
        #[doc(hidden)]
        fn part(&self) -> Part<'_>;
    }

    /// A controller's name and registry.
    #[derive(Clone, Copy, Debug)]
    pub struct Part<'c> {
        pub(crate) identity: &'c Identity,
        pub(crate) owner: &'c Arc<Owner>,
    }
}

impl<S: Subsystem> sealed::Sealed for Controller<S> {
    fn part(&self) -> sealed::Part<'_> {
        sealed::Part { identity: &self.registered.identity, owner: &self.owner }
    }
}

impl<S: Subsystem> AnyController for Controller<S> {
    fn name(&self) -> &str {
        &self.registered.identity.name
    }

    fn id(&self) -> SubsystemId {
        SubsystemId(self.registered.identity.key)
    }
}

impl<S: Subsystem> Clone for Controller<S> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner), registered: Arc::clone(&self.registered) }
    }
}

impl<S: Subsystem> fmt::Debug for Controller<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Controller").field(&self.name()).finish()
    }
}

impl<S: Subsystem> Registered<S> {
    pub(crate) fn new(subsystem: S, key: u64, index: u8, name: String) -> Self {
        // Ordering: Relaxed: a number of one's own, and nothing else.
        let mark = MARKS.fetch_add(1, Ordering::Relaxed);
        Self { identity: Identity { key, mark, index, name }, subsystem, files: OnceLock::new() }
    }
}

impl<S: Subsystem> Instance for Registered<S> {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn new_css(
        &self,
        seed: Seed,
        parent: Option<Arc<dyn AnyCss>>,
    ) -> Result<Arc<dyn AnyCss>, HookError> {
        let parent: Option<Arc<Css<S::State>>> = parent
            .map(|css| css.into_any().downcast().expect("of its state's type, as `own` says"));
        let state = caught(|| self.subsystem.new_css(parent.as_deref()))??;
        Ok(Css::plant(seed, parent, state))
    }

    fn online(&self, css: &dyn AnyCss) -> Result<(), HookError> {
        caught(|| self.subsystem.online(own::<S>(css)))?
    }

    fn see(&self, sight: Sight, css: &dyn AnyCss) -> Result<(), HookError> {
        let (subsystem, css) = (&self.subsystem, own::<S>(css));
        caught(|| match sight {
            Sight::Drain => subsystem.drain(css),
            Sight::Killed => subsystem.killed(css),
            Sight::Offline => subsystem.offline(css),
            Sight::Released => subsystem.released(css),
            Sight::Bound => subsystem.bound(css),
            Sight::Rebound => subsystem.rebound(css),
        })
    }

    fn migrate(&self, step: Move, task: &Member, places: Places<'_>) -> Result<(), HookError> {
        let (source, target) = (own::<S>(places.source), own::<S>(places.target));
        let (subsystem, migration) = (&self.subsystem, Migration { task, source, target });
        caught(|| {
            match step {
                Move::Can => return subsystem.can_attach(&migration),
                Move::Cancel => subsystem.cancel_attach(&migration),
                Move::Attach => subsystem.attach(&migration),
                Move::Post => subsystem.post_attach(&migration),
            }
            Ok(())
        })?
    }

    fn bear(&self, step: Birth, task: &Member, css: &dyn AnyCss) -> Result<(), HookError> {
        let (subsystem, css) = (&self.subsystem, own::<S>(css));
        caught(|| {
            match step {
                Birth::Can => return subsystem.can_fork(css, task),
                Birth::Cancel => subsystem.cancel_fork(css, task),
                Birth::Fork => subsystem.fork(css, task),
                Birth::Exit => subsystem.exit(css, task),
            }
            Ok(())
        })?
    }

    fn files(&self) -> &[ControlFile] {
        self.files.get().map_or(&[], |files| files)
    }

    fn read_file(&self, css: &dyn AnyCss, file: &str) -> Result<String, HookError> {
        caught(|| self.subsystem.read_file(own::<S>(css), file))?
    }

    fn write_file(&self, css: &dyn AnyCss, file: &str, input: &str) -> Result<(), HookError> {
        caught(|| self.subsystem.write_file(own::<S>(css), file, input))?
    }
}

/// Returns the css in its own type: a controller is only ever handed its own.
fn own<S: Subsystem>(css: &dyn AnyCss) -> &Css<S::State> {
    css.as_any().downcast_ref().expect("a controller's css are of its state's type")
}

/// Runs `hook`, and turns a panic into an error.
pub(crate) fn caught<R>(hook: impl FnOnce() -> R) -> Result<R, HookError> {
    // Unwind-safe: what the hook left half done is its own; the core's state is not in its reach.
    catch_unwind(AssertUnwindSafe(hook)).map_err(|payload| {
        let message = describe(&*payload).to_owned();
        discard(payload);
        error::panicked(message)
    })
}

fn describe(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Drops a panic's payload, whose own drop may panic.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        #[expect(clippy::mem_forget, reason = "a payload that panics when dropped is leaked")]
        std::mem::forget(second);
    }
}
