//! A small registry whose css are watched: what a test of a race starts from.

use fief_core::{Cgroup, Controller, CssRef, Hierarchy, Registry, Task};

use crate::{
    stress::{
        Failed,
        ledger::{Canary, Ledger, Watch},
    },
    sync::Arc,
};

/// A registry with one hierarchy, and watching controllers on it.
#[derive(Debug)]
#[non_exhaustive]
pub struct World {
    /// The registry.
    pub registry: Registry,
    /// Its hierarchy.
    pub hierarchy: Hierarchy,
    /// The controller on it; of several, the first.
    pub controller: Controller<Watch>,
    /// Every controller on it.
    pub controllers: Vec<Controller<Watch>>,
    /// The lives of all css.
    pub ledger: Arc<Ledger>,
}

impl World {
    /// Makes a registry of its own, with `count` controllers on its one hierarchy.
    ///
    /// # Errors
    ///
    /// What the core refused although nothing was wrong with it.
    pub fn new(registry: Registry, count: usize) -> Result<Self, Failed> {
        let ledger = Arc::new(Ledger::default());
        let hierarchy = registry.create_hierarchy("h")?;
        let mut controllers = Vec::new();
        for index in 0..count {
            let controller = registry.register(Watch::new(&format!("watch{index}"), &ledger))?;
            controller.bind(&hierarchy)?;
            controllers.push(controller);
        }
        let controller = controllers.first().ok_or("a world has a controller")?.clone();
        Ok(Self { registry, hierarchy, controller, controllers, ledger })
    }

    /// Creates a group below the root.
    ///
    /// # Panics
    ///
    /// If there is one of that name.
    #[must_use]
    pub fn create(&self, name: &str) -> Cgroup {
        self.hierarchy.root().create_child(name).expect("a name that is free")
    }

    /// Creates a task.
    ///
    /// # Panics
    ///
    /// If the name is none.
    #[must_use]
    pub fn task(&self, name: &str) -> Task {
        self.registry.create_task(name).expect("a name")
    }

    /// Takes a reference to the first controller's css of `group`.
    ///
    /// # Panics
    ///
    /// If the group is removed.
    #[must_use]
    pub fn css(&self, group: &Cgroup) -> CssRef<Canary> {
        self.controller.css(group).expect("online")
    }

    /// Ends everything; every css passed all its stages.
    ///
    /// # Panics
    ///
    /// If groups are left, or something went wrong with a css on the way.
    pub fn settle(&self) {
        self.end().expect("nothing in the way");
        self.ledger.settle().expect("no violation");
    }

    /// Lets the controllers go, and waits until every css is freed.
    ///
    /// # Errors
    ///
    /// What the core refused: groups are left.
    pub fn end(&self) -> Result<(), Failed> {
        for controller in &self.controllers {
            if controller.hierarchy().is_some() {
                controller.unbind()?;
            }
            controller.unregister()?;
        }
        Ok(self.registry.wait_reclaimed()?)
    }
}
