//! Input that makes no sense is refused, by an error that says what, where and why; and nothing is changed.
//!
//! What control files refuse is in `files.rs`.

use std::{error::Error, sync::Arc, time::Duration};

use fief_core::{Cgroup, Controller, Hierarchy, Limit, Registry, Removal, VirtualClock};
use fief_io::{
    Device, DeviceError, Dimension, Io, IoCss, IoStats, Limits, Min, Op, Refusal, SetError,
    StreamError,
};
use insta::assert_snapshot;

type Outcome = Result<(), Box<dyn Error>>;

const MILLI: Duration = Duration::from_millis(1);

struct World {
    clock: VirtualClock,
    registry: Registry,
    tenants: Hierarchy,
    io: Controller<Io>,
    disk: Device,
    web: Cgroup,
}

impl World {
    fn new() -> Result<Self, Box<dyn Error>> {
        let (clock, registry) = (VirtualClock::new(), Registry::new());
        let tenants = registry.create_hierarchy("by-tenant")?;
        let io = registry.register(Io::builder().clock(Arc::new(clock.clone())).build())?;
        io.bind(&tenants)?;
        let disk = Device::builder("disk").register(&io)?;
        let web = tenants.root().create_child("web")?;
        Ok(Self { clock, registry, tenants, io, disk, web })
    }
}

/// Returns all that is set of a group on a device.
fn settings(css: &IoCss, disk: &Device) -> (Limits, u32, u32, Min, Option<Duration>) {
    let (weight, default) = (css.weight(disk), css.default_weight());
    (css.limits(disk), weight, default, css.min(disk), css.latency(disk))
}

#[test]
fn a_setting_out_of_range_names_the_group_the_value_and_the_rule() -> Outcome {
    let World { io, disk, web, .. } = &World::new()?;
    let css = io.css(web).ok_or("no css")?;
    css.set_limits(disk, Limits::new().rbps(1000).with_burst(Dimension::Rbps, Some(5)))?;
    css.set_weight(disk, Some(300))?;
    css.set_default_weight(20)?;
    css.set_min(disk, Min { bps: 7, iops: 8 })?;
    css.set_latency(disk, Some(MILLI))?;
    let before = settings(&css, disk);
    let limits = |dimension, rate| css.set_limits(disk, Limits::new().with(dimension, rate));
    assert_snapshot!(limits(Dimension::Wiops, Limit::At(0)).unwrap_err(), @"io.max of /web on disk: wiops of 0 is not a rate from 1 to 9223372036854775807");
    assert_snapshot!(limits(Dimension::Bps, Limit::At(u64::MAX)).unwrap_err(), @"io.max of /web on disk: bps of 18446744073709551615 is not a rate from 1 to 9223372036854775807");
    assert_snapshot!(css.set_weight(disk, Some(0)).unwrap_err(), @"io.weight of /web: 0 is not a weight from 1 to 10000");
    assert_snapshot!(css.set_weight(disk, Some(10_001)).unwrap_err(), @"io.weight of /web: 10001 is not a weight from 1 to 10000");
    assert_snapshot!(css.set_default_weight(u32::MAX).unwrap_err(), @"io.weight of /web: 4294967295 is not a weight from 1 to 10000");
    assert_snapshot!(css.set_min(disk, Min { bps: 1 << 63, iops: 0 }).unwrap_err(), @"io.min of /web on disk: bps of 9223372036854775808 is not a rate from 0 to 9223372036854775807");
    assert_snapshot!(css.set_latency(disk, Some(Duration::ZERO)).unwrap_err(), @"io.latency of /web on disk: 0ns is not from 1us to 10s");
    assert_snapshot!(css.set_latency(disk, Some(Duration::MAX)).unwrap_err(), @"io.latency of /web on disk: 18446744073709551615.999999999s is not from 1us to 10s");
    for rate in [0, 1 << 63, u64::MAX] {
        for dimension in Dimension::ALL {
            let error = limits(dimension, Limit::At(rate)).unwrap_err();
            assert!(matches!(error, SetError::Rate { .. }), "{error}");
        }
    }
    assert_eq!(settings(&css, disk), before);
    Ok(())
}

