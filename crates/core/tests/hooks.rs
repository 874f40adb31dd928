//! What may be asked from inside a hook and from the drop of a state, and what may not.

use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use fief_core::{
    CreateError, CreateHierarchyError, Css, HookError, Reclaimer, RegisterError, Registry, Removal,
    StructuralError, Subsystem,
};

/// Runs a closure in every `online`, and another in every drop of a state.
#[derive(Default)]
struct Curious {
    asks: Arc<OnceLock<Ask>>,
    on_drop: Arc<OnceLock<Ask>>,
}

type Ask = Box<dyn Fn() -> String + Send + Sync>;

struct Answers {
    on_drop: Arc<OnceLock<Ask>>,
    heard: Arc<Mutex<Vec<String>>>,
}

static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Drop for Answers {
    fn drop(&mut self) {
        if let Some(ask) = self.on_drop.get() {
            self.heard.lock().expect("not poisoned").push(ask());
        }
    }
}

impl Subsystem for Curious {
    type State = Answers;

    fn name(&self) -> &str {
        "curious"
    }

    fn new_css(&self, _parent: Option<&Css<Answers>>) -> Result<Answers, HookError> {
        Ok(Answers { on_drop: Arc::clone(&self.on_drop), heard: Arc::default() })
    }

    fn online(&self, css: &Css<Answers>) -> Result<(), HookError> {
        if let Some(ask) = self.asks.get() {
            HEARD.lock().expect("not poisoned").push(format!("{}: {}", css.path(), ask()));
        }
        Ok(())
    }
}

#[test]
fn a_hook_can_look_and_not_change() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let curious = Curious::default();
    let asks = Arc::clone(&curious.asks);
    let controller = registry.register(curious).unwrap();
    controller.bind(&hierarchy).unwrap();
    let group = hierarchy.root().create_child("a").unwrap();
    let asked = (registry.clone(), hierarchy.clone(), group.clone());
    let ask = move || {
        let (registry, hierarchy, group) = &asked;
        let refused = group.create_child("c").is_err_and(|error| {
            matches!(error, CreateError::Structural(StructuralError::Reentrant { .. }))
        });
        format!(
            "{} {:?} {} {} {} {}",
            registry.hierarchies().len(),
            registry.hierarchy("h").map(|hierarchy| hierarchy.controllers()),
            hierarchy.lookup("/a").is_ok(),
            registry.stats().controllers,
            group.descendants_pre().count(),
            refused,
        )
    };
    assert!(asks.set(Box::new(ask)).is_ok());
    group.create_child("b").unwrap();
    let heard = HEARD.lock().unwrap().clone();
    assert_eq!(heard, [r#"/a/b: 1 Some(["curious"]) true 1 1 true"#]);
}

#[test]
fn a_state_that_is_dropped_cannot_wait_for_itself() {
    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let curious = Curious::default();
    let on_drop = Arc::clone(&curious.on_drop);
    let controller = registry.register(curious).unwrap();
    controller.bind(&hierarchy).unwrap();
    let group = hierarchy.root().create_child("a").unwrap();
    let heard = Arc::clone(&controller.css(&group).unwrap().heard);
    let other = registry.clone();
    let ask = move || format!("{:?} {}", other.wait_reclaimed(), other.create_task("t").is_ok());
    assert!(on_drop.set(Box::new(ask)).is_ok());
    group.remove(Removal::Detach).unwrap();
    registry.wait_reclaimed().unwrap();
    let refused = r#"Err(Reentrant { operation: "wait_reclaimed", target: "the registry" }) true"#;
    assert_eq!(*heard.lock().unwrap(), [refused]);
}

#[test]
fn the_hidden_hierarchy_is_out_of_reach() {
    let registry = Registry::new();
    let controller = registry.register(Curious::default()).unwrap();
    let root = controller.root().unwrap();
    assert!(root.cgroup().is_none() && controller.hierarchy().is_none());
    let hierarchy = registry.create_hierarchy("h").unwrap();
    controller.bind(&hierarchy).unwrap();
    assert_eq!(root.cgroup(), Some(hierarchy.root()));
    assert_eq!(controller.hierarchy(), Some(hierarchy));
}

#[test]
fn what_was_given_up_can_be_had_again_at_once() {
    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let mut hierarchies: Vec<_> =
        (0..64).map(|n| registry.create_hierarchy(&format!("h{n}")).unwrap()).collect();
    let full = registry.create_hierarchy("h64");
    assert!(matches!(full, Err(CreateHierarchyError::Capacity { .. })));
    hierarchies.pop().unwrap().destroy().unwrap();
    registry.create_hierarchy("h64").unwrap();

    struct Numbered(String);
    impl Subsystem for Numbered {
        type State = ();
        fn name(&self) -> &str {
            &self.0
        }
        fn new_css(&self, _parent: Option<&Css<()>>) -> Result<(), HookError> {
            Ok(())
        }
    }
    let numbered = |n| registry.register(Numbered(format!("s{n}")));
    let mut controllers: Vec<_> = (0..64).map(|n| numbered(n).unwrap()).collect();
    assert!(matches!(numbered(64), Err(RegisterError::Capacity { .. })));
    controllers.pop().unwrap().unregister().unwrap();
    numbered(64).unwrap();
}

#[test]
fn nothing_of_a_registry_that_ended_is_left() {
    /// Counts itself.
    struct Counted(Arc<AtomicU64>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    struct Kind(
        Arc<AtomicU64>,
        #[expect(dead_code, reason = "dropped with the subsystem")] Counted,
    );
    impl Subsystem for Kind {
        type State = Counted;
        fn name(&self) -> &str {
            "kind"
        }
        fn new_css(&self, _parent: Option<&Css<Counted>>) -> Result<Counted, HookError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(Counted(Arc::clone(&self.0)))
        }
    }
    let live = Arc::new(AtomicU64::new(1));
    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let kind = Kind(Arc::clone(&live), Counted(Arc::clone(&live)));
    let controller = registry.register(kind).unwrap();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    controller.bind(&hierarchy).unwrap();
    let group = hierarchy.root().create_child("a").unwrap();
    group.create_child("b").unwrap();
    let task = registry.create_task("t").unwrap();
    task.join(&group).unwrap();
    assert_eq!(live.load(Ordering::Relaxed), 4);
    drop((task, group, hierarchy, controller, registry));
    assert_eq!(live.load(Ordering::Relaxed), 0);
}
