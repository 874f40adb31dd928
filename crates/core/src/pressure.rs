//! Pressure: how much time a group loses because members wait for a resource.
//!
//! What the kernel calls pressure stall information. [`group`] has the definitions and what a
//! controller embeds in its state; [`path`] counts a member for a group and all above it; [`gauge`] is
//! the word they share, and the protocol by which it is recorded; [`average`] is the arithmetic of the
//! averages, [`trigger`] that of triggers.
//!
//! Nothing here has a timer. A group is brought up to date when it begins or ends to lose time, and
//! when somebody looks. In between it was in one state, so what is found then is what a timer would
//! have found: averages move at the ends of fixed periods of two seconds, counted from the making, and
//! as many as have ended are reckoned at once. The kernel, which samples, puts the stall time of a late
//! sample into one period and leaves the others empty.
//!
//! Averages are finer than the kernel's, which have 11 bits after the point; they differ from them in
//! the second digit of what is printed.
//!
//! # Source
//!
//! Semantics: Linux, `Documentation/accounting/psi.rst` and `kernel/sched/psi.c`. Algorithms: the
//! exponentially damped average of `kernel/sched/loadavg.c`; a rate limiter's sliding window,
//! approximated by two fixed ones.

#[cfg(not(loom))]
pub use self::{
    gauge::Activity,
    group::Pressure,
    path::{ActivityGuard, PressurePath},
    stats::{Percent, PercentError, PressureLine, PressureStats},
    threshold::{ParseThresholdError, PressureKind, Threshold, ThresholdError},
    trigger::Trigger,
};

#[cfg(not(loom))]
mod group;
#[cfg(not(loom))]
mod path;
pub(crate) mod gauge;
#[cfg(not(loom))]
mod window;
#[cfg(not(loom))]
mod average;
#[cfg(not(loom))]
mod threshold;
#[cfg(not(loom))]
mod trigger;
#[cfg(not(loom))]
mod stats;

#[cfg(all(test, not(loom)))]
mod tests;
