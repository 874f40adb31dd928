//! Tests that need internals.

#[cfg(loom)]
mod loom_pocket;
#[cfg(loom)]
mod loom_peak;
#[cfg(loom)]
mod loom_wait;
#[cfg(loom)]
mod mutants;
#[cfg(not(loom))]
mod reclaim;

/// Explores a small model to four preemptions at least.
#[cfg(loom)]
fn deep(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.map(|bound| bound.max(4));
    builder.check(model);
}
