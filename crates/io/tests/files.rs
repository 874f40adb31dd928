//! Control files: which there are, what they show, and what they refuse.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use fief_core::{Access, Cgroup, Controller, Registry, Removal, Threshold, VirtualClock};
use fief_io::{Device, Dimension, Io, Limits, Min, Op};
use insta::assert_snapshot;

const MILLI: Duration = Duration::from_millis(1);

struct Scene {
    clock: VirtualClock,
    io: Controller<Io>,
    _registry: Registry,
    disk: Device,
    net: Device,
    root: Cgroup,
    web: Cgroup,
}

fn scene() -> Scene {
    let (clock, registry) = (VirtualClock::new(), Registry::new());
    let hierarchy = registry.create_hierarchy("h").expect("the name is free");
    let subsystem = Io::builder().clock(Arc::new(clock.clone())).build();
    let io = registry.register(subsystem).expect("the name is free");
    io.bind(&hierarchy).expect("it is inactive");
    let web = hierarchy.root().create_child("web").expect("the name is free");
    // Not in the order of their names.
    let [net, disk] = ["net", "253:0"].map(|name| Device::builder(name).register(&io));
    let (net, disk) = (net.expect("the name is free"), disk.expect("the name is free"));
    Scene { clock, io, _registry: registry, disk, net, root: hierarchy.root(), web }
}

/// Lists the files of the controller, with what they show; but for what the machine says of the process.
fn cat(group: &Cgroup) -> String {
    let files = group.files().expect("it is there").into_iter();
    let own = files.filter(|file| file.name.starts_with("io."));
    own.map(|file| {
        let shown = group.read(&file.name).expect("all can be read");
        let shown: Vec<_> = shown.lines().filter(|line| !line.starts_with("process ")).collect();
        format!("{} {}: {}", file.access, file.name, shown.join(", ")).trim_end().to_owned() + "\n"
    })
    .collect()
}

