//! The fast paths as a program compiles them: `cargo xtask asm` reads the assembly of each probe.
//!
//! A probe is one operation in a function of its own. None may contain a locked instruction.

use std::hint::black_box;

use fief_core::{Cache, Controller, Css, CssRef, HookError, Registry, Subsystem, Task};

/// A subsystem of numbers.
#[derive(Debug)]
#[non_exhaustive]
pub struct Unit;

impl Subsystem for Unit {
    type State = u64;

    fn name(&self) -> &str {
        "unit"
    }

    fn new_css(&self, _parent: Option<&Css<u64>>) -> Result<u64, HookError> {
        Ok(0)
    }
}

/// `css_get`.
#[inline(never)]
pub fn probe_clone(css: &CssRef<u64>) -> CssRef<u64> {
    css.clone()
}

/// `css_put`.
#[inline(never)]
pub fn probe_drop(css: CssRef<u64>) {
    drop(css);
}

/// `css_tryget`, under a guard that is held.
#[inline(never)]
pub fn probe_try_get(css: &Css<u64>) -> Option<CssRef<u64>> {
    css.try_get()
}

/// `css_tryget_online`, under a guard that is held.
#[inline(never)]
pub fn probe_try_get_online(css: &Css<u64>) -> Option<CssRef<u64>> {
    css.try_get_online()
}

/// `task_get_css`, through a cache.
#[inline(never)]
pub fn probe_cache_css(
    cache: &Cache,
    controller: &Controller<Unit>,
    task: &Task,
) -> Option<CssRef<u64>> {
    cache.css(controller, task)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::new();
    let unit = registry.register(Unit)?;
    let root = unit.root().ok_or("registered")?;
    let task = registry.create_task("member")?;
    probe_drop(black_box(probe_clone(black_box(&root))));
    black_box(probe_try_get(black_box(&root)));
    black_box(probe_try_get_online(black_box(&root)));
    black_box(probe_cache_css(black_box(&registry.cache()), &unit, black_box(&task)));
    Ok(())
}
