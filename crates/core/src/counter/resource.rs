//! `Resource`: how a controller charges the counters of a group and of all above it.
//!
//! The chain of levels is that of the css, from the one charged to the root css. It is fixed for life,
//! so what is charged by way of a css is uncharged by way of the same css, wherever the controller is
//! bound by then.
//!
//! # Orderings
//!
//! None of its own: `counter.rs` has them.

use std::{any, fmt, iter, ptr};

use crate::{
    counter::{self, Counter, Refused, charge::Charge},
    css::{Css, handle::CssRef},
    error::ChargeError,
};

/// Something that a controller counts: which [`Counter`] of its state, and what errors call it.
///
/// ```
/// use fief_core::{Counter, Css, HookError, Limit, Registry, Resource, Subsystem};
///
/// /// Limits the permits of a group and all below it.
/// struct Permits;
///
/// struct State {
///     held: Counter,
/// }
///
/// const PERMITS: Resource<State> = Resource::new("permits.max", |state| &state.held);
///
/// impl Subsystem for Permits {
///     type State = State;
///
///     fn name(&self) -> &str {
///         "permits"
///     }
///
///     fn new_css(&self, _parent: Option<&Css<State>>) -> Result<State, HookError> {
///         Ok(State { held: Counter::new() })
///     }
/// }
///
/// let registry = Registry::new();
/// let tenants = registry.create_hierarchy("by-tenant")?;
/// let permits = registry.register(Permits)?;
/// permits.bind(&tenants)?;
/// let web = tenants.root().create_child("web")?;
/// let api = web.create_child("api")?;
///
/// let [web, api] = [&web, &api].map(|group| permits.css(group));
/// let (web, api) = (web.ok_or("removed")?, api.ok_or("removed")?);
/// web.held.set_max(Limit::At(10));
///
/// let held = PERMITS.try_hold(&api, 10)?;
/// let error = PERMITS.try_charge(&api, 1).unwrap_err();
/// assert_eq!(error.to_string(), "permits.max of /web reached: 10 of 10 in use, 1 asked");
///
/// drop(held);
/// assert_eq!((web.held.current(), web.held.peak(), web.held.max_events()), (0, 10, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A charge is counted once, at a css and all above it, and given back once, by way of the same css.
/// What is charged raw, by [`charge`](Self::charge) and [`try_charge`](Self::try_charge), is for whoever
/// keeps that book otherwise: say, one for each member. The css is to be kept alive, or uncharged in
/// a hook; a [`Charge`] does all that by itself.
///
/// Kept in a `const`, it costs nothing: the call is resolved when compiled.
pub struct Resource<T> {
    file: &'static str,
    unit: &'static str,
    counter: fn(&T) -> &Counter,
}

impl<T> Resource<T> {
    /// Makes a resource that is counted by `counter`, and limited by the file of that name.
    ///
    /// `counter` is only to say which: it runs several times for each call, and is not to panic.
    #[must_use]
    pub const fn new(file: &'static str, counter: fn(&T) -> &Counter) -> Self {
        Self { file, unit: "", counter }
    }