#[test]
fn a_reservation_names_what_is_in_the_way() -> Outcome {
    let World { io, disk, web, .. } = &World::new()?;
    let [api, batch] = [web.create_child("api")?, web.create_child("batch")?];
    let css = |group| io.css(group).ok_or("no css");
    let (above, css, beside) = (css(web)?, css(&api)?, css(&batch)?);
    above.set_min(disk, Min { bps: 100, iops: 0 })?;
    beside.set_min(disk, Min { bps: 60, iops: 0 })?;
    assert_snapshot!(css.set_min(disk, Min { bps: 41, iops: 0 }).unwrap_err(), @"io.min of /web/api on disk: bps of 41 would make 101, and /web has 100");
    css.set_min(disk, Min { bps: 40, iops: 0 })?;
    assert_snapshot!(above.set_min(disk, Min { bps: 99, iops: 0 }).unwrap_err(), @"io.min of /web on disk: bps of 99 is less than the 100 reserved below");
    css.set_limits(disk, Limits::new().iops(10))?;
    assert_snapshot!(css.set_min(disk, Min { bps: 0, iops: 11 }).unwrap_err(), @"io.min of /web/api on disk: iops of 11 would make 11, and /web/api has 10");
    let error = api.write("io.min", "disk bps=50").unwrap_err();
    assert_snapshot!(error, @"io.min of /web/api cannot be written: io.min of /web/api on disk: bps of 50 would make 110, and /web has 100");
    assert_eq!(css.min(disk), Min { bps: 40, iops: 0 });
    assert_eq!(above.min(disk), Min { bps: 100, iops: 0 });
    Ok(())
}

#[test]
fn a_root_has_no_share() -> Outcome {
    let World { io, disk, .. } = &World::new()?;
    let root = io.root().ok_or("unregistered")?;
    assert_snapshot!(root.set_weight(disk, Some(200)).unwrap_err(), @"io.weight of /: a root competes with nobody, so it has none");
    assert_snapshot!(root.set_default_weight(200).unwrap_err(), @"io.weight of /: a root competes with nobody, so it has none");
    assert_snapshot!(root.set_min(disk, Min { bps: 1, iops: 1 }).unwrap_err(), @"io.min of /: a root competes with nobody, so it has none");
    root.set_limits(disk, Limits::new().bps(5))?;
    root.set_latency(disk, Some(MILLI))?;
    assert_eq!((root.weight(disk), root.min(disk)), (100, Min::NONE));
    Ok(())
}

#[test]
fn a_device_that_is_gone_or_another_controllers_has_no_settings() -> Outcome {
    let World { io, disk, web, .. } = &World::new()?;
    let other = World::new()?;
    let css = io.css(web).ok_or("no css")?;
    let stream = disk.stream(web)?;
    let (again, foreign) = (disk.clone(), &other.disk);
    disk.remove();
    assert_snapshot!(css.set_limits(&again, Limits::MAX).unwrap_err(), @"/web has no settings for disk: it was removed, or is another controller's");
    for device in [&again, foreign] {
        let errors = [
            css.set_limits(device, Limits::new().bps(1)).unwrap_err(),
            css.set_weight(device, Some(5)).unwrap_err(),
            css.set_min(device, Min { bps: 1, iops: 1 }).unwrap_err(),
            css.set_latency(device, Some(MILLI)).unwrap_err(),
        ];
        let is_known = |error: &SetError| matches!(error, SetError::DeviceGone { .. });
        assert!(errors.iter().all(is_known), "{errors:?}");
        assert_eq!(settings(&css, device), (Limits::MAX, 100, 100, Min::NONE, None));
        assert_eq!((css.stats(device), css.own_stats(device)), Default::default());
    }
    assert_eq!(stream.try_acquire(Op::read(1)).unwrap_err().why, Refusal::DeviceGone);
    let foreign_group = other.io.css(&other.web).ok_or("no css")?;
    assert_eq!(foreign_group.stats(foreign), IoStats::default());
    assert!(matches!(foreign.stream_at(&css), Err(StreamError::Foreign { .. })));
    Ok(())
}

