//! The feature `tracing`: structural operations and the edges of a life as events.
//!
//! One test in a process of its own: events without a subscriber elsewhere would be forgotten here.
#![cfg(feature = "tracing")]

use std::{
    fmt::{Debug, Write},
    sync::{Arc, Mutex},
};

use fief_core::{Css, HookError, Reclaimer, Registry, Removal, Subsystem};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

struct Unit;

impl Subsystem for Unit {
    type State = ();

    fn name(&self) -> &str {
        "unit"
    }

    fn new_css(&self, _parent: Option<&Css<()>>) -> Result<(), HookError> {
        Ok(())
    }

    fn offline(&self, css: &Css<()>) {
        assert!(css.parent().is_none(), "a child goes badly");
    }
}

/// Writes every event's operation and group down.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

struct Line<'l>(&'l mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if matches!(field.name(), "operation" | "cgroup" | "hierarchy" | "subsystem" | "hook") {
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
fn structural_operations_and_the_edges_of_a_life_are_told() {
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
        let hierarchy = registry.create_hierarchy("h").unwrap();
        let controller = registry.register(Unit).unwrap();
        controller.bind(&hierarchy).unwrap();
        let group = hierarchy.root().create_child("a").unwrap();
        group.rename("b").unwrap();
        let task = registry.create_task("t").unwrap();
        task.join(&group).unwrap();
        assert_eq!(group.kill().unwrap(), 1);
        drop(task);
        group.remove(Removal::Detach).unwrap();
        registry.wait_reclaimed().unwrap();
    });
    let told = log.0.lock().unwrap().clone();
    let expected = [
        r#"operation="create_hierarchy" hierarchy="h""#,
        r#"operation="online" subsystem=unit cgroup=/"#,
        r#"operation="register" subsystem=unit"#,
        r#"operation="bind" subsystem=unit hierarchy="h""#,
        r#"operation="online" subsystem=unit cgroup=/a"#,
        r#"operation="create_child" cgroup=/a"#,
        r#"operation="rename" cgroup=/a"#,
        r#"operation="attach" cgroup=/b"#,
        r#"operation="kill" cgroup=/b"#,
        r#"operation="remove" cgroup=/b"#,
        r#"operation="offline""#,
        r#"operation="offline" subsystem=unit cgroup=/b"#,
        r#"operation="released" subsystem=unit cgroup=/b"#,
    ];
    let lines: Vec<&str> = told.lines().take(expected.len()).collect();
    assert_eq!(lines, expected, "{told}");
}
