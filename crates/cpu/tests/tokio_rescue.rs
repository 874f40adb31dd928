//! The rescue lane of a pool on a runtime: a task.

#[path = "support/rescue.rs"]
mod scenario;
#[path = "support/tokio.rs"]
mod support;

use std::sync::Arc;

use fief_core::VirtualClock;
use fief_cpu::Cpu;
use scenario::Outcome;
use support::{Mode, World, world, world_of};

/// Attached to both kinds of runtimes.
const ATTACHED: [Mode; 2] = [Mode::Attached, Mode::Single];

fn in_pools(scenario: impl Fn(&World) -> Outcome) -> Outcome {
    ATTACHED.into_iter().try_for_each(|mode| scenario(&world(mode, 1)?))
}

#[test]
fn who_is_in_a_hurry_is_served_inside_a_long_poll() -> Outcome {
    in_pools(|world| scenario::serves_who_is_in_a_hurry(&world.pool, &world.tenants))
}

#[test]
fn what_the_lane_has_taken_is_not_hidden() -> Outcome {
    // Nothing takes time: the lane does not use up its share.
    for mode in ATTACHED {
        let cpu = Cpu::builder().cpus(1).clock(Arc::new(VirtualClock::new())).build();
        let world = world_of(mode, 1, cpu, |builder| builder)?;
        scenario::hides_nothing(&world.pool, &world.tenants)?;
    }
    Ok(())
}

#[test]
fn the_idle_class_is_never_rescued() -> Outcome {
    in_pools(|world| scenario::leaves_the_idle_alone(&world.pool, &world.tenants))
}

#[test]
fn who_is_not_done_goes_on() -> Outcome {
    for mode in ATTACHED {
        let clock = VirtualClock::new();
        let cpu = Cpu::builder().cpus(1).clock(Arc::new(clock.clone())).build();
        let world = world_of(mode, 1, cpu, |builder| builder)?;
        scenario::goes_on(&world.pool, &world.tenants, &clock)?;
    }
    Ok(())
}

#[test]
fn the_lane_keeps_to_its_share() -> Outcome {
    for mode in ATTACHED {
        let clock = VirtualClock::new();
        let cpu = Cpu::builder().cpus(1).clock(Arc::new(clock.clone())).build();
        let world = world_of(mode, 1, cpu, |builder| builder)?;
        scenario::keeps_to_its_share(&world.pool, &world.tenants, &clock)?;
    }
    Ok(())
}

/// Runners can have a lane where the runtime has more threads than they are.
#[test]
fn runners_are_rescued_on_another_thread() -> Outcome {
    let cpu = Cpu::builder().cpus(1).build();
    let world = world_of(Mode::Runners, 2, cpu, |builder| builder.workers(1).rescue(10))?;
    scenario::serves_who_is_in_a_hurry(&world.pool, &world.tenants)
}