#[test]
fn a_removed_group_has_no_settings() -> Outcome {
    let World { io, disk, web, .. } = &World::new()?;
    let css = io.css(web).ok_or("no css")?;
    css.set_weight(disk, Some(7))?;
    css.set_limits(disk, Limits::new().bps(1))?;
    web.remove(Removal::Detach)?;
    for error in [
        css.set_limits(disk, Limits::new().bps(1)).unwrap_err(),
        css.set_weight(disk, Some(5)).unwrap_err(),
        css.set_default_weight(5).unwrap_err(),
        css.set_min(disk, Min { bps: 1, iops: 1 }).unwrap_err(),
        css.set_latency(disk, Some(MILLI)).unwrap_err(),
    ] {
        assert!(matches!(error, SetError::Removed { .. }), "{error}");
    }
    assert_eq!(settings(&css, disk), (Limits::MAX, 100, 100, Min::NONE, None));
    assert_eq!(css.stats(disk), IoStats::default());
    assert!(disk.stream(web).is_err() && disk.stream_at(&css).is_err());
    Ok(())
}

#[test]
fn a_device_has_a_name_that_can_stand_in_a_file() -> Outcome {
    let World { io, .. } = &World::new()?;
    let longest = "x".repeat(64);
    for name in ["253:0", "/dev/vda", "s3://bucket/a", "rbps", "7", longest.as_str(), "é"] {
        Device::builder(name).register(io)?.remove();
    }
    let too_long = "x".repeat(65);
    for name in
        ["", " ", "a b", "a\tb", "a\nb", "a=b", "default", "max", "process", "a\0", &too_long]
    {
        let error = Device::builder(name).register(io).unwrap_err();
        assert!(matches!(error, DeviceError::Name { .. }), "{name:?}: {error}");
    }
    assert_snapshot!(Device::builder("disk").register(io).unwrap_err(), @"there is a device disk already");
    assert_snapshot!(Device::builder("d").depth(0).register(io).unwrap_err(), @"the depth of d cannot be 0: 1 or more");
    assert_snapshot!(Device::builder("d").max_in_flight(Duration::ZERO).register(io).unwrap_err(), @"the time in flight of d cannot be 0: more than nothing");
    assert_snapshot!(Device::builder("d").quantum(0).register(io).unwrap_err(), @"the quantum of d cannot be 0: 512 to 2^30");
    Device::builder("d").register(io)?;
    Ok(())
}

#[test]
fn another_registrys_groups_have_no_streams() -> Outcome {
    let world = World::new()?;
    let other = World::new()?;
    assert!(matches!(world.disk.stream(&other.web), Err(StreamError::Foreign { .. })));
    let task = other.registry.create_task("t")?;
    assert!(matches!(world.disk.stream_for(&task), Err(StreamError::Foreign { .. })));
    let elsewhere = world.registry.create_hierarchy("by-plan")?.root().create_child("gold")?;
    let stream = world.disk.stream(&elsewhere)?;
    assert_eq!(stream.css().path(), "/", "where the controller is not bound, it is the root's");
    assert_eq!(world.tenants.root().path(), "/");
    Ok(())
}

#[test]
fn extremes_of_what_is_allowed_hold() -> Outcome {
    let World { clock, io, disk, web, .. } = &World::new()?;
    let css = io.css(web).ok_or("no css")?;
    let stream = disk.stream(web)?;
    for rate in [1, i64::MAX as u64] {
        for burst in [None, Some(0), Some(1), Some(u64::MAX)] {
            let all = Dimension::ALL.into_iter().fold(Limits::new(), |limits, dimension| {
                limits.with(dimension, Limit::At(rate)).with_burst(dimension, burst)
            });
            css.set_limits(disk, all)?;
            for bytes in [0, 1, u64::MAX] {
                drop(stream.try_acquire(Op::read(bytes)));
                drop(stream.charge_urgent(Op::write(bytes))?);
                clock.advance(Duration::from_secs(u64::MAX / 1_000_000_000_000));
            }
        }
    }
    css.set_limits(disk, Limits::MAX)?;
    stream.try_acquire(Op::read(1))?.done(u64::MAX);
    Ok(())
}
