//! The feature `tracing`: what is set, and what rarely happens, as events.
//!
//! One test in a process of its own: events without a subscriber elsewhere would be forgotten here.
#![cfg(feature = "tracing")]

use std::{
    fmt::{Debug, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use fief_core::{Registry, VirtualClock};
use fief_cpu::{Bandwidth, Cpu, Pool};
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
        let known = ["operation", "cgroup", "file", "value", "task", "micros", "workers"];
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
fn limits_pools_and_long_polls_are_told() {
    let (clock, registry) = (VirtualClock::new(), Registry::new());
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let cpu = registry.register(Cpu::builder().clock(Arc::new(clock.clone())).build()).unwrap();
    cpu.bind(&hierarchy).unwrap();
    let web = hierarchy.root().create_child("web").unwrap();
    let css = cpu.css(&web).unwrap();
    let task = registry.create_task("crawler").unwrap();
    task.join(&web).unwrap();
    let member = fief_cpu::Group::of(&cpu, task).unwrap();
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        let mut worker = Pool::builder(&cpu).manual().unwrap();
        assert!(Pool::builder(&cpu).manual().is_err(), "there is one");
        web.write("cpu.weight", "300").unwrap();
        assert!(web.write("cpu.weight", "30000").is_err());
        assert!(css.set_weight(0).is_err());
        css.set_idle(true).unwrap();
        css.set_latency(Duration::from_micros(500)).unwrap();
        web.write("cpu.max", "50000").unwrap();
        web.write("cpu.max.burst", "4000").unwrap();
        css.set_max(Bandwidth::MAX);
        for millis in [1, 15] {
            let clock = clock.clone();
            let job = member.spawn(async move { clock.advance(Duration::from_millis(millis)) });
            drop(job.unwrap());
        }
        worker.run_until_idle();
        drop(worker);
        drop(Pool::builder(&cpu).workers(1).start().unwrap());
    });
    let told = log.0.lock().unwrap().clone();
    let expected = [
        r#"operation="pool_started" workers=0"#,
        r#"operation="set_limit" file="cpu.weight" value=300 cgroup=/web"#,
        r#"operation="set_limit" file="cpu.idle" value=1 cgroup=/web"#,
        r#"operation="set_limit" file="cpu.latency" value=500 cgroup=/web"#,
        r#"operation="set_limit" file="cpu.max" value=50000 100000 0 cgroup=/web"#,
        r#"operation="set_limit" file="cpu.max" value=50000 100000 4000 cgroup=/web"#,
        r#"operation="set_limit" file="cpu.max" value=max 100000 0 cgroup=/web"#,
        r#"operation="long_poll" cgroup=/web task=crawler micros=15000"#,
        r#"operation="pool_shut_down" workers=0"#,
        r#"operation="pool_started" workers=1"#,
        r#"operation="pool_shut_down" workers=1"#,
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected, "{told}");
}
