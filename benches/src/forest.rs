//! Registries to measure in: some subsystems that do nothing, and some groups.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use fief_core::{
    Cgroup, Controller, Css, CssRef, Hierarchy, HookError, Reclaimer, Registry, Removal, Subsystem,
    Task,
};

/// A subsystem that keeps nothing and does nothing.
#[derive(Debug)]
pub struct Empty(String);

impl Empty {
    /// Returns one of that name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl Subsystem for Empty {
    type State = ();

    fn name(&self) -> &str {
        &self.0
    }

    fn new_css(&self, _parent: Option<&Css<()>>) -> Result<(), HookError> {
        Ok(())
    }
}

/// A subsystem whose state says when it is dropped.
#[derive(Debug)]
pub struct Witness(Sender<Instant>);

/// Sends the moment of its drop.
#[derive(Debug)]
pub struct Testimony(Sender<Instant>);

impl Subsystem for Witness {
    type State = Testimony;

    fn name(&self) -> &'static str {
        "witness"
    }

    fn new_css(&self, _parent: Option<&Css<Testimony>>) -> Result<Testimony, HookError> {
        Ok(Testimony(Sender::clone(&self.0)))
    }
}

impl Drop for Testimony {
    fn drop(&mut self) {
        // Nobody listens any more when the root css goes.
        self.0.send(Instant::now()).ok();
    }
}

/// Registers a [`Witness`], and returns where its css report.
#[must_use]
pub fn witness(
    registry: &Registry,
    hierarchy: &Hierarchy,
) -> (Controller<Witness>, Receiver<Instant>) {
    let (sender, receiver) = channel();
    let controller = registry.register(Witness(sender)).expect("the name is free");
    controller.bind(hierarchy).expect("no groups yet");
    (controller, receiver)
}

/// A registry with one hierarchy, empty subsystems bound to it, and groups below its root.
#[derive(Debug)]
pub struct Forest {
    /// The registry.
    pub registry: Registry,
    /// Its hierarchy.
    pub hierarchy: Hierarchy,
    /// What is bound there.
    pub controllers: Vec<Controller<Empty>>,
    /// The children of the root.
    pub groups: Vec<Cgroup>,
}

impl Forest {
    /// Plants `groups` groups with a css of each of `subsystems` empty subsystems.
    #[must_use]
    pub fn new(registry: Registry, subsystems: usize, groups: usize) -> Self {
        Self::plant(registry, subsystems, groups, false)
    }

    /// As [`Forest::new`], with groups that are born armed.
    #[must_use]
    pub fn notifying(registry: Registry, subsystems: usize, groups: usize) -> Self {
        Self::plant(registry, subsystems, groups, true)
    }

    fn plant(registry: Registry, subsystems: usize, groups: usize, notify: bool) -> Self {
        let hierarchy = registry.create_hierarchy("forest").expect("the name is free");
        hierarchy.root().set_notify_on_release(notify).expect("the root is online");
        let controllers: Vec<_> = (0..subsystems)
            .map(|number| {
                let empty = Empty::new(&format!("empty{number}"));
                let controller = registry.register(empty).expect("the name is free");
                controller.bind(&hierarchy).expect("no groups yet");
                controller
            })
            .collect();
        let groups = (0..groups)
            .map(|number| hierarchy.root().create_child(&format!("group{number}")).expect("room"))
            .collect();
        Self { registry, hierarchy, controllers, groups }
    }

    /// Returns a reference to the css of group `number` for the first subsystem.
    #[must_use]
    pub fn css(&self, number: usize) -> CssRef<()> {
        self.controllers[0].css(&self.groups[number]).expect("the group is online")
    }

    /// Returns a task for each group, a member of it.
    #[must_use]
    pub fn tasks(&self) -> Vec<Task> {
        self.groups
            .iter()
            .map(|group| {
                let task = self.registry.create_task("member").expect("no subsystem refuses");
                task.join(group).expect("no subsystem refuses");
                task
            })
            .collect()
    }

    /// Creates a group below the root and removes it again.
    pub fn come_and_go(&self) {
        let group = self.hierarchy.root().create_child("passing").expect("the name is free");
        group.remove(Removal::Detach).expect("nobody joined");
    }

    /// Receives every notice there is, and drops it.
    pub fn settle_notices(&self) {
        self.registry.reap();
        self.hierarchy.notices().try_iter().for_each(drop);
    }

    /// Frees everything that can be freed.
    pub fn settle(&self) {
        self.registry.wait_reclaimed().expect("no guard is held");
    }
}

/// Returns a registry whose reclaimer is the caller.
#[must_use]
pub fn manual() -> Registry {
    Registry::builder().reclaimer(Reclaimer::Manual).build()
}