#[test]
fn a_new_group_has_a_weight_and_nothing_else() {
    assert_snapshot!(cat(&scene().web), @"
    rw io.latency:
    rw io.max:
    rw io.min:
    r- io.pressure: some avg10=0.00 avg60=0.00 avg300=0.00 total=0, full avg10=0.00 avg60=0.00 avg300=0.00 total=0
    r- io.stat:
    r- io.stat.local:
    rw io.weight: default 100
    ");
}

#[test]
fn a_root_has_a_budget_and_no_share() {
    let scene = scene();
    assert_snapshot!(cat(&scene.root), @"
    rw io.latency:
    rw io.max:
    r- io.pressure: some avg10=0.00 avg60=0.00 avg300=0.00 total=0, full avg10=0.00 avg60=0.00 avg300=0.00 total=0
    r- io.stat:
    r- io.stat.local:
    ");
    scene.root.write("io.max", "net bps=1M").unwrap();
    assert_eq!(
        scene.root.read("io.max").unwrap(),
        "net rbps=max wbps=max riops=max wiops=max bps=1048576 iops=max\n"
    );
    let stream = scene.net.stream(&scene.web).unwrap();
    while stream.try_acquire(Op::read(4096)).is_ok() {}
    assert_eq!(scene.io.root().unwrap().stats(&scene.net).rbytes, 64 << 10);
    for (file, input) in [("io.weight", "200"), ("io.min", "net bps=1")] {
        assert!(scene.root.read(file).is_err() && scene.root.write(file, input).is_err(), "{file}");
    }
}

#[test]
fn what_is_written_is_shown() {
    let web = scene().web;
    for (file, input, shown) in [
        ("io.max", "net rbps=1 wiops=2", "net rbps=1 wbps=max riops=max wiops=2 bps=max iops=max"),
        (
            "io.max",
            " net wiops=max\triops=007 \n",
            "net rbps=1 wbps=max riops=7 wiops=max bps=max iops=max",
        ),
        ("io.max", "net rbps=max riops=max", ""),
        (
            "io.max",
            "net bps=9223372036854775807 iops=1",
            "net rbps=max wbps=max riops=max wiops=max bps=9223372036854775807 iops=1",
        ),
        (
            "io.max",
            "net iops=max bps=10m bps_burst=1M",
            "net rbps=max wbps=max riops=max wiops=max bps=10485760 iops=max bps_burst=1048576",
        ),
        (
            "io.max",
            "net bps_burst=default",
            "net rbps=max wbps=max riops=max wiops=max bps=10485760 iops=max",
        ),
        (
            "io.max",
            "net bps_burst=5",
            "net rbps=max wbps=max riops=max wiops=max bps=10485760 iops=max bps_burst=5",
        ),
        ("io.max", "net bps=max", ""),
        ("io.max", "net bps=10", "net rbps=max wbps=max riops=max wiops=max bps=10 iops=max"),
        (
            "io.max",
            "net wbps_burst=10",
            "net rbps=max wbps=max riops=max wiops=max bps=10 iops=max",
        ),
        ("io.max", "net max", ""),
        ("io.max", "net max", ""),
        ("io.weight", "1", "default 1"),
        ("io.weight", " default 10000\n", "default 10000"),
        ("io.weight", "net 300", "default 10000\nnet 300"),
        ("io.weight", "253:0 010", "default 10000\n253:0 10\nnet 300"),
        ("io.weight", "50", "default 50\n253:0 10\nnet 300"),
        ("io.weight", "net default", "default 50\n253:0 10"),
        ("io.weight", "253:0 default\n", "default 50"),
        ("io.weight", "net default", "default 50"),
        ("io.latency", "net target=1", "net target=1"),
        ("io.latency", "253:0 target=10000000\n", "253:0 target=10000000\nnet target=1"),
        ("io.latency", "net target=max", "253:0 target=10000000"),
        ("io.min", "net bps=1M", "net bps=1048576 iops=0"),
        ("io.min", "net iops=10 bps=2M", "net bps=2097152 iops=10"),
        ("io.min", "net bps=0", "net bps=0 iops=10"),
        ("io.min", "net iops=0", ""),
    ] {
        web.write(file, input).expect(input);
        assert_eq!(web.read(file).unwrap().trim_end(), shown, "{file} {input:?}");
    }
}

#[test]
fn what_is_set_by_a_call_is_shown_and_the_other_way_round() {
    let Scene { io, disk, net, web, .. } = &scene();
    let css = io.css(web).unwrap();
    let limits = Limits::new().rbps(1000).with_burst(Dimension::Rbps, Some(5)).iops(7);
    css.set_limits(disk, limits).unwrap();
    css.set_weight(disk, Some(300)).unwrap();
    css.set_default_weight(20).unwrap();
    css.set_min(net, Min { bps: 9, iops: 8 }).unwrap();
    css.set_latency(net, Some(2 * MILLI)).unwrap();
    assert_snapshot!(cat(web), @"
    rw io.latency: net target=2000
    rw io.max: 253:0 rbps=1000 wbps=max riops=max wiops=max bps=max iops=7 rbps_burst=5
    rw io.min: net bps=9 iops=8
    r- io.pressure: some avg10=0.00 avg60=0.00 avg300=0.00 total=0, full avg10=0.00 avg60=0.00 avg300=0.00 total=0
    r- io.stat: 253:0 rbytes=0 wbytes=0 rios=0 wios=0 dbytes=0 dios=0 wait_usec=0 queue_usec=0 nr_throttled=0 nr_urgent=0 waiting=0 inflight=0 cost_usec=0 debt_usec=0, net rbytes=0 wbytes=0 rios=0 wios=0 dbytes=0 dios=0 wait_usec=0 queue_usec=0 nr_throttled=0 nr_urgent=0 waiting=0 inflight=0 cost_usec=0 debt_usec=0
    r- io.stat.local: 253:0 rbytes=0 wbytes=0 rios=0 wios=0 dbytes=0 dios=0 wait_usec=0 queue_usec=0 nr_throttled=0 nr_urgent=0 waiting=0 inflight=0 cost_usec=0 debt_usec=0, net rbytes=0 wbytes=0 rios=0 wios=0 dbytes=0 dios=0 wait_usec=0 queue_usec=0 nr_throttled=0 nr_urgent=0 waiting=0 inflight=0 cost_usec=0 debt_usec=0
    rw io.weight: default 20, 253:0 300
    ");
    assert_eq!((css.limits(disk), css.limits(net)), (limits, Limits::MAX));
    assert_eq!((css.weight(disk), css.weight(net), css.default_weight()), (300, 20, 20));
    web.write("io.max", "net wbps=4K").unwrap();
    web.write("io.min", "net bps=0 iops=0").unwrap();
    web.write("io.latency", "net target=max").unwrap();
    web.write("io.weight", "253:0 default").unwrap();
    assert_eq!(css.limits(net), Limits::new().wbps(4096));
    assert_eq!((css.min(net), css.latency(net), css.weight(disk)), (Min::NONE, None, 20));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn malformed_input_is_quoted_and_changes_nothing() {
    let scene = scene();
    let web = &scene.web;
    let any = [
        "",
        "\n",
        " ",
        "net",
        "x y z",
        "net rbps",
        "net rbps=",
        "net =1",
        "net\nrbps=1",
        "net rbps=1\n\n",
    ];
    let table = [
        (
            "io.max",
            "net rbps=300 rbps_burst=30",
            &[
                "net rbps=0",
                "net rbps=-1",
                "net rbps=+1",
                "net rbps=1.5",
                "net rbps=0x10",
                "net rbps=1MB",
                "net rbps=9223372036854775808",
                "net rbps=8E",
                "net rbps=16E",
                "net rbps=99999999999999999999",
                "net riops=1K",
                "net rbps=1 rbps=2",
                "net rbps=1 wbps=0",
                "net rbps=1 foo=1",
                "net rbps=MAX",
                "net rbps=default",
                "net rbps_burst=max",
                "net rbps_burst=0",
                "net rbps==1",
                "net _burst=1",
                "net max rbps=1",
                "net rbps=1 max",
                "max",
                "net default",
                "rbps=1",
                "net rbps=१",
            ][..],
        ),
        (
            "io.weight",
            "net 300",
            &[
                "0",
                "10001",
                "max",
                "default",
                "default 0",
                "default default",
                "net 0",
                "net 10001",
                "net max",
                "net -1",
                "net 1 2",
                "net rbps=1",
                "4294967396",
            ],
        ),
        (
            "io.latency",
            "net target=500",
            &[
                "net target=0",
                "net target=10000001",
                "net target=5ms",
                "net target=1 target=2",
                "net max",
                "net target=1 x=2",
                "net bps=1",
                "target=1",
            ],
        ),
        (
            "io.min",
            "net bps=1 iops=2",
            &[
                "net bps=max",
                "net bps=-1",
                "net bps=8E",
                "net iops=1K",
                "net rbps=1",
                "net bps=1 x=1",
                "net bps=1 bps=1",
                "net max",
            ],
        ),
    ];
    for (file, value, inputs) in table {
        web.write(file, value).unwrap();
        let before = cat(web);
        for input in any.iter().chain(inputs) {
            let error = web.write(file, input).expect_err(input).to_string();
            let start = format!("{file} of /web: {input:?} is not ");
            assert!(error.starts_with(&start), "{error}");
            assert_eq!(cat(web), before, "{file} {input:?}");
        }
    }
    assert_snapshot!(web.write("io.max", "net rbps=0").unwrap_err(), @r#"io.max of /web: "net rbps=0" is not a device and max, or a device and any of rbps= wbps= riops= wiops= bps= iops=, each a rate from 1 to 9223372036854775807 or max, and their _burst=, each from 1 or default"#);
    assert_snapshot!(web.write("io.weight", "net 0").unwrap_err(), @r#"io.weight of /web: "net 0" is not a weight from 1 to 10000, perhaps behind default or a device, or a device and default"#);
    assert_snapshot!(web.write("io.latency", "net target=0").unwrap_err(), @r#"io.latency of /web: "net target=0" is not a device and target= with 1 to 10000000 microseconds, or max"#);
    assert_snapshot!(web.write("io.min", "net bps=max").unwrap_err(), @r#"io.min of /web: "net bps=max" is not a device and bps= or iops= or both, each from 0 to 9223372036854775807"#);
}

#[test]
fn an_unknown_device_is_named() {
    let scene = scene();
    let web = &scene.web;
    let before = cat(web);
    for (file, input) in [
        ("io.max", "8:0 rbps=1"),
        ("io.max", "8:0 max"),
        ("io.weight", "8:0 100"),
        ("io.weight", "8:0 default"),
        ("io.latency", "8:0 target=1"),
        ("io.min", "8:0 bps=1"),
    ] {
        let error = web.write(file, input).expect_err(input).to_string();
        let expected = format!(
            "{file} of /web cannot be written: there is no device \"8:0\": there are 253:0, net"
        );
        assert_eq!(error, expected);
    }
    // What is malformed besides is that first.
    assert!(web.write("io.max", "8:0 rbps=0").unwrap_err().to_string().contains("is not"));
    assert_eq!(cat(web), before);
    scene.disk.remove();
    scene.net.remove();
    let error = web.write("io.max", "net rbps=1").unwrap_err();
    assert_snapshot!(error, @r#"io.max of /web cannot be written: there is no device "net": there are none"#);
}

#[test]
fn a_device_that_is_removed_takes_its_lines_along() {
    let scene = scene();
    let Scene { disk, web, io, .. } = &scene;
    for device in ["net", "253:0"] {
        web.write("io.max", &format!("{device} rbps=1000")).unwrap();
        web.write("io.weight", &format!("{device} 200")).unwrap();
        web.write("io.min", &format!("{device} bps=1")).unwrap();
        web.write("io.latency", &format!("{device} target=5")).unwrap();
    }
    let stream = disk.stream(web).unwrap();
    stream.try_acquire(Op::read(10)).unwrap().done(10);
    disk.remove();
    disk.remove();
    assert_snapshot!(cat(web), @"
    rw io.latency: net target=5
    rw io.max: net rbps=1000 wbps=max riops=max wiops=max bps=max iops=max
    rw io.min: net bps=1 iops=0
    r- io.pressure: some avg10=0.00 avg60=0.00 avg300=0.00 total=0, full avg10=0.00 avg60=0.00 avg300=0.00 total=0
    r- io.stat: net rbytes=0 wbytes=0 rios=0 wios=0 dbytes=0 dios=0 wait_usec=0 queue_usec=0 nr_throttled=0 nr_urgent=0 waiting=0 inflight=0 cost_usec=0 debt_usec=0
    r- io.stat.local: net rbytes=0 wbytes=0 rios=0 wios=0 dbytes=0 dios=0 wait_usec=0 queue_usec=0 nr_throttled=0 nr_urgent=0 waiting=0 inflight=0 cost_usec=0 debt_usec=0
    rw io.weight: default 100, net 200
    ");
    // One of the same name begins anew.
    let again = Device::builder("253:0").register(io).unwrap();
    let css = io.css(web).unwrap();
    assert_eq!((css.limits(&again), css.weight(&again)), (Limits::MAX, 100));
    assert_eq!((css.min(&again), css.latency(&again)), (Min::NONE, None));
    assert_eq!(css.stats(&again), fief_io::IoStats::default());
    assert!(!web.read("io.max").unwrap().contains("253:0"));
}

#[test]
fn what_can_only_be_read_refuses_a_write() {
    let web = scene().web;
    let before = cat(&web);
    let files = web.files().unwrap().into_iter();
    let own = files.filter(|file| file.name.starts_with("io.") && file.access == Access::Read);
    let refused = own.map(|file| web.write(&file.name, "0").expect_err(&file.name).to_string());
    assert_eq!(refused.filter(|error| error.contains("/web")).count(), 3);
    assert_eq!(cat(&web), before);
    let error = web.read("io.bfq.weight").unwrap_err().to_string();
    assert!(error.contains("io.bfq.weight") && error.contains("io.weight"), "{error}");
}

#[test]
fn figures_are_of_the_group_and_of_all_below_it() {
    let scene = scene();
    let api = scene.web.create_child("api").unwrap();
    scene.web.write("io.max", "net bps=100000 bps_burst=1000").unwrap();
    let [web, below] = [&scene.web, &api].map(|group| scene.net.stream(group).unwrap());
    web.try_acquire(Op::read(400)).unwrap().done(300);
    below.try_acquire(Op::write(700)).unwrap().done(700);
    below.charge_urgent(Op::discard(2000)).unwrap().done(2000);
    // 2000 in debt: over after 20 ms.
    let mut waits = pin!(below.acquire(Op::read(100)));
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(waits.as_mut().poll(cx).is_pending());
    scene.clock.advance(10 * MILLI);
    assert_snapshot!(api.read("io.stat").unwrap(), @"net rbytes=0 wbytes=700 rios=0 wios=1 dbytes=2000 dios=1 wait_usec=0 queue_usec=0 nr_throttled=0 nr_urgent=1 waiting=1 inflight=0 cost_usec=22 debt_usec=0");
    let css = scene.io.css(&scene.web).unwrap();
    assert_eq!(css.stats(&scene.net).debt.as_micros(), 10_000);
    assert_eq!(css.own_stats(&scene.net).debt, Duration::ZERO);
    assert!(scene.web.read("io.stat").unwrap().ends_with(" debt_usec=10000\n"));
    scene.clock.advance(20 * MILLI);
    scene.io.subsystem().tick();
    assert!(waits.as_mut().poll(cx).is_ready());
    assert_snapshot!(api.read("io.stat").unwrap(), @"net rbytes=100 wbytes=700 rios=1 wios=1 dbytes=2000 dios=1 wait_usec=30000 queue_usec=0 nr_throttled=0 nr_urgent=1 waiting=0 inflight=0 cost_usec=32 debt_usec=0");
    assert_snapshot!(scene.web.read("io.stat").unwrap(), @"net rbytes=400 wbytes=700 rios=2 wios=1 dbytes=2000 dios=1 wait_usec=30000 queue_usec=0 nr_throttled=1 nr_urgent=1 waiting=0 inflight=0 cost_usec=43 debt_usec=0");
    assert_snapshot!(scene.web.read("io.stat.local").unwrap(), @"net rbytes=300 wbytes=0 rios=1 wios=0 dbytes=0 dios=0 wait_usec=0 queue_usec=0 nr_throttled=0 nr_urgent=0 waiting=0 inflight=0 cost_usec=10 debt_usec=0");
    assert_snapshot!(scene.web.read("io.pressure").unwrap(), @"
    some avg10=0.00 avg60=0.00 avg300=0.00 total=30000
    full avg10=0.00 avg60=0.00 avg300=0.00 total=30000
    ");
    let stats = scene.io.root().unwrap().stats(&scene.net);
    assert_eq!((stats.rbytes, stats.wbytes, stats.dbytes), (400, 700, 2000));
}

/// A wait is lost time of the group, and of those above, on whatever device; and of nobody else.
#[test]
fn who_waits_stalls() {
    let scene = scene();
    let [api, batch] = ["api", "batch"].map(|name| scene.web.create_child(name).unwrap());
    for device in ["net", "253:0"] {
        api.write("io.max", &format!("{device} riops=1 riops_burst=1")).unwrap();
    }
    let [css, above, beside] = [&api, &scene.web, &batch].map(|group| scene.io.css(group).unwrap());
    let trigger = above.pressure_trigger("some 150000 1000000".parse::<Threshold>().unwrap());
    let streams = [&scene.net, &scene.disk].map(|device| device.stream(&api).unwrap());
    let cx = &mut Context::from_waker(Waker::noop());
    for stream in &streams {
        // The first is free, and for each of the others there is a second to wait.
        (0..3).for_each(|_| stream.charge_urgent(Op::read(1)).unwrap().done(1));
    }
    let [mut first, mut second] =
        streams.each_ref().map(|stream| Box::pin(stream.acquire(Op::read(1))));
    assert!(first.as_mut().poll(cx).is_pending());
    scene.clock.advance(100 * MILLI);
    assert!(second.as_mut().poll(cx).is_pending());
    assert!(trigger.messages().try_recv().is_err());
    scene.clock.advance(100 * MILLI);
    drop(first);
    assert!(above.poll_pressure().is_some(), "it loses time still");
    assert!(trigger.messages().try_recv().is_ok(), "200 ms of a second");
    scene.clock.advance(100 * MILLI);
    drop(second);
    scene.clock.advance(100 * MILLI);
    let total = |css: &fief_io::IoCss| {
        let stats = css.pressure();
        (stats.some.total, stats.full.total)
    };
    assert_eq!(
        (total(&css), total(&above), total(&beside)),
        ((300_000, 300_000), (300_000, 300_000), (0, 0))
    );
}

/// A group that waits beside what it has in flight loses some of its time, not all of it.
#[test]
fn who_has_something_in_flight_does_not_lose_all_of_its_time() {
    let scene = scene();
    let ssd = Device::builder("ssd").depth(1).register(&scene.io).unwrap();
    let [api, batch] = ["api", "batch"].map(|name| scene.web.create_child(name).unwrap());
    let groups = [&api, &batch, &scene.web].map(|group| scene.io.css(group).unwrap());
    let lost = || {
        groups.each_ref().map(|css| {
            let stats = css.pressure();
            (stats.some.total / 1000, stats.full.total / 1000)
        })
    };
    let [light, bulk] = [&api, &batch].map(|group| ssd.stream(group).unwrap());
    let cx = &mut Context::from_waker(Waker::noop());
    let op = Op::read(1);
    bulk.try_acquire(op).unwrap().done(1);
    // One that was in flight before anybody waited.
    let held = bulk.try_acquire(op).unwrap();
    let mut first = pin!(light.acquire(op));
    assert!(first.as_mut().poll(cx).is_pending());
    scene.clock.advance(100 * MILLI);
    assert_eq!(lost(), [(100, 100), (0, 0), (100, 0)]);
    held.done(1);
    let std::task::Poll::Ready(Ok(held)) = first.as_mut().poll(cx) else { panic!("its turn") };
    let mut second = pin!(light.acquire(op));
    assert!(second.as_mut().poll(cx).is_pending());
    scene.clock.advance(50 * MILLI);
    assert_eq!(lost(), [(150, 100), (0, 0), (150, 0)]);
    held.done(1);
    let std::task::Poll::Ready(Ok(held)) = second.as_mut().poll(cx) else { panic!("its turn") };
    held.done(1);
    // Nothing is in flight: who waits for a limit loses all of it.
    scene.web.write("io.max", "ssd riops=1 riops_burst=1").unwrap();
    (0..3).for_each(|_| bulk.charge_urgent(op).unwrap().done(1));
    let mut third = Box::pin(bulk.acquire(op));
    assert!(third.as_mut().poll(cx).is_pending());
    scene.clock.advance(10 * MILLI);
    drop(third);
    scene.clock.advance(10 * MILLI);
    assert_eq!(lost(), [(150, 100), (10, 10), (160, 10)]);
}

#[test]
#[cfg(target_os = "linux")]
fn the_root_tells_what_the_kernel_says_of_the_process() {
    let scene = scene();
    let Some(stats) = scene.io.subsystem().process_stats() else {
        assert!(std::fs::read("/proc/self/io").is_err());
        return;
    };
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &[7; 1 << 20]).unwrap();
    file.sync_data().unwrap();
    let text = scene.root.read("io.stat").unwrap();
    let line = text.strip_prefix("process device_rbytes=").expect("no other device was used");
    let after = scene.io.subsystem().process_stats().unwrap();
    assert!(
        after.device_rbytes >= stats.device_rbytes && after.device_wbytes >= stats.device_wbytes
    );
    let (read, written) = line.trim_end().split_once(" device_wbytes=").unwrap();
    let (read, written) = (read.parse::<u64>().unwrap(), written.parse::<u64>().unwrap());
    assert!((stats.device_rbytes..=after.device_rbytes).contains(&read));
    assert!((stats.device_wbytes..=after.device_wbytes).contains(&written));
    assert!(!scene.web.read("io.stat").unwrap().contains("process"));
    let error = Device::builder("process").register(&scene.io).unwrap_err();
    assert_snapshot!(error, @r#""process" is no name of a device: 1 to 64 bytes, no white space, no '=', not `default`, `max` or `process`"#);
}

#[test]
fn a_removed_group_answers_nothing_else() {
    let scene = scene();
    let files = scene.web.files().unwrap();
    scene.web.remove(Removal::Strict).unwrap();
    for file in files.iter().filter(|file| file.name.starts_with("io.")) {
        let read = scene.web.read(&file.name).unwrap_err().to_string();
        let written = scene.web.write(&file.name, "1").unwrap_err().to_string();
        assert!(read.contains("removed") && written.contains("removed"), "{read} {written}");
    }
}
