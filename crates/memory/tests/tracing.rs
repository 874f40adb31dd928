//! The feature `tracing`: limits that are set, and what rarely happens, as events.
//!
//! One test in a process of its own: events without a subscriber elsewhere would be forgotten here.
#![cfg(feature = "tracing")]

use std::{
    fmt::{Debug, Write},
    sync::{Arc, Mutex},
};

use fief_core::{Limit, Registry};
use fief_memory::Memory;
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
        if matches!(field.name(), "operation" | "cgroup" | "file" | "value" | "current") {
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
fn limits_and_what_rarely_happens_are_told() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let memory = registry.register(Memory::new()).unwrap();
    memory.bind(&hierarchy).unwrap();
    let web = hierarchy.root().create_child("web").unwrap();
    let css = memory.css(&web).unwrap();
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        css.try_charge(100_000).unwrap();
        css.drain();
        web.write("memory.max", "64K").unwrap();
        css.charge_forced(1);
        css.set_high(Limit::At(1));
        css.set_low(Limit::At(2));
        css.set_min(Limit::Max);
        assert!(css.try_charge(1).is_err(), "too often to be told");
        assert!(web.write("memory.max", "64KB").is_err());
        css.uncharge(100_001);
    });
    let told = log.0.lock().unwrap().clone();
    let expected = [
        r#"operation="set_limit" file="memory.max" value=65536 cgroup=/web"#,
        r#"operation="max_lowered_over" cgroup=/web current=100000"#,
        r#"operation="force_over_max" cgroup=/web current=100001"#,
        r#"operation="set_limit" file="memory.high" value=1 cgroup=/web"#,
        r#"operation="set_limit" file="memory.low" value=2 cgroup=/web"#,
        r#"operation="set_limit" file="memory.min" value=max cgroup=/web"#,
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected, "{told}");
}
