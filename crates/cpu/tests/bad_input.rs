//! Input that makes no sense is refused, by an error that says what, where and why; and nothing is changed.
//!
//! What control files refuse is in `files.rs`, what limits refuse while jobs run in `limits.rs`.

use std::{error::Error, time::Duration};

use fief_core::{Cgroup, Controller, Hierarchy, Registry, Removal};
use fief_cpu::{
    Bandwidth, Cpu, Group, GroupError, Pool, PoolBuilder, SettingError, SpawnError, StartError,
    tree::BandwidthError,
};
use insta::assert_snapshot;

type Outcome = Result<(), Box<dyn Error>>;

const MILLI: Duration = Duration::from_millis(1);

struct World {
    registry: Registry,
    _tenants: Hierarchy,
    cpu: Controller<Cpu>,
    web: Cgroup,
}

impl World {
    fn new() -> Result<Self, Box<dyn Error>> {
        let registry = Registry::new();
        let tenants = registry.create_hierarchy("by-tenant")?;
        let cpu = registry.register(Cpu::new())?;
        cpu.bind(&tenants)?;
        let web = tenants.root().create_child("web")?;
        Ok(Self { registry, _tenants: tenants, cpu, web })
    }

    /// Starts a pool that is refused.
    fn refused(&self, how: impl FnOnce(PoolBuilder) -> PoolBuilder) -> String {
        match how(Pool::builder(&self.cpu)).start() {
            Ok(pool) => format!("{pool:?} was started"),
            Err(error) => error.to_string(),
        }
    }
}

#[test]
fn a_setting_out_of_range_names_the_group_the_value_and_the_rule() -> Outcome {
    let world = World::new()?;
    let css = world.cpu.css(&world.web).ok_or("no css")?;
    css.set_weight(300)?;
    css.set_latency(MILLI)?;
    css.set_max(Bandwidth::new(20 * MILLI, 100 * MILLI)?.with_burst(5 * MILLI)?);
    let before = css.max();
    assert_snapshot!(css.set_weight(0).unwrap_err(), @"cpu.weight of /web: 0 is not a weight from 1 to 10000");
    assert_snapshot!(css.set_weight(10_001).unwrap_err(), @"cpu.weight of /web: 10001 is not a weight from 1 to 10000");
    assert_snapshot!(css.set_latency(11 * MILLI).unwrap_err(), @"cpu.latency of /web: 11ms is more than 10ms");
    css.set_latency(Duration::MAX).unwrap_err();
    let error = css.set_burst(21 * MILLI).unwrap_err();
    assert_snapshot!(error, @"cpu.max.burst of /web: a burst of 21000 us: it must be at most the quota of 20000 us");
    assert!(matches!(error, SettingError::Burst { source: BandwidthError::Burst { .. }, .. }));
    assert!(error.source().is_some_and(|source| source.is::<BandwidthError>()));
    assert_eq!((css.weight(), css.latency(), css.max()), (300, MILLI, before));
    Ok(())
}

#[test]
fn a_root_has_no_share() -> Outcome {
    let world = World::new()?;
    let root = world.cpu.root().ok_or("unregistered")?;
    assert_snapshot!(root.set_weight(200).unwrap_err(), @"cpu.weight of /: a root competes with nobody, so it has none");
    assert_snapshot!(root.set_idle(true).unwrap_err(), @"cpu.idle of /: a root competes with nobody, so it has none");
    assert_snapshot!(root.set_latency(MILLI).unwrap_err(), @"cpu.latency of /: a root competes with nobody, so it has none");
    Ok(())
}

#[test]
fn a_bandwidth_out_of_range_is_none() -> Outcome {
    let (quota, period) = (20 * MILLI, 100 * MILLI);
    assert_snapshot!(Bandwidth::new(MILLI / 2, period).unwrap_err(), @"a quota of 500 us: it must be 1000 to 17592186044415 us");
    assert_snapshot!(Bandwidth::new(quota, MILLI / 2).unwrap_err(), @"a period of 500 us: it must be 1000 to 1000000 us");
    assert_snapshot!(Bandwidth::new(quota, 1001 * MILLI).unwrap_err(), @"a period of 1001000 us: it must be 1000 to 1000000 us");
    assert_snapshot!("half".parse::<Bandwidth>().unwrap_err(), @"`half` is no bandwidth: `max` or microseconds, and perhaps a period in microseconds");
    for absurd in [Duration::ZERO, Duration::MAX, Duration::from_secs(u64::MAX / 2)] {
        assert!(Bandwidth::new(absurd, period).is_err(), "{absurd:?}");
        assert!(Bandwidth::new(quota, absurd).is_err(), "{absurd:?}");
    }
    assert!(Bandwidth::new(quota, period)?.with_burst(Duration::MAX).is_err());
    Ok(())
}

