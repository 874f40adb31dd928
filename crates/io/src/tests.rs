//! Tests that need internals.

#[cfg(loom)]
mod loom_lease;
#[cfg(loom)]
mod loom_removal;
#[cfg(loom)]
mod loom_ticker;
#[cfg(loom)]
mod loom_wait;
#[cfg(loom)]
mod mutants;
#[cfg(loom)]
mod scene;

#[cfg(loom)]
use crate::{refusal, sync};

/// Explores a small model to four preemptions at least.
#[cfg(loom)]
fn deep(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.map(|bound| bound.max(4));
    builder.check(model);
}

/// Returns what became of who asked as something else went on, which is over when `other` returns.
#[cfg(loom)]
fn settle(got: scene::Got, other: impl FnOnce()) -> Result<scene::Admitted, refusal::Refusal> {
    let (bell, mut early) = (sync::Arc::default(), None);
    if let scene::Got::Turn(waits) = &got {
        early = waits.poll(&bell);
    }
    other();
    match got {
        scene::Got::Room(admitted) => Ok(admitted),
        scene::Got::Nothing(why) => Err(why),
        scene::Got::Turn(waits) => early.unwrap_or_else(|| waits.wake(&bell)),
    }
}
