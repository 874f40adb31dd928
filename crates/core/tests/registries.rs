//! Registries that come and go beside each other: what one has to release is no other's.

use std::{
    error::Error,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use fief_core::{Css, HookError, Registry, Removal, Subsystem};

/// Counts the values that are dropped.
static DROPPED: AtomicU64 = AtomicU64::new(0);

struct Counted;

struct Value;

impl Drop for Value {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

impl Subsystem for Counted {
    type State = Value;

    fn name(&self) -> &'static str {
        "counted"
    }

    fn new_css(&self, _parent: Option<&Css<Value>>) -> Result<Value, HookError> {
        Ok(Value)
    }
}

/// A registry that lives shortly, and ends while its thread is at work.
fn live_and_die() -> Result<(), Box<dyn Error>> {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h")?;
    let counted = registry.register(Counted)?;
    counted.bind(&hierarchy)?;
    for number in 0..4 {
        let group = hierarchy.root().create_child(&format!("g{number}"))?;
        let css = counted.css(&group).ok_or("no css")?;
        group.remove(Removal::Detach)?;
        drop(css);
    }
    Ok(())
}

#[test]
fn registries_that_end_beside_each_other_take_nothing_of_each_other() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 500;
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..ROUNDS).for_each(|_| live_and_die().expect("nothing is refused")));
        }
    });
    // The last are freed by their threads.
    let all = THREADS * ROUNDS * 5;
    let patience = Instant::now() + Duration::from_secs(30);
    while DROPPED.load(Ordering::Relaxed) < all && Instant::now() < patience {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(DROPPED.load(Ordering::Relaxed), all);
}