/// A quota is a setting, not a promise: without workers threads go by it, and workers do when they come.
#[test]
fn a_quota_may_be_set_without_workers() -> Outcome {
    let world = World::new()?;
    world.web.write("cpu.max", "50000 100000")?;
    let group = Group::new(&world.cpu, &world.web)?;
    let error = group.spawn(async {}).unwrap_err();
    assert_eq!(error, SpawnError::NoWorkers);
    assert_snapshot!(error, @"the cpu controller has no workers");
    group.enter()?.checkpoint()?;
    group.scope(|scope| scope.spawn(|| ()))?;
    let pool = Pool::builder(&world.cpu).workers(1).start()?;
    assert_eq!(group.spawn(async { 7 })?.join()?, 7);
    drop(pool);
    Ok(())
}

#[test]
fn a_removed_group_has_no_members() -> Outcome {
    let world = World::new()?;
    let pool = Pool::builder(&world.cpu).workers(1).start()?;
    let group = pool.group(&world.web)?;
    for policy in [Removal::Strict, Removal::Detach] {
        let error = world.web.remove(policy).unwrap_err();
        assert_eq!(error.to_string(), "/web is busy: 1 members, 0 children");
    }
    assert_eq!(group.spawn(async { 7 })?.join()?, 7);
    drop(group);
    world.web.remove(Removal::Detach)?;
    assert_snapshot!(pool.group(&world.web).unwrap_err(), @r#"task "web" cannot be created in /web: it is removed"#);
    Ok(())
}

#[test]
fn after_a_shutdown_nothing_is_spawned() -> Outcome {
    let world = World::new()?;
    let pool = Pool::builder(&world.cpu).workers(1).start()?;
    let group = pool.group(&world.web)?;
    pool.shutdown();
    for group in [&group, &pool.group(&world.web)?] {
        let error = group.spawn(async {}).unwrap_err();
        assert_eq!(error, SpawnError::ShutDown);
        assert_eq!(error.to_string(), "the workers of the cpu controller were shut down");
        assert_eq!(group.spawn_fn(|| ()).unwrap_err(), SpawnError::ShutDown);
    }
    // As it says, a thread that enters needs no workers, and a new pool has members of its own.
    group.enter()?.checkpoint()?;
    drop(pool);
    let pool = Pool::builder(&world.cpu).workers(1).start()?;
    assert_eq!(group.spawn(async {}).unwrap_err(), SpawnError::ShutDown);
    assert_eq!(pool.group(&world.web)?.spawn(async { 7 })?.join()?, 7);
    Ok(())
}

#[test]
fn groups_and_tasks_of_another_registry_are_refused() -> Outcome {
    let (world, other) = (World::new()?, World::new()?);
    let error = Group::new(&world.cpu, &other.web).unwrap_err();
    assert!(matches!(&error, GroupError::ForeignGroup { cgroup } if cgroup == "/web"), "{error:?}");
    assert_snapshot!(error, @"/web cannot use the cpu controller: it is unregistered, or of another registry");
    let error = Group::of(&world.cpu, other.registry.create_task("stray")?).unwrap_err();
    assert_snapshot!(error, @r#""stray" cannot use the cpu controller: it is unregistered, or of another registry"#);
    let group = Group::new(&world.cpu, &world.web)?;
    let error = group.fork_into("stray", &[&other.web]).unwrap_err();
    assert_snapshot!(error, @r#"task "stray" cannot be created in /web: it is of another registry"#);
    assert_eq!(other.web.read("cgroup.events")?, "populated 0\nfrozen 0\n");
    Ok(())
}

#[test]
fn an_unregistered_controller_has_no_members_and_no_workers() -> Outcome {
    let world = World::new()?;
    world.cpu.unbind()?;
    world.cpu.unregister()?;
    assert_snapshot!(Group::new(&world.cpu, &world.web).unwrap_err(), @"/web cannot use the cpu controller: it is unregistered, or of another registry");
    assert_snapshot!(world.refused(|pool| pool), @"the cpu controller is unregistered");
    assert!(matches!(Pool::builder(&world.cpu).manual(), Err(StartError::Unregistered)));
    Ok(())
}

#[test]
fn workers_that_cannot_be_are_refused() -> Outcome {
    let world = World::new()?;
    let group = Group::new(&world.cpu, &world.web)?;
    assert_snapshot!(world.refused(|pool| pool.workers(0)), @"a pool of 0 workers was asked for; at least 1 is needed");
    assert_snapshot!(world.refused(|pool| pool.workers(65_537)), @"a pool of 65537 workers was asked for; there can be 65536");
    assert_snapshot!(world.refused(|pool| pool.nice(20)), @"workers cannot have nice 20: it must be -20 to 19");
    assert_snapshot!(world.refused(|pool| pool.nice(i32::MIN)), @"workers cannot have nice -2147483648: it must be -20 to 19");
    assert_snapshot!(world.refused(|pool| pool.rescue(101)), @"a rescue lane of 101 % of a CPU was asked for; at most 100 % are possible");
    assert_snapshot!(world.refused(|pool| pool.thread_name("a\0b")), @r#"workers cannot be called "a\0b": the name of a thread has no NUL"#);
    // All of it has changed nothing.
    assert_eq!(group.spawn(async {}).unwrap_err(), SpawnError::NoWorkers);
    let pool = Pool::builder(&world.cpu).workers(1).start()?;
    assert_snapshot!(world.refused(|pool| pool), @"the cpu controller has workers already");
    assert!(matches!(Pool::builder(&world.cpu).manual(), Err(StartError::Started)));
    assert_eq!(group.spawn(async { 7 })?.join()?, 7);
    drop(pool);
    assert_eq!(Cpu::builder().cpus(0).build().cpus(), 1);
    assert_eq!(Cpu::builder().cpus(u32::MAX).build().cpus(), 65_536);
    Ok(())
}

/// A thread that may not raise its priority starts no pool of higher ones; the members there are go on.
#[test]
#[cfg(all(target_os = "linux", not(fief_portable)))]
fn a_nice_value_that_may_not_be_raised_is_refused() -> Outcome {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let world = World::new()?;
    let group = Group::new(&world.cpu, &world.web)?;
    // The test's thread gives up what it may have; threads that it starts have no more.
    let mut own = capabilities(None)?;
    own.effective.remove(CapabilitySet::SYS_NICE);
    own.permitted.remove(CapabilitySet::SYS_NICE);
    set_capabilities(None, own)?;
    let error = Pool::builder(&world.cpu).workers(2).nice(-20).start().unwrap_err();
    assert!(matches!(error, StartError::Nice { number: 1, workers: 2, nice: -20, .. }));
    assert_snapshot!(error, @"worker 1 of 2 may not have nice -20");
    assert!(error.source().is_some());
    assert_eq!(group.spawn(async {}).unwrap_err(), SpawnError::NoWorkers, "as before");
    let _pool = Pool::builder(&world.cpu).workers(2).start()?;
    assert_eq!(group.spawn(async { 7 })?.join()?, 7);
    Ok(())
}

/// Where nice values are not known, one in range is of no account.
#[test]
#[cfg(not(all(target_os = "linux", not(fief_portable))))]
fn a_nice_value_is_of_no_account_elsewhere() -> Outcome {
    let world = World::new()?;
    let pool = Pool::builder(&world.cpu).workers(1).nice(-20).start()?;
    assert_eq!(pool.group(&world.web)?.spawn(async { 7 })?.join()?, 7);
    Ok(())
}

/// A slice cannot be longer than the debt.
#[test]
fn settings_of_a_tree_have_ranges() -> Outcome {
    use fief_cpu::tree::TreeSettings;
    let settings = TreeSettings::default();
    assert_snapshot!(settings.with_slice(0).unwrap_err(), @"a slice of 0 ns: it must be 20000 to 10000000");
    assert_snapshot!(settings.with_debt(199_999).unwrap_err(), @"a debt of 199999 ns: it must be 200000 to 1000000000, and no less than a slice");
    assert!(settings.with_slice(u64::MAX).is_err() && settings.with_debt(u64::MAX).is_err());
    Ok(())
}
