//! Tests that need internals.

#[cfg(not(loom))]
mod out_of_memory;

#[cfg(loom)]
mod loom_cache;
#[cfg(loom)]
mod loom_counter;
#[cfg(loom)]
mod loom_freeze;
#[cfg(loom)]
mod loom_notice;
#[cfg(loom)]
mod loom_pressure;
#[cfg(loom)]
mod loom_rebind;
#[cfg(loom)]
mod loom_refcount;
#[cfg(loom)]
mod loom_release;
#[cfg(loom)]
mod loom_slots;
#[cfg(loom)]
mod loom_strict;
#[cfg(loom)]
mod loom_world;
#[cfg(loom)]
mod mutants;
#[cfg(loom)]
#[expect(unsafe_code, reason = "a cell that loom watches; see docs/unsafe.md")]
mod witness;

/// Explores a small model to four preemptions at least.
#[cfg(loom)]
fn deep(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.map(|bound| bound.max(4));
    builder.check(model);
}

/// The group of a css that never counts exactly.
#[cfg(loom)]
fn never_exact<'g>() -> crate::css::refcount::Group<'g> {
    panic!("the model has no exact css")
}