    /// Says what errors are to count in, in the plural; nothing by default.
    #[must_use]
    pub const fn with_unit(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    /// Returns the counter of one css.
    #[must_use]
    pub fn counter<'a>(&self, css: &'a Css<T>) -> &'a Counter {
        (self.counter)(css)
    }

    /// Charges `amount` to a css and all above it, if every one of them has room.
    ///
    /// No level is taken above its max, and none is charged for long by a charge that another refuses:
    /// where nobody else charges meanwhile, a refused charge changes nothing but [`Counter::max_events`] of
    /// the level that refused. It is refused wrongly only for room that other charges hold which are
    /// under way in that moment and will be refused, because the room that they had found above is gone.
    ///
    /// # Concurrency
    ///
    /// Lock-free: one compare-exchange a level, again if another charge came between. A level's refusal
    /// is by a usage and a max read one after the other. A refusal allocates, and takes short locks, for
    /// the path. See [`Counter::set_max`] for a bound that changes meanwhile.
    ///
    /// # Errors
    ///
    /// The level nearest to the css that has no room; nothing is charged.
    #[inline]
    #[doc(alias = "page_counter_try_charge")]
    pub fn try_charge(&self, css: &Css<T>, amount: u64) -> Result<(), ChargeError> {
        if counter::try_charge_alone(self.levels(css), amount) {
            return Ok(());
        }
        self.try_charge_chain(css, amount)
    }

    /// Charges `amount` to a css and all above it, whatever their max.
    ///
    /// For what is there already and can only be counted: a member that moves in. A usage that would pass
    /// 2^63 − 1 is cut off there, and counted by [`Counter::accounting_bugs`].
    ///
    /// # Concurrency
    ///
    /// Lock-free: one compare-exchange a level, again if another charge came between.
    #[doc(alias = "page_counter_charge")]
    pub fn charge(&self, css: &Css<T>, amount: u64) {
        counter::charge(self.levels(css), amount);
    }

    /// Gives back `amount` that was charged to this css.
    ///
    /// # Concurrency
    ///
    /// Wait-free: one atomic subtraction a level.
    ///
    /// # Panics
    ///
    /// In a build with debug assertions, the first time that more is uncharged than was charged. Otherwise
    /// the usage is then 0, and [`Counter::accounting_bugs`] counts it.
    #[inline]
    #[doc(alias = "page_counter_uncharge")]
    pub fn uncharge(&self, css: &Css<T>, amount: u64) {
        counter::uncharge(self.levels(css), amount);
    }

    /// Moves `amount` from what is charged to `source` to `target`, whatever the max there.
    ///
    /// What is above both is not touched, so that nobody is refused, and no peak reached, for a move below.
    ///
    /// # Concurrency
    ///
    /// As [`Resource::charge`] and then [`Resource::uncharge`], of the levels that differ. Others may see
    /// it at both.
    ///
    /// # Panics
    ///
    /// As [`Resource::uncharge`].
    pub fn transfer(&self, source: &Css<T>, target: &Css<T>, amount: u64) {
        counter::charge(self.levels_below(target, source), amount);
        counter::uncharge(self.levels_below(source, target), amount);
    }

    /// As [`Resource::try_charge`]; what is charged is given back when the result is dropped.
    ///
    /// # Errors
    ///
    /// The level nearest to the css that has no room; nothing is charged.
    #[inline]
    pub fn try_hold(&self, css: &CssRef<T>, amount: u64) -> Result<Charge<T>, ChargeError> {
        self.try_charge(css, amount)?;
        Ok(Charge::from_charged(*self, CssRef::clone(css), amount))
    }

    /// As [`Resource::charge`]; what is charged is given back when the result is dropped.
    pub fn hold(&self, css: &CssRef<T>, amount: u64) -> Charge<T> {
        self.charge(css, amount);
        Charge::from_charged(*self, CssRef::clone(css), amount)
    }

    #[inline(never)]
    fn try_charge_chain(&self, css: &Css<T>, amount: u64) -> Result<(), ChargeError> {
        counter::try_charge(self.levels(css), amount)
            .map_err(|refused| self.refusal(css, amount, refused))
    }

    /// Yields the counters of a css and of all above it.
    #[inline(always)]
    fn levels<'a>(
        &self,
        css: &'a Css<T>,
    ) -> impl Iterator<Item = &'a Counter> + Clone + use<'a, T> {
        ancestors(css).map(self.projection())
    }

    /// Yields the counters of `css` and of what is above it, but not above `other`.
    fn levels_below<'a>(
        &self,
        css: &'a Css<T>,
        other: &'a Css<T>,
    ) -> impl Iterator<Item = &'a Counter> {
        let is_shared = move |level: &&Css<T>| ancestors(other).any(|above| ptr::eq(above, *level));
        ancestors(css).take_while(move |level| !is_shared(level)).map(self.projection())
    }

    #[inline(always)]
    fn projection<'a>(&self) -> impl Fn(&'a Css<T>) -> &'a Counter + Clone + use<'a, T> {
        let counter = self.counter;
        move |css| counter(css)
    }

    #[cold]
    #[inline(never)]
    fn refusal(&self, css: &Css<T>, amount: u64, refused: Refused) -> ChargeError {
        let Refused { level, current, max } = refused;
        let path = ancestors(css).nth(level).unwrap_or(css).path();
        let Self { file, unit, .. } = *self;
        ChargeError { cgroup: path, file, unit, current, max, asked: amount, level }
    }
}

impl<T> Clone for Resource<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Resource<T> {}

impl<T> fmt::Debug for Resource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("file", &self.file)
            .field("state", &any::type_name::<T>())
            .finish_non_exhaustive()
    }
}

/// Yields a css, its parent, and so on to the root css.
#[inline(always)]
fn ancestors<T>(css: &Css<T>) -> impl Iterator<Item = &Css<T>> + Clone {
    iter::successors(Some(css), |css| css.parent())
}
