//! What is left when the core's own memory runs out in the middle of a structural call.

use std::sync::Arc;

use crate::{
    Cgroup, CreateError, Css, HookError, Reclaimer, RegisterError, Registry, Removal, Subsystem,
    css::cells::tests::without_memory,
};

struct Kind(&'static str);

impl Subsystem for Kind {
    type State = Arc<()>;

    fn name(&self) -> &str {
        self.0
    }

    fn new_css(&self, _parent: Option<&Css<Arc<()>>>) -> Result<Arc<()>, HookError> {
        Ok(Arc::default())
    }
}

/// Creates groups until headers run out, and returns them with the error.
fn fill(root: &Cgroup) -> (Vec<Cgroup>, CreateError) {
    let mut groups = Vec::new();
    loop {
        match root.create_child(&groups.len().to_string()) {
            Ok(group) => groups.push(group),
            Err(error) => return (groups, error),
        }
    }
}

#[test]
fn a_group_that_cannot_be_made_leaves_everything_as_before() {
    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    for name in ["one", "two", "three"] {
        registry.register(Kind(name)).unwrap().bind(&hierarchy).unwrap();
    }
    let (groups, error) = without_memory(|| fill(&hierarchy.root()));
    assert!(matches!(error, CreateError::Capacity { .. }), "{error}");
    assert!(error.to_string().starts_with(&format!("/{} cannot be created", groups.len())));

    let before = registry.stats();
    assert!(without_memory(|| hierarchy.root().create_child("again")).is_err());
    registry.wait_reclaimed().unwrap();
    let after = registry.stats();
    assert_eq!(hierarchy.root().children().count(), groups.len());
    assert_eq!(hierarchy.root().descendant_count() as usize, groups.len());
    assert_eq!((before.css_online, before.cgroups), (after.css_online, after.cgroups));
    let other = Registry::new();
    let refused = without_memory(|| (0..300).find_map(|_| other.register(Kind("kind")).err()));
    assert!(matches!(refused, Some(RegisterError::Capacity { .. } | RegisterError::Exists { .. })));

    groups.iter().for_each(|group| group.remove(Removal::Detach).unwrap());
    registry.wait_reclaimed().unwrap();
    assert_eq!(registry.stats().css_freed, 3 * groups.len() as u64);
    hierarchy.root().create_child("again").unwrap();
}

#[test]
fn references_are_exact_without_cells() {
    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let controller = registry.register(Kind("kind")).unwrap();
    let state = without_memory(|| {
        let root = controller.root().unwrap();
        let more: Vec<_> = (0..100).map(|_| root.clone()).collect();
        drop(more);
        Arc::downgrade(&root)
    });
    controller.unregister().unwrap();
    registry.wait_reclaimed().unwrap();
    assert_eq!(state.strong_count(), 0);
}
