//! Tests that need internals.

#[cfg(not(loom))]
mod job;
#[cfg(loom)]
mod loom_claim;
#[cfg(loom)]
mod loom_job;
#[cfg(loom)]
mod loom_leaf;
#[cfg(loom)]
mod loom_sleep;
#[cfg(loom)]
mod mutants;
mod queue;
#[cfg(loom)]
mod scene;

/// Explores a small model to four preemptions at least.
#[cfg(loom)]
fn deep(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.map(|bound| bound.max(4));
    builder.check(model);
}
