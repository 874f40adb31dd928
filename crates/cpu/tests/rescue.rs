//! The rescue lane of a pool without a runtime: a thread.

#[path = "support/rescue.rs"]
mod scenario;

use std::sync::Arc;

use fief_core::{Hierarchy, Registry, VirtualClock};
use fief_cpu::{Cpu, CpuBuilder, Pool, StartError};
use scenario::Outcome;

fn in_pool(cpu: CpuBuilder, scenario: impl FnOnce(&Pool, &Hierarchy) -> Outcome) -> Outcome {
    let registry = Registry::new();
    let tenants = registry.create_hierarchy("by-tenant")?;
    let cpu = registry.register(cpu.cpus(1).build())?;
    cpu.bind(&tenants)?;
    let pool = Pool::builder(&cpu).workers(1).rescue(10).start()?;
    scenario(&pool, &tenants)
}

#[test]
fn who_is_in_a_hurry_is_served_inside_a_long_poll() -> Outcome {
    in_pool(Cpu::builder(), scenario::serves_who_is_in_a_hurry)
}

#[test]
fn what_the_lane_has_taken_is_not_hidden() -> Outcome {
    // Nothing takes time: the lane does not use up its share.
    in_pool(Cpu::builder().clock(Arc::new(VirtualClock::new())), scenario::hides_nothing)
}

#[test]
fn the_idle_class_is_never_rescued() -> Outcome {
    in_pool(Cpu::builder(), scenario::leaves_the_idle_alone)
}

#[test]
fn who_is_not_done_goes_on() -> Outcome {
    let clock = VirtualClock::new();
    let builder = Cpu::builder().clock(Arc::new(clock.clone()));
    in_pool(builder, |pool, tenants| scenario::goes_on(pool, tenants, &clock))
}

#[test]
fn the_lane_keeps_to_its_share() -> Outcome {
    let clock = VirtualClock::new();
    let builder = Cpu::builder().clock(Arc::new(clock.clone()));
    in_pool(builder, |pool, tenants| scenario::keeps_to_its_share(pool, tenants, &clock))
}

#[test]
fn a_share_above_one_cpu_is_refused() -> Outcome {
    let registry = Registry::new();
    let cpu = registry.register(Cpu::new())?;
    let error = Pool::builder(&cpu).rescue(101).start().unwrap_err();
    assert!(matches!(error, StartError::Share { share: 101 }));
    assert_eq!(
        error.to_string(),
        "a rescue lane of 101 % of a CPU was asked for; at most 100 % are possible"
    );
    Pool::builder(&cpu).rescue(100).start()?.shutdown();
    Pool::builder(&cpu).rescue(10).without_rescue().start()?;
    Ok(())
}
