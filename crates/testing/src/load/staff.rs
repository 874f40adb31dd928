//! The tasks that threads make, move and end under load, counted by `fief-tasks`.

use std::collections::VecDeque;

use fief_core::{AttachError, Controller, CreateTaskError, EditError, Hierarchy, Registry, Task};
use fief_tasks::Tasks;

use super::{below, refuse};
use crate::{
    refusal::Failure,
    stress::Random,
    sync::{AtomicU64, Mutex, Ordering, lock},
};

/// A controller that counts tasks, once there is one, and what the threads did since.
#[derive(Debug, Default)]
pub(super) struct Staff {
    controller: Mutex<Option<Controller<Tasks>>>,
    made: AtomicU64,
    refused: AtomicU64,
}

impl Staff {
    pub(super) fn set(&self, controller: Controller<Tasks>) {
        *lock(&self.controller) = Some(controller);
    }

    pub(super) fn controller(&self) -> Option<Controller<Tasks>> {
        lock(&self.controller).clone()
    }

    pub(super) fn take(&self) -> Option<Controller<Tasks>> {
        lock(&self.controller).take()
    }

    /// Tasks made, and refused by the controller.
    pub(super) fn counts(&self) -> (u64, u64) {
        // Ordering: Relaxed: the threads were joined.
        (self.made.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// Makes a task, moves one now and then to where `like` is, and ends one if there are many.
    pub(super) fn turn(
        &self,
        registry: &Registry,
        like: &Task,
        random: &mut Random,
        own: &mut VecDeque<Task>,
    ) -> Result<(), Failure> {
        if lock(&self.controller).is_none() {
            return Ok(());
        }
        let is_new = random.below(4) == 0;
        match if is_new { registry.create_task("hired") } else { like.spawn("spawned") } {
            Ok(task) => {
                // Ordering: Relaxed, both: counts.
                self.made.fetch_add(1, Ordering::Relaxed);
                own.push_back(task);
            }
            Err(CreateTaskError::Vetoed(_)) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                drop(own.pop_front());
            }
            Err(error) => return Err(error.into()),
        }
        if let Some(task) = own.back().filter(|_| random.below(2) == 0) {
            follow(registry, task, like)?;
        }
        if own.len() > OWN {
            // Under a guard its end is left to others.
            let guard = (random.below(4) == 0).then(|| registry.read());
            drop(own.pop_front());
            drop(guard);
        }
        Ok(())
    }

    /// Compares what each group shows with its members and those below, while no thread works.
    pub(super) fn compare(&self, registry: &Registry) -> Result<(), Failure> {
        let Some(controller) = self.controller() else { return Ok(()) };
        // What ended under a guard has ended then.
        registry.wait_reclaimed()?;
        let name = controller.name();
        let root = controller.root().map_or(0, |root| root.current());
        let tasks = registry.stats().tasks;
        if root != tasks {
            return Err(refuse(format!("{name}: the root counts {root} of {tasks} tasks")));
        }
        for group in controller.hierarchy().into_iter().flat_map(below) {
            let shown = group.read("tasks.current")?;
            let members: usize = group.descendants_pre().map(|it| it.members().len()).sum();
            if shown != format!("{members}\n") {
                let (path, shown) = (group.path(), shown.trim_end());
                let text = format!("{name}: {path} shows {shown}, and has {members} members");
                return Err(refuse(text));
            }
        }
        Ok(())
    }
}

/// Moves `task`, in every hierarchy at once, to the groups that `like` is found in.
fn follow(registry: &Registry, task: &Task, like: &Task) -> Result<(), EditError> {
    let place = |hierarchy: &Hierarchy| like.cgroup(hierarchy);
    let places: Vec<_> = registry.hierarchies().iter().filter_map(place).collect();
    let moved = registry.edit(|edit| places.into_iter().for_each(|group| edit.join(task, group)));
    match moved {
        // The script was faster.
        Ok(_) | Err(EditError::Attach(AttachError::Removed { .. })) => Ok(()),
        Err(error) => Err(error),
    }
}

/// How many tasks a thread keeps.
const OWN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    use fief_core::Subsystem as _;

    #[test]
    fn a_group_that_shows_another_number_than_it_has_is_told() {
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("test").unwrap();
        let group = hierarchy.root().create_child("web").unwrap();
        let controller = registry.register(Tasks::new()).unwrap();
        let staff = Staff::default();
        staff.compare(&registry).unwrap();
        staff.set(controller.clone());
        let task = group.create_task("t").unwrap();
        staff.compare(&registry).unwrap();
        controller.bind(&hierarchy).unwrap();
        staff.compare(&registry).unwrap();
        // Hooks called by hand, as only an error of the core could.
        let css = controller.css(&group).unwrap();
        let member = group.members().remove(0);
        let complaint = || staff.compare(&registry).unwrap_err().text;
        controller.subsystem().can_fork(&css, &member).unwrap();
        assert_eq!(complaint(), "tasks: the root counts 2 of 1 tasks");
        let root = controller.root().unwrap();
        controller.subsystem().exit(&root, &member);
        assert_eq!(complaint(), "tasks: /web shows 2, and has 1 members");
        drop(task);
    }
}
