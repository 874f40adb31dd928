//! Control files: which there are, what they show, and what they refuse.

use std::{sync::Arc, task::Poll, time::Duration};

use fief_core::{Access, Cgroup, Controller, Registry, Removal, VirtualClock};
use fief_cpu::{Cpu, Manual, Pool};
use insta::assert_snapshot;

struct Scene {
    clock: VirtualClock,
    worker: Manual,
    cpu: Controller<Cpu>,
    _registry: Registry,
    root: Cgroup,
    web: Cgroup,
}

fn scene() -> Scene {
    let (clock, registry) = (VirtualClock::new(), Registry::new());
    let hierarchy = registry.create_hierarchy("h").expect("the name is free");
    let subsystem = Cpu::builder().cpus(1).clock(Arc::new(clock.clone())).build();
    let cpu = registry.register(subsystem).expect("the name is free");
    cpu.bind(&hierarchy).expect("it is inactive");
    let web = hierarchy.root().create_child("web").expect("the name is free");
    let worker = Pool::builder(&cpu).manual().expect("there are no workers");
    Scene { clock, worker, cpu, _registry: registry, root: hierarchy.root(), web }
}

/// Takes so many polls of `each`.
async fn burn(clock: VirtualClock, each: Duration, polls: u32) {
    let mut left = polls;
    std::future::poll_fn(|context| {
        clock.advance(each);
        left -= 1;
        if left == 0 {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Lists the files of the controller, with what they show.
fn cat(group: &Cgroup) -> String {
    let files = group.files().expect("it is there").into_iter();
    let own = files.filter(|file| file.name.starts_with("cpu."));
    own.map(|file| {
        let shown = group.read(&file.name).expect("all can be read");
        let shown = shown.trim_end().replace('\n', ", ");
        format!("{} {}: {shown}\n", file.access, file.name)
    })
    .collect()
}

#[test]
fn a_new_group_has_the_kernels_defaults() {
    assert_snapshot!(cat(&scene().web), @"
    rw cpu.idle: 0
    rw cpu.latency: 0
    rw cpu.max: max 100000
    rw cpu.max.burst: 0
    r- cpu.pressure: some avg10=0.00 avg60=0.00 avg300=0.00 total=0, full avg10=0.00 avg60=0.00 avg300=0.00 total=0
    r- cpu.stat: usage_usec 0, nr_periods 0, nr_throttled 0, throttled_usec 0, nr_bursts 0, burst_usec 0, wait_usec 0, slices 0, overruns 0, nr_rescues 0, nr_long_polls 0
    r- cpu.stat.local: throttled_usec 0, usage_usec 0, wait_usec 0, nr_rescues 0, nr_long_polls 0
    rw cpu.weight: 100
    ");
}

#[test]
fn a_root_has_a_budget_and_no_weight() {
    let scene = scene();
    assert_snapshot!(cat(&scene.root), @"
    rw cpu.max: max 100000
    rw cpu.max.burst: 0
    r- cpu.pressure: some avg10=0.00 avg60=0.00 avg300=0.00 total=0, full avg10=0.00 avg60=0.00 avg300=0.00 total=0
    r- cpu.stat: usage_usec 0, nr_periods 0, nr_throttled 0, throttled_usec 0, nr_bursts 0, burst_usec 0, wait_usec 0, slices 0, overruns 0, nr_rescues 0, nr_long_polls 0
    r- cpu.stat.local: throttled_usec 0, usage_usec 0, wait_usec 0, nr_rescues 0, nr_long_polls 0
    ");
    scene.root.write("cpu.max", "50000").unwrap();
    assert_eq!(scene.root.read("cpu.max").unwrap(), "50000 100000\n");
    for file in ["cpu.weight", "cpu.idle", "cpu.latency"] {
        assert!(scene.root.read(file).is_err() && scene.root.write(file, "1").is_err(), "{file}");
    }
}

#[test]
fn what_is_written_is_shown() {
    let web = scene().web;
    for (file, input, shown) in [
        ("cpu.weight", "1", "1"),
        ("cpu.weight", " 10000\n", "10000"),
        ("cpu.idle", "1", "1"),
        ("cpu.weight", "250", "0"),
        ("cpu.idle", "0\n", "0"),
        ("cpu.weight", "0250", "250"),
        ("cpu.latency", "0", "0"),
        ("cpu.latency", "10000", "10000"),
        ("cpu.max", "1000", "1000 100000"),
        ("cpu.max", "1000 1000", "1000 1000"),
        ("cpu.max", "\tmax  1000000 \n", "max 1000000"),
        ("cpu.max", "250000", "250000 1000000"),
        ("cpu.max.burst", "250000", "250000"),
        ("cpu.max", "max", "max 1000000"),
        ("cpu.max", "17592186044415 100000", "17592186044415 100000"),
        ("cpu.max.burst", "0", "0"),
    ] {
        web.write(file, input).expect(input);
        assert_eq!(web.read(file).unwrap().trim_end(), shown, "{file} {input:?}");
    }
    assert_eq!(web.read("cpu.weight").unwrap(), "250\n", "it was kept");
}

#[test]
fn malformed_input_is_quoted_and_changes_nothing() {
    let scene = scene();
    let (root, web) = (&scene.root, &scene.web);
    let number = [
        "",
        "\n",
        " ",
        "-1",
        "+1",
        "1.5",
        "x",
        "1 1 1",
        "0x10",
        "99999999999999999999",
        "1\n\n",
        "१",
    ];
    let table = [
        ("cpu.weight", "300", &["0", "10001", "max", "65636"][..]),
        ("cpu.idle", "0", &["2", "on", "true", "max"]),
        ("cpu.latency", "5000", &["10001", "max", "5ms"]),
        ("cpu.max.burst", "0", &["max", "1 1"]),
        (
            "cpu.max",
            "50000 100000",
            &[
                "0",
                "999",
                "17592186044416",
                "max 999",
                "max 1000001",
                "MAX",
                "max max",
                "50000 ",
                "5\n6",
            ][..7],
        ),
    ];
    for (file, value, inputs) in table {
        web.write(file, value).unwrap();
        let before = cat(web);
        for input in number.iter().chain(inputs) {
            let error = web.write(file, input).expect_err(input).to_string();
            let start = format!("{file} of /web: {input:?} is not ");
            assert!(error.starts_with(&start), "{error}");
            assert_eq!(cat(web), before, "{file} {input:?}");
        }
    }
    assert!(root.write("cpu.max", "").is_err());
    assert_snapshot!(web.write("cpu.max", "500 1000").unwrap_err(), @r#"cpu.max of /web: "500 1000" is not max or a quota from 1000, and perhaps a period from 1000 to 1000000, in microseconds"#);
    assert_snapshot!(web.write("cpu.weight", "0").unwrap_err(), @r#"cpu.weight of /web: "0" is not a weight from 1 to 10000"#);
    assert_snapshot!(web.write("cpu.latency", "10001").unwrap_err(), @r#"cpu.latency of /web: "10001" is not a number from 0 to 10000"#);
}

#[test]
fn a_burst_is_no_more_than_the_quota() {
    let web = scene().web;
    web.write("cpu.max", "20000").unwrap();
    assert_snapshot!(web.write("cpu.max.burst", "20001").unwrap_err(), @"cpu.max.burst of /web cannot be written: a burst of 20001 us: it must be at most the quota of 20000 us");
    web.write("cpu.max.burst", "15000").unwrap();
    assert_snapshot!(web.write("cpu.max", "10000 50000").unwrap_err(), @"cpu.max of /web cannot be written: a burst of 15000 us: it must be at most the quota of 10000 us");
    assert_eq!(web.read("cpu.max").unwrap(), "20000 100000\n");
    assert_eq!(web.read("cpu.max.burst").unwrap(), "15000\n");
}

#[test]
fn what_can_only_be_read_refuses_a_write() {
    let web = scene().web;
    let before = cat(&web);
    let files = web.files().unwrap().into_iter();
    let own = files.filter(|file| file.name.starts_with("cpu.") && file.access == Access::Read);
    let refused = own.map(|file| web.write(&file.name, "0").expect_err(&file.name).to_string());
    assert_eq!(refused.filter(|error| error.contains("/web")).count(), 3);
    assert_eq!(cat(&web), before);
    let error = web.read("cpu.shares").unwrap_err().to_string();
    assert!(error.contains("cpu.shares") && error.contains("cpu.weight"), "{error}");
}

#[test]
fn figures_are_of_the_group_and_of_all_below_it() {
    let mut scene = scene();
    let api = scene.web.create_child("api").unwrap();
    let [web, api] = [&scene.web, &api].map(|group| scene.worker.group(group).unwrap());
    // Looked at once, so that they count from here on.
    let pressure = |group: &Cgroup| group.read("cpu.pressure").unwrap();
    let before = [&scene.root, &scene.web].map(pressure);
    assert!(before.iter().all(|text| text.matches("total=0").count() == 2), "{before:?}");
    let step = Duration::from_micros(100);
    for (group, polls) in [(&web, 20), (&api, 120)] {
        drop(group.spawn(burn(scene.clock.clone(), step, polls)).unwrap());
    }
    assert_eq!(scene.worker.run_until_idle(), 70, "of 200 us each");
    // They take turns until `web` is done, and one waits while the other runs.
    assert_snapshot!(cat(&scene.web), @"
    rw cpu.idle: 0
    rw cpu.latency: 0
    rw cpu.max: max 100000
    rw cpu.max.burst: 0
    r- cpu.pressure: some avg10=0.00 avg60=0.00 avg300=0.00 total=3800, full avg10=0.00 avg60=0.00 avg300=0.00 total=0
    r- cpu.stat: usage_usec 14000, nr_periods 0, nr_throttled 0, throttled_usec 0, nr_bursts 0, burst_usec 0, wait_usec 3800, slices 70, overruns 0, nr_rescues 0, nr_long_polls 0
    r- cpu.stat.local: throttled_usec 0, usage_usec 2000, wait_usec 1800, nr_rescues 0, nr_long_polls 0
    rw cpu.weight: 100
    ");
    assert_snapshot!(scene.root.read("cpu.stat").unwrap(), @"
    usage_usec 14000
    nr_periods 0
    nr_throttled 0
    throttled_usec 0
    nr_bursts 0
    burst_usec 0
    wait_usec 3800
    slices 70
    overruns 0
    nr_rescues 0
    nr_long_polls 0
    ");
    assert_eq!(scene.cpu.css(&scene.web).unwrap().usage(), Duration::from_millis(14));
}

#[test]
fn a_removed_group_answers_nothing_else() {
    let scene = scene();
    let files = scene.web.files().unwrap();
    scene.web.remove(Removal::Strict).unwrap();
    for file in files.iter().filter(|file| file.name.starts_with("cpu.")) {
        let read = scene.web.read(&file.name).unwrap_err().to_string();
        let written = scene.web.write(&file.name, "1").unwrap_err().to_string();
        assert!(read.contains("removed") && written.contains("removed"), "{read} {written}");
    }
}
