//! The feature `tracing`: what is set, and what rarely happens, as events.
//!
//! One test in a process of its own: events without a subscriber elsewhere would be forgotten here.
#![cfg(feature = "tracing")]

use std::{
    fmt::{Debug, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use fief_core::Registry;
use fief_io::{Device, Io, Limits, Min};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Writes every event's fields down.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

struct Line<'l>(&'l mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let known = ["operation", "cgroup", "file", "device", "value"];
        if known.contains(&field.name()) {
            write!(self.0, "{field}={value:?} ").expect("a string takes everything");
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "fief"
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut log = self.0.lock().expect("not poisoned");
        event.record(&mut Line(&mut log));
        let end = log.trim_end().len();
        log.truncate(end);
        log.push('\n');
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

#[test]
fn settings_and_devices_are_told() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let io = registry.register(Io::new()).unwrap();
    io.bind(&hierarchy).unwrap();
    let web = hierarchy.root().create_child("web").unwrap();
    let css = io.css(&web).unwrap();
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        let disk = Device::builder("disk").register(&io).unwrap();
        assert!(Device::builder("disk").register(&io).is_err(), "there is one");
        web.write("io.max", "disk rbps=1M").unwrap();
        assert!(web.write("io.max", "disk rbps=0").is_err());
        assert!(css.set_limits(&disk, Limits::new().wbps(0)).is_err());
        css.set_limits(&disk, Limits::new().iops(7)).unwrap();
        web.write("io.weight", "300").unwrap();
        assert!(css.set_weight(&disk, Some(0)).is_err());
        css.set_weight(&disk, Some(20)).unwrap();
        css.set_weight(&disk, None).unwrap();
        css.set_min(&disk, Min { bps: 9, iops: 1 }).unwrap();
        css.set_latency(&disk, Some(Duration::from_millis(2))).unwrap();
        assert!(css.set_latency(&disk, Some(Duration::ZERO)).is_err());
        web.write("io.latency", "disk target=max").unwrap();
        disk.remove();
    });
    let told = log.0.lock().unwrap().clone();
    let expected = [
        r#"operation="device_registered" device=disk"#,
        r#"operation="set_limit" file="io.max" device="disk" value=rbps=1048576 wbps=max riops=max wiops=max bps=max iops=max cgroup=/web"#,
        r#"operation="set_limit" file="io.max" device="disk" value=rbps=max wbps=max riops=max wiops=max bps=max iops=7 cgroup=/web"#,
        r#"operation="set_limit" file="io.weight" device="default" value=300 cgroup=/web"#,
        r#"operation="set_limit" file="io.weight" device="disk" value=20 cgroup=/web"#,
        r#"operation="set_limit" file="io.weight" device="disk" value=default cgroup=/web"#,
        r#"operation="set_limit" file="io.min" device="disk" value=bps=9 iops=1 cgroup=/web"#,
        r#"operation="set_limit" file="io.latency" device="disk" value=2000 cgroup=/web"#,
        r#"operation="set_limit" file="io.latency" device="disk" value=max cgroup=/web"#,
        r#"operation="device_removed" device=disk"#,
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected, "{told}");
}
